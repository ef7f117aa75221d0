/* SPDX-License-Identifier: Apache-2.0 */
/* codec/jsonpatch.h: the two ways to say a change of a JSON value.
 *
 * Both return a new value and leave their inputs alone, so that a patch that
 * fails half way has changed nothing. Growth is bounded: a patch from outside
 * can neither nest deeper than jsonx_parse() allows nor multiply the document.
 * Threads: pure functions.
 */
#pragma once
#include "codec/jsonx.h"

/* Apply a JSON Patch, an array of operations, in order.
 *
 *   errors  INVALID (not a patch; a path that is not there; a `test` that
 *           fails; too large), saying which operation
 *   source  RFC 6902, RFC 6901
 */
json_t *jsonpatch_apply(const json_t *doc, const json_t *ops, struct err *err)
    NODISCARD;

/* Apply a JSON Merge Patch: objects are merged, null deletes, the rest
 * replaces. source: RFC 7386 */
json_t *jsonpatch_merge(const json_t *doc, const json_t *patch) NODISCARD;
