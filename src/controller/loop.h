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

/* `spec` and `arg` are kept. */
struct loop *loop_new(struct ctl *ctl, const struct loop_spec *spec, void *arg)
    NODISCARD;
int loop_start(struct loop *l, struct err *err) NODISCARD;
void loop_free(struct loop *l); /* stops first; NULL is fine */

void loop_add(struct loop *l, const char *ns, const char *name);
void loop_add_key(struct loop *l, const char *key, uint64_t after_ms);
struct queue *loop_queue(struct loop *l);

/* "namespace/name" ("/name" for cluster-scoped) to a place; the strings are
 * the caller's buffers. */
#define LOOP_NAME_SIZE 260
struct loop_key {
    char ns[LOOP_NAME_SIZE];
    char name[LOOP_NAME_SIZE];
};
void loop_key_parse(const char *key, struct loop_key *ret_key);
