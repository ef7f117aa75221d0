/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "volume/layer.h"

/* The decoder is small because it need not be strict line by line: it reads
 * what it can make sense of within its bounds, checks the rules, encodes the
 * result, and compares. Whatever differs by a byte (a leading zero, an upper
 * case digit, a second space, a line out of order) was not written by us. */

#define MAGIC "vmkeep-layers "

enum {
    TABLE_MAX = 8 << 20,
    LAYERS_MAX = 4096,
    REFS_MAX = 8192,
    JOB_DISKS_MAX = 64,
    DONE_MAX = 64,
    FIELDS_MAX = 12,
};

static const char *const state_names[] = { "planned", "active",   "sealed",
                                           "trash",   "detached", "foreign",
                                           "kept" };
static const char *const ref_names[] = { "cut", "restore" };
static const char *const job_names[] = { "none",    "cut",   "merge",
                                         "inplace", "clone", "fillinplace",
                                         "fillnew", "copy" };
static const char *const step_names[] = { "planned",   "created", "begin",
                                          "committed", "pivoted", "pivoting",
                                          "filled" };

const char *
layer_state_name(enum layer_state state)
{
    return state_names[state];
}

/* CRC-32 of IEEE 802.3, bit by bit: a table is a few kilobytes. */
static uint32_t
crc32_of(const uint8_t *p, size_t len)
{
    uint32_t crc = 0xffffffffu;

    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1u)));
    }
    return ~crc;
}

/* ---- writing ---- */

static const char *
or_dash(const char *id)
{
    return id[0] == 0 ? "-" : id;
}

static void
add_path(struct buf *out, const char *path)
{
    if (path == NULL) {
        buf_add_str(out, "-");
        return;
    }
    for (const uint8_t *p = (const uint8_t *)path; *p != 0; p++) {
        if (*p <= 0x20 || *p >= 0x7f || *p == '%')
            buf_printf(out, "%%%02x", *p);
        else
            buf_add_char(out, (char)*p);
    }
}

static void
encode_layer(const struct layer *l, struct buf *out)
{
    char file[FILE_ID_TEXT_SIZE];

    file_id_print(&l->file, file);
    buf_printf(out, "layer %s %s %s %s %d %s %s %" PRIu64 " %" PRId64 " ",
               l->id, or_dash(l->parent), l->target, state_names[l->state],
               l->is_made ? 1 : 0, file, l->format, l->size, l->until_s);
    add_path(out, l->path);
    buf_add_char(out, ' ');
    add_path(out, l->was);
    buf_add_char(out, '\n');
}

static void
encode_job(const struct layer_job *j, struct buf *out)
{
    if (j->kind == LAYER_JOB_NONE)
        return;
    buf_printf(out, "job %s %s %s %s %" PRIu64 " %zu\n", job_names[j->kind],
               j->id, step_names[j->step], or_dash(j->owner), j->trash_s, j->n);
    for (size_t i = 0; i < j->n; i++)
        buf_printf(out, "jobdisk %s %s %s %s\n", j->disks[i].target,
                   or_dash(j->disks[i].a), j->disks[i].b,
                   or_dash(j->disks[i].c));
}

static void
encode_done(const struct layer_done *d, struct buf *out)
{
    buf_printf(out, "done %s %zu\n", d->id, d->n);
    for (size_t i = 0; i < d->n; i++) {
        const struct layer_done_disk *k = &d->disks[i];

        buf_printf(out, "donedisk %s %s %s %" PRIu64 " ", k->target,
                   or_dash(k->old), k->format, k->size);
        add_path(out, k->path);
        buf_add_char(out, '\n');
    }
}

/* Version 2 says when files were made; what knows of none is a version 1. */
static bool
has_births(const struct layer_table *t)
{
    for (size_t i = 0; i < t->n_layers; i++)
        if (t->layers[i].file.born != 0)
            return true;
    return false;
}

void
layer_table_encode(const struct layer_table *t, struct buf *out)
{
    size_t start = out->len;

    buf_printf(out, MAGIC "%d\n", has_births(t) ? 2 : 1);
    buf_printf(out, "vm %s\n", t->vm);
    for (size_t i = 0; i < t->n_layers; i++)
        encode_layer(&t->layers[i], out);
    for (size_t i = 0; i < t->n_refs; i++)
        buf_printf(out, "ref %s %s %s %s\n", ref_names[t->refs[i].kind],
                   t->refs[i].owner, t->refs[i].target, t->refs[i].layer);
    encode_job(&t->job, out);
    for (size_t i = 0; i < t->n_done; i++)
        encode_done(&t->done[i], out);
    buf_printf(out, "sum %08" PRIx32 "\n",
               crc32_of((const uint8_t *)out->data + start, out->len - start));
}

/* ---- reading ---- */

