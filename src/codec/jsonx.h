/* SPDX-License-Identifier: Apache-2.0 */
/* codec/jsonx.h: JSON values, and what jansson lacks.
 *
 * json_t is the project's JSON value (docs/decisions/0002-json.md); this is
 * the one place that includes jansson.h. Numbers are int64 or double; text is
 * UTF-8. Threads: a json_t is one thread's at a time.
 */
#pragma once
#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

DEFINE_CLEANUP(json_decref, json_t *)

#define JSONX_DEPTH_MAX 100 /* levels of objects and arrays */

/* Parse exactly one value; INVALID with line and column, for bytes that are
 * not UTF-8, for duplicate keys and for nesting beyond 100 levels.
 * The result is the caller's. source: RFC 8259 */
json_t *jsonx_parse(const char *text, size_t len, struct err *err) NODISCARD;

/* Compact, keys sorted: equal values give equal text. Caller frees. */
char *jsonx_canonical(const json_t *v) NODISCARD;
char *jsonx_pretty(const json_t *v) NODISCARD; /* 4 blanks, keys in order */

/* `path` names members with dots and array places with numbers:
 * "status.conditions.0.type". A key with a dot or slash in it cannot be
 * reached this way (use json_object_get). Absent: NULL. Borrowed results. */
json_t *jsonx_get(const json_t *v, const char *path);
const char *jsonx_str(const json_t *v, const char *path); /* NULL: no string */
const char *jsonx_str_or(const json_t *v, const char *path, const char *def);
bool jsonx_bool(const json_t *v, const char *path); /* absent: false */
int64_t jsonx_int(const json_t *v, const char *path, int64_t def);

/* The first member of a list of objects whose `key` is the text `value`; NULL:
 * none. Borrowed. */
json_t *jsonx_find(const json_t *list, const char *key, const char *value);

/* Set `path` to `value` (stolen), making objects on the way. `value` NULL or
 * a missing parent that is no object: nothing happens. */
void jsonx_set(json_t *v, const char *path, json_t *value);
void jsonx_set_str(json_t *v, const char *path, const char *s); /* NULL: del */
void jsonx_del(json_t *v, const char *path);

/* How far objects and arrays nest (a number: 0), and how many values there
 * are, `v` included. They recurse: for what was parsed, or is bounded. */
unsigned jsonx_depth(const json_t *v);
size_t jsonx_count(const json_t *v);

/* Equal but for the order of keys; NULL (absent) equals NULL only. */
bool jsonx_equal(const json_t *a, const json_t *b);
