/* SPDX-License-Identifier: Apache-2.0 */
/* Roles, slots, rotation: what each key can do and what it cannot. */
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "blob/blob-dir.h"
#include "codec/keys-slot.h"
#include "repo/commitlog.h"
#include "repo/compact.h"
#include "repo/logstate.h"
#include "repo/repo-id.h"
#include "repo/repo-keys.h"
#include "repo/repo-private.h"
#include "repo/test-model.h"

#define SIZE ((size_t)1 << 20)

static uint8_t content[SIZE];

/* A key file of its own for a role; `name` in the test's directory. */
static const char *
key_path(const char *name)
{
    static char path[8][128];
    static unsigned n;
    char *p = path[n++ % 8];

    (void)snprintf(p, 128, "%s/.%s.key", testing_dir, name);
    return p;
}

static int
open_as(const char *name, struct repo **ret, struct err *err)
{
    struct repo_secret s = { .key_file = key_path(name) };

    return repo_open(testing_blob(), &s, ret, err);
}

static struct repo *
must_open_as(const char *name)
{
    struct repo *repo = NULL;
    struct err err = { 0 };

    CHECK_OK(open_as(name, &repo, &err), &err);
    return repo;
}

static void
add_role(struct repo *repo, const char *role, char id[REPO_ID_SIZE])
{
    struct repo_keys_new n = { .role = role,
                               .label = "test",
                               .key_file = key_path(role) };
    struct err err = { 0 };

    CHECK_OK(repo_keys_add(repo, &n, id, &err), &err);
}

static int
back_up(struct repo *repo, const char *parent, char id[REPO_ID_SIZE],
        struct err *err)
{
    struct repo_backup_options o = { .parent = parent, .threads = 1 };
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    unsigned disk = 0;

    if (repo_backup_begin(repo, &o, &b, err) < 0)
        return -1;
    memcpy(id, repo_backup_id(b), REPO_ID_SIZE);
    if (repo_backup_add_disk(b, "vda", SIZE, 0, &disk, err) < 0 ||
        repo_backup_write(b, disk, 0, content, SIZE, err) < 0)
        return -1;
    return repo_backup_commit(b, "meta", 4, "uid", err);
}

static int
read_back(struct repo *repo, const char *id, struct err *err)
{
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    CLEANUP(mem_free) uint8_t *got = xcalloc(1, SIZE);

    if (repo_view_open(repo, id, &v, err) < 0 ||
        repo_view_read(v, 0, 0, got, SIZE, err) < 0)
        return -1;
    CHECK(memcmp(got, content, SIZE) == 0);
    return 0;
}

/* Every chunk is what `content` has, but `other`. */
static void
check_chunks(struct repo *repo, const char *id, int other)
{
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    struct err err = { 0 };

    CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
    for (int i = 0; i < (int)(SIZE >> 16); i++) {
        bool is = i == other;

        CHECK_OK(repo_view_is_chunk(v, 0, (uint64_t)i << 16,
                                    content + ((size_t)i << 16), &is, &err),
                 &err);
        CHECK_INT(is, ==, i != other);
    }
}

static int
delete_one(struct repo *repo, const char *id, struct err *err)
{
    const char *ids[] = { id };

    return repo_delete(repo, ids, 1, err);
}

static uint64_t
stored_by(struct repo *repo, const char *id)
{
    CLEANUP(mem_free) struct repo_entry *e = NULL;
    size_t n = 0, damage = 0;
    struct err err = { 0 };

    CHECK_OK(repo_list(repo, &e, &n, &damage, &err), &err);
    CHECK_INT(damage, ==, 0);
    for (size_t i = 0; i < n; i++)
        if (strcmp(e[i].id, id) == 0)
            return e[i].stored_bytes;
    CHECK(false);
    return 0;
}

static struct repo *
begin(void)
{
    testing_dir_make();
    for (size_t i = 0; i < SIZE; i++)
        content[i] = (uint8_t)testing_random();
    return testing_repo_create(true);
}

