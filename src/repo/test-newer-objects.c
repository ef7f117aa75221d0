/* SPDX-License-Identifier: Apache-2.0 */
/* F30: an object of each class in a version that this program does not know, as
 * a newer host among older ones would write it. What needs it is refused in so
 * many words, the rest is as always, and nothing that the newer one has is
 * removed, replaced or called damaged for good. Linked with --wrap=packer_add,
 * which makes metadata frames newer. */
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "codec/crc.h"
#include "codec/le.h"
#include "repo/collect.h"
#include "repo/packer.h"
#include "repo/parity.h"
#include "repo/repo-private.h"
#include "repo/scrub.h"
#include "repo/test-model.h"

#define CHUNKS 6u

int __real_packer_add(struct packer *p, struct frame_ctx *ctx,
                      const void *plain, uint32_t len, uint8_t *id,
                      struct frame_loc *ret_loc, struct err *err);
int __wrap_packer_add(struct packer *p, struct frame_ctx *ctx,
                      const void *plain, uint32_t len, uint8_t *id,
                      struct frame_loc *ret_loc, struct err *err);

static struct {
    const char *magic; /* of the frames that become newer; NULL: none */
    const struct hash_key *id_key;
} newer;

int
__wrap_packer_add(struct packer *p, struct frame_ctx *ctx, const void *plain,
                  uint32_t len, uint8_t *id, struct frame_loc *ret_loc,
                  struct err *err)
{
    CLEANUP(mem_free) uint8_t *copy = NULL;

    if (newer.magic == NULL || len < 5 || memcmp(plain, newer.magic, 4) != 0)
        return __real_packer_add(p, ctx, plain, len, id, ret_loc, err);
    copy = xcalloc(1, len);
    memcpy(copy, plain, len);
    copy[4]++; /* the version */
    hash_hmac(newer.id_key, copy, len, id);
    return __real_packer_add(p, ctx, copy, len, id, ret_loc, err);
}

/* ---- two backups ---- */

static struct testing_disk old_disk, new_disk;

static void
make_disk(struct testing_disk *d, uint64_t seed)
{
    *d = (struct testing_disk){ .name = "d",
                                .size = (uint64_t)CHUNKS << 16,
                                .log2 = 16 };
    for (uint64_t c = 0; c < CHUNKS; c++)
        testing_disk_set(d, c, TESTING_RANDOM, seed + c);
}

static int
back_up(struct repo *repo, const char *parent, const struct testing_disk *d,
        char id[REPO_ID_SIZE], struct err *err)
{
    const struct repo_backup_options o = { .threads = 1, .parent = parent };
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    unsigned n;

    if (repo_backup_begin(repo, &o, &b, err) < 0)
        return -1;
    memcpy(id, repo_backup_id(b), REPO_ID_SIZE);
    if (repo_backup_add_disk(b, d->name, d->size, d->log2, &n, err) < 0 ||
        testing_disk_write(d, b, n, err) < 0)
        return -1;
    return repo_backup_commit(b, "meta", 4, "uid", err);
}

/* With an older backup and one of the newer host. */
static struct repo *
make_repo(bool is_encrypted, const char *magic, char old_id[REPO_ID_SIZE],
          char new_id[REPO_ID_SIZE])
{
    struct repo *repo;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(is_encrypted);
    CHECK_OK(back_up(repo, NULL, &old_disk, old_id, &err), &err);
    newer.id_key = &repo->keys.id;
    newer.magic = magic;
    CHECK_OK(back_up(repo, NULL, &new_disk, new_id, &err), &err);
    newer.magic = NULL;
    repo_close(repo);
    return testing_repo_open((struct blob_fault_plan){ 0 });
}

static size_t
packs_of(struct repo *repo, const char *session)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    struct err err = { 0 };
    size_t count = 0;

    CHECK_OK(blob_list(repo->blob, "", &n, &err), &err);
    for (size_t i = 0; i < n.count; i++)
        count += strncmp(n.names[i] + 2, session, REPO_ID_SIZE - 1) == 0;
    return count;
}

