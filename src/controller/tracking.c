/* SPDX-License-Identifier: Apache-2.0 */
/* controller/tracking.c: the file, and what happens to bitmaps.
 *
 * The file is written before what it announces is done, and after what it
 * forgets is gone, so a bitmap of ours is always named in it:
 *
 *   begin    [pending] then checkpoint           crash: pending, perhaps no
 * bitmap commit   [committed, old one stale] then old bitmap removed, [not
 * stale] abort    [stale] then bitmap removed, [not stale]
 *
 * A stale bitmap that cannot be removed just now (it is broken and QEMU has
 * the file, or in a sealed file below one without it) records nothing any
 * more, or soon: it is tried again with every backup and by tidy, and when
 * the VM is off it always goes. Beyond a few of them no new one is made.
 */
#include "controller/tracking.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "controller/tracking-priv.h"
#include "virt/checkpoint.h"

enum {
    STALE_LIMIT = 8
};
#define FILE_MAX ((size_t)1 << 20)

void
tracking_name(const char *backup_uid, char ret_name[TRACKING_NAME_SIZE])
{
    (void)snprintf(ret_name, TRACKING_NAME_SIZE, TRACKING_PREFIX "%s",
                   backup_uid);
}

/* ---- the file ---- */

static char *
dir_of(const struct ctl *ctl)
{
    return xasprintf("%s/tracking", ctl->config.state_dir);
}

static struct tracking *
nothing(const char *vm_uuid)
{
    struct tracking *t = xcalloc(1, sizeof *t);

    (void)snprintf(t->vm, sizeof t->vm, "%s", vm_uuid);
    return t;
}

struct tracking *
tracking_load(struct ctl *ctl, const char *vm_uuid, struct err *err)
{
    CLEANUP(mem_free) char *dir = dir_of(ctl);
    CLEANUP(mem_free) char *path = xasprintf("%s/%s", dir, vm_uuid);
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    CLEANUP(tracking_free) struct tracking *t = NULL;

    if (!uuid_is_valid(vm_uuid))
        return err_set_null(err, ERR_INVALID, "VM %.60s: not a UUID", vm_uuid);
    if (file_read_all(path, FILE_MAX, &text, err) < 0)
        return err->code == ERR_NOT_FOUND ? nothing(vm_uuid) : NULL;
    t = tracking_code_decode(buf_str(&text), text.len, err);
    if (t != NULL && strcmp(t->vm, vm_uuid) == 0)
        return TAKE(t);
    if (t == NULL && err->code != ERR_CORRUPT)
        return err_wrap_null(err, "%s", path);
    log_warn("%s: damaged; the next backup of this VM compares its disks",
             path);
    return nothing(vm_uuid);
}

int
tracking_save(struct ctl *ctl, const struct tracking *t, struct err *err)
{
    CLEANUP(mem_free) char *dir = dir_of(ctl);
    CLEANUP(fd_close) int fd = -1;
    CLEANUP(buf_fini) struct buf text = BUF_INIT;

    if (file_make_dirs(dir, 0700, err) < 0 || file_open_dir(dir, &fd, err) < 0)
        return err_wrap(err, "tracking");
    if (t->pending == NULL && t->committed == NULL && t->n_stale == 0 &&
        t->n_released == 0)
        return file_unlink(fd, t->vm, err);
    tracking_code_encode(t, &text);
    return file_replace(fd, t->vm, text.data, text.len, 0600, err);
}

static void
add_id(char (**ids)[UUID_STR_SIZE], size_t *n, const char *uid)
{
    for (size_t i = 0; i < *n; i++)
        if (strcmp((*ids)[i], uid) == 0)
            return;
    *ids = xrealloc(*ids, *n + 1, sizeof **ids);
    (void)snprintf((*ids)[(*n)++], UUID_STR_SIZE, "%s", uid);
}

static void
add_stale(struct tracking *t, const char *uid)
{
    add_id(&t->stale, &t->n_stale, uid);
}

/* Copies that are pending belong to a cut that somebody else undoes. */
static void
retire(struct tracking *t, struct tracking_point **p)
{
    if (*p == NULL)
        return;
    if (!(*p)->is_clone)
        add_stale(t, (*p)->backup);
    else if ((*p)->entry != NULL)
        add_id(&t->released, &t->n_released, (*p)->backup);
    tracking_code_drop_point(p);
}

/* ---- removing ---- */

/* The copies of backups that came before. Their files go with the next
 * volume_collect(). */
