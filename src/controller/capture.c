/* SPDX-License-Identifier: Apache-2.0 */
/* controller/capture.c: from a VM to the content that remembers it.
 *
 * A running VM is kept as it was started: processors and memory come from the
 * instance, not from a definition that was edited since. Everything that the
 * snapshot's status says later is made from the content alone.
 */
#include "controller/capture.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "controller/projection.h"

#define VM_DOMAIN "spec.template.spec.domain"

/* ---- which disks ---- */

static bool
is_listed(const char *list, const char *word)
{
    size_t len = strlen(word);

    while (list != NULL && *list != 0) {
        size_t n = strcspn(list, ", \t\n");

        if (n == len && strncmp(list, word, n) == 0)
            return true;
        list += n;
        list += strspn(list, ", \t\n");
    }
    return false;
}

/* A raw block device, of which the VM is the only user. */
static bool
can_be_pulled(const struct domxml_disk *disk,
              const struct domxml_disk *inactive)
{
    return disk->kind == DOMXML_DISK_BLOCK && disk->target != NULL &&
           disk->device != NULL && strcmp(disk->device, "disk") == 0 &&
           !disk->is_readonly && !disk->is_shareable && !disk->is_encrypted &&
           !disk->is_transient && disk->chain_len == 1 &&
           disk->chain[0].path != NULL && disk->chain[0].format != NULL &&
           strcmp(disk->chain[0].format, "raw") == 0 && inactive != NULL &&
           inactive->kind == DOMXML_DISK_BLOCK && inactive->chain_len == 1 &&
           inactive->chain[0].path != NULL &&
           strcmp(inactive->chain[0].path, disk->chain[0].path) == 0 &&
           strlen(disk->target) < 32 &&
           strspn(disk->target, "abcdefghijklmnopqrstuvwxyz0123456789") ==
               strlen(disk->target);
}

void
capture_choose(const struct virt_vm *vm, const char *exclude, bool may_pull,
               struct capture_disks *d)
{
    const struct domxml *now = vm->live != NULL ? vm->live : vm->inactive;

    memset(d, 0, sizeof *d);
    d->v = xcalloc(now->n_disks + 1, sizeof *d->v);
    d->targets = xcalloc(now->n_disks + 1, sizeof *d->targets);
    d->pulled = xcalloc(now->n_disks + 1, sizeof *d->pulled);
    for (size_t i = 0; i < now->n_disks; i++) {
        const struct domxml_disk *disk = &now->disks[i];
        const struct domxml_disk *inactive =
            domxml_disk(vm->inactive, disk->target);
        struct capture_disk *to = &d->v[d->n++];

        to->target = disk->target;
        to->is_data =
            !disk->is_readonly && (strcmp(disk->device, "disk") == 0 ||
                                   strcmp(disk->device, "lun") == 0);
        to->is_pulled = may_pull && can_be_pulled(disk, inactive);
        to->reason = to->is_pulled ? NULL : volume_disk_refusal(disk, inactive);
        if (to->reason == NULL && is_listed(exclude, disk->target))
            to->reason =
                "excluded by the annotation " CAPTURE_EXCLUDE_ANNOTATION;
        if (to->reason == NULL && to->is_pulled)
            d->pulled[d->n_pulled++] = disk->target;
        else if (to->reason == NULL)
            d->targets[d->n_targets++] = disk->target;
        else if (to->is_data)
            d->is_partial = true;
    }
}

void
capture_disks_fini(struct capture_disks *d)
{
    free(d->v);
    free(d->targets);
    free(d->pulled);
}

/* ---- names ---- */

char *
capture_content_name(const char *snapshot_uid)
{
    return xasprintf("vmsnapshot-content-%s", snapshot_uid);
}

char *
capture_volume_snapshot_name(const char *snapshot_uid, const char *volume)
{
    return xasprintf("vmsnapshot-%s-volume-%s", snapshot_uid, volume);
}

/* ---- the content ---- */

/* The VM as it was: no managedFields, an empty status. */
static json_t *
definition(const struct capture_input *in)
{
    static const char *const as_started[] = { "memory", "cpu", "resources" };
    json_t *vm = json_deep_copy(in->vm);

    jsonx_del(vm, "metadata.managedFields");
    jsonx_del(vm, "metadata.resourceVersion");
    (void)json_object_set_new(vm, "status", json_object());
    for (size_t i = 0; in->vmi != NULL && i < ARRAY_SIZE(as_started); i++) {
        json_t *v =
            json_object_get(jsonx_get(in->vmi, "spec.domain"), as_started[i]);
        json_t *domain = jsonx_get(vm, VM_DOMAIN);

        if (v != NULL && domain != NULL)
            (void)json_object_set_new(domain, as_started[i], json_deep_copy(v));
    }
    return vm;
}

