/* SPDX-License-Identifier: Apache-2.0 */
/* F13: what a disk changes in a pack is put right from its parity, byte for
 * byte; what parity cannot repair stays as it is and is told; wrong parity
 * harms nobody. */
#include <string.h>

#include "base/mem.h"
#include "codec/crc.h"
#include "codec/le.h"
#include "repo/repo-private.h"
#include "repo/stats.h"
#include "repo/test-parity-kit.h"

/* ---- the bytes ---- */

static void
any_length_encodes_and_comes_back(void)
{
    static const size_t lengths[] = {
        PARITY_PACK_MIN, 4095, 4096, 4097, 8193, 262143, 262144, 262145, 3000001
    };
    struct pack_id id = { .kind = FRAME_DATA, .n = 7 };

    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        size_t len = lengths[i], size = 0;
        CLEANUP(mem_free) uint8_t *pack = xcalloc(1, len + 8);
        CLEANUP(mem_free) uint8_t *object = NULL;
        struct parity_head h;
        struct err err = { 0 };
        uint64_t sum = 0;

        testing_fill(pack, len / 8 * 8, (uint32_t)i + 1);
        object = parity_encode(&id, pack, len, &size);
        CHECK_OK(parity_head_decode(&id, object, size, size, &h, &err), &err);
        CHECK_INT(h.pack_len, ==, len);
        CHECK(h.count >= 1 && h.count <= ERASURE_DATA_MAX);
        CHECK_INT(size, ==, parity_size(&h));
        for (unsigned k = 0; k < h.count; k++)
            sum += parity_stripe_len(&h, k);
        CHECK_INT(sum, ==, len);
        if (len > 1000000) /* as cheap as it is said to be */
            CHECK_INT(size * 100, <, len * 5);
    }
}

/* ---- repair ---- */

static void
check_repaired(struct repo *repo, const struct testing_subject *s,
               unsigned stripes)
{
    struct parity_repair r;
    struct err err = { 0 };

    CHECK_OK(parity_repair(repo->blob, &s->id, &r, &err), &err);
    CHECK_INT(r.damaged, ==, stripes);
    CHECK(testing_is_as_written(s));
}

static void
two_damaged_stripes_come_back(void)
{
    char id[REPO_ID_SIZE];
    struct repo *repo = testing_parity_repo(true, id);
    struct testing_subject s;

    for (unsigned kind = 0; kind < 2; kind++) {
        unsigned step;

        testing_subject_of(&s, "pm"[kind], id);
        step = s.head.count > 8 ? 7 : 1;
        for (unsigned a = 0; a < s.head.count; a += step)
            for (unsigned b = a; b < s.head.count; b += step) {
                CLEANUP(mem_free) uint8_t *bad = xcalloc(1, s.pack_len);

                memcpy(bad, s.pack, s.pack_len);
                memset(bad + (size_t)a * s.head.stripe, 0xee,
                       parity_stripe_len(&s.head, a));
                memset(bad + (size_t)b * s.head.stripe, 0x11,
                       parity_stripe_len(&s.head, b));
                testing_replace(s.name, bad, s.pack_len);
                check_repaired(repo, &s, a == b ? 1 : 2);
            }
        testing_subject_fini(&s);
    }
    CHECK(testing_reads(repo, id));
    repo_close(repo);
    testing_dir_remove();
}

static void
one_of_data_and_one_of_parity_too(void)
{
    char id[REPO_ID_SIZE];
    struct repo *repo = testing_parity_repo(false, id);
    struct testing_subject s;

    testing_subject_of(&s, 'p', id);
    testing_flip(s.name, s.pack_len / 2);
    testing_flip(s.parity, s.object_len - 1);
    check_repaired(repo, &s, 1);
    testing_flip(s.name, s.pack_len - 1);
    testing_flip(s.parity, parity_head_size(&s.head));
    check_repaired(repo, &s, 1);
    testing_subject_fini(&s);
    repo_close(repo);
    testing_dir_remove();
}

