/* SPDX-License-Identifier: Apache-2.0 */
/* The index: segments, what a backup finds by them, and that nothing in them
 * can do harm. */
#include <sys/stat.h>

#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "codec/le.h"
#include "repo/dedupindex.h"
#include "repo/repo-id.h"
#include "repo/repo-index.h"
#include "repo/repo-private.h"
#include "repo/scrub.h"
#include "repo/segcache.h"
#include "repo/segment-merge.h"
#include "repo/segment-writer.h"
#include "repo/test-model.h"

#define LOG2  16u
#define CHUNK ((size_t)1 << LOG2)

/* ---- backups ---- */

/* A disk of the chunks first .. first + count - 1, without a parent. */
static uint64_t
back_up(struct repo *repo, unsigned first, unsigned count,
        char id[REPO_ID_SIZE])
{
    struct repo_backup_options o = { .threads = 2, .level = 1 };
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    struct repo_progress g;
    struct err err = { 0 };
    uint8_t *buffer = NULL;
    unsigned n;

    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    CHECK_OK(repo_backup_add_disk(b, "d", count * CHUNK, LOG2, &n, &err), &err);
    for (unsigned c = 0; c < count; c++) {
        CHECK_OK(repo_backup_buffer_get(b, 0, &buffer, &err), &err);
        testing_fill(buffer, CHUNK, first + c);
        CHECK_OK(repo_backup_write_buffer(b, 0, c * CHUNK, buffer, CHUNK, &err),
                 &err);
    }
    CHECK_OK(repo_backup_commit(b, NULL, 0, "uid", &err), &err);
    repo_backup_progress(b, &g);
    if (id != NULL)
        memcpy(id, repo_backup_id(b), REPO_ID_SIZE);
    return g.dup_bytes / CHUNK;
}

static void
check_reads(struct repo *repo, const char *id, unsigned first, unsigned count)
{
    CLEANUP(mem_free) uint8_t *got = xcalloc(2, CHUNK);
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    struct err err = { 0 };

    CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
    for (unsigned c = 0; c < count; c++) {
        testing_fill(got + CHUNK, CHUNK, first + c);
        CHECK_OK(repo_view_read(v, 0, c * CHUNK, got, CHUNK, &err), &err);
        CHECK(memcmp(got, got + CHUNK, CHUNK) == 0);
    }
}

static size_t
objects(const char *prefix, struct blob_names *names)
{
    CLEANUP(blob_free) struct blob *blob = testing_blob();
    struct err err = { 0 };

    CHECK_OK(blob_list(blob, prefix, names, &err), &err);
    return names->count;
}

static size_t
count_objects(const char *prefix)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };

    return objects(prefix, &n);
}

/* Change bytes of an object behind everybody's back. */
static void
overwrite(const char *name, uint64_t off, const void *data, size_t len)
{
    char path[256];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", testing_dir, name);
    CHECK(chmod(path, 0600) == 0);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(pwrite(fd, data, len, (off_t)off) == (ssize_t)len);
    close(fd);
}

static void
remove_all(const char *prefix)
{
    CLEANUP(blob_free) struct blob *blob = testing_blob();
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    struct err err = { 0 };

    (void)objects(prefix, &n);
    for (size_t i = 0; i < n.count; i++)
        CHECK_OK(blob_remove(blob, n.names[i], &err), &err);
}

static void
a_second_backup_finds_the_chunks_of_the_first(void)
{
    for (int is_encrypted = 0; is_encrypted < 2; is_encrypted++) {
        CLEANUP(repo_close) struct repo *repo = NULL;
        char a[REPO_ID_SIZE], b[REPO_ID_SIZE];
        const char *ids[1] = { a };
        struct err err = { 0 };

        testing_dir_make();
        repo = testing_repo_create(is_encrypted != 0);
        CHECK_INT(back_up(repo, 0, 100, a), ==, 0);
        CHECK_INT(count_objects("x/"), ==, 1);
        CHECK_INT(back_up(repo, 50, 100, b), ==, 50); /* half of it moved */
        check_reads(repo, b, 50, 100);
        CHECK_OK(repo_delete(repo, ids, 1, &err), &err);
        check_reads(repo, b, 50, 100);
        testing_check_sound(repo);
        repo_close(TAKE(repo));
        testing_dir_remove();
    }
}

