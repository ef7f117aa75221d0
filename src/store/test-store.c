/* SPDX-License-Identifier: Apache-2.0 */
/* One conformance test, run over every backend; what is SQLite's own comes
 * after it. */
#include <sys/wait.h>

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "store/storefault.h"
#include "store/test-store-dir.h"

static bool is_faulty; /* run over fault-with-no-faults */

static struct store *
open_store(void)
{
    static const struct storefault_plan no_faults;
    struct err err;
    struct store *s = store_open_sqlite(test_dir, &err);

    if (s == NULL)
        test_fail(__FILE__, __LINE__, "store_open_sqlite", err.msg);
    return is_faulty ? storefault_new(s, &no_faults) : s;
}

static struct store *
empty_store(void)
{
    test_dir_clear();
    return open_store();
}

/* ---- conformance ---- */

static void
what_is_written_is_read(void)
{
    CLEANUP(store_close) struct store *s = empty_store();
    CLEANUP(store_item_fini) struct store_item item = { 0 };
    struct err err;
    uint64_t rev, head;

    CHECK_OK(store_create(s, "/k/g/r/n/a", "{\"x\":1}", &rev, &err), &err);
    CHECK_INT(rev, >, 1000);
    CHECK_OK(store_get(s, "/k/g/r/n/a", &item, &head, &err), &err);
    CHECK(strcmp(item.val, "{\"x\":1}") == 0);
    CHECK_INT(item.rev, ==, rev);
    CHECK_INT(head, ==, rev);
}

static void
a_key_is_created_once(void)
{
    CLEANUP(store_close) struct store *s = empty_store();
    struct err err;
    uint64_t rev;

    CHECK_OK(store_create(s, "/k/a", "1", &rev, &err), &err);
    CHECK_ERR(store_create(s, "/k/a", "2", &rev, &err), &err, ERR_EXISTS);
    CHECK_OK(store_delete(s, "/k/a", rev, &rev, &err), &err);
    CHECK_OK(store_create(s, "/k/a", "3", &rev, &err), &err);
    CHECK_OK(store_delete(s, "/k/a", rev, &rev, &err), &err);
    CHECK_OK(store_create(s, "/k/a", "4", &rev, &err), &err);
}

static void
a_write_needs_the_present_revision(void)
{
    CLEANUP(store_close) struct store *s = empty_store();
    struct err err;
    uint64_t rev, rev2;

    CHECK_ERR(store_update(s, "/k/a", "1", 5, &rev, &err), &err, ERR_NOT_FOUND);
    CHECK_ERR(store_delete(s, "/k/a", 5, &rev, &err), &err, ERR_NOT_FOUND);
    CHECK_OK(store_create(s, "/k/a", "1", &rev, &err), &err);
    CHECK_OK(store_update(s, "/k/a", "2", rev, &rev2, &err), &err);
    CHECK_INT(rev2, >, rev);
    CHECK_ERR(store_update(s, "/k/a", "3", rev, &rev, &err), &err,
              ERR_CONFLICT);
    CHECK_ERR(store_delete(s, "/k/a", rev, &rev, &err), &err, ERR_CONFLICT);
    CHECK_OK(store_delete(s, "/k/a", rev2, &rev, &err), &err);
}

static void
keys_and_values_are_checked(void)
{
    CLEANUP(store_close) struct store *s = empty_store();
    CLEANUP(mem_free) char *big = xcalloc(1, 1600 * 1024);
    struct err err;
    uint64_t rev;

    memset(big, 'x', 1600 * 1024 - 1);
    CHECK_ERR(store_create(s, "a", "1", &rev, &err), &err, ERR_INVALID);
    CHECK_ERR(store_create(s, "/k/a", big, &rev, &err), &err, ERR_INVALID);
}

