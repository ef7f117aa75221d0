/* SPDX-License-Identifier: Apache-2.0 */
/* What goes by itself: contents of namespaces, objects without owners, and
 * what must not go. Over a real store. */
#include <stdio.h>

#include "base/clock.h"
#include "controller/ctl.h"
#include "store/test-store-dir.h"

static struct ctl ctl;
static const struct gvr *gvrs[32];
static const struct ctl_part *const parts[] = { &namespace_part, &ownergc_part,
                                                NULL };

static void
begin(void)
{
    struct err err;

    for (size_t i = 0; kind_table[i] != NULL; i++)
        gvrs[i] = &kind_table[i]->gvr;
    ctl = (struct ctl){ .store = test_store_new(), .config.node = "h" };
    ctl.cache = cache_new(ctl.store, gvrs, &err);
    CHECK(ctl.cache != NULL);
    ctl.locks = vmlock_new();
    ctl.events = eventrec_new(ctl.store, ctl.cache, "h");
    CHECK_OK(ctl_start(&ctl, parts, &err), &err);
}

static void
end(void)
{
    ctl_stop(&ctl);
    eventrec_free(ctl.events);
    vmlock_free(ctl.locks);
    cache_free(ctl.cache);
    store_close(ctl.store);
}

/* `owner`: NULL, or "apiVersion kind name uid" as JSON members. */
static struct object *
create(const struct kind *k, const char *ns, const char *name,
       const char *owner)
{
    static const struct obj_write how = { .part = OBJ_ALL };
    CLEANUP(json_decref)
    json_t *v = json_pack("{s:{s:s}}", "metadata", "name", name);
    struct object *o = NULL;
    struct err err;

    if (owner != NULL)
        jsonx_set(v, "metadata.ownerReferences", json_loads(owner, 0, NULL));
    CHECK_OK(obj_create(ctl.store, &k->gvr, ns, v, &how, &o, &err), &err);
    return o;
}

static char *
owner_of(const struct object *o)
{
    return xasprintf("[{\"apiVersion\":\"%s%s%s\",\"kind\":\"%s\","
                     "\"name\":\"%s\",\"uid\":\"%s\"}]",
                     object_gvr(o)->group,
                     object_gvr(o)->group[0] == 0 ? "" : "/",
                     object_gvr(o)->version, object_gvr(o)->kind,
                     object_name(o), object_uid(o));
}

static bool
is_there(const struct kind *k, const char *ns, const char *name)
{
    struct obj_ref ref = { &k->gvr, ns, name };
    struct object *o = NULL;
    struct err err;

    if (obj_get(ctl.store, &ref, &o, &err) < 0)
        return false;
    object_unref(o);
    return true;
}

static bool
goes(const struct kind *k, const char *ns, const char *name)
{
    for (unsigned i = 0; i < 500 && is_there(k, ns, name); i++)
        clock_sleep_ms(10);
    return !is_there(k, ns, name);
}

static void delete (const struct kind *k, const char *ns, const char *name)
{
    static const struct obj_write how = { .part = OBJ_MAIN };
    struct obj_ref ref = { &k->gvr, ns, name };
    struct err err;

    CHECK_OK(obj_delete(ctl.store, &ref, &how, NULL, NULL, &err), &err);
}

static void
what_belongs_to_a_snapshot_goes_with_it(void)
{
    struct object *snapshot, *content;
    char *owner;

    begin();
    object_unref(create(&kind_namespace, "", "default", NULL));
    snapshot = create(&kind_vmsnapshot, "default", "s1", NULL);
    owner = owner_of(snapshot);
    content = create(&kind_vmsnapshotcontent, "default", "c1", owner);
    clock_sleep_ms(50);
    CHECK(is_there(&kind_vmsnapshotcontent, "default", "c1"));
    delete (&kind_vmsnapshot, "default", "s1");
    CHECK(goes(&kind_vmsnapshotcontent, "default", "c1"));
    object_unref(snapshot);
    object_unref(content);
    free(owner);
    end();
}

