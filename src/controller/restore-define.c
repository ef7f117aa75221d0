/* SPDX-License-Identifier: Apache-2.0 */
/* controller/restore-define.c: preflight, identity, and the XML.
 *
 * Identity (DESIGN 7): the VM itself keeps everything. A VM whose UUID exists
 * nowhere any more comes back as itself: UUID, MACs, TPM; a VM object that is
 * kept for a domain that is gone has its UUID still. Any other new VM is
 * another machine: new UUID and MACs, unless a patch asks for certain ones;
 * a UUID or MAC that another domain has is refused.
 */
#include "controller/restore-define.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "controller/capture.h"
#include "controller/firmware.h"
#include "controller/manifest.h"
#include "controller/recover.h"
#include "controller/secrets.h"
#include "types/restorepatch.h"

#define NVRAM_DIR "/var/lib/libvirt/qemu/nvram"

void
restore_define_fini(struct restore_target *t)
{
    domxml_free(t->dom);
    free(t->macs);
    free(t->nvram);
    json_decref(t->manifest);
    virt_vm_free(t->old);
    json_decref(t->notes);
}

static void note(struct restore_target *t, const char *fmt, ...) PRINTF(2, 3);

static void
note(struct restore_target *t, const char *fmt, ...)
{
    struct buf line = BUF_INIT;
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&line, fmt, ap);
    va_end(ap);
    (void)json_array_append_new(t->notes, json_string(buf_str(&line)));
    buf_fini(&line);
}

/* ---- the definition ---- */

json_t *
restore_define_manifest(const json_t *restore, const json_t *source_vm,
                        struct err *err)
{
    const json_t *patches = jsonx_get(restore, "spec.patches");
    const char *name = jsonx_str_or(restore, "spec.target.name", "");
    CLEANUP(json_decref) json_t *vm = json_deep_copy(source_vm);

    if (vm == NULL)
        return err_set_null(err, ERR_CORRUPT, "the source holds no VM");
    jsonx_set_str(vm, "metadata.name", name);
    jsonx_set_str(vm, "spec.runStrategy", "Halted");
    for (size_t i = 0; i < json_array_size(patches); i++) {
        const char *text = json_string_value(json_array_get(patches, i));
        CLEANUP(json_decref)
        json_t *ops = text == NULL ? NULL : restorepatch_parse(text, name, err);

        if (ops == NULL || manifest_patch(vm, ops, err) < 0)
            return NULL;
    }
    return TAKE(vm);
}

/* ---- the VM itself ---- */

static int
see_old(struct ctl *ctl, struct restore_target *t, struct err *err)
{
    t->old = virt_vm_get(ctl->virt, t->uuid, err);
    if (t->old == NULL)
        return -1;
    if (t->old->state != VIRT_OFF && t->old->state != VIRT_CRASHED)
        return err_set(err, ERR_BUSY, "%s is still running", t->name);
    if (t->old->has_managed_save)
        return err_set(
            err, ERR_CONFLICT,
            "%s has a saved memory image that would not fit the restored disks: start it once, or virsh managedsave-remove %s",
            t->name, t->old->inactive->name);
    if (!t->old->is_persistent)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s is transient: libvirt forgets it when it stops",
                       t->name);
    return 0;
}

/* ---- somebody new ---- */

static bool
has_mac(const struct domxml *d, const char *mac)
{
    for (size_t i = 0; i < d->n_nics; i++)
        if (d->nics[i].mac != NULL && strcasecmp(d->nics[i].mac, mac) == 0)
            return true;
    return false;
}

/* Compare with one domain of the host. */
static int
check_against(const struct restore_target *t, const struct virt_vm *vm,
              struct err *err)
{
    if (strcmp(vm->uuid, t->uuid) == 0)
        return err_set(
            err, ERR_EXISTS,
            "the UUID %s is that of domain %s: choose another one, or undefine that domain",
            t->uuid, vm->inactive->name);
    if (strcmp(vm->inactive->name, t->name) == 0)
        return err_set(
            err, ERR_EXISTS,
            "a domain named %s is there already: choose another name, or undefine or rename that domain",
            t->name);
    for (size_t i = 0; i < t->dom->n_nics; i++) {
        const char *mac = t->macs[i][0] != 0 ? t->macs[i] : t->dom->nics[i].mac;

        if (mac != NULL && has_mac(vm->inactive, mac))
            return err_set(
                err, ERR_EXISTS,
                "the MAC address %s is that of domain %s: choose another one, or undefine that domain",
                mac, vm->inactive->name);
    }
    return 0;
}

