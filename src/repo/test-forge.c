/* SPDX-License-Identifier: Apache-2.0 */
/* What is whole and in the wrong place: frames, packs and log entries that
 * nobody damaged, but that somebody exchanged, with every checksum set anew.
 * It is never taken for what should be there. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "codec/crc.h"
#include "codec/le.h"
#include "repo/pack.h"
#include "repo/repo-id.h"
#include "repo/test-around.h"
#include "repo/test-model.h"
#include "repo/view.h"

#define CHUNK  ((size_t)65536)
#define CHUNKS 8u

static char id[REPO_ID_SIZE];

/* A disk of noise, so that all frames have one length; 0: as the parent. */
static void
back_up_on(struct repo *repo, const char *parent, uint32_t fill,
           char ret_id[REPO_ID_SIZE])
{
    struct repo_backup_options o = { .threads = 1, .parent = parent };
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, CHUNK);
    struct err err = { 0 };
    unsigned n;

    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    CHECK_OK(repo_backup_add_disk(b, "a", CHUNKS * CHUNK, 16, &n, &err), &err);
    for (uint32_t c = 0; fill != 0 && c < CHUNKS; c++) {
        testing_fill(data, CHUNK, fill + c);
        CHECK_OK(repo_backup_write(b, n, c * CHUNK, data, CHUNK, &err), &err);
    }
    CHECK_OK(repo_backup_commit(b, NULL, 0, "uid", &err), &err);
    memcpy(ret_id, repo_backup_id(b), REPO_ID_SIZE);
}

static void
back_up(struct repo *repo, uint32_t fill, char ret_id[REPO_ID_SIZE])
{
    back_up_on(repo, NULL, fill, ret_id);
}

/* Stripes and trailer say what is there. */
static void
seal_pack(uint8_t *data, size_t len, const char *name)
{
    struct pack_trailer t;
    struct pack_id pack;
    struct err err = { 0 };

    CHECK(pack_name_parse(name, &pack));
    CHECK_OK(pack_trailer_decode(&pack, data + len - PACK_TRAILER_SIZE, len, &t,
                                 &err),
             &err);
    pack_tail_encode(data, &pack, &t);
}

struct findings {
    unsigned damages, affected;
    uint64_t lost;
};

static void
on_damage(void *arg, const char *object, const char *cause)
{
    struct findings *f = arg;

    CHECK(object[0] != 0 && cause[0] != 0);
    f->damages++;
}

static void
on_affected(void *arg, const struct repo_entry *backup, const char *disk,
            uint64_t lost_bytes)
{
    struct findings *f = arg;

    CHECK(backup->id[0] != 0 && disk != NULL);
    f->affected++;
    f->lost += lost_bytes;
}

static struct findings
verify(struct repo *repo, enum repo_verify_level level)
{
    struct findings f = { 0 };
    struct repo_verify_sink sink = { .damage = on_damage,
                                     .affected = on_affected,
                                     .arg = &f };
    struct err err = { 0 };
    uint64_t n = 0;

    CHECK_OK(repo_verify(repo, level, 2, &sink, &n, &err), &err);
    return f;
}

static int
drop(void *arg, uint64_t off, const void *data, size_t len, struct err *err)
{
    CLEANUP(mem_free) uint8_t *want = xcalloc(1, CHUNK);

    CHECK_INT(len, ==, CHUNK);
    testing_fill(want, CHUNK, 1 + (uint32_t)(off / CHUNK));
    CHECK(memcmp(data, want, CHUNK) == 0);
    return 0;
}

/* Every chunk is right or refused, one by one and in a restore. Returns how
 * many are refused. */
static unsigned
refused(struct repo *repo)
{
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    CLEANUP(mem_free) uint8_t *got = xcalloc(1, CHUNK);
    struct repo_sink sink = { .write = drop };
    struct err err = { 0 };
    unsigned n = 0;

    CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
    for (uint32_t c = 0; c < CHUNKS; c++) {
        if (repo_view_read(v, 0, c * CHUNK, got, CHUNK, &err) == 0) {
            CHECK_OK(drop(NULL, c * CHUNK, got, CHUNK, &err), &err);
            continue;
        }
        CHECK_INT(err.code, ==, ERR_CORRUPT);
        n++;
    }
    if (repo_view_restore(v, 0, 0, CHUNKS * CHUNK, 1, &sink, &err) == 0)
        CHECK_INT(n, ==, 0);
    else
        CHECK_INT(err.code, ==, ERR_CORRUPT);
    return n;
}

