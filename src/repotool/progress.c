/* SPDX-License-Identifier: Apache-2.0 */
#include "repotool/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

#define EVERY_MS 300

void
progress_init(struct progress *p, const char *what, uint64_t all, bool is_quiet)
{
    *p = (struct progress){ .what = what, .all = all };
    p->is_shown = !is_quiet && isatty(STDERR_FILENO) == 1;
    p->begin_ms = clock_mono_ms();
    p->next_ms = p->begin_ms + EVERY_MS;
    pthread_mutex_init(&p->mutex, NULL);
}

double
progress_seconds(const struct progress *p)
{
    uint64_t ms = clock_mono_ms() - p->begin_ms;

    return (double)(ms == 0 ? 1 : ms) / 1000;
}

void
progress_format(uint64_t bytes, char out[PROGRESS_SIZE])
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    double v = (double)bytes;
    unsigned u = 0;

    while (v >= 1024 && u < 4) {
        v /= 1024;
        u++;
    }
    (void)snprintf(out, PROGRESS_SIZE, u == 0 ? "%.0f %s" : "%.1f %s", v,
                   units[u]);
}

void
progress_show(struct progress *p, uint64_t done)
{
    char bytes[PROGRESS_SIZE], rate[PROGRESS_SIZE];
    double s;

    if (!p->is_shown)
        return;
    pthread_mutex_lock(&p->mutex);
    if (clock_mono_ms() >= p->next_ms) {
        p->next_ms = clock_mono_ms() + EVERY_MS;
        s = progress_seconds(p);
        progress_format(done, bytes);
        progress_format((uint64_t)((double)done / s), rate);
        if (p->all > 0)
            (void)fprintf(stderr, "\r%s: %3.0f %%  %s  %s/s \033[K", p->what,
                          100.0 * (double)done / (double)p->all, bytes, rate);
        else
            (void)fprintf(stderr, "\r%s: %s  %s/s \033[K", p->what, bytes,
                          rate);
    }
    pthread_mutex_unlock(&p->mutex);
}

int
progress_on(void *arg, uint64_t done, uint64_t all)
{
    struct progress *p = arg;

    p->all = all;
    progress_show(p, done);
    return 0;
}

void
progress_end(struct progress *p)
{
    if (p->is_shown)
        (void)fprintf(stderr, "\r\033[K");
    pthread_mutex_destroy(&p->mutex);
}
