/* SPDX-License-Identifier: Apache-2.0 */
/* api/extra.h: resources that the API answers itself; the store has none of
 * them: reviews, CustomResourceDefinitions, subresources of VMs, Pods.
 *
 * They have a struct kind so that discovery, messages and routing treat all
 * resources alike.
 */
#pragma once
#include "types/kind.h"

extern const struct kind extra_access_review, extra_rules_review,
    extra_self_review, extra_crd, extra_pod, extra_service, extra_sub_vm,
    extra_sub_vmi;
extern const struct kind *const extra_table[]; /* NULL at the end */

const struct kind *extra_by_resource(const char *group, const char *version,
                                     const char *resource);
/* Names of the subresources of `k` that discovery lists besides status; NULL
 * at the end. */
const char *const *extra_subresources(const struct kind *k);