/* Networks that the host lacks would only be missed at the first start. */
static int
check_networks(struct ctl *ctl, const struct restore_target *t, struct err *err)
{
    for (size_t i = 0; i < t->dom->n_nics; i++) {
        const struct domxml_nic *nic = &t->dom->nics[i];
        bool is_there = false;

        if (nic->type == NULL || strcmp(nic->type, "network") != 0 ||
            nic->source == NULL)
            continue;
        if (virt_network_exists(ctl->virt, nic->source, &is_there, err) < 0)
            return -1;
        if (!is_there)
            return err_set(
                err, ERR_NOT_FOUND,
                "interface %zu is in network %s, which this host does not have: virsh net-define it first",
                i, nic->source);
    }
    return 0;
}

/* The VM object that has this UUID under another name, or NULL: that of a
 * domain that is gone, kept for its snapshots. A domain defined with its UUID
 * would take that object up, name and all. Caller unrefs. */
static struct object *
find_kept(struct ctl *ctl, const struct restore_target *t, const char *uuid)
{
    const char *ns = t->domain_ns == NULL ? "default" : t->domain_ns;
    struct object *o = ctl_vm_by_uid(ctl, uuid);

    if (o != NULL && strcmp(object_name(o), t->name) == 0 &&
        strcmp(object_ns(o), ns) == 0) {
        object_unref(o);
        o = NULL;
    }
    return o;
}

static int
check_against_all(struct ctl *ctl, const struct restore_target *t,
                  struct err *err)
{
    CLEANUP(object_unref) struct object *kept = find_kept(ctl, t, t->uuid);
    char **uuids = NULL;
    size_t n = 0;
    int rc = virt_list(ctl->virt, &uuids, &n, err);

    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct err gone;
        CLEANUP(virt_vm_free)
        struct virt_vm *vm = virt_vm_get(ctl->virt, uuids[i], &gone);

        if (vm != NULL)
            rc = check_against(t, vm, err);
        else if (gone.code != ERR_NOT_FOUND) {
            *err = gone;
            rc = -1;
        }
    }
    for (size_t i = 0; i < n; i++)
        free(uuids[i]);
    free(uuids);
    if (rc == 0 && kept != NULL)
        return err_set(
            err, ERR_EXISTS,
            "the UUID %s is that of the virtual machine %s/%s, which is kept for its snapshots: choose another one",
            t->uuid, object_ns(kept), object_name(kept));
    return rc;
}

static void
random_mac(char mac[18])
{
    uint8_t b[3];

    uuid_random_bytes(b, sizeof b);
    (void)snprintf(mac, 18, "52:54:00:%02x:%02x:%02x", b[0], b[1], b[2]);
}

/* The UUID: asked for by a patch, chosen before, its own, or a new one. */
static int
choose_uuid(struct ctl *ctl, const struct restore_job *job, const char *asked,
            const char *chosen, struct restore_target *t, struct err *err)
{
    const char *own = job->source->vm_uuid;
    const char *before =
        jsonx_str(job->source->vm, "spec.template.spec.domain.firmware.uuid");
    CLEANUP(object_unref) struct object *kept = find_kept(ctl, t, own);
    struct err gone;
    CLEANUP(virt_vm_free) struct virt_vm *vm = NULL;

    vm = virt_vm_get(ctl->virt, own, &gone);
    if (vm == NULL && gone.code != ERR_NOT_FOUND) {
        *err = gone;
        return -1;
    }
    /* A patch that names one; not the value that the snapshot has anyway. */
    if (asked != NULL && *asked != 0 &&
        (before == NULL || strcmp(asked, before) != 0))
        (void)snprintf(t->uuid, sizeof t->uuid, "%s", asked);
    else if (chosen != NULL && (vm == NULL || strcmp(chosen, own) != 0))
        (void)snprintf(t->uuid, sizeof t->uuid, "%s", chosen);
    else if (vm == NULL && kept == NULL && (asked == NULL || *asked != 0))
        (void)snprintf(t->uuid, sizeof t->uuid, "%s", own);
    else
        uuid_random(t->uuid);
    t->is_same_uuid = strcmp(t->uuid, own) == 0;
    return 0;
}

