/* SPDX-License-Identifier: Apache-2.0 */
/* repo/summary-check.h: do pack summaries say what the trees name?
 *
 * A collector believes summaries, so a wrong one costs data as soon as no other
 * backup needs the same packs. The first backup's trees are walked; a later one
 * is compared with a relative that was found right, and of both only the nodes
 * are read in which they differ.
 * Bytes: docs/formats/tree.md, "Pack summary". Threads: one.
 * Memory: the summaries of two backups, and 200 bytes for each backup.
 */
#pragma once
#include "repo/commitlog.h"
#include "repo/packset.h"

struct repo;
struct summary_check;

struct summary_check *summary_check_new(struct repo *repo) NODISCARD;
void summary_check_free(struct summary_check *c); /* NULL is fine */
DEFINE_CLEANUP(summary_check_free, struct summary_check *)

/* What is wrong with the summary of a backup. */
struct summary_fault {
    char disk[REPO_DISK_NAME_MAX + 1]; /* the first such; "": nothing is */
    uint64_t missing;       /* packs that its trees name and it does not */
    uint64_t miscounted;    /* packs with other bytes than it says */
    struct pack_id example; /* one of them */
};

/* Look at one backup.
 *   ret_missing  gets the packs that are missing; other members are left alone
 *   errors       CORRUPT, NOT_FOUND: the backup is damaged, so that nobody can
 *                tell
 *   blocks       on the store */
int summary_check_backup(struct summary_check *c,
                         const struct commitlog_commit *backup,
                         struct packset *ret_missing,
                         struct summary_fault *ret_fault, struct err *err)
    NODISCARD;
/* Found right before, by whomever: others can be compared with it. */
void summary_check_trust(struct summary_check *c,
                         const struct commitlog_commit *backup);

#define SUMMARY_FAULT_TEXT 320
void summary_fault_format(const struct summary_fault *f,
                          char out[SUMMARY_FAULT_TEXT]);
