/* SPDX-License-Identifier: Apache-2.0 */
/* repo/scrub.h: reading everything again, slowly, pass after pass.
 *
 * A pass reads every pack, in the order of their names; it can be stopped at
 * any time and goes on where it was, in another process or on another host:
 * its cursor is kept in the store. What is found damaged is put on the list of
 * bad frames in the log, so that no backup refers to it anew; the next backup
 * of the same disk stores it again, and the next pass notes where the good
 * copy is, so that older backups are whole again.
 *
 * A damaged pack that has parity (repo/parity.h) is repaired before all that;
 * parity that is damaged, or lacks where there should be some, is made. With a
 * key that does not open the content of disks only checksums are compared.
 *
 * It may run beside everything else. Bytes: docs/formats/repository.md
 * ("hint"), docs/formats/log.md ("BAD"). source  spec engine 5.11
 */
#pragma once
#include "repo/repo.h"

struct repo_scrub_options {
    enum repo_verify_level level; /* STRIPES (needs no key) or FRAMES */
    uint64_t bytes_per_s;         /* on average; 0: as fast as it goes */
    bool restarts;                /* a new pass, wherever the last one was */
};

/* Called from one thread, with no lock held; all may be NULL. */
struct repo_scrub_sink {
    void (*damage)(void *arg, const char *object, const char *cause);
    /* A damaged pack, its parity, or a segment of the index was put right: what
     * was done. */
    void (*repaired)(void *arg, const char *object, const char *what);
    void (*affected)(void *arg, const struct repo_entry *backup,
                     const char *disk, uint64_t lost_bytes);
    /* A value other than 0 stops it: CANCELLED, and it can go on later. */
    int (*progress)(void *arg, uint64_t done_bytes, uint64_t all_bytes);
    void *arg;
};

struct repo_scrub_result {
    uint64_t packs, bytes; /* read in this call */
    uint64_t damages;      /* reported in this call */
    uint64_t repaired;     /* packs: their damage is no damage any more */
    uint64_t parity_made; /* objects, for packs that had none or damaged ones */
    uint64_t parity_lacks;  /* packs that have none, and for which none could be
                               made, */
    char parity_cause[200]; /* for this reason: that of the first */
    uint64_t new_bad;       /* frames that went onto the list */
    uint64_t good_again;    /* frames that left it: their pack is whole */
    uint64_t healed;        /* bad frames of which a good copy was found */
    uint64_t bad;           /* frames on the list now, without a good copy */
    bool is_shallow; /* our key reads no disk: only checksums were compared */
};

/* One pass, or the rest of one, to its end. At its end every backup is walked
 * too (with a key), which finds packs that are missing.
 *   errors  CANCELLED; DENIED (level FRAMES without the key)
 *   blocks  on the store, for as long as it takes */
int repo_scrub_run(struct repo *repo, const struct repo_scrub_options *options,
                   const struct repo_scrub_sink *sink,
                   struct repo_scrub_result *ret, struct err *err) NODISCARD;

/* What is known of the passes; times 0: never. */
struct repo_scrub_state {
    bool is_under_way;    /* a pass was begun and has not come to its end */
    int64_t began_unix_s; /* that one */
    uint64_t done_bytes;
    uint64_t damages;
    int64_t last_end_unix_s; /* of the last whole pass */
    uint64_t last_damages;
};

int repo_scrub_look(struct repo *repo, struct repo_scrub_state *ret,
                    struct err *err) NODISCARD;
