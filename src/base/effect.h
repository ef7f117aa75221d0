/* SPDX-License-Identifier: Apache-2.0 */
/* base/effect.h: every side effect is counted, so that a test can kill us at
 * each of them.
 *
 * A side effect is what a crash can leave half done: a libvirt call that
 * changes something, a file created, renamed, unlinked or synced, a store
 * write, a log put, a spawn. It is wrapped:
 *
 *     struct effect e = effect_begin("rename", path);
 *     rc = renameat(...);
 *     effect_end(&e);
 *
 * Effects are numbered per *flow*: a controller's worker names what it works
 * on with effect_flow_set("snapshot"), and numbers run on from 1 for the life
 * of the process, so other threads do not disturb the count.
 *
 *     VMKEEP_CRASH_AT=snapshot:12:before   SIGKILL ourselves there
 *     VMKEEP_CRASH_AT=snapshot:12:after
 *     VMKEEP_CRASH_AT=snapshot:12:stop     SIGSTOP before it; SIGCONT goes on
 *     VMKEEP_EFFECT_LOG=FILE               append "flow n kind what" each
 *
 * Crashed by SIGKILL: no handler, no flush, no destructor runs.
 * Threads: any; the flow is the calling thread's.
 */
#pragma once
#include "base/macros.h"

#define EFFECT_FLOW_SIZE 32

struct effect {
    unsigned n; /* its number in its flow; 0: not counted */
    const char *kind;
};

/* Reads the two variables; call once, before threads exist. */
void effect_init(void);

/* `flow`: a word of at most 31 letters, or NULL for none (not counted). */
void effect_flow_set(const char *flow);
const char *effect_flow_get(void); /* NULL: none */

struct effect effect_begin(const char *kind, const char *what) NODISCARD;
void effect_end(const struct effect *e);