/* The frames of chunks 2 and 5 stand in each other's place. They decrypt: a
 * frame brings its number along. Only its id tells. */
static void
a_frame_in_anothers_place_is_not_taken_for_it(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CLEANUP(repo_close) struct repo *repo = NULL;
        CLEANUP(mem_free) uint8_t *data = NULL;
        CLEANUP(mem_free) uint8_t *held = NULL;
        size_t len = 0, first, flen;
        struct findings f;
        char name[64], second[REPO_ID_SIZE];

        testing_dir_make();
        repo = testing_repo_create(i == 0);
        back_up(repo, 1, id);
        back_up_on(repo, id, 0, second); /* the same tree */
        repo_close(repo);
        (void)snprintf(name, sizeof name, "p/%s/0", id);
        data = testing_load(name, &len);
        first = pack_head_size(i == 0);
        flen = (FRAME_HEADER_SIZE + CHUNK + (i == 0 ? AEAD_TAG_SIZE : 0) + 7) &
               ~(size_t)7;
        CHECK_INT(le_get32(data + first), ==, CHUNK);
        held = xcalloc(1, flen);
        memcpy(held, data + first + 2 * flen, flen);
        memcpy(data + first + 2 * flen, data + first + 5 * flen, flen);
        memcpy(data + first + 5 * flen, held, flen);
        seal_pack(data, len, name);
        testing_replace(name, data, len);
        repo = testing_repo_open((struct blob_fault_plan){ 0 });
        CHECK_INT(refused(repo), ==, 2);
        f = verify(repo, REPO_VERIFY_STRIPES);
        CHECK_INT(f.damages, ==, 0); /* not seen by checksums alone */
        for (unsigned l = REPO_VERIFY_FRAMES; l <= REPO_VERIFY_TREES; l++) {
            f = verify(repo, (enum repo_verify_level)l);
            CHECK_INT(f.damages, ==, 2);
            CHECK_INT(f.affected, ==, 2);
            CHECK_INT(f.lost, ==, 4 * CHUNK);
        }
        testing_dir_remove();
    }
}

/* Whoever keeps the store, without any key, sees that a byte of a pack has
 * changed, wherever. */
static void
a_flipped_byte_of_a_pack_is_seen_without_a_key(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CLEANUP(repo_close) struct repo *repo = NULL;
        CLEANUP(mem_free) uint8_t *data = NULL;
        struct repo_secret none = { 0 };
        struct err err = { 0 };
        size_t len = 0;
        char name[64];

        testing_dir_make();
        repo = testing_repo_create(true);
        back_up(repo, 1, id);
        repo_close(repo);
        (void)snprintf(name, sizeof name, "%c/%s/0", i == 0 ? 'p' : 'm', id);
        data = testing_load(name, &len);
        CHECK_OK(repo_open(testing_blob(), &none, &repo, &err), &err);
        CHECK_INT(verify(repo, REPO_VERIFY_STRIPES).damages, ==, 0);
        for (size_t at = 0; at < len; at += len - at < 72 ? 1 : len / 40) {
            data[at] ^= 0x10;
            testing_replace(name, data, len);
            CHECK(verify(repo, REPO_VERIFY_STRIPES).damages > 0);
            data[at] ^= 0x10;
        }
        testing_dir_remove();
    }
}

/* Not only the walk misses a pack that is gone. */
static void
a_missing_pack_is_found_without_a_walk(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CLEANUP(repo_close) struct repo *repo = NULL;
        CLEANUP(blob_free) struct blob *blob = NULL;
        struct err err = { 0 };
        struct findings f;
        char name[64], other[REPO_ID_SIZE];

        testing_dir_make();
        blob = testing_blob();
        repo = testing_repo_create(i == 0);
        back_up(repo, 1, id);
        back_up_on(repo, id, 0, other);
        (void)snprintf(name, sizeof name, "%c/%s/0", i == 0 ? 'p' : 'm', id);
        CHECK_OK(blob_remove(blob, name, &err), &err);
        for (unsigned l = REPO_VERIFY_FRAMES; l <= REPO_VERIFY_TREES; l++) {
            CLEANUP(repo_close)
            struct repo *again =
                testing_repo_open((struct blob_fault_plan){ 0 });

            f = verify(again, (enum repo_verify_level)l);
            CHECK(f.damages > 0);
            CHECK_INT(f.affected, ==, 2);
            CHECK_INT(f.lost, ==, 2 * CHUNKS * CHUNK);
        }
        testing_dir_remove();
    }
}

