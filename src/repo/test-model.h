/* SPDX-License-Identifier: Apache-2.0 */
/* repo/test-model.h: for the tests of repo/: a random source, a store in a
 * temporary directory, and a model of a disk to compare with.
 */
#pragma once
#include "blob/blob-dir.h"
#include "blob/blob-fault.h"
#include "repo/repo.h"
#include "test.h"

/* ---- random, the same in every run ---- */
void testing_seed(uint64_t seed);
uint64_t testing_random(void);
uint64_t testing_below(uint64_t n); /* 0 for n = 0 */

/* ---- a directory ---- */
extern char testing_dir[64];
void testing_dir_make(void);
void testing_dir_remove(void);
/* The blob store there. */
struct blob *testing_blob(void) NODISCARD;
/* The bytes of an object of it, the caller's to free. */
uint8_t *testing_load(const char *name, size_t *ret_len) NODISCARD;
/* Others in its place. */
void testing_replace(const char *name, const uint8_t *data, size_t len);
/* A fresh repository there; the key file lies beside it. It has parity if this
 * is set. */
extern bool testing_has_parity;
struct repo *testing_repo_create(bool is_encrypted) NODISCARD;
/* Open it with its key, through a store with that plan. */
struct repo *testing_repo_open(struct blob_fault_plan plan) NODISCARD;
/* The same on that store, which is taken. */
int testing_repo_open_on(struct blob *blob, struct repo **ret, struct err *err)
    NODISCARD;
int testing_repo_try_open(struct repo **ret, struct err *err) NODISCARD;

/* Random bytes, the same for a seed; `len` is a multiple of 8. */
void testing_fill(uint8_t *out, size_t len, uint32_t seed);
/* Verify at its deepest level finds nothing. */
void testing_check_sound(struct repo *repo);

/* ---- a model of a disk: a list of the chunks that are not zero ---- */
enum testing_kind {
    TESTING_ZERO,
    TESTING_PATTERN,
    TESTING_RANDOM,
    TESTING_TEXT,
    TESTING_LAST_BYTE,
    TESTING_KINDS,
};

struct testing_chunk {
    uint64_t chunk;
    enum testing_kind kind;
    uint64_t seed;
    uint64_t made;  /* bytes it was made with */
    uint64_t valid; /* what a shrunk disk left: zeros behind */
};

struct testing_disk {
    char name[16];
    uint64_t size;
    unsigned log2;
    struct testing_chunk *chunks; /* ascending */
    size_t count;
};

void testing_disk_copy(struct testing_disk *to,
                       const struct testing_disk *from);
void testing_disk_fini(struct testing_disk *d);
void testing_disk_resize(struct testing_disk *d, uint64_t size);
/* Replace chunk `c` (kind ZERO: remove it). */
void testing_disk_set(struct testing_disk *d, uint64_t c,
                      enum testing_kind kind, uint64_t seed);
void testing_disk_zero(struct testing_disk *d, uint64_t c0, uint64_t c1);
/* What reading gives. */
void testing_disk_read(const struct testing_disk *d, uint64_t off,
                       uint8_t *data, size_t len);
uint64_t testing_disk_chunks(const struct testing_disk *d);

/* Change up to `ops` places of `d` at random, and write the same to disk `n`
 * of `b`. `is_full`: write all of it (what was zero stays zero). */
void testing_disk_change(struct testing_disk *d, struct repo_backup *b,
                         unsigned n, unsigned ops);
int testing_disk_write(const struct testing_disk *d, struct repo_backup *b,
                       unsigned n, struct err *err) NODISCARD;
/* Read it back in every way and compare. */
void testing_disk_check(const struct testing_disk *d, struct repo_view *v);
/* The same, of the first disk of a backup. */
void testing_backup_check(struct repo *repo, const char *id,
                          const struct testing_disk *d);
