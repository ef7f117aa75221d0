/* SPDX-License-Identifier: Apache-2.0 */
/* controller/projectput.h: how projected objects are written. */
#pragma once
#include "controller/ctl.h"

/* Write what `change` makes of the object, or make it (with `uid`, NULL: any).
 * An equal object is not written. ret_object may be NULL. */
typedef void (*projectput_change_fn)(void *arg, json_t *object);
int projectput_write(struct ctl *ctl, const struct obj_ref *ref,
                     const char *uid, projectput_change_fn change, void *arg,
                     struct object **ret_object, struct err *err) NODISCARD;
/* Take all finalizers off and delete; gone is success. */
int projectput_remove(struct ctl *ctl, const struct obj_ref *ref,
                      struct err *err) NODISCARD;
