/* SPDX-License-Identifier: Apache-2.0 */
/* repo/scrub-private.h: what the files of scrub share. */
#pragma once
#include "repo/badset.h"
#include "repo/pack.h"
#include "repo/scrub.h"

struct scrub_state {
    uint64_t number; /* in its name; 0: there was none */
    unsigned level;
    char cursor[PACK_NAME_SIZE]; /* the last pack that was read; "": none */
    struct repo_scrub_state known;
};

int scrub_state_load(struct repo *repo, struct scrub_state *ret,
                     struct err *err) NODISCARD;
int scrub_state_save(struct repo *repo, struct scrub_state *s, struct err *err)
    NODISCARD;

/* Names of the packs that belong to backups, sorted; with their sizes.  */
struct scrub_packs {
    struct pack_id *ids;
    uint64_t *sizes;
    size_t count;
};
void scrub_packs_fini(struct scrub_packs *p);
static inline void
scrub_packs_fini_p(struct scrub_packs *p)
{
    scrub_packs_fini(p);
}
int scrub_packs_list(struct repo *repo, struct scrub_packs *ret,
                     struct err *err) NODISCARD;

/* Look through the footers of all packs for whole copies of the bad frames
 * that have none yet; what is found is noted (repo/copies.h). */
int scrub_heal(struct repo *repo, uint64_t *ret_healed, struct err *err)
    NODISCARD;