static void
each_role_does_what_it_may(void)
{
    CLEANUP(repo_close) struct repo *full = begin();
    char first[REPO_ID_SIZE], second[REPO_ID_SIZE], id[REPO_ID_SIZE];
    struct repo_keys_new n = { .passphrase = "x", .is_kdf_fast = true };
    struct err err = { 0 };

    add_role(full, "backup-only", id);
    add_role(full, "restore-only", id);
    add_role(full, "maintainer", id);
    CHECK_OK(back_up(full, NULL, first, &err), &err);
    {
        CLEANUP(repo_close) struct repo *r = must_open_as("backup-only");

        CHECK(strcmp(repo_info_get(r)->role, "backup-only") == 0);
        CHECK_ERR(read_back(r, first, &err), &err, ERR_DENIED);
        check_chunks(r, first, -1);
        content[0] ^= 1; /* one chunk is new, the others are found */
        check_chunks(r, first, 0);
        CHECK_OK(back_up(r, first, second, &err), &err);
        CHECK(stored_by(r, second) < 200000);
        CHECK_ERR(read_back(r, second, &err), &err, ERR_DENIED);
        CHECK_ERR(delete_one(r, first, &err), &err, ERR_DENIED);
        CHECK_ERR(repo_keys_add(r, &n, id, &err), &err, ERR_DENIED);
    }
    {
        CLEANUP(repo_close) struct repo *r = must_open_as("restore-only");

        CHECK_OK(read_back(r, second, &err), &err);
        CHECK_ERR(back_up(r, NULL, id, &err), &err, ERR_DENIED);
        CHECK_ERR(delete_one(r, first, &err), &err, ERR_DENIED);
    }
    {
        CLEANUP(repo_close) struct repo *r = must_open_as("maintainer");

        CHECK_ERR(read_back(r, second, &err), &err, ERR_DENIED);
        CHECK_ERR(back_up(r, NULL, id, &err), &err, ERR_DENIED);
        CHECK_OK(delete_one(r, first, &err), &err);
    }
    {
        CLEANUP(repo_close) struct repo *again = must_open_as("restore-only");
        uint64_t damages = 9;

        CHECK_ERR(read_back(again, first, &err), &err, ERR_NOT_FOUND);
        CHECK_OK(read_back(again, second, &err), &err);
        CHECK_OK(repo_verify(again, REPO_VERIFY_TREES, 1,
                             &(struct repo_verify_sink){ 0 }, &damages, &err),
                 &err);
        CHECK_INT(damages, ==, 0);
    }
    testing_dir_remove();
}

/* A stolen hypervisor writes what it likes: the MAC of its entry is right. It
 * may leave the signature away, or make one with a key of its own. */
static void
forge_a_delete(bool is_signed)
{
    CLEANUP(repo_close) struct repo *full = begin();
    CLEANUP(mem_free) struct repo_entry *e = NULL;
    CLEANUP(buf_fini) struct buf body = BUF_INIT;
    CLEANUP(buf_fini) struct buf last = BUF_INIT;
    CLEANUP(buf_fini) struct buf bytes = BUF_INIT;
    char id[REPO_ID_SIZE], backup[REPO_ID_SIZE], name[32], path[128];
    struct commitlog_entry forged = { .type = COMMITLOG_DELETE,
                                      .is_critical = true,
                                      .is_signed = is_signed };
    size_t n = 0, damage = 0;
    struct err err = { 0 };
    bool existed = true;

    add_role(full, "backup-only", id);
    CHECK_OK(back_up(full, NULL, backup, &err), &err);
    {
        CLEANUP(repo_close) struct repo *thief = must_open_as("backup-only");
        uint8_t raw[16];

        CHECK(repo_id_parse(backup, raw));
        CHECK_OK(repo_list(thief, &e, &n, &damage, &err), &err);
        commitlog_name(e[0].seq, name);
        (void)snprintf(path, sizeof path, "%s/%s", testing_dir, name);
        CHECK_OK(file_read_all(path, 65536, &last, &err), &err);
        buf_add(&body, "\1\0", 2);
        buf_add(&body, raw, 16);
        forged.seq = e[0].seq + 1;
        hash_sha256(last.data, last.len, forged.prev);
        forged.body = (const uint8_t *)body.data;
        forged.body_len = body.len;
        if (is_signed) {
            thief->keys.role = KEYS_ROLE_FULL;
            memset(thief->keys.admin_seed, 0x66, KEYS_SIZE);
        }
        commitlog_encode(&forged, thief->uuid, &thief->keys, &bytes);
        commitlog_name(forged.seq, name);
        CHECK_OK(
            blob_put(thief->blob, name, bytes.data, bytes.len, &existed, &err),
            &err);
        CHECK(!existed);
    }
    {
        CLEANUP(repo_close) struct repo *again = must_open_as("backup-only");

        free(TAKE(e));
        CHECK_OK(repo_list(again, &e, &n, &damage, &err), &err);
        CHECK_INT(n, ==, 1);
        CHECK_INT(damage, ==, 1);
    }
    CHECK_OK(read_back(full, backup, &err), &err);
    testing_dir_remove();
}

