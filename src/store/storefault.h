/* SPDX-License-Identifier: Apache-2.0 */
/* store/storefault.h: a store that fails when it is told to, for tests.
 *
 * Wraps another backend. With an empty plan it behaves exactly like that one;
 * the conformance test runs over both. Threads: any.
 */
#pragma once
#include "store/store.h"

struct storefault_plan {
    unsigned fail_at;    /* this write (from 1) fails; 0: none */
    unsigned fail_count; /* and so many in all; 0: one */
    enum err_code fail_code;
    bool is_done_anyway;    /* the write happens, its answer is lost */
    unsigned crash_after;   /* SIGKILL ourselves after this write; 0: never */
    unsigned delay_ms;      /* before every call */
    unsigned fail_reads_at; /* as fail_at, for get and list */
};

/* Takes `inner`. `plan` is copied. */
struct store *storefault_new(struct store *inner,
                             const struct storefault_plan *plan) NODISCARD;
