/* SPDX-License-Identifier: Apache-2.0 */
/* repo/verify.h: what the files of verify share; see repo_verify().
 *
 * verify.c is the order of work, verify-pack.c reads one pack,
 * verify-missing.c looks which ones are not there, verify-walk.c walks the
 * backups' trees.
 */
#pragma once
#include "repo/badset.h"
#include "repo/packset.h"
#include "repo/repo-private.h"

extern struct role verify_lock;

/* A part of a pack that cannot be used: offsets / 8, `to8` exclusive. */
struct verify_bad {
    struct pack_id pack;
    uint64_t from8, to8;
    bool is_unsure; /* what surrounds the frames is damaged: look at each */
};

enum verify_state {
    VERIFY_GOOD,
    VERIFY_BAD,
    VERIFY_UNSURE,
};

struct verify {
    struct repo *repo;                   /* [C] */
    enum repo_verify_level level;        /* [C] */
    const struct repo_verify_sink *sink; /* [C] */
    pthread_mutex_t mutex;               /* what verify_lock stands for */
    struct verify_bad *bad GUARDED_BY(verify_lock);
    size_t bad_count GUARDED_BY(verify_lock);
    struct packset repairable GUARDED_BY(verify_lock); /* 1: no, 2: yes */
    uint64_t damages GUARDED_BY(verify_lock);
    uint64_t done GUARDED_BY(verify_lock); /* bytes read */
    uint64_t all;                          /* [C] bytes to read */
    /* For scrub; NULL: none. No lock is held; from any of the threads. */
    int (*pace)(void *arg, uint64_t bytes, struct err *err); /* after a read */
    void (*bad_frame)(void *arg, const struct badset_frame *f);
    void *hook_arg;
};

/* Report damage; the sink is called one at a time. */
void verify_damage(struct verify *v, const char *object, const char *cause);
/* The same, of a part of a pack. */
void verify_damage_part(struct verify *v, const struct pack_id *pack,
                        uint64_t from8, uint64_t to8, const char *cause);
/* Bytes of a pack were read: they count as done, and the hook is called.
 *   errors  the hook's */
int verify_read_done(struct verify *v, uint64_t bytes, struct err *err)
    NODISCARD;
/* This frame is of no use to anybody. */
void verify_bad_frame(struct verify *v, const struct pack_id *pack,
                      uint32_t off8, const uint8_t id[HASH_SIZE]);
/* Head, footer or trailer of a pack. */
void verify_damage_pack(struct verify *v, const struct pack_id *pack,
                        const char *cause);
/* The pack was repaired: what was said of it is over. */
void verify_forget(struct verify *v, const struct pack_id *pack);
/* Is what is wrong with that pack put right by its parity? */
bool verify_is_repairable(struct verify *v, const struct pack_id *pack);
/* What is known of that part? */
enum verify_state verify_state_of(struct verify *v, const struct pack_id *pack,
                                  uint64_t from8, uint64_t to8);

/* Read one pack. Damage is reported; errors are those of reading. `window`
 * has VERIFY_WINDOW bytes. */
#define VERIFY_WINDOW ((size_t)16 << 20)
int verify_pack(struct verify *v, struct frame_ctx *ctx, uint8_t *window,
                const struct pack_id *id, struct err *err) NODISCARD;

/* Was it condemned since we began? Then it may have gone. */
bool verify_is_collected(struct verify *v, const struct pack_id *id);

/* Of the packs that backups need, `ids` are there: report the others. */
int verify_missing(struct verify *v, const struct pack_id *ids, size_t count,
                   struct err *err) NODISCARD;

/* Walk every backup; report what damage affects. With level TREES each
 * reference is looked up in its pack's footer. */
int verify_walk(struct verify *v, struct err *err) NODISCARD;
