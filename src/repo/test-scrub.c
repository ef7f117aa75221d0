/* SPDX-License-Identifier: Apache-2.0 */
/* A damaged chunk is found, named, not used again, stored again by the next
 * backup, and then older backups are whole too. */
#include <sys/stat.h>
#include <sys/wait.h>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "repo/collect.h"
#include "repo/pack.h"
#include "repo/repo-private.h"
#include "repo/scrub.h"
#include "repo/test-model.h"

#define LOG2   16u
#define CHUNK  ((size_t)1 << LOG2)
#define CHUNKS 24u

static struct testing_disk disk = { .name = "d",
                                    .size = CHUNKS * CHUNK,
                                    .log2 = LOG2 };

/* All of the disk, or one chunk of it if a parent is given. */
static uint64_t
backup(struct repo *repo, const char *parent, uint64_t chunk,
       char id[REPO_ID_SIZE])
{
    struct repo_backup_options o = { .threads = 1, .parent = parent };
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, CHUNK);
    struct repo_progress g;
    struct err err = { 0 };
    unsigned n;

    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    CHECK_OK(repo_backup_add_disk(b, disk.name, disk.size, LOG2, &n, &err),
             &err);
    if (parent == NULL) {
        CHECK_OK(testing_disk_write(&disk, b, n, &err), &err);
    } else {
        testing_disk_read(&disk, chunk * CHUNK, data, CHUNK);
        CHECK_OK(repo_backup_write(b, n, chunk * CHUNK, data, CHUNK, &err),
                 &err);
    }
    CHECK_OK(repo_backup_commit(b, NULL, 0, "uid", &err), &err);
    repo_backup_progress(b, &g);
    memcpy(id, repo_backup_id(b), REPO_ID_SIZE);
    return g.seen_bytes - g.same_bytes - g.dup_bytes;
}

static void
make_disk(void)
{
    for (uint64_t c = 0; c < CHUNKS; c++)
        testing_disk_set(&disk, c, TESTING_RANDOM, c + 1);
}

/* The path of the first data pack of that backup. */
static void
pack_path(const char *id, char out[300])
{
    (void)snprintf(out, 300, "%s/p/%s/0", testing_dir, id);
    if (access(out, F_OK) != 0)
        (void)snprintf(out, 300, "%s/p/%s/1", testing_dir, id);
    CHECK_INT(access(out, F_OK), ==, 0);
}

/* Flip a byte in the frame of chunk `c` (frames have about the chunk's size:
 * random data). */
static void
hurt(const char *id, uint64_t at)
{
    char path[300];
    uint8_t byte = 0;
    int fd;

    pack_path(id, path);
    CHECK_INT(chmod(path, 0600), ==, 0);
    fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK_INT(fd, >=, 0);
    CHECK_INT(pread(fd, &byte, 1, (off_t)at), ==, 1);
    byte ^= 0x40;
    CHECK_INT(pwrite(fd, &byte, 1, (off_t)at), ==, 1);
    (void)close(fd);
}

struct heard {
    unsigned damages, affected;
    uint64_t lost;
    uint64_t stop_at; /* bytes; 0: never */
    bool dies;        /* it is killed there */
};

static void
on_damage(void *arg, const char *object, const char *cause)
{
    struct heard *h = arg;

    h->damages++;
}

static void
on_affected(void *arg, const struct repo_entry *backup, const char *name,
            uint64_t lost_bytes)
{
    struct heard *h = arg;

    h->affected++;
    h->lost += lost_bytes;
}

static int
on_progress(void *arg, uint64_t done, uint64_t all)
{
    struct heard *h = arg;

    if (h->stop_at == 0 || done < h->stop_at)
        return 0;
    if (h->dies)
        (void)raise(SIGKILL);
    return 1;
}

static int
scrub(struct repo *repo, struct heard *h, struct repo_scrub_result *ret,
      struct err *err)
{
    struct repo_scrub_options o = { .level = REPO_VERIFY_FRAMES };
    struct repo_scrub_sink sink = { .damage = on_damage,
                                    .affected = on_affected,
                                    .progress = on_progress,
                                    .arg = h };

    return repo_scrub_run(repo, &o, &sink, ret, err);
}

static int
note_bad(void *arg, uint64_t off, uint64_t len)
{
    uint64_t *at = arg;

    CHECK_INT(len, ==, CHUNK);
    at[0] = off / CHUNK;
    at[1]++;
    return 0;
}

