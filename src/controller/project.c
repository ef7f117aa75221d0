/* SPDX-License-Identifier: Apache-2.0 */
/* controller/project.c: libvirt's domains become objects.
 *
 * Keys of the queue are UUIDs, and two words: "list" compares all domains with
 * all VM objects, "away" is what a lost connection becomes after a while.
 * An event reads its one domain again; the list runs at start, when a
 * connection comes and every five minutes. What is equal is not written.
 *
 * Nothing is removed on suspicion. A VM object goes only when libvirt said
 * "undefined", or a complete, non-empty list on a live connection lacks it
 * (`gone`), and when no snapshot, content or restore names it; a read that
 * finds nothing only asks for a list. A VM that returns takes up its object.
 */
#include "controller/project.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "controller/loop.h"
#include "controller/project-disks.h"
#include "controller/project-host.h"
#include "controller/projection.h"
#include "controller/projectput.h"
#include "controller/tidy.h"

#define STEADY_MS     5000 /* after a stop, often a start follows */
#define LIST_KEY      "list"
#define AWAY_KEY      "away"
#define LIST_EVERY_MS (5 * 60 * 1000)
/* A libvirtd that is restarted is back before anybody is told. */
#define AWAY_AFTER_MS 10000

extern struct role project_lock;

struct project {
    struct ctl *ctl;   /* [C] */
    struct loop *loop; /* [C] */
    pthread_mutex_t mutex;
    struct map *gone GUARDED_BY(project_lock); /* UUIDs said to be undefined */
};

/* One per process: events come from virt_open(), which is before us. The lock
 * is held shared while an event is handed on, alone while it changes. */
static struct project *instance;
static pthread_rwlock_t instance_lock = PTHREAD_RWLOCK_INITIALIZER;

static void
instance_set(struct project *pr)
{
    pthread_rwlock_wrlock(&instance_lock);
    instance = pr;
    pthread_rwlock_unlock(&instance_lock);
}

static void
lock(struct project *p) ACQUIRE(project_lock) NO_TSA
{
    pthread_mutex_lock(&p->mutex);
}

static void
unlock(struct project *p) RELEASE(project_lock) NO_TSA
{
    pthread_mutex_unlock(&p->mutex);
}

static void
set_gone(struct project *p, const char *uuid, bool is_gone)
{
    lock(p);
    if (is_gone)
        (void)map_put(p->gone, uuid, p);
    else
        (void)map_remove(p->gone, uuid);
    unlock(p);
}

static bool
is_gone(struct project *p, const char *uuid)
{
    bool gone;

    lock(p);
    gone = map_get(p->gone, uuid) != NULL;
    unlock(p);
    return gone;
}

/* ---- a domain that is there ---- */

struct shown {
    const struct projection *p;
    bool is_new_state; /* it runs, stopped, was paused ... since */
    bool is_misplaced; /* it is news that its namespace is not taken */
};

static const char *
misplaced(const json_t *vm)
{
    return ctl_condition_message(vm, PROJECTION_NAMESPACE);
}

static void
write_vm(void *arg, json_t *object)
{
    struct shown *s = arg;
    CLEANUP(mem_free)
    char *was = xstrdup(jsonx_str_or(object, "status.printableStatus", ""));
    CLEANUP(mem_free) char *words = xstrdup(misplaced(object));

    projection_vm(object, s->p);
    s->is_new_state =
        strcmp(was, jsonx_str_or(object, "status.printableStatus", "")) != 0;
    s->is_misplaced =
        misplaced(object)[0] != 0 && strcmp(words, misplaced(object)) != 0;
}

static void
write_vmi(void *arg, json_t *object)
{
    projection_vmi(object, arg);
}

static void
write_nothing(void *arg, json_t *object)
{
    (void)arg;
    (void)object;
}

static int
ensure_namespace(struct ctl *ctl, const char *ns, struct err *err)
{
    struct obj_ref ref = { &kind_namespace.gvr, "", ns };
    CLEANUP(object_unref) struct object *o = cache_get(ctl->cache, &ref);

    if (o != NULL)
        return 0;
    if (projectput_write(ctl, &ref, NULL, write_nothing, NULL, NULL, err) < 0 &&
        err->code != ERR_EXISTS)
        return -1;
    return 0;
}

/* Where a domain's object is, or is to be: its place is kept for life. */
struct place {
    char ns[PROJECTION_NAME_SIZE], name[256];
};

