/* SPDX-License-Identifier: Apache-2.0 */
/* controller/projection.c: domains as objects.
 *
 * The persistent XML is the VM's spec, the live XML is the instance's; a disk
 * that only the live XML has was hot-plugged and is listed with the reason why
 * it is in no snapshot.
 */
#include "controller/projection.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "controller/ctl.h"
#include "controller/project-host.h"
#include "controller/project.h"
#include "controller/projection-spec.h"

bool
projection_has_claim(const struct domxml_disk *disk)
{
    bool is_disk = disk->device == NULL || strcmp(disk->device, "disk") == 0 ||
                   strcmp(disk->device, "lun") == 0;

    return is_disk && disk->chain_len > 0 && disk->chain[0].path != NULL &&
           (disk->kind == DOMXML_DISK_FILE || disk->kind == DOMXML_DISK_BLOCK ||
            disk->kind == DOMXML_DISK_VOLUME);
}

const char *
projection_claim_of(const json_t *vm_object, const char *volume)
{
    const json_t *volumes = jsonx_get(vm_object, "spec.template.spec.volumes");

    return jsonx_str(jsonx_find(volumes, "name", volume),
                     "persistentVolumeClaim.claimName");
}

char *
projection_claim_name(const char *vm, const char *volume)
{
    return xasprintf("%.180s-%.60s", vm, volume);
}

void
projection_name(const char *domain, const char *uuid,
                char ret_name[PROJECTION_NAME_SIZE])
{
    size_t max = PROJECTION_NAME_SIZE - 1 - (uuid == NULL ? 0 : 6);
    size_t n = 0;

    for (const char *p = domain; *p != 0 && n < max; p++) {
        char c = (char)(tolower)((unsigned char)*p); /* no macro */

        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            ret_name[n++] = c;
        else if (n > 0 && (ret_name[n - 1] != '-' || c == '-'))
            ret_name[n++] = '-';
    }
    while (n > 0 && ret_name[n - 1] == '-')
        n--;
    ret_name[n] = 0;
    if (n == 0)
        n = (size_t)snprintf(ret_name, PROJECTION_NAME_SIZE, "vm");
    if (uuid != NULL)
        (void)snprintf(ret_name + n, PROJECTION_NAME_SIZE - n, "-%.5s", uuid);
}

char *
projection_quantity(uint64_t bytes)
{
    static const struct {
        unsigned shift;
        const char *suffix;
    } units[] = { { 40, "Ti" }, { 30, "Gi" }, { 20, "Mi" }, { 10, "Ki" } };

    for (size_t i = 0; i < ARRAY_SIZE(units); i++)
        if (bytes != 0 && (bytes & ((1ull << units[i].shift) - 1)) == 0)
            return xasprintf("%" PRIu64 "%s", bytes >> units[i].shift,
                             units[i].suffix);
    return xasprintf("%" PRIu64, bytes);
}

/* ---- VirtualMachine ---- */

/* How a state is told: printableStatus, and whether it runs. */
static const struct {
    const char *printable;
    bool is_ready, is_paused;
} states[] = {
    [VIRT_OFF] = { "Stopped", false, false },
    [VIRT_RUNNING] = { "Running", true, false },
    [VIRT_PAUSED] = { "Paused", false, true },
    [VIRT_IO_ERROR] = { "Paused", false, true },
    [VIRT_STOPPING] = { "Stopping", false, false },
    [VIRT_CRASHED] = { "Stopped", false, false },
    [VIRT_OTHER] = { "Unknown", false, false },
};

static void
set_conditions(json_t *object, const struct virt_vm *vm)
{
    bool is_ready = states[vm->state].is_ready;

    ctl_condition_set(object, "Ready", is_ready ? "True" : "False",
                      is_ready                      ? "GuestRunning"
                      : vm->live == NULL            ? "GuestNotRunning"
                      : states[vm->state].is_paused ? "GuestPaused"
                                                    : "GuestNotReady",
                      vm->live == NULL ? "the domain is shut off" : "", 0);
    if (states[vm->state].is_paused)
        ctl_condition_set(
            object, "Paused", "True",
            vm->state == VIRT_IO_ERROR ? "PausedIOError" : "PausedByUser",
            vm->state == VIRT_IO_ERROR
                ? "QEMU stopped the guest because of an I/O error: make space, then resume it"
                : "VMI was paused by user",
            0);
    else
        ctl_condition_remove(object, "Paused");
    if (vm->live != NULL && vm->live->is_agent_connected)
        ctl_condition_set(object, "AgentConnected", "True", "AgentConnected",
                          "", 0);
    else
        ctl_condition_remove(object, "AgentConnected");
}

