/* SPDX-License-Identifier: Apache-2.0 */
/* repo/repo.h: the backup repository.
 *
 * A place that keeps disks. A backup is a set of disks, each a range of bytes
 * from 0 to its size, plus one opaque metadata blob; it exists from its commit
 * on and never changes. Backups are complete: each can be read without any
 * other, whatever its parent was. Knows nothing of VMs.
 *
 * Bytes in the store: docs/formats/repository.md and the pages it names.
 * Threads: struct repo and struct repo_view may be shared freely; a struct
 * repo_backup belongs to one thread at a time (it has workers of its own).
 */
#pragma once
#include <stdint.h>

#include "base/err.h"

struct blob;
struct repo;
struct repo_backup;
struct repo_view;

#define REPO_ID_SIZE         37 /* a UUID as text, and NUL */
#define REPO_UID_MAX         128
#define REPO_DISK_NAME_MAX   64
#define REPO_DISKS_MAX       256
#define REPO_METADATA_MAX    ((size_t)4 << 20)
#define REPO_HOLD_REASON_MAX 200

/* ---- open ------------------------------------------------------------ */

/* What unlocks a key slot. Both NULL: no key. Borrowed for the call. More
 * about keys and roles: repo/repo-keys.h. */
struct repo_secret {
    const char *key_file;   /* path of a key file (docs/formats/keys.md), or of
                             * a recipient's */
    const char *passphrase; /* bytes up to NUL */
};

struct repo_options {
    bool is_encrypted;
    unsigned chunk_log2; /* 16..22; 0: 18 (256 KiB) */
    bool is_kdf_fast;    /* Argon2id with 64 instead of 256 MiB */
    bool makes_key_file; /* make secret->key_file if it does not exist */
    bool makes_parity;   /* for each pack: two damaged stripes of 64 can be
                          * repaired, for 3 % of the space */
};

/* Make a repository in an empty store. `blob` is taken in any case.
 *   errors  EXISTS (there is a repo.cfg, or what is left of a repository
 *           without one); INVALID (encrypted, no secret)
 *   blocks  on the store */
int repo_create(struct blob *blob, const struct repo_options *options,
                const struct repo_secret *secret, struct repo **ret_repo,
                struct err *err) NODISCARD NONNULL(1, 2, 3, 4, 5);

/* Open a repository. `blob` is taken in any case. Without a secret an
 * encrypted repository opens for repo_verify() level 0 and repo_info_get()
 * only; everything else says DENIED.
 *   errors  NOT_FOUND (no repo.cfg: not mounted?); DENIED (wrong key);
 *           CORRUPT; UNSUPPORTED (newer format) */
int repo_open(struct blob *blob, const struct repo_secret *secret,
              struct repo **ret_repo, struct err *err)
    NODISCARD NONNULL(1, 2, 3, 4);

void repo_close(struct repo *repo); /* NULL is fine */
DEFINE_CLEANUP(repo_close, struct repo *)

struct repo_info {
    char uuid[REPO_ID_SIZE];
    bool is_encrypted;
    bool is_unlocked; /* the root key is known (or none is needed) */
    const char *role; /* of our key: "full" ...; "" while locked */
    unsigned key_epoch;
    unsigned chunk_log2;
    bool makes_parity; /* for new packs */
    unsigned format_version;
    int64_t created_unix_s;
};

const struct repo_info *repo_info_get(const struct repo *repo);

/* Of a repository without parity: make it from now on. For what is there
 * already the next scrub makes it. Who has the repository open learns of it
 * when he opens it again, or scrubs it. Needs no key. Call it before anything
 * else. ret_was_set  it did so already errors       UNSUPPORTED (made by a
 * newer vmkeep; the store cannot replace an object); DENIED (our key only
 * reads); NO_SPACE */
int repo_add_parity(struct repo *repo, bool *ret_was_set, struct err *err)
    NODISCARD;

/* ---- list and delete --------------------------------------------------- */

struct repo_entry {
    char id[REPO_ID_SIZE];
    char parent[REPO_ID_SIZE]; /* "" for none */
    char object_uid[REPO_UID_MAX + 1];
    int64_t created_unix_s; /* informational: order is by seq */
    uint64_t logical_bytes; /* sum of the disks' sizes */
    uint64_t stored_bytes;  /* what this backup added to the store */
    uint64_t seq;           /* of its COMMIT */
};