static void
a_forged_delete_deletes_nothing(void)
{
    forge_a_delete(false);
    forge_a_delete(true);
}

static void
rotation_keeps_what_is_old_and_shuts_out_who_was_removed(void)
{
    CLEANUP(repo_close) struct repo *full = begin();
    CLEANUP(repo_close) struct repo *removed = NULL;
    CLEANUP(repo_close) struct repo *now = NULL;
    char first[REPO_ID_SIZE], second[REPO_ID_SIZE], third[REPO_ID_SIZE],
        id[REPO_ID_SIZE], gone[REPO_ID_SIZE];
    struct err err = { 0 };
    unsigned epoch = 0;
    size_t skipped = 9;
    bool is_current = true;

    add_role(full, "restore-only", gone);
    add_role(full, "backup-only", id);
    CHECK_OK(back_up(full, NULL, first, &err), &err);
    removed = must_open_as("restore-only");
    CHECK_OK(repo_keys_remove(full, gone, &err), &err);
    CHECK_OK(repo_keys_rotate(full, &epoch, &skipped, &err), &err);
    CHECK_INT(epoch, ==, 1);
    CHECK_INT(skipped, ==, 0);
    /* Who has not opened it again does not go on with the old keys. */
    CHECK_ERR(back_up(full, first, second, &err), &err, ERR_UNAVAILABLE);
    CHECK_OK(repo_keys_is_current(full, &is_current, &err), &err);
    CHECK(!is_current);
    CHECK_OK(testing_repo_try_open(&now, &err), &err);
    CHECK_INT(repo_info_get(now)->key_epoch, ==, 1);
    CHECK_OK(repo_keys_is_current(now, &is_current, &err), &err);
    CHECK(is_current);
    content[SIZE / 2] ^= 1;
    CHECK_OK(back_up(now, first, second, &err), &err);
    CHECK(stored_by(now, second) < 200000); /* dedup goes on */
    CHECK_OK(read_back(now, second, &err), &err);
    {
        CLEANUP(repo_close) struct repo *r = must_open_as("backup-only");

        content[0] ^= 1;
        CHECK_OK(back_up(r, second, third, &err), &err);
    }
    CHECK_OK(read_back(now, third, &err), &err);
    CHECK(read_back(removed, third, &err) < 0);
    CHECK(read_back(removed, second, &err) < 0);
    content[SIZE / 2] ^= 1;
    content[0] ^= 1;
    CHECK_OK(read_back(removed, first, &err), &err);
    CHECK_OK(read_back(now, first, &err), &err);
    {
        CLEANUP(repo_close) struct repo *r = NULL;

        CHECK_ERR(open_as("restore-only", &r, &err), &err, ERR_DENIED);
    }
    testing_dir_remove();
}

/* As a collector would for good: no longer to be taken back. */
static void
drop_one(struct repo *repo, const char *backup)
{
    struct commitlog_condemn c = { 0 };
    const struct logstate *s;
    struct err err = { 0 };

    CHECK_OK(delete_one(repo, backup, &err), &err);
    CHECK_OK(commitlog_state_take(repo->log, &s, &err), &err);
    c.base_seq = s->last_seq;
    commitlog_state_give(repo->log);
    c.drops = xcalloc(1, 16);
    c.drop_count = 1;
    CHECK(repo_id_parse(backup, c.drops[0]));
    CHECK_OK(commitlog_append_condemn(repo->log, &c, &err), &err);
    commitlog_condemn_fini(&c);
}

static void
renew(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        content[i] = (uint8_t)testing_random();
}

