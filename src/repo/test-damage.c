/* SPDX-License-Identifier: Apache-2.0 */
/* Crashes at every change of the store, and damage to every object: never a
 * wrong byte returned as good, and verify names what is damaged and which
 * backups it affects. test-damage [ROUNDS [SEED]]. */
#include <sys/stat.h>

#include <fcntl.h>

#include "base/mem.h"
#include "codec/le.h"
#include "repo/test-model.h"

#define DISKS   2
#define BACKUPS 3

static unsigned rounds; /* 0: a short one */
static uint64_t seed = 1;

static char ids[BACKUPS][REPO_ID_SIZE];
static struct testing_disk disks[BACKUPS][DISKS];

static int
write_backup(struct repo *repo, const char *parent, struct testing_disk *d,
             unsigned ops, const char *uid, char id[REPO_ID_SIZE],
             struct err *err)
{
    struct repo_backup_options o = { .parent = parent, .threads = 2 };
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;

    if (repo_backup_begin(repo, &o, &b, err) < 0)
        return -1;
    memcpy(id, repo_backup_id(b), REPO_ID_SIZE);
    for (unsigned i = 0; i < DISKS; i++) {
        unsigned n;

        if (repo_backup_add_disk(b, d[i].name, d[i].size, d[i].log2, &n, err) <
            0)
            return -1;
        if (ops == 0) {
            if (testing_disk_write(&d[i], b, n, err) < 0)
                return -1;
        } else {
            testing_disk_change(&d[i], b, n, ops);
        }
    }
    return repo_backup_commit(b, "metadata", 8, uid, err);
}

static void
make_repo(bool is_encrypted, unsigned count)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct err err = { 0 };

    testing_dir_make();
    repo = testing_repo_create(is_encrypted);
    for (unsigned i = 0; i < count; i++) {
        char uid[16];

        (void)snprintf(uid, sizeof uid, "vm-%u", i);
        for (unsigned d = 0; d < DISKS; d++) {
            if (i > 0) {
                testing_disk_copy(&disks[i][d], &disks[i - 1][d]);
                continue;
            }
            disks[i][d] = (struct testing_disk){ .log2 = 16 };
            disks[i][d].size =
                d == 0 ? ((uint64_t)3 << 20) + 100 : (uint64_t)17 << 20;
            (void)snprintf(disks[i][d].name, 16, "disk%u", d);
        }
        CHECK_OK(write_backup(repo, i > 0 ? ids[i - 1] : NULL, disks[i], 20,
                              uid, ids[i], &err),
                 &err);
    }
}

static void
forget_repo(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        for (unsigned d = 0; d < DISKS; d++)
            testing_disk_fini(&disks[i][d]);
    testing_dir_remove();
}

/* ---- damage ---- */

enum damage {
    FLIP,
    CUT,
    ZERO_TAIL,
    REMOVE,
    FIFO, /* in its place: who opens it waits for ever */
    DAMAGES
};

static void
path_of(const char *name, char out[400])
{
    (void)snprintf(out, 400, "%s/%s", testing_dir, name);
}

/* False when the bytes stay the same. */
static bool
inflict(enum damage kind, const char *name, const uint8_t *data, size_t len)
{
    CLEANUP(mem_free) uint8_t *bad = xcalloc(1, len + 1);
    char path[400];
    size_t at = (size_t)testing_below(len), bad_len = len;

    memcpy(bad, data, len);
    if (kind == FLIP)
        bad[at] ^= (uint8_t)(1u << testing_below(8));
    else if (kind == CUT)
        bad_len = at;
    else if (kind == ZERO_TAIL)
        memset(bad + at, 0, len - at);
    if (kind == REMOVE || kind == FIFO) {
        path_of(name, path);
        CHECK_INT(unlink(path), ==, 0);
        CHECK(kind == REMOVE || mkfifo(path, 0600) == 0);
        return true;
    }
    if (bad_len == len && memcmp(bad, data, len) == 0)
        return false;
    testing_replace(name, bad, bad_len);
    return true;
}