static void
a_backup_that_was_not_committed_is_not_built_upon(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_backup_options o = { .threads = 1 };
    struct repo_index_result r;
    struct repo_backup *b = NULL;
    struct err err = { 0 };
    uint8_t *buffer = NULL;
    unsigned n, failed = 0;

    testing_dir_make();
    repo = testing_repo_create(true);
    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    CHECK_OK(repo_backup_add_disk(b, "d", 10 * CHUNK, LOG2, &n, &err), &err);
    for (unsigned c = 0; c < 10; c++) {
        CHECK_OK(repo_backup_buffer_get(b, 0, &buffer, &err), &err);
        testing_fill(buffer, CHUNK, c);
        CHECK_OK(repo_backup_write_buffer(b, 0, c * CHUNK, buffer, CHUNK, &err),
                 &err);
    }
    {
        /* Its segment is there before its commit. */
        CLEANUP(segment_writer_free) struct segment_writer *w = NULL;
        struct segment_hit place = { .off8 = 100, .flen = 1024 };
        uint8_t id[16];

        CHECK(repo_id_parse(repo_backup_id(b), id));
        w = segment_writer_new(repo->blob, repo->uuid, id, 1000);
        memcpy(place.pack.session, id, 16);
        segment_writer_add(w, id, &place);
        segment_writer_finish(w, &failed, &err);
        CHECK_INT(failed, ==, 0);
    }
    CHECK_INT(count_objects("x/"), ==, 1);
    CHECK_OK(repo_index_maintain(repo, true, &r, &err), &err);
    CHECK_INT(count_objects("x/"), ==, 1); /* it may still commit */
    CHECK_INT(back_up(repo, 0, 10, NULL), ==, 0);
    repo_backup_free(b); /* ended */
    CHECK_OK(repo_index_maintain(repo, false, &r, &err), &err);
    CHECK_INT(r.removed, ==, 1);
    CHECK_INT(r.segments, ==, 1);
    CHECK_INT(back_up(repo, 0, 10, NULL), ==, 10);
    testing_check_sound(repo);
    repo_close(TAKE(repo));
    testing_dir_remove();
}

static void
the_index_can_be_lost_and_made_again(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_index_result r;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(true);
    (void)back_up(repo, 0, 100, NULL);
    (void)back_up(repo, 1000, 100, NULL);
    remove_all("x/");
    CHECK_INT(back_up(repo, 0, 10, NULL), ==, 0);
    CHECK_OK(repo_index_maintain(repo, false, &r, &err), &err);
    CHECK_INT(r.packs, ==, 2); /* the third is listed */
    CHECK_INT(r.chunks, ==, 210);
    CHECK_INT(back_up(repo, 1000, 100, NULL), ==, 100);
    CHECK_INT(back_up(repo, 0, 100, NULL), ==, 100);
    CHECK_OK(repo_index_maintain(repo, true, &r, &err), &err);
    CHECK_INT(r.packs, ==, 3);
    CHECK_INT(back_up(repo, 0, 100, NULL), ==, 100);
    testing_check_sound(repo);
    repo_close(TAKE(repo));
    testing_dir_remove();
}

static void
small_segments_are_merged(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_index_result r;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(true);
    for (unsigned i = 0; i < 20; i++) {
        (void)back_up(repo, i * 10, 10, NULL);
        CHECK_INT(count_objects("x/"), <, SEGMENT_MERGE_WAYS + 2);
    }
    CHECK_INT(back_up(repo, 0, 200, NULL), ==, 200);
    CHECK_OK(repo_index_maintain(repo, false, &r, &err), &err);
    CHECK_INT(r.packs, ==, 0);
    CHECK_INT(r.chunks, ==, 200);
    testing_check_sound(repo);
    repo_close(TAKE(repo));
    testing_dir_remove();
}

static void
ids_of(struct repo *repo, unsigned count, uint8_t (*ids)[SEGMENT_ID])
{
    CLEANUP(mem_free) uint8_t *chunk = xcalloc(1, CHUNK);
    uint8_t id[HASH_SIZE];

    for (unsigned c = 0; c < count; c++) {
        testing_fill(chunk, CHUNK, c);
        hash_hmac(&repo->keys.id, chunk, CHUNK, id);
        memcpy(ids[c], id, SEGMENT_ID);
    }
}

