/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "cli/words.h"

#define MAX_COLUMNS 16
#define GAP         3 /* blanks between columns, as kubectl */

struct cell {
    char *text;
    enum table_tone tone;
};

struct table {
    const char *const *heads;
    size_t columns;
    struct cell *cells;
    size_t n;
};

static const char *const escapes[] = {
    [TABLE_PLAIN] = "",        [TABLE_GOOD] = "\033[32m",
    [TABLE_WARN] = "\033[33m", [TABLE_BAD] = "\033[31m",
    [TABLE_DIM] = "\033[2m",
};

struct table *
table_new(const char *const *heads)
{
    struct table *t = xcalloc(1, sizeof *t);

    t->heads = heads;
    while (heads[t->columns] != NULL && t->columns < MAX_COLUMNS)
        t->columns++;
    return t;
}

void
table_free(struct table *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->n; i++)
        free(t->cells[i].text);
    free(t->cells);
    free(t);
}

void
table_add(struct table *t, enum table_tone tone, const char *fmt, ...)
{
    struct buf text = BUF_INIT;
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    if (text.len == 0)
        buf_add_char(&text, '-');
    t->cells = xrealloc(t->cells, t->n + 1, sizeof *t->cells);
    t->cells[t->n].tone = tone;
    t->cells[t->n].text = buf_take_str(&text);
    words_clean(t->cells[t->n].text);
    t->n++;
}

size_t
table_rows(const struct table *t)
{
    return t->n / t->columns;
}

/* Characters, for UTF-8 without wide ones. */
static int
width_of(const char *s)
{
    int n = 0;

    for (; *s != 0; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

void
table_print_toned(FILE *out, bool has_colour, enum table_tone tone,
                  const char *text)
{
    bool is_toned = has_colour && tone != TABLE_PLAIN;

    fprintf(out, "%s%s%s", is_toned ? escapes[tone] : "", text,
            is_toned ? "\033[0m" : "");
}

static void
print_cell(FILE *out, bool has_colour, const struct cell *cell, int pad)
{
    table_print_toned(out, has_colour, cell->tone, cell->text);
    if (pad > 0)
        fprintf(out, "%*s", pad, "");
}

void
table_print(const struct table *t, bool has_colour, FILE *out)
{
    int widths[MAX_COLUMNS];

    assert(t->columns > 0);
    for (size_t k = 0; k < t->columns; k++) {
        widths[k] = width_of(t->heads[k]);
        for (size_t i = k; i < t->n; i += t->columns) {
            int w = width_of(t->cells[i].text);

            widths[k] = w > widths[k] ? w : widths[k];
        }
    }
    for (size_t k = 0; k < t->columns; k++) {
        bool is_last = k + 1 == t->columns;

        fprintf(out, "%-*s", is_last ? 0 : widths[k] + GAP, t->heads[k]);
    }
    fputc('\n', out);
    for (size_t i = 0; i < t->n; i++) {
        bool is_last = (i + 1) % t->columns == 0;
        int w = width_of(t->cells[i].text);

        print_cell(out, has_colour, &t->cells[i],
                   is_last ? 0 : widths[i % t->columns] + GAP - w);
        if (is_last)
            fputc('\n', out);
    }
}
