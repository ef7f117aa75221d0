/* SPDX-License-Identifier: Apache-2.0 */
/* repo/test-parity-kit.h: for test-parity.c and test-parity-life.c: a disk, a
 * pack with its parity and what both were, a scrub and what it said.
 */
#pragma once
#include "repo/parity.h"
#include "repo/scrub.h"
#include "repo/test-model.h"

#define TESTING_PARITY_CHUNKS 24u

extern struct testing_disk testing_parity_disk;

/* A pack, as it was written, and what is there now. */
struct testing_subject {
    struct pack_id id;
    char name[PACK_NAME_SIZE], parity[PARITY_NAME_SIZE];
    uint8_t *pack, *object;
    size_t pack_len, object_len;
    struct parity_head head;
};

struct testing_heard {
    unsigned damages, affected, repaired;
    char object[PARITY_NAME_SIZE + 8], cause[600], what[600];
};

/* Random chunks, other ones for another `first`. */
void testing_make_disk(uint64_t first);
/* All of the disk. */
int testing_try_backup(struct repo *repo, const char *parent,
                       char id[REPO_ID_SIZE], struct err *err);
void testing_backup(struct repo *repo, const char *parent,
                    char id[REPO_ID_SIZE]);
/* By the name of the parity. */
void testing_subject_init(struct testing_subject *s, const char *name);
/* Of pack 0 of that kind and session. */
void testing_subject_of(struct testing_subject *s, char kind, const char *id);
void testing_subject_fini(struct testing_subject *s);
/* Is the object these bytes? */
bool testing_is_as(const char *name, const uint8_t *data, size_t len);
bool testing_is_as_written(const struct testing_subject *s);
/* Flip a bit of an object. */
void testing_flip(const char *name, size_t at);
/* A whole pass. */
int testing_try_scrub(struct repo *repo, enum repo_verify_level level,
                      struct testing_heard *h, struct repo_scrub_result *ret,
                      struct err *err);
struct repo_scrub_result testing_scrub(struct repo *repo,
                                       struct testing_heard *h);
/* One that finds nothing to say or do. */
void testing_check_quiet(struct repo *repo);
/* Does all of the backup read as the disk is? Other bytes: it aborts. */
bool testing_reads(struct repo *repo, const char *id);
/* With parity and one backup. */
struct repo *testing_parity_repo(bool is_encrypted, char id[REPO_ID_SIZE]);
/* The names of all parity. */
void testing_list_parities(struct repo *repo, struct blob_names *ret);
unsigned testing_count_parities(struct repo *repo);
