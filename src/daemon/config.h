/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/config.h: vmkeep.conf.
 *
 * Lines `key = value`; `#` begins a comment line. A key that is unknown or
 * given twice is an error with its line; a missing file is all defaults.
 * Threads: never changes after config_load().
 * source  docs/man/vmkeep.conf.5
 */
#pragma once
#include <stdint.h>

#include "base/err.h"

struct config {
    char *state_dir, *run_dir, *libvirt_uri, *listen, *socket, *guard;
    char **target_roots; /* absolute paths, NULL at the end; the first is
                          * <state_dir>/targets unless it was given */
    char *restore_dir;   /* absolute; NULL: not set */
    char *scratch_dir;   /* absolute; NULL: not set */
    uint64_t trash_hours;
    uint64_t min_free; /* bytes; 0: the rule max(10 %, 4 GiB) */
    uint64_t agent_timeout_ms;
};

/* errors  INVALID ("FILE:LINE: ..."); those of reading the file */
struct config *config_load(const char *path, struct err *err) NODISCARD;
/* From text; `name` is for messages. */
struct config *config_parse(const char *name, const char *text, struct err *err)
    NODISCARD;
void config_free(struct config *c); /* NULL is fine */
DEFINE_CLEANUP(config_free, struct config *)
