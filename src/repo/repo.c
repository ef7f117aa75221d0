/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and creating. Created is: key file -> key slots -> repo.cfg, each
 * durable before the next; a crash before repo.cfg leaves a store without a
 * repository, whose slots no other repository takes for its own.
 */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/effect.h"
#include "base/file.h"
#include "base/mem.h"
#include "codec/format.h"
#include "repo/copies.h"
#include "repo/dedupindex.h"
#include "repo/repo-cfg.h"
#include "repo/repo-id.h"
#include "repo/repo-index.h"
#include "repo/repo-keys.h"
#include "repo/repo-private.h"
#include "repo/repo-unlock.h"
#include "repo/segcache.h"

/* A slot for each secret: the first ones of a new repository. */
static int
add_slots(struct repo *repo, const struct repo_secret *secret, bool makes_file,
          bool is_fast, struct err *err)
{
    struct repo_keys_new n = { .is_kdf_fast = is_fast };
    struct keys_secret s = { .kind = KEYS_SLOT_FILE };
    char id[REPO_ID_SIZE];
    int rc = 0;

    if (secret->key_file != NULL) {
        bool exists = access(secret->key_file, F_OK) == 0;

        if (exists || !makes_file) {
            if (repo_unlock_read_file(secret->key_file, &s, err) < 0)
                return -1;
            if (s.kind != KEYS_SLOT_FILE)
                rc = err_set(
                    err, ERR_INVALID,
                    "%s: is a recipient's; a repository is made with a key file or a passphrase",
                    secret->key_file);
            n.raw = s.key;
        } else {
            n.key_file = secret->key_file;
        }
        if (rc == 0)
            rc = repo_keys_add(repo, &n, id, err);
        mem_wipe(&s, sizeof s);
    }
    if (rc == 0 && secret->passphrase != NULL) {
        n = (struct repo_keys_new){ .is_kdf_fast = is_fast,
                                    .passphrase = secret->passphrase };
        rc = repo_keys_add(repo, &n, id, err);
    }
    return rc;
}

/* ---- open and close ------------------------------------------------------ */

static struct repo *
repo_new(struct blob *blob, const struct repo_cfg *cfg)
{
    struct repo *repo = xcalloc(1, sizeof *repo);

    repo->blob = blob;
    memcpy(repo->uuid, cfg->uuid, 16);
    repo->cipher = cfg->cipher;
    repo->is_read_only = cfg->is_read_only;
    repo_id_format(cfg->uuid, repo->info.uuid);
    repo->info.is_encrypted = cfg->cipher != 0;
    repo->info.chunk_log2 = cfg->chunk_log2;
    repo->info.makes_parity = cfg->makes_parity;
    repo->info.format_version = FORMAT_VERSION;
    repo->info.created_unix_s = cfg->created_unix_s;
    repo->index_budget = REPO_INDEX_BUDGET;
    repo->index_memory = DEDUPINDEX_MEMORY;
    pthread_mutex_init(&repo->mutex, NULL);
    return repo;
}

/* With what repo->keys has; none: the repository stays locked. */
static void
repo_start(struct repo *repo)
{
    struct commitlog_epoch e = { .epoch = repo->wrap.epoch };
    bool has_keys = repo->keys.epoch_count > 0;

    repo->info.is_unlocked = has_keys;
    repo->info.role = has_keys ? keys_role_name(repo->keys.role) : "";
    repo->info.key_epoch = repo->wrap.epoch;
    repo->wrap.keys = repo->cipher != 0 ? &repo->keys : NULL;
    repo->wrap.repo_uuid = repo->uuid;
    repo->log =
        commitlog_new(repo->blob, repo->uuid, has_keys ? &repo->keys : NULL);
    if (has_keys)
        memcpy(e.rotation, repo->keys.epochs[e.epoch].rotation,
               sizeof e.rotation);
    commitlog_set_epoch(repo->log, &e);
    repo->packs = pack_reader_new(repo->blob, &repo->wrap, &repo->keys.id);
    repo->moves = redirect_new(repo);
    pack_reader_set_moves(repo->packs, redirect_look, repo->moves);
    pack_reader_set_copies(repo->packs, copies_find, repo);
}

void
repo_close(struct repo *repo)
{
    if (repo == NULL)
        return;
    while (repo->ctx_count > 0)
        frame_ctx_free(repo->ctxs[--repo->ctx_count]);
    redirect_free(repo->moves);
    segcache_free(repo->segcache);
    pack_reader_free(repo->packs);
    commitlog_free(repo->log);
    blob_free(repo->blob);
    keys_wipe(&repo->keys);
    pthread_mutex_destroy(&repo->mutex);
    free(repo);
}