static int
collect(struct repo *repo, struct err *err)
{
    const struct repo_collect_options o = {
        .gc.kill_s = REPO_GC_KILL_S,
        .compact = { .dead_percent = 1, .rest_percent = 100 }
    };
    const struct repo_collect_sink sink = { 0 };
    struct repo_collect_result r;

    return repo_collect(repo, &o, &sink, &r, err);
}

struct heard {
    const char *old_id, *new_id;
    unsigned old_affected, new_affected;
};

static void
on_affected(void *arg, const struct repo_entry *backup, const char *disk,
            uint64_t lost_bytes)
{
    struct heard *h = arg;

    h->old_affected += strcmp(backup->id, h->old_id) == 0;
    h->new_affected += strcmp(backup->id, h->new_id) == 0;
}

/* Reads as it was stored; or UNSUPPORTED. */
static bool
reads(struct repo *repo, const char *id, const struct testing_disk *d)
{
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, d->size);
    CLEANUP(mem_free) uint8_t *want = xcalloc(1, d->size);
    struct err err = { 0 };

    if (repo_view_open(repo, id, &v, &err) < 0 ||
        repo_view_read(v, 0, 0, data, d->size, &err) < 0) {
        CHECK_INT(err.code, ==, ERR_UNSUPPORTED);
        CHECK(strstr(err.msg, "version") != NULL ||
              strstr(err.msg, "newer") != NULL);
        return false;
    }
    testing_disk_read(d, 0, want, d->size);
    CHECK(memcmp(data, want, d->size) == 0);
    return true;
}

/* Everything that this program does beside the newer one. */
static void
live_beside(struct repo *repo, const char *old_id, const char *new_id,
            bool is_readable)
{
    struct heard h = { old_id, new_id, 0, 0 };
    const struct repo_verify_sink verify = { .affected = on_affected,
                                             .arg = &h };
    const struct repo_scrub_options o = { .level = REPO_VERIFY_FRAMES };
    const struct repo_scrub_sink scrub = { 0 };
    struct repo_scrub_result r;
    CLEANUP(badset_fini) struct badset bad = { 0 };
    const char *gone[] = { old_id };
    char id[REPO_ID_SIZE];
    size_t packs = packs_of(repo, new_id);
    uint64_t damages = 0;
    struct err err = { 0 };

    CHECK(reads(repo, old_id, &old_disk));
    CHECK(reads(repo, new_id, &new_disk) == is_readable);
    CHECK_OK(repo_verify(repo, REPO_VERIFY_TREES, 1, &verify, &damages, &err),
             &err);
    CHECK(damages > 0);
    CHECK_INT(h.old_affected, ==, 0);
    CHECK_INT(h.new_affected, ==, is_readable ? 0 : 1);
    CHECK_OK(repo_scrub_run(repo, &o, &scrub, &r, &err), &err);
    CHECK_OK(commitlog_bad(repo->log, &bad, &err), &err);
    CHECK_INT(bad.count, ==, 0);
    /* On top of the newer one, maybe of chunks that only that one can read. */
    if (back_up(repo, new_id, &new_disk, id, &err) == 0)
        (void)reads(repo, id, &new_disk);
    else
        CHECK_INT(err.code, ==, ERR_UNSUPPORTED);
    CHECK_OK(back_up(repo, NULL, &old_disk, id, &err), &err);
    CHECK_OK(repo_delete(repo, gone, 1, &err), &err);
    for (unsigned i = 0; i < 2; i++)
        if (collect(repo, &err) < 0)
            CHECK_INT(err.code, ==, ERR_UNSUPPORTED);
    CHECK(reads(repo, id, &old_disk));
    CHECK_INT(packs_of(repo, new_id), ==, packs);
}

static void
frames_of_a_newer_version(void)
{
    static const struct {
        const char *magic;
        bool is_readable;
    } classes[] = {
        { "VMKN", false }, /* nodes */
        { "VMKR", false }, /* roots */
        { "VMKP", true },  /* pack summaries: for collectors */
    };

    for (size_t i = 0; i < 2 * ARRAY_SIZE(classes); i++) {
        char old_id[REPO_ID_SIZE], new_id[REPO_ID_SIZE];
        struct repo *repo =
            make_repo(i % 2 == 0, classes[i / 2].magic, old_id, new_id);

        live_beside(repo, old_id, new_id, classes[i / 2].is_readable);
        repo_close(repo);
        testing_dir_remove();
    }
}

