/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of REDIRECTs and maps, and what the log makes of them. */
#include <string.h>

#include "base/mem.h"
#include "repo/logstate.h"
#include "test.h"

static struct movemap_entry
some_entry(uint8_t session, uint64_t covers, uint8_t source)
{
    struct movemap_entry e = { .covers = covers, .count = 2 };

    memset(e.session, session, 16);
    e.map.type = TREE_REF;
    memset(e.map.id, 7, HASH_SIZE);
    memcpy(e.map.loc.session, e.session, 16);
    e.map.loc.off8 = 20;
    e.map.loc.flen = 800;
    e.map.loc.ulen = 1000;
    e.sources = xcalloc(2, sizeof *e.sources);
    for (unsigned i = 0; i < 2; i++) {
        memset(e.sources[i].session, source, 16);
        e.sources[i].n = i;
    }
    return e;
}

static void
entries_survive_and_nonsense_is_refused(void)
{
    struct movemap_entry e = some_entry(1, 42, 2), got = { 0 };
    struct buf bytes = BUF_INIT;
    struct err err = { 0 };

    movemap_entry_encode(&e, &bytes);
    CHECK_OK(movemap_entry_decode((uint8_t *)bytes.data, bytes.len, &got, &err),
             &err);
    CHECK(memcmp(got.session, e.session, 16) == 0);
    CHECK_INT(got.covers, ==, 42);
    CHECK_INT(got.count, ==, 2);
    CHECK_INT(got.sources[1].n, ==, 1);
    CHECK_INT(got.map.loc.flen, ==, 800);
    movemap_entry_fini(&got);
    for (size_t len = 0; len < bytes.len; len++)
        CHECK_ERR(movemap_entry_decode((uint8_t *)bytes.data, len, &got, &err),
                  &err, ERR_CORRUPT);
    movemap_entry_fini(&e);
    buf_fini(&bytes);
}

static void
a_map_finds_what_was_moved(void)
{
    struct movemap m = { .sources = 3, .count = 1000 }, got = { 0 };
    struct buf bytes = BUF_INIT;
    struct err err = { 0 };

    m.moves = xcalloc(m.count, sizeof *m.moves);
    for (uint32_t i = 0; i < m.count; i++)
        m.moves[i] = (struct movemap_move){ .source = (i * 7) % 3,
                                            .from8 = 8 + (i * 37) % 1000,
                                            .n = i,
                                            .to8 = 8 + i,
                                            .flen = 32 };
    movemap_encode(&m, &bytes);
    CHECK_OK(movemap_decode((uint8_t *)bytes.data, bytes.len, &got, &err),
             &err);
    for (size_t i = 0; i < m.count; i++) {
        const struct movemap_move *f =
            movemap_find(&got, m.moves[i].source, m.moves[i].from8);

        CHECK(f != NULL && f->n == m.moves[i].n);
    }
    CHECK(movemap_find(&got, 0, 7) == NULL);
    CHECK(movemap_find(&got, 2, 5000) == NULL);
    movemap_fini(&got);
    bytes.data[MOVEMAP_HEAD + 5] ^= 1; /* no longer in order */
    CHECK_ERR(movemap_decode((uint8_t *)bytes.data, bytes.len, &got, &err),
              &err, ERR_CORRUPT);
    movemap_fini(&m);
    buf_fini(&bytes);
}

static void
fold(struct logstate *s, const struct movemap_entry *m, uint64_t seq)
{
    struct commitlog_entry e = { .type = COMMITLOG_REDIRECT, .seq = seq };
    struct buf bytes = BUF_INIT;
    struct err err = { 0 };

    movemap_entry_encode(m, &bytes);
    e.body = (const uint8_t *)bytes.data;
    e.body_len = bytes.len;
    CHECK_OK(logstate_fold(s, &e, &err), &err);
    buf_fini(&bytes);
}

static void
only_the_first_that_knows_every_backup_counts(void)
{
    struct movemap_entry first = some_entry(1, 5, 9);
    struct movemap_entry same = some_entry(2, 9, 9);
    struct movemap_entry again = some_entry(1, 9, 8);
    struct movemap_entry late = some_entry(3, 4, 7);
    struct logstate s = { .commit_seq = 5 };

    logstate_session_make(&s, first.session)->open_seq = 1;
    logstate_session_make(&s, same.session)->open_seq = 2;
    logstate_session_make(&s, late.session)->open_seq = 3;

    fold(&s, &late, 6); /* does not know entry 5 */
    CHECK_INT(s.redirect_count, ==, 0);
    fold(&s, &first, 7);
    CHECK_INT(s.redirect_count, ==, 1);
    CHECK(logstate_moved_find(&s, &first.sources[1]) != NULL);
    CHECK(logstate_moved_find(&s, &again.sources[0]) == NULL);
    fold(&s, &same, 8);  /* of packs that are gone */
    fold(&s, &again, 9); /* of a session that has ended */
    CHECK_INT(s.redirect_count, ==, 1);
    CHECK(logstate_is_used(&s, first.session));
    movemap_entry_fini(&first);
    movemap_entry_fini(&same);
    movemap_entry_fini(&again);
    movemap_entry_fini(&late);
    logstate_fini(&s);
}

int
main(void)
{
    static const struct test_case tests[] = {
        { "entries survive, nonsense is refused",
          entries_survive_and_nonsense_is_refused },
        { "a map finds what was moved", a_map_finds_what_was_moved },
        { "only the first that knows every backup counts",
          only_the_first_that_knows_every_backup_counts },
    };

    return test_main(tests, ARRAY_SIZE(tests));
}
