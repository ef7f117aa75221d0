/* SPDX-License-Identifier: Apache-2.0 */
/* repo/test-gc-log.h: for test-gc-model.c: entries of the log in few words, and
 * what was seen. */
#pragma once
#include "base/buf.h"
#include "repo/logstate.h"

/* Whose session, and so whose pack: one each. */
enum testing_who {
    B0,        /* a backup that is there from the begin */
    RESUMABLE, /* a session that was aborted and left a pack */
    CHILD,     /* a writer whose parent is B0 */
    DEDUP,     /* a writer that found a chunk of B0's pack by itself */
    RESUMER,   /* a writer that resumes RESUMABLE */
    MOVER,     /* the compactor */
    SESSIONS,
};

#define BIT(n) (1u << (n))

struct testing_entry {
    unsigned type, who;
    unsigned seq;   /* base, checked, covers */
    unsigned packs; /* of a CONDEMN; of a REDIRECT: the chunks that it has; of
                     * an ABORT: its packs will be removed; PIN: not 0 */
    bool drops;     /* of a CONDEMN: B0 */
};

void testing_id_of(unsigned who, uint8_t id[16]);
struct pack_id testing_pack_of(unsigned who);
/* Is it a backup, perhaps a deleted one; and one that is not deleted? */
bool testing_is_backup(const struct logstate *s, unsigned who);
bool testing_is_backup_now(const struct logstate *s, unsigned who);
enum logstate_end testing_end_of(const struct logstate *s, unsigned who);
/* Was B0's pack rewritten? */
bool testing_is_moved(const struct logstate *s);
/* Which chunks of B0's pack a backup needs, and which other packs. */
#define NEED_A BIT(0) /* the two chunks in B0's pack: B0 needs A */
#define NEED_B BIT(1) /* and DEDUP needs B */
unsigned testing_chunks_of(unsigned who);
unsigned testing_others_of(unsigned who);
/* As it stands in the log. `body` is what it refers to. */
struct commitlog_entry testing_entry_of(const struct testing_entry *x,
                                        uint64_t seq, struct buf *body);

/* A set of numbers, 0 not among them; begins as zeros. */
struct testing_seen {
    uint64_t *keys; /* open addressing; 0: empty. free() */
    size_t count, cap;
};

bool testing_seen_add(struct testing_seen *s, uint64_t key); /* is it new? */
