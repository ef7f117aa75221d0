/* SPDX-License-Identifier: Apache-2.0 */
/* hangfs DIRECTORY MOUNTPOINT: DIRECTORY once more, by FUSE, so that a test can
 * make a mount hang: SIGSTOP to this process is a file server that is away,
 * SIGCONT is its return. Whoever waits for it waits like on a hard NFS mount,
 * and cannot be killed.
 *
 * The kernel's protocol itself (linux/fuse.h), one request at a time. A node is
 * an O_PATH descriptor; the kernel keeps nothing (times of validity are 0), so
 * that every call comes here. For tests only: no errors but the system's.
 */
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NODES_MAX 65536
#define DATA_MAX  (128 * 1024)
#define PATH_SIZE 64

static struct node {
    int fd; /* O_PATH */
    dev_t dev;
    ino_t ino;
    uint64_t refs;  /* 0: free */
} nodes[NODES_MAX]; /* nodes[FUSE_ROOT_ID] is the directory */

static int fuse_fd;
static char in[DATA_MAX + 4096];
static char out[DATA_MAX + 4096];

static struct fuse_in_header *const head = (void *)in;
static void *const arg = in + sizeof(struct fuse_in_header);
static void *const answer = out + sizeof(struct fuse_out_header);

static int
node_fd(uint64_t id)
{
    return nodes[id].fd;
}

static void
node_path(uint64_t id, char path[PATH_SIZE])
{
    (void)snprintf(path, PATH_SIZE, "/proc/self/fd/%d", nodes[id].fd);
}

/* The node of a new descriptor, which is taken; 0: no room. */
static uint64_t
node_of(int fd, const struct stat *st)
{
    uint64_t unused = 0;

    for (uint64_t i = NODES_MAX - 1; i > FUSE_ROOT_ID; i--) {
        if (nodes[i].refs == 0) {
            unused = i;
        } else if (nodes[i].dev == st->st_dev && nodes[i].ino == st->st_ino) {
            close(fd);
            nodes[i].refs++;
            return i;
        }
    }
    if (unused != 0)
        nodes[unused] = (struct node){ fd, st->st_dev, st->st_ino, 1 };
    return unused;
}

static void
node_forget(uint64_t id, uint64_t n)
{
    if (id <= FUSE_ROOT_ID || nodes[id].refs == 0)
        return;
    nodes[id].refs -= n < nodes[id].refs ? n : nodes[id].refs;
    if (nodes[id].refs == 0)
        close(nodes[id].fd);
}

static void
reply(int error, size_t len)
{
    struct fuse_out_header *o = (void *)out;

    *o = (struct fuse_out_header){
        .len = (uint32_t)(sizeof *o + (error == 0 ? len : 0)),
        .error = -error,
        .unique = head->unique,
    };
    if (write(fuse_fd, out, o->len) < 0 && errno != ENOENT)
        perror("hangfs: reply");
}

static void
reply_rc(int rc)
{
    reply(rc < 0 ? errno : 0, 0);
}

static void
put_attr(struct fuse_attr *a, const struct stat *st)
{
    *a = (struct fuse_attr){
        .ino = st->st_ino,
        .size = (uint64_t)st->st_size,
        .blocks = (uint64_t)st->st_blocks,
        .atime = (uint64_t)st->st_atim.tv_sec,
        .mtime = (uint64_t)st->st_mtim.tv_sec,
        .ctime = (uint64_t)st->st_ctim.tv_sec,
        .mode = st->st_mode,
        .nlink = (uint32_t)st->st_nlink,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .blksize = 4096,
    };
}

/* A name in a directory as a node; false: answered with the error. */
static bool
put_entry(uint64_t dir, const char *name, struct fuse_entry_out *e)
{
    struct stat st;
    int fd = openat(node_fd(dir), name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) < 0) {
        reply(errno, 0);
        return false;
    }
    *e = (struct fuse_entry_out){ .nodeid = node_of(fd, &st) };
    put_attr(&e->attr, &st);
    return true;
}

static void
reply_entry(uint64_t dir, const char *name)
{
    if (put_entry(dir, name, answer))
        reply(0, sizeof(struct fuse_entry_out));
}

static void
reply_made(int rc, const char *name)
{
    if (rc < 0)
        reply(errno, 0);
    else
        reply_entry(head->nodeid, name);
}

static void
reply_attr(void)
{
    struct fuse_attr_out *a = answer;
    struct stat st;

    if (fstat(node_fd(head->nodeid), &st) < 0) {
        reply(errno, 0);
        return;
    }
    memset(a, 0, sizeof *a);
    put_attr(&a->attr, &st);
    reply(0, sizeof *a);
}