/* Does it read as the disk is? */
static bool
is_whole(struct repo *repo, const char *id)
{
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, disk.size);
    struct err err = { 0 };

    CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
    if (repo_view_read(v, 0, 0, data, disk.size, &err) < 0) {
        CHECK(blob_is_lost(&err));
        return false;
    }
    testing_disk_check(&disk, v); /* by a restore too */
    return true;
}

static void
a_damaged_chunk_heals(void)
{
    struct repo *repo, *other;
    char a[REPO_ID_SIZE], b[REPO_ID_SIZE], c[REPO_ID_SIZE];
    struct heard h = { 0 };
    struct repo_scrub_result r;
    struct repo_scrub_state s;
    struct repo_view *v = NULL;
    uint64_t bad[2] = { 0 };
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(true);
    (void)backup(repo, NULL, 0, a);
    CHECK_OK(scrub(repo, &h, &r, &err), &err);
    CHECK_INT(h.damages + h.affected + r.damages + r.bad, ==, 0);
    CHECK_INT(r.packs, ==, 2);

    hurt(a, 9 * CHUNK);
    other = testing_repo_open((struct blob_fault_plan){ 0 });
    CHECK(!is_whole(other, a));
    CHECK_OK(scrub(other, &h, &r, &err), &err);
    CHECK_INT(h.damages, >=, 1);
    CHECK_INT(h.affected, ==, 1);
    CHECK_INT(h.lost, ==, CHUNK);
    CHECK_INT(r.new_bad, ==, 1);
    CHECK_INT(r.bad, ==, 1);
    CHECK_OK(repo_scrub_look(repo, &s, &err), &err);
    CHECK(!s.is_under_way && s.last_damages >= 1 && s.last_end_unix_s > 0);

    /* It is known which part, and that part is stored again, the others not. */
    CHECK_OK(repo_view_open(repo, a, &v, &err), &err);
    CHECK_OK(repo_view_bad(v, 0, note_bad, bad, &err), &err);
    CHECK_INT(bad[1], ==, 1);
    repo_view_close(v);
    CHECK_INT(backup(repo, a, bad[0] == 0 ? 1 : 0, c), ==, 0);
    CHECK(!is_whole(repo, c));
    CHECK_INT(backup(repo, a, bad[0], b), ==, CHUNK);
    CHECK(is_whole(repo, b));
    CHECK(!is_whole(repo, a));

    /* And the next pass finds that copy for the others. */
    h = (struct heard){ 0 };
    CHECK_OK(scrub(repo, &h, &r, &err), &err);
    CHECK_INT(r.healed, ==, 1);
    CHECK_INT(r.bad, ==, 0);
    CHECK(is_whole(repo, a));
    CHECK(is_whole(other, c));
    h = (struct heard){ 0 };
    CHECK_OK(scrub(other, &h, &r, &err), &err);
    CHECK_INT(h.affected, ==, 0);
    CHECK_INT(r.new_bad + r.healed + r.bad, ==, 0);

    /* Mended by somebody: good again. */
    hurt(a, 9 * CHUNK);
    CHECK_OK(scrub(repo, &h, &r, &err), &err);
    CHECK_INT(r.good_again, ==, 1);
    repo_close(other);
    repo_close(repo);
    testing_dir_remove();
}

static void
a_missing_pack_is_found_by_the_walk(void)
{
    struct repo *repo;
    char a[REPO_ID_SIZE], b[REPO_ID_SIZE], path[300];
    struct heard h = { 0 };
    struct repo_scrub_result r;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(true);
    (void)backup(repo, NULL, 0, a);
    pack_path(a, path);
    CHECK_INT(unlink(path), ==, 0);
    CHECK_OK(scrub(repo, &h, &r, &err), &err);
    CHECK_INT(h.affected, ==, 1);
    CHECK_INT(h.lost, ==, disk.size);
    CHECK_INT(r.new_bad, ==, CHUNKS);
    CHECK_INT(r.bad, ==, CHUNKS);
    /* A full backup beside it heals it. */
    CHECK_INT(backup(repo, NULL, 0, b), ==, disk.size);
    CHECK_OK(scrub(repo, &h, &r, &err), &err);
    CHECK_INT(r.healed, ==, CHUNKS);
    CHECK(is_whole(repo, a));
    repo_close(repo);
    testing_dir_remove();
}

