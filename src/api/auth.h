/* SPDX-License-Identifier: Apache-2.0 */
/* api/auth.h: who sends a request.
 *
 * On the UNIX socket the kernel says who connects: root, the daemon's own
 * user and members of the group are administrators, others are themselves.
 * On TLS a bearer token says it; without one the user is anonymous; with a
 * wrong one the answer is 401.
 * Threads: any.
 * source  spec k8swire 2; unix(7), SO_PEERCRED
 */
#pragma once
#include "api/request.h"
#include "api/tokens.h"

struct auth;

/* `group`: name of the administrators' group; a missing group is no error.
 * `tokens` is borrowed, NULL: no TLS. */
struct auth *auth_new(const char *group, struct tokens *tokens) NODISCARD;
void auth_free(struct auth *a); /* NULL is fine */
/* The administrators' group; -1: there is none. */
int64_t auth_group(const struct auth *a);

/* Set rq->user; false: `rp` is the answer (401, 403). Impersonation is done
 * for administrators and refused to everybody else. */
bool auth_identify(const struct auth *a, struct request *rq, struct reply *rp);

/* On TLS, without a valid token: nothing that it sends is kept for it. */
bool auth_is_stranger(const struct auth *a, const struct request *rq);

/* A new bearer token for `user`; see tokens.h. UNAVAILABLE: no TLS. */
int auth_mint(const struct auth *a, const char *user,
              char ret_token[TOKEN_SIZE], struct err *err) NODISCARD;
