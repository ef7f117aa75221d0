/* SPDX-License-Identifier: Apache-2.0 */
/* controller/action.c: VirtualMachineActions, and runStrategy.
 *
 * An action is one request for a VM's power; the API waits for its status to
 * be final. Steps return at once: a guest that shuts down is looked at every
 * second. Final actions are removed after an hour.
 *
 * runStrategy is an edge: `status.runStrategy` is what was last acted on, so a
 * change is seen once, also across a restart of the daemon, and a VM that its
 * owner starts or stops with virsh is left alone. The edge becomes an action
 * named after the VM's generation.
 *
 * A freeze holds only as long as this process lives (controller/userfreeze.h).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "controller/action-plan.h"
#include "controller/loop.h"
#include "controller/objutil.h"
#include "controller/project.h"
#include "controller/recover.h"
#include "controller/release.h"
#include "controller/userfreeze.h"

#define LOOK_EVERY_MS 1000
#define KEEP_S        3600
#define LOCK_WAIT_MS  (5 * 60 * 1000)
#define VM_PREFIX     "vm:"   /* keys of VMs: runStrategy */
#define THAW_PREFIX   "thaw:" /* of VMs too: a freeze that is due to end */

struct actions {
    struct ctl *ctl;           /* [C] */
    struct loop *loop;         /* [C] */
    struct userfreeze *frozen; /* [C] */
};

/* One step's view. */
struct step {
    struct actions *a;
    const char *key;
    struct object *action;
    json_t *status; /* ours to change */
    struct object *vm;
    struct action_plan plan;
};

/* ---- status ---- */

static int
write_status(struct step *s, const char *phase, struct err *err)
{
    char now[CLOCK_RFC3339_SIZE];

    clock_format_rfc3339(clock_wall_s(), now);
    jsonx_set_str(s->status, "phase", phase);
    if (jsonx_str(s->status, "startTime") == NULL)
        jsonx_set_str(s->status, "startTime", now);
    if (strcmp(phase, "Running") != 0)
        jsonx_set_str(s->status, "completionTime", now);
    return objutil_set_status(s->a->ctl, &s->action, s->status, err);
}

static int
finish(struct step *s, int code, const char *reason, const char *message,
       int64_t *ret_again_ms, struct err *err)
{
    bool is_failed = code >= 400;

    jsonx_set(s->status, "code", json_integer(code));
    jsonx_set_str(s->status, "reason", reason);
    jsonx_set_str(s->status, "message", message);
    *ret_again_ms = (int64_t)KEEP_S * 1000;
    if (is_failed && s->vm != NULL)
        eventrec_warn(s->a->ctl->events, s->vm, "ActionFailed", "%s: %s",
                      object_name(s->action), message);
    return write_status(s, is_failed ? "Failed" : "Succeeded", err);
}

static int
finish_err(struct step *s, const struct err *why, int64_t *ret_again_ms,
           struct err *err)
{
    struct err copy = *why;

    return finish(s, err_code_http(copy.code), err_code_name(copy.code),
                  copy.msg, ret_again_ms, err);
}

/* ---- observe ---- */

static const char *
strategy_of(const json_t *vm)
{
    const json_t *running = jsonx_get(vm, "spec.running");

    if (json_is_boolean(running))
        return json_is_true(running) ? "Always" : "Halted";
    return jsonx_str_or(vm, "spec.runStrategy", "Manual");
}

static const char *
in_progress(const json_t *vm, const char *path)
{
    const char *s = jsonx_str(vm, path);

    return s == NULL || s[0] == 0 ? NULL : s;
}

static size_t
count_snapshots(const struct step *s)
{
    struct object_list all;
    size_t n = 0;

    cache_list(s->a->ctl->cache, &kind_vmsnapshot.gvr, object_ns(s->vm), &all);
    for (size_t i = 0; i < all.n; i++) {
        CLEANUP(json_decref) json_t *snapshot = object_json(all.v[i]);

        n += strcmp(jsonx_str_or(snapshot, "spec.source.name", ""),
                    object_name(s->vm)) == 0 &&
             strcmp(jsonx_str_or(snapshot, "status.phase", ""), "Failed") != 0;
    }
    object_list_fini(&all);
    return n;
}

