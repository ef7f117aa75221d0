/* SPDX-License-Identifier: Apache-2.0 */
/* codec/yamlx.h: YAML text to and from JSON values.
 *
 * Scalars mean what they mean to Kubernetes, whose YAML library is Go's
 * yaml.v2: 1.1 booleans (yes, on, y ...), 0x and 0 octal numbers, merge keys.
 * Input is bounded: nesting to 100 levels, and aliases that together may not
 * make more than 200,000 values.
 * Threads: pure functions.
 * source  https://yaml.org/spec/1.2.2/; sigs.k8s.io/yaml; gopkg.in/yaml.v2
 *         resolve.go
 */
#pragma once
#include "base/buf.h"
#include "codec/jsonx.h"

/* All documents of `text`, as a JSON array; empty ones are left out.
 *
 *   errors  INVALID with line and column: not YAML, not UTF-8, the same key
 *           twice, a tag or a key that JSON cannot say, too deep, too large
 */
json_t *yamlx_parse_all(const char *text, size_t len, struct err *err)
    NODISCARD;

/* The one document of `text`; INVALID when there is none or more than one. */
json_t *yamlx_parse(const char *text, size_t len, struct err *err) NODISCARD;

/* As kubectl prints: block style, keys sorted, quotes where a reader of YAML
 * 1.1 would see something else than the string. */
void yamlx_print(const json_t *v, struct buf *out);