static void
a_list_is_ordered_and_paged_as_of_one_revision(void)
{
    CLEANUP(store_close) struct store *s = empty_store();
    CLEANUP(store_items_fini) struct store_items one = { 0 };
    CLEANUP(store_items_fini) struct store_items two = { 0 };
    struct err err;
    uint64_t rev, rev_b, rev_c;

    CHECK_OK(store_create(s, "/k/r/b", "b1", &rev_b, &err), &err);
    CHECK_OK(store_create(s, "/k/r/a", "a1", &rev, &err), &err);
    CHECK_OK(store_create(s, "/k/r2/z", "z1", &rev, &err), &err);
    CHECK_OK(store_create(s, "/k/r/c", "c1", &rev_c, &err), &err);
    CHECK_OK(store_list(s, "/k/r/", NULL, 2, 0, &one, &err), &err);
    CHECK_INT(one.n, ==, 2);
    CHECK(one.has_more);
    CHECK_INT(one.head_rev, ==, rev_c);
    CHECK(strcmp(one.v[0].key, "/k/r/a") == 0);
    CHECK(strcmp(one.v[1].val, "b1") == 0);
    CHECK_OK(store_update(s, "/k/r/b", "b2", rev_b, &rev, &err), &err);
    CHECK_OK(store_delete(s, "/k/r/c", rev_c, &rev, &err), &err);
    CHECK_OK(store_list(s, "/k/r/", "/k/r/a", 0, one.head_rev, &two, &err),
             &err);
    CHECK_INT(two.n, ==, 2);
    CHECK(!two.has_more);
    CHECK(strcmp(two.v[0].val, "b1") == 0);
    CHECK(strcmp(two.v[1].val, "c1") == 0);
    CHECK_ERR(store_list(s, "/k/r/", NULL, 0, rev + 1, &two, &err), &err,
              ERR_UNAVAILABLE);
}

static void
compaction_forgets_the_past_and_keeps_the_present(void)
{
    CLEANUP(store_close) struct store *s = empty_store();
    CLEANUP(store_items_fini) struct store_items items = { 0 };
    struct err err;
    uint64_t first, rev, rev_b;

    CHECK_OK(store_create(s, "/k/r/a", "a1", &first, &err), &err);
    CHECK_OK(store_update(s, "/k/r/a", "a2", first, &rev, &err), &err);
    CHECK_OK(store_create(s, "/k/r/b", "b1", &rev_b, &err), &err);
    CHECK_OK(store_delete(s, "/k/r/b", rev_b, &rev_b, &err), &err);
    CHECK_OK(store_compact(s, rev_b, &err), &err);
    CHECK_ERR(store_list(s, "/k/r/", NULL, 0, first, &items, &err), &err,
              ERR_NOT_FOUND);
    CHECK_OK(store_list(s, "/k/r/", NULL, 0, rev_b, &items, &err), &err);
    CHECK_INT(items.n, ==, 1);
    CHECK(strcmp(items.v[0].val, "a2") == 0);
    CHECK_ERR(store_watch(s, first, NULL, NULL, &err), &err, ERR_NOT_FOUND);
    CHECK_OK(store_create(s, "/k/r/b", "b2", &rev, &err), &err);
    CHECK_INT(rev, >, rev_b);
}

static void
revisions_never_go_back(void)
{
    struct store *s = empty_store();
    struct err err;
    uint64_t rev, last;

    CHECK_OK(store_create(s, "/k/r/a", "a1", &rev, &err), &err);
    CHECK_OK(store_delete(s, "/k/r/a", rev, &last, &err), &err);
    CHECK_OK(store_compact(s, last, &err), &err);
    store_close(s);
    s = open_store();
    CHECK_OK(store_create(s, "/k/r/a", "a1", &rev, &err), &err);
    CHECK_INT(rev, >, last);
    store_close(s);
}

/* What a watch saw: every revision once, in order. */
struct seen {
    atomic_uint n;
    atomic_uint bad;
    atomic_uint compacted;
    _Atomic uint64_t last_rev;
    uint64_t first_rev;
    char last_prev[16];
};

static void
see(void *arg, const struct store_event *ev)
{
    struct seen *seen = arg;

    if (ev == NULL) {
        atomic_fetch_add(&seen->compacted, 1);
        return;
    }
    if (seen->last_rev != 0 && ev->rev != seen->last_rev + 1)
        atomic_fetch_add(&seen->bad, 1);
    if (seen->n == 0)
        seen->first_rev = ev->rev;
    (void)snprintf(seen->last_prev, sizeof seen->last_prev, "%s",
                   ev->prev_val == NULL ? "-" : ev->prev_val);
    atomic_store(&seen->last_rev, ev->rev);
    atomic_fetch_add(&seen->n, 1);
}

static void
wait_for_rev(struct seen *seen, uint64_t rev)
{
    for (unsigned i = 0; i < 5000 && seen->last_rev < rev; i++)
        clock_sleep_ms(1);
    CHECK_INT(seen->last_rev, ==, rev);
}

