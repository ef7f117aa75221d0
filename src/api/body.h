/* SPDX-License-Identifier: Apache-2.0 */
/* api/body.h: the bytes of a request body as a value.
 *
 * JSON (also when the header is missing), YAML and, for kinds that typed
 * clients send so, Kubernetes' protobuf. Only decoding: answers are always
 * JSON. source  spec k8swire 2, 10
 */
#pragma once
#include "api/request.h"

/* Is the request's Content-Type `type` (parameters aside)? */
bool body_has_type(const struct request *rq, const char *type);

/* The body; NULL: `rp` is the answer (400, 415). An empty body is an empty
 * object where `may_be_empty`. */
json_t *body_parse(const struct request *rq, bool may_be_empty,
                   struct reply *rp) NODISCARD;

/* A patch's body: JSON, or YAML where its type allows it. */
json_t *body_parse_patch(const struct request *rq, struct reply *rp) NODISCARD;
