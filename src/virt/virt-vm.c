/* SPDX-License-Identifier: Apache-2.0 */
/* What is on the host: the list of domains and one domain's state. */
#include <libvirt/virterror.h>
#include <string.h>

#include "base/mem.h"
#include "virt/virt-priv.h"

static void
pool_free_p(virStoragePoolPtr *p)
{
    if (*p != NULL)
        (void)virStoragePoolFree(*p);
}

static void
vol_free_p(virStorageVolPtr *p)
{
    if (*p != NULL)
        (void)virStorageVolFree(*p);
}

static enum virt_state
state_of(int state, int reason)
{
    switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
        return VIRT_RUNNING;
    case VIR_DOMAIN_PAUSED:
        return reason == VIR_DOMAIN_PAUSED_IOERROR ? VIRT_IO_ERROR
                                                   : VIRT_PAUSED;
    case VIR_DOMAIN_SHUTDOWN:
        return VIRT_STOPPING;
    case VIR_DOMAIN_SHUTOFF:
        return reason == VIR_DOMAIN_SHUTOFF_CRASHED ? VIRT_CRASHED : VIRT_OFF;
    case VIR_DOMAIN_CRASHED:
        return VIRT_CRASHED;
    default:
        return VIRT_OTHER;
    }
}

/* Where a volume is; NULL where that cannot be found out: no storage driver,
 * pool not active, or a volume that is not a file or block device. */
static char *
find_volume(void *arg, const char *pool_name, const char *name,
            bool *ret_is_block)
{
    __attribute__((cleanup(pool_free_p))) virStoragePoolPtr pool =
        virStoragePoolLookupByName(arg, pool_name);
    __attribute__((cleanup(vol_free_p))) virStorageVolPtr vol =
        pool == NULL ? NULL : virStorageVolLookupByName(pool, name);
    virStorageVolInfo info;
    char *path;

    if (vol == NULL || virStorageVolGetInfo(vol, &info) < 0 ||
        (info.type != VIR_STORAGE_VOL_FILE &&
         info.type != VIR_STORAGE_VOL_BLOCK))
        return NULL;
    path = virStorageVolGetPath(vol);
    if (path != NULL && path[0] != '/') {
        free(path);
        return NULL;
    }
    *ret_is_block = info.type == VIR_STORAGE_VOL_BLOCK;
    return path;
}

struct domxml *
virt_vm_parse(virConnectPtr conn, const char *xml, struct err *err)
{
    return domxml_parse_with(xml, find_volume, conn, err);
}

/* The live XML; NULL without an error: the domain is off by now. */
static int
read_live(virDomainPtr dom, char **ret_xml, struct err *err)
{
    int is_active = virDomainIsActive(dom);

    if (is_active < 0)
        return virt_error(err, "is it active");
    if (is_active == 0)
        return 0;
    *ret_xml = virDomainGetXMLDesc(dom, 0);
    return *ret_xml == NULL ? virt_error(err, "XML") : 0;
}

static int
read_flags(virDomainPtr dom, struct virt_vm *vm, struct err *err)
{
    int state, reason, autostart = 0;
    int is_persistent = virDomainIsPersistent(dom);
    int has_save = virDomainHasManagedSaveImage(dom, 0);

    if (virDomainGetState(dom, &state, &reason, 0) < 0)
        return virt_error(err, "state");
    if (is_persistent < 0)
        return virt_error(err, "is it persistent");
    /* A transient domain has no autostart: the call fails. */
    (void)virDomainGetAutostart(dom, &autostart);
    vm->state = state_of(state, reason);
    vm->is_persistent = is_persistent == 1;
    vm->has_autostart = autostart != 0;
    vm->has_managed_save = has_save == 1;
    return 0;
}

