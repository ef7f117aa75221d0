/* SPDX-License-Identifier: Apache-2.0 */
/* controller/project-disks.c: disks and claims.
 *
 * A claim is a disk file. Which claim a volume uses is written in the VM
 * object (so that a restore can change it); which file a claim is, in the
 * claim's annotation. A file that is detached keeps the claim that it had
 * while it was attached, unless that name is in use again. Therefore nothing
 * that exists is changed while a restore is in progress: between its new
 * domain XML and its new claim names the old claim would be given to the new
 * file.
 */
#include "controller/project-disks.h"

#include <sys/ioctl.h>
#include <sys/stat.h>

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "controller/project.h"
#include "controller/projectput.h"

#define HOLDER "listing the VM's files"

/* ---- sizes ---- */

/* The size field of a qcow2 header; 0: none. source: qemu docs/interop/qcow2,
 * "Header" */
static uint64_t
qcow2_size(int fd)
{
    uint8_t h[32];
    uint64_t size = 0;

    if (pread(fd, h, sizeof h, 0) != sizeof h || memcmp(h, "QFI\xfb", 4) != 0)
        return 0;
    for (unsigned i = 24; i < 32; i++)
        size = size << 8 | h[i];
    return size;
}

/* `path` is not followed into a FIFO or terminal: O_NONBLOCK, and only
 * regular files and block devices are looked at. */
static void
read_size(const struct domxml_file *file, struct projection_disk *disk)
{
    CLEANUP(fd_close)
    int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    bool is_qcow2 = file->format != NULL && strcmp(file->format, "qcow2") == 0;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        disk->is_missing = true;
        return;
    }
    if (is_qcow2)
        disk->size = qcow2_size(fd);
    else if (S_ISREG(st.st_mode))
        disk->size = (uint64_t)st.st_size;
    else if (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, &disk->size) < 0)
        disk->size = 0;
}

static void
collect_one(const struct domxml_disk *xml, const struct domxml_disk *inactive,
            struct projection_disk *disk)
{
    *disk = (struct projection_disk){
        .xml = xml,
        .refusal = volume_disk_refusal(xml, inactive),
    };
    if (projection_has_claim(xml))
        read_size(&xml->chain[0], disk);
}

void
project_disks_collect(const struct virt_vm *vm, struct project_disks *ret_disks)
{
    size_t n_inactive = vm->inactive == NULL ? 0 : vm->inactive->n_disks;
    size_t n_live = vm->live == NULL ? 0 : vm->live->n_disks;
    struct project_disks d = { 0 };

    d.v = xcalloc(n_inactive + n_live + 1, sizeof *d.v);
    for (size_t i = 0; i < n_inactive; i++) {
        const struct domxml_disk *inactive = &vm->inactive->disks[i];
        const struct domxml_disk *live =
            vm->live == NULL ? NULL : domxml_disk(vm->live, inactive->target);

        collect_one(live == NULL ? inactive : live, inactive, &d.v[d.n++]);
    }
    for (size_t i = 0; i < n_live; i++) {
        const struct domxml_disk *live = &vm->live->disks[i];

        if (vm->inactive == NULL ||
            domxml_disk(vm->inactive, live->target) == NULL)
            collect_one(live, NULL, &d.v[d.n++]);
    }
    *ret_disks = d;
}

void
project_disks_fini(struct project_disks *d)
{
    free(d->v);
    *d = (struct project_disks){ 0 };
}

/* ---- claims ---- */

/* The claims that are wanted, and what is known of the detached files. */
struct sync {
    struct ctl *ctl;
    const struct projection *p;
    const char *uuid;
    struct object_list claims; /* of this VM, as they are */
    char **wanted;             /* names */
    size_t n_wanted;
    struct volume_detached *detached;
    size_t n_detached;
    bool is_detached_known;
    bool is_restoring; /* claims are made, not changed */
};

static void
write_claim(void *arg, json_t *object)
{
    projection_claim(object, arg);
}