/* What a full key wrapped, what a backup-only key sealed, in two epochs. */
static void
who_cannot_read_compacts_what_others_stored(void)
{
    CLEANUP(repo_close) struct repo *full = begin();
    CLEANUP(repo_close) struct repo *reader = NULL;
    char ids[4][REPO_ID_SIZE], id[REPO_ID_SIZE], last[REPO_ID_SIZE];
    const struct repo_compact_options o = { .dead_percent = 1 };
    const struct repo_compact_sink none = { 0 };
    struct repo_compact_result result;
    struct err err = { 0 };
    unsigned epoch = 0;
    size_t skipped = 0;

    add_role(full, "backup-only", id);
    add_role(full, "restore-only", id);
    add_role(full, "maintainer", id);
    for (unsigned i = 0; i < 4; i++) {
        CLEANUP(repo_close) struct repo *r = NULL;

        if (i == 2)
            CHECK_OK(repo_keys_rotate(full, &epoch, &skipped, &err), &err);
        if (i % 2 == 0)
            CHECK_OK(testing_repo_try_open(&r, &err), &err);
        else
            CHECK_OK(open_as("backup-only", &r, &err), &err);
        renew(SIZE / 5 * i, SIZE);
        CHECK_OK(back_up(r, i == 0 ? NULL : ids[i - 1], ids[i], &err), &err);
    }
    {
        CLEANUP(repo_close) struct repo *r = must_open_as("backup-only");

        content[0] ^= 1;
        CHECK_OK(back_up(r, ids[3], last, &err), &err);
        CHECK_ERR(repo_compact(r, &o, &none, &result, &err), &err, ERR_DENIED);
    }
    {
        CLEANUP(repo_close) struct repo *r = must_open_as("maintainer");

        for (unsigned i = 0; i < 4; i++)
            drop_one(r, ids[i]);
        CHECK_OK(repo_compact(r, &o, &none, &result, &err), &err);
        CHECK(result.packs_rewritten >= 3);
    }
    reader = must_open_as("restore-only");
    CHECK_OK(read_back(reader, last, &err), &err);
    {
        uint64_t damages = 9;

        CHECK_OK(repo_verify(reader, REPO_VERIFY_TREES, 1,
                             &(struct repo_verify_sink){ 0 }, &damages, &err),
                 &err);
        CHECK_INT(damages, ==, 0);
    }
    testing_dir_remove();
}

/* A backup that was begun before a rotation ends after it, with the keys that
 * it has: who has all encrypted anew is told. */
static void
a_backup_at_work_goes_on_with_the_older_keys(void)
{
    CLEANUP(repo_close) struct repo *full = begin();
    CLEANUP(repo_close) struct repo *now = NULL;
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    CLEANUP(repo_backup_free) struct repo_backup *newer = NULL;
    struct repo_backup_options o = { .threads = 1 };
    const struct repo_compact_options all = { .rewrites_keys = true };
    const struct repo_compact_sink none = { 0 };
    struct repo_compact_result r;
    char first[REPO_ID_SIZE], id[REPO_ID_SIZE];
    struct err err = { 0 };
    unsigned epoch = 0, disk = 0;
    size_t skipped = 0;

    CHECK_OK(back_up(full, NULL, first, &err), &err);
    CHECK_OK(repo_backup_begin(full, &o, &b, &err), &err);
    memcpy(id, repo_backup_id(b), REPO_ID_SIZE);
    CHECK_OK(repo_keys_rotate(full, &epoch, &skipped, &err), &err);
    CHECK_OK(testing_repo_try_open(&now, &err), &err);
    CHECK_OK(repo_backup_begin(now, &o, &newer, &err), &err); /* well */
    CHECK_OK(repo_compact(now, &all, &none, &r, &err), &err);
    CHECK_INT(r.packs_rewritten, ==, 2);
    CHECK_INT(r.old_sessions, ==, 1);
    renew(0, SIZE);
    CHECK_OK(repo_backup_add_disk(b, "vda", SIZE, 0, &disk, &err), &err);
    CHECK_OK(repo_backup_write(b, disk, 0, content, SIZE, &err), &err);
    CHECK_OK(repo_backup_commit(b, NULL, 0, "uid", &err), &err);
    CHECK_OK(repo_compact(now, &all, &none, &r, &err), &err);
    CHECK_INT(r.packs_rewritten, ==, 2);
    CHECK_INT(r.old_sessions, ==, 0);
    CHECK_OK(repo_compact(now, &all, &none, &r, &err), &err);
    CHECK_INT(r.packs_rewritten + r.old_sessions, ==, 0);
    CHECK_OK(read_back(now, id, &err), &err);
    testing_dir_remove();
}

