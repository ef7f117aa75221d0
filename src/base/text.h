/* SPDX-License-Identifier: Apache-2.0 */
/* base/text.h: text from outside, before it goes to a terminal or into JSON.
 * Threads: any. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

/* How many bytes the UTF-8 character at `s` has; 0: it is not one. Source: RFC
 * 3629. `s` ends in NUL. */
size_t text_utf8_length(const char *s);

/* How many bytes of `s`, in whole characters, are no more than `room`. What is
 * no UTF-8 counts byte by byte. */
size_t text_fit(const char *s, size_t room);

/* In place: what moves the cursor, colours, turns the direction of writing or
 * is no UTF-8 becomes '?', byte by byte. With `keeps_lines` newlines stay. */
void text_clean(char *s, bool keeps_lines);