static bool
is_known(const struct sync *s, const char *name)
{
    for (size_t i = 0; i < s->claims.n; i++)
        if (strcmp(object_name(s->claims.v[i]), name) == 0)
            return true;
    return false;
}

static int
put_claim(struct sync *s, const char *name, struct projection_claim *c,
          struct err *err)
{
    struct obj_ref ref = { &kind_pvc.gvr, s->p->ns, name };

    s->wanted[s->n_wanted++] = xstrdup(name);
    if (s->is_restoring && is_known(s, name))
        return 0;
    return projectput_write(s->ctl, &ref, NULL, write_claim, c, NULL, err);
}

static bool
is_wanted(const struct sync *s, const char *name)
{
    for (size_t i = 0; i < s->n_wanted; i++)
        if (strcmp(s->wanted[i], name) == 0)
            return true;
    return false;
}

static int
put_attached(struct sync *s, struct err *err)
{
    for (size_t i = 0; i < s->p->n_disks; i++) {
        const struct projection_disk *disk = &s->p->disks[i];
        const char *name =
            projection_claim_of(s->p->vm_object, disk->xml->target);
        CLEANUP(mem_free) char *first = NULL;

        if (!projection_has_claim(disk->xml))
            continue;
        if (name == NULL) { /* hot-plugged: not in the VM's spec */
            first = projection_claim_name(s->p->name, disk->xml->target);
            name = first;
        }

        struct projection_claim c = {
            .vm = s->p->name,
            .volume = disk->xml->target,
            .path = disk->xml->chain[0].path,
            .format = disk->xml->chain[0].format,
            .size = disk->size,
            .is_block = disk->xml->kind == DOMXML_DISK_BLOCK,
            .is_missing = disk->is_missing,
        };

        if (put_claim(s, name, &c, err) < 0)
            return -1;
    }
    return 0;
}

static char *
annotation_of(const struct object *o, const char *key)
{
    CLEANUP(json_decref) json_t *v = object_json(o);

    return xstrdup(json_string_value(
        json_object_get(jsonx_get(v, "metadata.annotations"), key)));
}

/* The claim that this file has, or a new name that will not change: made of
 * the path. */
static char *
detached_name(const struct sync *s, const struct volume_detached *file)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < s->claims.n; i++) {
        CLEANUP(mem_free)
        char *path = annotation_of(s->claims.v[i], PROJECT_NOTE_PATH);

        if (path != NULL && strcmp(path, file->path) == 0 &&
            !is_wanted(s, object_name(s->claims.v[i])))
            return xstrdup(object_name(s->claims.v[i]));
    }
    for (const char *p = file->path; *p != 0; p++)
        h = (h ^ (unsigned char)*p) * 16777619u;
    return xasprintf("%.180s-%.50s-%08x", s->p->name, file->target, h);
}

static int
put_detached(struct sync *s, struct err *err)
{
    for (size_t i = 0; i < s->n_detached; i++) {
        const struct volume_detached *file = &s->detached[i];
        CLEANUP(mem_free) char *name = detached_name(s, file);
        struct projection_claim c = {
            .vm = s->p->name,
            .volume = file->target,
            .path = file->path,
            .format = file->format,
            .size = file->virtual_size,
            .is_missing = access(file->path, F_OK) != 0,
            .is_detached = true,
        };

        if (put_claim(s, name, &c, err) < 0)
            return -1;
    }
    return 0;
}

/* Somebody deleted the claim of a detached file: the file goes, then it. */
static int
delete_file(struct sync *s, const struct object *claim, struct queue *queue,
            struct err *err)
{
    CLEANUP(mem_free) char *path = annotation_of(claim, PROJECT_NOTE_PATH);
    int rc;

