/* SPDX-License-Identifier: Apache-2.0 */
/* blob/blob-fault.h: a store that fails on demand, around another one.
 *
 * Operations that change something (put, replace, sync, remove) are numbered
 * from 1. Threads: any; the plan is set before use.
 */
#pragma once
#include "blob/blob.h"

enum blob_fault_kind {
    BLOB_FAULT_NONE,
    BLOB_FAULT_ERROR,     /* change n fails, nothing is done: NO_SPACE */
    BLOB_FAULT_FULL,      /* from change n on no put succeeds: NO_SPACE; but
                           * those whose names begin with `object`, if any */
    BLOB_FAULT_CALL,      /* before change n, `call` */
    BLOB_FAULT_LOST,      /* change n is done, the answer is UNAVAILABLE */
    BLOB_FAULT_TORN,      /* put n stores a prefix and "crashes" */
    BLOB_FAULT_CRASH,     /* from change n on everything fails */
    BLOB_FAULT_GET_ERROR, /* get n fails: UNAVAILABLE */
    BLOB_FAULT_BAD_PLACE  /* every get of byte n of `object` fails: EIO */
};

struct blob_fault_plan {
    enum blob_fault_kind kind;
    uint64_t n;
    uint32_t torn_permille; /* how much of the object a torn put stores */
    const char *object;     /* kept: outlives the store */
    void (*call)(void *arg);
    void *arg;
};

/* `inner` is taken. */
struct blob *blob_fault_new(struct blob *inner, struct blob_fault_plan plan)
    NODISCARD;
uint64_t blob_fault_changes(struct blob *b); /* counted so far */
