/* SPDX-License-Identifier: Apache-2.0 */
/* controller/projection-spec.h: the part of a VirtualMachine that describes
 * the guest: spec.template.spec, and spec of the instance. */
#pragma once
#include "controller/projection.h"

/* From the XML `d`; claim names of `old_volumes` (the list that the object
 * has now, or NULL) are kept. A new value. */
json_t *projection_spec_make(const struct domxml *d, const struct projection *p,
                             const json_t *old_volumes) NODISCARD;
