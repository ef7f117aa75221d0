/* SPDX-License-Identifier: Apache-2.0 */
/* Starting, stopping, pausing and defining domains.
 *
 * "Already so" is CONFLICT: libvirt says VIR_ERR_OPERATION_INVALID for most of
 * them. Suspending a paused domain is no error for libvirt; it is one here,
 * because whoever resumes must know whether the pause was his.
 */
#include <libvirt/virterror.h>

#include "base/clock.h"
#include "virt/virt-priv.h"

/* Asking the guest to go must not wait for a dead agent for ever. */
#define SHUTDOWN_AGENT_S 5

static int
simple(struct virt *v, const char *uuid, const char *what,
       int (*call)(virDomainPtr dom), struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = virt_connect_domain(v, uuid, err);
    struct effect e;
    int rc;

    if (dom == NULL)
        return -1;
    e = effect_begin(what, uuid);
    rc = call(dom);
    effect_end(&e);
    return rc < 0 ? virt_error(err, "domain %s: %s", uuid, what) : 0;
}

static int
start(virDomainPtr dom)
{
    return virDomainCreateWithFlags(dom, 0);
}

static int
start_paused(virDomainPtr dom)
{
    return virDomainCreateWithFlags(dom, VIR_DOMAIN_START_PAUSED);
}

static int
shut_down(virDomainPtr dom)
{
    (void)virDomainAgentSetResponseTimeout(dom, SHUTDOWN_AGENT_S, 0);
    return virDomainShutdownFlags(dom, VIR_DOMAIN_SHUTDOWN_DEFAULT);
}

static int
reboot(virDomainPtr dom)
{
    (void)virDomainAgentSetResponseTimeout(dom, SHUTDOWN_AGENT_S, 0);
    return virDomainReboot(dom, VIR_DOMAIN_REBOOT_DEFAULT);
}

static int
destroy(virDomainPtr dom)
{
    return virDomainDestroyFlags(dom, VIR_DOMAIN_DESTROY_DEFAULT);
}

int
virt_start(struct virt *v, const char *uuid, bool paused, struct err *err)
{
    return simple(v, uuid, "start", paused ? start_paused : start, err);
}

int
virt_shutdown(struct virt *v, const char *uuid, struct err *err)
{
    return simple(v, uuid, "shutdown", shut_down, err);
}

int
virt_destroy(struct virt *v, const char *uuid, struct err *err)
{
    return simple(v, uuid, "destroy", destroy, err);
}

int
virt_reboot(struct virt *v, const char *uuid, struct err *err)
{
    return simple(v, uuid, "reboot", reboot, err);
}

static int
state_is(virDomainPtr dom, const char *uuid, int unwanted, const char *what,
         struct err *err)
{
    int state, reason;

    if (virDomainGetState(dom, &state, &reason, 0) < 0)
        return virt_error(err, "domain %s: state", uuid);
    if (state == unwanted)
        return err_set(err, ERR_CONFLICT, "domain %s: it is already %s", uuid,
                       what);
    return 0;
}

int
virt_suspend(struct virt *v, const char *uuid, struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = virt_connect_domain(v, uuid, err);

    if (dom == NULL ||
        state_is(dom, uuid, VIR_DOMAIN_PAUSED, "paused", err) < 0)
        return -1;
    return simple(v, uuid, "suspend", virDomainSuspend, err);
}

int
virt_resume(struct virt *v, const char *uuid, struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = virt_connect_domain(v, uuid, err);

    if (dom == NULL ||
        state_is(dom, uuid, VIR_DOMAIN_RUNNING, "running", err) < 0)
        return -1;
    return simple(v, uuid, "resume", virDomainResume, err);
}

static int
read_state(struct virt *v, const char *uuid, enum virt_state *ret_state,
           struct err *err)
{
    CLEANUP(virt_vm_free) struct virt_vm *vm = virt_vm_get(v, uuid, err);

    if (vm == NULL)
        return -1;
    *ret_state = vm->state;
    return 0;
}

int
virt_wait_state(struct virt *v, const char *uuid, enum virt_state state,
                uint64_t timeout_ms, struct err *err)
{
    uint64_t until_ms = clock_mono_ms() + timeout_ms;

    for (uint64_t pause_ms = 20;;
         pause_ms = pause_ms < 200 ? pause_ms * 2 : 200) {
        enum virt_state is;

        if (read_state(v, uuid, &is, err) == 0) {
            if (is == state)
                return 0;
            err_do_set(err, ERR_TIMEOUT,
                       "domain %s: not in the wanted state after %llu ms", uuid,
                       (unsigned long long)timeout_ms);
        } else if (err->code == ERR_NOT_FOUND) {
            return -1;
        }
        if (clock_mono_ms() >= until_ms)
            return -1;
        clock_sleep_ms(pause_ms);
    }
}

int
virt_define(struct virt *v, const char *xml, struct err *err)
{
    CLEANUP(virt_conn_unref) virConnectPtr conn = virt_connect_get(v, err);
    CLEANUP(virt_domain_unref) virDomainPtr dom = NULL;
    CLEANUP(domxml_free) struct domxml *d = domxml_parse(xml, err);
    struct effect e;

    if (conn == NULL || d == NULL)
        return -1;
    e = effect_begin("define", d->name);
    dom = virDomainDefineXMLFlags(conn, xml, 0);
    effect_end(&e);
    return dom == NULL ? virt_error(err, "domain %s: define", d->name) : 0;
}

static int
undefine(virDomainPtr dom)
{
    /* Refuses where a saved state, snapshots or checkpoints would be lost. */
    return virDomainUndefineFlags(dom, VIR_DOMAIN_UNDEFINE_KEEP_NVRAM |
                                           VIR_DOMAIN_UNDEFINE_KEEP_TPM);
}

int
virt_undefine(struct virt *v, const char *uuid, struct err *err)
{
    return simple(v, uuid, "undefine", undefine, err);
}