/* A newer compactor moved what a backup needs. */
static void
a_map_of_moves_of_a_newer_version(void)
{
    struct testing_disk half = { 0 };
    char a[REPO_ID_SIZE], b[REPO_ID_SIZE], id[REPO_ID_SIZE];
    const char *gone[] = { a };
    size_t packs;
    struct repo *repo;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(true);
    CHECK_OK(back_up(repo, NULL, &old_disk, a, &err), &err);
    testing_disk_copy(&half, &old_disk);
    testing_disk_set(&half, 1, TESTING_RANDOM, 77);
    CHECK_OK(back_up(repo, a, &half, b, &err), &err);
    CHECK_OK(repo_delete(repo, gone, 1, &err), &err);
    newer.id_key = &repo->keys.id;
    newer.magic = "VMKM";
    (void)!collect(repo, &err); /* it may not understand itself afterwards */
    newer.magic = NULL;
    repo_close(repo);

    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    packs = packs_of(repo, b);
    CHECK(!reads(repo, b, &half));
    if (back_up(repo, NULL, &new_disk, id, &err) == 0)
        CHECK(reads(repo, id, &new_disk));
    else
        CHECK_INT(err.code, ==, ERR_UNSUPPORTED);
    for (unsigned i = 0; i < 2; i++)
        if (collect(repo, &err) < 0)
            CHECK_INT(err.code, ==, ERR_UNSUPPORTED);
    CHECK_INT(packs_of(repo, b), ==, packs);
    repo_close(repo);
    testing_disk_fini(&half);
    testing_dir_remove();
}

/* ---- packs ---- */

/* Of a pack in clear: a byte of its header becomes another one. */
static void
set_in_pack(const char *name, unsigned at, uint8_t to)
{
    CLEANUP(mem_free) uint8_t *data = NULL;
    size_t len = 0;

    data = testing_load(name, &len);
    data[at] = to;
    le_put32(data + 60, crc_32c(0, data, 60));
    testing_replace(name, data, len);
}

static void
packs_of_a_newer_version(void)
{
    static const struct {
        char kind;
        unsigned at;
    } places[] = {
        { 'p', 8 },
        { 'm', 8 }, /* the version */
        { 'p', 16 },
        { 'm', 23 }, /* a feature */
    };

    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        char old_id[REPO_ID_SIZE], new_id[REPO_ID_SIZE], name[80];
        struct repo *repo = make_repo(false, NULL, old_id, new_id);
        uint8_t was = places[i].at == 8 ? 1 : 0;

        (void)snprintf(name, sizeof name, "%c/%s/0", places[i].kind, new_id);
        set_in_pack(name, places[i].at, (uint8_t)(was + 1));
        live_beside(repo, old_id, new_id, false);
        set_in_pack(name, places[i].at, was); /* to the newer one it was so */
        repo_close(repo);
        repo = testing_repo_open((struct blob_fault_plan){ 0 });
        testing_backup_check(repo, new_id, &new_disk);
        testing_check_sound(repo);
        repo_close(repo);
        testing_dir_remove();
    }
}

/* ---- others ---- */