static void
choose_macs(const struct restore_job *job, struct restore_target *t)
{
    const json_t *was = job->source->vm;

    for (size_t i = 0; i < t->dom->n_nics; i++) {
        char before[18] = "", now[18] = "";
        bool is_said = manifest_mac(t->manifest, i, now);
        bool is_changed =
            is_said && now[0] != 0 &&
            (!manifest_mac(was, i, before) || strcmp(before, now) != 0);

        if (is_changed)
            memcpy(t->macs[i], now, sizeof now);
        else if ((!t->is_same_uuid && !job->is_keeping_macs) ||
                 (is_said && now[0] == 0))
            random_mac(t->macs[i]);
        if (t->macs[i][0] != 0 && t->dom->nics[i].mac != NULL)
            note(t, "interface %zu: MAC address %s instead of %s", i,
                 t->macs[i], t->dom->nics[i].mac);
    }
}

/* Another VM is replaced: it keeps its own addresses. */
static void
keep_macs(struct restore_target *t)
{
    const struct domxml *old = t->old->inactive;

    for (size_t i = 0; i < t->dom->n_nics; i++) {
        if (i < old->n_nics && old->nics[i].mac != NULL)
            (void)snprintf(t->macs[i], sizeof t->macs[i], "%s",
                           old->nics[i].mac);
        else
            random_mac(t->macs[i]);
    }
    note(t, "UUID and MAC addresses: those of the replaced VM");
}

/* Another VM has the TPM's secrets only if somebody said so. */
static void
choose_tpm(const struct restore_job *job, struct restore_target *t)
{
    const char *said = json_string_value(json_object_get(
        jsonx_get(job->restore_json, "metadata.annotations"), KIND_NOTE_TPM));

    t->has_tpm =
        job->source->has_tpm &&
        (t->is_same_uuid || (said != NULL && strcmp(said, "Copy") == 0));
    if (job->source->has_tpm && !t->has_tpm)
        note(
            t,
            "TPM: a new one, without the keys of the old; the annotation " KIND_NOTE_TPM
            ": Copy would copy it");
}

static int
choose_identity(struct ctl *ctl, const struct restore_job *job,
                const char *chosen, struct restore_target *t, struct err *err)
{
    struct manifest_domain md;

    t->manifest =
        restore_define_manifest(job->restore_json, job->source->vm, err);
    if (t->manifest == NULL || manifest_read(t->manifest, &md, err) < 0 ||
        choose_uuid(ctl, job, md.uuid, chosen, t, err) < 0)
        return -1;
    t->memory_kib = md.memory_kib;
    t->vcpus = md.vcpus;
    t->serial = md.serial;
    choose_macs(job, t);
    if (!t->is_same_uuid)
        note(t, "UUID: %s instead of %s", t->uuid, job->source->vm_uuid);
    return check_against_all(ctl, t, err);
}

/* Is the sealed XML what must be defined, but for the disks, and the name if
 * the domain was renamed since? */
static bool
is_exact(const struct restore_target *t)
{
    return t->is_in_place && t->is_same_uuid && t->source->is_xml_ours &&
           (t->memory_kib == 0 || t->memory_kib == t->dom->memory_kib) &&
           (t->vcpus == 0 || t->vcpus == t->dom->vcpus);
}

/* The file that the definition will name. */
static void
choose_nvram(const struct restore_job *job, struct restore_target *t)
{
    const char *old = t->is_in_place ? t->old->inactive->nvram : NULL;

    if (is_exact(t))
        old = t->dom->nvram;
    if (old != NULL)
        t->nvram = xstrdup(old);
    else if (job->source->has_nvram)
        t->nvram = xasprintf(NVRAM_DIR "/vmkeep-%s_VARS.fd", t->uuid);
}

int
restore_define_preflight(struct ctl *ctl, const struct restore_job *job,
                         const char *chosen_uuid,
                         struct restore_target *ret_target, struct err *err)
{
    CLEANUP(restore_define_fini) struct restore_target t = { .name = NULL };
    const char *target_uid = jsonx_str(job->vm_json, "metadata.uid");
    const char *ns = jsonx_str_or(job->restore_json, "metadata.namespace", "");
    struct manifest_domain md;