/* How many of the first `count` chunks the index lists. */
static size_t
listed(struct repo *repo, unsigned count)
{
    CLEANUP(dedupindex_free) struct dedupindex *d = dedupindex_new(repo);
    CLEANUP(mem_free) uint8_t(*ids)[SEGMENT_ID] = xcalloc(count, SEGMENT_ID);

    ids_of(repo, count, ids);
    return dedupindex_count(d, ids, count);
}

/* ---- damage and lies ---- */

/* Any byte of any segment. */
static void
damage_costs_space_and_nothing_else(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    char id[REPO_ID_SIZE];

    testing_dir_make();
    repo = testing_repo_create(true);
    (void)back_up(repo, 0, 300, NULL);
    CHECK_INT(objects("x/", &n), ==, 1);
    for (unsigned i = 0; i < 12; i++) {
        uint64_t off = testing_random() % (7 * SEGMENT_PAGE);
        uint8_t junk[64];

        for (size_t k = 0; k < sizeof junk; k++)
            junk[k] = (uint8_t)testing_random();
        overwrite(n.names[0], off, junk, sizeof junk);
        CHECK_INT(back_up(repo, 0, 20, id), <=, 20);
        check_reads(repo, id, 0, 20);
        remove_all("x/");
        {
            struct repo_index_result r;
            struct err err = { 0 };

            CHECK_OK(repo_index_maintain(repo, true, &r, &err), &err);
        }
        blob_names_fini(&n);
        n = (struct blob_names){ 0 };
        CHECK_INT(objects("x/", &n), ==, 1);
    }
    testing_check_sound(repo);
    repo_close(TAKE(repo));
    testing_dir_remove();
}

static void
on_repaired(void *arg, const char *object, const char *what)
{
    unsigned *count = arg;

    CHECK(strncmp(object, "x/", 2) == 0);
    CHECK(strstr(what, "listed anew") != NULL);
    ++*count;
}

/* F13: a bit of any page: a scrub finds it, and all is listed again. */
static void
damage_is_found_by_a_scrub_and_made_good(void)
{
    unsigned repaired = 0;
    struct repo_scrub_options o = { .level = REPO_VERIFY_FRAMES };
    struct repo_scrub_sink sink = { .repaired = on_repaired, .arg = &repaired };
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_scrub_result r;
    struct err err = { 0 };
    size_t pages = 0;

    testing_dir_make();
    repo = testing_repo_create(true);
    (void)back_up(repo, 0, 300, NULL);
    for (size_t page = 0; page == 0 || page < pages; page++) {
        CLEANUP(blob_names_fini) struct blob_names n = { 0 };
        CLEANUP(mem_free) uint8_t *data = NULL;
        size_t len = 0;

        CHECK_INT(objects("x/", &n), ==, 1);
        data = testing_load(n.names[0], &len);
        pages = len / SEGMENT_PAGE;
        data[page * SEGMENT_PAGE + 33] ^= 8;
        testing_replace(n.names[0], data, len);
        CHECK_OK(repo_scrub_run(repo, &o, &sink, &r, &err), &err);
        CHECK_INT(r.damages, ==, 0);
        CHECK_INT(repaired, ==, page + 1);
        CHECK_INT(listed(repo, 300), ==, 300);
    }
    CHECK_INT(pages, >=, 6); /* a header, 3 of entries, packs, fences, filter */
    CHECK_OK(repo_scrub_run(repo, &o, &sink, &r, &err), &err);
    CHECK_INT(repaired, ==, pages);
    repo_close(TAKE(repo));
    testing_dir_remove();
}

/* Segments with good checksums that say that the chunks 0..count-1 lie
 * elsewhere: as `lie` sets it. */
static void
make_liar(struct repo *repo, unsigned count,
          void (*lie)(struct segment_hit *place, unsigned c, const void *arg),
          const void *arg)
{
    CLEANUP(segment_writer_free)
    struct segment_writer *w =
        segment_writer_new(repo->blob, repo->uuid, NULL, 100000);
    CLEANUP(mem_free) uint8_t *chunk = xcalloc(1, CHUNK);
    struct err err = { 0 };
    unsigned failed = 0;

    for (unsigned c = 0; c < count; c++) {
        struct segment_hit place = { .off8 = 19, .flen = 65584 };
        uint8_t id[HASH_SIZE];

        testing_fill(chunk, CHUNK, c);
        hash_hmac(&repo->keys.id, chunk, CHUNK, id);
        lie(&place, c, arg);
        segment_writer_add(w, id, &place);
    }
    segment_writer_finish(w, &failed, &err);
    CHECK_INT(failed, ==, 0);
}

