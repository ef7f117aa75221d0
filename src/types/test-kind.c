/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "test.h"
#include "types/kind.h"

static json_t *
parse(const char *text)
{
    struct err err = { 0 };
    json_t *v = jsonx_parse(text, strlen(text), &err);

    if (v == NULL)
        test_fail(__FILE__, __LINE__, text, err.msg);
    return v;
}

static json_t *
no_get(void *arg, const struct gvr *gvr, const char *ns, const char *name)
{
    return NULL;
}

static json_t *
no_list(void *arg, const struct gvr *gvr, const char *ns)
{
    return json_array();
}

static const struct kind_lookup empty = { NULL, no_get, no_list };

/* The first cause of an operation, or "" for none. */
static const char *
first_cause(const struct kind *k, enum kind_op op, const char *old,
            const char *object, struct causes *causes)
{
    CLEANUP(json_decref) json_t *was = old == NULL ? NULL : parse(old);
    CLEANUP(json_decref) json_t *is = object == NULL ? NULL : parse(object);
    struct kind_request rq = { op, "default", is, was, &empty };
    struct err err = { 0 };

    causes->n = 0;
    CHECK_OK(k->validate(&rq, causes, &err), &err);
    return causes->n == 0 ? "" : causes->v[0].message;
}

static void
every_kind_is_complete(void)
{
    for (size_t i = 0; kind_table[i] != NULL; i++) {
        const struct kind *k = kind_table[i];
        struct causes causes = { .n = 0 };
        CLEANUP(json_decref) json_t *v = parse("{\"metadata\":{}}");

        CHECK(k->schema_json != NULL);
        CHECK(k->columns != NULL && k->verbs != NULL && k->validate != NULL);
        CHECK(kind_by_resource(k->gvr.group, k->versions[0], k->gvr.resource) ==
              k);
        CHECK(kind_by_kind(k->gvr.group, k->gvr.kind) == k);
        for (const struct kind_column *c = k->columns; c->name != NULL; c++) {
            CHECK(c->path != NULL || k->cell != NULL);
            json_decref(kind_cell(k, c, v, 0));
        }
        (void)kind_check_schema(k, v, &causes, NULL);
    }
    CHECK(kind_by_resource("snapshot.kubevirt.io", "v1alpha1",
                           "virtualmachinesnapshots") == &kind_vmsnapshot);
    CHECK(kind_by_resource("snapshot.kubevirt.io", "v1",
                           "virtualmachinesnapshots") == NULL);
}

static void
structure_is_checked_against_the_schema(void)
{
    CLEANUP(json_decref)
    json_t *bad =
        parse("{\"apiVersion\":\"snapshot.kubevirt.io/v1beta1\","
              "\"kind\":\"VirtualMachineRestore\",\"metadata\":{\"name\":7},"
              "\"spec\":{\"target\":{\"kind\":\"VirtualMachine\"},\"typo\":1,"
              "\"targetReadinessPolicy\":\"Nope\"}}");
    struct causes causes = { .n = 0 };
    CLEANUP(buf_fini) struct buf unknown = BUF_INIT;

    CHECK_INT(kind_check_schema(&kind_vmrestore, bad, &causes, &unknown), <, 0);
    CHECK_INT(causes.n, ==, 4);
    CHECK(strcmp(causes.v[0].field, "spec.virtualMachineSnapshotName") == 0);
    CHECK(strcmp(causes.v[0].reason, "FieldValueRequired") == 0);
    CHECK(strcmp(causes.v[1].field, "spec.target.name") == 0);
    CHECK(strcmp(causes.v[2].message,
                 "Unsupported value: \"Nope\": supported values: "
                 "\"StopTarget\", \"WaitGracePeriod\", \"FailImmediate\", "
                 "\"WaitEventually\"") == 0);
    CHECK(strcmp(causes.v[3].field, "metadata.name") == 0);
    CHECK(strcmp(buf_str(&unknown), "spec.typo\n") == 0);
}

static void
the_two_causes_of_a_vm_come_in_the_order_of_kubectl(void)
{
    CLEANUP(json_decref)
    json_t *bad = parse("{\"metadata\":{\"name\":\"c2\"},"
                        "\"spec\":{\"runStrategy\":\"Z\"}}");
    struct causes causes = { .n = 0 };

    CHECK_INT(kind_check_schema(&kind_vm, bad, &causes, NULL), <, 0);
    CHECK_INT(causes.n, ==, 2);
    CHECK(strcmp(causes.v[0].field, "spec.template") == 0);
    CHECK(strcmp(causes.v[1].field, "spec.runStrategy") == 0);
}

