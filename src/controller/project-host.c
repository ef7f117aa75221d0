/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/project-host.h"

#include <sys/utsname.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "controller/projection.h"
#include "controller/projectput.h"

#define RELEASE_MAX 65536 /* of /etc/os-release */

struct host {
    const char *node; /* as the VMs' status.nodeName has it */
    bool is_connected;
};

/* PRETTY_NAME of /etc/os-release; the caller's; NULL: it does not say. */
static char *
os_image(void)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    struct err unused;
    const char *at;

    if (file_read_all("/etc/os-release", RELEASE_MAX, &text, &unused) < 0)
        return NULL;
    at = strstr(buf_str(&text), "PRETTY_NAME=");
    if (at == NULL)
        return NULL;
    at += strlen("PRETTY_NAME=");
    at += strspn(at, "\"'");
    return xstrndup(at, strcspn(at, "\"'\n"));
}

static json_t *
capacity(void)
{
    char cpus[24], memory[32];
    long n = sysconf(_SC_NPROCESSORS_ONLN), pages = sysconf(_SC_PHYS_PAGES);
    unsigned long long kib = (unsigned long long)pages *
                             (unsigned long long)sysconf(_SC_PAGESIZE) / 1024;

    (void)snprintf(cpus, sizeof cpus, "%ld", n);
    (void)snprintf(memory, sizeof memory, "%lluKi", kib);
    return json_pack("{s:s, s:s}", "cpu", cpus, "memory", memory);
}

static json_t *
node_info(void)
{
    /* What typed clients insist on; a host has no such thing, or it is
     * nobody's business. */
    static const char *const empty[] = { "machineID", "systemUUID", "bootID",
                                         "containerRuntimeVersion",
                                         "kubeProxyVersion" };
    json_t *info = json_object();
    CLEANUP(mem_free) char *image = os_image();
    struct utsname u;

    for (size_t i = 0; i < ARRAY_SIZE(empty); i++)
        jsonx_set_str(info, empty[i], "");
    jsonx_set_str(info, "kubeletVersion", "vmkeep " VMKEEP_VERSION);
    jsonx_set_str(info, "operatingSystem", "linux");
    jsonx_set_str(info, "osImage", image == NULL ? "" : image);
    if (uname(&u) == 0) {
        jsonx_set_str(info, "kernelVersion", u.release);
        jsonx_set_str(info, "architecture",
                      strcmp(u.machine, "x86_64") == 0    ? "amd64"
                      : strcmp(u.machine, "aarch64") == 0 ? "arm64"
                                                          : u.machine);
    }
    return info;
}

static void
write_node(void *arg, json_t *object)
{
    const struct host *h = arg;
    json_t *labels = jsonx_get(object, "metadata.labels");

    if (labels == NULL) {
        jsonx_set(object, "metadata.labels", json_object());
        labels = jsonx_get(object, "metadata.labels");
    }
    (void)json_object_set_new(labels, "kubernetes.io/hostname",
                              json_string(h->node));
    if (json_object_get(object, "spec") == NULL)
        jsonx_set(object, "spec", json_object());
    jsonx_set(object, "status.capacity", capacity());
    jsonx_set(object, "status.allocatable", capacity());
    jsonx_set(
        object, "status.addresses",
        json_pack("[{s:s, s:s}]", "type", "Hostname", "address", h->node));
    jsonx_set(object, "status.nodeInfo", node_info());
    if (h->is_connected)
        (void)ctl_condition_set(object, "Ready", "True", "LibvirtConnected",
                                "vmkeepd is connected to libvirt", 0);
    else
        (void)ctl_condition_set(
            object, "Ready", "Unknown", "LibvirtAway",
            "no connection to libvirt: is libvirtd running?", 0);
}

static void
write_class(void *arg, json_t *object)
{
    (void)arg;
    jsonx_set_str(object, "provisioner", "vmkeep.io/overlay");
    jsonx_set(object, "parameters", json_pack("{s:s}", "driver", "overlay"));
    jsonx_set_str(object, "reclaimPolicy", "Delete");
    jsonx_set_str(object, "volumeBindingMode", "Immediate");
    jsonx_set(object, "allowVolumeExpansion", json_false());
}

int
project_host_sync(struct ctl *ctl, bool is_connected, struct err *err)
{
    struct host h = { ctl->config.node, is_connected };
    char name[PROJECTION_NAME_SIZE];
    struct obj_ref node = { &kind_node.gvr, "", name };
    struct obj_ref class = { &kind_storageclass.gvr, "", PROJECT_HOST_CLASS };

    projection_name(h.node, NULL, name);
    if (projectput_write(ctl, &node, NULL, write_node, &h, NULL, err) < 0)
        return err_wrap(err, "Node %s", name);
    if (projectput_write(ctl, &class, NULL, write_class, NULL, NULL, err) < 0)
        return err_wrap(err, "StorageClass %s", class.name);
    return 0;
}