static int
make_plan(struct step *s, const json_t *action, struct err *err)
{
    CLEANUP(json_decref) json_t *vm = object_json(s->vm);
    CLEANUP(virt_vm_free) struct virt_vm *domain = NULL;
    int64_t started_ms = objutil_time_ms(action, "status.startTime");

    domain = virt_vm_get(s->a->ctl->virt, object_uid(s->vm), err);
    if (domain == NULL)
        return -1;

    struct action_seen seen = {
        .action = jsonx_str_or(action, "spec.action", ""),
        .is_begun =
            strcmp(jsonx_str_or(action, "status.phase", ""), "Running") == 0,
        .is_stopped = jsonx_bool(action, "status.result.stopped"),
        .is_paused_wanted = jsonx_bool(action, "spec.paused"),
        .has_timeout = jsonx_str(action, "spec.unfreezeTimeout") != NULL,
        .grace_s = jsonx_int(action, "spec.gracePeriodSeconds", -1),
        .running_ms = started_ms == 0 ? 0 : clock_wall_s() * 1000 - started_ms,
        .strategy = strategy_of(vm),
        .snapshot = in_progress(vm, "status.snapshotInProgress"),
        .restore = in_progress(vm, "status.restoreInProgress"),
        .n_snapshots = count_snapshots(s),
        .state = domain->state,
        .is_active = domain->live != NULL,
    };

    action_plan_make(&seen, &s->plan);
    return 0;
}

/* ---- apply ---- */

static int
freeze(struct step *s, struct err *err)
{
    CLEANUP(json_decref) json_t *action = object_json(s->action);
    CLEANUP(mem_free)
    char *key =
        xasprintf(THAW_PREFIX "%s/%s", object_ns(s->vm), object_name(s->vm));
    uint64_t left_ms;
    int64_t ms;

    if (clock_parse_duration(jsonx_str_or(action, "spec.unfreezeTimeout", ""),
                             &ms, err) < 0 ||
        userfreeze_begin(s->a->frozen, s->vm, ms < 0 ? 0 : (uint64_t)ms,
                         &left_ms, err) < 0)
        return -1;
    loop_add_key(s->a->loop, key, left_ms);
    return 0;
}

static int
put_strategy(void *arg, json_t *object, struct err *err)
{
    (void)err;
    jsonx_del(object, "spec.running");
    jsonx_set_str(object, "spec.runStrategy", arg);
    jsonx_set_str(object, "status.runStrategy", arg); /* acted on: by us */
    return 0;
}

static int
set_strategy(struct step *s, struct err *err)
{
    static const struct obj_write how = { .part = OBJ_ALL };
    struct obj_ref ref = { object_gvr(s->vm), object_ns(s->vm),
                           object_name(s->vm) };

    if (s->plan.strategy == NULL)
        return 0;
    return obj_update(s->a->ctl->store, &ref, &how, put_strategy,
                      (void *)(uintptr_t)s->plan.strategy, NULL, NULL, err);
}

static int
do_step(struct step *s, struct err *err)
{
    struct ctl *ctl = s->a->ctl;
    const char *uuid = object_uid(s->vm);

    switch (s->plan.step) {
    case ACTION_START:
        return virt_start(ctl->virt, uuid, false, err);
    case ACTION_START_PAUSED:
        return virt_start(ctl->virt, uuid, true, err);
    case ACTION_SHUTDOWN:
        /* A guest that cannot be asked is waited for all the same. */
        if (virt_shutdown(ctl->virt, uuid, err) < 0 &&
            (err->code == ERR_NOT_FOUND || err->code == ERR_UNAVAILABLE))
            return -1;
        return 0;
    case ACTION_DESTROY:
        return virt_destroy(ctl->virt, uuid, err);
    case ACTION_REBOOT:
        return virt_reboot(ctl->virt, uuid, err);
    case ACTION_SUSPEND:
        return virt_suspend(ctl->virt, uuid, err);
    case ACTION_RESUME:
        return virt_resume(ctl->virt, uuid, err);
    case ACTION_RELEASE:
        return release_vm(ctl, uuid, err);
    case ACTION_FREEZE:
        return freeze(s, err);
    case ACTION_THAW:
        userfreeze_end(s->a->frozen, s->vm);
        return 0;
    case ACTION_FAIL:
    case ACTION_DONE:
    case ACTION_WAIT:
    default:
        return 0;
    }
}