static void
the_last_full_key_stays(void)
{
    CLEANUP(repo_close) struct repo *full = begin();
    CLEANUP(mem_free) struct repo_key *k = NULL;
    char id[REPO_ID_SIZE];
    struct err err = { 0 };
    size_t n = 0;

    add_role(full, "maintainer", id);
    CHECK_OK(repo_keys_list(full, &k, &n, &err), &err);
    CHECK_INT(n, ==, 2);
    for (size_t i = 0; i < n; i++) {
        CHECK(k[i].is_genuine);
        if (strcmp(k[i].role, "full") == 0)
            CHECK_ERR(repo_keys_remove(full, k[i].id, &err), &err,
                      ERR_CONFLICT);
        else
            CHECK_OK(repo_keys_remove(full, k[i].id, &err), &err);
    }
    testing_dir_remove();
}

static void
a_recipient_needs_no_secret_to_be_added(void)
{
    CLEANUP(repo_close) struct repo *full = begin();
    CLEANUP(repo_close) struct repo *r = NULL;
    char public_key[96], id[REPO_ID_SIZE], backup[REPO_ID_SIZE];
    struct repo_keys_new n = { .recipient = public_key,
                               .role = "restore-only" };
    struct err err = { 0 };
    unsigned epoch = 0;
    size_t skipped = 9;

    CHECK_OK(repo_keys_make_recipient(key_path("her"), public_key, &err), &err);
    CHECK_OK(repo_keys_add(full, &n, id, &err), &err);
    CHECK_OK(repo_keys_rotate(full, &epoch, &skipped, &err), &err);
    {
        CLEANUP(repo_close) struct repo *now = NULL;

        CHECK_OK(testing_repo_try_open(&now, &err), &err);
        CHECK_OK(back_up(now, NULL, backup, &err), &err);
    }
    r = must_open_as("her");
    CHECK_OK(read_back(r, backup, &err), &err);
    testing_dir_remove();
}

/* After a rotation that was cut off at any change of the store, every key
 * opens it, what was there is readable, and backups and rotations go on. */
static void
a_rotation_that_crashes_harms_nothing(void)
{
    for (uint64_t at = 1; at <= 24; at++) {
        CLEANUP(repo_close) struct repo *full = begin();
        char backup[REPO_ID_SIZE], second[REPO_ID_SIZE], id[REPO_ID_SIZE];
        struct err err = { 0 };
        unsigned epoch = 0;
        size_t skipped = 0;

        add_role(full, "backup-only", id);
        CHECK_OK(back_up(full, NULL, backup, &err), &err);
        {
            CLEANUP(repo_close)
            struct repo *r = testing_repo_open((struct blob_fault_plan){
                .kind = at % 2 == 0 ? BLOB_FAULT_CRASH : BLOB_FAULT_TORN,
                .n = (at + 1) / 2,
                .torn_permille = 500 });
            struct err ignored;

            (void)!repo_keys_rotate(r, &epoch, &skipped, &ignored);
        }
        for (unsigned i = 0; i < 2; i++) {
            CLEANUP(repo_close) struct repo *a = NULL;
            CLEANUP(repo_close) struct repo *b = must_open_as("backup-only");

            CHECK_OK(testing_repo_try_open(&a, &err), &err);
            CHECK_OK(read_back(a, backup, &err), &err);
            CHECK_OK(back_up(a, backup, second, &err), &err);
            CHECK_OK(back_up(b, backup, second, &err), &err);
            CHECK_OK(read_back(a, second, &err), &err);
            CHECK_OK(repo_keys_rotate(a, &epoch, &skipped, &err), &err);
        }
        testing_dir_remove();
    }
}

/* Who can write to the store knows the public key of each slot, and can seal
 * keys of his own to it. Nobody takes them for those of a rotation. */