struct findings {
    const char *name; /* the damaged object */
    uint64_t damages;
    bool names_it;
    bool affects[BACKUPS][DISKS];
};

static void
on_damage(void *arg, const char *object, const char *cause)
{
    struct findings *f = arg;

    f->damages++;
    CHECK(cause[0] != 0);
    if (strcmp(object, f->name) == 0 || strstr(cause, f->name) != NULL)
        f->names_it = true;
}

static void
on_affected(void *arg, const struct repo_entry *backup, const char *disk,
            uint64_t lost_bytes)
{
    struct findings *f = arg;

    CHECK(lost_bytes > 0);
    for (unsigned i = 0; i < BACKUPS; i++)
        for (unsigned d = 0; d < DISKS; d++)
            if (strcmp(backup->id, ids[i]) == 0 &&
                (disk[0] == 0 || strcmp(disk, disks[i][d].name) == 0))
                f->affects[i][d] = true;
}

static bool
is_damage_code(const struct err *err)
{
    return blob_is_lost(err) || err->code == ERR_UNSUPPORTED;
}

/* Every byte is right, or an error says that it cannot be read. */
static bool
reads_all(struct repo_view *v, const struct testing_disk *d)
{
    size_t chunk = (size_t)1 << d->log2;
    CLEANUP(mem_free) uint8_t *want = xcalloc(1, chunk);
    CLEANUP(mem_free) uint8_t *got = xcalloc(1, chunk);
    struct err err = { 0 };
    bool is_good = true;
    unsigned n = 0;

    CHECK_OK(repo_view_find_disk(v, d->name, &n, &err), &err);
    for (uint64_t off = 0; off < d->size; off += chunk) {
        size_t len = d->size - off < chunk ? (size_t)(d->size - off) : chunk;

        if (repo_view_read(v, n, off, got, len, &err) < 0) {
            CHECK(is_damage_code(&err));
            CHECK(strstr(err.msg, d->name) != NULL);
            is_good = false;
            continue;
        }
        testing_disk_read(d, off, want, len);
        CHECK(memcmp(want, got, len) == 0);
    }
    return is_good;
}

static int
drop(void *arg, uint64_t off, const void *data, size_t len, struct err *err)
{
    CLEANUP(mem_free) uint8_t *want = xcalloc(1, len + 1);

    testing_disk_read(arg, off, want, len);
    CHECK(memcmp(want, data, len) == 0);
    return 0;
}

/* A restore gives right bytes only, and fails exactly if reading does. */
static void
check_restore(struct repo_view *v, struct testing_disk *d, bool is_good)
{
    struct repo_sink sink = { .write = drop, .arg = d };
    struct err err = { 0 };
    unsigned n = 0;
    int rc;

    CHECK_OK(repo_view_find_disk(v, d->name, &n, &err), &err);
    rc = repo_view_restore(v, n, 0, d->size, 2, &sink, &err);
    CHECK_INT(rc, ==, is_good ? 0 : -1);
    if (!is_good)
        CHECK(is_damage_code(&err) && strstr(err.msg, d->name) != NULL);
}

static void
check_damaged(struct repo *repo, const char *name, enum damage kind)
{
    struct findings f = { .name = name };
    struct repo_verify_sink sink = { .damage = on_damage,
                                     .affected = on_affected,
                                     .arg = &f };
    struct err err = { 0 };
    uint64_t damages = 0;
    bool is_log = strncmp(name, "log/", 4) == 0;
    bool is_index = strncmp(name, "x/", 2) == 0; /* nobody misses it */

    CHECK_OK(repo_verify(repo, REPO_VERIFY_TREES, 2, &sink, &damages, &err),
             &err);
    CHECK(damages == f.damages);
    if (!is_index && (!f.names_it || damages == 0))
        printf("# %s, damage %d: %llu found\n", name, kind,
               (unsigned long long)damages);
    CHECK(is_index ? damages == 0 : damages > 0 && f.names_it);
    for (unsigned i = 0; i < BACKUPS; i++) {
        CLEANUP(repo_view_close) struct repo_view *v = NULL;

        if (repo_view_open(repo, ids[i], &v, &err) < 0) {
            CHECK(is_damage_code(&err));
            /* A COMMIT that is lost hides its backup. */
            CHECK(is_log || (f.affects[i][0] && f.affects[i][1]));
            continue;
        }
        for (unsigned d = 0; d < DISKS; d++) {
            /* Reading may find the same chunk elsewhere in its cache. */
            CHECK(reads_all(v, &disks[i][d]) || f.affects[i][d]);
            check_restore(v, &disks[i][d], !f.affects[i][d]);
        }
    }
}