static void
wrong_place(struct segment_hit *place, unsigned c, const void *arg)
{
    memcpy(place->pack.session, arg, 16);
    place->off8 = 19 + 8198 * (c % 7); /* a frame of another chunk */
}

static void
no_pack(struct segment_hit *place, unsigned c, const void *arg)
{
    memcpy(place->pack.session, arg, 16);
    place->pack.n = 77;
}

static void
lies_cost_space_and_nothing_else(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    char a[REPO_ID_SIZE], id[REPO_ID_SIZE];
    uint8_t session[16], other[16];

    testing_dir_make();
    repo = testing_repo_create(true);
    (void)back_up(repo, 1000, 20, a);
    CHECK(repo_id_parse(a, session));
    repo_id_random(other);
    make_liar(repo, 50, wrong_place, session);
    make_liar(repo, 50, no_pack, session);
    make_liar(repo, 50, no_pack, other); /* a session that is not known */
    CHECK_INT(back_up(repo, 0, 50, id), ==, 0);
    check_reads(repo, id, 0, 50);
    /* The truth is found beside the lies. */
    CHECK_INT(back_up(repo, 0, 50, id), ==, 50);
    check_reads(repo, id, 0, 50);
    testing_check_sound(repo);
    repo_close(TAKE(repo));
    testing_dir_remove();
}

static void
a_pack_that_is_gone_or_rotten_is_not_built_upon(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    char a[REPO_ID_SIZE], id[REPO_ID_SIZE];
    CLEANUP(mem_free) uint8_t *zeros = xcalloc(101, CHUNK);

    testing_dir_make();
    repo = testing_repo_create(true);
    (void)back_up(repo, 0, 100, a);
    CHECK_INT(objects("p/", &n), ==, 1);
    /* All frames, which are 40 bytes longer; the footer is well. */
    overwrite(n.names[0], 4096, zeros, 100 * (CHUNK + 40) - 4096 + 152);
    CHECK_INT(back_up(repo, 0, 90, id), ==, 0);
    check_reads(repo, id, 0, 90);
    remove_all("p/");
    CHECK_INT(back_up(repo, 0, 100, id), ==, 0);
    check_reads(repo, id, 0, 100);
    repo_close(TAKE(repo));
    testing_dir_remove();
}

/* ---- kept on this host ---- */

/* So that nothing in the file is what it was. */
static void
spoil(const char *dir, const char *name)
{
    CLEANUP(mem_free) char *path = xasprintf("%s/%s", dir, name);
    static uint8_t junk[16 * SEGMENT_PAGE];
    struct stat st;
    int fd;

    for (size_t i = 0; i < sizeof junk; i++)
        junk[i] = (uint8_t)testing_random();
    CHECK(chmod(path, 0600) == 0);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0 && fstat(fd, &st) == 0);
    CHECK_INT(st.st_size, <=, sizeof junk);
    CHECK(pwrite(fd, junk, (size_t)st.st_size, 0) == st.st_size);
    close(fd);
}