/* `data`: its bytes. */
static int
read_cfg(struct blob *blob, uint8_t data[REPO_CFG_SIZE + 1],
         struct repo_cfg *ret, struct err *err)
{
    size_t len = 0;

    if (blob_get(blob, "repo.cfg", 0, data, REPO_CFG_SIZE + 1, &len, err) < 0) {
        if (err->code == ERR_NOT_FOUND)
            return err_set(
                err, ERR_NOT_FOUND,
                "%s: holds no repository (no repo.cfg): is it mounted?",
                blob_what(blob));
        return err_wrap(err, "%s", blob_what(blob));
    }
    if (repo_cfg_decode(data, len, ret, err) < 0)
        return err_wrap(err, "%s", blob_what(blob));
    return 0;
}

int
repo_open(struct blob *blob, const struct repo_secret *secret,
          struct repo **ret_repo, struct err *err)
{
    static const uint8_t no_root[KEYS_SIZE];
    CLEANUP(blob_free) struct blob *owned = blob;
    CLEANUP(repo_close) struct repo *repo = NULL;
    bool has_secret = secret->key_file != NULL || secret->passphrase != NULL;
    uint8_t data[REPO_CFG_SIZE + 1];
    struct repo_cfg cfg;

    if (read_cfg(blob, data, &cfg, err) < 0)
        return -1;
    if (cfg.cipher == 0 && has_secret)
        return err_set(
            err, ERR_INVALID,
            "%s: is not encrypted, yet a key was given: is it the right repository?",
            blob_what(blob));
    repo = repo_new(TAKE(owned), &cfg);
    if (cfg.cipher == 0)
        keys_init(&repo->keys, no_root);
    else if (has_secret && repo_unlock(repo, secret, err) < 0)
        return err_wrap(err, "%s", blob_what(repo->blob));
    repo_start(repo);
    *ret_repo = TAKE(repo);
    return 0;
}

static int
check_options(const struct repo_options *o, const struct repo_secret *s,
              struct err *err)
{
    bool has_secret = s->key_file != NULL || s->passphrase != NULL;

    if (o->chunk_log2 != 0 && (o->chunk_log2 < 16 || o->chunk_log2 > 22))
        return err_set(err, ERR_INVALID, "chunks are 64 KiB to 4 MiB");
    if (o->is_encrypted && !has_secret)
        return err_set(err, ERR_INVALID,
                       "encryption needs a key file or a passphrase");
    if (!o->is_encrypted && has_secret)
        return err_set(err, ERR_INVALID, "a key for no encryption");
    return 0;
}

static int
put_cfg(struct repo *repo, const struct repo_cfg *cfg, struct err *err)
{
    uint8_t data[REPO_CFG_SIZE];
    bool existed = false;

    repo_cfg_encode(cfg, data);
    if (blob_put(repo->blob, "repo.cfg", data, sizeof data, &existed, err) < 0)
        return -1;
    if (existed)
        return err_set(err, ERR_EXISTS, "%s: holds a repository already",
                       blob_what(repo->blob));
    return blob_sync(repo->blob, err);
}

/* A repository whose repo.cfg was lost is repaired with a copy of it, and not
 * by a new one: that would not know its backups. Slots alone are what a
 * creation left that did not come to its end. */
static int
check_empty(struct blob *blob, struct err *err)
{
    static const char *const parts[] = { "log/", "m/", "p/" };
    uint64_t size;

    if (blob_size(blob, "repo.cfg", &size, err) == 0)
        return err_set(err, ERR_EXISTS, "%s: holds a repository already",
                       blob_what(blob));
    if (err->code != ERR_NOT_FOUND)
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        CLEANUP(blob_names_fini) struct blob_names n = { 0 };

        if (blob_list(blob, parts[i], &n, err) < 0)
            return -1;
        if (n.count > 0)
            return err_set(
                err, ERR_EXISTS,
                "%s: holds %s of a repository that lost its repo.cfg: put that back, or choose an empty directory",
                blob_what(blob), n.names[0]);
    }
    return 0;
}

int
repo_create(struct blob *blob, const struct repo_options *options,
            const struct repo_secret *secret, struct repo **ret_repo,
            struct err *err)
{
    CLEANUP(blob_free) struct blob *owned = blob;
    CLEANUP(repo_close) struct repo *repo = NULL;
    uint8_t root[KEYS_SIZE] = { 0 };
    struct repo_cfg cfg = { .cipher = options->is_encrypted,
                            .chunk_log2 = (uint8_t)(options->chunk_log2 != 0
                                                        ? options->chunk_log2
                                                        : 18),
                            .makes_parity = options->makes_parity,
                            .created_unix_s = clock_wall_s() };