struct line {
    char *field[FIELDS_MAX];
    size_t n;
};

/* Cut the line at `*pos` into fields, in place; false at the end. */
static bool
next_line(char *text, size_t len, size_t *pos, struct line *ret)
{
    char *start = text + *pos;
    char *end = *pos < len ? memchr(start, '\n', len - *pos) : NULL;

    if (end == NULL)
        return false;
    *end = 0;
    *pos = (size_t)(end - text) + 1;
    ret->n = 0;
    for (char *p = start; p != NULL && ret->n < FIELDS_MAX; ret->n++) {
        ret->field[ret->n] = p;
        p = strchr(p, ' ');
        if (p != NULL)
            *p++ = 0;
    }
    return true;
}

static bool
word_of(const char *const *names, size_t n, const char *s, unsigned *ret)
{
    for (unsigned i = 0; i < n; i++)
        if (strcmp(names[i], s) == 0) {
            *ret = i;
            return true;
        }
    return false;
}

static bool
read_id(char dst[UUID_STR_SIZE], const char *s, bool may_be_none)
{
    if (may_be_none && strcmp(s, "-") == 0) {
        dst[0] = 0;
        return true;
    }
    if (!uuid_is_valid(s))
        return false;
    for (size_t i = 0; i < UUID_STR_SIZE; i++) {
        if (s[i] >= 'A' && s[i] <= 'F')
            return false;
        dst[i] = s[i];
    }
    return true;
}