static void
a_pack_of_another_length_does(void)
{
    char id[REPO_ID_SIZE];
    struct repo *repo = testing_parity_repo(true, id);
    CLEANUP(mem_free) uint8_t *longer = NULL;
    struct testing_subject s;

    testing_subject_of(&s, 'p', id);
    testing_replace(s.name, s.pack, s.pack_len - 1);
    check_repaired(repo, &s, 1);
    testing_replace(s.name, s.pack, s.pack_len - s.head.stripe - 1);
    check_repaired(repo, &s, 2);
    longer = xcalloc(1, s.pack_len + 5000);
    memcpy(longer, s.pack, s.pack_len);
    testing_replace(s.name, longer, s.pack_len + 5000);
    check_repaired(repo, &s, 0);
    testing_subject_fini(&s);
    repo_close(repo);
    testing_dir_remove();
}

static void
a_place_that_cannot_be_read_does(void)
{
    char id[REPO_ID_SIZE];
    struct testing_subject s;
    struct testing_heard h;

    repo_close(testing_parity_repo(true, id));
    testing_subject_of(&s, 'p', id);
    {
        CLEANUP(repo_close)
        struct repo *repo = testing_repo_open(
            (struct blob_fault_plan){ .kind = BLOB_FAULT_BAD_PLACE,
                                      .n = s.pack_len / 3,
                                      .object = s.name });
        struct parity_repair r;
        struct err err = { 0 };

        CHECK_OK(parity_repair(repo->blob, &s.id, &r, &err), &err);
        CHECK_INT(r.damaged, ==, 1);
        CHECK(testing_is_as_written(&s));
        /* Here the place is bad for ever: it is told after the repair. */
        (void)testing_scrub(repo, &h);
        CHECK_INT(h.repaired, ==, 1);
        CHECK_INT(h.affected, ==, 1);
    }
    testing_subject_fini(&s);
    testing_dir_remove();
}

static void
three_are_too_many(void)
{
    char id[REPO_ID_SIZE];
    struct repo *repo = testing_parity_repo(true, id);
    CLEANUP(mem_free) uint8_t *bad = NULL;
    struct repo_scrub_result r;
    struct testing_subject s;
    struct testing_heard h;

    testing_subject_of(&s, 'p', id);
    bad = xcalloc(1, s.pack_len);
    memcpy(bad, s.pack, s.pack_len);
    for (unsigned i = 1; i < 4; i++)
        bad[s.head.stripe * i * 9] ^= 1;
    testing_replace(s.name, bad, s.pack_len);
    r = testing_scrub(repo, &h);
    CHECK_INT(r.repaired, ==, 0);
    CHECK_INT(r.new_bad, >=, 1);
    CHECK_INT(h.affected, ==, 1);
    CHECK(testing_is_as(s.name, bad, s.pack_len));
    CHECK(testing_is_as(s.parity, s.object, s.object_len));

    /* One of them is put right by somebody: now it can be repaired, and what
     * was bad is good again. */
    bad[s.head.stripe * 9] ^= 1;
    testing_replace(s.name, bad, s.pack_len);
    r = testing_scrub(repo, &h);
    CHECK_INT(r.repaired, ==, 1);
    CHECK_INT(r.good_again, >=, 1);
    CHECK_INT(r.bad + r.damages + h.affected, ==, 0);
    CHECK(testing_is_as_written(&s));
    CHECK(testing_reads(repo, id));
    testing_check_quiet(repo);
    testing_subject_fini(&s);
    repo_close(repo);
    testing_dir_remove();
}

/* ---- scrub ---- */

/* F13: a bit of each class of objects, and of each part of a pack. */
static void
a_flipped_bit_is_repaired(void)
{
    for (unsigned i = 0; i < 2; i++) {
        char id[REPO_ID_SIZE];
        struct repo *repo = testing_parity_repo(i == 0, id);
        CLEANUP(blob_names_fini) struct blob_names n = { 0 };

        testing_list_parities(repo, &n);
        CHECK_INT(n.count, ==, 2);
        for (size_t k = 0; k < n.count; k++) {
            struct testing_subject s;
            size_t footer, places[8];

            testing_subject_init(&s, n.names[k]);
            footer = le_get64(s.pack + s.pack_len - PACK_TRAILER_SIZE + 16);
            places[0] = 3;               /* header */
            places[1] = 64 + 40;         /* key table, or a frame */
            places[2] = 64 + 104 + 30;   /* a frame */
            places[3] = s.pack_len / 2;  /* another */
            places[4] = footer + 30;     /* footer */
            places[5] = s.pack_len - 65; /* stripe table */
            places[6] = s.pack_len - 20; /* trailer */
            places[7] = s.pack_len - 1;
            for (unsigned p = 0; p < ARRAY_SIZE(places); p++) {
                struct repo_scrub_result r;
                struct testing_heard h;

                testing_flip(s.name, places[p]);
                r = testing_scrub(repo, &h);
                CHECK_INT(r.repaired, ==, 1);
                CHECK_INT(r.damages + r.new_bad + r.bad, ==, 0);
                CHECK(h.repaired == 1 && h.damages + h.affected == 0);
                CHECK(strcmp(h.object, s.name) == 0);
                CHECK(strstr(h.what, "made again from its parity") != NULL);
                CHECK(testing_is_as_written(&s));
            }
            testing_subject_fini(&s);
        }
        CHECK(testing_reads(repo, id));
        testing_check_sound(repo);
        testing_check_quiet(repo);
        repo_close(repo);
        testing_dir_remove();
    }
}

