/* SPDX-License-Identifier: Apache-2.0 */
/* api/discovery.h: which groups, versions and resources there are.
 *
 * Both forms: aggregated (two requests tell all) and legacy. All texts are
 * made once; nothing is computed per request. No ETag is sent: kubectl's disk
 * cache turns a wrong 304 into an empty discovery.
 * Threads: constant after discovery_new().
 * source  spec k8swire 3.2, 3.3
 */
#pragma once
#include "api/request.h"

struct discovery;

struct discovery *discovery_new(void) NODISCARD;
void discovery_free(struct discovery *d); /* NULL is fine */

/* Answer a GET of "api", "apis", "apis/GROUP", "apis/GROUP/VERSION" or
 * "api/v1". False: there is no such group or version. */
bool discovery_reply(const struct discovery *d, const char *path,
                     const struct request *rq, struct reply *rp);

/* Every group and version that is served, for OpenAPI: calls `fn` with group,
 * version and each kind of it that the store keeps. */
typedef void (*discovery_fn)(void *arg, const char *group, const char *version,
                             const struct kind *const *v, size_t n);
void discovery_each(discovery_fn fn, void *arg);
