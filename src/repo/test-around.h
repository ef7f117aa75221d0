/* SPDX-License-Identifier: Apache-2.0 */
/* repo/test-around.h: a store around another one, for tests. Every call goes
 * through, but those that the test has put its own functions in the place of.
 */
#pragma once
#include "blob/blob.h"

/* Begins what the test allocates, which blob_free() frees. */
struct testing_around {
    struct blob blob;
    struct blob *inner;
    struct blob_ops ops; /* the test changes these */
};

/* `size` bytes of zeros that begin with this; takes `inner`. */
void *testing_around_new(size_t size, struct blob *inner) NODISCARD;
struct blob *testing_around_inner(struct blob *b);
/* What goes through, for those that do something before. */
int testing_around_list(struct blob *b, const char *prefix,
                        struct blob_names *names, struct err *err) NODISCARD;