static int
fill(virDomainPtr dom, struct virt_vm *vm, struct err *err)
{
    virConnectPtr conn = virDomainGetConnect(dom);

    if (virDomainGetUUIDString(dom, vm->uuid) < 0)
        return virt_error(err, "uuid");
    vm->xml_inactive = virDomainGetXMLDesc(dom, VIR_DOMAIN_XML_INACTIVE);
    if (vm->xml_inactive == NULL)
        return virt_error(err, "XML");
    vm->inactive = virt_vm_parse(conn, vm->xml_inactive, err);
    if (vm->inactive == NULL || read_live(dom, &vm->xml_live, err) < 0)
        return -1;
    if (vm->xml_live != NULL) {
        vm->live = virt_vm_parse(conn, vm->xml_live, err);
        if (vm->live == NULL)
            return -1;
    }
    if (read_flags(dom, vm, err) < 0)
        return -1;
    /* It may have stopped or started between the calls: say one thing. */
    if (vm->live != NULL &&
        (vm->state == VIRT_OFF || vm->state == VIRT_CRASHED)) {
        domxml_free(vm->live);
        vm->live = NULL;
        free(vm->xml_live);
        vm->xml_live = NULL;
    } else if (vm->live == NULL && vm->state != VIRT_OFF &&
               vm->state != VIRT_CRASHED) {
        return err_set(err, ERR_BUSY, "it is being started: read it again");
    }
    return 0;
}

struct virt_vm *
virt_vm_get(struct virt *v, const char *uuid, struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = virt_connect_domain(v, uuid, err);
    CLEANUP(virt_vm_free) struct virt_vm *vm = NULL;

    if (dom == NULL)
        return NULL;
    vm = xcalloc(1, sizeof *vm);
    if (fill(dom, vm, err) < 0)
        return err_wrap_null(err, "domain %s", uuid);
    return TAKE(vm);
}

void
virt_vm_free(struct virt_vm *vm)
{
    if (vm == NULL)
        return;
    domxml_free(vm->inactive);
    domxml_free(vm->live);
    free(vm->xml_inactive);
    free(vm->xml_live);
    free(vm);
}

int
virt_list(struct virt *v, char ***ret_uuids, size_t *ret_n, struct err *err)
{
    CLEANUP(virt_conn_unref) virConnectPtr conn = virt_connect_get(v, err);
    virDomainPtr *doms = NULL;
    char **uuids;
    int n;

    if (conn == NULL)
        return -1;
    n = virConnectListAllDomains(conn, &doms, 0);
    if (n < 0)
        return virt_error(err, "list of domains");
    uuids = xcalloc((size_t)n + 1, sizeof *uuids);
    for (int i = 0; i < n; i++) {
        char uuid[VIR_UUID_STRING_BUFLEN] = "";

        (void)virDomainGetUUIDString(doms[i], uuid);
        uuids[i] = xstrdup(uuid);
        (void)virDomainFree(doms[i]);
    }
    free(doms);
    *ret_uuids = uuids;
    *ret_n = (size_t)n;
    return 0;
}

int
virt_xml_secure(struct virt *v, const char *uuid, char **ret_xml,
                struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = virt_connect_domain(v, uuid, err);
    char *xml;

    if (dom == NULL)
        return -1;
    xml = virDomainGetXMLDesc(dom,
                              VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);
    if (xml == NULL)
        return virt_error(err, "domain %s: XML with secrets", uuid);
    *ret_xml = xml;
    return 0;
}

int
virt_network_exists(struct virt *v, const char *name, bool *ret_is,
                    struct err *err)
{
    CLEANUP(virt_conn_unref) virConnectPtr conn = virt_connect_get(v, err);
    virNetworkPtr net;

    if (conn == NULL)
        return -1;
    net = virNetworkLookupByName(conn, name);
    *ret_is = net != NULL;
    if (net != NULL)
        (void)virNetworkFree(net);
    else if (!virt_errors_is(VIR_ERR_NO_NETWORK))
        return virt_error(err, "network %s", name);
    return 0;
}