static void
on_init(void)
{
    const struct fuse_init_in *i = arg;
    struct fuse_init_out *o = answer;

    memset(o, 0, sizeof *o);
    o->major = FUSE_KERNEL_VERSION;
    o->minor = i->minor < 31 ? i->minor : 31;
    o->max_readahead = i->max_readahead;
    o->max_write = DATA_MAX;
    o->flags = i->flags & FUSE_BIG_WRITES;
    reply(0, sizeof *o);
}

static void
on_setattr(void)
{
    const struct fuse_setattr_in *s = arg;
    char path[PATH_SIZE];

    node_path(head->nodeid, path);
    if (((s->valid & FATTR_SIZE) != 0 && truncate(path, (off_t)s->size) < 0) ||
        ((s->valid & FATTR_MODE) != 0 && chmod(path, s->mode) < 0)) {
        reply(errno, 0);
        return;
    }
    reply_attr();
}

static void
reply_open(int fd)
{
    struct fuse_open_out *o = answer;

    if (fd < 0) {
        reply(errno, 0);
        return;
    }
    *o = (struct fuse_open_out){ .fh = (uint64_t)fd,
                                 .open_flags = FOPEN_DIRECT_IO };
    reply(0, sizeof *o);
}

static void
on_open(void)
{
    const struct fuse_open_in *o = arg;
    char path[PATH_SIZE];

    node_path(head->nodeid, path);
    reply_open(open(path, ((int)o->flags & ~(O_CREAT | O_EXCL | O_NOFOLLOW)) |
                              O_CLOEXEC));
}

static void
on_create(void)
{
    const struct fuse_create_in *c = arg;
    const char *name = (const char *)(c + 1);
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } *o = answer;
    int fd = openat(node_fd(head->nodeid), name,
                    (int)c->flags | O_CREAT | O_CLOEXEC, c->mode);

    if (fd < 0) {
        reply(errno, 0);
        return;
    }
    if (!put_entry(head->nodeid, name, &o->entry)) {
        close(fd);
        return;
    }
    o->open = (struct fuse_open_out){ .fh = (uint64_t)fd,
                                      .open_flags = FOPEN_DIRECT_IO };
    reply(0, sizeof *o);
}

static void
on_read(void)
{
    const struct fuse_read_in *r = arg;
    ssize_t n =
        pread((int)r->fh, answer, r->size < DATA_MAX ? r->size : DATA_MAX,
              (off_t)r->offset);

    reply(n < 0 ? errno : 0, n < 0 ? 0 : (size_t)n);
}

static void
on_write(void)
{
    const struct fuse_write_in *w = arg;
    struct fuse_write_out *o = answer;
    ssize_t n = pwrite((int)w->fh, w + 1, w->size, (off_t)w->offset);

    if (n < 0) {
        reply(errno, 0);
        return;
    }
    *o = (struct fuse_write_out){ .size = (uint32_t)n };
    reply(0, sizeof *o);
}

static void
on_opendir(void)
{
    char path[PATH_SIZE];
    DIR *d;
    struct fuse_open_out *o = answer;

    node_path(head->nodeid, path);
    d = opendir(path);
    if (d == NULL) {
        reply(errno, 0);
        return;
    }
    *o = (struct fuse_open_out){ .fh = (uint64_t)(uintptr_t)d };
    reply(0, sizeof *o);
}

static void
on_readdir(void)
{
    const struct fuse_read_in *r = arg;
    DIR *d = (DIR *)(uintptr_t)r->fh; /* NOLINT(performance-no-int-to-ptr) */
    char *to = answer;
    size_t len = 0;

    seekdir(d, (long)r->offset);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        size_t name = strlen(e->d_name);
        size_t size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + name);
        struct fuse_dirent *at = (void *)(to + len);

        if (len + size > r->size || len + size > DATA_MAX)
            break;
        memset(at, 0, size);
        *at = (struct fuse_dirent){ .ino = e->d_ino,
                                    .off = (uint64_t)telldir(d),
                                    .namelen = (uint32_t)name,
                                    .type = e->d_type };
        memcpy(at->name, e->d_name, name);
        len += size;
    }
    reply(0, len);
}

static void
on_fsync(void)
{
    const struct fuse_fsync_in *f = arg;

    reply_rc(fsync((int)f->fh));
}

static void
on_statfs(void)
{
    struct fuse_statfs_out *o = answer;
    struct statvfs s;

    if (fstatvfs(node_fd(FUSE_ROOT_ID), &s) < 0) {
        reply(errno, 0);
        return;
    }
    memset(o, 0, sizeof *o);
    o->st.blocks = s.f_blocks;
    o->st.bfree = s.f_bfree;
    o->st.bavail = s.f_bavail;
    o->st.files = s.f_files;
    o->st.ffree = s.f_ffree;
    o->st.bsize = (uint32_t)s.f_bsize;
    o->st.frsize = (uint32_t)s.f_frsize;
    o->st.namelen = 255;
    reply(0, sizeof *o);
}

