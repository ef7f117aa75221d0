/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "store/cache.h"
#include "store/obj.h"
#include "store/test-store-dir.h"

static const struct gvr things = { .group = "example.io",
                                   .version = "v1",
                                   .resource = "things",
                                   .kind = "Thing",
                                   .is_namespaced = true };
static const struct gvr others = { .group = "example.io",
                                   .version = "v1",
                                   .resource = "others",
                                   .kind = "Other" };
static const struct gvr *const gvrs[] = { &things, &others, NULL };

static uint64_t
put(struct store *s, const struct gvr *gvr, const char *ns, const char *name,
    const char *more)
{
    CLEANUP(mem_free) char *key = object_key_of(gvr, ns, name);
    CLEANUP(mem_free)
    char *text = xasprintf("{\"apiVersion\":\"example.io/v1\",\"kind\":\"%s\","
                           "\"metadata\":{\"name\":\"%s\","
                           "\"namespace\":\"%s\"%s}}",
                           gvr->kind, name, ns, more);
    struct store_item item = { 0 };
    struct err err;
    uint64_t rev;

    if (store_get(s, key, &item, NULL, &err) == 0)
        CHECK_OK(store_update(s, key, text, item.rev, &rev, &err), &err);
    else
        CHECK_OK(store_create(s, key, text, &rev, &err), &err);
    store_item_fini(&item);
    return rev;
}

static uint64_t
drop(struct store *s, const struct gvr *gvr, const char *ns, const char *name)
{
    CLEANUP(mem_free) char *key = object_key_of(gvr, ns, name);
    CLEANUP(store_item_fini) struct store_item item = { 0 };
    struct err err;
    uint64_t rev;

    CHECK_OK(store_get(s, key, &item, NULL, &err), &err);
    CHECK_OK(store_delete(s, key, item.rev, &rev, &err), &err);
    return rev;
}

static struct cache *
cache_of(struct store *s)
{
    struct err err;
    struct cache *c = cache_new(s, gvrs, &err);

    if (c == NULL)
        test_fail(__FILE__, __LINE__, "cache_new", err.msg);
    return c;
}

static void
lists_are_ordered_and_by_namespace(void)
{
    CLEANUP(store_close) struct store *s = test_store_new();
    struct object_list l;
    struct cache *c;
    uint64_t rev;

    (void)put(s, &things, "b", "x", "");
    (void)put(s, &things, "a", "z", "");
    c = cache_of(s);
    (void)put(s, &others, "", "o", "");
    rev = put(s, &things, "a", "y", "");
    CHECK(cache_wait_rev(c, rev, 5000));
    cache_list(c, &things, NULL, &l);
    CHECK_INT(l.n, ==, 3);
    CHECK_INT(l.rev, ==, rev);
    CHECK(strcmp(object_name(l.v[0]), "y") == 0);
    CHECK(strcmp(object_name(l.v[1]), "z") == 0);
    CHECK(strcmp(object_ns(l.v[2]), "b") == 0);
    object_list_fini(&l);
    cache_list(c, &things, "a", &l);
    CHECK_INT(l.n, ==, 2);
    object_list_fini(&l);
    cache_list(c, &things, "nope", &l);
    CHECK_INT(l.n, ==, 0);
    object_list_fini(&l);
    cache_free(c);
}

static void
objects_are_found_by_their_owner(void)
{
    CLEANUP(store_close) struct store *s = test_store_new();
    struct cache *c = cache_of(s);
    struct object_list l;
    uint64_t rev;

    (void)put(s, &things, "a", "x", ",\"ownerReferences\":[{\"uid\":\"u1\"}]");
    rev = put(s, &things, "a", "y",
              ",\"ownerReferences\":[{\"uid\":\"u1\"},{\"uid\":\"u2\"}]");
    CHECK(cache_wait_rev(c, rev, 5000));
    cache_list_owned(c, "u1", &l);
    CHECK_INT(l.n, ==, 2);
    object_list_fini(&l);
    rev = put(s, &things, "a", "y", "");
    CHECK(cache_wait_rev(c, rev, 5000));
    cache_list_owned(c, "u1", &l);
    CHECK_INT(l.n, ==, 1);
    object_list_fini(&l);
    cache_list_owned(c, "u2", &l);
    CHECK_INT(l.n, ==, 0);
    object_list_fini(&l);
    cache_free(c);
}

