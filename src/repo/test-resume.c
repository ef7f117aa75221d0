/* SPDX-License-Identifier: Apache-2.0 */
/* A session that died leaves whole packs; another one uses them. */
#include <sys/stat.h>

#include <unistd.h>

#include "base/mem.h"
#include "repo/resume.h"
#include "repo/test-model.h"

#define LOG2  18u
#define CHUNK ((size_t)1 << LOG2)
/* Three packs of 64 MiB and some. */
#define CHUNKS 800u

static unsigned threads = 2;

static struct repo_backup *
begin(struct repo *repo, const char *resume)
{
    struct repo_backup_options o = { .resume = resume, .threads = threads };
    struct repo_backup *b = NULL;
    struct err err = { 0 };
    unsigned n;

    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    CHECK_OK(repo_backup_add_disk(b, "d", CHUNKS * CHUNK, LOG2, &n, &err),
             &err);
    return b;
}

static void
write_chunks(struct repo_backup *b, unsigned count)
{
    struct err err = { 0 };
    uint8_t *buffer = NULL;

    for (unsigned c = 0; c < count; c++) {
        CHECK_OK(repo_backup_buffer_get(b, 0, &buffer, &err), &err);
        testing_fill(buffer, CHUNK, c);
        CHECK_OK(repo_backup_write_buffer(b, 0, c * CHUNK, buffer, CHUNK, &err),
                 &err);
    }
}

/* Begin, write that many chunks, and die. What is not in a whole pack is
 * lost. */
static void
die(struct repo *repo, const char *resume, unsigned count,
    char id[REPO_ID_SIZE])
{
    struct repo_backup *b = begin(repo, resume);
    struct repo_progress g;

    memcpy(id, repo_backup_id(b), REPO_ID_SIZE);
    write_chunks(b, count);
    do {
        repo_backup_progress(b, &g);
        (void)usleep(1000);
    } while (g.stored_bytes + g.resumed_bytes + 65 * 1048576 < count * CHUNK);
    repo_backup_free(b);
}

/* All of it; what was stored anew. */
static uint64_t
complete(struct repo *repo, const char *resume, char id[REPO_ID_SIZE])
{
    CLEANUP(repo_backup_free)
    struct repo_backup *b = begin(repo, resume);
    struct repo_progress g;
    struct err err = { 0 };

    memcpy(id, repo_backup_id(b), REPO_ID_SIZE);
    write_chunks(b, CHUNKS);
    CHECK_OK(repo_backup_commit(b, NULL, 0, "uid", &err), &err);
    repo_backup_progress(b, &g);
    CHECK_INT(g.seen_bytes, ==, CHUNKS * CHUNK);
    return g.stored_bytes;
}

static void
check_reads(struct repo *repo, const char *id)
{
    CLEANUP(mem_free) uint8_t *got = xcalloc(2, CHUNK);
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    struct err err = { 0 };

    CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
    for (unsigned c = 0; c < CHUNKS; c++) {
        testing_fill(got + CHUNK, CHUNK, c);
        CHECK_OK(repo_view_read(v, 0, c * CHUNK, got, CHUNK, &err), &err);
        CHECK(memcmp(got, got + CHUNK, CHUNK) == 0);
    }
    testing_check_sound(repo);
}

static uint64_t
pack_bytes(const char *session)
{
    CLEANUP(blob_free) struct blob *blob = testing_blob();
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    struct err err = { 0 };
    uint64_t all = 0, size;
    char prefix[64];

    (void)snprintf(prefix, sizeof prefix, "p/%s/", session);
    CHECK_OK(blob_list(blob, prefix, &n, &err), &err);
    for (size_t i = 0; i < n.count; i++) {
        CHECK_OK(blob_size(blob, n.names[i], &size, &err), &err);
        all += size;
    }
    return all;
}

static void
whole_packs_of_a_dead_session_are_used(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    char dead[REPO_ID_SIZE], id[REPO_ID_SIZE];
    uint64_t left, stored;

    testing_dir_make();
    repo = testing_repo_create(true);
    die(repo, NULL, 600, dead);
    left = pack_bytes(dead);
    CHECK(left > (uint64_t)100 << 20);
    stored = complete(repo, dead, id);
    CHECK_INT(stored, <, CHUNKS * CHUNK - left + (1 << 20));
    check_reads(repo, id);
    repo_close(TAKE(repo)); /* as another process sees it */
    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    check_reads(repo, id);
    testing_dir_remove();
}

static void
a_session_that_resumed_is_resumed_in_turn(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    char a[REPO_ID_SIZE], b[REPO_ID_SIZE], id[REPO_ID_SIZE];
    uint64_t left;

    testing_dir_make();
    repo = testing_repo_create(false);
    die(repo, NULL, 300, a);
    die(repo, a, 700, b);
    left = pack_bytes(a) + pack_bytes(b);
    CHECK(left > (uint64_t)110 << 20);
    CHECK_INT(complete(repo, b, id), <, CHUNKS * CHUNK - left + (1 << 20));
    check_reads(repo, id);
    testing_dir_remove();
}