/* In a repository in clear anybody can write a chunk with right checksums. */
static void
a_chunk_with_other_bytes_is_not_taken_for_it(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(mem_free) uint8_t *data = NULL;
    uint8_t *frame;
    size_t len = 0;
    struct findings f;
    char name[64];

    testing_dir_make();
    repo = testing_repo_create(false);
    back_up(repo, 1, id);
    repo_close(repo);
    (void)snprintf(name, sizeof name, "p/%s/0", id);
    data = testing_load(name, &len);
    frame = data + PACK_HEADER_SIZE;
    frame[FRAME_HEADER_SIZE + 77] ^= 1;
    le_put32(frame + 16, crc_32c(0, frame + FRAME_HEADER_SIZE, CHUNK));
    le_put32(frame + 20, crc_32c(0, frame, 20));
    seal_pack(data, len, name);
    testing_replace(name, data, len);
    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    CHECK_INT(refused(repo), ==, 1);
    f = verify(repo, REPO_VERIFY_FRAMES);
    CHECK_INT(f.damages, ==, 1);
    CHECK_INT(f.lost, ==, CHUNK);
    testing_dir_remove();
}

/* The first backup's packs under the second's names. */
static void
a_pack_under_anothers_name_is_not_taken_for_it(void)
{
    static const char kinds[] = { 'p', 'm' };

    for (unsigned i = 0; i < 4; i++) {
        CLEANUP(repo_close) struct repo *repo = NULL;
        CLEANUP(repo_view_close) struct repo_view *v = NULL;
        CLEANUP(mem_free) uint8_t *data = NULL;
        char other[REPO_ID_SIZE], from[64], to[64];
        struct err err = { 0 };
        size_t len = 0;

        testing_dir_make();
        repo = testing_repo_create(i < 2);
        back_up(repo, 100, other);
        back_up(repo, 1, id);
        repo_close(repo);
        (void)snprintf(from, sizeof from, "%c/%s/0", kinds[i % 2], other);
        (void)snprintf(to, sizeof to, "%c/%s/0", kinds[i % 2], id);
        data = testing_load(from, &len);
        testing_replace(to, data, len);
        repo = testing_repo_open((struct blob_fault_plan){ 0 });
        if (i % 2 == 0)
            CHECK_INT(refused(repo), ==, CHUNKS);
        else
            CHECK_ERR(repo_view_open(repo, id, &v, &err), &err, ERR_CORRUPT);
        CHECK(verify(repo, REPO_VERIFY_TREES).lost >= CHUNKS * CHUNK);
        testing_dir_remove();
    }
}

/* Of two backups, beside so many damaged entries of the log; and it is whole.
 */
static void
only_the_first_is_left(size_t want_damage)
{
    CLEANUP(repo_close)
    struct repo *repo = testing_repo_open((struct blob_fault_plan){ 0 });
    CLEANUP(mem_free) struct repo_entry *e = NULL;
    size_t n = 0, damage = 0;
    struct err err = { 0 };

    CHECK_OK(repo_list(repo, &e, &n, &damage, &err), &err);
    CHECK_INT(n, ==, 1);
    CHECK_INT(damage, ==, want_damage);
    CHECK_INT(refused(repo), ==, 0);
}

/* An entry that is genuine in every byte, but not the one of that number. */
static void
an_entry_of_the_log_under_another_number_is_damage(void)
{
    struct repo *repo;
    CLEANUP(blob_free) struct blob *blob = NULL;
    CLEANUP(mem_free) uint8_t *data = NULL;
    char other[REPO_ID_SIZE];
    size_t len = 0;
    struct err err = { 0 };

    testing_dir_make();
    blob = testing_blob();
    repo = testing_repo_create(true);
    back_up(repo, 1, id);      /* entries 1 and 2 */
    back_up(repo, 100, other); /* 3 and 4 */
    repo_close(repo);
    /* The last is once more the second. Without the third nothing says what it
     * should follow. */
    data = testing_load("log/00000000000000000002", &len);
    testing_replace("log/00000000000000000004", data, len);
    CHECK_OK(blob_remove(blob, "log/00000000000000000003", &err), &err);
    only_the_first_is_left(2);
    testing_dir_remove();
}

