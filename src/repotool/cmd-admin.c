/* SPDX-License-Identifier: Apache-2.0 */
/* init, info, delete, verify. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "blob/blob-dir.h"
#include "codec/hash.h"
#include "codec/jsonx.h"
#include "repotool/progress.h"
#include "repotool/repotool.h"

static int
make_parent(const char *path, struct err *err)
{
    CLEANUP(mem_free) char *dir = file_dirname(path);

    return dir[0] == '/' ? file_make_dirs(dir, 0700, err) : 0;
}

/* What init says, so that nobody learns it when it is too late. */
static void
say_key(const char *key, bool was_made)
{
    printf("Key file: %s%s\n", key, was_made ? " (made)" : "");
    printf(
        "Keep a copy of it in another place: without it nothing can be restored.\n");
}

int
cmd_init(const struct repotool *t, struct err *err)
{
    CLEANUP(mem_free) char *key = repotool_key_path(t);
    CLEANUP(mem_free) char *passphrase = NULL;
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_options o = { .is_encrypted = !t->is_unencrypted,
                              .chunk_log2 = t->chunk_log2,
                              .makes_key_file = true,
                              .makes_parity = !t->has_no_parity };
    struct repo_secret secret = { 0 };
    struct blob *blob = NULL;
    bool had_key = access(key, F_OK) == 0;

    if (t->is_unencrypted &&
        (t->key_file != NULL || t->passphrase_file != NULL))
        return err_set(
            err, ERR_INVALID,
            "--no-encryption, yet a key is given: which of the two?");
    if (o.is_encrypted && t->passphrase_file != NULL) {
        if (repotool_passphrase(t, true, &passphrase, err) < 0)
            return -1;
        secret.passphrase = passphrase;
    }
    if (o.is_encrypted && (passphrase == NULL || t->key_file != NULL)) {
        if (!had_key && make_parent(key, err) < 0)
            return -1;
        secret.key_file = key;
    }
    if (file_make_dirs(t->args[0], 0700, err) < 0 ||
        blob_dir_open(t->args[0], &blob, err) < 0)
        return -1;
    if (blob_dir_probe(blob, err) < 0) {
        blob_free(blob);
        return -1;
    }
    if (repo_create(blob, &o, &secret, &repo, err) < 0)
        return -1;
    printf("Repository %s made in %s\n", repo_info_get(repo)->uuid, t->args[0]);
    if (!o.is_encrypted)
        printf(
            "Warning: not encrypted: who can read the directory can read every disk in it.\n");
    if (secret.key_file != NULL)
        say_key(key, !had_key);
    return 0;
}

/* What info tells of the backups; not known without the key. */
struct info_backups {
    size_t n, damage;
    uint64_t stored;
};

static void
print_info(const struct repo_info *i, const struct info_backups *b)
{
    static const char *const hashing[] = {
        [HASH_OPENSSL] = "HMAC-SHA-256, OpenSSL",
        [HASH_AVX2] = "HMAC-SHA-256, eight lanes (AVX2)",
        [HASH_SHANI] = "HMAC-SHA-256, four lanes (SHA instructions)",
    };
    char created[CLOCK_RFC3339_SIZE], size[PROGRESS_SIZE];

    clock_format_rfc3339(i->created_unix_s, created);
    printf(
        "UUID:       %s\nFormat:     %u\nCreated:    %s\nEncryption: %s\nChunks:     %u KiB\nParity:     %s\nHashing:    %s\n",
        i->uuid, i->format_version, created,
        i->is_encrypted ? "AES-256-GCM" : "none", 1u << (i->chunk_log2 - 10),
        i->makes_parity ? "for each pack: repairs 2 of 64 parts" : "none",
        hashing[hash_path_get()]);
    if (!i->is_unlocked) {
        printf("Backups:    unknown without the key\n");
        return;
    }
    if (i->is_encrypted)
        printf("Key:        %s, epoch %u\n", i->role, i->key_epoch);
    progress_format(b->stored, size);
    printf("Backups:    %zu, which stored %s\n", b->n, size);
    if (b->damage > 0)
        printf(
            "Damage:     %zu log entries cannot be read; run vmkeep repo verify\n",
            b->damage);
}

