/* SPDX-License-Identifier: Apache-2.0 */
/* store/object.c: one version of an object, as text.
 *
 * The text is what jsonx_canonical() wrote, so it is trusted: two places in it
 * are found once, when the object is made, and a list is then spliced from
 * pieces of memory without parsing anything:
 *
 *   {"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},...}
 *                 ^--^ api                        ^ meta
 *
 * resourceVersion is written at `meta`, another apiVersion over `api`.
 */
#include "store/object.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

struct span {
    size_t off, len;
};

struct label {
    char *key, *value;
};

struct object {
    atomic_uint refs;
    const struct gvr *gvr;
    uint64_t rev;
    char *key;      /* in the store */
    const char *ns; /* both point into `names` */
    const char *name;
    char *names;
    char *uid;
    bool is_deleting;
    struct label *labels;
    size_t n_labels;
    char **owners;
    size_t n_owners;
    char *text;
    size_t len;
    struct span api; /* the value of apiVersion, quotes included */
    size_t meta;     /* just behind metadata's brace */
};

char *
object_key_of(const struct gvr *gvr, const char *ns, const char *name)
{
    return xasprintf("/k/%s/%s/%s/%s", gvr->group, gvr->resource, ns, name);
}

/* ---- finding the two places ---- */

/* The end of the string that begins at text[i] == '"'. */
static size_t
skip_string(const char *text, size_t i)
{
    for (i++; text[i] != '"' && text[i] != 0; i++)
        if (text[i] == '\\' && text[i + 1] != 0)
            i++;
    return text[i] == '"' ? i + 1 : i;
}

/* The end of the value that begins at text[i]. */
static size_t
skip_value(const char *text, size_t i)
{
    unsigned depth = 0;

    for (; text[i] != 0;) {
        if (text[i] == '"') {
            i = skip_string(text, i);
            continue;
        }
        if (text[i] == '{' || text[i] == '[')
            depth++;
        else if ((text[i] == '}' || text[i] == ']') && depth-- == 0)
            return i;
        else if (text[i] == ',' && depth == 0)
            return i;
        i++;
    }
    return i;
}

/* Where the value of the top-level member `name` is; false: no such. */
static bool
find_member(const char *text, const char *name, struct span *ret)
{
    size_t name_len = strlen(name);
    size_t i = 1; /* behind the brace */

    while (text[i] == '"') {
        size_t key = i + 1;
        size_t key_end = skip_string(text, i);
        size_t value = key_end + 1; /* behind the colon */
        size_t end = skip_value(text, value);

        if (key_end - 1 - key == name_len &&
            memcmp(text + key, name, name_len) == 0) {
            *ret = (struct span){ value, end - value };
            return true;
        }
        i = text[end] == ',' ? end + 1 : end;
    }
    return false;
}

/* ---- making ---- */

static void
take_labels(struct object *o, json_t *meta)
{
    json_t *labels = json_object_get(meta, "labels");
    const char *key;
    json_t *value;

    o->labels = xcalloc(json_object_size(labels) + 1, sizeof *o->labels);
    json_object_foreach(labels, key, value)
    {
        if (!json_is_string(value))
            continue;
        o->labels[o->n_labels].key = xstrdup(key);
        o->labels[o->n_labels++].value = xstrdup(json_string_value(value));
    }
}

static void
take_owners(struct object *o, json_t *meta)
{
    json_t *owners = json_object_get(meta, "ownerReferences");
    size_t n = json_array_size(owners);

    o->owners = xcalloc(n + 1, sizeof *o->owners);
    for (size_t i = 0; i < n; i++) {
        const char *uid = jsonx_str(json_array_get(owners, i), "uid");

        if (uid != NULL)
            o->owners[o->n_owners++] = xstrdup(uid);
    }
}

static int
take_meta(struct object *o, json_t *v, struct err *err)
{
    json_t *meta = json_object_get(v, "metadata");
    const char *name = jsonx_str(meta, "name");
    const char *ns = jsonx_str_or(meta, "namespace", "");
    size_t ns_len = strlen(ns);
    struct span span;

    if (name == NULL || !find_member(o->text, "metadata", &span))
        return err_set(err, ERR_CORRUPT, "%s: an object without a name",
                       o->gvr->resource);
    o->meta = span.off + 1;
    if (find_member(o->text, "apiVersion", &span))
        o->api = span;
    o->names = xasprintf("%s%c%s", ns, '/', name);
    o->names[ns_len] = 0;
    o->ns = o->names;
    o->name = o->names + ns_len + 1;
    o->key = object_key_of(o->gvr, ns, name);
    o->uid = xstrdup(jsonx_str_or(meta, "uid", ""));
    o->is_deleting = jsonx_str(meta, "deletionTimestamp") != NULL;
    take_labels(o, meta);
    take_owners(o, meta);
    return 0;
}