/* Somebody put back an older state of the log, and somebody else the end of the
 * newer one behind it. */
static void
an_entry_of_another_history_is_damage(void)
{
    struct repo *repo;
    CLEANUP(blob_free) struct blob *blob = NULL;
    CLEANUP(mem_free) uint8_t *data = NULL;
    char other[REPO_ID_SIZE];
    size_t len = 0;
    struct err err = { 0 };

    testing_dir_make();
    blob = testing_blob();
    repo = testing_repo_create(true);
    back_up(repo, 1, id);      /* entries 1 and 2 */
    back_up(repo, 100, other); /* 3 and 4 */
    repo_close(repo);
    data = testing_load("log/00000000000000000004", &len);
    CHECK_OK(blob_remove(blob, "log/00000000000000000003", &err), &err);
    CHECK_OK(blob_remove(blob, "log/00000000000000000004", &err), &err);
    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    back_up(repo, 200, other); /* 3 and 4 */
    repo_close(repo);
    testing_replace("log/00000000000000000004", data, len);
    only_the_first_is_left(1);
    testing_dir_remove();
}

/* In clear all repositories have one key for their logs. */
static void
an_entry_of_another_repository_is_damage(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(mem_free) uint8_t *data = NULL;
    CLEANUP(mem_free) struct repo_entry *e = NULL;
    size_t len = 0, n = 0, damage = 0;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(false);
    back_up(repo, 1, id);
    repo_close(repo);
    data = testing_load("log/00000000000000000001", &len);
    testing_dir_remove();
    testing_dir_make();
    repo = testing_repo_create(false);
    back_up(repo, 1, id);
    repo_close(repo);
    testing_replace("log/00000000000000000001", data, len);
    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    CHECK_OK(repo_list(repo, &e, &n, &damage, &err), &err);
    CHECK_INT(damage, ==, 2); /* and the next does not follow it */
    testing_dir_remove();
}

/* Without a key nothing but its lengths keeps a reader within an entry. */
static void
an_entry_has_the_length_that_it_says(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(mem_free) uint8_t *data = NULL;
    struct commitlog_entry e;
    struct err err = { 0 };
    uint32_t said;
    size_t len = 0;

    testing_dir_make();
    repo = testing_repo_create(false);
    back_up(repo, 1, id);
    data = testing_load("log/00000000000000000002", &len);
    CHECK_OK(commitlog_decode(data, len, repo->uuid, NULL, &e, &err), &err);
    said = le_get32(data + 12);
    for (uint32_t n = 0; n < 70000; n += n < 300 ? 1 : 997) {
        le_put32(data + 12, n);
        if (n != said)
            CHECK_ERR(commitlog_decode(data, len, repo->uuid, NULL, &e, &err),
                      &err, ERR_CORRUPT);
    }
    le_put32(data + 12, said);
    for (size_t n = 0; n < len; n++)
        CHECK_ERR(commitlog_decode(data, n, repo->uuid, NULL, &e, &err), &err,
                  ERR_CORRUPT);
    testing_dir_remove();
}

/* A COMMIT that names the root of another backup. */
static void
the_root_of_another_backup_is_not_taken(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    char other[REPO_ID_SIZE];
    struct commitlog_backup a, b;
    struct repo_view *v = NULL;
    struct err err = { 0 };
    uint8_t bytes[16];

    testing_dir_make();
    repo = testing_repo_create(true);
    back_up(repo, 1, id);
    back_up(repo, 100, other);
    CHECK(repo_id_parse(id, bytes));
    CHECK_OK(commitlog_find(repo->log, bytes, &a, &err), &err);
    CHECK(repo_id_parse(other, bytes));
    CHECK_OK(commitlog_find(repo->log, bytes, &b, &err), &err);
    CHECK_OK(view_open_commit(repo, &a.commit, &v, &err), &err);
    repo_view_close(v);
    a.commit.root = b.commit.root;
    CHECK_ERR(view_open_commit(repo, &a.commit, &v, &err), &err, ERR_CORRUPT);
    CHECK(strstr(err.msg, "another backup") != NULL);
    testing_dir_remove();
}

/* The nonce of a frame is its number: two packs with one key would give both
 * away. */
