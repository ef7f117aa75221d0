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
call(struct virt *v, const char *uuid, uint64_t timeout_ms, bool is_freeze,
     unsigned *ret_count, struct err *err)
{
    const char *what = is_freeze ? "freeze" : "thaw";
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = prepare(v, uuid, timeout_ms, err);
    struct effect e;
    int n;

    if (dom == NULL)
        return -1;
    e = effect_begin(what, uuid);
    n = is_freeze ? virDomainFSFreeze(dom, NULL, 0, 0)
                  : virDomainFSThaw(dom, NULL, 0, 0);
    effect_end(&e);
    if (n < 0) {
        agent_error(uuid, what, err);
        if (is_freeze && err->code == ERR_UNAVAILABLE && !virt_is_connected(v))
            err->code = ERR_TIMEOUT; /* sent, perhaps */
        return -1;
    }
    *ret_count = (unsigned)n;
    return 0;
}

int
virt_freeze(struct virt *v, const char *uuid, uint64_t timeout_ms,
            unsigned *ret_count, struct err *err)
{
    return call(v, uuid, timeout_ms, true, ret_count, err);
}

int
virt_thaw(struct virt *v, const char *uuid, uint64_t timeout_ms,
          unsigned *ret_count, struct err *err)
{
    return call(v, uuid, timeout_ms, false, ret_count, err);
}