struct object *
object_new(const struct gvr *gvr, const char *text, size_t len, uint64_t rev,
           struct err *err)
{
    CLEANUP(object_unref) struct object *o = xcalloc(1, sizeof *o);
    CLEANUP(json_decref) json_t *v = NULL;

    atomic_init(&o->refs, 1);
    o->gvr = gvr;
    o->rev = rev;
    o->text = xstrndup(text, len);
    o->len = len;
    v = jsonx_parse(text, len, err);
    if (v == NULL) {
        err->code = ERR_CORRUPT;
        return err_wrap_null(err, "%s", gvr->resource);
    }
    if (take_meta(o, v, err) < 0)
        return NULL;
    return TAKE(o);
}

struct object *
object_at_rev(const struct object *o, uint64_t rev)
{
    struct err err;
    struct object *copy = object_new(o->gvr, o->text, o->len, rev, &err);

    if (copy == NULL)
        abort(); /* it was an object before */
    return copy;
}

struct object *
object_ref(struct object *o)
{
    atomic_fetch_add(&o->refs, 1);
    return o;
}

void
object_unref(struct object *o)
{
    if (o == NULL || atomic_fetch_sub(&o->refs, 1) != 1)
        return;
    for (size_t i = 0; i < o->n_labels; i++) {
        free(o->labels[i].key);
        free(o->labels[i].value);
    }
    for (size_t i = 0; i < o->n_owners; i++)
        free(o->owners[i]);
    free(o->labels);
    free(o->owners);
    free(o->key);
    free(o->names);
    free(o->uid);
    free(o->text);
    free(o);
}

/* ---- asking ---- */

const struct gvr *
object_gvr(const struct object *o)
{
    return o->gvr;
}

const char *
object_ns(const struct object *o)
{
    return o->ns;
}

const char *
object_name(const struct object *o)
{
    return o->name;
}

const char *
object_uid(const struct object *o)
{
    return o->uid;
}

const char *
object_key(const struct object *o)
{
    return o->key;
}

uint64_t
object_rev(const struct object *o)
{
    return o->rev;
}

bool
object_is_deleting(const struct object *o)
{
    return o->is_deleting;
}

const char *
object_label(const struct object *o, const char *key)
{
    for (size_t i = 0; i < o->n_labels; i++)
        if (strcmp(o->labels[i].key, key) == 0)
            return o->labels[i].value;
    return NULL;
}

const char *
object_owner(const struct object *o, size_t i)
{
    return i < o->n_owners ? o->owners[i] : NULL;
}

json_t *
object_json(const struct object *o)
{
    struct err err;
    json_t *v = jsonx_parse(o->text, o->len, &err);
    char rev[24];

    if (v == NULL)
        abort(); /* it was parsed once */
    (void)snprintf(rev, sizeof rev, "%" PRIu64, o->rev);
    jsonx_set_str(v, "metadata.resourceVersion", rev);
    return v;
}

void
object_text(const struct object *o, const char *api_version, struct buf *out)
{
    char rev[48];
    int rev_len = snprintf(rev, sizeof rev,
                           "\"resourceVersion\":\"%" PRIu64 "\",", o->rev);
    size_t from = 0;

    /* apiVersion sorts before metadata, so it comes first. */
    if (api_version != NULL && o->api.len != 0) {
        buf_add(out, o->text, o->api.off);
        buf_add_char(out, '"');
        buf_add_str(out, api_version);
        buf_add_char(out, '"');
        from = o->api.off + o->api.len;
    }
    buf_add(out, o->text + from, o->meta - from);
    buf_add(out, rev, (size_t)rev_len);
    buf_add(out, o->text + o->meta, o->len - o->meta);
}

void
object_list_fini(struct object_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        object_unref(l->v[i]);
    free(l->v);
    *l = (struct object_list){ 0 };
}
