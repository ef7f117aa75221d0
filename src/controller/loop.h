/* SPDX-License-Identifier: Apache-2.0 */
/* controller/loop.h: the reconcile loop that every controller runs on.
 *
 * A thread follows the cache and turns each changed object into keys; workers
 * (base/queue.h) work on them. At start, and again when the watch fell behind,
 * every object that is there comes as ADDED.
 * Threads: two kinds: "map" runs on the loop's watch thread and must not
 * block; "work" runs on the workers, one key never in two of them.
 */
#pragma once
#include "base/queue.h"
#include "controller/ctl.h"

struct loop;

struct loop_spec {
    const char *name; /* at most 10 letters */
    const char *flow; /* effect_flow_set() before each step; NULL: none */
    unsigned workers; /* 8 unless there is a reason */
    const struct gvr *const *gvrs; /* what to follow; NULL at the end */
    /* Add the keys that this event concerns, by loop_add(). NULL: the
     * object's own "namespace/name", for the first of `gvrs` only. */
    void (*map)(void *arg, struct loop *l, const struct cache_event *ev);
    queue_work_fn work;
};

/* `spec` and `arg` are kept; `arg` is what map and work get, NULL: the loop
 * itself. */
struct loop *loop_new(struct ctl *ctl, const struct loop_spec *spec, void *arg)
    NODISCARD;
int loop_start(struct loop *l, struct err *err) NODISCARD;
void loop_free(struct loop *l); /* stops first; NULL is fine */

struct ctl *loop_ctl(struct loop *l);

void loop_add(struct loop *l, const char *ns, const char *name);
void loop_add_key(struct loop *l, const char *key, uint64_t after_ms);
struct queue *loop_queue(struct loop *l);

/* How long a key waits that found something in its way. */
#define LOOP_LATER_MS 1000

/* One look at a key and one step: 0 look again at once, 1 at rest
 * (*ret_again_ms holds), -1. */
typedef int (*loop_step_fn)(void *pass, int64_t *ret_again_ms, struct err *err);

/* A worker's whole call: steps until one rests. NOT_FOUND is no error, it is
 * something that went away: the key looks once more, later.
 *
 *   kind, key  for messages
 */
int loop_steps(loop_step_fn step, void *pass, const char *kind, const char *key,
               int64_t *ret_again_ms, struct err *err) NODISCARD;

/* The lock of a VM (controller/vmlock.h) for a step on `key`; its holder is
 * "<loop's name> <key>".
 *
 *   returns 0 it is ours until loop_give_vm(); 1 somebody has it: err is
 *           BUSY and says who, the key comes when it is free, or after
 *           *ret_again_ms
 */
int loop_take_vm(struct loop *l, const char *vm_uuid, enum vmlock_reason reason,
                 const char *key, int64_t *ret_again_ms, struct err *err)
    NODISCARD;
void loop_give_vm(struct loop *l, const char *vm_uuid, const char *key);

/* "namespace/name" ("/name" for cluster-scoped) to a place; the strings are
 * the caller's buffers. */
#define LOOP_NAME_SIZE 260
struct loop_key {
    char ns[LOOP_NAME_SIZE];
    char name[LOOP_NAME_SIZE];
};
void loop_key_parse(const char *key, struct loop_key *ret_key);