static void
a_watch_sees_each_write_once_with_the_value_before(void)
{
    CLEANUP(store_close) struct store *s = empty_store();
    struct seen seen = { 0 };
    struct err err;
    uint64_t rev, rev2;

    CHECK_OK(store_create(s, "/k/a", "1", &rev, &err), &err);
    CHECK_OK(store_watch(s, rev, see, &seen, &err), &err);
    CHECK_ERR(store_watch(s, rev, see, &seen, &err), &err, ERR_BUSY);
    CHECK_OK(store_update(s, "/k/a", "2", rev, &rev2, &err), &err);
    wait_for_rev(&seen, rev2);
    CHECK_INT(seen.first_rev, ==, rev2);
    CHECK(strcmp(seen.last_prev, "1") == 0);
    CHECK_OK(store_delete(s, "/k/a", rev2, &rev, &err), &err);
    wait_for_rev(&seen, rev);
    CHECK(strcmp(seen.last_prev, "2") == 0);
    CHECK_OK(store_create(s, "/k/a", "3", &rev, &err), &err);
    wait_for_rev(&seen, rev);
    CHECK(strcmp(seen.last_prev, "-") == 0);
    CHECK_INT(seen.n, ==, 3);
    store_watch_stop(s);
}

struct writer {
    struct store *s;
    unsigned number;
    unsigned conflicts;
};

#define ADDS_PER_WRITER 100

/* Add one to a shared counter, ADDS_PER_WRITER times. */
static void *
add_up(void *arg)
{
    struct writer *w = arg;

    for (unsigned i = 0; i < ADDS_PER_WRITER;) {
        CLEANUP(store_item_fini) struct store_item item = { 0 };
        struct err err;
        char val[24];
        uint64_t rev;

        CHECK_OK(store_get(w->s, "/k/sum", &item, NULL, &err), &err);
        (void)snprintf(val, sizeof val, "%ld", strtol(item.val, NULL, 10) + 1);
        if (store_update(w->s, "/k/sum", val, item.rev, &rev, &err) == 0)
            i++;
        else if (err.code == ERR_CONFLICT)
            w->conflicts++;
        else
            test_fail(__FILE__, __LINE__, "store_update", err.msg);
    }
    return NULL;
}