static void
no_two_packs_have_one_key(void)
{
    uint8_t keys[6][AEAD_KEY_SIZE] = { 0 };
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(true);
    for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
        struct pack_id pack = { .kind = i % 2 ? FRAME_META : FRAME_DATA };
        struct pack_head *head = NULL;

        if (i % 2 == 0)
            back_up(repo, 100 * (i + 1), id);
        CHECK(repo_id_parse(id, pack.session));
        CHECK_OK(pack_reader_head(repo->packs, &pack, &head, &err), &err);
        CHECK_INT(head->origin_count, ==, 1);
        memcpy(keys[i], head->origins[0].key, AEAD_KEY_SIZE);
        pack_reader_unref(repo->packs, head);
        for (unsigned k = 0; k < i; k++)
            CHECK(memcmp(keys[k], keys[i], AEAD_KEY_SIZE) != 0);
    }
    testing_dir_remove();
}

/* ---- a store in which others are faster ---- */

struct racing {
    struct testing_around around;
    struct repo *other; /* deletes `victim` before the next entry is put */
    const char *victim;
    bool loses_answer; /* the next put of an entry is done and not said */
    const char *gone;  /* is removed when a metadata pack is put */
};

static struct racing *
racing(struct blob *b)
{
    return container_of(b, struct racing, around.blob);
}

static int
racing_put(struct blob *b, const char *name, const void *data, size_t len,
           bool *ret_existed, struct err *err)
{
    struct racing *r = racing(b);
    bool is_entry = strncmp(name, "log/", 4) == 0, loses = false;

    if (is_entry && r->victim != NULL) {
        const char *ids[] = { TAKE(r->victim) };
        struct err e = { 0 };

        CHECK_OK(repo_delete(r->other, ids, 1, &e), &e);
    }
    if (is_entry) {
        loses = r->loses_answer;
        r->loses_answer = false;
    }
    if (name[0] == 'm' && r->gone != NULL &&
        blob_remove(r->around.inner, r->gone, err) < 0)
        return -1;
    if (blob_put(r->around.inner, name, data, len, ret_existed, err) < 0)
        return -1;
    return loses ? err_set(err, ERR_TIMEOUT, "%s: no answer", name) : 0;
}

static struct racing *
racing_new(void)
{
    struct racing *r = testing_around_new(sizeof *r, testing_blob());

    r->around.ops.put = racing_put;
    return r;
}

/* Two writers want one number of the log; and one may not be told that he got
 * it, or that he did not. Each entry is there once. */
static void
who_loses_a_number_takes_the_next(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(repo_close) struct repo *other = NULL;
    CLEANUP(mem_free) struct repo_entry *e = NULL;
    struct racing *r;
    struct repo_secret none = { 0 };
    char theirs[2][REPO_ID_SIZE], ours[3][REPO_ID_SIZE];
    size_t n = 0, damage = 9;
    struct err err = { 0 };

    testing_dir_make();
    other = testing_repo_create(false);
    for (unsigned i = 0; i < 2; i++)
        back_up(other, 100 * (i + 1), theirs[i]);
    for (unsigned i = 0; i < 3; i++)
        back_up(other, 1000 * (i + 1), ours[i]);
    back_up(other, 1, id); /* entries 11 and 12 */
    r = racing_new();
    CHECK_OK(repo_open(&r->around.blob, &none, &repo, &err), &err);
    r->other = other;
    for (unsigned i = 0; i < 3; i++) {
        const char *ids[] = { ours[i] };

        r->victim = i < 2 ? theirs[i] : NULL;
        r->loses_answer = i > 0;
        CHECK_OK(repo_delete(repo, ids, 1, &err), &err);
        CHECK(r->victim == NULL && !r->loses_answer);
    }
    CHECK_OK(repo_list(other, &e, &n, &damage, &err), &err);
    CHECK_INT(n, ==, 1);
    CHECK_INT(damage, ==, 0);
    CHECK(strcmp(e[0].id, id) == 0);
    {
        CLEANUP(blob_names_fini) struct blob_names names = { 0 };
        CLEANUP(blob_free) struct blob *b = testing_blob();

        CHECK_OK(blob_list(b, "log/", &names, &err), &err);
        CHECK_INT(names.count, ==, 12 + 5);
    }
    testing_dir_remove();
}

