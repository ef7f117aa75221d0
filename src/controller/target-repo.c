/* SPDX-License-Identifier: Apache-2.0 */
/* controller/target-repo.c
 *
 * The path is the wish of whoever may create a BackupTarget, and vmkeepd is
 * root: so the way from the root directory on is opened without following a
 * link, and all further work goes through that descriptor.
 *
 * A generated key must be durable before the repository that it opens, and is
 * to be found by that repository's UUID, which is not known before: it is made
 * under the target's uid and renamed afterwards. A crash in between leaves a
 * repository that the target adopts, and its key under the first name.
 */
#include "controller/target-repo.h"

#include <sys/statfs.h>
#include <sys/statvfs.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>

#include "base/file-id.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "blob/blob-dir.h"
#include "repo/repo-index.h"

#define PASSPHRASE_MAX 4096
/* Of the index of one repository: that of 18 TiB in chunks of 256 KiB. */
#define INDEX_CACHE_BYTES ((uint64_t)2 << 30)

void
target_repo_look_fini(struct target_repo_look *l)
{
    if (l->fd >= 0)
        (void)close(l->fd);
    l->fd = -1;
}

/* ---- looking ---- */

/* Our own root is made when it is first used; anybody else's is a mount point
 * or the administrator's to make. */
static int
make_own(const struct target_repo_place *p, struct err *err)
{
    CLEANUP(mem_free) char *own = xasprintf("%s/targets/", p->state_dir);

    if (p->known_uuid[0] != 0 || strncmp(p->path, own, strlen(own)) != 0)
        return 0;
    return file_make_dirs(p->path, 0700, err);
}

/* -1 in *ret_fd: it is not there. */
static int
open_place(const struct target_repo_place *p, int *ret_fd, struct err *err)
{
    CLEANUP(fd_close) int root = -1;
    const char *below;
    int i = target_plan_root(p->path, p->roots, &below);

    *ret_fd = -1;
    if (i < 0)
        return err_set(
            err, ERR_DENIED,
            "%s lies beneath none of the target_roots of vmkeep.conf", p->path);
    if (make_own(p, err) < 0)
        return -1;
    if (file_open_dir(p->roots[i], &root, err) < 0 ||
        file_open_beneath(root, below, O_RDONLY | O_DIRECTORY, 0, ret_fd, err) <
            0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    return 0;
}

/* Names that do not make a directory a used one: the file system's, and what a
 * creation that was cut short leaves (its slots belong to no repository). */
static bool
is_nothing(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
           strcmp(name, "lost+found") == 0 || strcmp(name, "keys") == 0 ||
           strncmp(name, "probe-", 6) == 0 || strncmp(name, ".tmp-", 5) == 0;
}

static int
list_place(int fd, const char *path, bool *ret_is_empty, bool *ret_has_cfg,
           struct err *err)
{
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = again < 0 ? NULL : fdopendir(again);

    *ret_is_empty = true;
    *ret_has_cfg = false;
    if (d == NULL) {
        if (again >= 0)
            (void)close(again);
        return err_sys(err, errno, "%s: list", path);
    }
    errno = 0;
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (is_nothing(e->d_name))
            continue;
        *ret_is_empty = false;
        if (strcmp(e->d_name, "repo.cfg") == 0)
            *ret_has_cfg = true;
    }
    if (errno != 0) {
        err_do_sys(err, errno, "%s: list", path);
        (void)closedir(d);
        return -1;
    }
    (void)closedir(d);
    return 0;
}

static int
open_repo(int fd, const char *path, const struct repo_secret *secret,
          struct repo **ret_repo, struct err *err)
{
    int dup = fcntl(fd, F_DUPFD_CLOEXEC, 3);

    if (dup < 0)
        return err_sys(err, errno, "%s", path);
    return repo_open(blob_dir_open_fd(dup, path), secret, ret_repo, err);
}

/* The UUID of the repository there, and whether it is encrypted; no key is
 * needed for that. */