/* The disk below the store has a place that gives EIO. The pass goes on behind
 * it, the chunk is stored again, and read there; its neighbours as before. */
static void
a_place_that_cannot_be_read_does_not_stop_the_pass(void)
{
    struct repo *repo;
    char a[REPO_ID_SIZE], b[REPO_ID_SIZE], name[64];
    struct heard h = { 0 };
    struct repo_scrub_result r;
    struct repo_view *v = NULL;
    uint64_t bad[2] = { 0 };
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(true);
    (void)backup(repo, NULL, 0, a);
    repo_close(repo);
    (void)snprintf(name, sizeof name, "p/%s/0", a);
    repo = testing_repo_open((struct blob_fault_plan){
        .kind = BLOB_FAULT_BAD_PLACE, .n = 9 * CHUNK, .object = name });
    CHECK(!is_whole(repo, a));
    CHECK_OK(scrub(repo, &h, &r, &err), &err);
    CHECK_INT(r.packs, ==, 2);
    CHECK_INT(h.damages, >=, 1);
    CHECK_INT(h.affected, ==, 1);
    CHECK_INT(h.lost, ==, CHUNK);
    CHECK_INT(r.new_bad, ==, 1);
    CHECK_OK(repo_view_open(repo, a, &v, &err), &err);
    CHECK_OK(repo_view_bad(v, 0, note_bad, bad, &err), &err);
    CHECK_INT(bad[1], ==, 1);
    repo_view_close(v);
    CHECK_INT(backup(repo, a, bad[0], b), ==, CHUNK);
    CHECK(is_whole(repo, b));
    h = (struct heard){ 0 };
    CHECK_OK(scrub(repo, &h, &r, &err), &err);
    CHECK_INT(r.healed, ==, 1);
    CHECK_INT(h.affected, ==, 0);
    CHECK(is_whole(repo, a));
    repo_close(repo);
    testing_dir_remove();
}

/* The backup with the copy goes, and what is left of its pack is rewritten. */
static void
a_copy_stays_while_somebody_needs_it(void)
{
    struct repo *repo;
    char a[REPO_ID_SIZE], b[REPO_ID_SIZE];
    const char *gone = b;
    struct heard h = { 0 };
    struct repo_scrub_result r;
    struct repo_collect_options o = { .compact = { .dead_percent = 1,
                                                   .rest_percent = 100 } };
    struct repo_collect_sink sink = { 0 };
    struct repo_collect_result c;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(true);
    make_disk();
    (void)backup(repo, NULL, 0, a);
    hurt(a, 9 * CHUNK);
    CHECK_OK(scrub(repo, &h, &r, &err), &err);
    /* Of what is the same only the damaged one is stored again. */
    for (uint64_t i = 0; i < CHUNKS; i++)
        if (i < 5 || i > 13)
            testing_disk_set(&disk, i, TESTING_RANDOM, 1000 + i);
    (void)backup(repo, NULL, 0, b);
    h = (struct heard){ 0 };
    CHECK_OK(scrub(repo, &h, &r, &err), &err);
    CHECK_INT(r.healed, ==, 1);
    CHECK_INT(h.affected, ==, 0);
    make_disk();
    CHECK(is_whole(repo, a));
    CHECK_OK(repo_delete(repo, &gone, 1, &err), &err);
    CHECK_OK(repo_collect(repo, &o, &sink, &c, &err), &err);
    CHECK(is_whole(repo, a));
    CHECK_INT(c.compact.packs_rewritten, >=, 1);
    CHECK_INT(c.compact.bytes_written, <, 4 * CHUNK);
    CHECK_INT(c.gc.removed_bytes, >, (CHUNKS - 10) * CHUNK);
    repo_close(repo);
    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    CHECK(is_whole(repo, a));
    /* Nobody needs it any more: it goes with the rest. */
    gone = a;
    CHECK_OK(repo_delete(repo, &gone, 1, &err), &err);
    CHECK_OK(repo_collect(repo, &o, &sink, &c, &err), &err);
    CHECK_INT(c.gc.live_packs, ==, 0);
    repo_close(repo);
    testing_dir_remove();
}

/* Six backups of two packs, in which nothing is kept already. */
static struct repo *
twelve_packs(void)
{
    struct repo *repo;
    char id[REPO_ID_SIZE];

    testing_dir_make();
    repo = testing_repo_create(false);
    for (unsigned i = 0; i < 6; i++) {
        for (uint64_t c = 0; c < CHUNKS; c++)
            testing_disk_set(&disk, c, TESTING_RANDOM, 100 + CHUNKS * i + c);
        (void)backup(repo, NULL, 0, id);
    }
    return repo;
}