/* Who keeps the disks needs no key to keep the packs whole. */
static void
without_a_key_too(void)
{
    char id[REPO_ID_SIZE];
    struct repo_secret none = { 0 };
    struct repo *repo = testing_parity_repo(true, id), *locked = NULL;
    struct repo_scrub_result r;
    struct err err = { 0 };
    struct testing_subject s;
    struct testing_heard h;

    testing_subject_of(&s, 'p', id);
    testing_flip(s.name, 100000);
    CHECK_OK(repo_open(testing_blob(), &none, &locked, &err), &err);
    CHECK_OK(testing_try_scrub(locked, REPO_VERIFY_STRIPES, &h, &r, &err),
             &err);
    CHECK_INT(r.repaired, ==, 1);
    CHECK_INT(r.damages, ==, 0);
    CHECK(testing_is_as_written(&s));
    CHECK(testing_reads(repo, id));
    testing_subject_fini(&s);
    repo_close(locked);
    repo_close(repo);
    testing_dir_remove();
}

static void
parity_that_is_damaged_is_made_again(void)
{
    char id[REPO_ID_SIZE];
    struct repo *repo = testing_parity_repo(true, id);
    struct repo_scrub_result r;
    struct err err = { 0 };
    struct testing_subject s;
    struct testing_heard h;

    testing_subject_of(&s, 'm', id);
    for (size_t at = 0; at < s.object_len; at += at < 300 ? 37 : 1000) {
        testing_flip(s.parity, at);
        r = testing_scrub(repo, &h);
        CHECK_INT(r.parity_made + h.repaired, ==, 2);
        CHECK_INT(r.damages + r.repaired, ==, 0);
        CHECK(testing_is_as_written(&s));
    }
    testing_replace(s.parity, s.object, 10);
    r = testing_scrub(repo, &h);
    CHECK_INT(r.parity_made, ==, 1);
    CHECK(testing_is_as_written(&s));
    CHECK_OK(blob_remove(repo->blob, s.parity, &err), &err);
    r = testing_scrub(repo, &h);
    CHECK_INT(r.parity_made, ==, 1);
    CHECK_INT(h.repaired + h.damages, ==, 0);
    CHECK(testing_is_as_written(&s));
    testing_check_quiet(repo);
    testing_subject_fini(&s);
    repo_close(repo);
    testing_dir_remove();
}

static int
take(void *arg, uint64_t off, const void *data, size_t len, struct err *err)
{
    uint8_t *got = arg;

    memcpy(got + off, data, len);
    return 0;
}

/* Who restores gets what was stored before any scrub has seen the damage; and
 * nothing is written. */