static void
find_place(struct ctl *ctl, const struct virt_vm *vm, struct place *ret_place)
{
    const struct domxml *d = vm->inactive != NULL ? vm->inactive : vm->live;
    CLEANUP(object_unref) struct object *o = ctl_vm_by_uid(ctl, vm->uuid);
    CLEANUP(object_unref) struct object *other = NULL;
    struct obj_ref ref = { &kind_vm.gvr, ret_place->ns, ret_place->name };
    bool has_ns = d->ns != NULL && projection_is_namespace(d->ns);
    char name[PROJECTION_NAME_SIZE];

    if (o != NULL) {
        (void)snprintf(ret_place->ns, sizeof ret_place->ns, "%s", object_ns(o));
        (void)snprintf(ret_place->name, sizeof ret_place->name, "%s",
                       object_name(o));
        return;
    }
    projection_name(d->name, NULL, name);
    (void)snprintf(ret_place->ns, sizeof ret_place->ns, "%s",
                   has_ns ? d->ns : "default");
    (void)snprintf(ret_place->name, sizeof ret_place->name, "%s", name);
    other = cache_get(ctl->cache, &ref);
    if (other == NULL)
        return;
    projection_name(d->name, vm->uuid, name);
    (void)snprintf(ret_place->name, sizeof ret_place->name, "%s", name);
}

static int
sync_vmi(struct ctl *ctl, struct projection *p, struct err *err)
{
    struct obj_ref ref = { &kind_vmi.gvr, p->ns, p->name };
    CLEANUP(object_unref) struct object *o = NULL;

    if (p->vm != NULL && p->vm->live != NULL)
        return projectput_write(ctl, &ref, NULL, write_vmi, p, NULL, err);
    o = cache_get(ctl->cache, &ref);
    return o == NULL ? 0 : projectput_remove(ctl, &ref, err);
}

static int
write_domain(struct project *pr, struct projection *p, struct err *err)
{
    struct obj_ref ref = { &kind_vm.gvr, p->ns, p->name };
    struct shown shown = { .p = p };
    CLEANUP(object_unref) struct object *o = NULL;
    CLEANUP(json_decref) json_t *v = NULL;

    if (ensure_namespace(pr->ctl, p->ns, err) < 0 ||
        projectput_write(pr->ctl, &ref, p->vm->uuid, write_vm, &shown, &o,
                         err) < 0)
        return -1;
    if (shown.is_new_state) /* what had to wait for another one may go on */
        tidy_poke_later(pr->ctl, p->vm->uuid, STEADY_MS);
    v = object_json(o);
    p->vm_object = v;
    if (shown.is_misplaced)
        eventrec_warn(pr->ctl->events, o, "NamespaceNotAccepted", "%s",
                      misplaced(v));
    if (sync_vmi(pr->ctl, p, err) < 0)
        return -1;
    return project_disks_sync_claims(pr->ctl, p, p->vm->uuid,
                                     loop_queue(pr->loop), err);
}

static int
project_domain(struct project *pr, const struct virt_vm *vm, struct err *err)
{
    struct project_disks disks;
    struct place place;
    int rc;

    find_place(pr->ctl, vm, &place);
    project_disks_collect(vm, &disks);

    struct projection p = {
        .vm = vm,
        .ns = place.ns,
        .name = place.name,
        .node = pr->ctl->config.node,
        .disks = disks.v,
        .n_disks = disks.n,
    };

    rc = write_domain(pr, &p, err);
    project_disks_fini(&disks);
    /* Two domains that wanted one name: the other was first. The cache knows
     * it soon, and this one gets another name. */
    return rc < 0 ? err_wrap(err, "VM %s/%s", place.ns, place.name) : 0;
}

/* ---- a domain that is not ---- */

static bool
names_vm(const struct object *o, const char *path, const char *vm)
{
    CLEANUP(json_decref) json_t *v = object_json(o);
    const char *kind = NULL;
    const json_t *ref = jsonx_get(v, path);

    kind = jsonx_str(ref, "kind");
    return kind != NULL && strcmp(kind, "VirtualMachine") == 0 &&
           strcmp(jsonx_str_or(ref, "name", ""), vm) == 0;
}

static bool
is_content_of(const struct object *o, const char *vm)
{
    CLEANUP(json_decref) json_t *v = object_json(o);

    return strcmp(
               jsonx_str_or(v, "spec.source.virtualMachine.metadata.name", ""),
               vm) == 0;
}