static void
a_forged_grant_gives_nobody_its_keys(void)
{
    CLEANUP(repo_close) struct repo *full = begin();
    CLEANUP(repo_close) struct repo *again = NULL;
    CLEANUP(blob_free) struct blob *blob = testing_blob();
    CLEANUP(blob_names_fini) struct blob_names names = { 0 };
    CLEANUP(buf_fini) struct buf bytes = BUF_INIT;
    static const uint8_t root[KEYS_SIZE] = { 66 }, rotation[16] = { 6 };
    uint8_t data[KEYS_SLOT_MAX], uuid[16];
    char backup[REPO_ID_SIZE], id[REPO_ID_SIZE], name[64];
    struct keys_slot slot, head;
    struct err err = { 0 };
    struct keys forged;
    bool existed = true;
    size_t len = 0;

    CHECK_OK(back_up(full, NULL, backup, &err), &err);
    CHECK_OK(blob_list(blob, "keys/", &names, &err), &err);
    CHECK_INT(names.count, ==, 1);
    CHECK_OK(blob_get(blob, names.names[0], 0, data, sizeof data, &len, &err),
             &err);
    CHECK_OK(keys_slot_decode(data, len, full->uuid, full->cipher, &slot, &err),
             &err);
    keys_init(&forged, root);
    CHECK(keys_add_epoch(&forged, root, rotation));
    head = slot;
    head.kind = KEYS_SLOT_GRANT;
    CHECK_OK(keys_slot_encode(&forged, &head, NULL, &bytes, &err), &err);
    repo_id_random(uuid);
    repo_id_format(uuid, id);
    (void)snprintf(name, sizeof name, "keys/%s", id);
    CHECK_OK(blob_put(blob, name, bytes.data, bytes.len, &existed, &err), &err);
    CHECK(!existed);
    CHECK_OK(testing_repo_try_open(&again, &err), &err);
    CHECK_INT(repo_info_get(again)->key_epoch, ==, 0);
    CHECK_OK(read_back(again, backup, &err), &err);
    CHECK_OK(back_up(again, backup, id, &err), &err);
    CHECK_OK(read_back(full, id, &err), &err);
    testing_dir_remove();
}

/* Who will be removed keeps a copy of his slot in the store. */
static void
a_slot_under_another_name_lets_nobody_in(void)
{
    CLEANUP(repo_close) struct repo *full = begin();
    CLEANUP(repo_close) struct repo *gone = NULL;
    CLEANUP(blob_free) struct blob *blob = testing_blob();
    CLEANUP(mem_free) struct repo_key *k = NULL;
    CLEANUP(mem_free) uint8_t *data = NULL;
    char id[REPO_ID_SIZE], other[REPO_ID_SIZE], name[64];
    struct err err = { 0 };
    uint8_t uuid[16];
    bool existed;
    size_t len = 0, n = 0;

    add_role(full, "restore-only", id);
    (void)snprintf(name, sizeof name, "keys/%s", id);
    data = testing_load(name, &len);
    for (unsigned i = 0; i < 8; i++) { /* before and behind it in lists */
        repo_id_random(uuid);
        repo_id_format(uuid, other);
        (void)snprintf(name, sizeof name, "keys/%s", other);
        CHECK_OK(blob_put(blob, name, data, len, &existed, &err), &err);
    }
    CHECK_OK(repo_keys_list(full, &k, &n, &err), &err);
    CHECK_INT(n, ==, 2);
    CHECK_OK(repo_keys_remove(full, id, &err), &err);
    CHECK_ERR(open_as("restore-only", &gone, &err), &err, ERR_DENIED);
    testing_dir_remove();
}

/* Whose key is whole opens the repository. */
static void
a_slot_that_cannot_be_read_is_in_nobodys_way(void)
{
    CLEANUP(repo_close) struct repo *full = begin();
    CLEANUP(repo_close) struct repo *again = NULL;
    char id[REPO_ID_SIZE], name[64];

    add_role(full, "backup-only", id);
    (void)snprintf(name, sizeof name, "keys/%s", id);
    again = testing_repo_open((struct blob_fault_plan){
        .kind = BLOB_FAULT_BAD_PLACE, .n = 10, .object = name });
    CHECK(repo_info_get(again)->is_unlocked);
    testing_dir_remove();
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "each role does what it may", each_role_does_what_it_may },
        { "a forged DELETE deletes nothing", a_forged_delete_deletes_nothing },
        { "rotation keeps what is old and shuts out who was removed",
          rotation_keeps_what_is_old_and_shuts_out_who_was_removed },
        { "who cannot read compacts what others stored",
          who_cannot_read_compacts_what_others_stored },
        { "a backup at work goes on with the older keys",
          a_backup_at_work_goes_on_with_the_older_keys },
        { "the last full key stays", the_last_full_key_stays },
        { "a recipient needs no secret to be added",
          a_recipient_needs_no_secret_to_be_added },
        { "a rotation that crashes harms nothing",
          a_rotation_that_crashes_harms_nothing },
        { "a forged grant gives nobody its keys",
          a_forged_grant_gives_nobody_its_keys },
        { "a slot under another name lets nobody in",
          a_slot_under_another_name_lets_nobody_in },
        { "a slot that cannot be read is in nobody's way",
          a_slot_that_cannot_be_read_is_in_nobodys_way },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
