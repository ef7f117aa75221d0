/* SPDX-License-Identifier: Apache-2.0 */
/* controller/hrestore-place.c: paths are compared as realpath() gives them, so
 * a link inside an allowed directory leads nowhere else. */
#include "controller/hrestore-place.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

struct hrestore_places {
    const char *restore_dir; /* of the configuration; borrowed */
    char *asked;             /* by the annotation; NULL: not */
    char **dirs;             /* real paths where domains have disks */
    size_t n_dirs;
};

void
hrestore_place_close(struct hrestore_places *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->n_dirs; i++)
        free(p->dirs[i]);
    free(p->dirs);
    free(p->asked);
    free(p);
}

/* The real path of a directory; NULL: it is none. */
static char *
real_dir(const char *path)
{
    char *real = path == NULL ? NULL : realpath(path, NULL);
    struct stat st;

    if (real != NULL && stat(real, &st) == 0 && S_ISDIR(st.st_mode))
        return real;
    free(real);
    return NULL;
}

static char *
real_dir_of_file(const char *path)
{
    CLEANUP(mem_free) char *dir = file_dirname(path);

    return real_dir(dir);
}

/* ---- what is allowed ---- */

static void
add_domain(struct hrestore_places *p, const struct domxml *d)
{
    for (size_t i = 0; d != NULL && i < d->n_disks; i++) {
        const struct domxml_disk *disk = &d->disks[i];
        bool is_disk = disk->kind == DOMXML_DISK_FILE && disk->chain_len > 0 &&
                       disk->device != NULL &&
                       strcmp(disk->device, "disk") == 0;
        char *dir = !is_disk || disk->chain[0].path == NULL
                        ? NULL
                        : real_dir_of_file(disk->chain[0].path);

        if (dir == NULL)
            continue;
        p->dirs = xrealloc(p->dirs, p->n_dirs + 1, sizeof *p->dirs);
        p->dirs[p->n_dirs++] = dir;
    }
}

static int
add_domains(struct ctl *ctl, struct hrestore_places *p, struct err *err)
{
    char **uuids = NULL;
    size_t n = 0;
    int rc = virt_list(ctl->virt, &uuids, &n, err);

    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct err gone;
        CLEANUP(virt_vm_free)
        struct virt_vm *vm = virt_vm_get(ctl->virt, uuids[i], &gone);

        if (vm != NULL)
            add_domain(p, vm->inactive);
    }
    for (size_t i = 0; i < n; i++)
        free(uuids[i]);
    free(uuids);
    return rc;
}

static bool
is_below(const char *real, const char *root)
{
    CLEANUP(mem_free) char *top = real_dir(root);
    size_t len = top == NULL ? 0 : strlen(top);

    return len > 1 && strncmp(real, top, len) == 0 &&
           (real[len] == 0 || real[len] == '/');
}

static bool
is_allowed(const struct hrestore_places *p, const char *real)
{
    if (is_below(real, HRESTORE_PLACE_DEFAULT) ||
        is_below(real, p->restore_dir))
        return true;
    for (size_t i = 0; i < p->n_dirs; i++)
        if (strcmp(p->dirs[i], real) == 0)
            return true;
    return false;
}

int
hrestore_place_open(struct ctl *ctl, const json_t *restore,
                    struct hrestore_places **ret_places, struct err *err)
{
    CLEANUP(hrestore_place_close)
    struct hrestore_places *p = xcalloc(1, sizeof *p);
    const char *asked = json_string_value(json_object_get(
        jsonx_get(restore, "metadata.annotations"), HRESTORE_PLACE_NOTE));

    p->restore_dir = ctl->config.restore_dir;
    if (add_domains(ctl, p, err) < 0)
        return -1;
    if (asked != NULL) {
        p->asked = asked[0] == '/' ? real_dir(asked) : NULL;
        if (p->asked == NULL)
            return err_set(err, ERR_INVALID,
                           "annotation " HRESTORE_PLACE_NOTE
                           ": %s is not the path of a directory",
                           asked);
        if (!is_allowed(p, p->asked))
            return err_set(
                err, ERR_INVALID,
                "annotation " HRESTORE_PLACE_NOTE
                ": disks may not be restored to %s: it is not below restore_dir of vmkeep.conf or " HRESTORE_PLACE_DEFAULT
                ", and no domain has a disk there",
                asked);
    }
    *ret_places = TAKE(p);
    return 0;
}

/* ---- the choice ---- */

char *
hrestore_place_of(const struct hrestore_places *p, const char *target,
                  const char *was, const struct domxml *old, struct err *err)
{
    const struct domxml_disk *disk =
        old == NULL ? NULL : domxml_disk(old, target);
    CLEANUP(mem_free)
    char *before = was == NULL ? NULL : real_dir_of_file(was);
    char *dir;

    if (disk != NULL && disk->kind == DOMXML_DISK_FILE && disk->chain_len > 0 &&
        access(disk->chain[0].path, F_OK) == 0)
        return xstrdup(disk->chain[0].path);
    if (p->asked != NULL)
        return xstrdup(p->asked);
    dir = real_dir(p->restore_dir);
    if (dir == NULL && before != NULL && is_allowed(p, before))
        dir = TAKE(before);
    if (dir == NULL)
        dir = real_dir(HRESTORE_PLACE_DEFAULT);
    if (dir == NULL)
        return err_set_null(
            err, ERR_NOT_FOUND,
            "disk %s: there is no directory for it: set restore_dir in vmkeep.conf, or the annotation " HRESTORE_PLACE_NOTE,
            target);
    return dir;
}

int
hrestore_place_room(const char *beside, uint64_t *ret_free,
                    uint64_t *ret_device, struct err *err)
{
    struct statvfs s;
    struct stat st;

    if (statvfs(beside, &s) < 0 || stat(beside, &st) < 0)
        return err_sys(err, errno, "%s: free space", beside);
    *ret_free = (uint64_t)s.f_bavail * s.f_frsize;
    *ret_device = st.st_dev;
    return 0;
}