static void
damage_one(const char *name, enum damage kind, bool is_last_entry)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(mem_free) uint8_t *data = NULL;
    struct err err = { 0 };
    size_t len = 0;

    data = testing_load(name, &len);
    /* A log without its last entry is a whole, older log. */
    if (!(kind >= REMOVE && is_last_entry) && inflict(kind, name, data, len)) {
        if (testing_repo_try_open(&repo, &err) == 0)
            check_damaged(repo, name, kind);
        else /* no repo.cfg, or no slot for our key */
            CHECK(is_damage_code(&err) || err.code == ERR_DENIED ||
                  err.code == ERR_INVALID);
        if (kind == REMOVE) {
            CLEANUP(blob_free) struct blob *b = testing_blob();
            bool existed;

            CHECK_OK(blob_put(b, name, data, len, &existed, &err), &err);
        } else {
            testing_replace(name, data, len);
        }
    }
}

/* The disk has a place that gives EIO: what lies there is lost, the rest is
 * not, and verify goes on behind it. */
static void
a_place_that_cannot_be_read_is_damage(void)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    struct err err = { 0 };

    testing_seed(seed);
    make_repo(true, BACKUPS);
    {
        CLEANUP(blob_free) struct blob *b = testing_blob();

        CHECK_OK(blob_list(b, "", &n, &err), &err);
    }
    for (size_t i = 0; i < n.count; i++) {
        CLEANUP(mem_free) uint8_t *data = NULL;
        size_t len = 0;

        if (strchr("mp", n.names[i][0]) == NULL)
            continue;
        data = testing_load(n.names[i], &len);
        for (unsigned k = 0; k < 6; k++) {
            CLEANUP(repo_close) struct repo *repo = NULL;
            uint64_t at = k == 0 ? 0 : k == 1 ? len - 1 : testing_below(len);

            repo = testing_repo_open((struct blob_fault_plan){
                .kind = BLOB_FAULT_BAD_PLACE, .n = at, .object = n.names[i] });
            check_damaged(repo, n.names[i], DAMAGES);
        }
    }
    forget_repo(BACKUPS);
}

/* Of each entry of the log. All backups but the one whose COMMIT it may be are
 * there, and nothing is appended behind an entry that others can read. */
static void
an_entry_that_cannot_be_read_hides_at_most_one_backup(void)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    CLEANUP(blob_free) struct blob *b = NULL;
    struct err err = { 0 };

    testing_seed(seed);
    make_repo(true, BACKUPS);
    b = testing_blob();
    CHECK_OK(blob_list(b, "log/", &n, &err), &err);
    CHECK(n.count >= BACKUPS);
    for (size_t i = 0; i < n.count; i++) {
        CLEANUP(repo_close) struct repo *repo = NULL;
        CLEANUP(mem_free) struct repo_entry *e = NULL;
        struct repo_backup_options o = { .threads = 1 };
        struct repo_backup *none = NULL;
        size_t count = 0, damage = 0;

        repo = testing_repo_open((struct blob_fault_plan){
            .kind = BLOB_FAULT_BAD_PLACE, .n = 40, .object = n.names[i] });
        CHECK_OK(repo_list(repo, &e, &count, &damage, &err), &err);
        CHECK(count + 1 >= BACKUPS);
        CHECK_INT(damage, ==, 1);
        if (i + 1 == n.count)
            CHECK_ERR(repo_backup_begin(repo, &o, &none, &err), &err,
                      ERR_UNAVAILABLE);
    }
    forget_repo(BACKUPS);
}