static void
what_was_read_is_kept_on_this_host(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    char cache[] = "/tmp/vmkeep-segcache-XXXXXX";
    CLEANUP(mem_free) char *dir = NULL;
    char id[REPO_ID_SIZE];
    struct err err = { 0 };

    CHECK(mkdtemp(cache) != NULL);
    dir = xasprintf("%s/index", cache);
    testing_dir_make();
    repo = testing_repo_create(true);
    CHECK_OK(repo_index_cache(repo, dir, 1 << 20, &err), &err);
    CHECK_ERR(repo_index_cache(repo, dir, 1 << 20, &err), &err, ERR_EXISTS);
    (void)back_up(repo, 0, 300, NULL);
    CHECK_INT(objects("x/", &n), ==, 1);
    CHECK_INT(listed(repo, 300), ==, 300);
    /* Now it is not read from the store any more, */
    spoil(testing_dir, n.names[0]);
    CHECK_INT(listed(repo, 300), ==, 300);
    CHECK_INT(back_up(repo, 0, 300, id), ==, 300);
    check_reads(repo, id, 0, 300);
    /* not even by somebody who comes later; */
    segcache_free(TAKE(repo->segcache));
    CHECK_OK(repo_index_cache(repo, dir, 1 << 20, &err), &err);
    CHECK_INT(segcache_bytes(repo->segcache), >=, 5 * SEGMENT_PAGE);
    CHECK_INT(listed(repo, 300), ==, 300);
    /* damage is noticed, */
    spoil(dir, n.names[0] + strlen("x/"));
    CHECK_INT(listed(repo, 300), ==, 0);
    CHECK_INT(back_up(repo, 0, 300, id), ==, 0);
    check_reads(repo, id, 0, 300);
    /* and what is no more in the store goes. */
    remove_all("x/");
    CHECK_INT(listed(repo, 300), ==, 0);
    CHECK_INT(segcache_bytes(repo->segcache), ==, 0);
    CHECK(rmdir(dir) == 0 && rmdir(cache) == 0);
    testing_check_sound(repo);
    repo_close(TAKE(repo));
    testing_dir_remove();
}

static void
what_is_kept_has_a_bound(void)
{
    CLEANUP(segcache_free) struct segcache *c = NULL;
    char cache[] = "/tmp/vmkeep-segcache-XXXXXX";
    uint8_t page[SEGMENT_PAGE] = { 1 }, got[SEGMENT_PAGE];
    struct blob_names none = { 0 };
    uint8_t uuid[16];
    struct err err = { 0 };

    CHECK(mkdtemp(cache) != NULL);
    CHECK_OK(segcache_open(cache, 3 * SEGMENT_PAGE, &c, &err), &err);
    repo_id_random(uuid);
    CHECK(!segcache_read(c, uuid, 0, got, sizeof got));
    for (unsigned i = 0; i < 10; i++)
        segcache_write(c, uuid, i * SEGMENT_PAGE, page, sizeof page);
    CHECK_INT(segcache_bytes(c), ==, 3 * SEGMENT_PAGE);
    CHECK(segcache_read(c, uuid, 0, got, sizeof got));
    CHECK(memcmp(got, page, sizeof got) == 0);
    CHECK(!segcache_read(c, uuid, 3 * SEGMENT_PAGE, got, sizeof got));
    segcache_keep(c, &none);
    CHECK_INT(segcache_bytes(c), ==, 0);
    CHECK(rmdir(cache) == 0);
}

/* ---- segments ---- */

static void
random_entries(struct segment_entry *e, uint32_t count, uint32_t packs)
{
    for (uint32_t i = 0; i < count; i++) {
        for (unsigned k = 0; k < SEGMENT_ID; k += 8)
            le_put64(e[i].id + k, testing_random());
        if (testing_below(4) == 0)
            memset(e[i].id, 7, 5); /* some share what fences look at */
        e[i].pack = (uint32_t)testing_below(packs);
        e[i].off8 = 8 + (uint32_t)testing_below(1000000);
        e[i].flen = 32 + 8 * (uint32_t)testing_below(1000);
    }
}

static void
what_is_encoded_is_found(void)
{
    static const uint32_t sizes[] = { 1, 2, 145, 146, 147, 1000, 40000 };
    struct err err = { 0 };

    testing_dir_make();
    for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++) {
        CLEANUP(blob_free) struct blob *blob = testing_blob();
        uint32_t count = sizes[n], packs = count < 500 ? 1 : 500;
        CLEANUP(mem_free)
        struct segment_entry *e = xcalloc(count, sizeof *e);
        CLEANUP(mem_free) struct segment_pack *p = xcalloc(packs, sizeof *p);
        CLEANUP(mem_free) uint8_t *bytes = NULL;
        CLEANUP(segment_close) struct segment *s = NULL;
        struct segment_head head = { .level = 3 };
        struct segment_hit hits[SEGMENT_HITS];
        char name[SEGMENT_NAME_SIZE];
        unsigned got, passed = 0;
        bool existed;
        size_t len;

        random_entries(e, count, packs);
        for (uint32_t i = 0; i < packs; i++)
            p[i].n = i;
        repo_id_random(head.uuid);
        segment_sort(e, count);
        CHECK_OK(segment_encode(&head, e, count, p, packs, &bytes, &len, &err),
                 &err);
        segment_name(head.uuid, name);
        CHECK_OK(blob_put(blob, name, bytes, len, &existed, &err), &err);
        CHECK_OK(segment_open(blob, NULL, name, head.repo_uuid, &s, &err),
                 &err);
        segment_load_filter(s);
        CHECK_INT(segment_head_get(s)->level, ==, 3);
        for (uint32_t i = 0; i < count; i++) {
            CHECK(segment_may_hold(s, e[i].id));
            CHECK_OK(segment_find(s, e[i].id, hits, &got, &err), &err);
            CHECK_INT(got, ==, 1);
            CHECK_INT(hits[0].pack.n, ==, e[i].pack);
            CHECK_INT(hits[0].off8, ==, e[i].off8);
            CHECK_INT(hits[0].flen, ==, e[i].flen);
        }
        for (unsigned i = 0; i < 1000; i++) {
            uint8_t id[SEGMENT_ID];

            le_put64(id, testing_random());
            le_put64(id + 8, testing_random());
            passed += segment_may_hold(s, id);
            CHECK_OK(segment_find(s, id, hits, &got, &err), &err);
            CHECK_INT(got, ==, 0);
        }
        CHECK_INT(passed, <, 60); /* 1 in 100 is meant */
    }
    testing_dir_remove();
}