bool
projection_is_namespace(const char *ns)
{
    char name[PROJECTION_NAME_SIZE];

    projection_name(ns, NULL, name);
    return strcmp(ns, name) == 0;
}

/* Whoever wrote a namespace into the domain is told where the VM is instead,
 * and how to get it there. */
static void
set_namespace(json_t *object, const struct projection *p,
              const struct domxml *d)
{
    bool is_name = d->ns != NULL && projection_is_namespace(d->ns);
    CLEANUP(mem_free) char *said = NULL, *message = NULL;

    if (d->ns == NULL || d->ns[0] == 0 || strcmp(d->ns, p->ns) == 0) {
        ctl_condition_remove(object, PROJECTION_NAMESPACE);
        return;
    }
    said = xstrndup(d->ns, text_fit(d->ns, 80));
    text_clean(said, false);
    if (is_name)
        message = xasprintf(
            "the domain's metadata name the namespace \"%s\", but the virtual machine was in %s before, and stays there as long as it is defined: virsh undefine and define it while it is off and nothing refers to it, or name %s",
            said, p->ns, p->ns);
    else
        message = xasprintf(
            "the domain's metadata name the namespace \"%s%s\", which cannot be one (at most 63 of a-z, 0-9 and -, a letter or digit first and last): the virtual machine is in %s. Name another one with virsh edit",
            said, d->ns[strlen(said)] == 0 ? "" : "...", p->ns);
    ctl_condition_set(object, PROJECTION_NAMESPACE, "False",
                      is_name ? "NamespaceKept" : "InvalidNamespace", message,
                      0);
}

/* Is `name` in the comma separated list? */
static bool
is_listed(const char *list, const char *name)
{
    size_t len = strlen(name);

    while (list != NULL && *list != 0) {
        size_t n = strcspn(list, ",");
        const char *from = list + strspn(list, " ");

        if (n >= len && strncmp(from, name, len) == 0 &&
            (from[len] == 0 || from[len] == ',' || from[len] == ' '))
            return true;
        list += n + (list[n] == ',');
    }
    return false;
}

static const char *
refusal_of(const struct projection_disk *disk, const json_t *object)
{
    const json_t *notes = jsonx_get(object, "metadata.annotations");
    const char *excluded =
        json_string_value(json_object_get(notes, PROJECT_NOTE_EXCLUDE));

    if (disk->refusal != NULL)
        return disk->refusal;
    if (is_listed(excluded, disk->xml->target))
        return "excluded by the annotation " PROJECT_NOTE_EXCLUDE;
    return NULL;
}

static json_t *
snapshot_status(const struct projection_disk *disk, const char *refusal)
{
    CLEANUP(mem_free) char *reason = NULL;
    json_t *v = json_pack("{s:s, s:b}", "name", disk->xml->target, "enabled",
                          refusal == NULL);

    if (refusal != NULL) {
        reason = xasprintf("%s [%s]", refusal, disk->xml->target);
        jsonx_set_str(v, "reason", reason);
    }
    return v;
}

static json_t *
disk_status(const struct projection_disk *disk, const char *refusal)
{
    const struct domxml_disk *xml = disk->xml;
    json_t *v = json_pack("{s:s, s:s, s:i}", "name", xml->target, "target",
                          xml->target, "layers", (int)xml->chain_len);

    if (xml->chain_len > 0) {
        jsonx_set_str(v, "path", xml->chain[0].path);
        jsonx_set_str(v, "format", xml->chain[0].format);
    }
    if (disk->size != 0)
        jsonx_set(v, "size", json_integer((json_int_t)disk->size));
    jsonx_set_str(v, "device", xml->device);
    jsonx_set_str(v, "bus", xml->bus);
    jsonx_set_str(v, "excluded", refusal);
    return v;
}