static int
identify(int fd, const char *path, struct repo_info *ret_info, struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_secret none = { 0 };

    if (open_repo(fd, path, &none, &repo, err) < 0)
        return -1;
    *ret_info = *repo_info_get(repo);
    return 0;
}

int
target_repo_look(const struct target_repo_place *p,
                 struct target_repo_look *ret_look, struct err *err)
{
    CLEANUP(target_repo_look_fini) struct target_repo_look l = { .fd = -1 };
    struct target_plan_seen seen = { .known_uuid = p->known_uuid };
    struct repo_info info;
    struct statvfs space;
    bool has_cfg = false;

    if (open_place(p, &l.fd, err) < 0)
        return -1;
    seen.has_directory = l.fd >= 0;
    if (l.fd >= 0) {
        if (file_id_of_fd(l.fd, p->path, &l.dir, err) < 0)
            return -1;
        if (fstatvfs(l.fd, &space) < 0)
            return err_sys(err, errno, "%s", p->path);
        l.capacity = (uint64_t)space.f_blocks * space.f_frsize;
        l.free = (uint64_t)space.f_bavail * space.f_frsize;
        if (list_place(l.fd, p->path, &seen.is_empty, &has_cfg, err) < 0)
            return -1;
    }
    if (has_cfg) {
        if (identify(l.fd, p->path, &info, err) < 0)
            return -1;
        seen.repo_uuid = info.uuid;
    }
    l.step = target_plan_make(&seen);
    *ret_look = l;
    l.fd = -1;
    return 0;
}

/* ---- keys ---- */

static char *
keys_dir(const struct target_repo_place *p)
{
    return xasprintf("%s/keys", p->state_dir);
}

static char *
new_key_path(const struct target_repo_place *p)
{
    return xasprintf("%s/keys/new-%s.key", p->state_dir, p->uid);
}

static char *
key_path(const struct target_repo_place *p, const char *repo_uuid)
{
    return xasprintf("%s/keys/%s.key", p->state_dir, repo_uuid);
}

/* The first line of the file; wiped by who asked. */
static int
read_passphrase(const char *path, char **ret, struct err *err)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;

    if (file_read_all(path, PASSPHRASE_MAX, &text, err) < 0)
        return -1;
    *ret = xstrndup(buf_str(&text), strcspn(buf_str(&text), "\n"));
    if (text.len > 0)
        mem_wipe(text.data, text.len);
    if ((*ret)[0] != 0)
        return 0;
    free(TAKE(*ret));
    return err_set(err, ERR_INVALID, "%s: no passphrase in its first line",
                   path);
}

/* What opens the repository; wiped and freed by secret_fini(). */
struct secret {
    char *key_file, *passphrase;
};

static void
secret_fini_p(struct secret *s)
{
    free(s->key_file);
    if (s->passphrase != NULL)
        mem_wipe(s->passphrase, strlen(s->passphrase));
    free(s->passphrase);
}

static int
secret_given(const struct target_repo_place *p, struct secret *s,
             struct err *err)
{
    if (strcmp(p->mode, "KeyFile") == 0 && p->key_file != NULL) {
        s->key_file = xstrdup(p->key_file);
        return 0;
    }
    if (strcmp(p->mode, "Passphrase") == 0 && p->passphrase_file != NULL)
        return read_passphrase(p->passphrase_file, &s->passphrase, err);
    return 0;
}

/* For an encrypted repository that is there. */
static int
secret_find(const struct target_repo_place *p, const char *repo_uuid,
            struct secret *s, struct err *err)
{
    CLEANUP(mem_free) char *key = NULL, *fresh = NULL;

