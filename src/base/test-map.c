/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"
#include "base/mem.h"
#include "test.h"

/* A model that cannot be wrong: an array that is searched from its start. */
#define KEYS 400

static struct {
    char key[16];
    int *value; /* NULL: absent */
} model[KEYS];

static unsigned
next_random(unsigned *state)
{
    *state = *state * 1103515245u + 12345u;
    return *state >> 16;
}

static void
compare_with_model(const struct map *m)
{
    size_t live = 0, walked = 0;
    const char *key;
    void *value;

    for (size_t i = 0; i < KEYS; i++) {
        live += model[i].value != NULL;
        CHECK(map_get(m, model[i].key) == model[i].value);
    }
    CHECK_INT(map_count(m), ==, live);
    for (size_t i = 0; map_next(m, &i, &key, &value); walked++)
        CHECK(map_get(m, key) == value);
    CHECK_INT(walked, ==, live);
}

static void
random_operations_agree_with_a_model(void)
{
    CLEANUP(map_free) struct map *m = map_new();
    static int values[64];
    unsigned seed = 20261121;

    for (size_t i = 0; i < KEYS; i++)
        (void)snprintf(model[i].key, sizeof model[i].key, "key-%zu", i);
    model[0].key[0] = 0; /* the empty key is a key */
    for (int step = 0; step < 60000; step++) {
        size_t i = next_random(&seed) % KEYS;
        int *value = &values[next_random(&seed) % ARRAY_SIZE(values)];
        /* Phases: mostly adding, then mostly removing. */
        bool add = next_random(&seed) % 100 < (step / 5000 % 2 ? 30u : 70u);

        if (add) {
            CHECK(map_put(m, model[i].key, value) == model[i].value);
            model[i].value = value;
        } else {
            CHECK(map_remove(m, model[i].key) == model[i].value);
            model[i].value = NULL;
        }
        if (step % 1000 == 0)
            compare_with_model(m);
    }
    compare_with_model(m);
}

static void
an_entry_may_be_removed_while_walking(void)
{
    CLEANUP(map_free) struct map *m = map_new();
    char name[16];
    int value = 0, seen = 0;
    const char *key;
    void *got;

    for (int i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof name, "%d", i);
        CHECK(map_put(m, name, &value) == NULL);
    }
    for (size_t i = 0; map_next(m, &i, &key, &got); seen++)
        CHECK(map_remove(m, key) == &value);
    CHECK_INT(seen, ==, 1000);
    CHECK_INT(map_count(m), ==, 0);
}

static void
keys_are_copied(void)
{
    CLEANUP(map_free) struct map *m = map_new();
    char name[] = "one";
    int value;

    CHECK(map_put(m, name, &value) == NULL);
    name[0] = 'x';
    CHECK(map_get(m, "one") == &value);
    CHECK(map_get(m, name) == NULL);
}

/* Adding and removing for ever must not grow the table: tombstones go. */
static void
churn_does_not_slow_it_down(void)
{
    CLEANUP(map_free) struct map *m = map_new();
    char name[16];
    int value;

    for (int i = 0; i < 200000; i++) {
        (void)snprintf(name, sizeof name, "%d", i);
        CHECK(map_put(m, name, &value) == NULL);
        CHECK(map_remove(m, name) == &value);
    }
    CHECK_INT(map_count(m), ==, 0);
    CHECK(map_get(m, "5") == NULL);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "random operations agree with a model",
          random_operations_agree_with_a_model },
        { "an entry may be removed while walking",
          an_entry_may_be_removed_while_walking },
        { "keys are copied", keys_are_copied },
        { "churn does not slow it down", churn_does_not_slow_it_down },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