static void
an_owner_of_the_same_name_is_another_one(void)
{
    struct object *snapshot;
    char *owner;

    begin();
    object_unref(create(&kind_namespace, "", "default", NULL));
    snapshot = create(&kind_vmsnapshot, "default", "s1", NULL);
    owner = owner_of(snapshot);
    delete (&kind_vmsnapshot, "default", "s1");
    object_unref(create(&kind_vmsnapshot, "default", "s1", NULL));
    object_unref(create(&kind_vmsnapshotcontent, "default", "c1", owner));
    CHECK(goes(&kind_vmsnapshotcontent, "default", "c1"));
    object_unref(snapshot);
    free(owner);
    end();
}

static void
a_vm_that_vanishes_takes_nothing_with_it(void)
{
    struct object *vm;
    char *owner;

    begin();
    object_unref(create(&kind_namespace, "", "default", NULL));
    vm = create(&kind_vm, "default", "web", NULL);
    owner = owner_of(vm);
    object_unref(create(&kind_vmsnapshot, "default", "s1", owner));
    object_unref(create(&kind_vmrestore, "default", "r1", owner));
    delete (&kind_vm, "default", "web");
    clock_sleep_ms(300);
    CHECK(is_there(&kind_vmsnapshot, "default", "s1"));
    CHECK(is_there(&kind_vmrestore, "default", "r1"));
    object_unref(vm);
    free(owner);
    end();
}

static void
a_namespace_is_emptied_and_goes(void)
{
    begin();
    object_unref(create(&kind_namespace, "", "team", NULL));
    object_unref(create(&kind_action, "team", "a", NULL));
    object_unref(create(&kind_vmrestore, "team", "r", NULL));
    delete (&kind_namespace, "", "team");
    CHECK(goes(&kind_namespace, "", "team"));
    CHECK(!is_there(&kind_action, "team", "a"));
    CHECK(!is_there(&kind_vmrestore, "team", "r"));
    end();
}

static void
a_namespace_with_snapshots_waits(void)
{
    begin();
    object_unref(create(&kind_namespace, "", "team", NULL));
    object_unref(create(&kind_vmsnapshot, "team", "s", NULL));
    delete (&kind_namespace, "", "team");
    clock_sleep_ms(300);
    CHECK(is_there(&kind_vmsnapshot, "team", "s"));
    CHECK(is_there(&kind_namespace, "", "team"));
    end();
}

static void
repeated_events_are_counted(void)
{
    struct object_list events;
    json_t *v;
    struct object *vm;

    begin();
    object_unref(create(&kind_namespace, "", "default", NULL));
    vm = create(&kind_vm, "default", "web", NULL);
    eventrec_warn(ctl.events, vm, "Broken", "disk %s", "vda");
    eventrec_warn(ctl.events, vm, "Broken", "disk %s", "vda");
    eventrec_warn(ctl.events, vm, "Broken", "disk %s", "vdb");
    for (unsigned i = 0; i < 500; i++) {
        cache_list(ctl.cache, &kind_event.gvr, "default", &events);
        if (events.n == 2)
            break;
        object_list_fini(&events);
        clock_sleep_ms(10);
    }
    CHECK_INT(events.n, ==, 2);
    v = object_json(events.v[0]);
    if (jsonx_int(v, "count", 0) != 2) {
        json_decref(v);
        v = object_json(events.v[1]);
    }
    CHECK_INT(jsonx_int(v, "count", 0), ==, 2);
    CHECK(strcmp(jsonx_str(v, "involvedObject.uid"), object_uid(vm)) == 0);
    CHECK(strcmp(jsonx_str(v, "message"), "disk vda") == 0);
    json_decref(v);
    object_list_fini(&events);
    eventrec_sweep(ctl.events, -10); /* all are older than in 10 s */
    cache_list(ctl.cache, &kind_event.gvr, "default", &events);
    object_list_fini(&events);
    object_unref(vm);
    end();
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "what belongs to a snapshot goes with it",
          what_belongs_to_a_snapshot_goes_with_it },
        { "an owner of the same name is another one",
          an_owner_of_the_same_name_is_another_one },
        { "a VM that vanishes takes nothing with it",
          a_vm_that_vanishes_takes_nothing_with_it },
        { "a namespace is emptied, and goes", a_namespace_is_emptied_and_goes },
        { "a namespace with snapshots waits",
          a_namespace_with_snapshots_waits },
        { "repeated events are counted", repeated_events_are_counted },
    };
    int rc = test_main(cases, ARRAY_SIZE(cases));

    test_dir_clear();
    return rc;
}