/* Nobody repairs by it, nobody replaces it, and it goes with its pack. */
static void
parity_of_a_newer_version(void)
{
    const struct repo_scrub_options o = { .level = REPO_VERIFY_FRAMES };
    const struct repo_scrub_sink scrub = { 0 };
    CLEANUP(mem_free) uint8_t *data = NULL;
    CLEANUP(mem_free) uint8_t *now = NULL;
    char id[REPO_ID_SIZE], name[80];
    const char *gone[] = { id };
    struct repo_scrub_result r;
    struct repo *repo;
    size_t len = 0, now_len = 0;
    struct err err = { 0 };

    testing_dir_make();
    testing_has_parity = true;
    repo = testing_repo_create(true);
    testing_has_parity = false;
    CHECK_OK(back_up(repo, NULL, &old_disk, id, &err), &err);
    (void)snprintf(name, sizeof name, "p/%s/0.parity", id);
    data = testing_load(name, &len);
    data[8]++;
    le_put32(data + 60, crc_32c(crc_32c(0, data, 60), data + 64,
                                32 * (le_get32(data + 12) + (size_t)2)));
    testing_replace(name, data, len);
    CHECK_OK(repo_scrub_run(repo, &o, &scrub, &r, &err), &err);
    CHECK_INT(r.damages + r.repaired + r.parity_made, ==, 0);
    now = testing_load(name, &now_len);
    CHECK(now_len == len && memcmp(now, data, len) == 0);
    CHECK(reads(repo, id, &old_disk));
    CHECK_OK(repo_delete(repo, gone, 1, &err), &err);
    CHECK_OK(collect(repo, &err), &err);
    CHECK_INT(packs_of(repo, id), ==, 0);
    repo_close(repo);
    testing_dir_remove();
}

static void
a_log_entry_of_a_newer_version(void)
{
    CLEANUP(mem_free) uint8_t *data = NULL;
    CLEANUP(mem_free) struct repo_entry *e = NULL;
    char a[REPO_ID_SIZE], b[REPO_ID_SIZE], name[32];
    const char *gone[] = { a };
    size_t len = 0, n = 0, damage = 0;
    struct repo *repo = make_repo(true, NULL, a, b);
    CLEANUP(blob_names_fini) struct blob_names log = { 0 };
    struct err err = { 0 };

    CHECK_OK(blob_list(repo->blob, "log/", &log, &err), &err);
    (void)snprintf(name, sizeof name, "%s", log.names[log.count - 1]);
    data = testing_load(name, &len);
    data[8]++;
    hash_hmac(&repo->keys.log, data, len - HASH_SIZE, data + len - HASH_SIZE);
    testing_replace(name, data, len);
    repo_close(repo);
    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    CHECK_ERR(repo_list(repo, &e, &n, &damage, &err), &err, ERR_UNSUPPORTED);
    CHECK(strstr(err.msg, "version") != NULL);
    CHECK_ERR(back_up(repo, NULL, &old_disk, b, &err), &err, ERR_UNSUPPORTED);
    CHECK_ERR(repo_delete(repo, gone, 1, &err), &err, ERR_UNSUPPORTED);
    CHECK_ERR(collect(repo, &err), &err, ERR_UNSUPPORTED);
    repo_close(repo);
    testing_dir_remove();
}

static void
a_repository_of_a_newer_version(void)
{
    CLEANUP(mem_free) uint8_t *cfg = NULL;
    struct repo *repo = NULL;
    struct err err = { 0 };
    size_t len = 0;

    testing_dir_make();
    repo_close(testing_repo_create(true));
    cfg = testing_load("repo.cfg", &len);
    CHECK_INT(len, ==, 128);
    cfg[8]++;
    le_put32(cfg + 124, crc_32c(0, cfg, 124));
    testing_replace("repo.cfg", cfg, len);
    CHECK_ERR(testing_repo_try_open(&repo, &err), &err, ERR_UNSUPPORTED);
    testing_dir_remove();
}

int
main(void)
{
    static const struct test_case tests[] = {
        { "frames of a newer version", frames_of_a_newer_version },
        { "a map of moves of a newer version",
          a_map_of_moves_of_a_newer_version },
        { "packs of a newer version", packs_of_a_newer_version },
        { "parity of a newer version", parity_of_a_newer_version },
        { "a log entry of a newer version", a_log_entry_of_a_newer_version },
        { "a repository of a newer version", a_repository_of_a_newer_version },
    };
    int rc;

    testing_seed(30);
    make_disk(&old_disk, 100);
    make_disk(&new_disk, 200);
    rc = test_main(tests, ARRAY_SIZE(tests));
    testing_disk_fini(&old_disk);
    testing_disk_fini(&new_disk);
    return rc;
}