static void
print_info_json(const struct repo_info *i, const struct info_backups *b)
{
    char created[CLOCK_RFC3339_SIZE];
    CLEANUP(mem_free) char *text = NULL;
    CLEANUP(json_decref) json_t *v = NULL;

    clock_format_rfc3339(i->created_unix_s, created);
    v = json_pack("{s:s, s:i, s:s, s:b, s:i, s:b, s:b}", "uuid", i->uuid,
                  "format", (int)i->format_version, "created", created,
                  "encrypted", (int)i->is_encrypted, "chunkKiB",
                  (int)(1u << (i->chunk_log2 - 10)), "parity",
                  (int)i->makes_parity, "unlocked", (int)i->is_unlocked);
    if (i->is_unlocked && i->is_encrypted) {
        jsonx_set_str(v, "role", i->role);
        jsonx_set(v, "epoch", json_integer(i->key_epoch));
    }
    if (i->is_unlocked) {
        jsonx_set(v, "backups", json_integer((json_int_t)b->n));
        jsonx_set(v, "storedBytes", json_integer((json_int_t)b->stored));
        jsonx_set(v, "damagedLogEntries", json_integer((json_int_t)b->damage));
    }
    text = jsonx_canonical(v);
    printf("%s\n", text);
}

int
cmd_info(const struct repotool *t, struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(mem_free) struct repo_entry *e = NULL;
    struct info_backups b = { 0 };
    const struct repo_info *i;

    if (repotool_open(t, true, &repo, err) < 0)
        return -1;
    i = repo_info_get(repo);
    if (i->is_unlocked && repo_list(repo, &e, &b.n, &b.damage, err) < 0)
        return -1;
    for (size_t k = 0; k < b.n; k++)
        b.stored += e[k].stored_bytes;
    (t->is_json ? print_info_json : print_info)(i, &b);
    return 0;
}

int
cmd_delete(const struct repotool *t, struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    unsigned n;

    if (repotool_open(t, false, &repo, err) < 0 ||
        repo_delete(repo, (const char *const *)(t->args + 1),
                    (size_t)t->arg_count - 1, err) < 0)
        return -1;
    n = cmd_retain_count(t);
    printf("Deleted %u %s.\n", n, n == 1 ? "backup" : "backups");
    return 0;
}

static void
on_damage(void *arg, const char *object, const char *cause)
{
    printf("damaged: %s: %s\n", object, cause);
}

static void
on_repairable(void *arg, const char *object)
{
    printf(
        "repairable: %s: restores read it from its parity, \"vmkeep repo check\" repairs it\n",
        object);
}

static void
on_affected(void *arg, const struct repo_entry *backup, const char *disk,
            uint64_t lost_bytes)
{
    char lost[PROGRESS_SIZE];

    progress_format(lost_bytes, lost);
    if (disk[0] == 0)
        printf("affected: backup %s (%s): cannot be opened\n", backup->id,
               backup->object_uid);
    else
        printf("affected: backup %s (%s): disk %s: %s cannot be read\n",
               backup->id, backup->object_uid, disk, lost);
}

static void
on_progress(void *arg, uint64_t done, uint64_t all)
{
    struct progress *p = arg;

    p->all = all;
    progress_show(p, done);
}

int
cmd_verify(const struct repotool *t, struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct progress p;
    struct repo_verify_sink sink = { .damage = on_damage,
                                     .repairable = on_repairable,
                                     .affected = on_affected,
                                     .progress = on_progress,
                                     .arg = &p };
    uint64_t damages = 0;
    int rc;

    if (repotool_open(t, t->verify_level == 0, &repo, err) < 0)
        return -1;
    progress_init(&p, "verify", 0, t->is_quiet);
    rc = repo_verify(repo, (enum repo_verify_level)t->verify_level, t->threads,
                     &sink, &damages, err);
    progress_end(&p);
    if (rc < 0)
        return -1;
    if (damages > 0)
        return err_set(err, ERR_CORRUPT, "%llu damaged objects",
                       (unsigned long long)damages);
    printf("No damage found (level %u).\n", t->verify_level);
    return 0;
}
