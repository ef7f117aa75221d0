/* SPDX-License-Identifier: Apache-2.0 */
/* api/openapi.h: the published description of all kinds.
 *
 * /openapi/v3 per group version, and /openapi/v2 as JSON (Terraform) and
 * protobuf (kubectl up to 1.28, and every kubectl for kind List). All are made
 * once from types/'s schemas: a kind's schema is complete or absent, because
 * old kubectl rejects good YAML against a partial one.
 * Threads: constant after openapi_new().
 * source  spec k8swire 3.4
 */
#pragma once
#include "api/request.h"

struct openapi;

struct openapi *openapi_new(void) NODISCARD;
void openapi_free(struct openapi *o); /* NULL is fine */

/* `path`: "openapi/v2", "openapi/v3", "openapi/v3/apis/G/V". False: no such
 * document. */
bool openapi_reply(const struct openapi *o, const char *path,
                   const struct request *rq, struct reply *rp);
