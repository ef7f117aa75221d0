/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/age.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"

struct seen {
    uint64_t first_ms; /* monotonic */
    int64_t age_ms;    /* then */
};

struct age_table {
    pthread_mutex_t mutex;                 /* what age_lock stands for */
    struct map *seen GUARDED_BY(age_lock); /* uid -> struct seen */
};

static void
lock(struct age_table *t) ACQUIRE(age_lock) NO_TSA
{
    pthread_mutex_lock(&t->mutex);
}

static void
unlock(struct age_table *t) RELEASE(age_lock) NO_TSA
{
    pthread_mutex_unlock(&t->mutex);
}

struct age_table *
age_table_new(void) NO_TSA
{
    struct age_table *t = xcalloc(1, sizeof *t);

    (void)pthread_mutex_init(&t->mutex, NULL);
    t->seen = map_new();
    return t;
}

void
age_table_free(struct age_table *t) NO_TSA
{
    const char *uid;
    void *seen;

    if (t == NULL)
        return;
    for (size_t i = 0; map_next(t->seen, &i, &uid, &seen);)
        free(seen);
    map_free(t->seen);
    (void)pthread_mutex_destroy(&t->mutex);
    free(t);
}

int64_t
age_of_ms(struct age_table *t, const char *uid, int64_t created_ms)
{
    int64_t age_ms;
    struct seen *s;

    lock(t);
    s = map_get(t->seen, uid);
    if (s == NULL) {
        s = xcalloc(1, sizeof *s);
        s->first_ms = clock_mono_ms();
        s->age_ms = clock_wall_s() * 1000 - created_ms;
        if (s->age_ms < 0)
            s->age_ms = 0;
        (void)map_put(t->seen, uid, s);
    }
    age_ms = s->age_ms + (int64_t)(clock_mono_ms() - s->first_ms);
    unlock(t);
    return age_ms;
}

void
age_forget(struct age_table *t, const char *uid)
{
    lock(t);
    free(map_remove(t->seen, uid));
    unlock(t);
}
