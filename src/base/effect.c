/* SPDX-License-Identifier: Apache-2.0 */
#include "base/effect.h"

#include <sys/types.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mutex.h"

/* Few flows exist (snapshot, delete, restore-in-place, ...): a short table. */
#define MAX_FLOWS 32

static struct {
    char flow[EFFECT_FLOW_SIZE];
    unsigned n; /* effects counted so far */
} flows[MAX_FLOWS];
static pthread_mutex_t flows_mutex = PTHREAD_MUTEX_INITIALIZER;

/* Set once by effect_init() [C]. */
static char crash_flow[EFFECT_FLOW_SIZE];
static unsigned crash_n;
static bool crash_before;
static int crash_signal = SIGKILL;
static int log_fd = -1; /* the log serves tests only */

static __thread char thread_flow[EFFECT_FLOW_SIZE];

void
effect_init(void)
{
    const char *at = getenv("VMKEEP_CRASH_AT");
    const char *log = getenv("VMKEEP_EFFECT_LOG");
    char when[8] = "";

    crash_n = 0;
    if (at != NULL) {
        bool is_right =
            /* NOLINTNEXTLINE(cert-err34-c): nine digits always fit */
            sscanf(at, "%31[^:]:%9u:%7s", crash_flow, &crash_n, when) == 3;

        crash_before = strcmp(when, "after") != 0;
        crash_signal = strcmp(when, "stop") == 0 ? SIGSTOP : SIGKILL;
        if (!is_right || (crash_before && crash_signal == SIGKILL &&
                          strcmp(when, "before") != 0)) {
            crash_n = 0;
            log_warn("VMKEEP_CRASH_AT=%s: not FLOW:N:before, after or stop",
                     at);
        }
    }
    if (log != NULL)
        log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

void
effect_flow_set(const char *flow)
{
    (void)snprintf(thread_flow, sizeof thread_flow, "%s",
                   flow == NULL ? "" : flow);
}

const char *
effect_flow_get(void)
{
    return thread_flow[0] == 0 ? NULL : thread_flow;
}

static unsigned
next_number(const char *flow)
{
    unsigned n = 0;

    pthread_mutex_lock(&flows_mutex);
    for (size_t i = 0; i < MAX_FLOWS; i++) {
        if (flows[i].flow[0] == 0)
            memcpy(flows[i].flow, flow, strlen(flow) + 1);
        if (strcmp(flows[i].flow, flow) == 0) {
            n = ++flows[i].n;
            break;
        }
    }
    pthread_mutex_unlock(&flows_mutex);
    return n;
}

static void
crash_if_due(const struct effect *e, bool before)
{
    if (crash_n != 0 && e->n == crash_n && before == crash_before &&
        strcmp(thread_flow, crash_flow) == 0)
        (void)kill(getpid(), crash_signal);
}

struct effect
effect_begin(const char *kind, const char *what)
{
    struct effect e = { .n = 0, .kind = kind };
    char line[512];

    if (thread_flow[0] == 0)
        return e;
    e.n = next_number(thread_flow);
    if (log_fd >= 0) {
        int n = snprintf(line, sizeof line, "%s %u %s %.300s\n", thread_flow,
                         e.n, kind, what);

        if (n >= (int)sizeof line)
            n = (int)sizeof line - 1;
        if (write(log_fd, line, (size_t)n) < 0)
            log_warn("VMKEEP_EFFECT_LOG: cannot write");
    }
    crash_if_due(&e, true);
    return e;
}

void
effect_end(const struct effect *e)
{
    if (e->n != 0)
        crash_if_due(e, false);
}
