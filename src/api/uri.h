/* SPDX-License-Identifier: Apache-2.0 */
/* api/uri.h: a request target, taken apart.
 *
 * "/a/b%20c?x=1&y" becomes the segments "a", "b c" and the pairs x=1, y="".
 * Bytes are decoded once, after splitting, so "%2F" is never a separator.
 * Threads: a struct uri belongs to its request.
 * source  RFC 3986, 3.3 and 3.4; "+" is a blank in the query (WHATWG URL)
 */
#pragma once
#include <stdbool.h>

#include "base/err.h"

#define URI_SEGMENTS_MAX 12
#define URI_PAIRS_MAX    32

struct uri_pair {
    const char *key, *val;
};

struct uri {
    char *text; /* owned; everything below points into it */
    const char *seg[URI_SEGMENTS_MAX];
    size_t nseg;
    bool ends_in_slash; /* the path: a last segment may be missing */
    struct uri_pair pair[URI_PAIRS_MAX];
    size_t npairs;
};

/* INVALID: not absolute, too many parts, "%" without two hex digits, or a NUL
 * byte. Empty segments are dropped ("//a/" is "/a"). */
int uri_parse(const char *target, struct uri *ret_uri, struct err *err)
    NODISCARD;
void uri_fini(struct uri *u);

/* The first value of `key`; NULL: absent. */
const char *uri_query(const struct uri *u, const char *key);
/* Go's rule: absent, "false" in any case and "0" are false. */
bool uri_query_bool(const struct uri *u, const char *key);
