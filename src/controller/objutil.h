/* SPDX-License-Identifier: Apache-2.0 */
/* controller/objutil.h: what the snapshot and restore controllers do to
 * objects, on top of store/obj.h.
 *
 * Threads: any. Blocks on the store.
 * source  spec kubevirt 1.0 (Condition, Error)
 */
#pragma once
#include "controller/ctl.h"

/* Write `status` (borrowed) as the object's status; equal: no write.
 * *object is replaced by the new version. */
int objutil_set_status(struct ctl *ctl, struct object **object,
                       const json_t *status, struct err *err) NODISCARD;

/* The same for a part of the status: `patch` (borrowed) is merged into what is
 * there as a JSON Merge Patch (null deletes), so that two writers of different
 * members do not undo each other. */
int objutil_merge_status(struct ctl *ctl, struct object **object,
                         const json_t *patch, struct err *err) NODISCARD;

/* Add or remove one finalizer; there or gone already is success. An object
 * that is gone is success when removing. *object may end up as its last
 * state. */
int objutil_finalizer(struct ctl *ctl, struct object **object,
                      const char *finalizer, bool add, struct err *err)
    NODISCARD;
bool objutil_has_finalizer(const json_t *object, const char *finalizer);

/* A place in `ns`. */
struct obj_ref objutil_ref(const struct kind *k, const char *ns,
                           const char *name);
/* The newest version from the store; NULL without error: not there. */
int objutil_find(struct ctl *ctl, const struct kind *k, const char *ns,
                 const char *name, struct object **ret_object, struct err *err)
    NODISCARD;

/* Set a condition in the list `status`.conditions as KubeVirt writes it:
 * lastProbeTime null, lastTransitionTime moved when status or reason change,
 * the text in `reason`, new types at the end. */
void objutil_condition(json_t *status, const char *type, bool is_true,
                       const char *reason, int64_t now_s);
/* "True", "False", "Unknown" or NULL. */
const char *objutil_condition_status(const json_t *status, const char *type);
const char *objutil_condition_reason(const json_t *status, const char *type);
/* status.error: {message, time}; time moves with the message. NULL: none. */
void objutil_error(json_t *status, const char *message, int64_t now_s);

/* An RFC 3339 member in ms since 1970; 0 when absent or odd. */
int64_t objutil_time_ms(const json_t *v, const char *path);
json_t *objutil_time(int64_t unix_s);
