/* SPDX-License-Identifier: Apache-2.0 */
/* api/selector.h: label and field selectors.
 *
 *     a=b  a==b  a!=b  a in (x,y)  a notin (x)  a  !a     comma: and
 *     metadata.name=x  involvedObject.uid!=y              fields: = == !=
 *
 * `!=` and `notin` are true of objects without the label.
 * Threads: a struct selector belongs to one request; matching only reads it.
 * source  spec k8swire 7
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum selector_op {
    SELECTOR_IN,
    SELECTOR_NOT_IN,
    SELECTOR_EXISTS,
    SELECTOR_ABSENT,
};

struct selector_term {
    enum selector_op op;
    char *key;
    char **values;
    size_t nvalues;
};

struct selector {
    struct selector_term *v;
    size_t n;
};

#define SELECTOR_TERMS_MAX 64

/* `text` NULL or empty: matches everything. errors  INVALID */
int selector_parse_labels(const char *text, struct selector *ret_sel,
                          struct err *err) NODISCARD;
/* Field values may escape `\,` `\=` and `\\`. errors  INVALID */
int selector_parse_fields(const char *text, struct selector *ret_sel,
                          struct err *err) NODISCARD;
void selector_fini(struct selector *s);

/* What an object has under `key`; NULL: nothing. */
typedef const char *(*selector_get_fn)(void *arg, const char *key);
bool selector_match(const struct selector *s, selector_get_fn get, void *arg);

/* The value that `key` must equal, if the selector says so; else NULL. */
const char *selector_exact(const struct selector *s, const char *key);