static void
expect_event(struct cache_watch *w, enum cache_event_type type, uint64_t rev,
             bool has_prev)
{
    uint64_t until_ms = clock_mono_ms() + 5000;
    struct cache_event ev;
    bool is_there;

    while (!(is_there = cache_watch_next(w, &ev)) && clock_mono_ms() < until_ms)
        clock_sleep_ms(1);
    CHECK(is_there);
    CHECK_INT(ev.type, ==, type);
    CHECK_INT(ev.rev, ==, rev);
    CHECK_INT(object_rev(ev.object), ==, rev);
    CHECK_INT(ev.prev != NULL, ==, has_prev);
    cache_event_fini(&ev);
}

static void
a_watch_tells_what_happened_after_its_revision(void)
{
    CLEANUP(store_close) struct store *s = test_store_new();
    struct cache *c = cache_of(s);
    struct cache_watch *w;
    struct cache_event ev;
    struct err err;
    uint64_t a, b, d;

    a = put(s, &things, "n", "x", "");
    (void)put(s, &others, "", "o", "");
    b = put(s, &things, "n", "x", ",\"labels\":{\"a\":\"b\"}");
    d = drop(s, &things, "n", "x");
    CHECK(cache_wait_rev(c, d, 5000));
    w = cache_watch_new(c, &things, a - 1, NULL, NULL, &err);
    CHECK(w != NULL);
    CHECK_INT(cache_watch_rev(w), ==, a - 1);
    expect_event(w, CACHE_ADDED, a, false);
    expect_event(w, CACHE_MODIFIED, b, true);
    expect_event(w, CACHE_DELETED, d, true);
    CHECK(!cache_watch_next(w, &ev));
    CHECK_INT(cache_watch_rev(w), ==, d);
    cache_watch_free(w);
    w = cache_watch_new(c, &things, b, NULL, NULL, &err);
    expect_event(w, CACHE_DELETED, d, true);
    cache_watch_free(w);
    CHECK(cache_watch_new(c, &things, 1, NULL, NULL, &err) == NULL);
    CHECK_INT(err.code, ==, ERR_NOT_FOUND);
    cache_free(c);
}

static void
count_wake(void *arg)
{
    atomic_fetch_add((atomic_uint *)arg, 1);
}

static void
a_watcher_is_woken_once_until_it_has_read_all(void)
{
    CLEANUP(store_close) struct store *s = test_store_new();
    struct cache *c = cache_of(s);
    struct cache_watch *w;
    struct cache_event ev;
    atomic_uint wakes = 0;
    struct err err;
    uint64_t rev;

    w = cache_watch_new(c, &things, 0, count_wake, &wakes, &err);
    (void)put(s, &things, "n", "x", "");
    rev = put(s, &things, "n", "y", "");
    CHECK(cache_wait_rev(c, rev, 5000));
    clock_sleep_ms(20);
    CHECK_INT(wakes, ==, 1);
    while (cache_watch_next(w, &ev))
        cache_event_fini(&ev);
    rev = put(s, &things, "n", "z", "");
    CHECK(cache_wait_rev(c, rev, 5000));
    clock_sleep_ms(20);
    CHECK_INT(wakes, ==, 2);
    cache_watch_free(w);
    cache_free(c);
}

static void
a_watcher_that_falls_behind_is_told(void)
{
    CLEANUP(store_close) struct store *s = test_store_new();
    struct cache *c = cache_of(s);
    struct cache_watch *slow, *quiet;
    struct cache_event ev;
    struct err err;
    uint64_t rev = 0;

    slow = cache_watch_new(c, &things, 0, NULL, NULL, &err);
    quiet = cache_watch_new(c, &others, 0, NULL, NULL, &err);
    for (unsigned i = 0; i < 1100; i++) {
        char more[64];

        (void)snprintf(more, sizeof more, ",\"labels\":{\"i\":\"%u\"}", i);
        rev = put(s, &things, "n", "x", more);
    }
    CHECK(cache_wait_rev(c, rev, 5000));
    CHECK(cache_watch_next(slow, &ev));
    CHECK_INT(ev.type, ==, CACHE_EXPIRED);
    CHECK(!cache_watch_next(quiet, &ev));
    cache_watch_free(slow);
    cache_watch_free(quiet);
    cache_free(c);
}