static bool
read_target(char dst[LAYER_TARGET_SIZE], const char *s)
{
    size_t len = strlen(s);

    if (len == 0 || len >= LAYER_TARGET_SIZE ||
        strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789") != len)
        return false;
    memcpy(dst, s, len + 1);
    return true;
}

/* How many bytes the number takes; 0: there is none, or it is over `max`. */
static size_t
read_digits(const char *s, uint64_t max, uint64_t *ret)
{
    uint64_t v = 0;
    size_t n = 0;

    for (; s[n] >= '0' && s[n] <= '9'; n++) {
        uint64_t digit = (uint64_t)(s[n] - '0');

        if (v > (max - digit) / 10)
            return 0;
        v = v * 10 + digit;
    }
    *ret = v;
    return n;
}

static bool
read_number(const char *s, uint64_t max, uint64_t *ret)
{
    size_t n = read_digits(s, max, ret);

    return n > 0 && s[n] == 0;
}

static int
hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* NULL: not a path that we would write. */
static char *
read_path(const char *s)
{
    size_t len = strlen(s), n = 0;
    CLEANUP(mem_free) char *out = xcalloc(len + 1, 1);

    for (size_t i = 0; i < len; i++) {
        if (s[i] != '%') {
            out[n++] = s[i];
            continue;
        }
        int hi = hex_digit(s[i + 1]);
        int lo = hi < 0 ? -1 : hex_digit(s[i + 2]);

        if (lo < 0 || (hi == 0 && lo == 0))
            return NULL;
        out[n++] = (char)(hi * 16 + lo);
        i += 2;
    }
    if (out[0] != '/' || n > LAYER_PATH_MAX)
        return NULL;
    return TAKE(out);
}

static bool
read_format(char **dst, const char *s)
{
    if (strcmp(s, "qcow2") != 0 && strcmp(s, "raw") != 0)
        return false;
    *dst = xstrdup(s);
    return true;
}

static bool
decode_layer(struct layer_table *t, const struct line *l)
{
    struct layer *row;
    unsigned state;
    uint64_t made, until;

    if (l->n != 12 || t->n_layers == LAYERS_MAX)
        return false;
    t->layers = xrealloc(t->layers, t->n_layers + 1, sizeof *t->layers);
    row = &t->layers[t->n_layers++];
    *row = (struct layer){ .format = NULL };
    if (!read_id(row->id, l->field[1], false) ||
        !read_id(row->parent, l->field[2], true) ||
        !read_target(row->target, l->field[3]) ||
        !word_of(state_names, ARRAY_SIZE(state_names), l->field[4], &state) ||
        !read_number(l->field[5], 1, &made) ||
        !file_id_parse(l->field[6], &row->file) ||
        !read_format(&row->format, l->field[7]) ||
        !read_number(l->field[8], INT64_MAX, &row->size) ||
        !read_number(l->field[9], INT64_MAX, &until))
        return false;
    row->state = (enum layer_state)state;
    row->is_made = made == 1;
    row->until_s = (int64_t)until;
    row->path = read_path(l->field[10]);
    if (strcmp(l->field[11], "-") != 0 &&
        (row->was = read_path(l->field[11])) == NULL)
        return false;
    return row->path != NULL;
}

static bool
decode_ref(struct layer_table *t, const struct line *l)
{
    struct layer_ref r;
    unsigned kind;

    if (l->n != 5 || t->n_refs == REFS_MAX ||
        !word_of(ref_names, ARRAY_SIZE(ref_names), l->field[1], &kind) ||
        !read_id(r.owner, l->field[2], false) ||
        !read_target(r.target, l->field[3]) ||
        !read_id(r.layer, l->field[4], false))
        return false;
    layer_ref_add(t, (enum layer_ref_kind)kind, r.owner, r.target, r.layer);
    return true;
}

static bool
decode_job(struct layer_table *t, const struct line *l)
{
    unsigned kind, step;
    uint64_t trash_s;
    char id[UUID_STR_SIZE], owner[UUID_STR_SIZE];

    if (l->n != 7 || t->job.kind != LAYER_JOB_NONE ||
        !word_of(job_names, ARRAY_SIZE(job_names), l->field[1], &kind) ||
        kind == LAYER_JOB_NONE || !read_id(id, l->field[2], false) ||
        !word_of(step_names, ARRAY_SIZE(step_names), l->field[3], &step) ||
        !read_id(owner, l->field[4], true) ||
        !read_number(l->field[5], UINT32_MAX, &trash_s))
        return false;
    layer_job_begin(t, (enum layer_job_kind)kind, id, owner);
    t->job.trash_s = trash_s;
    t->job.step = (enum layer_step)step;
    return true;
}

static bool
decode_jobdisk(struct layer_table *t, const struct line *l)
{
    struct layer_job_disk d;

    if (l->n != 5 || t->job.kind == LAYER_JOB_NONE ||
        t->job.n == JOB_DISKS_MAX || !read_target(d.target, l->field[1]) ||
        !read_id(d.a, l->field[2], true) || !read_id(d.b, l->field[3], false) ||
        !read_id(d.c, l->field[4], true))
        return false;
    layer_job_add(t, d.target, d.a, d.b, d.c);
    return true;
}

static bool
decode_done(struct layer_table *t, const struct line *l)
{
    char id[UUID_STR_SIZE];

    if (l->n != 3 || t->n_done == DONE_MAX || !read_id(id, l->field[1], false))
        return false;
    (void)layer_done_begin(t, id);
    return true;
}

static bool
decode_donedisk(struct layer_table *t, const struct line *l)
{
    struct layer_done_disk k = { .size = 0 };
    CLEANUP(mem_free) char *format = NULL;
    CLEANUP(mem_free) char *path = NULL;

    if (l->n != 6 || t->n_done == 0 ||
        t->done[t->n_done - 1].n == JOB_DISKS_MAX ||
        !read_target(k.target, l->field[1]) ||
        !read_id(k.old, l->field[2], true) ||
        !read_format(&format, l->field[3]) ||
        !read_number(l->field[4], INT64_MAX, &k.size) ||
        (path = read_path(l->field[5])) == NULL)
        return false;
    layer_done_add(&t->done[t->n_done - 1], k.target, k.old, format, k.size,
                   path);
    return true;
}

static bool
decode_line(struct layer_table *t, const struct line *l)
{
    static const struct {
        const char *word;
        bool (*fn)(struct layer_table *t, const struct line *l);
    } kinds[] = {
        { "layer", decode_layer }, { "ref", decode_ref },
        { "job", decode_job },     { "jobdisk", decode_jobdisk },
        { "done", decode_done },   { "donedisk", decode_donedisk },
    };

    if (strcmp(l->field[0], "vm") == 0)
        return l->n == 2 && read_id(t->vm, l->field[1], false);
    if (strcmp(l->field[0], "sum") == 0)
        return l->n == 2; /* compared with the rest, at the end */
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (strcmp(l->field[0], kinds[i].word) == 0)
            return kinds[i].fn(t, l);
    return false;
}

struct layer_table *
layer_table_decode(const uint8_t *data, size_t len, struct err *err)
{
    CLEANUP(layer_table_free) struct layer_table *t = layer_table_new("");
    CLEANUP(mem_free) char *text = NULL;
    CLEANUP(buf_fini) struct buf again = BUF_INIT;
    size_t pos = strlen(MAGIC) + 2, line_no = 1;
    struct line line;

    if (len > TABLE_MAX)
        return err_set_null(err, ERR_CORRUPT, "layer table: %zu bytes", len);
    if (len < pos || memcmp(data, MAGIC, pos - 2) != 0)
        return err_set_null(err, ERR_CORRUPT, "layer table: not one");
    if (memcmp(data + pos - 2, "1\n", 2) != 0 &&
        memcmp(data + pos - 2, "2\n", 2) != 0)
        return err_set_null(err, ERR_UNSUPPORTED,
                            "layer table: written by a newer vmkeep");
    text = xcalloc(len + 1, 1);
    memcpy(text, data, len);
    for (; next_line(text, len, &pos, &line); line_no++)
        if (!decode_line(t, &line))
            return err_set_null(err, ERR_CORRUPT, "layer table: line %zu",
                                line_no + 1);
    if (layer_table_check(t, err) < 0)
        return NULL;
    layer_table_encode(t, &again);
    if (again.len != len || memcmp(again.data, data, len) != 0)
        return err_set_null(
            err, ERR_CORRUPT,
            "layer table: damaged (checksum or form), not used");
    return TAKE(t);
}

/* ---- rules over several lines ---- */

static int
check_layer(const struct layer_table *t, const struct layer *l, struct err *err)
{
    const struct layer *parent = layer_parent(t, l);

    if (layer_find(t, l->id) != l || layer_find_path(t, l->path) != l)
        return err_set(err, ERR_CORRUPT, "layer %s: twice", l->id);
    if (l->parent[0] != 0 && (parent == NULL || parent >= l ||
                              strcmp(parent->target, l->target) != 0))
        return err_set(err, ERR_CORRUPT, "layer %s: parent", l->id);
    if (parent != NULL &&
        (parent->state == LAYER_ACTIVE || parent->state == LAYER_PLANNED ||
         parent->state == LAYER_TRASH) &&
        l->state != LAYER_PLANNED)
        return err_set(err, ERR_CORRUPT, "layer %s: on a %s layer", l->id,
                       state_names[parent->state]);
    if (l->state == LAYER_ACTIVE && layer_find_active(t, l->target) != l)
        return err_set(err, ERR_CORRUPT, "layer %s: second active", l->id);
    if ((l->state == LAYER_TRASH) != (l->was != NULL) ||
        (l->state != LAYER_TRASH && l->until_s != 0))
        return err_set(err, ERR_CORRUPT, "layer %s: trash", l->id);
    if ((l->state == LAYER_FOREIGN && l->is_made) ||
        (l->state == LAYER_KEPT && !l->is_made))
        return err_set(err, ERR_CORRUPT, "layer %s: %s", l->id,
                       state_names[l->state]);
    return 0;
}

static bool
has_sane_step(const struct layer_job *j)
{
    switch (j->step) {
    case LAYER_STEP_PLANNED:
        return j->kind != LAYER_JOB_MERGE;
    case LAYER_STEP_CREATED:
        return j->kind != LAYER_JOB_MERGE && j->kind != LAYER_JOB_CUT;
    case LAYER_STEP_BEGIN:
    case LAYER_STEP_COMMITTED:
    case LAYER_STEP_PIVOTED:
    case LAYER_STEP_PIVOTING:
        return j->kind == LAYER_JOB_MERGE;
    case LAYER_STEP_FILLED:
        return layer_job_is_fill(j->kind);
    }
    return false;
}

static int
check_job(const struct layer_table *t, struct err *err)
{
    const struct layer_job *j = &t->job;
    bool is_restore = j->kind != LAYER_JOB_CUT && j->kind != LAYER_JOB_MERGE &&
                      j->kind != LAYER_JOB_COPY;

    if (j->kind == LAYER_JOB_NONE)
        return 0;
    if (!has_sane_step(j) || j->n == 0 || is_restore != (j->owner[0] != 0) ||
        (!layer_job_is_in_place(j->kind) && j->trash_s != 0))
        return err_set(err, ERR_CORRUPT, "job %s", j->id);
    for (size_t i = 0; i < j->n; i++) {
        const struct layer_job_disk *d = &j->disks[i];

        if (layer_job_is_fill(j->kind) ? d->a[0] != 0
                                       : layer_find(t, d->a) == NULL)
            return err_set(err, ERR_CORRUPT, "job %s: %s", j->id, d->target);
        if (layer_find(t, d->b) == NULL ||
            (d->c[0] != 0 &&
             (!layer_job_is_in_place(j->kind) || layer_find(t, d->c) == NULL)))
            return err_set(err, ERR_CORRUPT, "job %s: %s", j->id, d->target);
    }
    return 0;
}

int
layer_table_check(const struct layer_table *t, struct err *err)
{
    if (!uuid_is_valid(t->vm))
        return err_set(err, ERR_CORRUPT, "layer table: no vm line");
    for (size_t i = 0; i < t->n_layers; i++)
        if (check_layer(t, &t->layers[i], err) < 0)
            return -1;
    for (size_t i = 0; i < t->n_refs; i++) {
        const struct layer_ref *r = &t->refs[i];
        const struct layer *l = layer_find(t, r->layer);

        if (l == NULL || strcmp(l->target, r->target) != 0 ||
            layer_ref_find(t, r->kind, r->owner, r->target) != r)
            return err_set(err, ERR_CORRUPT, "ref of %s", r->owner);
    }
    return check_job(t, err);
}
