/* SPDX-License-Identifier: Apache-2.0 */
/* cli/words.h: numbers and times as people read them. Threads: pure. */
#pragma once
#include <stdint.h>

#include "codec/jsonx.h"

#define WORDS_SIZE 64

/* "1.5 GiB" */
void words_bytes(int64_t n, char buf[WORDS_SIZE]);
/* The age of an RFC 3339 stamp: "3h12m"; "" when it is none. */
void words_age(const char *stamp, char buf[WORDS_SIZE]);
/* The members of a list of strings, joined; `max` 0: all. Caller frees. */
char *words_join(const json_t *list, const char *separator) NODISCARD;
/* The condition of a type, or NULL. */
const json_t *words_condition(const json_t *object, const char *type);

/* A terminal obeys control characters, and names, texts and errors come from
 * anywhere: each becomes a question mark, in place. */
void words_clean(char *s);
/* The same, but for the ends of lines. */
void words_clean_lines(char *s);