/* With the VM's lock held. What the status says is written before the step,
 * so that a crash in between repeats it and does not forget it. */
static int
apply_locked(struct step *s, struct err *err)
{
    struct ctl *ctl = s->a->ctl;

    if (recover_vm(ctl, object_uid(s->vm), err) < 0 || set_strategy(s, err) < 0)
        return -1;
    if (s->plan.is_stopped)
        jsonx_set(s->status, "result.stopped", json_true());
    if (write_status(s, "Running", err) < 0)
        return -1;
    /* CONFLICT of a power action: it is so already. A freeze of somebody
     * else's is not ours, and what is kept is not released. */
    if (do_step(s, err) < 0 &&
        (err->code != ERR_CONFLICT || s->plan.step == ACTION_FREEZE ||
         s->plan.step == ACTION_RELEASE))
        return -1;
    project_poke(ctl, object_uid(s->vm));
    return 0;
}

static int
apply(struct step *s, int64_t *ret_again_ms, struct err *err)
{
    enum vmlock_reason reason =
        s->plan.step == ACTION_RELEASE ? VMLOCK_MERGE : VMLOCK_POWER;
    int rc;

    if (loop_take_vm(s->a->loop, object_uid(s->vm), reason, s->key,
                     ret_again_ms, err) != 0)
        return -1; /* BUSY too: judge() counts the time */
    rc = apply_locked(s, err);
    loop_give_vm(s->a->loop, object_uid(s->vm), s->key);
    /* Starting, suspending ... is done when libvirt has done it; the way to
     * "off", and to "on" again, is looked at. */
    *ret_again_ms = LOOK_EVERY_MS;
    return rc;
}

static bool
is_over_with_step(const struct step *s)
{
    switch (s->plan.step) {
    case ACTION_START:
    case ACTION_START_PAUSED:
    case ACTION_REBOOT:
    case ACTION_SUSPEND:
    case ACTION_RESUME:
    case ACTION_RELEASE:
    case ACTION_FREEZE:
    case ACTION_THAW:
        return true;
    case ACTION_FAIL:
    case ACTION_DONE:
    case ACTION_WAIT:
    case ACTION_SHUTDOWN:
    case ACTION_DESTROY:
    default:
        return false;
    }
}

/* An error of a step: worth another try, or the end? */
static int
judge(struct step *s, const json_t *action, int64_t *ret_again_ms,
      struct err *err)
{
    struct err why = *err;
    int64_t age_ms = clock_wall_s() * 1000 -
                     objutil_time_ms(action, "metadata.creationTimestamp");

    bool is_away =
        why.code == ERR_UNAVAILABLE && !virt_is_connected(s->a->ctl->virt);

    if ((why.code == ERR_BUSY || is_away) && age_ms < LOCK_WAIT_MS) {
        *ret_again_ms = LOOK_EVERY_MS;
        return 0;
    }
    return finish_err(s, &why, ret_again_ms, err);
}

static int
go_on(struct step *s, const json_t *action, int64_t *ret_again_ms,
      struct err *err)
{
    if (make_plan(s, action, err) < 0)
        return judge(s, action, ret_again_ms, err);
    if (s->plan.step == ACTION_FAIL)
        return finish(s, s->plan.code, s->plan.reason, s->plan.message,
                      ret_again_ms, err);
    if (s->plan.step == ACTION_DONE)
        return finish(s, 202, NULL, NULL, ret_again_ms, err);
    if (s->plan.step == ACTION_WAIT) {
        *ret_again_ms = LOOK_EVERY_MS;
        return 0;
    }
    if (apply(s, ret_again_ms, err) < 0)
        return judge(s, action, ret_again_ms, err);
    if (is_over_with_step(s))
        return finish(s, 202, NULL, NULL, ret_again_ms, err);
    return 0;
}