static bool
has_claims(struct ctl *ctl, const char *ns, const char *vm)
{
    struct object_list claims;
    bool has = false;

    cache_list(ctl->cache, &kind_pvc.gvr, ns, &claims);
    for (size_t i = 0; i < claims.n && !has; i++) {
        const char *label = object_label(claims.v[i], PROJECT_LABEL_VM);

        has = label != NULL && strcmp(label, vm) == 0;
    }
    object_list_fini(&claims);
    return has;
}

/* Does a snapshot, content or restore name this VM, or is there a claim of a
 * detached file? */
static bool
is_referred_to(struct ctl *ctl, const char *ns, const char *vm)
{
    struct object_list snapshots, contents, restores;
    bool is = has_claims(ctl, ns, vm);

    cache_list(ctl->cache, &kind_vmsnapshot.gvr, ns, &snapshots);
    cache_list(ctl->cache, &kind_vmsnapshotcontent.gvr, ns, &contents);
    cache_list(ctl->cache, &kind_vmrestore.gvr, ns, &restores);
    for (size_t i = 0; i < snapshots.n && !is; i++)
        is = names_vm(snapshots.v[i], "spec.source", vm);
    for (size_t i = 0; i < contents.n && !is; i++)
        is = is_content_of(contents.v[i], vm);
    for (size_t i = 0; i < restores.n && !is; i++)
        is = names_vm(restores.v[i], "spec.target", vm);
    object_list_fini(&snapshots);
    object_list_fini(&contents);
    object_list_fini(&restores);
    return is;
}

struct absence {
    const char *status, *message;
};

static void
write_absent(void *arg, json_t *object)
{
    const struct absence *a = arg;

    projection_vm_absent(object, a->status, a->message);
}

/* Say that it is not there; the object stays. */
static int
keep_absent(struct ctl *ctl, const struct object *vm, const char *status,
            const char *message, struct err *err)
{
    struct obj_ref ref = { &kind_vm.gvr, object_ns(vm), object_name(vm) };
    struct absence a = { status, message };

    return projectput_write(ctl, &ref, object_uid(vm), write_absent, &a, NULL,
                            err);
}

static int
project_gone(struct project *pr, const char *uuid, struct err *err)
{
    CLEANUP(object_unref) struct object *o = ctl_vm_by_uid(pr->ctl, uuid);
    CLEANUP(json_decref) json_t *v = NULL;
    struct obj_ref ref = { .gvr = &kind_vm.gvr };

    if (o == NULL)
        return 0;
    v = object_json(o);
    ref.ns = object_ns(o);
    ref.name = object_name(o);

    struct projection p = {
        .ns = ref.ns,
        .name = ref.name,
        .node = pr->ctl->config.node,
        .vm_object = v,
    };

    if (sync_vmi(pr->ctl, &p, err) < 0 ||
        project_disks_sync_claims(pr->ctl, &p, uuid, loop_queue(pr->loop),
                                  err) < 0)
        return -1;
    if (is_referred_to(pr->ctl, ref.ns, ref.name) ||
        json_array_size(jsonx_get(v, "metadata.finalizers")) > 0)
        return keep_absent(
            pr->ctl, o, "Undefined",
            "the domain is not defined in libvirt; its snapshots are kept: define it again with its UUID, or restore one to a new virtual machine",
            err);
    log_info("VM %s/%s: its domain %s is gone", ref.ns, ref.name, uuid);
    return projectput_remove(pr->ctl, &ref, err);
}

/* ---- the queue ---- */

static int
work_domain(struct project *pr, const char *uuid, struct err *err)
{
    CLEANUP(virt_vm_free) struct virt_vm *vm = NULL;

    vm = virt_vm_get(pr->ctl->virt, uuid, err);
    if (vm != NULL) {
        set_gone(pr, uuid, false);
        return project_domain(pr, vm, err);
    }
    if (err->code == ERR_UNAVAILABLE)
        return 0; /* the connection's return lists everything */
    if (err->code != ERR_NOT_FOUND)
        return -1;
    if (is_gone(pr, uuid))
        return project_gone(pr, uuid, err);
    loop_add_key(pr->loop, LIST_KEY, 1000);
    return 0;
}

static bool
is_in(char *const *uuids, size_t n, const char *uuid)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(uuids[i], uuid) == 0)
            return true;
    return false;
}

/* VM objects that a complete list lacks. An empty list is believed only of a
 * host that had nothing: a libvirtd that starts with an empty directory says
 * the same as one whose domains were all undefined. */
static int
compare_with_list(struct project *pr, char *const *uuids, size_t n,
                  struct err *err)
{
    struct object_list vms;
    int rc = 0;

