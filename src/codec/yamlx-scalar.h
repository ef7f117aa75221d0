/* SPDX-License-Identifier: Apache-2.0 */
/* codec/yamlx-scalar.h: what a plain YAML scalar means. Private to yamlx.
 * source  gopkg.in/yaml.v2 resolve.go
 */
#pragma once
#include "codec/jsonx.h"

/* The value of plain text: null, boolean, number or string. NULL: a number
 * that JSON does not have (.inf, .nan). */
json_t *yamlx_scalar_resolve(const char *s, size_t len) NODISCARD;
