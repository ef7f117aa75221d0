/* SPDX-License-Identifier: Apache-2.0 */
/* controller/tracking-code.c: the bytes of docs/formats/tracking.md.
 *
 * Canonical JSON. The decoder reads the members that it knows, encodes what it
 * understood, and compares: whatever an encoder would not have written is
 * CORRUPT, and a damaged file makes nobody believe a bitmap.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/jsonx.h"
#include "controller/tracking-priv.h"

enum {
    VERSION = 1,
    DISKS_MAX = 64,
    STALE_MAX = 64,
};
#define TEXT_MAX ((size_t)1 << 20)

static void
point_free(struct tracking_point *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->n; i++) {
        free(p->disks[i].path);
        free(p->disks[i].format);
    }
    free(p->disks);
    free(p->entry);
    free(p);
}

void
tracking_free(struct tracking *t)
{
    if (t == NULL)
        return;
    point_free(t->pending);
    point_free(t->committed);
    free(t->stale);
    free(t->released);
    free(t);
}

void
tracking_code_drop_point(struct tracking_point **p)
{
    point_free(TAKE(*p));
}

/* ---- encode ---- */

static json_t *
disk_encode(const struct tracking_disk *d)
{
    char file[FILE_ID_TEXT_SIZE];

    file_id_print(&d->file, file);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "target", d->target,
                     "layer", d->layer, "path", d->path, "format", d->format,
                     "file", file, "size", (json_int_t)d->size);
}

static json_t *
point_encode(const struct tracking_point *p)
{
    json_t *o =
        json_pack("{s:s, s:s, s:I, s:[]}", "backup", p->backup, "repository",
                  p->repo, "time", (json_int_t)p->time_s, "disks");

    if (p->entry != NULL)
        (void)json_object_set_new(o, "entry", json_string(p->entry));
    if (p->is_clone)
        (void)json_object_set_new(o, "copies", json_true());
    for (size_t i = 0; i < p->n; i++)
        (void)json_array_append_new(json_object_get(o, "disks"),
                                    disk_encode(&p->disks[i]));
    return o;
}

static json_t *
ids_encode(char (*const ids)[UUID_STR_SIZE], size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(list, json_string(ids[i]));
    return list;
}

void
tracking_code_encode(const struct tracking *t, struct buf *out)
{
    CLEANUP(json_decref)
    json_t *o = json_pack("{s:i, s:s, s:o}", "version", VERSION, "vm", t->vm,
                          "stale", ids_encode(t->stale, t->n_stale));
    CLEANUP(mem_free) char *text = NULL;

    if (t->n_released > 0)
        (void)json_object_set_new(o, "released",
                                  ids_encode(t->released, t->n_released));
    if (t->pending != NULL)
        (void)json_object_set_new(o, "pending", point_encode(t->pending));
    if (t->committed != NULL)
        (void)json_object_set_new(o, "committed", point_encode(t->committed));
    text = jsonx_canonical(o);
    buf_printf(out, "%s\n", text);
}

/* ---- decode ---- */

static bool
read_id(const json_t *v, const char *key, char ret[UUID_STR_SIZE])
{
    const char *s = jsonx_str(v, key);

    if (s == NULL || !uuid_is_valid(s) || strpbrk(s, "ABCDEF") != NULL)
        return false;
    memcpy(ret, s, UUID_STR_SIZE);
    return true;
}

static bool
read_disk(const json_t *v, struct tracking_disk *d)
{
    const char *target = jsonx_str(v, "target");
    const char *path = jsonx_str(v, "path");
    const char *format = jsonx_str(v, "format");
    const char *file = jsonx_str(v, "file");
    int64_t size = jsonx_int(v, "size", -1);

    if (target == NULL || strlen(target) >= sizeof d->target || size < 0 ||
        !read_id(v, "layer", d->layer) || file == NULL ||
        !file_id_parse(file, &d->file) || path == NULL || path[0] != '/' ||
        format == NULL)
        return false;
    memcpy(d->target, target, strlen(target) + 1);
    d->path = xstrdup(path);
    d->format = xstrdup(format);
    d->size = (uint64_t)size;
    return true;
}

static bool
read_point(const json_t *v, struct tracking_point **ret)
{
    json_t *disks = json_object_get(v, "disks");
    size_t n = json_array_size(disks);
    const char *entry = jsonx_str(v, "entry");
    struct tracking_point *p;

    if (v == NULL)
        return true;
    p = *ret = xcalloc(1, sizeof *p);
    if (!json_is_array(disks) || n > DISKS_MAX ||
        !read_id(v, "backup", p->backup) || !read_id(v, "repository", p->repo))
        return false;
    p->time_s = jsonx_int(v, "time", 0);
    p->entry = entry == NULL ? NULL : xstrdup(entry);
    p->is_clone = json_is_true(json_object_get(v, "copies"));
    p->disks = xcalloc(n + 1, sizeof *p->disks);
    for (size_t i = 0; i < n; i++)
        if (!read_disk(json_array_get(disks, i), &p->disks[p->n++]))
            return false;
    return true;
}

static bool
read_ids(const json_t *v, char (**ret)[UUID_STR_SIZE], size_t *ret_n)
{
    size_t n = json_array_size(v);

    if (!json_is_array(v) || n > STALE_MAX)
        return false;
    *ret = xcalloc(n + 1, sizeof **ret);
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_array_get(v, i));

        if (s == NULL || !uuid_is_valid(s))
            return false;
        memcpy((*ret)[(*ret_n)++], s, UUID_STR_SIZE);
    }
    return true;
}

static bool
read_all(const json_t *v, struct tracking *t)
{
    const json_t *released = json_object_get(v, "released");

    return read_id(v, "vm", t->vm) &&
           read_ids(json_object_get(v, "stale"), &t->stale, &t->n_stale) &&
           (released == NULL ||
            read_ids(released, &t->released, &t->n_released)) &&
           read_point(json_object_get(v, "pending"), &t->pending) &&
           read_point(json_object_get(v, "committed"), &t->committed) &&
           (t->pending == NULL || t->pending->entry == NULL) &&
           (t->committed == NULL || t->committed->entry != NULL);
}

struct tracking *
tracking_code_decode(const char *text, size_t len, struct err *err)
{
    CLEANUP(tracking_free) struct tracking *t = xcalloc(1, sizeof *t);
    CLEANUP(json_decref) json_t *v = NULL;
    CLEANUP(buf_fini) struct buf again = BUF_INIT;

    if (len > TEXT_MAX)
        return err_set_null(err, ERR_CORRUPT, "tracking: %zu bytes", len);
    v = jsonx_parse(text, len, err);
    if (v == NULL) {
        err->code = ERR_CORRUPT;
        return err_wrap_null(err, "tracking");
    }
    if (jsonx_int(v, "version", 0) > VERSION)
        return err_set_null(err, ERR_UNSUPPORTED,
                            "tracking: written by a newer vmkeep");
    if (!read_all(v, t))
        return err_set_null(err, ERR_CORRUPT, "tracking: damaged");
    tracking_code_encode(t, &again);
    if (again.len != len || memcmp(again.data, text, len) != 0)
        return err_set_null(err, ERR_CORRUPT, "tracking: damaged");
    return TAKE(t);
}
