/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bar.h"

#include "base/clock.h"
#include "base/mem.h"
#include "cli/words.h"

#define BAR_MIN 8
#define BAR_MAX 40

/* What stands behind the bar. */
static void
format_numbers(const struct bar_facts *f, struct buf *out)
{
    char done[WORDS_SIZE], all[WORDS_SIZE], rate[WORDS_SIZE];
    char left[CLOCK_AGE_SIZE];
    int64_t d = f->done > f->all ? f->all : f->done;

    words_bytes(d, done);
    words_bytes(f->all, all);
    buf_printf(out, "%lld %%  %s of %s",
               (long long)((double)d * 100 / (double)f->all), done, all);
    if (f->per_second > 0) {
        words_bytes(f->per_second, rate);
        buf_printf(out, "  %s/s", rate);
    }
    if (f->seconds_left >= 0) {
        clock_format_age(f->seconds_left, left);
        buf_printf(out, "  %s left", left);
    }
}

void
bar_format(const struct bar_facts *f, unsigned width, struct buf *out)
{
    CLEANUP(buf_fini) struct buf numbers = BUF_INIT;
    size_t room, used, full;

    format_numbers(f, &numbers);
    buf_printf(out, "%s  ", f->what);
    used = out->len + numbers.len + 4; /* brackets, a space, the margin */
    room = width > used ? width - used : 0;
    if (room > BAR_MAX)
        room = BAR_MAX;
    if (room >= BAR_MIN) {
        full = (size_t)((double)f->done * (double)room / (double)f->all);
        buf_add_char(out, '[');
        for (size_t i = 0; i < room; i++)
            buf_add_char(out, i < full ? '#' : '-');
        buf_add_str(out, "] ");
    }
    buf_add_str(out, buf_str(&numbers));
    if (width > 0 && out->len >= width)
        buf_truncate(out, width - 1);
}
