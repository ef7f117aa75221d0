/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

static atomic_int max_level = LOG_LEVEL_INFO;
static atomic_bool is_journal = false;

void
log_set_level(enum log_level level)
{
    atomic_store(&max_level, (int)level);
}

void
log_init(void)
{
    static const char *const names[] = { "error", "warn", "info", "debug" };
    const char *want = getenv("VMKEEP_LOG");

    atomic_store(&is_journal, getenv("JOURNAL_STREAM") != NULL);
    for (size_t i = 0; want != NULL && i < ARRAY_SIZE(names); i++)
        if (strcmp(want, names[i]) == 0)
            log_set_level((enum log_level)i);
}

/* One write(2) a line, so that the lines of two threads do not mix; control
 * characters from a domain's name or a request cannot forge a line. */
static void PRINTF(2, 0) emit(enum log_level level, const char *fmt, va_list ap)
{
    static const char *const tag[] = { "error", "warn", "info", "debug" };
    static const int prio[] = { 3, 4, 6, 7 };
    char line[2048], stamp[CLOCK_RFC3339_SIZE];
    int n;

    if ((int)level > atomic_load(&max_level))
        return;
    clock_format_rfc3339(clock_wall_s(), stamp);
    if (atomic_load(&is_journal))
        n = snprintf(line, sizeof line, "<%d>", prio[level]);
    else
        n = snprintf(line, sizeof line, "%s %-5s ", stamp, tag[level]);
    (void)vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, ap);
    for (char *p = line; *p != 0; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
    size_t len = strlen(line);
    line[len] = '\n';
    if (write(STDERR_FILENO, line, len + 1) < 0)
        return; /* nobody is left to tell */
}

#define DEFINE_LOG(name, level)                                                \
    void log_##name(const char *fmt, ...)                                      \
    {                                                                          \
        va_list ap;                                                            \
                                                                               \
        va_start(ap, fmt);                                                     \
        emit(level, fmt, ap);                                                  \
        va_end(ap);                                                            \
    }

DEFINE_LOG(error, LOG_LEVEL_ERROR)
DEFINE_LOG(warn, LOG_LEVEL_WARN)
DEFINE_LOG(info, LOG_LEVEL_INFO)
DEFINE_LOG(debug, LOG_LEVEL_DEBUG)
