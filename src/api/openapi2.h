/* SPDX-License-Identifier: Apache-2.0 */
/* api/openapi2.h: an OpenAPI 2.0 document in gnostic's protobuf form.
 *
 * Private to openapi.c.
 * source  github.com/google/gnostic openapiv2/OpenAPIv2.proto
 */
#pragma once
#include "base/buf.h"
#include "codec/jsonx.h"

/* `doc`: swagger, info, paths with get/put/post/delete/patch, definitions.
 * Members that this encoder does not know are left out. */
void openapi2_encode(const json_t *doc, struct buf *out);

/* An openAPIV3Schema as OpenAPI 2.0 can say it; `$ref`s are the caller's. A
 * new value. */
json_t *openapi2_schema(const json_t *v3) NODISCARD;