/* 20 runs with ids in common; every id is found afterwards. */
static void
merges_keep_every_entry(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(dedupindex_free) struct dedupindex *d = NULL;
    CLEANUP(mem_free) uint8_t(*ids)[SEGMENT_ID] = xcalloc(20000, SEGMENT_ID);
    struct repo_index_result r;
    struct err err = { 0 };
    char a[REPO_ID_SIZE];
    uint8_t session[16];

    testing_dir_make();
    repo = testing_repo_create(true);
    (void)back_up(repo, 0, 1, a);
    CHECK(repo_id_parse(a, session));
    for (unsigned run = 0; run < 20; run++) {
        CLEANUP(segment_writer_free)
        struct segment_writer *w =
            segment_writer_new(repo->blob, repo->uuid, NULL, 300);
        struct segment_hit place = { .off8 = 100, .flen = 4096 };
        unsigned failed = 0;

        memcpy(place.pack.session, session, 16);
        for (unsigned i = 0; i < 1000; i++) {
            uint8_t *id = ids[run * 1000 + i];

            le_put64(id, testing_random());
            le_put64(id + 8, testing_random());
            place.pack.n = (uint32_t)testing_below(50);
            segment_writer_add(w, id, &place);
        }
        segment_writer_finish(w, &failed, &err);
        CHECK_INT(failed, ==, 0);
    }
    CHECK_INT(count_objects("x/"), ==, 81);
    CHECK_OK(repo_index_maintain(repo, false, &r, &err), &err);
    CHECK_INT(r.segments, <, 20);
    CHECK_INT(r.merged, >=, 80);
    CHECK_INT(r.chunks, ==, 20001);
    d = dedupindex_new(repo);
    CHECK_INT(dedupindex_count(d, ids, 20000), ==, 20000);
    dedupindex_free(TAKE(d));
    repo_close(TAKE(repo));
    testing_dir_remove();
}

int
main(void)
{
    static const struct test_case tests[] = {
        { "what is encoded is found", what_is_encoded_is_found },
        { "a second backup finds the chunks of the first",
          a_second_backup_finds_the_chunks_of_the_first },
        { "a backup that was not committed is not built upon",
          a_backup_that_was_not_committed_is_not_built_upon },
        { "the index can be lost and made again",
          the_index_can_be_lost_and_made_again },
        { "small segments are merged", small_segments_are_merged },
        { "merges keep every entry", merges_keep_every_entry },
        { "damage costs space and nothing else",
          damage_costs_space_and_nothing_else },
        { "damage is found by a scrub and made good",
          damage_is_found_by_a_scrub_and_made_good },
        { "lies cost space and nothing else",
          lies_cost_space_and_nothing_else },
        { "a pack that is gone or rotten is not built upon",
          a_pack_that_is_gone_or_rotten_is_not_built_upon },
        { "what was read is kept on this host",
          what_was_read_is_kept_on_this_host },
        { "what is kept has a bound", what_is_kept_has_a_bound },
    };

    testing_seed(6);
    return test_main(tests, ARRAY_SIZE(tests));
}
