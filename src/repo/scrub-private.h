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

/* ---- scrub-repair.c ---- */

#define SCRUB_TEXT 300

/* Damage of one pack that nobody was told of yet. */
struct scrub_held {
    struct scrub_note {
        char *object, *cause;
    } * notes;
    size_t count;
};

void scrub_held_add(struct scrub_held *h, const char *object,
                    const char *cause);
void scrub_held_fini(struct scrub_held *h);
/* Why it is not repaired, with the first that was found. */
void scrub_held_explain(struct scrub_held *h, const char *why);

enum scrub_repair {
    SCRUB_REPAIR_AWAY, /* the store does not answer: nobody knows */
    SCRUB_REPAIR_NONE, /* it stays as it is */
    SCRUB_REPAIR_DONE,
    SCRUB_REPAIR_WHOLE, /* it is as it was written, when it is read again */
};

/* Repair that damaged pack from its parity. `text`: what was done, or why not;
 * "": there is no parity. */
enum scrub_repair scrub_repair(struct repo *repo, const struct pack_id *id,
                               char text[SCRUB_TEXT], struct err *err)
    NODISCARD;

struct scrub_parity {
    uint64_t bytes; /* that were read */
    bool is_damaged, is_made;
    bool lacks;            /* there is none, and none could be made */
    char text[SCRUB_TEXT]; /* what was wrong with it, or why it lacks */
};

/* Look at the parity of a pack that is whole; make it if there should be some,
 * again if it is damaged. */
int scrub_keep_parity(struct repo *repo, const struct pack_id *id,
                      bool should_be, struct scrub_parity *ret, struct err *err)
    NODISCARD;

/* ---- scrub-index.c ---- */

struct scrub_index_hooks {
    int (*read)(void *arg, uint64_t bytes, struct err *err);
    void (*repaired)(void *arg, const char *object, const char *what);
    void *arg;
};

/* Read the index; what is damaged of it is made again, if the key allows.
 *   errors  those of the hook */
int scrub_index(struct repo *repo, const struct scrub_index_hooks *hooks,
                struct err *err) NODISCARD;

/* ---- scrub-heal.c ---- */

/* Look through the footers of all packs for whole copies of the bad frames
 * that have none yet; what is found is noted (repo/copies.h). */
int scrub_heal(struct repo *repo, uint64_t *ret_healed, struct err *err)
    NODISCARD;