static void
rename_to(uint64_t dir, unsigned flags, const char *names)
{
    reply_rc(renameat2(node_fd(head->nodeid), names, node_fd(dir),
                       names + strlen(names) + 1, flags));
}

static void
on_link(void)
{
    const struct fuse_link_in *l = arg;
    const char *name = (const char *)(l + 1);
    char path[PATH_SIZE];

    node_path(l->oldnodeid, path);
    reply_made(
        linkat(AT_FDCWD, path, node_fd(head->nodeid), name, AT_SYMLINK_FOLLOW),
        name);
}

/* No answer. */
static void
on_batch_forget(void)
{
    const struct fuse_batch_forget_in *b = arg;
    const struct fuse_forget_one *f = (const void *)(b + 1);

    for (uint32_t i = 0; i < b->count; i++)
        node_forget(f[i].nodeid, f[i].nlookup);
}

static void
handle(void)
{
    int dir = node_fd(head->nodeid);

    switch (head->opcode) {
    case FUSE_INIT:
        on_init();
        return;
    case FUSE_LOOKUP:
        reply_entry(head->nodeid, arg);
        return;
    case FUSE_FORGET:
        node_forget(head->nodeid,
                    ((const struct fuse_forget_in *)arg)->nlookup);
        return;
    case FUSE_BATCH_FORGET:
        on_batch_forget();
        return;
    case FUSE_GETATTR:
        reply_attr();
        return;
    case FUSE_SETATTR:
        on_setattr();
        return;
    case FUSE_OPEN:
        on_open();
        return;
    case FUSE_CREATE:
        on_create();
        return;
    case FUSE_READ:
        on_read();
        return;
    case FUSE_WRITE:
        on_write();
        return;
    case FUSE_FLUSH:
        reply(0, 0);
        return;
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR:
        if (head->opcode == FUSE_FSYNC)
            on_fsync();
        else
            reply(0, 0);
        return;
    case FUSE_RELEASE:
        reply_rc(close((int)((const struct fuse_release_in *)arg)->fh));
        return;
    case FUSE_OPENDIR:
        on_opendir();
        return;
    case FUSE_READDIR:
        on_readdir();
        return;
    case FUSE_RELEASEDIR:
        /* NOLINTNEXTLINE(performance-no-int-to-ptr) */
        (void)closedir(
            (DIR *)(uintptr_t)((const struct fuse_release_in *)arg)->fh);
        reply(0, 0);
        return;
    case FUSE_STATFS:
        on_statfs();
        return;
    case FUSE_MKDIR: {
        const struct fuse_mkdir_in *m = arg;
        const char *name = (const char *)(m + 1);

        reply_made(mkdirat(dir, name, m->mode), name);
        return;
    }
    case FUSE_UNLINK:
        reply_rc(unlinkat(dir, arg, 0));
        return;
    case FUSE_RMDIR:
        reply_rc(unlinkat(dir, arg, AT_REMOVEDIR));
        return;
    case FUSE_RENAME: {
        const struct fuse_rename_in *r = arg;

        rename_to(r->newdir, 0, (const char *)(r + 1));
        return;
    }
    case FUSE_RENAME2: {
        const struct fuse_rename2_in *r = arg;

        rename_to(r->newdir, r->flags, (const char *)(r + 1));
        return;
    }
    case FUSE_LINK:
        on_link();
        return;
    case FUSE_INTERRUPT:
        return;
    default:
        reply(ENOSYS, 0);
    }
}

int
main(int argc, char **argv)
{
    char options[128];

    if (argc != 3) {
        fputs("usage: hangfs DIRECTORY MOUNTPOINT\n", stderr);
        return 2;
    }
    (void)umask(0);
    nodes[FUSE_ROOT_ID] =
        (struct node){ .fd = open(argv[1], O_PATH | O_DIRECTORY), .refs = 1 };
    fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (node_fd(FUSE_ROOT_ID) < 0 || fuse_fd < 0) {
        perror("hangfs");
        return 1;
    }
    (void)snprintf(options, sizeof options,
                   "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other",
                   fuse_fd);
    if (mount("hangfs", argv[2], "fuse", MS_NODEV | MS_NOSUID, options) < 0) {
        perror("hangfs: mount");
        return 1;
    }
    for (;;) {
        ssize_t n = read(fuse_fd, in, sizeof in - 1);

        if (n < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN))
            continue;
        if (n < 0)
            return errno == ENODEV ? 0 : 1; /* unmounted */
        in[n] = 0;
        handle();
    }
}
