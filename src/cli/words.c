/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/words.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"

void
words_bytes(int64_t n, char buf[WORDS_SIZE])
{
    static const char *const units[] = {
        "B", "KiB", "MiB", "GiB", "TiB", "PiB"
    };
    double v = (double)n;
    size_t u = 0;

    while (v >= 1024 && u + 1 < ARRAY_SIZE(units)) {
        v /= 1024;
        u++;
    }
    (void)snprintf(buf, WORDS_SIZE, u == 0 || v >= 100 ? "%.0f %s" : "%.1f %s",
                   v, units[u]);
}

void
words_age(const char *stamp, char buf[WORDS_SIZE])
{
    char age[CLOCK_AGE_SIZE];
    struct err err;
    int64_t at_s, now_s = clock_wall_s();

    buf[0] = 0;
    if (stamp == NULL || clock_parse_rfc3339(stamp, &at_s, &err) < 0)
        return;
    clock_format_age(now_s > at_s ? now_s - at_s : 0, age);
    (void)snprintf(buf, WORDS_SIZE, "%s", age);
}

char *
words_join(const json_t *list, const char *separator)
{
    struct buf out = BUF_INIT;

    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));

        if (s != NULL)
            buf_printf(&out, "%s%s", out.len == 0 ? "" : separator, s);
    }
    return buf_take_str(&out);
}

const json_t *
words_condition(const json_t *object, const char *type)
{
    return jsonx_find(jsonx_get(object, "status.conditions"), "type", type);
}

void
words_clean(char *s)
{
    text_clean(s, false);
}

void
words_clean_lines(char *s)
{
    text_clean(s, true);
}