/* A disk of one byte again and again. */
static void
write_uniform(struct repo *repo, char id[REPO_ID_SIZE])
{
    struct repo_backup_options o = { .threads = 1 };
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, 1 << 20);
    struct err err = { 0 };
    unsigned n = 0;

    memset(data, 7, 1 << 20);
    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    memcpy(id, repo_backup_id(b), REPO_ID_SIZE);
    CHECK_OK(repo_backup_add_disk(b, "disk0", 1 << 20, 16, &n, &err), &err);
    CHECK_OK(repo_backup_write(b, n, 0, data, 1 << 20, &err), &err);
    CHECK_OK(repo_backup_commit(b, "metadata", 8, "", &err), &err);
}

/* What names no chunks is the same node in every backup, and each has its own
 * copy of it. */
static void
a_node_in_two_places_is_damaged_in_one(void)
{
    struct findings f = { 0 };
    struct repo_verify_sink sink = { .damage = on_damage,
                                     .affected = on_affected,
                                     .arg = &f };
    CLEANUP(repo_close) struct repo *repo = NULL;
    uint64_t damages = 0;
    struct err err = { 0 };
    char name[REPO_ID_SIZE + 8];

    testing_dir_make();
    repo = testing_repo_create(false);
    for (unsigned i = 0; i < 2; i++) {
        write_uniform(repo, ids[i]);
        (void)snprintf(disks[i][0].name, sizeof disks[i][0].name, "disk0");
    }
    for (unsigned i = 0; i < 2; i++) {
        CLEANUP(mem_free) uint8_t *data = NULL;
        size_t len = 0;

        memset(f.affects, 0, sizeof f.affects);
        (void)snprintf(name, sizeof name, "m/%s/0", ids[i]);
        f.name = name;
        data = testing_load(name, &len);
        data[64] ^= 4; /* the header of its first frame, a node */
        testing_replace(name, data, len);
        CHECK_OK(repo_verify(repo, REPO_VERIFY_TREES, 2, &sink, &damages, &err),
                 &err);
        CHECK(damages > 0 && f.names_it);
        CHECK(f.affects[i][0] && !f.affects[1 - i][0]);
        data[64] ^= 4;
        testing_replace(name, data, len);
    }
    testing_dir_remove();
}

/* Trees know where their frames lie: without its footer a pack reads as well.
 * Every byte of it, because in a clear pack nothing else vouches for one. */
static void
a_damaged_footer_affects_no_backup(void)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    CLEANUP(mem_free) uint8_t *data = NULL;
    struct err err = { 0 };
    size_t len = 0, from;

    testing_seed(7);
    make_repo(false, BACKUPS);
    {
        CLEANUP(blob_free) struct blob *b = testing_blob();

        CHECK_OK(blob_list(b, "p/", &n, &err), &err);
    }
    data = testing_load(n.names[0], &len);
    from = (size_t)le_get64(data + len - 64 + 16);
    for (size_t at = from; at < from + 24 + 80; at += 13) {
        CLEANUP(repo_close) struct repo *repo = NULL;
        struct findings f = { .name = n.names[0] };
        struct repo_verify_sink sink = { .damage = on_damage,
                                         .affected = on_affected,
                                         .arg = &f };
        uint64_t damages = 0;

        data[at] ^= 4;
        testing_replace(n.names[0], data, len);
        data[at] ^= 4;
        repo = testing_repo_open((struct blob_fault_plan){ 0 });
        CHECK_OK(repo_verify(repo, REPO_VERIFY_TREES, 2, &sink, &damages, &err),
                 &err);
        CHECK(damages > 0 && f.names_it);
        for (unsigned i = 0; i < BACKUPS; i++)
            for (unsigned d = 0; d < DISKS; d++)
                CHECK(!f.affects[i][d]);
    }
    forget_repo(BACKUPS);
}