/* ---- the life of an action ---- */

static int
remove_old(struct ctl *ctl, const struct object *o, const json_t *v,
           int64_t *ret_again_ms, struct err *err)
{
    static const struct obj_write how = { .part = OBJ_MAIN };
    struct obj_ref ref = { object_gvr(o), object_ns(o), object_name(o) };
    int64_t age_ms =
        clock_wall_s() * 1000 - objutil_time_ms(v, "status.completionTime");

    if (age_ms < (int64_t)KEEP_S * 1000) {
        *ret_again_ms = (int64_t)KEEP_S * 1000 - (age_ms < 0 ? 0 : age_ms);
        return 0;
    }
    if (obj_delete(ctl->store, &ref, &how, NULL, NULL, err) < 0 &&
        err->code != ERR_NOT_FOUND)
        return -1;
    return 0;
}

static int
work_action(struct actions *a, const char *key, int64_t *ret_again_ms,
            struct err *err)
{
    CLEANUP(object_unref) struct object *o = NULL;
    CLEANUP(object_unref) struct object *vm = NULL;
    CLEANUP(json_decref) json_t *v = NULL;
    CLEANUP(json_decref) json_t *status = NULL;
    struct loop_key k;
    const char *phase;
    int rc;

    loop_key_parse(key, &k);
    if (objutil_find(a->ctl, &kind_action, k.ns, k.name, &o, err) < 0)
        return -1;
    if (o == NULL)
        return 0;
    v = object_json(o);
    phase = jsonx_str_or(v, "status.phase", "");
    if (strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0)
        return remove_old(a->ctl, o, v, ret_again_ms, err);
    status = json_deep_copy(json_object_get(v, "status"));
    if (status == NULL)
        status = json_object();
    vm = ctl_vm(a->ctl, k.ns, jsonx_str_or(v, "spec.virtualMachineName", ""),
                err);

    struct step s = {
        .a = a, .key = key, .action = object_ref(o), .status = status, .vm = vm
    };

    rc = vm == NULL ? finish_err(&s, err, ret_again_ms, err)
                    : go_on(&s, v, ret_again_ms, err);
    object_unref(s.action);
    if (rc < 0 && err->code == ERR_NOT_FOUND)
        return 0; /* the action was deleted meanwhile */
    return rc;
}

/* ---- runStrategy ---- */

static json_t *
edge_action(const json_t *vm, const char *name, const char *action)
{
    CLEANUP(mem_free)
    char *unique = xasprintf("%.200s-runstrategy-%" PRId64, name,
                             jsonx_int(vm, "metadata.generation", 0));

    return json_pack("{s:{s:s}, s:{s:s, s:s, s:s}}", "metadata", "name", unique,
                     "spec", "virtualMachineName", name, "action", action,
                     "requestedBy", "runStrategy");
}

static int
put_acted(void *arg, json_t *object, struct err *err)
{
    (void)err;
    jsonx_set_str(object, "status.runStrategy", arg);
    return 0;
}