static json_t *
claim_part(const struct capture_input *in, const char *volume)
{
    const char *name = projection_claim_of(in->vm, volume);
    const json_t *claim =
        name == NULL ? NULL : json_object_get(in->claims, name);
    const json_t *spec = json_object_get(claim, "spec");
    json_t *meta = json_object();

    jsonx_set_str(meta, "name", name);
    for (size_t i = 0; i < 4 && claim != NULL; i++) {
        static const char *const keys[] = { "namespace", "uid", "labels",
                                            "annotations" };
        json_t *v =
            json_object_get(json_object_get(claim, "metadata"), keys[i]);

        if (v != NULL)
            (void)json_object_set_new(meta, keys[i], json_deep_copy(v));
    }
    return json_pack("{s:o, s:o}", "metadata", meta, "spec",
                     spec == NULL ? json_object() : json_deep_copy(spec));
}

static void
add_volume(json_t *backups, const struct capture_input *in, const char *volume)
{
    const char *uid = jsonx_str_or(in->snapshot, "metadata.uid", "");
    char *name = capture_volume_snapshot_name(uid, volume);

    (void)json_array_append_new(
        backups, json_pack("{s:s, s:o, s:s}", "volumeName", volume,
                           "persistentVolumeClaim", claim_part(in, volume),
                           "volumeSnapshotName", name));
    free(name);
}

/* One backup for each disk, and one for what the firmware remembers. */
static json_t *
volume_backups(const struct capture_input *in)
{
    json_t *backups = json_array();

    for (size_t i = 0; i < in->disks->n_targets; i++)
        add_volume(backups, in, in->disks->targets[i]);
    if (in->cut->has_nvram || in->cut->has_tpm) {
        char *name = xasprintf("persistent-state-for-%s",
                               jsonx_str_or(in->vm, "metadata.name", ""));

        add_volume(backups, in, name);
        free(name);
    }
    return backups;
}

static json_t *
layers(const struct capture_input *in)
{
    json_t *list = json_array();

    for (size_t i = 0; i < in->disks->n_targets; i++) {
        const struct volume_cut_disk *d = &in->cut_disks[i];

        (void)json_array_append_new(
            list,
            json_pack("{s:s, s:s, s:I}", "volumeName", d->target, "layerID",
                      d->layer_id, "size", (json_int_t)d->virtual_size));
    }
    return list;
}

static json_t *
cut_record(const struct capture_input *in)
{
    struct snapshot_indication v[SNAPSHOT_INDICATIONS_MAX];
    const struct capture_cut *c = in->cut;
    unsigned n = snapshot_plan_indications(&c->moment, v);
    json_t *indications = json_array(), *included = json_array(),
           *excluded = json_array();
    char time[CLOCK_RFC3339_SIZE];

    for (unsigned i = 0; i < n; i++)
        (void)json_array_append_new(
            indications, json_pack("{s:s, s:s}", "indication", v[i].name,
                                   "message", v[i].message));
    for (size_t i = 0; i < in->disks->n; i++) {
        const struct capture_disk *d = &in->disks->v[i];

        if (d->reason == NULL)
            (void)json_array_append_new(included, json_string(d->target));
        else
            (void)json_array_append_new(
                excluded, json_pack("{s:s, s:s}", "volume", d->target, "reason",
                                    d->reason));
    }
    clock_format_rfc3339(c->time_s, time);
    return json_pack("{s:s, s:o, s:o, s:o, s:I, s:I, s:i, s:b, s:b, s:s}",
                     "time", time, "indications", indications, "included",
                     included, "excluded", excluded, "frozenMilliseconds",
                     (json_int_t)c->frozen_ms, "pausedMilliseconds",
                     (json_int_t)c->paused_ms, "attempts", (int)c->attempts,
                     "nvram", c->has_nvram, "tpm", c->has_tpm, "driver",
                     c->driver == NULL ? "overlay" : c->driver);
}

json_t *
capture_content(const struct capture_input *in)
{
    const char *uid = jsonx_str_or(in->snapshot, "metadata.uid", "");
    char *name = capture_content_name(uid);
    json_t *content = json_pack(
        "{s:s, s:s, s:{s:s, s:s, s:[s], s:{s:s}}, s:{s:s, s:{s:o}, s:o, s:{s:o, s:o}}}",
        "apiVersion", "snapshot.kubevirt.io/v1beta1", "kind",
        "VirtualMachineSnapshotContent", "metadata", "name", name, "namespace",
        jsonx_str_or(in->snapshot, "metadata.namespace", ""), "finalizers",
        CAPTURE_FINALIZER, "annotations", CAPTURE_XML_ANNOTATION,
        in->domain_xml, "spec", "virtualMachineSnapshotName",
        jsonx_str_or(in->snapshot, "metadata.name", ""), "source",
        "virtualMachine", definition(in), "volumeBackups", volume_backups(in),
        "vmkeep", "layers", layers(in), "cut", cut_record(in));

    free(name);
    return content;
}
