/* SPDX-License-Identifier: Apache-2.0 */
/* api/status.h: errors as Kubernetes' Status objects.
 *
 * Every answer that is not a success is one. kubectl prints `details`, so the
 * messages keep Kubernetes' words.
 * source  spec k8swire 5
 */
#pragma once
#include "api/request.h"

/* Any failure: `reason` in CamelCase, no details. */
void status_reply(struct reply *rp, int code, const char *reason,
                  const char *fmt, ...) PRINTF(4, 5);
/* 404 of an unknown path. */
void status_no_path(struct reply *rp);
/* `err` about the target: the code gives HTTP status, reason and words;
 * CONFLICT and the like keep err's text. */
void status_of_err(struct reply *rp, const struct target *t,
                   const struct err *err);
void status_bad_request(struct reply *rp, const char *fmt, ...) PRINTF(2, 3);
/* 422; `name` is the object's. Causes beyond the array were dropped. */
void status_invalid(struct reply *rp, const struct target *t, const char *name,
                    const struct causes *causes);
/* 422 of an options object: "PatchOptions.meta.k8s.io \"\" is invalid". */
void status_invalid_options(struct reply *rp, const char *kind,
                            const struct causes *causes);
/* 403 in the words of the RBAC authorizer. */
void status_forbidden(struct reply *rp, const struct user *u, const char *verb,
                      const struct target *t);
/* 200: what DELETE answers when the object is gone. */
void status_deleted(struct reply *rp, const struct target *t, const char *name,
                    const char *uid);
/* A Status as value, for the ERROR event of a watch. */
json_t *status_json(int code, const char *reason, const char *message)
    NODISCARD;
/* "virtualmachines.kubevirt.io", "secrets"; the caller's to free. */
char *status_resource(const struct kind *k) NODISCARD;