static void
more_is_used_than_is_known_at_a_time(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    char dead[REPO_ID_SIZE], id[REPO_ID_SIZE];
    uint64_t left;

    /* One worker keeps the order. A window that is meant for tens of packs
     * does not mind if two do not; one of 300 chunks does. */
    threads = 1;
    testing_dir_make();
    repo = testing_repo_create(true);
    die(repo, NULL, CHUNKS, dead);
    left = pack_bytes(dead);
    CHECK(left > (uint64_t)180 << 20);
    resume_set_window(300); /* a pack has 255 */
    CHECK_INT(complete(repo, dead, id), <, CHUNKS * CHUNK - left + (1 << 20));
    resume_set_window(0);
    threads = 2;
    check_reads(repo, id);
    testing_dir_remove();
}

static void
spoil(const char *session, unsigned n, off_t cut, off_t hole)
{
    static const uint8_t zeros[1 << 20];
    char path[256];
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/p/%s/%u", testing_dir, session, n);
    if (cut > 0) {
        CHECK_INT(truncate(path, cut), ==, 0);
        return;
    }
    f = fopen(path, "r+");
    CHECK(f != NULL);
    CHECK_INT(fseek(f, hole, SEEK_SET), ==, 0);
    CHECK_INT(fwrite(zeros, 1, sizeof zeros, f), ==, sizeof zeros);
    CHECK_INT(fclose(f), ==, 0);
}

static void
torn_packs_are_not_used(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    char dead[REPO_ID_SIZE], id[REPO_ID_SIZE];
    uint64_t left, stored;

    testing_dir_make();
    repo = testing_repo_create(true);
    die(repo, NULL, 600, dead);
    left = pack_bytes(dead);
    spoil(dead, 0, 33 << 20, 0); /* no trailer */
    spoil(dead, 1, 0, 20 << 20); /* a hole in the frames */
    stored = complete(repo, dead, id);
    left -= (uint64_t)64 << 20;
    CHECK_INT(stored, >, CHUNKS * CHUNK - left);
    CHECK_INT(stored, <, CHUNKS * CHUNK - left + (3 << 20));
    {
        CLEANUP(repo_view_close) struct repo_view *v = NULL;
        CLEANUP(mem_free) uint8_t *got = xcalloc(2, CHUNK);
        struct err err = { 0 };

        CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
        for (unsigned c = 0; c < CHUNKS; c++) {
            testing_fill(got + CHUNK, CHUNK, c);
            CHECK_OK(repo_view_read(v, 0, c * CHUNK, got, CHUNK, &err), &err);
            CHECK(memcmp(got, got + CHUNK, CHUNK) == 0);
        }
    }
    testing_dir_remove();
}

static void
a_session_ends_once(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(repo_close) struct repo *other = NULL;
    CLEANUP(repo_backup_free) struct repo_backup *slow = NULL;
    struct repo_backup_options o = { 0 };
    struct repo_backup *b = NULL;
    struct err err = { 0 };
    char id[REPO_ID_SIZE];

    testing_dir_make();
    repo = testing_repo_create(true);
    other = testing_repo_open((struct blob_fault_plan){ 0 });
    /* Believed dead, and not. */
    slow = begin(repo, NULL);
    write_chunks(slow, 3);
    (void)complete(other, repo_backup_id(slow), id);
    CHECK_ERR(repo_backup_commit(slow, NULL, 0, "uid", &err), &err,
              ERR_CONFLICT);
    /* Committed: there is nothing to resume. */
    o.resume = id;
    CHECK_ERR(repo_backup_begin(repo, &o, &b, &err), &err, ERR_CONFLICT);
    o.resume = "../../etc";
    CHECK_ERR(repo_backup_begin(repo, &o, &b, &err), &err, ERR_INVALID);
    /* Never heard of: it left nothing. */
    o.resume = "01234567-89ab-4def-8123-456789abcdef";
    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    repo_backup_free(b);
    check_reads(repo, id);
    testing_dir_remove();
}

int
main(void)
{
    static const struct test_case tests[] = {
        { "whole packs of a dead session are used",
          whole_packs_of_a_dead_session_are_used },
        { "a session ends once", a_session_ends_once },
        { "a session that resumed is resumed in turn",
          a_session_that_resumed_is_resumed_in_turn },
        { "more is used than is known at a time",
          more_is_used_than_is_known_at_a_time },
        { "torn packs are not used", torn_packs_are_not_used },
    };

    /* The others have the same threads, and other packs. */
    return test_main(tests, TEST_LOOKS_FOR_RACES ? 2 : ARRAY_SIZE(tests));
}