static void
set_disk_statuses(json_t *object, const struct projection *p)
{
    json_t *statuses = json_array();
    json_t *disks = json_array();

    for (size_t i = 0; i < p->n_disks; i++) {
        const char *refusal = refusal_of(&p->disks[i], object);

        (void)json_array_append_new(statuses,
                                    snapshot_status(&p->disks[i], refusal));
        (void)json_array_append_new(disks, disk_status(&p->disks[i], refusal));
    }
    jsonx_set(object, "status.volumeSnapshotStatuses", statuses);
    jsonx_set(object, "status.vmkeep.disks", disks);
}

static void
set_annotation(json_t *object, const char *key, const char *value)
{
    json_t *notes = jsonx_get(object, "metadata.annotations");

    if (notes == NULL) {
        jsonx_set(object, "metadata.annotations", json_object());
        notes = jsonx_get(object, "metadata.annotations");
    }
    if (value == NULL)
        (void)json_object_del(notes, key);
    else
        (void)json_object_set_new(notes, key, json_string(value));
}

static void
set_label(json_t *object, const char *key, const char *value)
{
    json_t *labels = jsonx_get(object, "metadata.labels");

    if (labels == NULL) {
        jsonx_set(object, "metadata.labels", json_object());
        labels = jsonx_get(object, "metadata.labels");
    }
    if (value == NULL)
        (void)json_object_del(labels, key);
    else
        (void)json_object_set_new(labels, key, json_string(value));
}

static void
set_spec(json_t *object, const struct projection *p, const struct domxml *d)
{
    json_t *old_spec = json_object_get(object, "spec");
    json_t *spec = json_object();
    json_t *running = json_object_get(old_spec, "running");

    if (running != NULL)
        (void)json_object_set(spec, "running", running);
    else
        jsonx_set_str(spec, "runStrategy",
                      jsonx_str_or(old_spec, "runStrategy", "Manual"));
    jsonx_set(spec, "template.metadata.labels", json_object());
    (void)json_object_set_new(jsonx_get(spec, "template.metadata.labels"),
                              "kubevirt.io/vm", json_string(p->name));
    jsonx_set(spec, "template.spec",
              projection_spec_make(
                  d, p, jsonx_get(old_spec, "template.spec.volumes")));
    (void)json_object_set_new(object, "spec", spec);
}

void
projection_vm(json_t *object, const struct projection *p)
{
    const struct virt_vm *vm = p->vm;
    const struct domxml *d = vm->inactive != NULL ? vm->inactive : vm->live;

    set_annotation(object, PROJECT_NOTE_DOMAIN, d->name);
    set_spec(object, p, d);
    jsonx_set_str(object, "status.printableStatus",
                  states[vm->state].printable);
    jsonx_set(object, "status.ready", json_boolean(states[vm->state].is_ready));
    jsonx_set(object, "status.created", json_boolean(vm->live != NULL));
    jsonx_set_str(object, "status.nodeName", p->node);
    if (jsonx_str(object, "status.runStrategy") == NULL)
        jsonx_set_str(object, "status.runStrategy",
                      jsonx_str_or(object, "spec.runStrategy", "Manual"));
    jsonx_set_str(object, "status.vmkeep.domain", d->name);
    set_conditions(object, vm);
    set_namespace(object, p, d);
    set_disk_statuses(object, p);
}

void
projection_vm_absent(json_t *object, const char *status, const char *message)
{
    bool is_unknown = strcmp(status, "Unknown") == 0;

    jsonx_set_str(object, "status.printableStatus", status);
    jsonx_set(object, "status.ready", json_false());
    if (!is_unknown)
        jsonx_set(object, "status.created", json_false());
    ctl_condition_remove(object, "Paused");
    ctl_condition_remove(object, "AgentConnected");
    ctl_condition_set(object, "Ready", is_unknown ? "Unknown" : "False", status,
                      message, 0);
}

/* ---- VirtualMachineInstance ---- */