    if (check_options(options, secret, err) < 0 || check_empty(blob, err) < 0)
        return -1;
    repo_id_random(cfg.uuid);
    repo = repo_new(TAKE(owned), &cfg);
    if (options->is_encrypted)
        uuid_random_bytes(root, sizeof root);
    keys_init(&repo->keys, root);
    mem_wipe(root, sizeof root);
    repo_start(repo);
    if (add_slots(repo, secret, options->makes_key_file, options->is_kdf_fast,
                  err) < 0 ||
        put_cfg(repo, &cfg, err) < 0)
        return -1;
    *ret_repo = TAKE(repo);
    return 0;
}

const struct repo_info *
repo_info_get(const struct repo *repo)
{
    return &repo->info;
}

/* ---- for the other files ------------------------------------------------- */

int
repo_private_need_key(const struct repo *repo, struct err *err)
{
    if (!repo->info.is_unlocked)
        return err_set(err, ERR_DENIED,
                       "%s: is encrypted; give the key file or the passphrase",
                       blob_what(repo->blob));
    return 0;
}

int
repo_private_need_write(const struct repo *repo, struct err *err)
{
    if (repo_private_need_key(repo, err) < 0)
        return -1;
    if (repo->is_read_only)
        return err_set(
            err, ERR_UNSUPPORTED,
            "%s: a newer vmkeep allows this one to read only; upgrade to write",
            blob_what(repo->blob));
    if (repo->keys.role == KEYS_ROLE_RESTORE)
        return err_set(err, ERR_DENIED, "%s: this key is %s: it only reads",
                       blob_what(repo->blob), keys_role_name(repo->keys.role));
    return 0;
}

int
repo_private_need_read(const struct repo *repo, struct err *err)
{
    if (repo_private_need_key(repo, err) < 0)
        return -1;
    if (!keys_can_read(&repo->keys))
        return err_set(
            err, ERR_DENIED,
            "%s: this key is %s: it does not open the content of disks",
            blob_what(repo->blob), keys_role_name(repo->keys.role));
    return 0;
}

int
repo_private_need_backup(const struct repo *repo, struct err *err)
{
    if (repo_private_need_write(repo, err) < 0)
        return -1;
    if (!keys_can_backup(&repo->keys))
        return err_set(err, ERR_DENIED,
                       "%s: this key is %s: it does not allow to add backups",
                       blob_what(repo->blob), keys_role_name(repo->keys.role));
    return 0;
}

int
repo_private_need_delete(const struct repo *repo, struct err *err)
{
    if (repo_private_need_write(repo, err) < 0)
        return -1;
    if (!keys_can_delete(&repo->keys))
        return err_set(err, ERR_DENIED,
                       "%s: this key is %s: it does not allow to delete",
                       blob_what(repo->blob), keys_role_name(repo->keys.role));
    return 0;
}

bool
repo_private_is_bad(struct repo *repo, const struct badset *bad,
                    enum frame_kind kind, const struct frame_loc *loc)
{
    struct frame_loc at = *loc;
    struct err ignored;
    bool moved;

    if (bad->count == 0)
        return false;
    if (redirect_resolve(repo->moves, kind, &at, &moved, &ignored) < 0)
        return true; /* nobody can find it */
    return badset_has(bad, kind, &at);
}

struct frame_ctx *
repo_private_ctx_take(struct repo *repo)
{
    struct frame_ctx *ctx = NULL;

    pthread_mutex_lock(&repo->mutex);
    if (repo->ctx_count > 0)
        ctx = repo->ctxs[--repo->ctx_count];
    pthread_mutex_unlock(&repo->mutex);
    return ctx != NULL ? ctx : frame_ctx_new(1);
}

void
repo_private_ctx_put(struct repo *repo, struct frame_ctx *ctx)
{
    pthread_mutex_lock(&repo->mutex);
    if (repo->ctx_count < REPO_PRIVATE_CTXS)
        repo->ctxs[repo->ctx_count++] = TAKE(ctx);
    pthread_mutex_unlock(&repo->mutex);
    frame_ctx_free(ctx);
}

unsigned
repo_private_threads(unsigned wanted)
{
    cpu_set_t set;

    if (wanted == 0)
        wanted = sched_getaffinity(0, sizeof set, &set) == 0
                     ? (unsigned)CPU_COUNT(&set)
                     : 2;
    return wanted > 16 ? 16 : wanted;
}