static int
work_vm(struct actions *a, const char *key, struct err *err)
{
    static const struct obj_write as_main = { .part = OBJ_MAIN };
    static const struct obj_write as_status = { .part = OBJ_STATUS };
    CLEANUP(object_unref) struct object *o = NULL;
    CLEANUP(object_unref) struct object *made = NULL;
    CLEANUP(json_decref) json_t *v = NULL;
    CLEANUP(json_decref) json_t *action = NULL;
    struct loop_key k;
    struct obj_ref ref;
    const char *strategy;
    bool is_on, has_instance;

    loop_key_parse(key, &k);
    ref = objutil_ref(&kind_vm, k.ns, k.name);
    if (objutil_find(a->ctl, &kind_vm, k.ns, k.name, &o, err) < 0)
        return -1;
    if (o == NULL)
        return 0;
    v = object_json(o);
    strategy = strategy_of(v);
    if (jsonx_str(v, "status.runStrategy") == NULL ||
        strcmp(strategy, jsonx_str(v, "status.runStrategy")) == 0)
        return 0;
    is_on = strcmp(strategy, "Manual") != 0 && strcmp(strategy, "Halted") != 0;
    has_instance = jsonx_bool(v, "status.created");
    if ((is_on && !has_instance) ||
        (strcmp(strategy, "Halted") == 0 && has_instance)) {
        action = edge_action(v, k.name, is_on ? "start" : "stop");
        if (obj_create(a->ctl->store, &kind_action.gvr, k.ns, action, &as_main,
                       &made, err) < 0 &&
            err->code != ERR_EXISTS)
            return -1;
    }
    return obj_update(a->ctl->store, &ref, &as_status, put_acted,
                      (void *)(uintptr_t)strategy, NULL, NULL, err);
}

/* ---- a user's freeze ends ---- */

static int
work_thaw(struct actions *a, const char *key, int64_t *ret_again_ms,
          struct err *err)
{
    CLEANUP(object_unref) struct object *vm = NULL;
    struct loop_key k;
    uint64_t left_ms;

    loop_key_parse(key, &k);
    vm = ctl_vm(a->ctl, k.ns, k.name, err);
    if (vm == NULL)
        return 0; /* no domain, nothing frozen */
    userfreeze_expire(a->frozen, vm, &left_ms);
    if (left_ms > 0)
        *ret_again_ms = (int64_t)left_ms;
    return 0;
}

/* ---- the loop ---- */

static int
work(void *arg, const char *key, int64_t *ret_again_ms, struct err *err)
{
    *ret_again_ms = QUEUE_DONE;
    if (strncmp(key, VM_PREFIX, strlen(VM_PREFIX)) == 0)
        return work_vm(arg, key + strlen(VM_PREFIX), err);
    if (strncmp(key, THAW_PREFIX, strlen(THAW_PREFIX)) == 0)
        return work_thaw(arg, key + strlen(THAW_PREFIX), ret_again_ms, err);
    return work_action(arg, key, ret_again_ms, err);
}

static bool
is_edge(const struct object *o)
{
    CLEANUP(json_decref) json_t *v = object_json(o);
    const char *acted = jsonx_str(v, "status.runStrategy");

    return acted != NULL && strcmp(strategy_of(v), acted) != 0;
}

static void
map_event(void *arg, struct loop *l, const struct cache_event *ev)
{
    CLEANUP(mem_free) char *key = NULL;

    (void)arg;
    if (ev->type == CACHE_DELETED)
        return;
    if (object_gvr(ev->object) == &kind_action.gvr) {
        loop_add(l, object_ns(ev->object), object_name(ev->object));
    } else if (is_edge(ev->object)) {
        key = xasprintf(VM_PREFIX "%s/%s", object_ns(ev->object),
                        object_name(ev->object));
        loop_add_key(l, key, 0);
    }
}

static const struct gvr *const followed[] = { &kind_action.gvr, &kind_vm.gvr,
                                              NULL };
static const struct loop_spec spec = {
    .name = "action",
    .flow = "action",
    .workers = 8,
    .gvrs = followed,
    .map = map_event,
    .work = work,
};

static void
action_stop(void *state)
{
    struct actions *a = state;

    loop_free(a->loop);
    userfreeze_free(a->frozen);
    free(a);
}

static void *
action_start(struct ctl *ctl, struct err *err)
{
    struct actions *a = xcalloc(1, sizeof *a);

    a->ctl = ctl;
    a->frozen = userfreeze_new(ctl);
    a->loop = loop_new(ctl, &spec, a);
    if (loop_start(a->loop, err) < 0) {
        action_stop(a);
        return NULL;
    }
    return a;
}

const struct ctl_part action_part = {
    .name = "action",
    .start = action_start,
    .stop = action_stop,
};
