/* SPDX-License-Identifier: Apache-2.0 */
/* What Harvester's console and its tests ask of its own API, /v1/harvester,
 * about backups: two actions of a virtual machine, and whether the backup
 * target answers. Everything else they do with the Kubernetes API.
 *
 *   POST kubevirt.io.virtualmachines/NS/NAME?action=backup
 *   POST kubevirt.io.virtualmachines/NS/NAME?action=restore
 *   GET  backuptarget/healthz
 *
 * An action makes the object that a client could have made, with the same
 * admission; 204, as there.
 * source  spec harvester 1.8, 8
 */
#include <string.h>

#include "api/body.h"
#include "api/handlers.h"
#include "api/status.h"
#include "base/mem.h"
#include "store/obj.h"

#define VM_RESOURCE "kubevirt.io.virtualmachines"

static bool
is_action(const struct request *rq, const char *name)
{
    const char *action = uri_query(&rq->uri, "action");

    return rq->method == METHOD_POST && rq->uri.nseg == 5 &&
           strcmp(rq->uri.seg[2], VM_RESOURCE) == 0 && action != NULL &&
           strcmp(action, name) == 0;
}

static bool
is_health(const struct request *rq)
{
    return rq->method == METHOD_GET && rq->uri.nseg == 4 &&
           strcmp(rq->uri.seg[2], "backuptarget") == 0 &&
           strcmp(rq->uri.seg[3], "healthz") == 0;
}

bool
harvester_target(struct request *rq)
{
    struct target *t = &rq->target;

    if (is_health(rq))
        *t = (struct target){ .kind = &kind_backuptarget, .name = "default" };
    else if (is_action(rq, "backup"))
        *t = (struct target){ .kind = &kind_vmbackup, .ns = rq->uri.seg[3] };
    else if (is_action(rq, "restore"))
        *t = (struct target){ .kind = &kind_hrestore, .ns = rq->uri.seg[3] };
    else
        return false;
    t->version = t->kind->gvr.version;
    return true;
}

static void
reply_health(struct request *rq, struct reply *rp)
{
    struct obj_ref ref = { &kind_backuptarget.gvr, "", "default" };
    CLEANUP(object_unref) struct object *o = cache_get(rq->api->cache, &ref);
    CLEANUP(json_decref) json_t *v = o != NULL ? object_json(o) : NULL;
    const json_t *c =
        jsonx_find(jsonx_get(v, "status.conditions"), "type", "Ready");

    if (c == NULL)
        status_reply(rp, 503, "ServiceUnavailable",
                     o == NULL ? "backup target is not set"
                               : "backup target default was not looked at yet");
    else if (strcmp(jsonx_str_or(c, "status", ""), "True") == 0)
        reply_text(rp, 200, "ok");
    else
        status_reply(rp, 503, "ServiceUnavailable", "backup target default: %s",
                     jsonx_str_or(c, "message", "not ready"));
}

/* The virtual machine that is acted on, as object reference. */
static json_t *
vm_ref(const char *name)
{
    return json_pack("{s:s, s:s, s:s}", "apiGroup", "kubevirt.io", "kind",
                     "VirtualMachine", "name", name);
}

static json_t *
backup_of(const char *vm, const json_t *input)
{
    json_t *v =
        json_pack("{s:s, s:s, s:{s:s}, s:{s:o, s:s}}", "apiVersion",
                  "harvesterhci.io/v1beta1", "kind", "VirtualMachineBackup",
                  "metadata", "name", jsonx_str_or(input, "name", ""), "spec",
                  "source", vm_ref(vm), "type", "backup");

    jsonx_set_str(v, "spec.fsFreezeDeadline",
                  jsonx_str(input, "fsFreezeDeadline"));
    return v;
}

static json_t *
restore_of(const char *ns, const char *vm, const json_t *input)
{
    return json_pack(
        "{s:s, s:s, s:{s:s}, s:{s:o, s:s, s:s, s:b, s:b, s:b}}", "apiVersion",
        "harvesterhci.io/v1beta1", "kind", "VirtualMachineRestore", "metadata",
        "name", jsonx_str_or(input, "name", ""), "spec", "target", vm_ref(vm),
        "virtualMachineBackupName", jsonx_str_or(input, "backupName", ""),
        "virtualMachineBackupNamespace", ns, "newVM", 0, "keepMacAddress",
        (int)jsonx_bool(input, "keepMacAddress"), "haltAfterRestore",
        (int)jsonx_bool(input, "haltAfterRestore"));
}

static bool
check_vm(struct request *rq, struct reply *rp, const char *name)
{
    struct obj_ref ref = { &kind_vm.gvr, rq->target.ns, name };
    struct target as_vm = { .kind = &kind_vm,
                            .version = kind_vm.gvr.version,
                            .ns = rq->target.ns,
                            .name = name };
    CLEANUP(object_unref) struct object *vm = NULL;
    struct err err = { 0 };

    if (obj_get(rq->api->store, &ref, &vm, &err) == 0)
        return true;
    status_of_err(rp, &as_vm, &err);
    return false;
}

/* A slip in a word's type would start a machine that was to stay off. */
static bool
check_input(const json_t *input, struct reply *rp)
{
    static const char *const texts[] = { "name", "backupName",
                                         "fsFreezeDeadline" };
    static const char *const flags[] = { "keepMacAddress", "haltAfterRestore" };
    const char *bad = NULL, *want = "text";

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        const json_t *v = json_object_get(input, texts[i]);

        if (v != NULL && !json_is_null(v) && !json_is_string(v))
            bad = texts[i];
    }
    for (size_t i = 0; bad == NULL && i < ARRAY_SIZE(flags); i++) {
        const json_t *v = json_object_get(input, flags[i]);

        if (v != NULL && !json_is_null(v) && !json_is_boolean(v)) {
            bad = flags[i];
            want = "true or false";
        }
    }
    if (!json_is_object(input))
        status_bad_request(rp, "the body is not an object");
    else if (bad != NULL)
        status_bad_request(rp, "%s: want %s", bad, want);
    return json_is_object(input) && bad == NULL;
}

void
harvester_handle(struct request *rq, struct reply *rp)
{
    const char *vm = rq->uri.seg[4];
    CLEANUP(json_decref) json_t *input = NULL;
    CLEANUP(json_decref) json_t *v = NULL;

    if (is_health(rq)) {
        reply_health(rq, rp);
        return;
    }
    input = body_parse(rq, true, rp);
    if (input == NULL || !check_input(input, rp) || !check_vm(rq, rp, vm))
        return;
    v = rq->target.kind == &kind_vmbackup
            ? backup_of(vm, input)
            : restore_of(rq->target.ns, vm, input);
    if (*jsonx_str_or(v, "metadata.name", "") == 0) {
        struct causes causes = { 0 };

        causes_add(&causes, "FieldValueRequired", "name", "Required value");
        status_invalid(rp, &rq->target, "", &causes);
        return;
    }
    write_new(rq, rp, v);
    if (rp->code != 201)
        return;
    buf_truncate(&rp->body, 0);
    rp->code = 204;
}