    cache_list(pr->ctl->cache, &kind_vm.gvr, NULL, &vms);
    for (size_t i = 0; i < vms.n && rc == 0; i++) {
        const char *uuid = object_uid(vms.v[i]);

        if (is_in(uuids, n, uuid))
            continue;
        if (n == 0 && !is_gone(pr, uuid)) {
            rc = keep_absent(
                pr->ctl, vms.v[i], "Unknown",
                "libvirt lists no domain at all; nothing is removed because of that",
                err);
            continue;
        }
        set_gone(pr, uuid, true);
        loop_add_key(pr->loop, uuid, 0);
    }
    object_list_fini(&vms);
    return rc;
}

static int
work_list(struct project *pr, int64_t *ret_again_ms, struct err *err)
{
    char **uuids = NULL;
    size_t n = 0;
    int rc;

    *ret_again_ms = LIST_EVERY_MS;
    if (ensure_namespace(pr->ctl, "default", err) < 0 ||
        project_host_sync(pr->ctl, virt_is_connected(pr->ctl->virt), err) < 0)
        return -1;
    if (virt_list(pr->ctl->virt, &uuids, &n, err) < 0)
        return err->code == ERR_UNAVAILABLE ? 0 : -1;
    for (size_t i = 0; i < n; i++)
        loop_add_key(pr->loop, uuids[i], 0);
    rc = compare_with_list(pr, uuids, n, err);
    for (size_t i = 0; i < n; i++)
        free(uuids[i]);
    free(uuids);
    return rc;
}

static int
work_away(struct project *pr, struct err *err)
{
    struct object_list vms;
    int rc = 0;

    if (virt_is_connected(pr->ctl->virt))
        return 0;
    if (project_host_sync(pr->ctl, false, err) < 0)
        return -1;
    cache_list(pr->ctl->cache, &kind_vm.gvr, NULL, &vms);
    for (size_t i = 0; i < vms.n && rc == 0; i++)
        if (!is_gone(pr, object_uid(vms.v[i])))
            rc = keep_absent(pr->ctl, vms.v[i], "Unknown",
                             "no connection to libvirt: is libvirtd running?",
                             err);
    object_list_fini(&vms);
    return rc;
}

static int
work(void *arg, const char *key, int64_t *ret_again_ms, struct err *err)
{
    struct project *pr = arg;

    *ret_again_ms = QUEUE_DONE;
    if (strcmp(key, LIST_KEY) == 0)
        return work_list(pr, ret_again_ms, err);
    if (strcmp(key, AWAY_KEY) == 0)
        return work_away(pr, err);
    return work_domain(pr, key, err);
}

/* ---- what makes us look ---- */

/* A VM whose last reference goes may go too: only absent ones care. */
static void
add_absent(struct project *pr)
{
    struct object_list vms;

    cache_list(pr->ctl->cache, &kind_vm.gvr, NULL, &vms);
    for (size_t i = 0; i < vms.n; i++)
        if (is_gone(pr, object_uid(vms.v[i])))
            loop_add_key(pr->loop, object_uid(vms.v[i]), 0);
    object_list_fini(&vms);
}

static void
map_event(void *arg, struct loop *l, const struct cache_event *ev)
{
    struct project *pr = arg;
    const struct gvr *gvr = object_gvr(ev->object);
    struct err err;

    if (gvr == &kind_vm.gvr) {
        loop_add_key(l, object_uid(ev->object), 0);
    } else if (ev->type == CACHE_DELETED) {
        add_absent(pr);
    } else if (gvr == &kind_pvc.gvr) {
        const char *name = object_label(ev->object, PROJECT_LABEL_VM);
        CLEANUP(object_unref) struct object *vm = NULL;

        if (name == NULL || !object_is_deleting(ev->object))
            return;
        vm = ctl_vm(pr->ctl, object_ns(ev->object), name, &err);
        if (vm != NULL)
            loop_add_key(l, object_uid(vm), 0);
    }
}

static void
hand_on(struct project *pr, enum virt_event event, const char *uuid)
{
    switch (event) {
    case VIRT_EVENT_CHANGED:
        loop_add_key(pr->loop, uuid, 0);
        break;
    case VIRT_EVENT_UNDEFINED:
        set_gone(pr, uuid, true);
        loop_add_key(pr->loop, uuid, 0);
        break;
    case VIRT_EVENT_CONNECTED:
        loop_add_key(pr->loop, LIST_KEY, 0);
        break;
    case VIRT_EVENT_DISCONNECTED:
        loop_add_key(pr->loop, AWAY_KEY, AWAY_AFTER_MS);
        break;
    case VIRT_EVENT_UNREACHABLE:
    default:
        break;
    }
}

