/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include <stdint.h>
#include <string.h>

#include "base/mem.h"

/* A removed slot keeps this key, so that probes go on past it and a walk that
 * removes what it stands on stays valid. */
static char tombstone[] = "";

struct slot {
    char *key; /* NULL: never used */
    void *value;
    uint64_t hash;
};

struct map {
    struct slot *slots;
    size_t cap;  /* a power of two */
    size_t live; /* entries */
    size_t used; /* entries and tombstones */
};

static uint64_t
hash_of(const char *s)
{
    uint64_t h = 14695981039346656037u;

    for (; *s != 0; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    return h;
}

struct map *
map_new(void)
{
    struct map *m = xcalloc(1, sizeof *m);

    m->cap = 16;
    m->slots = xcalloc(m->cap, sizeof *m->slots);
    return m;
}

void
map_free(struct map *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].key != tombstone)
            free(m->slots[i].key);
    free(m->slots);
    free(m);
}

size_t
map_count(const struct map *m)
{
    return m->live;
}

static struct slot *
find(const struct map *m, const char *key, uint64_t hash)
{
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct slot *s = &m->slots[i];

        if (s->key == NULL)
            return NULL;
        if (s->key != tombstone && s->hash == hash && strcmp(s->key, key) == 0)
            return s;
    }
}

static void
place(struct map *m, char *key, void *value, uint64_t hash)
{
    size_t i = hash & (m->cap - 1);

    while (m->slots[i].key != NULL)
        i = (i + 1) & (m->cap - 1);
    m->slots[i] = (struct slot){ key, value, hash };
    m->used++;
    m->live++;
}

static void
rehash(struct map *m)
{
    struct slot *old = m->slots;
    size_t old_cap = m->cap;

    if (m->live * 2 >= m->cap)
        m->cap *= 2;
    m->slots = xcalloc(m->cap, sizeof *m->slots);
    m->used = m->live = 0;
    for (size_t i = 0; i < old_cap; i++)
        if (old[i].key != NULL && old[i].key != tombstone)
            place(m, old[i].key, old[i].value, old[i].hash);
    free(old);
}

void *
map_get(const struct map *m, const char *key)
{
    struct slot *s = find(m, key, hash_of(key));

    return s == NULL ? NULL : s->value;
}

void *
map_put(struct map *m, const char *key, void *value)
{
    uint64_t hash = hash_of(key);
    struct slot *s = find(m, key, hash);

    if (s != NULL) {
        void *old = s->value;

        s->value = value;
        return old;
    }
    if ((m->used + 1) * 4 > m->cap * 3)
        rehash(m);
    place(m, xstrdup(key), value, hash);
    return NULL;
}

void *
map_remove(struct map *m, const char *key)
{
    struct slot *s = find(m, key, hash_of(key));
    void *value;

    if (s == NULL)
        return NULL;
    value = s->value;
    free(s->key);
    s->key = tombstone;
    s->value = NULL;
    m->live--;
    return value;
}

bool
map_next(const struct map *m, size_t *pos, const char **ret_key,
         void **ret_value)
{
    for (; *pos < m->cap; (*pos)++) {
        const struct slot *s = &m->slots[*pos];

        if (s->key == NULL || s->key == tombstone)
            continue;
        *ret_key = s->key;
        *ret_value = s->value;
        (*pos)++;
        return true;
    }
    return false;
}
