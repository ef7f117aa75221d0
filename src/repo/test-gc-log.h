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
/* As it stands in the log. `body` is what it refers to. */
struct commitlog_entry testing_entry_of(const struct testing_entry *x,
                                        uint64_t seq, struct buf *body);

/* A set of numbers, 0 not among them; begins as zeros. */
struct testing_seen {
    uint64_t *keys; /* open addressing; 0: empty. free() */
    size_t count, cap;
};

bool testing_seen_add(struct testing_seen *s, uint64_t key); /* is it new? */