/* The committed backups, oldest first, as the log says now.
 *   ret_entries  array, the caller's to free(); NULL when there is none
 *   ret_damage   entries of the log that cannot be read; 0 is healthy,
 *                repo_verify() says which */
int repo_list(struct repo *repo, struct repo_entry **ret_entries,
              size_t *ret_count, size_t *ret_damage, struct err *err)
    NODISCARD NONNULL(1, 2, 3, 4, 5);

/* Was an older copy of the repository put in its place while it is open? Then
 * what looks for newer entries of the log, and all that writes, fails with
 * UNAVAILABLE; opened anew, it is what it is now.
 *   blocks  on the store */
int repo_went_back(struct repo *repo, bool *ret, struct err *err) NODISCARD;

/* The newest backup with this object UID.  A controller that crashed after
 * its commit finds the backup so. */
int repo_find_uid(struct repo *repo, const char *object_uid, bool *ret_found,
                  struct repo_entry *ret_entry, struct err *err) NODISCARD;

/* Delete backups: one entry of the log. Others are not affected; the space
 * is reclaimed later, and until then they can be taken back (repo/hold.h).
 * NOT_FOUND names the first that does not exist, CONFLICT one that is on hold,
 * and then nothing is deleted. */
int repo_delete(struct repo *repo, const char *const *ids, size_t count,
                struct err *err) NODISCARD;

/* ---- write ------------------------------------------------------------- */

struct repo_backup_options {
    const char *parent; /* backup id, or NULL */
    /* The id (repo_backup_id) of a backup that was begun and never committed,
     * or NULL: what it stored in whole packs is used instead of being stored
     * again, each chunk after it was read back. That session is ended for
     * ever. It may have resumed another one; what that left is used too. */
    const char *resume;
    unsigned threads; /* workers; 0: one per core */
    int level;        /* zstd's; 0: by how fast the store is */
    /* Decode every chunk again before it is written, not only one of 32 (of
     * metadata it is all of them): costs half as much processor again. */
    bool checks_all;
};

struct repo_progress {
    uint64_t seen_bytes;    /* given to write */
    uint64_t zero_bytes;    /* of these zero or a pattern */
    uint64_t same_bytes;    /* of these equal to the parent */
    uint64_t dup_bytes;     /* of these found in this or another backup */
    uint64_t resumed_bytes; /* of these stored by the resumed session */
    uint64_t stored_bytes;  /* of packs, so far */
};

/* Begin a backup; repo_backup_free() ends it. With a parent, every disk
 * begins as the parent's disk of the same name (zeros beyond its end); without
 * one, as zeros. The caller then writes what differs, or everything.
 *   errors  NOT_FOUND (no such parent); DENIED (no key, or one that does not
 *           allow it); CONFLICT (the session to resume did commit: look for
 *           its backup); UNAVAILABLE (the keys were rotated: open it again)
 *   blocks  on the store; memory is bounded: below 256 MiB in all */
int repo_backup_begin(struct repo *repo,
                      const struct repo_backup_options *options,
                      struct repo_backup **ret_backup, struct err *err)
    NODISCARD NONNULL(1, 2, 3, 4);

/* Known from the begin on: keep it to resume. */
const char *repo_backup_id(const struct repo_backup *b);

/* A disk of `size` bytes. chunk_log2 0: the parent's, else the repository's.
 * A parent's disk with another chunk size is not used as parent. */
int repo_backup_add_disk(struct repo_backup *b, const char *name, uint64_t size,
                         unsigned chunk_log2, unsigned *ret_disk,
                         struct err *err) NODISCARD NONNULL(1, 2, 5, 6);

uint64_t repo_backup_chunk_size(const struct repo_backup *b, unsigned disk);

/* Bytes of a disk. On each disk offsets ascend: no call begins before the end
 * of the one before it. `off` and `len` are multiples of the chunk size; `len`
 * may end at the disk's end instead. Copied; stored later, by the workers: an
 * error of theirs is returned by a later call or by the commit.
 *   errors  CONFLICT (a week without a call: a collector took us for dead)
 *   blocks  while the workers are behind */
