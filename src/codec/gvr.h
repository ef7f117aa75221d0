/* SPDX-License-Identifier: Apache-2.0 */
/* codec/gvr.h: which API resource something belongs to.
 *
 * Known to store/ (which keeps objects) and to types/ (which knows their
 * meaning), so that neither needs the other. All strings are static.
 */
#pragma once
#include <stdbool.h>

struct gvr {
    const char *group;    /* "" for the core group */
    const char *version;  /* the storage version: "v1beta1" */
    const char *resource; /* plural, lower case: "virtualmachinesnapshots" */
    const char *kind;     /* "VirtualMachineSnapshot" */
    bool is_namespaced;
    bool has_status;     /* status is a subresource */
    bool has_generation; /* metadata.generation counts changes of the spec */
};

/* An object's place. `ns` is "" for cluster-scoped resources. */
struct obj_ref {
    const struct gvr *gvr;
    const char *ns;
    const char *name;
};