    if (secret_given(p, s, err) < 0)
        return -1;
    if (s->key_file != NULL || s->passphrase != NULL)
        return 0;
    key = key_path(p, repo_uuid);
    fresh = new_key_path(p);
    if (access(key, F_OK) != 0 && access(fresh, F_OK) == 0 &&
        file_rename_path(fresh, key, err) < 0)
        return -1;
    if (access(key, F_OK) != 0)
        return err_set(
            err, ERR_DENIED,
            "the repository %s is encrypted and its key is not on this host: copy it to %s, or create the BackupTarget with encryption.mode KeyFile or Passphrase",
            repo_uuid, key);
    s->key_file = TAKE(key);
    return 0;
}

/* ---- opening ---- */

static int
make_repo(const struct target_repo_place *p, const struct target_repo_look *l,
          struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(secret_fini) struct secret s = { NULL, NULL };
    CLEANUP(mem_free) char *dir = keys_dir(p);
    struct repo_options o = {
        .is_encrypted = strcmp(p->mode, "None") != 0,
        .makes_key_file = strcmp(p->mode, "Generated") == 0,
        .makes_parity = true,
    };
    struct blob *blob;
    int fd;

    if (file_make_dirs(dir, 0700, err) < 0 || secret_given(p, &s, err) < 0)
        return -1;
    if (o.makes_key_file)
        s.key_file = new_key_path(p);
    fd = fcntl(l->fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return err_sys(err, errno, "%s", p->path);
    blob = blob_dir_open_fd(fd, p->path);
    if (blob_dir_probe(blob, err) < 0) {
        blob_free(blob);
        return -1;
    }

    struct repo_secret secret = { s.key_file, s.passphrase };

    return repo_create(blob, &o, &secret, &repo, err);
}

/* ---- open ---- */

/* Where reading is a way through a network, or may be. */
static bool
is_far(int fd)
{
    struct statfs fs;

    if (fstatfs(fd, &fs) < 0)
        return false;
    switch ((uint32_t)fs.f_type) {
    case AFS_SUPER_MAGIC:
    case CEPH_SUPER_MAGIC:
    case CIFS_SUPER_MAGIC:
    case FUSE_SUPER_MAGIC:
    case NFS_SUPER_MAGIC:
    case SMB_SUPER_MAGIC:
    case SMB2_SUPER_MAGIC:
    case V9FS_MAGIC:
        return true;
    default:
        return false;
    }
}

/* A courtesy: without it the index is read from the target each time. */
static void
keep_index(const struct target_repo_place *p, struct repo *repo)
{
    CLEANUP(mem_free)
    char *dir =
        xasprintf("%s/index-cache/%s", p->state_dir, repo_info_get(repo)->uuid);
    struct err err;

    if (repo_index_cache(repo, dir, INDEX_CACHE_BYTES, &err) < 0)
        log_debug("%s: the index is not kept: %s", p->path, err.msg);
}

int
target_repo_open(const struct target_repo_place *p,
                 const struct target_repo_look *l, struct repo **ret_repo,
                 char **ret_key, struct err *err)
{
    CLEANUP(secret_fini) struct secret s = { NULL, NULL };
    struct repo_info info;

    if (l->step == TARGET_CREATE && make_repo(p, l, err) < 0)
        return err_wrap(err, "make a repository in %s", p->path);
    if (identify(l->fd, p->path, &info, err) < 0)
        return -1;
    if (info.is_encrypted && secret_find(p, info.uuid, &s, err) < 0)
        return -1;

    struct repo_secret secret = { s.key_file, s.passphrase };

    if (open_repo(l->fd, p->path, &secret, ret_repo, err) < 0)
        return -1;
    if (is_far(l->fd))
        keep_index(p, *ret_repo);
    *ret_key = TAKE(s.key_file);
    return 0;
}

int
target_repo_test(const struct target_repo_look *l, const char *path,
                 struct err *err)
{
    int fd = fcntl(l->fd, F_DUPFD_CLOEXEC, 3);
    struct blob *blob;
    int rc;

    if (fd < 0)
        return err_sys(err, errno, "%s", path);
    blob = blob_dir_open_fd(fd, path);
    rc = blob_dir_probe(blob, err);
    blob_free(blob);
    return rc;
}
