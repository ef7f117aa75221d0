/* SPDX-License-Identifier: Apache-2.0 */
/* base/map.h: a hash table from strings to pointers.
 *
 * Open addressing, FNV-1a, keys copied. Iteration order is unspecified.
 * Threads: none; the owner locks.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/macros.h"

struct map;

struct map *map_new(void) NODISCARD;
void map_free(struct map *m); /* not the values; NULL is fine */
DEFINE_CLEANUP(map_free, struct map *)

size_t map_count(const struct map *m);
void *map_get(const struct map *m, const char *key); /* NULL: absent */
/* Returns the value that was there before, or NULL. `value` is not NULL. */
void *map_put(struct map *m, const char *key, void *value);
void *map_remove(struct map *m, const char *key); /* the value, or NULL */

/* Walk: for (size_t i = 0; map_next(m, &i, &key, &value);). The map must not
 * change meanwhile, but the entry just returned may be removed. */
bool map_next(const struct map *m, size_t *pos, const char **ret_key,
              void **ret_value);