static void
damage_all(bool is_encrypted)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    struct err err = { 0 };

    make_repo(is_encrypted, BACKUPS);
    {
        CLEANUP(blob_free) struct blob *b = testing_blob();

        CHECK_OK(blob_list(b, "", &n, &err), &err);
    }
    for (size_t i = 0; i < n.count; i++) {
        bool is_last =
            strncmp(n.names[i], "log/", 4) == 0 &&
            (i + 1 == n.count || strncmp(n.names[i + 1], "log/", 4) != 0);

        for (unsigned kind = 0; kind < DAMAGES; kind++)
            for (unsigned r = 0; r < (kind == FLIP && rounds > 0 ? 4 : 1); r++)
                damage_one(n.names[i], (enum damage)kind, is_last);
    }
    forget_repo(BACKUPS);
}

static void
damage_is_found_and_named(void)
{
    testing_seed(seed);
    if (rounds == 0)
        damage_all(true);
    for (unsigned r = 0; r < rounds; r++) {
        testing_seed(seed + r);
        damage_all(true);
        damage_all(false);
    }
}

/* ---- crashes ---- */

/* A second backup, then the first is deleted. */
static int
do_work(struct repo *repo, struct err *err)
{
    const char *first[] = { ids[0] };

    if (write_backup(repo, ids[0], disks[1], 0, "second", ids[1], err) < 0)
        return -1;
    return repo_delete(repo, first, 1, err);
}

static uint64_t
verify_damages(struct repo *repo)
{
    struct repo_verify_sink sink = { 0 };
    struct err err = { 0 };
    uint64_t damages = 99;

    CHECK_OK(repo_verify(repo, REPO_VERIFY_TREES, 2, &sink, &damages, &err),
             &err);
    return damages;
}

/* Is backup i there? Then it is whole. */
static bool
check_if_there(struct repo *repo, unsigned i)
{
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    struct err err = { 0 };

    if (ids[i][0] == 0)
        return false;
    if (repo_view_open(repo, ids[i], &v, &err) < 0) {
        CHECK_INT(err.code, ==, ERR_NOT_FOUND);
        return false;
    }
    for (unsigned d = 0; d < DISKS; d++)
        testing_disk_check(&disks[i][d], v);
    return true;
}

static void
crash_once(struct blob_fault_plan plan)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct err err = { 0 };
    bool first, second;
    int rc;

    testing_seed(seed);
    testing_has_parity = true;
    make_repo(plan.n % 2 == 0, 1);
    testing_has_parity = false;
    ids[1][0] = 0;
    for (unsigned d = 0; d < DISKS; d++) {
        testing_disk_copy(&disks[1][d], &disks[0][d]);
        for (uint64_t c = 0; c < 9; c++)
            testing_disk_set(&disks[1][d], 3 * c, TESTING_RANDOM, 1000 + c);
    }
    repo = testing_repo_open(plan);
    rc = do_work(repo, &err);
    repo_close(TAKE(repo));

    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    first = check_if_there(repo, 0);
    second = check_if_there(repo, 1);
    CHECK(first || second); /* never neither */
    CHECK(rc < 0 || (second && !first));
    /* A store that tears objects can tear an entry of the log, which is then
     * reported; a directory cannot. */
    if (plan.kind != BLOB_FAULT_TORN)
        CHECK_INT(verify_damages(repo), ==, 0);
    else
        CHECK_INT(verify_damages(repo), <=, 1);
    CHECK_OK(write_backup(repo, first ? ids[0] : ids[1], disks[first ? 0 : 1],
                          0, "after", ids[2], &err),
             &err);
    forget_repo(2);
}

static uint64_t
count_changes(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct err err = { 0 };

    /* The plan's number is past every change: nothing happens. */
    for (uint64_t n = 1;; n++) {
        struct blob_fault_plan plan = { .kind = BLOB_FAULT_CRASH, .n = n };
        int rc;

        testing_seed(seed);
        testing_has_parity = true;
        make_repo(true, 1);
        testing_has_parity = false;
        for (unsigned d = 0; d < DISKS; d++)
            testing_disk_copy(&disks[1][d], &disks[0][d]);
        repo = testing_repo_open(plan);
        rc = do_work(repo, &err);
        repo_close(TAKE(repo));
        forget_repo(2);
        if (rc == 0)
            return n - 1;
    }
}