static void
a_restore_does_not_wait_for_the_scrub(void)
{
    for (unsigned i = 0; i < 2; i++) {
        uint64_t size = testing_parity_disk.size;
        CLEANUP(mem_free) uint8_t *got = xcalloc(1, size);
        CLEANUP(mem_free) uint8_t *want = xcalloc(1, size);
        struct repo_sink sink = { .write = take, .arg = got };
        struct repo_view *v = NULL;
        char id[REPO_ID_SIZE];
        struct testing_subject s, m;
        struct err err = { 0 };
        struct repo *repo;

        repo_close(testing_parity_repo(i == 0, id));
        testing_subject_of(&s, 'p', id);
        testing_subject_of(&m, 'm', id);
        testing_flip(s.name, 3); /* its header, which all frames need */
        testing_flip(s.name, s.pack_len / 2);
        testing_flip(m.name, 130);
        repo = testing_repo_open((struct blob_fault_plan){ 0 });
        CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
        CHECK_OK(repo_view_restore(v, 0, 0, size, 2, &sink, &err), &err);
        testing_disk_read(&testing_parity_disk, 0, want, size);
        CHECK(memcmp(got, want, size) == 0);
        CHECK_INT(repo_view_mended(v), >=, 2);
        repo_view_close(v);
        CHECK(testing_reads(repo, id));
        CHECK(!testing_is_as(s.name, s.pack, s.pack_len));
        /* Three are too many for it as well; and no bytes are made up. */
        testing_flip(s.name, s.pack_len / 4);
        CHECK(!testing_reads(repo, id));
        testing_subject_fini(&s);
        testing_subject_fini(&m);
        repo_close(repo);
        testing_dir_remove();
    }
}

struct verified {
    unsigned damages, repairable, affected;
};

static void
verify_damage_heard(void *arg, const char *object, const char *cause)
{
    ((struct verified *)arg)->damages++;
}

static void
verify_repairable_heard(void *arg, const char *object)
{
    ((struct verified *)arg)->repairable++;
}

static void
verify_affected_heard(void *arg, const struct repo_entry *backup,
                      const char *disk, uint64_t lost_bytes)
{
    ((struct verified *)arg)->affected++;
}

static struct verified
verify(enum repo_verify_level level)
{
    CLEANUP(repo_close)
    struct repo *repo = testing_repo_open((struct blob_fault_plan){ 0 });
    struct verified v = { 0 };
    struct repo_verify_sink sink = { .damage = verify_damage_heard,
                                     .repairable = verify_repairable_heard,
                                     .affected = verify_affected_heard,
                                     .arg = &v };
    struct err err = { 0 };
    uint64_t damages = 0;

    CHECK_OK(repo_verify(repo, level, 2, &sink, &damages, &err), &err);
    CHECK((damages > 0) == (v.damages > 0));
    return v;
}

/* What a restore reads is not called lost. */
static void
verify_says_what_can_be_repaired(void)
{
    char id[REPO_ID_SIZE];
    struct testing_subject s;

    repo_close(testing_parity_repo(true, id));
    for (unsigned kind = 0; kind < 2; kind++) {
        size_t places[4];

        testing_subject_of(&s, "pm"[kind], id);
        places[0] = 3; /* header, a frame, footer, trailer */
        places[1] = s.pack_len / 2;
        places[2] = le_get64(s.pack + s.pack_len - PACK_TRAILER_SIZE + 16) + 30;
        places[3] = s.pack_len - 1;
        for (unsigned p = 0; p < ARRAY_SIZE(places); p++) {
            testing_flip(s.name, places[p]);
            for (unsigned level = 0; level <= REPO_VERIFY_TREES; level++) {
                struct verified v = verify(level);

                CHECK_INT(v.damages, >=, 1);
                CHECK_INT(v.repairable, ==, 1);
                CHECK_INT(v.affected, ==, 0);
            }
            testing_replace(s.name, s.pack, s.pack_len);
        }
        testing_subject_fini(&s);
    }
    testing_subject_of(&s, 'p', id);
    for (unsigned i = 1; i < 4; i++)
        testing_flip(s.name, s.head.stripe * i * 9);
    CHECK_INT(verify(REPO_VERIFY_TREES).repairable, ==, 0);
    CHECK_INT(verify(REPO_VERIFY_TREES).affected, ==, 1);
    testing_subject_fini(&s);
    testing_dir_remove();
}

