/* SPDX-License-Identifier: Apache-2.0 */
/* cli/table.h: a table for people: columns as wide as they need to be.
 *
 * Threads: one.
 */
#pragma once
#include <stdbool.h>
#include <stdio.h>

#include "base/macros.h"

enum table_tone {
    TABLE_PLAIN,
    TABLE_GOOD, /* green */
    TABLE_WARN, /* yellow */
    TABLE_BAD,  /* red */
    TABLE_DIM,
};

struct table;

/* `heads`: NULL at the end; kept by pointer. */
struct table *table_new(const char *const *heads) NODISCARD;
void table_free(struct table *t);
DEFINE_CLEANUP(table_free, struct table *)

/* The next cell, row by row; NULL or "" becomes "-". Copied. */
void table_add(struct table *t, enum table_tone tone, const char *fmt, ...)
    PRINTF(3, 4);
size_t table_rows(const struct table *t);
void table_print(const struct table *t, bool has_colour, FILE *out);

/* Text in a tone, for places outside of tables. */
void table_print_toned(FILE *out, bool has_colour, enum table_tone tone,
                       const char *text);