int repo_backup_write(struct repo_backup *b, unsigned disk, uint64_t off,
                      const void *data, size_t len, struct err *err)
    NODISCARD NONNULL(1, 4, 6);

/* The same without the copy: fill a buffer of one chunk, then hand it in
 * (taken in any case), or give it back unused with repo_backup_buffer_put().
 * Several may be out at once, of all disks together 16 MiB; they are written
 * in order of offset. */
int repo_backup_buffer_get(struct repo_backup *b, unsigned disk,
                           uint8_t **ret_buffer, struct err *err) NODISCARD;
void repo_backup_buffer_put(struct repo_backup *b, unsigned disk,
                            uint8_t *buffer);
int repo_backup_write_buffer(struct repo_backup *b, unsigned disk, uint64_t off,
                             uint8_t *buffer, size_t len, struct err *err)
    NODISCARD;

/* The range reads as zeros. Same rules; costs nothing but metadata. */
int repo_backup_zero(struct repo_backup *b, unsigned disk, uint64_t off,
                     uint64_t len, struct err *err) NODISCARD;

/* Make everything durable, then the backup exists. At most once.
 *   metadata    opaque, at most REPO_METADATA_MAX; NULL with 0: none
 *   object_uid  printable ASCII, at most REPO_UID_MAX; NULL: ""
 *   errors      those of earlier writes too; the backup then does not exist,
 *               but for UNAVAILABLE and TIMEOUT: look with repo_find_uid() */
int repo_backup_commit(struct repo_backup *b, const void *metadata, size_t len,
                       const char *object_uid, struct err *err)
    NODISCARD NONNULL(1, 5);

void repo_backup_progress(struct repo_backup *b, struct repo_progress *ret);

/* What was stored shall be removed by repo_backup_free(), if the backup was
 * not committed: nobody will resume it. For a backup that was cancelled, or
 * that filled the store. Best effort: what stays is garbage. */
void repo_backup_discard(struct repo_backup *b);

/* Ends the workers. Without a commit nothing was added but garbage; after a
 * commit that failed the session is ended, so that it cannot arrive later. */
void repo_backup_free(struct repo_backup *b); /* NULL is fine */
DEFINE_CLEANUP(repo_backup_free, struct repo_backup *)

/* ---- read -------------------------------------------------------------- */

struct repo_disk {
    const char *name; /* borrowed from the view */
    uint64_t size;
    uint64_t chunk_size;
};

/* Open a backup. The repo outlives the view.
 *   errors  NOT_FOUND; CORRUPT names the object */
int repo_view_open(struct repo *repo, const char *backup_id,
                   struct repo_view **ret_view, struct err *err)
    NODISCARD NONNULL(1, 2, 3, 4);
void repo_view_close(struct repo_view *v); /* NULL is fine */
DEFINE_CLEANUP(repo_view_close, struct repo_view *)

/* This backup is read for long: it stays, even if it is deleted meanwhile,
 * until the view is closed, or nothing was read with it for a week. An entry of
 * the log now, one each day while it is read, one in the end. Without it a
 * reader has the collector's grace for an hour, and then does so by himself. A
 * repository that cannot be written to is tried again: success.
 *   errors  NOT_FOUND (it was deleted and collected) */
int repo_view_pin(struct repo_view *v, struct err *err) NODISCARD;

unsigned repo_view_disk_count(const struct repo_view *v);
struct repo_disk repo_view_disk(const struct repo_view *v, unsigned disk);
int repo_view_find_disk(const struct repo_view *v, const char *name,
                        unsigned *ret_disk, struct err *err) NODISCARD;
const char *repo_view_uid(const struct repo_view *v);
/* The opaque metadata; the caller's to free(). NULL and 0 for none. */
int repo_view_metadata(struct repo_view *v, void **ret_data, size_t *ret_len,
                       struct err *err) NODISCARD;

/* Any range within the disk, in any order; checked against its digests.
 *   blocks  on the store */
int repo_view_read(struct repo_view *v, unsigned disk, uint64_t off, void *data,
                   size_t len, struct err *err) NODISCARD NONNULL(1, 4, 6);