static void
four_writers_lose_nothing_and_the_watch_misses_nothing(void)
{
    CLEANUP(store_close) struct store *s = empty_store();
    CLEANUP(store_item_fini) struct store_item item = { 0 };
    struct writer w[4];
    pthread_t threads[4];
    struct seen seen = { 0 };
    struct err err;
    uint64_t rev, head;

    CHECK_OK(store_create(s, "/k/sum", "0", &rev, &err), &err);
    CHECK_OK(store_watch(s, rev, see, &seen, &err), &err);
    for (unsigned i = 0; i < 4; i++) {
        w[i] = (struct writer){ .s = s, .number = i };
        CHECK_INT(pthread_create(&threads[i], NULL, add_up, &w[i]), ==, 0);
    }
    for (unsigned i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
    CHECK_OK(store_get(s, "/k/sum", &item, &head, &err), &err);
    CHECK_INT(strtol(item.val, NULL, 10), ==, 4 * ADDS_PER_WRITER);
    wait_for_rev(&seen, head);
    CHECK_INT(seen.n, ==, 4 * ADDS_PER_WRITER);
    CHECK_INT(seen.bad, ==, 0);
    store_watch_stop(s);
}

/* Write until killed; tell of each write that returned. */
static _Noreturn void
write_until_killed(int fd)
{
    struct store *s = open_store();
    struct err err;
    uint64_t rev;

    for (unsigned i = 0;; i++) {
        char key[32];

        (void)snprintf(key, sizeof key, "/k/n/%08u", i);
        if (store_create(s, key, "v", &rev, &err) < 0 ||
            write(fd, &rev, sizeof rev) != sizeof rev)
            _exit(1);
    }
}

static void
a_killed_writer_loses_no_finished_write(void)
{
    test_dir_clear();
    for (unsigned round = 0; round < 3; round++) {
        uint64_t rev = 0, told = 0, last = 0;
        CLEANUP(store_items_fini) struct store_items items = { 0 };
        struct err err;
        struct store *s;
        int pipe_fds[2];
        pid_t pid;

        test_dir_clear();
        CHECK_INT(pipe(pipe_fds), ==, 0);
        pid = fork();
        if (pid == 0)
            write_until_killed(pipe_fds[1]);
        (void)close(pipe_fds[1]);
        while (told < 20 + round * 7 &&
               read(pipe_fds[0], &rev, sizeof rev) == sizeof rev) {
            last = rev;
            told++;
        }
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        while (read(pipe_fds[0], &rev, sizeof rev) == sizeof rev) {
            last = rev;
            told++;
        }
        (void)close(pipe_fds[0]);
        s = open_store();
        CHECK_OK(store_list(s, "/k/n/", NULL, 0, 0, &items, &err), &err);
        CHECK_INT(items.n, >=, told);
        CHECK_INT(items.n, <=, told + 1); /* written, not yet told */
        CHECK_INT(items.head_rev, >=, last);
        store_close(s);
    }
}

/* ---- faults ---- */

static void
a_lost_answer_leaves_the_write(void)
{
    struct storefault_plan plan = { .fail_at = 2,
                                    .fail_code = ERR_UNAVAILABLE,
                                    .is_done_anyway = true };
    struct err err;
    uint64_t rev;

    test_dir_clear();
    CLEANUP(store_close)
    struct store *s = storefault_new(store_open_sqlite(test_dir, &err), &plan);
    CHECK_OK(store_create(s, "/k/a", "1", &rev, &err), &err);
    CHECK_ERR(store_create(s, "/k/b", "1", &rev, &err), &err, ERR_UNAVAILABLE);
    CHECK_ERR(store_create(s, "/k/b", "1", &rev, &err), &err, ERR_EXISTS);
}

static void
a_crash_after_each_write_keeps_it(void)
{
    for (unsigned n = 1; n <= 3; n++) {
        struct storefault_plan plan = { .crash_after = n };
        CLEANUP(store_items_fini) struct store_items items = { 0 };
        struct store *s;
        struct err err;
        int status;
        pid_t pid;

        test_dir_clear();
        pid = fork();
        if (pid == 0) {
            uint64_t rev;

            s = storefault_new(store_open_sqlite(test_dir, &err), &plan);
            if (store_create(s, "/k/a", "1", &rev, &err) < 0 ||
                store_create(s, "/k/b", "1", &rev, &err) < 0 ||
                store_create(s, "/k/c", "1", &rev, &err) < 0)
                _exit(1);
            _exit(0);
        }
        (void)waitpid(pid, &status, 0);
        CHECK(WIFSIGNALED(status));
        s = store_open_sqlite(test_dir, &err);
        CHECK_OK(store_list(s, "/k/", NULL, 0, 0, &items, &err), &err);
        CHECK_INT(items.n, ==, n);
        store_close(s);
    }
}

/* ---- SQLite's own ---- */

static void
a_second_process_is_refused(void)
{
    CLEANUP(store_close) struct store *s = empty_store();
    struct err err;
    int status;
    pid_t pid;

    CHECK(s != NULL);
    pid = fork();
    if (pid == 0)
        _exit(store_open_sqlite(test_dir, &err) == NULL ? (int)err.code : 0);
    (void)waitpid(pid, &status, 0);
    CHECK_INT(WEXITSTATUS(status), ==, ERR_BUSY);
}

/* As one that posix_spawn() has made, and that has not executed its program. */
static void
a_child_holds_no_lock_for_the_dead(void)
{
    struct err err;
    pid_t child = 0, pid;
    int fds[2], status;
    struct store *s;

    store_close(empty_store());
    CHECK_INT(pipe(fds), ==, 0);
    pid = fork();
    if (pid == 0) {
        s = store_open_sqlite(test_dir, &err);
        child = fork();
        if (child == 0)
            for (;;)
                (void)pause();
        _exit(s != NULL && write(fds[1], &child, sizeof child) ==
                               (ssize_t)sizeof child
                  ? 0
                  : 1);
    }
    CHECK_INT(read(fds[0], &child, sizeof child), ==, sizeof child);
    (void)waitpid(pid, &status, 0);
    s = store_open_sqlite(test_dir, &err);
    (void)kill(child, SIGKILL);
    CHECK(s != NULL);
    store_close(s);
    (void)close(fds[0]);
    (void)close(fds[1]);
}

static void
damage_is_found_when_opening(void)
{
    CLEANUP(mem_free) char *path = xasprintf("%s/objects.db", test_dir);
    struct store *s = empty_store();
    struct err err;
    uint64_t rev;
    FILE *f;

    for (unsigned i = 0; i < 300; i++) {
        char key[32];

        (void)snprintf(key, sizeof key, "/k/n/%08u", i);
        CHECK_OK(store_create(s, key, "some value", &rev, &err), &err);
    }
    store_close(s);
    f = fopen(path, "r+");
    (void)fseek(f, 8192, SEEK_SET);
    for (unsigned i = 0; i < 8192; i++)
        (void)fputc(0x5a, f);
    (void)fclose(f);
    CHECK(store_open_sqlite(test_dir, &err) == NULL);
    CHECK_INT(err.code, ==, ERR_CORRUPT);
}

static void
a_newer_format_is_refused(void)
{
    CLEANUP(mem_free) char *path = xasprintf("%s/objects.db", test_dir);
    struct err err;
    FILE *f;

    store_close(empty_store());
    f = fopen(path, "r+");
    (void)fseek(f, 63, SEEK_SET); /* the low byte of user_version */
    (void)fputc(2, f);
    (void)fclose(f);
    CHECK(store_open_sqlite(test_dir, &err) == NULL);
    CHECK_INT(err.code, ==, ERR_UNSUPPORTED);
}

static void
a_watch_behind_a_compaction_is_told(void)
{
    CLEANUP(store_close) struct store *s = empty_store();
    struct seen seen = { 0 };
    struct err err;
    uint64_t rev, first;

    CHECK_OK(store_create(s, "/k/a", "1", &first, &err), &err);
    CHECK_OK(store_update(s, "/k/a", "2", first, &rev, &err), &err);
    CHECK_OK(store_watch(s, rev, see, &seen, &err), &err);
    store_watch_stop(s);
    CHECK_OK(store_update(s, "/k/a", "3", rev, &rev, &err), &err);
    CHECK_OK(store_compact(s, rev, &err), &err);
    CHECK_ERR(store_watch(s, first, see, &seen, &err), &err, ERR_NOT_FOUND);
    CHECK_OK(store_watch(s, rev, see, &seen, &err), &err);
    store_watch_stop(s);
}

#define CONFORMANCE                                                            \
    { "what is written is read", what_is_written_is_read },                    \
        { "a key is created once", a_key_is_created_once },                    \
        { "a write needs the present revision",                                \
          a_write_needs_the_present_revision },                                \
        { "keys and values are checked", keys_and_values_are_checked },        \
        { "a list is ordered and paged as of one revision",                    \
          a_list_is_ordered_and_paged_as_of_one_revision },                    \
        { "compaction forgets the past and keeps the present",                 \
          compaction_forgets_the_past_and_keeps_the_present },                 \
        { "revisions never go back", revisions_never_go_back },                \
        { "a watch sees each write once, with the value before",               \
          a_watch_sees_each_write_once_with_the_value_before },                \
        { "four writers lose nothing, and the watch misses nothing",           \
          four_writers_lose_nothing_and_the_watch_misses_nothing },            \
    {                                                                          \
        "a killed writer loses no finished write",                             \
            a_killed_writer_loses_no_finished_write                            \
    }

static void
behave_with_fault(void)
{
    is_faulty = true;
}

static void
behave_without_fault(void)
{
    is_faulty = false;
}

int
main(void)
{
    static const struct test_case cases[] = {
        CONFORMANCE,
        { "now over the fault wrapper without faults", behave_with_fault },
        CONFORMANCE,
        { "now over SQLite again", behave_without_fault },
        { "a lost answer leaves the write", a_lost_answer_leaves_the_write },
        { "a crash after each write keeps it",
          a_crash_after_each_write_keeps_it },
        { "a second process is refused", a_second_process_is_refused },
        { "a child holds no lock for the dead",
          a_child_holds_no_lock_for_the_dead },
        { "damage is found when opening", damage_is_found_when_opening },
        { "a newer format is refused", a_newer_format_is_refused },
        { "a watch behind a compaction is told",
          a_watch_behind_a_compaction_is_told },
    };
    int rc;

    rc = test_main(cases, ARRAY_SIZE(cases));
    test_dir_clear();
    return rc;
}
