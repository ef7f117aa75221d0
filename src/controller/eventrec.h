/* SPDX-License-Identifier: Apache-2.0 */
/* controller/eventrec.h: Kubernetes Events, for `kubectl describe`.
 *
 * Best effort: what cannot be written is logged. Every event is logged too.
 * The same (object, type, reason, message) again counts up one Event instead
 * of making a second. Old ones (24 h) are removed by ownergc.c.
 * Threads: any. Blocks on the store. Never with secrets in the text.
 * source  spec k8swire 4 (Event)
 */
#pragma once
#include "store/cache.h"
#include "store/obj.h"

struct eventrec;

/* `host`: source.host. Everything is borrowed for its life. */
struct eventrec *eventrec_new(struct store *s, struct cache *c,
                              const char *host) NODISCARD;
void eventrec_free(struct eventrec *r); /* NULL is fine */

/* `about`: the involved object. `reason`: one CamelCase word. */
void eventrec_normal(struct eventrec *r, const struct object *about,
                     const char *reason, const char *fmt, ...) PRINTF(4, 5);
void eventrec_warn(struct eventrec *r, const struct object *about,
                   const char *reason, const char *fmt, ...) PRINTF(4, 5);

/* Remove Events whose lastTimestamp is older than `max_age_s`. */
void eventrec_sweep(struct eventrec *r, int64_t max_age_s);