/* A list and a watch from its revision: every object counted exactly once. */
struct churn {
    struct store *s;
    atomic_bool stop;
};

static void *
churn(void *arg)
{
    struct churn *ch = arg;

    for (unsigned i = 0; !ch->stop && i < 400; i++) {
        char name[16];

        (void)snprintf(name, sizeof name, "o%u", i);
        (void)put(ch->s, &things, "n", name, "");
    }
    return NULL;
}

static void
list_then_watch_has_no_gap_and_no_duplicate(void)
{
    CLEANUP(store_close) struct store *s = test_store_new();
    struct cache *c = cache_of(s);
    struct churn ch = { .s = s };
    pthread_t thread;

    CHECK_INT(pthread_create(&thread, NULL, churn, &ch), ==, 0);
    for (unsigned round = 0; round < 20; round++) {
        struct object_list l;
        struct cache_watch *w;
        struct cache_event ev;
        struct err err;
        size_t seen;
        size_t now;

        cache_list(c, &things, "n", &l);
        w = cache_watch_new(c, &things, l.rev, NULL, NULL, &err);
        CHECK(w != NULL);
        seen = l.n;
        clock_sleep_ms(5);
        while (cache_watch_next(w, &ev)) {
            CHECK_INT(ev.type, ==, CACHE_ADDED);
            CHECK_INT(ev.rev, >, l.rev);
            seen++;
            cache_event_fini(&ev);
        }
        object_list_fini(&l);
        cache_list(c, &things, "n", &l);
        while (cache_watch_next(w, &ev)) {
            seen += ev.rev <= l.rev;
            cache_event_fini(&ev);
        }
        now = l.n;
        object_list_fini(&l);
        cache_watch_free(w);
        CHECK_INT(seen, ==, now);
    }
    ch.stop = true;
    (void)pthread_join(thread, NULL);
    cache_free(c);
}

static void
ten_thousand_objects_are_listed_fast(void)
{
    CLEANUP(buf_fini) struct buf out = BUF_INIT;
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    struct object **v = xcalloc(10000, sizeof(void *));
    struct err err;
    uint64_t t0, t1, t2;

    buf_add_str(&text, "{\"apiVersion\":\"example.io/v1\",\"kind\":\"Thing\","
                       "\"metadata\":{\"name\":\"x\"},\"spec\":{");
    for (unsigned i = 0; i < 80; i++)
        buf_printf(&text, "%s\"field%u\":\"some value of it\"",
                   i == 0 ? "" : ",", i);
    buf_add_str(&text, "}}");
    t0 = clock_mono_ns();
    for (unsigned i = 0; i < 10000; i++)
        v[i] = object_new(&things, text.data, text.len, i + 1, &err);
    t1 = clock_mono_ns();
    for (unsigned i = 0; i < 10000; i++)
        object_text(v[i], NULL, &out);
    t2 = clock_mono_ns();
    printf(
        "# 10,000 objects of %zu bytes: parsed in %llu ms, listed in %llu ms\n",
        text.len, (unsigned long long)(t1 - t0) / 1000000,
        (unsigned long long)(t2 - t1) / 1000000);
    for (unsigned i = 0; i < 10000; i++)
        object_unref(v[i]);
    free(v);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "lists are ordered, and by namespace",
          lists_are_ordered_and_by_namespace },
        { "objects are found by their owner",
          objects_are_found_by_their_owner },
        { "a watch tells what happened after its revision",
          a_watch_tells_what_happened_after_its_revision },
        { "a watcher is woken once until it has read all",
          a_watcher_is_woken_once_until_it_has_read_all },
        { "a watcher that falls behind is told",
          a_watcher_that_falls_behind_is_told },
        { "list, then watch: no gap and no duplicate",
          list_then_watch_has_no_gap_and_no_duplicate },
        { "ten thousand objects are listed fast",
          ten_thousand_objects_are_listed_fast },
    };
    int rc = test_main(cases, ARRAY_SIZE(cases));

    test_dir_clear();
    return rc;
}
