/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/projection-spec.h"

#include <string.h>

#include "base/mem.h"

static void
set_if(json_t *v, const char *key, const char *s)
{
    if (s != NULL && s[0] != 0)
        (void)json_object_set_new(v, key, json_string(s));
}

static const char *
architecture(const struct domxml *d)
{
    if (d->arch == NULL || strcmp(d->arch, "x86_64") == 0)
        return "amd64";
    if (strcmp(d->arch, "aarch64") == 0)
        return "arm64";
    return d->arch;
}

static json_t *
cpu_of(const struct domxml *d)
{
    bool is_said = d->sockets != 0 && d->cores != 0 && d->threads != 0;
    json_t *cpu = json_pack("{s:i, s:i, s:i}", "sockets",
                            (int)(is_said ? d->sockets : d->vcpus), "cores",
                            (int)(is_said ? d->cores : 1), "threads",
                            (int)(is_said ? d->threads : 1));

    set_if(cpu, "model", d->cpu_model);
    return cpu;
}

static json_t *
firmware_of(const struct domxml *d)
{
    json_t *fw = json_object();

    set_if(fw, "uuid", d->uuid);
    if (d->loader != NULL || d->nvram != NULL) {
        jsonx_set(fw, "bootloader.efi", json_object());
        if (d->nvram != NULL)
            jsonx_set(fw, "bootloader.efi.persistent", json_true());
    }
    return fw;
}

static json_t *
disk_of(const struct domxml_disk *disk)
{
    const char *device = disk->device == NULL ? "disk" : disk->device;
    json_t *v = json_pack("{s:s}", "name", disk->target);
    json_t *how = json_object();

    if (strcmp(device, "floppy") == 0)
        device = "cdrom"; /* KubeVirt knows no floppy; removable it is */
    set_if(how, "bus", disk->bus);
    if (disk->is_readonly && strcmp(device, "cdrom") != 0)
        jsonx_set(how, "readonly", json_true());
    (void)json_object_set_new(v, device, how);
    set_if(v, "serial", disk->serial);
    if (disk->is_shareable)
        jsonx_set(v, "shareable", json_true());
    return v;
}

/* "default", as KubeVirt calls the first, then net1, net2 ... */
static char *
nic_name(size_t i)
{
    return i == 0 ? xstrdup("default") : xasprintf("net%zu", i);
}

static json_t *
interface_of(const struct domxml_nic *nic, size_t i)
{
    CLEANUP(mem_free) char *name = nic_name(i);
    bool is_user = nic->type != NULL && strcmp(nic->type, "user") == 0;
    json_t *v = json_pack("{s:s, s:{}}", "name", name,
                          is_user ? "masquerade" : "bridge");

    set_if(v, "macAddress", nic->mac);
    set_if(v, "model", nic->model);
    return v;
}

static json_t *
network_of(const struct domxml_nic *nic, size_t i)
{
    CLEANUP(mem_free) char *name = nic_name(i);
    json_t *v = json_pack("{s:s}", "name", name);

    if (nic->source == NULL || nic->source[0] == 0)
        jsonx_set(v, "pod", json_object());
    else
        jsonx_set_str(v, "multus.networkName", nic->source);
    return v;
}

static const char *
old_claim(const json_t *volumes, const char *name)
{
    return jsonx_str(jsonx_find(volumes, "name", name),
                     "persistentVolumeClaim.claimName");
}

/* NULL: the disk has no volume (an empty drive). */
static json_t *
volume_of(const struct domxml_disk *disk, const struct projection *p,
          const json_t *old_volumes)
{
    CLEANUP(mem_free) char *first = NULL;
    const char *claim;
    json_t *v;

    if (disk->chain_len == 0 && disk->kind != DOMXML_DISK_NETWORK)
        return NULL;
    v = json_pack("{s:s}", "name", disk->target);
    if (!projection_has_claim(disk)) {
        jsonx_set_str(v, "hostDisk.path",
                      disk->chain_len == 0 || disk->chain[0].path == NULL
                          ? "(network)"
                          : disk->chain[0].path);
        jsonx_set_str(v, "hostDisk.type", "Disk");
        return v;
    }
    first = projection_claim_name(p->name, disk->target);
    claim = old_claim(old_volumes, disk->target);
    jsonx_set_str(v, "persistentVolumeClaim.claimName",
                  claim == NULL ? first : claim);
    return v;
}

static json_t *
devices_of(const struct domxml *d)
{
    json_t *devices = json_object();
    json_t *disks = json_array();
    json_t *nics = json_array();

    for (size_t i = 0; i < d->n_disks; i++)
        (void)json_array_append_new(disks, disk_of(&d->disks[i]));
    for (size_t i = 0; i < d->n_nics; i++)
        (void)json_array_append_new(nics, interface_of(&d->nics[i], i));
    (void)json_object_set_new(devices, "disks", disks);
    (void)json_object_set_new(devices, "interfaces", nics);
    if (d->has_tpm_emulator)
        jsonx_set(devices, "tpm", json_pack("{s:b}", "persistent", 1));
    return devices;
}

json_t *
projection_spec_make(const struct domxml *d, const struct projection *p,
                     const json_t *old_volumes)
{
    CLEANUP(mem_free) char *memory = projection_quantity(d->memory_kib * 1024);
    json_t *spec = json_object();
    json_t *networks = json_array();
    json_t *volumes = json_array();

    jsonx_set_str(spec, "architecture", architecture(d));
    jsonx_set(spec, "domain.cpu", cpu_of(d));
    jsonx_set_str(spec, "domain.memory.guest", memory);
    jsonx_set_str(spec, "domain.resources.requests.memory", memory);
    jsonx_set_str(spec, "domain.machine.type",
                  d->machine == NULL ? "q35" : d->machine);
    jsonx_set(spec, "domain.firmware", firmware_of(d));
    jsonx_set(spec, "domain.devices", devices_of(d));
    for (size_t i = 0; i < d->n_nics; i++)
        (void)json_array_append_new(networks, network_of(&d->nics[i], i));
    for (size_t i = 0; i < d->n_disks; i++) {
        json_t *v = volume_of(&d->disks[i], p, old_volumes);

        if (v != NULL)
            (void)json_array_append_new(volumes, v);
    }
    jsonx_set(spec, "networks", networks);
    jsonx_set(spec, "volumes", volumes);
    return spec;
}