static void
set_vmi_volumes(json_t *object, const struct projection *p)
{
    json_t *list = json_array();

    for (size_t i = 0; i < p->n_disks; i++) {
        const struct domxml_disk *xml = p->disks[i].xml;
        const char *claim = projection_claim_of(p->vm_object, xml->target);
        json_t *v =
            json_pack("{s:s, s:s}", "name", xml->target, "target", xml->target);

        if (p->disks[i].size != 0)
            jsonx_set(v, "size", json_integer((json_int_t)p->disks[i].size));
        jsonx_set_str(v, "persistentVolumeClaimInfo.claimName", claim);
        (void)json_array_append_new(list, v);
    }
    jsonx_set(object, "status.volumeStatus", list);
}

static void
set_vmi_interfaces(json_t *object, const struct domxml *d)
{
    json_t *list = json_array();

    for (size_t i = 0; i < d->n_nics; i++) {
        CLEANUP(mem_free)
        char *name = i == 0 ? xstrdup("default") : xasprintf("net%zu", i);
        json_t *v = json_pack("{s:s}", "name", name);

        jsonx_set_str(v, "mac", d->nics[i].mac);
        (void)json_array_append_new(list, v);
    }
    jsonx_set(object, "status.interfaces", list);
}

void
projection_vmi(json_t *object, const struct projection *p)
{
    const struct domxml *d = p->vm->live;
    const json_t *volumes =
        jsonx_get(p->vm_object, "spec.template.spec.volumes");
    CLEANUP(mem_free) char *memory = projection_quantity(d->memory_kib * 1024);

    set_annotation(object, PROJECT_NOTE_DOMAIN, d->name);
    set_label(object, "kubevirt.io/vm", p->name);
    set_label(object, "kubevirt.io/nodeName", p->node);
    jsonx_set(object, "metadata.ownerReferences",
              json_pack("[{s:s, s:s, s:s, s:s, s:b, s:b}]", "apiVersion",
                        "kubevirt.io/v1", "kind", "VirtualMachine", "name",
                        p->name, "uid", p->vm->uuid, "controller", 1,
                        "blockOwnerDeletion", 1));
    jsonx_set(object, "spec", projection_spec_make(d, p, volumes));
    jsonx_set_str(object, "status.phase", "Running");
    jsonx_set_str(object, "status.nodeName", p->node);
    jsonx_set_str(object, "status.machine.type", d->machine);
    jsonx_set_str(object, "status.memory.guestCurrent", memory);
    set_vmi_interfaces(object, d);
    set_vmi_volumes(object, p);
    set_conditions(object, p->vm);
}

/* ---- PersistentVolumeClaim ---- */

static void
add_protection(json_t *object)
{
    if (json_array_size(jsonx_get(object, "metadata.finalizers")) == 0)
        jsonx_set(object, "metadata.finalizers",
                  json_pack("[s]", "kubernetes.io/pvc-protection"));
}

void
projection_claim(json_t *object, const struct projection_claim *c)
{
    CLEANUP(mem_free) char *size = projection_quantity(c->size);
    const char *volume = strrchr(c->path, '/');

    if (jsonx_str(object, "metadata.deletionTimestamp") == NULL)
        add_protection(object);
    set_label(object, PROJECT_LABEL_VM, c->vm);
    set_label(object, PROJECT_LABEL_VOLUME, c->volume);
    set_label(object, PROJECT_LABEL_DETACHED, c->is_detached ? "true" : NULL);
    set_annotation(object, PROJECT_NOTE_PATH, c->path);
    set_annotation(object, PROJECT_NOTE_FORMAT, c->format);
    jsonx_set(object, "spec.accessModes", json_pack("[s]", "ReadWriteOnce"));
    jsonx_set_str(object, "spec.storageClassName", PROJECT_HOST_CLASS);
    jsonx_set_str(object, "spec.volumeMode",
                  c->is_block ? "Block" : "Filesystem");
    jsonx_set_str(object, "spec.volumeName",
                  volume == NULL ? c->path : volume + 1);
    jsonx_set_str(object, "status.phase", c->is_missing ? "Lost" : "Bound");
    jsonx_set(object, "status.accessModes", json_pack("[s]", "ReadWriteOnce"));
    if (c->size != 0) { /* not known now: what was known stays */
        jsonx_set_str(object, "spec.resources.requests.storage", size);
        jsonx_set_str(object, "status.capacity.storage", size);
    }
}
