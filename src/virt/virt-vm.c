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

/* ---- all of them ---- */

static void
stats_free_p(virDomainStatsRecordPtr **records)
{
    if (*records != NULL)
        virDomainStatsRecordListFree(*records);
}

static enum virt_state
state_of_record(const virDomainStatsRecord *r)
{
    int state = VIR_DOMAIN_NOSTATE, reason = 0;

    (void)virTypedParamsGetInt(r->params, r->nparams, "state.state", &state);
    (void)virTypedParamsGetInt(r->params, r->nparams, "state.reason", &reason);
    return state_of(state, reason);
}

/* 1: gone meanwhile. */
static int
parse_xml(virDomainPtr dom, unsigned flags, struct domxml **ret,
          struct err *err)
{
    CLEANUP(mem_free) char *xml = virDomainGetXMLDesc(dom, flags);

    if (xml == NULL)
        return virt_errors_is(VIR_ERR_NO_DOMAIN) ? 1 : virt_error(err, "XML");
    *ret = virt_vm_parse(virDomainGetConnect(dom), xml, err);
    return *ret == NULL ? -1 : 0;
}

static int
read_use(const virDomainStatsRecord *r, struct virt_use *u, struct err *err)
{
    int rc;

    if (virDomainGetUUIDString(r->dom, u->uuid) < 0)
        return virt_error(err, "uuid");
    u->state = state_of_record(r);
    rc = parse_xml(r->dom, VIR_DOMAIN_XML_INACTIVE, &u->inactive, err);
    if (rc == 0 && u->state != VIRT_OFF && u->state != VIRT_CRASHED)
        rc = parse_xml(r->dom, 0, &u->live, err);
    return rc < 0 ? err_wrap(err, "domain %s", u->uuid) : rc;
}

/* Set the flag at `offset` of those that libvirt lists with `filter`. */
static int
mark_uses(virConnectPtr conn, unsigned filter, struct virt_use *v, size_t n,
          size_t offset, struct err *err)
{
    virDomainPtr *doms = NULL;
    int n_doms = virConnectListAllDomains(conn, &doms, filter);

    if (n_doms < 0)
        return virt_error(err, "list of domains");
    for (int i = 0; i < n_doms; i++) {
        char uuid[VIR_UUID_STRING_BUFLEN] = "";

        (void)virDomainGetUUIDString(doms[i], uuid);
        for (size_t k = 0; k < n; k++)
            if (strcmp(v[k].uuid, uuid) == 0)
                *(bool *)((char *)&v[k] + offset) = true;
        (void)virDomainFree(doms[i]);
    }
    free(doms);
    return 0;
}

static int
read_uses(virConnectPtr conn, virDomainStatsRecordPtr *records, int n_records,
          struct virt_use *v, size_t *ret_n, struct err *err)
{
    size_t n = 0;

    for (int i = 0; i < n_records; i++) {
        int rc = read_use(records[i], &v[n], err);

        n += rc <= 0; /* a failed one is freed with the rest */
        *ret_n = n;
        if (rc < 0)
            return -1;
        if (rc > 0) {
            domxml_free(v[n].inactive);
            v[n] = (struct virt_use){ .state = VIRT_OFF };
        }
    }
    if (mark_uses(conn, VIR_CONNECT_LIST_DOMAINS_PERSISTENT, v, n,
                  offsetof(struct virt_use, is_persistent), err) < 0)
        return -1;
    return mark_uses(conn, VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE, v, n,
                     offsetof(struct virt_use, has_managed_save), err);
}

int
virt_use_list(struct virt *v, struct virt_use **ret_v, size_t *ret_n,
              struct err *err)
{
    CLEANUP(virt_conn_unref) virConnectPtr conn = virt_connect_get(v, err);
    CLEANUP(stats_free) virDomainStatsRecordPtr *records = NULL;
    struct virt_use *uses;
    size_t n = 0;
    int n_records;

    if (conn == NULL)
        return -1;
    n_records =
        virConnectGetAllDomainStats(conn, VIR_DOMAIN_STATS_STATE, &records, 0);
    if (n_records < 0)
        return virt_error(err, "list of domains");
    uses = xcalloc((size_t)n_records + 1, sizeof *uses);
    if (read_uses(conn, records, n_records, uses, &n, err) < 0) {
        virt_use_free(uses, n);
        return -1;
    }
    *ret_v = uses;
    *ret_n = n;
    return 0;
}

void
virt_use_free(struct virt_use *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        domxml_free(v[i].inactive);
        domxml_free(v[i].live);
    }
    free(v);
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
