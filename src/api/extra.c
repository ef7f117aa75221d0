/* SPDX-License-Identifier: Apache-2.0 */
#include "api/extra.h"

#include <string.h>

static const char *const none[] = { NULL };
static const char *const v1[] = { "v1", NULL };
static const char *const create[] = { "create", NULL };
static const char *const read_only[] = { "get", "list", NULL };
static const char *const crd_names[] = { "crd", "crds", NULL };
static const char *const service_names[] = { "svc", NULL };
static const struct kind_column no_columns[] = { { NULL } };

const struct kind extra_access_review = {
    .gvr = { "authorization.k8s.io", "v1", "selfsubjectaccessreviews",
             "SelfSubjectAccessReview", false, false, false },
    .versions = v1,
    .singular = "selfsubjectaccessreview",
    .verbs = create,
    .columns = no_columns,
};

const struct kind extra_rules_review = {
    .gvr = { "authorization.k8s.io", "v1", "selfsubjectrulesreviews",
             "SelfSubjectRulesReview", false, false, false },
    .versions = v1,
    .singular = "selfsubjectrulesreview",
    .verbs = create,
    .columns = no_columns,
};

const struct kind extra_self_review = {
    .gvr = { "authentication.k8s.io", "v1", "selfsubjectreviews",
             "SelfSubjectReview", false, false, false },
    .versions = v1,
    .singular = "selfsubjectreview",
    .verbs = create,
    .columns = no_columns,
};

const struct kind extra_crd = {
    .gvr = { "apiextensions.k8s.io", "v1", "customresourcedefinitions",
             "CustomResourceDefinition", false, false, false },
    .versions = v1,
    .singular = "customresourcedefinition",
    .short_names = crd_names,
    .verbs = read_only,
    .columns = no_columns,
};

/* Only so that `kubectl describe pvc`, which lists Pods, works: always an
 * empty list, and not in discovery. */
const struct kind extra_pod = {
    .gvr = { "", "v1", "pods", "Pod", true, false, false },
    .versions = v1,
    .singular = "pod",
    .verbs = none,
    .columns = no_columns,
};

/* Only so that `kubectl cluster-info`, which lists Services, works: always an
 * empty list. */
const struct kind extra_service = {
    .gvr = { "", "v1", "services", "Service", true, false, false },
    .versions = v1,
    .singular = "service",
    .short_names = service_names,
    .verbs = read_only,
    .columns = no_columns,
};

const struct kind extra_sub_vm = {
    .gvr = { "subresources.kubevirt.io", "v1", "virtualmachines",
             "VirtualMachine", true, false, false },
    .versions = v1,
    .singular = "",
    .verbs = none,
    .columns = no_columns,
};

const struct kind extra_sub_vmi = {
    .gvr = { "subresources.kubevirt.io", "v1", "virtualmachineinstances",
             "VirtualMachineInstance", true, false, false },
    .versions = v1,
    .singular = "",
    .verbs = none,
    .columns = no_columns,
};

const struct kind *const extra_table[] = {
    &extra_access_review, &extra_rules_review, &extra_self_review,
    &extra_crd,           &extra_pod,          &extra_service,
    &extra_sub_vm,        &extra_sub_vmi,      NULL,
};

const struct kind *
extra_by_resource(const char *group, const char *version, const char *resource)
{
    for (size_t i = 0; extra_table[i] != NULL; i++) {
        const struct gvr *g = &extra_table[i]->gvr;

        if (strcmp(g->group, group) == 0 && strcmp(g->version, version) == 0 &&
            strcmp(g->resource, resource) == 0)
            return extra_table[i];
    }
    return NULL;
}

const char *const *
extra_subresources(const struct kind *k)
{
    static const char *const vm[] = { "start", "stop", "restart", NULL };
    static const char *const vmi[] = { "pause", "unpause", "freeze", "unfreeze",
                                       NULL };

    if (k == &extra_sub_vm)
        return vm;
    return k == &extra_sub_vmi ? vmi : none;
}
