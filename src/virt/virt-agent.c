/* SPDX-License-Identifier: Apache-2.0 */
/* The guest agent: freeze, thaw.
 *
 * libvirt waits for an agent without end unless a timeout is set for the
 * domain (virDomainAgentSetResponseTimeout; -2 is the default and means for
 * ever, 0 makes every call fail). So each call here sets one first; it holds
 * until the domain stops.
 *
 * A call that timed out is still in the agent's queue and will be executed
 * when the agent wakes. For a freeze that means: it may happen later, and
 * nobody but the caller will undo it. The same is true when the connection to
 * libvirtd breaks during the call. Both are TIMEOUT.
 * source  spec guest.md 0.2, 2
 */
#include <libvirt/virterror.h>
#include <string.h>

#include "virt/virt-priv.h"

static int
to_seconds(uint64_t timeout_ms)
{
    uint64_t s = (timeout_ms + 999) / 1000;

    return s < 1 ? 1 : s > 3600 ? 3600 : (int)s;
}

/* What libvirt said about a call to the agent, better than its code does. */
static void
agent_error(const char *uuid, const char *what, struct err *err)
{
    bool is_not_configured = virt_errors_is(VIR_ERR_ARGUMENT_UNSUPPORTED);

    virt_errors_set(err, "domain %s: %s", uuid, what);
    if (is_not_configured)
        err->code = ERR_UNAVAILABLE; /* "QEMU guest agent is not configured" */
    if (strstr(err->msg, "is in frozen state") != NULL)
        err->code = ERR_CONFLICT;
}

static virDomainPtr
prepare(struct virt *v, const char *uuid, uint64_t timeout_ms, struct err *err)
{
    virDomainPtr dom = virt_connect_domain(v, uuid, err);

    if (dom == NULL)
        return NULL;
    if (virDomainAgentSetResponseTimeout(dom, to_seconds(timeout_ms), 0) < 0) {
        agent_error(uuid, "agent timeout", err);
        (void)virDomainFree(dom);
        return NULL;
    }
    return dom;
}

/* Both calls are alike: bounded, counted, and the answer is how many file
 * systems. */
static int
tell(virDomainPtr dom, const char *uuid, bool is_freeze, unsigned *ret_count,
     struct err *err)
{
    const char *what = is_freeze ? "freeze" : "thaw";
    struct effect e = effect_begin(what, uuid);
    int n = is_freeze ? virDomainFSFreeze(dom, NULL, 0, 0)
                      : virDomainFSThaw(dom, NULL, 0, 0);

    effect_end(&e);
    if (n < 0) {
        agent_error(uuid, what, err);
        return -1;
    }
    *ret_count = (unsigned)n;
    return 0;
}

int
virt_freeze(struct virt *v, const char *uuid, uint64_t timeout_ms,
            unsigned *ret_count, struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = prepare(v, uuid, timeout_ms, err);

    if (dom == NULL)
        return -1;
    if (tell(dom, uuid, true, ret_count, err) < 0) {
        if (err->code == ERR_UNAVAILABLE && !virt_is_connected(v))
            err->code = ERR_TIMEOUT; /* sent, perhaps */
        return -1;
    }
    virt_connect_keep(v, uuid, dom);
    return 0;
}

/* The timeout that the freeze set still holds for what it left behind. If its
 * connection is gone there may be a new one. */
int
virt_thaw(struct virt *v, const char *uuid, uint64_t timeout_ms,
          unsigned *ret_count, struct err *err)
{
    CLEANUP(virt_domain_unref) virDomainPtr kept = virt_connect_kept(v, uuid);
    CLEANUP(virt_domain_unref) virDomainPtr dom = NULL;

    virt_connect_drop(v, uuid);
    if (kept != NULL) {
        if (tell(kept, uuid, false, ret_count, err) == 0)
            return 0;
        if (virConnectIsAlive(virDomainGetConnect(kept)) == 1)
            return -1;
    }
    dom = prepare(v, uuid, timeout_ms, err);
    return dom == NULL ? -1 : tell(dom, uuid, false, ret_count, err);
}
