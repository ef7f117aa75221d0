/* SPDX-License-Identifier: Apache-2.0 */
/* api/tokens.h: bearer tokens, of which only the SHA-256 is kept.
 *
 * A text file (0600), one line per token: digest, user, when it was made.
 * Removing a line and restarting the daemon revokes the token.
 * Threads: any.
 * source  docs/api.md, Tokens
 */
#pragma once
#include "base/err.h"

struct tokens;

#define TOKEN_SIZE 69 /* "vmk_", 64 hex digits, NUL */

/* `dir`: existing, absolute; the file is `dir`/tokens. CORRUPT: a line that is
 * none of ours. */
struct tokens *tokens_open(const char *dir, struct err *err) NODISCARD;
void tokens_free(struct tokens *t); /* NULL is fine */

/* Make one for `user` (letters, digits, "-_.@:", at most 63). It is durable
 * when this returns. errors  INVALID (the name); NO_SPACE (1,000 tokens) */
int tokens_mint(struct tokens *t, const char *user, char ret_token[TOKEN_SIZE],
                struct err *err) NODISCARD;
/* The user's name, the caller's to free; NULL: unknown token. */
char *tokens_find(struct tokens *t, const char *token) NODISCARD;