/* Somebody cleans up what he takes for garbage while it is written. */
static void
a_pack_that_went_before_the_commit_is_missed(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(repo_close) struct repo *other = NULL;
    CLEANUP(mem_free) struct repo_entry *e = NULL;
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, CHUNK);
    struct repo_backup_options o = { .threads = 1 };
    struct repo_secret none = { 0 };
    struct racing *r = NULL;
    struct err err = { 0 };
    size_t count = 9, damage;
    char name[64];
    unsigned n;

    testing_dir_make();
    other = testing_repo_create(false);
    r = racing_new();
    CHECK_OK(repo_open(&r->around.blob, &none, &repo, &err), &err);
    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    (void)snprintf(name, sizeof name, "p/%s/0", repo_backup_id(b));
    r->gone = name;
    CHECK_OK(repo_backup_add_disk(b, "a", CHUNK, 16, &n, &err), &err);
    testing_fill(data, CHUNK, 1);
    CHECK_OK(repo_backup_write(b, n, 0, data, CHUNK, &err), &err);
    CHECK_ERR(repo_backup_commit(b, NULL, 0, "", &err), &err, ERR_CORRUPT);
    CHECK(strstr(err.msg, "removed") != NULL);
    CHECK_OK(repo_list(other, &e, &count, &damage, &err), &err);
    CHECK_INT(count, ==, 0);
    testing_dir_remove();
}

/* The frame that is number `at` of a pack gets a bit flipped. */
static void
hurt_frame(const char *name, unsigned at)
{
    CLEANUP(mem_free) uint8_t *data = NULL;
    struct frame_header h;
    struct err err = { 0 };
    size_t len = 0, off = pack_head_size(1);

    data = testing_load(name, &len);
    for (unsigned i = 0;; i++, off += h.flen) {
        CHECK_OK(frame_header_decode(data + off, len - off, true, &h, &err),
                 &err);
        if (i == at)
            break;
    }
    data[off + FRAME_HEADER_SIZE] ^= 1;
    testing_replace(name, data, len);
}

static size_t
entries_of_the_log(void)
{
    CLEANUP(blob_free) struct blob *b = testing_blob();
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    struct err err = { 0 };

    CHECK_OK(blob_list(b, "log/", &n, &err), &err);
    return n.count;
}

/* A session that nobody ends keeps its parent, and all that a collector would
 * like to know, for a week. */
static void
a_backup_that_cannot_begin_leaves_no_session(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_backup_options o = { .parent = id };
    struct repo_backup *b = NULL;
    struct err err = { 0 };
    char name[64];

    testing_dir_make();
    repo = testing_repo_create(true);
    back_up(repo, 1, id); /* entries 1 and 2; a leaf, the summary, the root */
    repo_close(repo);
    (void)snprintf(name, sizeof name, "m/%s/0", id);
    hurt_frame(name, 1);
    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    CHECK_ERR(repo_backup_begin(repo, &o, &b, &err), &err, ERR_CORRUPT);
    CHECK_INT(entries_of_the_log(), ==, 4); /* OPEN, ABORT */
    hurt_frame(name, 1);
    hurt_frame(name, 2);
    repo_close(repo);
    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    CHECK_ERR(repo_backup_begin(repo, &o, &b, &err), &err, ERR_CORRUPT);
    CHECK_INT(entries_of_the_log(), ==, 4); /* not begun */
    testing_dir_remove();
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a frame in another's place is not taken for it",
          a_frame_in_anothers_place_is_not_taken_for_it },
        { "a flipped byte of a pack is seen without a key",
          a_flipped_byte_of_a_pack_is_seen_without_a_key },
        { "a missing pack is found without a walk",
          a_missing_pack_is_found_without_a_walk },
        { "a chunk with other bytes is not taken for it",
          a_chunk_with_other_bytes_is_not_taken_for_it },
        { "a pack under another's name is not taken for it",
          a_pack_under_anothers_name_is_not_taken_for_it },
        { "an entry of the log under another number is damage",
          an_entry_of_the_log_under_another_number_is_damage },
        { "an entry of another history is damage",
          an_entry_of_another_history_is_damage },
        { "an entry has the length that it says",
          an_entry_has_the_length_that_it_says },
        { "the root of another backup is not taken",
          the_root_of_another_backup_is_not_taken },
        { "no two packs have one key", no_two_packs_have_one_key },
        { "an entry of another repository is damage",
          an_entry_of_another_repository_is_damage },
        { "a pack that went before the commit is missed",
          a_pack_that_went_before_the_commit_is_missed },
        { "a backup that cannot begin leaves no session",
          a_backup_that_cannot_begin_leaves_no_session },
        { "who loses a number takes the next",
          who_loses_a_number_takes_the_next },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
