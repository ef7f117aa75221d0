/* SPDX-License-Identifier: Apache-2.0 */
/* Namespace: a name that other objects live under.
 * source  spec k8swire 4; DESIGN 4 (deleting one that holds VMs, snapshots or
 *         backups is refused with a list)
 */
#include <string.h>

#include "types/kind.h"
#include "types/schema.h"

#define MAX_LISTED 5

static const char *const versions[] = { "v1", NULL };
static const char *const short_names[] = { "ns", NULL };
static const char *const verbs[] = { "create", "delete", "get",   "list",
                                     "patch",  "update", "watch", NULL };
static const struct kind_column columns[] = {
    { "Status", "string", ".status.phase", "Active or Terminating.", 0 },
    { "Age", "date", ".metadata.creationTimestamp", "Since when.", 0 },
    { NULL },
};

/* What must not go away because its namespace does. */
static const struct kind *const guarded[] = { &kind_vm, &kind_vmsnapshot,
                                              &kind_vmsnapshotcontent,
                                              &kind_vmbackup };

static size_t
list_contents(const struct kind_request *rq, const char *name, struct buf *out)
{
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(guarded); i++) {
        CLEANUP(json_decref)
        json_t *list =
            rq->lookup->list(rq->lookup->arg, &guarded[i]->gvr, name);

        for (size_t k = 0; k < json_array_size(list); k++) {
            if (n < MAX_LISTED)
                buf_printf(out, "%s%s/%s", n == 0 ? "" : ", ",
                           guarded[i]->singular,
                           jsonx_str_or(json_array_get(list, k),
                                        "metadata.name", "?"));
            n++;
        }
    }
    return n;
}

static int
validate(const struct kind_request *rq, struct causes *causes, struct err *err)
{
    const char *name = jsonx_str_or(rq->old, "metadata.name", "");
    CLEANUP(buf_fini) struct buf list = BUF_INIT;
    size_t n;

    if (rq->op != KIND_DELETE)
        return 0;
    if (strcmp(name, "default") == 0)
        return err_set(err, ERR_DENIED,
                       "namespaces \"default\" is forbidden: this namespace "
                       "may not be deleted");
    n = list_contents(rq, name, &list);
    if (n == 0)
        return 0;
    return err_set(
        err, ERR_CONFLICT,
        "namespaces \"%s\" still holds %s%s: delete its snapshots "
        "and backups and move or undefine its virtual machines first",
        name, buf_str(&list), n > MAX_LISTED ? " and more" : "");
}

const struct kind kind_namespace = {
    .gvr = { "", "v1", "namespaces", "Namespace", false, true, false },
    .versions = versions,
    .singular = "namespace",
    .short_names = short_names,
    .verbs = verbs,
    .columns = columns,
    .validate = validate,
    .schema_json = schema_namespace,
};
