/* SPDX-License-Identifier: Apache-2.0 */
/* The guest agent: freeze, thaw, ping.
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
#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>
#include <string.h>

#include "codec/jsonx.h"
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

int
virt_freeze(struct virt *v, const char *uuid, uint64_t timeout_ms,
            unsigned *ret_count, struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = prepare(v, uuid, timeout_ms, err);
    struct effect e;
    int n;

    if (dom == NULL)
        return -1;
    e = effect_begin("freeze", uuid);
    n = virDomainFSFreeze(dom, NULL, 0, 0);
    effect_end(&e);
    if (n < 0) {
        agent_error(uuid, "freeze", err);
        if (err->code == ERR_UNAVAILABLE && !virt_is_connected(v))
            err->code = ERR_TIMEOUT; /* sent, perhaps */
        return -1;
    }
    *ret_count = (unsigned)n;
    return 0;
}

int
virt_thaw(struct virt *v, const char *uuid, uint64_t timeout_ms,
          unsigned *ret_count, struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = prepare(v, uuid, timeout_ms, err);
    struct effect e;
    int n;

    if (dom == NULL)
        return -1;
    e = effect_begin("thaw", uuid);
    n = virDomainFSThaw(dom, NULL, 0, 0);
    effect_end(&e);
    if (n < 0) {
        agent_error(uuid, "thaw", err);
        return -1;
    }
    *ret_count = (unsigned)n;
    return 0;
}

/* Run `command`; its "return" value, the caller's. */
static json_t *
ask(struct virt *v, const char *uuid, const char *command, uint64_t timeout_ms,
    struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = virt_connect_domain(v, uuid, err);
    CLEANUP(mem_free) char *answer = NULL;
    CLEANUP(json_decref) json_t *json = NULL;
    json_t *value;

    if (dom == NULL)
        return NULL;
    answer = virDomainQemuAgentCommand(dom, command, to_seconds(timeout_ms), 0);
    if (answer == NULL) {
        agent_error(uuid, "agent", err);
        return NULL;
    }
    json = jsonx_parse(answer, strlen(answer), err);
    if (json == NULL)
        return err_wrap_null(err, "domain %s: agent", uuid);
    value = json_object_get(json, "return");
    if (value == NULL)
        return err_set_null(err, ERR_CORRUPT,
                            "domain %s: agent: an answer without a value",
                            uuid);
    return json_incref(value);
}

int
virt_freeze_status(struct virt *v, const char *uuid, uint64_t timeout_ms,
                   bool *ret_is_frozen, struct err *err)
{
    CLEANUP(json_decref)
    json_t *value = ask(v, uuid, "{\"execute\":\"guest-fsfreeze-status\"}",
                        timeout_ms, err);

    if (value == NULL)
        return -1;
    if (!json_is_string(value))
        return err_set(err, ERR_CORRUPT, "domain %s: agent: no status", uuid);
    *ret_is_frozen = strcmp(json_string_value(value), "frozen") == 0;
    return 0;
}

int
virt_agent_ping(struct virt *v, const char *uuid, uint64_t timeout_ms,
                struct err *err)
{
    CLEANUP(json_decref)
    json_t *value =
        ask(v, uuid, "{\"execute\":\"guest-ping\"}", timeout_ms, err);

    return value == NULL ? -1 : 0;
}