static void
a_crash_leaves_the_old_state_or_the_new(void)
{
    static const enum blob_fault_kind kinds[] = {
        BLOB_FAULT_CRASH, BLOB_FAULT_TORN, BLOB_FAULT_LOST, BLOB_FAULT_ERROR
    };
    uint64_t changes = count_changes();

    CHECK(changes >= 6);
    for (size_t k = 0; k < (rounds > 0 ? ARRAY_SIZE(kinds) : 2); k++)
        for (uint64_t n = 1; n <= changes + 1; n++)
            crash_once((struct blob_fault_plan){
                .kind = kinds[k],
                .n = n,
                .torn_permille = (uint32_t)testing_below(1000) });
    printf("# %llu changes, %zu kinds of fault\n", (unsigned long long)changes,
           ARRAY_SIZE(kinds));
}

/* Anybody who can write there can make such a name; looking for each entry
 * before it took minutes and all of the memory. */
static void
an_entry_far_beyond_the_log_is_refused_at_once(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(blob_free) struct blob *b = NULL;
    CLEANUP(mem_free) struct repo_entry *entries = NULL;
    struct err err = { 0 };
    size_t n, damage;
    bool existed;

    testing_seed(seed);
    make_repo(false, 1);
    b = testing_blob();
    CHECK_OK(blob_put(b, "log/00000000000099999999", "x", 1, &existed, &err),
             &err);
    (void)alarm(60);
    repo = testing_repo_open((struct blob_fault_plan){ 0 });
    CHECK_ERR(repo_list(repo, &entries, &n, &damage, &err), &err, ERR_CORRUPT);
    (void)alarm(0);
    CHECK(strstr(err.msg, "99999999") != NULL);
    CHECK_OK(blob_remove(b, "log/00000000000099999999", &err), &err);
    CHECK_OK(repo_list(repo, &entries, &n, &damage, &err), &err);
    CHECK_INT(n, ==, 1);
    forget_repo(1);
}

static void
a_read_error_is_an_error(void)
{
    struct blob_fault_plan plan = { .kind = BLOB_FAULT_GET_ERROR };
    unsigned failures = 0;

    testing_seed(seed);
    make_repo(true, 1);
    for (plan.n = 4; plan.n < 60; plan.n += 3) {
        CLEANUP(repo_close) struct repo *repo = testing_repo_open(plan);
        CLEANUP(repo_view_close) struct repo_view *v = NULL;
        struct repo_sink sink = { .write = drop, .arg = &disks[0][1] };
        struct err err = { 0 };
        unsigned n = 0;

        if (repo_view_open(repo, ids[0], &v, &err) < 0 ||
            repo_view_find_disk(v, "disk1", &n, &err) < 0 ||
            repo_view_restore(v, n, 0, disks[0][1].size, 2, &sink, &err) < 0) {
            CHECK_INT(err.code, ==, ERR_UNAVAILABLE);
            failures++;
        }
    }
    CHECK(failures > 0);
    forget_repo(1);
}

int
main(int argc, char **argv)
{
    static const struct test_case tests[] = {
        { "damage is found and named", damage_is_found_and_named },
        { "a place that cannot be read is damage",
          a_place_that_cannot_be_read_is_damage },
        { "an entry that cannot be read hides at most one backup",
          an_entry_that_cannot_be_read_hides_at_most_one_backup },
        { "a node in two places is damaged in one",
          a_node_in_two_places_is_damaged_in_one },
        { "a damaged footer affects no backup",
          a_damaged_footer_affects_no_backup },
        { "a crash leaves the old state or the new",
          a_crash_leaves_the_old_state_or_the_new },
        { "a read error is an error", a_read_error_is_an_error },
        { "an entry far beyond the log is refused at once",
          an_entry_far_beyond_the_log_is_refused_at_once },
    };

    if (argc > 1)
        rounds = (unsigned)strtoul(argv[1], NULL, 10);
    if (argc > 2)
        seed = strtoull(argv[2], NULL, 10);
    return test_main(tests, ARRAY_SIZE(tests));
}