static bool
release(struct ctl *ctl, struct tracking *t)
{
    size_t kept = 0, before = t->n_released;

    for (size_t i = 0; i < t->n_released; i++) {
        struct err why;

        if (volume_cut_delete(ctl->volume, t->vm, t->released[i], &why) == 0)
            continue;
        log_debug("VM %s: copies of %s: %s", t->vm, t->released[i], why.msg);
        memmove(t->released[kept++], t->released[i], UUID_STR_SIZE);
    }
    t->n_released = kept;
    return kept < before;
}

/* Remove the stale bitmaps; true if any went. What fails is left for later:
 * nobody's backup depends on it. */
static bool
clean(struct ctl *ctl, struct tracking *t)
{
    size_t kept = 0;
    size_t before = t->n_stale;
    bool is_changed = release(ctl, t);

    for (size_t i = 0; i < t->n_stale; i++) {
        char name[TRACKING_NAME_SIZE];
        size_t left = 0;
        struct err why;

        tracking_name(t->stale[i], name);
        if (volume_bitmap_remove(ctl->volume, t->vm, name, &left, &why) < 0) {
            log_debug("VM %s: bitmap %s: %s", t->vm, name, why.msg);
            left = 1;
        }
        if (left > 0)
            memmove(t->stale[kept++], t->stale[i], UUID_STR_SIZE);
    }
    t->n_stale = kept;
    return is_changed || kept < before;
}

static int
save_and_clean(struct ctl *ctl, struct tracking *t, struct err *err)
{
    if (tracking_save(ctl, t, err) < 0)
        return -1;
    return clean(ctl, t) ? tracking_save(ctl, t, err) : 0;
}

/* libvirt's note; a domain that is gone has none. */
static void
forget(struct ctl *ctl, const char *vm_uuid, const char *backup_uid)
{
    char name[TRACKING_NAME_SIZE];
    struct err why;

    tracking_name(backup_uid, name);
    if (virt_checkpoint_forget(ctl->virt, vm_uuid, name, &why) < 0)
        log_debug("VM %s: checkpoint %s: %s", vm_uuid, name, why.msg);
}

/* ---- begin ---- */

static int
choose(struct ctl *ctl, const struct virt_vm *vm, const char *const *targets,
       size_t n, struct tracking_choice *c, bool *ret_has_snapshots,
       struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        const char *why = NULL;
        bool has_snapshots = false;

        if (volume_tracking_refusal(ctl->volume, vm, targets[i], &why,
                                    &has_snapshots, err) < 0)
            return -1;
        *ret_has_snapshots = *ret_has_snapshots || has_snapshots;
        if (why == NULL)
            c->targets[c->n++] = targets[i];
        else
            c->why = why;
    }
    /* One disk of the VM with them is enough for a revert to fail. */
    if (*ret_has_snapshots || vm->live == NULL)
        c->n = 0;
    if (vm->live == NULL && !*ret_has_snapshots)
        c->why = "the VM is off: what it writes when it runs again is recorded "
                 "since the backup before";
    return 0;
}

static struct tracking_point *
new_point(const char *backup_uid, const char *repo_uuid)
{
    struct tracking_point *p = xcalloc(1, sizeof *p);

    (void)snprintf(p->backup, sizeof p->backup, "%s", backup_uid);
    (void)snprintf(p->repo, sizeof p->repo, "%s", repo_uuid);
    p->time_s = clock_wall_s();
    return p;
}