/* It is not made where nobody asked for it, but kept and used where it is. */
static void
without_it_all_is_as_before(void)
{
    struct repo *repo;
    char id[REPO_ID_SIZE], name[PACK_NAME_SIZE];
    struct repo_scrub_result r;
    struct repo_stats stats;
    struct err err = { 0 };
    struct testing_heard h;

    testing_dir_make();
    testing_has_parity = false;
    repo = testing_repo_create(true);
    CHECK(!repo_info_get(repo)->makes_parity);
    testing_make_disk(1);
    testing_backup(repo, NULL, id);
    CHECK_OK(repo_stats_get(repo, &stats, &err), &err);
    CHECK_INT(stats.parities + stats.parity_bytes, ==, 0);
    testing_check_quiet(repo);
    (void)snprintf(name, sizeof name, "p/%s/0", id);
    testing_flip(name, 70000);
    r = testing_scrub(repo, &h);
    CHECK_INT(r.repaired + r.parity_made, ==, 0);
    CHECK_INT(r.new_bad, ==, 1);
    CHECK(strstr(h.cause, "parity") == NULL);
    repo_close(repo);
    testing_dir_remove();

    repo = testing_parity_repo(true, id);
    CHECK(repo_info_get(repo)->makes_parity);
    CHECK_OK(repo_stats_get(repo, &stats, &err), &err);
    CHECK_INT(stats.parities, ==, 2);
    CHECK_INT(stats.parity_bytes, >, 0);
    repo_close(repo);
    testing_dir_remove();
}

/* A repository that was made without it, or by an older vmkeep. */
static void
it_can_be_added_later(void)
{
    struct repo_secret none = { 0 };
    char id[REPO_ID_SIZE];
    struct repo *repo, *before;
    CLEANUP(mem_free) uint8_t *cfg = NULL;
    CLEANUP(mem_free) uint8_t *now = NULL;
    struct repo_scrub_result r;
    struct testing_heard h;
    struct err err = { 0 };
    bool was_set = true;
    size_t len = 0;

    testing_dir_make();
    testing_has_parity = false;
    before = testing_repo_create(true);
    testing_make_disk(1);
    testing_backup(before, NULL, id);
    cfg = testing_load("repo.cfg", &len);
    cfg[16 + 3] ^= 0x40; /* a bit that somebody newer knows */
    le_put32(cfg + 124, crc_32c(0, cfg, 124));
    testing_replace("repo.cfg", cfg, len);
    CHECK_OK(repo_open(testing_blob(), &none, &repo, &err), &err);
    CHECK_OK(repo_add_parity(repo, &was_set, &err), &err);
    CHECK(!was_set);
    CHECK_OK(repo_add_parity(repo, &was_set, &err), &err);
    CHECK(was_set);
    now = testing_load("repo.cfg", &len);
    cfg[16] |= 1;
    le_put32(cfg + 124, crc_32c(0, cfg, 124));
    CHECK(memcmp(now, cfg, len) == 0);
    repo_close(repo);
    /* Who had it open learns of it at his next scrub. */
    CHECK(!repo_info_get(before)->makes_parity);
    r = testing_scrub(before, &h);
    CHECK_INT(r.parity_made, ==, 2);
    CHECK_INT(r.damages, ==, 0);
    repo_close(before);
    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    CHECK(repo_info_get(repo)->makes_parity);
    testing_check_quiet(repo);
    testing_make_disk(500);
    testing_backup(repo, id, id);
    CHECK_INT(testing_count_parities(repo), ==, 4);
    repo_close(repo);
    testing_dir_remove();
}

/* ---- wrong parity ---- */

static void
seal(uint8_t *object, size_t digests)
{
    le_put32(object + 60,
             crc_32c(crc_32c(0, object, 60), object + PARITY_HEAD, digests));
}

/* With the pack damaged at one place: it is never changed to anything else. */
static void
check_harmless(struct repo *repo, const struct testing_subject *s,
               const uint8_t *object, size_t len)
{
    CLEANUP(mem_free) uint8_t *bad = xcalloc(1, s->pack_len);
    struct parity_repair r;
    struct err err = { 0 };
    struct testing_heard h;

    testing_replace(s->parity, object, len);
    memcpy(bad, s->pack, s->pack_len);
    bad[s->pack_len / 2] ^= 4;
    testing_replace(s->name, bad, s->pack_len);
    CHECK(parity_repair(repo->blob, &s->id, &r, &err) < 0);
    CHECK(testing_is_as(s->name, bad, s->pack_len));
    testing_replace(s->name, s->pack, s->pack_len);
    (void)testing_scrub(repo, &h);
    CHECK(testing_is_as(s->name, s->pack, s->pack_len));
    testing_replace(s->parity, s->object, s->object_len);
}

