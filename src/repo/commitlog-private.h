/* SPDX-License-Identifier: Apache-2.0 */
/* repo/commitlog-private.h: the log in memory, for commitlog-X.c only.
 *
 * commitlog.c reads and answers, commitlog-append.c writes, logstate.h decides.
 */
#pragma once
#include <pthread.h>

#include "base/mutex.h"
#include "repo/logstate.h"

extern struct role commitlog_lock;

struct commitlog {
    struct blob *blob;            /* [C] */
    const uint8_t *repo_uuid;     /* [C] 16 bytes */
    const struct keys *keys;      /* [C] NULL: no key */
    struct commitlog_epoch epoch; /* [C] what we write with */
    pthread_mutex_t mutex;        /* what commitlog_lock stands for */
    bool is_loaded GUARDED_BY(commitlog_lock);
    uint64_t next_seq GUARDED_BY(commitlog_lock);
    bool has_head GUARDED_BY(commitlog_lock); /* entry next_seq - 1 was found */
    bool is_blind GUARDED_BY(commitlog_lock); /* it is there, but unreadable */
    uint8_t head[HASH_SIZE] GUARDED_BY(commitlog_lock);
    uint64_t bytes GUARDED_BY(commitlog_lock);
    struct logstate state GUARDED_BY(commitlog_lock);
    uint8_t *scratch GUARDED_BY(commitlog_lock); /* COMMITLOG_SIZE_MAX + 1 */
};

void commitlog_lock_take(struct commitlog *l) ACQUIRE(commitlog_lock);
void commitlog_lock_drop(struct commitlog *l) RELEASE(commitlog_lock);

/* Read what is new. */
int commitlog_refresh_locked(struct commitlog *l, struct err *err)
    REQUIRES(commitlog_lock) NODISCARD;