static void
free_names(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

/* Whatever stands in a file and has our prefix, known or not. */
static int
find_all(struct ctl *ctl, struct tracking *t, struct err *err)
{
    char **names = NULL;
    size_t n = 0;

    if (volume_bitmap_list(ctl->volume, t->vm, TRACKING_PREFIX, &names, &n,
                           err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (uuid_is_valid(names[i] + strlen(TRACKING_PREFIX)))
            add_stale(t, names[i] + strlen(TRACKING_PREFIX));
    free_names(names, n);
    return 0;
}

int
tracking_begin(struct ctl *ctl, const struct virt_vm *vm,
               const char *backup_uid, const char *repo_uuid,
               const char *const *targets, size_t n,
               struct tracking_choice *choice, struct err *err)
{
    CLEANUP(tracking_free)
    struct tracking *t = tracking_load(ctl, vm->uuid, err);
    struct tracking_choice c = { .targets = choice->targets };
    bool has_snapshots = false;

    if (t == NULL || choose(ctl, vm, targets, n, &c, &has_snapshots, err) < 0)
        return -1;
    retire(t, &t->pending);
    if (has_snapshots && t->committed != NULL && !t->committed->is_clone)
        retire(t, &t->committed);
    /* Also those that came back with an image that was rolled back: any would
     * keep the admin from reverting. */
    if (has_snapshots && find_all(ctl, t, err) < 0)
        return -1;
    if (t->n_stale > 0 && save_and_clean(ctl, t, err) < 0)
        return -1;
    if (t->n_stale > STALE_LIMIT && c.n > 0) {
        c.n = 0;
        c.why = "bitmaps of earlier backups could not be removed; stop the VM "
                "once, and they are";
    }
    if (c.n > 0)
        c.why = NULL;
    *choice = c;
    if (c.n == 0)
        return 0;
    t->pending = new_point(backup_uid, repo_uuid);
    return tracking_save(ctl, t, err);
}

int
tracking_begin_clone(struct ctl *ctl, const char *vm_uuid,
                     const char *backup_uid, const char *repo_uuid,
                     struct err *err)
{
    CLEANUP(tracking_free)
    struct tracking *t = tracking_load(ctl, vm_uuid, err);

    if (t == NULL)
        return -1;
    tracking_code_drop_point(&t->pending); /* its bitmaps were never made */
    t->pending = new_point(backup_uid, repo_uuid);
    t->pending->is_clone = true;
    return tracking_save(ctl, t, err);
}

/* ---- the cut ---- */

static int
record_disk(struct ctl *ctl, const char *vm_uuid, const char *cut_id,
            const char *target, struct tracking_disk *d, struct err *err)
{
    struct volume_file *files;
    size_t n;

    if (volume_cut_files(ctl->volume, vm_uuid, cut_id, target, &files, &n,
                         err) < 0)
        return -1;
    (void)snprintf(d->target, sizeof d->target, "%s", target);
    memcpy(d->layer, files[0].id, sizeof d->layer);
    d->path = xstrdup(files[0].path);
    d->format = xstrdup(files[0].format);
    d->file = files[0].file;
    d->size = files[0].size;
    volume_files_free(files, n);
    return 0;
}

static bool
is_pending(const struct tracking *t, const char *backup_uid)
{
    return t->pending != NULL && strcmp(t->pending->backup, backup_uid) == 0;
}

int
tracking_cut(struct ctl *ctl, const char *vm_uuid, const char *backup_uid,
             const char *const *targets, size_t n, struct err *err)
{
    CLEANUP(tracking_free)
    struct tracking *t = tracking_load(ctl, vm_uuid, err);
    struct tracking_point *p;

    if (t == NULL)
        return -1;
    p = t->pending;
    if (!is_pending(t, backup_uid) || p->n > 0)
        return 0;
    free(p->disks); /* room for none */
    p->disks = xcalloc(n + 1, sizeof *p->disks);
    for (size_t i = 0; i < n; i++)
        if (record_disk(ctl, vm_uuid, backup_uid, targets[i], &p->disks[p->n++],
                        err) < 0)
            return err_wrap(err, "VM %s: record of the disks", vm_uuid);
    if (tracking_save(ctl, t, err) < 0)
        return -1;
    forget(ctl, vm_uuid, backup_uid);
    return 0;
}

/* ---- the end ---- */

int
tracking_commit(struct ctl *ctl, const char *vm_uuid, const char *backup_uid,
                const char *entry, struct err *err)
{
    CLEANUP(tracking_free)
    struct tracking *t = tracking_load(ctl, vm_uuid, err);

    if (t == NULL)
        return -1;
    if (!is_pending(t, backup_uid))
        return 0;
    forget(ctl, vm_uuid, backup_uid);
    if (t->pending->n == 0) { /* never recorded: it can mean nothing */
        retire(t, &t->pending);
    } else {
        retire(t, &t->committed);
        t->pending->entry = xstrdup(entry);
        t->committed = TAKE(t->pending);
    }
    return save_and_clean(ctl, t, err);
}

static bool
keeps(const struct tracking *t, const char *backup_uid)
{
    return t->committed != NULL && t->committed->is_clone &&
           strcmp(t->committed->backup, backup_uid) == 0;
}

bool
tracking_keeps(struct ctl *ctl, const char *vm_uuid, const char *backup_uid)
{
    struct err unused;
    CLEANUP(tracking_free)
    struct tracking *t = tracking_load(ctl, vm_uuid, &unused);

    return t != NULL && keeps(t, backup_uid);
}

int
tracking_abort(struct ctl *ctl, const char *vm_uuid, const char *backup_uid,
               struct err *err)
{
    CLEANUP(tracking_free)
    struct tracking *t = tracking_load(ctl, vm_uuid, err);

    if (t == NULL)
        return -1;
    if (keeps(t, backup_uid)) {
        retire(t, &t->committed);
        return save_and_clean(ctl, t, err);
    }
    if (!is_pending(t, backup_uid))
        return 0;
    forget(ctl, vm_uuid, backup_uid);
    retire(t, &t->pending);
    return save_and_clean(ctl, t, err);
}

int
tracking_distrust(struct ctl *ctl, const char *vm_uuid, struct err *err)
{
    CLEANUP(tracking_free)
    struct tracking *t = tracking_load(ctl, vm_uuid, err);

    if (t == NULL)
        return -1;
    if (t->committed == NULL)
        return 0;
    retire(t, &t->committed);
    return save_and_clean(ctl, t, err);
}

/* ---- every trace ---- */

static int
forget_all(struct ctl *ctl, const char *vm_uuid, struct err *err)
{
    char **names = NULL;
    size_t n = 0;
    int rc = virt_checkpoint_list(ctl->virt, vm_uuid, TRACKING_PREFIX, &names,
                                  &n, err);

    if (rc < 0 && err->code == ERR_NOT_FOUND)
        return 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = virt_checkpoint_forget(ctl->virt, vm_uuid, names[i], err);
    free_names(names, n);
    return rc;
}

int
tracking_drop(struct ctl *ctl, const char *vm_uuid, struct err *err)
{
    CLEANUP(tracking_free)
    struct tracking *t = tracking_load(ctl, vm_uuid, err);

    if (t == NULL || forget_all(ctl, vm_uuid, err) < 0)
        return -1;
    retire(t, &t->pending);
    retire(t, &t->committed);
    if (find_all(ctl, t, err) < 0)
        return -1;
    if (save_and_clean(ctl, t, err) < 0)
        return -1;
    return t->n_stale == 0
               ? 0
               : err_set(err, ERR_CONFLICT,
                         "VM %s: %zu bitmaps of vmkeep can be removed only "
                         "while it is off; stop it and try again",
                         vm_uuid, t->n_stale);
}

/* ---- recovery ---- */

int
tracking_settle(struct ctl *ctl, const char *vm_uuid,
                bool (*is_wanted)(struct ctl *ctl, const char *backup_uid),
                struct err *err)
{
    CLEANUP(tracking_free)
    struct tracking *t = tracking_load(ctl, vm_uuid, err);

    if (t == NULL)
        return -1;
    if (t->pending != NULL && !is_wanted(ctl, t->pending->backup)) {
        forget(ctl, vm_uuid, t->pending->backup);
        retire(t, &t->pending);
        return save_and_clean(ctl, t, err);
    }
    if ((t->n_stale > 0 || t->n_released > 0) && clean(ctl, t))
        return tracking_save(ctl, t, err);
    return 0;
}

/* Is there a backup that can be restored, and will be? Others come after no
 * copy. */
static bool
is_good(struct ctl *ctl, const char *backup_uid)
{
    struct object_list all;
    bool found = false;

    cache_list(ctl->cache, &kind_vmbackup.gvr, NULL, &all);
    for (size_t i = 0; i < all.n && !found; i++)
        if (strcmp(object_uid(all.v[i]), backup_uid) == 0 &&
            !object_is_deleting(all.v[i])) {
            CLEANUP(json_decref) json_t *json = object_json(all.v[i]);

            found = jsonx_bool(json, "status.readyToUse");
        }
    object_list_fini(&all);
    return found;
}

static int
settle_copies(struct ctl *ctl, const char *vm_uuid, struct err *err)
{
    CLEANUP(tracking_free)
    struct tracking *t = tracking_load(ctl, vm_uuid, err);

    if (t == NULL)
        return -1;
    if (t->committed == NULL || !t->committed->is_clone ||
        is_good(ctl, t->committed->backup))
        return 0;
    retire(t, &t->committed);
    return save_and_clean(ctl, t, err);
}

static bool
has_object(struct ctl *ctl, const char *backup_uid)
{
    struct object_list all;
    bool found = false;

    cache_list(ctl->cache, &kind_vmbackup.gvr, NULL, &all);
    for (size_t i = 0; i < all.n && !found; i++)
        found = strcmp(object_uid(all.v[i]), backup_uid) == 0;
    object_list_fini(&all);
    return found;
}

int
tracking_recover(struct ctl *ctl, const char *vm_uuid, struct err *err)
{
    if (tracking_settle(ctl, vm_uuid, has_object, err) < 0)
        return -1;
    return settle_copies(ctl, vm_uuid, err);
}