static void
forged_fields_do_no_harm(void)
{
    static const struct {
        unsigned at, size;
        uint64_t value;
    } forged[] = {
        { 8, 2, 2 },           { 10, 1, 1 },          { 11, 1, 0 },
        { 11, 1, 200 },        { 12, 4, 0 },          { 12, 4, 65 },
        { 12, 4, 0xffffffff }, { 16, 8, 0 },          { 16, 8, 127 },
        { 16, 8, 1 << 27 },    { 16, 8, UINT64_MAX }, { 24, 4, 77 },
        { 40, 4, 1 },          { 44, 4, 0 },          { 44, 4, 4096 },
        { 44, 4, 0xffffffff }, { 52, 8, 1 },
    };
    char id[REPO_ID_SIZE];
    struct repo *repo = testing_parity_repo(true, id);
    struct testing_subject s;

    testing_subject_of(&s, 'p', id);
    for (size_t i = 0; i < ARRAY_SIZE(forged); i++) {
        CLEANUP(mem_free) uint8_t *object = xcalloc(1, s.object_len);

        memcpy(object, s.object, s.object_len);
        for (unsigned k = 0; k < forged[i].size; k++)
            object[forged[i].at + k] = (uint8_t)(forged[i].value >> (8 * k));
        seal(object, parity_head_size(&s.head) - PARITY_HEAD);
        check_harmless(repo, &s, object, s.object_len);
    }
    testing_subject_fini(&s);
    repo_close(repo);
    testing_dir_remove();
}

static void
parity_of_something_else_does_no_harm(void)
{
    char a[REPO_ID_SIZE], b[REPO_ID_SIZE];
    struct repo *repo = testing_parity_repo(true, a);
    CLEANUP(mem_free) uint8_t *other = NULL;
    CLEANUP(mem_free) uint8_t *pack = NULL;
    struct testing_subject s, t;
    size_t len = 0;

    testing_make_disk(1000);
    testing_backup(repo, NULL, b);
    testing_subject_of(&s, 'p', a);
    testing_subject_of(&t, 'p', b);
    check_harmless(repo, &s, t.object, t.object_len); /* another's */
    /* Another's with our name in it, as whoever can write there may make. */
    other = parity_encode(&s.id, t.pack, t.pack_len, &len);
    check_harmless(repo, &s, other, len);
    /* Ours, but for two stripes that say something else. */
    pack = xcalloc(1, s.pack_len);
    memcpy(pack, s.pack, s.pack_len);
    pack[s.pack_len / 2] ^= 1;
    pack[1000] ^= 1;
    free(TAKE(other));
    other = parity_encode(&s.id, pack, s.pack_len, &len);
    check_harmless(repo, &s, other, len);
    /* Stripes and digests that do not agree. */
    memcpy(other, s.object, s.object_len);
    other[parity_head_size(&s.head) + 5] ^= 1;
    other[s.object_len - 5] ^= 1;
    check_harmless(repo, &s, other, s.object_len);
    memcpy(other, s.object, s.object_len);
    other[PARITY_HEAD + 5] ^= 1;
    seal(other, parity_head_size(&s.head) - PARITY_HEAD);
    check_harmless(repo, &s, other, s.object_len);
    testing_subject_fini(&s);
    testing_subject_fini(&t);
    repo_close(repo);
    testing_dir_remove();
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "any length encodes and comes back",
          any_length_encodes_and_comes_back },
        { "two damaged stripes come back", two_damaged_stripes_come_back },
        { "one of data and one of parity too",
          one_of_data_and_one_of_parity_too },
        { "a pack of another length does", a_pack_of_another_length_does },
        { "a place that cannot be read does",
          a_place_that_cannot_be_read_does },
        { "three are too many", three_are_too_many },
        { "a flipped bit is repaired", a_flipped_bit_is_repaired },
        { "without a key too", without_a_key_too },
        { "parity that is damaged is made again",
          parity_that_is_damaged_is_made_again },
        { "a restore does not wait for the scrub",
          a_restore_does_not_wait_for_the_scrub },
        { "verify says what can be repaired",
          verify_says_what_can_be_repaired },
        { "without it all is as before", without_it_all_is_as_before },
        { "it can be added later", it_can_be_added_later },
        { "forged fields do no harm", forged_fields_do_no_harm },
        { "parity of something else does no harm",
          parity_of_something_else_does_no_harm },
    };
    int rc;

    testing_seed(13);
    rc = test_main(cases, ARRAY_SIZE(cases));
    testing_disk_fini(&testing_parity_disk);
    return rc;
}