/* Six packs of metadata come first, then two of data, and the third is being
 * read: but for a few they are not read again. */
static void
a_pass_goes_on_where_it_was_killed(void)
{
    struct repo *repo = twelve_packs(), *other;
    struct heard h = { .stop_at = 5 * disk.size / 2, .dies = true };
    struct repo_scrub_result r;
    struct repo_scrub_state s;
    struct err err = { 0 };
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        (void)!scrub(repo, &h, &r, &err);
        _exit(0);
    }
    CHECK(child > 0);
    CHECK_INT(waitpid(child, &status, 0), ==, child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    other = testing_repo_open((struct blob_fault_plan){ 0 });
    CHECK_OK(repo_scrub_look(other, &s, &err), &err);
    CHECK(s.is_under_way && s.last_end_unix_s == 0);
    h = (struct heard){ 0 };
    CHECK_OK(scrub(other, &h, &r, &err), &err);
    CHECK_INT(r.packs, >=, 4);
    CHECK_INT(r.packs, <=, 8);
    CHECK_OK(repo_scrub_look(other, &s, &err), &err);
    CHECK(!s.is_under_way && s.last_end_unix_s > 0);
    repo_close(other);
    repo_close(repo);
    testing_dir_remove();
}

static void
a_pass_goes_on_where_it_was_stopped(void)
{
    struct repo *repo = twelve_packs(), *other;
    struct heard h = { 0 };
    struct repo_scrub_result r, rest;
    struct repo_scrub_state s;
    struct err err = { 0 };

    h.stop_at = 5 * disk.size / 2;
    CHECK_ERR(scrub(repo, &h, &r, &err), &err, ERR_CANCELLED);
    CHECK_OK(repo_scrub_look(repo, &s, &err), &err);
    CHECK(s.is_under_way && s.last_end_unix_s == 0);
    h.stop_at = 0;
    other = testing_repo_open((struct blob_fault_plan){ 0 });
    CHECK_OK(scrub(other, &h, &rest, &err), &err);
    CHECK_INT(rest.packs, <, 12);
    CHECK_INT(r.packs + rest.packs, ==, 12);
    CHECK_OK(repo_scrub_look(repo, &s, &err), &err);
    CHECK(!s.is_under_way && s.last_end_unix_s > 0);
    CHECK_OK(scrub(repo, &h, &r, &err), &err); /* a new pass */
    CHECK_INT(r.packs, ==, 12);
    repo_close(other);
    repo_close(repo);
    testing_dir_remove();
}

static void
it_keeps_its_rate(void)
{
    struct repo *repo;
    char id[REPO_ID_SIZE];
    struct repo_scrub_options o = { .level = REPO_VERIFY_STRIPES };
    struct repo_scrub_sink sink = { 0 };
    struct repo_scrub_result r;
    struct err err = { 0 };
    uint64_t begin;

    testing_dir_make();
    repo = testing_repo_create(false);
    (void)backup(repo, NULL, 0, id);
    o.bytes_per_s = disk.size * 10 / 13; /* a second's worth is free */
    begin = clock_mono_ms();
    CHECK_OK(repo_scrub_run(repo, &o, &sink, &r, &err), &err);
    CHECK_INT(clock_mono_ms() - begin, >=, 250);
    CHECK_INT(r.bytes, >=, disk.size);
    repo_close(repo);
    testing_dir_remove();
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a damaged chunk heals", a_damaged_chunk_heals },
        { "a missing pack is found by the walk",
          a_missing_pack_is_found_by_the_walk },
        { "a place that cannot be read does not stop the pass",
          a_place_that_cannot_be_read_does_not_stop_the_pass },
        { "a copy stays while somebody needs it",
          a_copy_stays_while_somebody_needs_it },
        { "a pass goes on where it was stopped",
          a_pass_goes_on_where_it_was_stopped },
        { "a pass goes on where it was killed",
          a_pass_goes_on_where_it_was_killed },
        { "it keeps its rate", it_keeps_its_rate },
    };
    int rc;

    testing_seed(511);
    make_disk();
    rc = test_main(cases, ARRAY_SIZE(cases));
    testing_disk_fini(&disk);
    return rc;
}