static void
snapshots_name_a_virtual_machine_and_never_change(void)
{
#define SNAP(spec) "{\"metadata\":{\"name\":\"s\"},\"spec\":{" spec "}}"
    static const char good[] =
        SNAP("\"source\":{\"apiGroup\":\"kubevirt.io\","
             "\"kind\":\"VirtualMachine\",\"name\":\"larry\"}");
    static const struct {
        const char *object, *message;
    } bad[] = {
        { SNAP("\"source\":{\"kind\":\"VirtualMachine\",\"name\":\"l\"}"),
          "missing apiGroup: want \"kubevirt.io\"" },
        { SNAP("\"source\":{\"apiGroup\":\"x\",\"kind\":\"VirtualMachine\"}"),
          "invalid apiGroup: want \"kubevirt.io\"" },
        { SNAP("\"source\":{\"apiGroup\":\"kubevirt.io\",\"kind\":\"Pod\"}"),
          "invalid kind: want \"VirtualMachine\"" },
        { SNAP("\"source\":{\"apiGroup\":\"kubevirt.io\","
               "\"kind\":\"VirtualMachine\",\"name\":\"l\"},"
               "\"deletionPolicy\":\"delete\""),
          "Unsupported value: \"delete\": supported values: \"Delete\", "
          "\"Retain\"" },
    };
    struct causes c;

    CHECK(*first_cause(&kind_vmsnapshot, KIND_CREATE, NULL, good, &c) == 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        CHECK(strcmp(first_cause(&kind_vmsnapshot, KIND_CREATE, NULL,
                                 bad[i].object, &c),
                     bad[i].message) == 0);
    CHECK(strcmp(first_cause(&kind_vmsnapshot, KIND_UPDATE, good, bad[0].object,
                             &c),
                 "spec is immutable after creation") == 0);
    CHECK(strcmp(c.v[0].field, "spec") == 0);
}

#define VM(strategy, status)                                                   \
    "{\"metadata\":{\"name\":\"web\",\"annotations\":{\"vmkeep.io/domain\":"   \
    "\"my vm\"}},\"spec\":{\"runStrategy\":\"" strategy                        \
    "\",\"template\":{\"spec\":{\"domain\":{},\"volumes\":[{\"name\":"         \
    "\"vda\"}]}}},\"status\":{" status "}}"

static void
of_a_vm_only_the_run_strategy_can_be_written(void)
{
    static const char was[] = VM("Manual", "");
    static const char other[] =
        "{\"spec\":{\"runStrategy\":\"Manual\",\"template\":{\"spec\":{"
        "\"domain\":{},\"volumes\":[{\"name\":\"vdb\"}]}}}}";
    struct causes c;

    CHECK(*first_cause(&kind_vm, KIND_UPDATE, was, VM("Always", ""), &c) == 0);
    CHECK(strcmp(first_cause(&kind_vm, KIND_UPDATE, was, other, &c),
                 "Forbidden: this is what libvirt says of the domain; change "
                 "it there, with: virsh edit 'my vm'") == 0);
    CHECK(strcmp(c.v[0].field, "spec.template.spec.volumes[0].name") == 0);
}

static void
a_held_vm_keeps_its_disks_and_its_state(void)
{
    static const char snap[] = VM("Manual", "\"snapshotInProgress\":\"s1\"");
    static const char rest[] = VM("Manual", "\"restoreInProgress\":\"r1\"");
    struct causes c;

    CHECK(strcmp(first_cause(&kind_vm, KIND_UPDATE, snap, VM("Always", ""), &c),
                 "Cannot update vm running state until snapshot \"s1\" "
                 "completes") == 0);
    CHECK(strcmp(first_cause(&kind_vm, KIND_UPDATE, rest, VM("Always", ""), &c),
                 "Cannot update VM runStrategy until restore \"r1\" "
                 "completes") == 0);
    CHECK(strcmp(first_cause(&kind_vm, KIND_UPDATE, snap,
                             "{\"spec\":{\"runStrategy\":\"Manual\"}}", &c),
                 "Cannot update vm disks or volumes until snapshot \"s1\" "
                 "completes") == 0);
}

static void
projected_kinds_say_what_to_do_instead(void)
{
    CLEANUP(json_decref) json_t *vm = parse(VM("Manual", ""));
    struct kind_request rq = { KIND_CREATE, "default", vm, NULL, &empty };
    struct causes causes = { .n = 0 };
    struct err err = { 0 };

    for (size_t i = 0; kind_table[i] != NULL; i++) {
        if (kind_table[i]->is_projected)
            CHECK_ERR(kind_table[i]->validate(&rq, &causes, &err), &err,
                      ERR_UNSUPPORTED);
    }
    rq = (struct kind_request){ KIND_DELETE, "default", NULL, vm, &empty };
    CHECK_ERR(kind_vm.validate(&rq, &causes, &err), &err, ERR_DENIED);
    CHECK(strstr(err.msg, "virsh undefine 'my vm'") != NULL);
}

static void
cells_are_what_kubectl_prints(void)
{
    CLEANUP(json_decref)
    json_t *v = parse("{\"spec\":{\"source\":{\"name\":\"larry\"}},\"status\":{"
                      "\"readyToUse\":true,\"creationTime\":"
                      "\"2026-08-01T10:00:07Z\"}}");
    CLEANUP(mem_free) char *text = NULL;
    CLEANUP(json_decref) json_t *row = json_array();

    for (const struct kind_column *c = kind_vmsnapshot.columns; c->name; c++)
        json_array_append_new(
            row, kind_cell(&kind_vmsnapshot, c, v, 1785578407 + 435));
    text = jsonx_canonical(row);
    CHECK(strcmp(text, "[null,\"larry\",null,true,\"7m15s\",null]") == 0);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "every kind is complete", every_kind_is_complete },
        { "structure is checked against the schema",
          structure_is_checked_against_the_schema },
        { "the two causes of a VM come in the order of kubectl",
          the_two_causes_of_a_vm_come_in_the_order_of_kubectl },
        { "snapshots name a virtual machine and never change",
          snapshots_name_a_virtual_machine_and_never_change },
        { "of a VM only the run strategy can be written",
          of_a_vm_only_the_run_strategy_can_be_written },
        { "a held VM keeps its disks and its state",
          a_held_vm_keeps_its_disks_and_its_state },
        { "projected kinds say what to do instead",
          projected_kinds_say_what_to_do_instead },
        { "cells are what kubectl prints", cells_are_what_kubectl_prints },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