/* Are these bytes the chunk at `off`, whole and no longer than the disk?
 * Nothing but the tree is read, so that a key that opens no data can ask.
 *   errors  INVALID (no whole chunk is there) */
int repo_view_is_chunk(struct repo_view *v, unsigned disk, uint64_t off,
                       const void *data, bool *ret_is, struct err *err)
    NODISCARD;

enum repo_extent_kind {
    REPO_EXTENT_ZERO,
    REPO_EXTENT_DATA,
};

/* What is at `off` (< size) and how far that goes, at most to `off + max`. */
int repo_view_extent(struct repo_view *v, unsigned disk, uint64_t off,
                     uint64_t max, enum repo_extent_kind *ret_kind,
                     uint64_t *ret_len, struct err *err) NODISCARD;

/* The parts of the disk that lie in frames which a scrub found damaged: called
 * for each chunk, in order; a value other than 0 ends it. A later backup must
 * be given those parts again, and then stores them again.
 *   errors  CORRUPT (the tree itself is damaged: no parent for anybody) */
int repo_view_bad(struct repo_view *v, unsigned disk,
                  int (*found)(void *arg, uint64_t off, uint64_t len),
                  void *arg, struct err *err) NODISCARD;

/* What changed between two backups, in the same shape: REPO_EXTENT_ZERO =
 * equal, REPO_EXTENT_DATA = maybe different. Equal subtrees are skipped. */
int repo_view_diff(struct repo_view *v, struct repo_view *other, unsigned disk,
                   uint64_t off, uint64_t max, enum repo_extent_kind *ret_kind,
                   uint64_t *ret_len, struct err *err) NODISCARD;

/* How many damaged packs were read all the same, from their parity: a scrub
 * repairs them. */
unsigned repo_view_mended(struct repo_view *v);

/* Where a restore writes. Called from several threads at once, each range
 * once, in no order. `zero` NULL: the target is known to read as zeros. */
struct repo_sink {
    int (*write)(void *arg, uint64_t off, const void *data, size_t len,
                 struct err *err);
    int (*zero)(void *arg, uint64_t off, uint64_t len, struct err *err);
    /* Called now and then; a value other than 0 cancels. May be NULL. */
    int (*progress)(void *arg, uint64_t done_bytes);
    void *arg;
};

/* The range, read in pack order by `threads` workers (0: one per core). The
 * first error ends it.
 *   errors  the sink's; CORRUPT names the object; CANCELLED */
int repo_view_restore(struct repo_view *v, unsigned disk, uint64_t off,
                      uint64_t len, unsigned threads,
                      const struct repo_sink *sink, struct err *err) NODISCARD;

/* ---- verify ------------------------------------------------------------- */

enum repo_verify_level {
    REPO_VERIFY_STRIPES, /* 0: every object read, checksums; needs no key */
    REPO_VERIFY_FRAMES,  /* 1: and every frame decrypted, digest compared, and
                            no pack missing */
    REPO_VERIFY_TREES,   /* 2: and every backup walked from its root */
};

struct repo_verify_sink {
    /* One thing that is wrong: the object ("p/.../3") and the cause. */
    void (*damage)(void *arg, const char *object, const char *cause);
    /* Of the packs with damage: restores read this one from its parity, and a
     * scrub repairs it; it affects no backup. */
    void (*repairable)(void *arg, const char *object);
    /* A backup that some damage affects; called once per backup and disk,
     * after all damages. `lost_bytes` of the disk cannot be read. */
    void (*affected)(void *arg, const struct repo_entry *backup,
                     const char *disk, uint64_t lost_bytes);
    void (*progress)(void *arg, uint64_t done_bytes, uint64_t all_bytes);
    void *arg; /* every callback may be NULL */
};

/* Read and check everything; damage is reported, not an error: *ret_damages
 * counts it. Errors are what kept us from looking.  With damage and a key the
 * trees are walked at every level, to name the affected backups. */
int repo_verify(struct repo *repo, enum repo_verify_level level,
                unsigned threads, const struct repo_verify_sink *sink,
                uint64_t *ret_damages, struct err *err) NODISCARD;