    for (size_t i = 0; i < s->n_detached; i++) {
        if (path == NULL || strcmp(s->detached[i].path, path) != 0)
            continue;
        if (vmlock_take(s->ctl->locks, s->uuid, VMLOCK_MERGE, HOLDER, queue,
                        s->uuid, err) < 0)
            return -1;
        rc = volume_detached_delete(s->ctl->volume, s->uuid, path, err);
        vmlock_release(s->ctl->locks, s->uuid, HOLDER);
        if (rc < 0) {
            eventrec_warn(s->ctl->events, claim, "DeleteFailed", "%s",
                          err->msg);
            return -1;
        }
        eventrec_normal(s->ctl->events, claim, "FileDeleted",
                        "deleted the file %s", path);
    }
    return 0;
}

static int
remove_claim(struct sync *s, const struct object *claim, struct err *err)
{
    struct obj_ref ref = { &kind_pvc.gvr, object_ns(claim),
                           object_name(claim) };

    return projectput_remove(s->ctl, &ref, err);
}

/* Claims that nothing stands behind any more, and those that a user deleted. */
static int
remove_others(struct sync *s, struct queue *queue, struct err *err)
{
    for (size_t i = 0; i < s->claims.n; i++) {
        const struct object *claim = s->claims.v[i];
        bool is_detached = object_label(claim, PROJECT_LABEL_DETACHED) != NULL;

        if (is_detached && !s->is_detached_known)
            continue;
        if (is_detached && object_is_deleting(claim)) {
            if (delete_file(s, claim, queue, err) < 0 ||
                remove_claim(s, claim, err) < 0)
                return -1;
        } else if (!is_wanted(s, object_name(claim)) &&
                   remove_claim(s, claim, err) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Only the claims of this VM. */
static void
list_claims(struct sync *s)
{
    struct object_list all;

    cache_list(s->ctl->cache, &kind_pvc.gvr, s->p->ns, &all);
    s->claims.v = xcalloc(all.n + 1, sizeof *s->claims.v);
    for (size_t i = 0; i < all.n; i++) {
        const char *vm = object_label(all.v[i], PROJECT_LABEL_VM);

        if (vm != NULL && strcmp(vm, s->p->name) == 0)
            s->claims.v[s->claims.n++] = object_ref(all.v[i]);
    }
    object_list_fini(&all);
}

static void
list_detached(struct sync *s, struct queue *queue)
{
    struct err err;

    if (vmlock_take(s->ctl->locks, s->uuid, VMLOCK_READ, HOLDER, queue, s->uuid,
                    &err) < 0)
        return; /* we are called again; until then they stay as they are */
    s->is_detached_known =
        volume_list_detached(s->ctl->volume, s->uuid, &s->detached,
                             &s->n_detached, &err) == 0;
    vmlock_release(s->ctl->locks, s->uuid, HOLDER);
}

static void
sync_fini(struct sync *s)
{
    for (size_t i = 0; i < s->n_wanted; i++)
        free(s->wanted[i]);
    free(s->wanted);
    for (size_t i = 0; i < s->n_detached; i++) {
        free(s->detached[i].path);
        free(s->detached[i].format);
        free(s->detached[i].target);
    }
    free(s->detached);
    object_list_fini(&s->claims);
}

int
project_disks_sync_claims(struct ctl *ctl, const struct projection *p,
                          const char *uuid, struct queue *queue,
                          struct err *err)
{
    struct sync s = { .ctl = ctl, .p = p, .uuid = uuid };
    int rc;

    s.is_restoring =
        jsonx_str_or(p->vm_object, "status.restoreInProgress", "")[0] != 0;

    list_claims(&s);
    if (!s.is_restoring)
        list_detached(&s, queue);
    s.wanted = xcalloc(p->n_disks + s.n_detached + 1, sizeof *s.wanted);
    rc = put_attached(&s, err);
    if (rc == 0 && !s.is_restoring)
        rc = put_detached(&s, err);
    if (rc == 0 && !s.is_restoring)
        rc = remove_others(&s, queue, err);
    sync_fini(&s);
    return rc;
}