static void
remove_below(struct repo *repo, char kind, const uint8_t session[16])
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    char id[REPO_ID_SIZE], prefix[64];
    struct err ignored;

    repo_id_format(session, id);
    (void)snprintf(prefix, sizeof prefix, "%c/%s/", kind, id);
    if (blob_list(repo->blob, prefix, &n, &ignored) < 0)
        return;
    for (size_t i = 0; i < n.count; i++)
        (void)!blob_remove(repo->blob, n.names[i], &ignored);
}

void
repo_private_remove_packs(struct repo *repo, const uint8_t session[16])
{
    remove_below(repo, 'p', session);
    remove_below(repo, 'm', session);
}

/* ---- parity -------------------------------------------------------------- */

bool
repo_private_makes_parity(struct repo *repo)
{
    uint8_t data[REPO_CFG_SIZE + 1];
    struct repo_cfg cfg;
    struct err ignored;

    return repo->info.makes_parity ||
           (read_cfg(repo->blob, data, &cfg, &ignored) == 0 &&
            cfg.makes_parity);
}

int
repo_add_parity(struct repo *repo, bool *ret_was_set, struct err *err)
{
    uint8_t data[REPO_CFG_SIZE + 1];
    struct repo_cfg cfg;

    if (repo->info.is_unlocked && repo_private_need_write(repo, err) < 0)
        return -1;
    if (read_cfg(repo->blob, data, &cfg, err) < 0)
        return -1;
    if (cfg.is_read_only)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: a newer vmkeep allows this one to read only",
                       blob_what(repo->blob));
    *ret_was_set = cfg.makes_parity;
    if (!cfg.makes_parity) {
        repo_cfg_set_parity(data);
        if (blob_replace(repo->blob, "repo.cfg", data, REPO_CFG_SIZE, err) <
                0 ||
            blob_sync(repo->blob, err) < 0)
            return -1;
    }
    repo->info.makes_parity = true;
    return 0;
}

/* ---- list and delete ----------------------------------------------------- */

void
repo_private_entry(const struct commitlog_backup *b, struct repo_entry *ret)
{
    static const uint8_t none[16];

    memset(ret, 0, sizeof *ret);
    repo_id_format(b->commit.id, ret->id);
    if (memcmp(b->commit.parent, none, 16) != 0)
        repo_id_format(b->commit.parent, ret->parent);
    memcpy(ret->object_uid, b->commit.object_uid, sizeof ret->object_uid);
    ret->created_unix_s = b->commit.created_unix_s;
    ret->logical_bytes = b->commit.logical_bytes;
    ret->stored_bytes = b->commit.stored_bytes;
    ret->seq = b->seq;
}

int
repo_list(struct repo *repo, struct repo_entry **ret_entries, size_t *ret_count,
          size_t *ret_damage, struct err *err)
{
    CLEANUP(mem_free) struct commitlog_backup *b = NULL;
    struct repo_entry *e;
    size_t n = 0;

    if (repo_private_need_key(repo, err) < 0 ||
        commitlog_list(repo->log, &b, &n, ret_damage, err) < 0)
        return -1;
    e = n == 0 ? NULL : xcalloc(n, sizeof *e);
    for (size_t i = 0; i < n; i++)
        repo_private_entry(&b[i], &e[i]);
    *ret_entries = e;
    *ret_count = n;
    return 0;
}

int
repo_went_back(struct repo *repo, bool *ret, struct err *err)
{
    return commitlog_went_back(repo->log, ret, err);
}

int
repo_find_uid(struct repo *repo, const char *object_uid, bool *ret_found,
              struct repo_entry *ret_entry, struct err *err)
{
    CLEANUP(mem_free) struct repo_entry *e = NULL;
    size_t n = 0, damage;

    if (repo_list(repo, &e, &n, &damage, err) < 0)
        return -1;
    *ret_found = false;
    while (n > 0 && !*ret_found)
        if (strcmp(e[--n].object_uid, object_uid) == 0) {
            *ret_entry = e[n];
            *ret_found = true;
        }
    return 0;
}

int
repo_delete(struct repo *repo, const char *const *ids, size_t count,
            struct err *err)
{
    CLEANUP(mem_free) uint8_t(*bytes)[16] = NULL;

    if (repo_private_need_delete(repo, err) < 0)
        return -1;
    if (count < 1 || count > COMMITLOG_DELETES)
        return err_set(err, ERR_INVALID, "delete 1 to %u backups at once",
                       COMMITLOG_DELETES);
    bytes = xcalloc(count, sizeof *bytes);
    for (size_t i = 0; i < count; i++)
        if (!repo_id_parse(ids[i], bytes[i]))
            return err_set(err, ERR_NOT_FOUND, "backup %.60s: no such backup",
                           ids[i]);
    return commitlog_append_delete(repo->log, bytes, (unsigned)count, err);
}
