/* SPDX-License-Identifier: Apache-2.0 */
/* api/accept.h: what a client wants the answer to look like.
 *
 * source  RFC 9110, 12.5.1 (weights are ignored: Kubernetes clients list in
 *         order of preference); spec k8swire 3.2, 6
 */
#pragma once
#include <stddef.h>

enum form {
    FORM_PLAIN,   /* the object itself, JSON */
    FORM_TABLE,   /* as=Table */
    FORM_PARTIAL, /* as=PartialObjectMetadata or ...List */
};

/* `ret_version` (may be NULL): "v1" or "v1beta1", static.
 * `accept` NULL is "everything". */
enum form accept_form(const char *accept, const char **ret_version);

/* "v2", "v2beta1" (the highest asked for), or NULL: no aggregated form. */
const char *accept_discovery(const char *accept);
