/* SPDX-License-Identifier: Apache-2.0 */
/* base/log.h: what the daemon says to its journal.
 *
 * One line to stderr, prefixed "<N>" (sd-daemon(3)) when the journal reads it.
 * Library layers log at debug only; errors travel in struct err and are
 * logged once, at the top. Secrets never reach a log call.
 * Threads: any.
 */
#pragma once
#include "base/macros.h"

enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARN,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG
};

/* Reads VMKEEP_LOG (error, warn, info, debug) and JOURNAL_STREAM. */
void log_init(void);
void log_set_level(enum log_level level);
void log_error(const char *fmt, ...) PRINTF(1, 2);
void log_warn(const char *fmt, ...) PRINTF(1, 2);
void log_info(const char *fmt, ...) PRINTF(1, 2);
void log_debug(const char *fmt, ...) PRINTF(1, 2);