    t.source = job->source;
    t.notes = json_deep_copy(job->source->notes);
    t.name = jsonx_str_or(job->restore_json, "spec.target.name", "");
    t.domain_ns = strcmp(ns, "default") == 0 ? NULL : ns;
    t.dom = domxml_parse(job->source->xml, err);
    if (t.dom == NULL || check_networks(ctl, &t, err) < 0)
        return -1;
    t.macs = xcalloc(t.dom->n_nics + 1, sizeof *t.macs);
    (void)snprintf(t.uuid, sizeof t.uuid, "%s", job->source->vm_uuid);
    if (target_uid != NULL &&
        (job->is_replacing || strcmp(target_uid, t.uuid) == 0)) {
        int rc;

        t.is_same_uuid = strcmp(target_uid, t.uuid) == 0;
        (void)snprintf(t.uuid, sizeof t.uuid, "%s", target_uid);
        rc = see_old(ctl, &t, err);

        if (rc < 0 && err->code != ERR_NOT_FOUND)
            return -1;
        t.is_in_place = rc == 0;
    }
    if (t.is_in_place) {
        if (!t.is_same_uuid)
            keep_macs(&t);
        if (manifest_read(job->source->vm, &md, err) < 0)
            return -1;
        t.memory_kib = md.memory_kib;
        t.vcpus = md.vcpus;
        if (json_array_size(jsonx_get(job->restore_json, "spec.patches")) > 0)
            note(
                &t,
                "patches: not applied, for the VM is there; they are for new VMs");
    } else if (choose_identity(ctl, job, chosen_uuid, &t, err) < 0) {
        return -1;
    }
    choose_tpm(job, &t);
    choose_nvram(job, &t);
    *ret_target = t;
    memset(&t, 0, sizeof t);
    return 0;
}

/* ---- the XML ---- */

/* In place, disks that are not in the snapshot stay as they are now. */
static size_t
add_untouched(const struct restore_target *t, struct domxml_source *sources,
              size_t n)
{
    size_t n_new = n;

    for (size_t i = 0; t->is_in_place && i < t->old->inactive->n_disks; i++) {
        const struct domxml_disk *d = &t->old->inactive->disks[i];
        bool is_new = false;

        for (size_t k = 0; k < n_new; k++)
            is_new = is_new || strcmp(sources[k].target, d->target) == 0;
        if (is_new || d->chain_len == 0 || d->kind != DOMXML_DISK_FILE ||
            domxml_disk(t->dom, d->target) == NULL)
            continue;
        sources[n++] = (struct domxml_source){ d->target, d->chain[0].path,
                                               d->chain[0].format };
    }
    return n;
}

static void
note_lines(struct restore_target *t, char *text)
{
    char *rest = text, *line;

    while (text != NULL && (line = strsep(&rest, "\n")) != NULL)
        if (*line != 0)
            note(t, "%s", line);
}

static int
rebuild(struct restore_target *t, const struct domxml_source *sources, size_t n,
        char **ret_xml, struct err *err)
{
    CLEANUP(mem_free)
    const char **macs = xcalloc(t->dom->n_nics + 1, sizeof *macs);
    CLEANUP(mem_free) char *dropped = NULL;
    struct domxml_rebuild how = {
        .name = t->is_in_place ? t->old->inactive->name : t->name,
        .uuid = t->uuid,
        .ns = t->domain_ns,
        .nvram = t->nvram,
        .disks = sources,
        .n_disks = n,
        .macs = macs,
        .keep_identity = t->is_same_uuid,
        /* Sealed by us: this host's libvirt gave it, nobody changed it. */
        .keep_kernel = t->source->is_xml_ours,
        .memory_kib = t->memory_kib,
        .vcpus = t->vcpus,
        .serial = t->serial,
    };

    for (size_t i = 0; i < t->dom->n_nics; i++)
        macs[i] = t->macs[i][0] != 0 ? t->macs[i] : NULL;
    if (domxml_rebuild(t->source->xml, &how, ret_xml, &dropped, err) < 0)
        return -1;
    note_lines(t, dropped);
    return 0;
}

static int
retarget(const struct restore_target *t, const struct domxml_source *sources,
         size_t n, char **ret_xml, struct err *err)
{
    const char *name = t->old->inactive->name;
    CLEANUP(secrets_free_text) char *renamed = NULL;

    if (strcmp(t->dom->name, name) != 0 &&
        domxml_rename(t->source->xml, name, &renamed, err) < 0)
        return -1;
    return domxml_retarget(renamed != NULL ? renamed : t->source->xml, sources,
                           n, ret_xml, err);
}

int
restore_define_xml(struct restore_target *t,
                   const struct volume_new_disk *disks, size_t n_disks,
                   char **ret_xml, struct err *err)
{
    size_t room = n_disks + (t->is_in_place ? t->old->inactive->n_disks : 0);
    CLEANUP(mem_free)
    struct domxml_source *sources = xcalloc(room + 1, sizeof *sources);
    size_t n = 0;

    for (; n < n_disks; n++)
        sources[n] = (struct domxml_source){ disks[n].target, disks[n].path,
                                             disks[n].format };
    if (is_exact(t))
        return retarget(t, sources, n, ret_xml, err);
    n = add_untouched(t, sources, n);
    return rebuild(t, sources, n, ret_xml, err);
}
