/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-firmware.c
 *
 * The copies are ours (0700, made by firmware_copy() without links); what
 * begins with a dot is a lock of swtpm's, not state.
 */
#include "controller/backup-firmware.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

#define FILE_MAX  (64u << 20)
#define DEPTH_MAX 5

struct store {
    struct repo_backup *backup;
    struct backup_meta *meta;
    unsigned n_tpm;
};

static int
store_file(struct store *s, int fd, const char *path, struct err *err)
{
    CLEANUP(buf_fini) struct buf data = BUF_INIT;
    struct backup_meta *m = s->meta;
    char disk[16] = "nvram";
    unsigned n;

    if (strncmp(path, "tpm/", 4) == 0)
        (void)snprintf(disk, sizeof disk, "tpm:%u", s->n_tpm++);
    if (m->n_files == BACKUP_META_FILES_MAX)
        return err_set(err, ERR_UNSUPPORTED, "more than %d files",
                       BACKUP_META_FILES_MAX);
    if (file_read_fd(fd, FILE_MAX, path, &data, err) < 0 ||
        repo_backup_add_disk(s->backup, disk, data.len, 0, &n, err) < 0 ||
        (data.len > 0 &&
         repo_backup_write(s->backup, n, 0, data.data, data.len, err) < 0))
        return -1;
    m->files = xrealloc(m->files, m->n_files + 1, sizeof *m->files);
    m->files[m->n_files++] = (struct backup_meta_file){
        .repo_disk = xstrdup(disk),
        .path = xstrdup(path),
        .size = data.len,
    };
    return 0;
}

static int store_dir(struct store *s, int dir_fd, const char *at, int depth,
                     struct err *err) NODISCARD;

static int
store_entry(struct store *s, int dir_fd, const char *at, const char *name,
            int depth, struct err *err)
{
    CLEANUP(fd_close)
    int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    CLEANUP(mem_free)
    char *path = at[0] == 0 ? xstrdup(name) : xasprintf("%s/%s", at, name);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "%s", path);
    if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
        return store_dir(s, fd, path, depth + 1, err);
    return S_ISREG(st.st_mode) ? store_file(s, fd, path, err) : 0;
}

static int
store_dir(struct store *s, int dir_fd, const char *at, int depth,
          struct err *err)
{
    int again = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = again < 0 ? NULL : fdopendir(again);
    int rc = 0;

    if (d == NULL) {
        if (again >= 0)
            (void)close(again);
        return err_sys(err, errno, "directory of the firmware");
    }
    for (const struct dirent *e = readdir(d); rc == 0 && e != NULL;
         e = readdir(d))
        if (e->d_name[0] != '.')
            rc = store_entry(s, dir_fd, at, e->d_name, depth, err);
    (void)closedir(d);
    return rc;
}

int
backup_firmware_store(const char *state_dir, const char *uid,
                      struct repo_backup *backup, struct backup_meta *meta,
                      struct err *err)
{
    CLEANUP(mem_free) char *path = xasprintf("%s/nvram/%s", state_dir, uid);
    CLEANUP(fd_close) int fd = -1;
    struct store s = { .backup = backup, .meta = meta };

    if (file_open_dir(path, &fd, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    return store_dir(&s, fd, "", 0, err) < 0 ? err_wrap(err, "firmware") : 0;
}