void
project_event(struct ctl *ctl, enum virt_event event, const char *uuid)
{
    (void)ctl;
    pthread_rwlock_rdlock(&instance_lock);
    if (instance != NULL) /* not started: it begins with a list */
        hand_on(instance, event, uuid);
    pthread_rwlock_unlock(&instance_lock);
}

void
project_poke(struct ctl *ctl, const char *vm_uuid)
{
    project_event(ctl, VIRT_EVENT_CHANGED, vm_uuid);
}

/* ---- marks on VM objects ---- */

struct mark {
    const char *field, *value, *only_if;
};

static int
apply_mark(void *arg, json_t *object, struct err *err)
{
    const struct mark *m = arg;
    json_t *status = json_object_get(object, "status");
    const char *is = jsonx_str(status, m->field);

    if (is != NULL && is[0] == 0)
        is = NULL;
    if (m->value == NULL) {
        if (is == NULL || (m->only_if != NULL && strcmp(is, m->only_if) != 0))
            return 1;
        (void)json_object_del(status, m->field);
        return 0;
    }
    if (is != NULL && strcmp(is, m->value) != 0)
        return err_set(err, ERR_CONFLICT, "%s is \"%s\" already", m->field, is);
    if (status == NULL) {
        jsonx_set(object, "status", json_object());
        status = json_object_get(object, "status");
    }
    (void)json_object_set_new(status, m->field, json_string(m->value));
    return 0;
}

int
project_mark(struct ctl *ctl, const char *ns, const char *vm, const char *field,
             const char *value, const char *only_if, struct err *err)
{
    static const struct obj_write how = { .part = OBJ_STATUS };
    struct obj_ref ref = { &kind_vm.gvr, ns, vm };
    struct mark m = { field, value, only_if };

    if (obj_update(ctl->store, &ref, &how, apply_mark, &m, NULL, NULL, err) < 0)
        return value == NULL && err->code == ERR_NOT_FOUND ? 0 : -1;
    return 0;
}

struct claim_change {
    const char *volume, *claim;
};

static int
apply_claim(void *arg, json_t *object, struct err *err)
{
    const struct claim_change *c = arg;
    const json_t *volumes = jsonx_get(object, "spec.template.spec.volumes");

    json_t *v = jsonx_find(volumes, "name", c->volume);

    if (v == NULL)
        return err_set(err, ERR_NOT_FOUND, "volume %s is not in the VM's spec",
                       c->volume);
    jsonx_set_str(v, "persistentVolumeClaim.claimName", c->claim);
    return 0;
}

int
project_set_claim(struct ctl *ctl, const char *ns, const char *vm,
                  const char *volume, const char *claim, struct err *err)
{
    static const struct obj_write how = { .part = OBJ_ALL };
    struct obj_ref ref = { &kind_vm.gvr, ns, vm };
    struct claim_change c = { volume, claim };

    return obj_update(ctl->store, &ref, &how, apply_claim, &c, NULL, NULL, err);
}

/* ---- start and stop ---- */

static const struct gvr *const followed[] = {
    &kind_vm.gvr,         &kind_pvc.gvr,
    &kind_vmsnapshot.gvr, &kind_vmsnapshotcontent.gvr,
    &kind_vmrestore.gvr,  NULL
};
static const struct loop_spec spec = {
    .name = "project",
    .workers = 4, /* reads of libvirt, one per domain */
    .gvrs = followed,
    .map = map_event,
    .work = work,
};

static void NO_TSA
project_stop(void *state)
{
    struct project *pr = state;

    instance_set(NULL);
    loop_free(pr->loop);
    map_free(pr->gone);
    (void)pthread_mutex_destroy(&pr->mutex);
    free(pr);
}

static void *NO_TSA
project_start(struct ctl *ctl, struct err *err)
{
    struct project *pr = xcalloc(1, sizeof *pr);

    pr->ctl = ctl;
    pr->gone = map_new();
    (void)pthread_mutex_init(&pr->mutex, NULL);
    pr->loop = loop_new(ctl, &spec, pr);
    if (ensure_namespace(ctl, "default", err) < 0 ||
        loop_start(pr->loop, err) < 0) {
        project_stop(pr);
        return NULL;
    }
    instance_set(pr);
    loop_add_key(pr->loop, LIST_KEY, 0);
    loop_add_key(pr->loop, AWAY_KEY, AWAY_AFTER_MS);
    return pr;
}

const struct ctl_part project_part = {
    .name = "project",
    .start = project_start,
    .stop = project_stop,
};
