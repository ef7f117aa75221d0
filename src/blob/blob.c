/* SPDX-License-Identifier: Apache-2.0 */
#include "blob/blob.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/mem.h"

static bool
is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static bool
is_name(const char *name)
{
    size_t len = strlen(name);
    char before = '/';

    if (len == 0 || len > BLOB_NAME_MAX || name[len - 1] == '/')
        return false;
    for (const char *p = name; *p != 0; before = *p++)
        if (before == '/' ? *p == '/' || *p == '.' || !is_name_char(*p)
                          : *p != '/' && !is_name_char(*p))
            return false;
    return true;
}

static int
check_name(const struct blob *b, const char *name, struct err *err)
{
    if (!is_name(name))
        return err_set(err, ERR_INVALID, "%s: \"%.80s\" is no object name",
                       b->what, name);
    return 0;
}

static int
check_put(const struct blob *b, const char *name, size_t len, struct err *err)
{
    if (check_name(b, name, err) < 0)
        return -1;
    if (len > BLOB_PUT_MAX)
        return err_set(err, ERR_INVALID, "%s: %zu bytes are too many", name,
                       len);
    return 0;
}

void
blob_free(struct blob *b)
{
    char *what;

    if (b == NULL)
        return;
    what = b->what;
    b->ops->free(b);
    free(what);
}

int
blob_put(struct blob *b, const char *name, const void *data, size_t len,
         bool *ret_existed, struct err *err)
{
    if (check_put(b, name, len, err) < 0)
        return -1;
    return b->ops->put(b, name, data, len, ret_existed, err);
}

int
blob_room(struct blob *b, size_t len, struct err *err)
{
    return b->ops->room == NULL ? 0 : b->ops->room(b, len, err);
}

int
blob_put_spare(struct blob *b, const char *name, const void *data, size_t len,
               bool *ret_existed, struct err *err)
{
    if (blob_room(b, len, err) < 0)
        return err_wrap(err, "%s", name);
    return blob_put(b, name, data, len, ret_existed, err);
}

int
blob_replace(struct blob *b, const char *name, const void *data, size_t len,
             struct err *err)
{
    if (check_put(b, name, len, err) < 0)
        return -1;
    if (b->ops->replace == NULL)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: objects there cannot be replaced", b->what);
    if (blob_room(b, len, err) < 0)
        return err_wrap(err, "%s", name);
    return b->ops->replace(b, name, data, len, err);
}

int
blob_sync(struct blob *b, struct err *err)
{
    return b->ops->sync(b, err);
}

int
blob_sync_also(struct blob *b, const char *prefix, struct err *err)
{
    return b->ops->sync_also == NULL ? 0 : b->ops->sync_also(b, prefix, err);
}

int
blob_get(struct blob *b, const char *name, uint64_t off, void *data, size_t len,
         size_t *ret_len, struct err *err)
{
    if (check_name(b, name, err) < 0)
        return -1;
    if (off > INT64_MAX - len)
        return err_set(err, ERR_INVALID, "%s: offset out of range", name);
    return b->ops->get(b, name, off, data, len, ret_len, err);
}

bool
blob_is_lost(const struct err *err)
{
    return err->code == ERR_NOT_FOUND || err->code == ERR_CORRUPT ||
           err->sys_errno == EIO;
}

bool
blob_is_away(const struct err *err)
{
    return !blob_is_lost(err) &&
           (err->code == ERR_UNAVAILABLE || err->code == ERR_TIMEOUT);
}

int
blob_size(struct blob *b, const char *name, uint64_t *ret_size, struct err *err)
{
    if (check_name(b, name, err) < 0)
        return -1;
    return b->ops->size(b, name, ret_size, err);
}

static int
compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int
blob_list(struct blob *b, const char *prefix, struct blob_names *ret_names,
          struct err *err)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    CLEANUP(mem_free) char *dir = xstrdup(prefix);
    size_t len = strlen(prefix);

    if (len > 0 && dir[len - 1] == '/')
        dir[len - 1] = 0;
    if (len > 0 && (prefix[len - 1] != '/' || !is_name(dir)))
        return err_set(err, ERR_INVALID, "%s: \"%.80s\" is no prefix", b->what,
                       prefix);
    if (b->ops->list(b, prefix, &n, err) < 0)
        return -1;
    if (n.count > 0)
        qsort(n.names, n.count, sizeof *n.names, compare);
    *ret_names = n;
    n = (struct blob_names){ 0 };
    return 0;
}

int
blob_remove(struct blob *b, const char *name, struct err *err)
{
    if (check_name(b, name, err) < 0)
        return -1;
    return b->ops->remove(b, name, err);
}

int
blob_sweep(struct blob *b, int64_t age_s, struct err *err)
{
    return b->ops->sweep == NULL ? 0 : b->ops->sweep(b, age_s, err);
}

const char *
blob_what(const struct blob *b)
{
    return b->what;
}

void
blob_names_add(struct blob_names *n, const char *name)
{
    if (!is_name(name))
        return; /* not ours */
    if ((n->count & (n->count - 1)) == 0)
        n->names = xrealloc(n->names, n->count == 0 ? 1 : 2 * n->count,
                            sizeof *n->names);
    n->names[n->count++] = xstrdup(name);
}

void
blob_names_fini(struct blob_names *n)
{
    for (size_t i = 0; i < n->count; i++)
        free(n->names[i]);
    free(n->names);
    *n = (struct blob_names){ 0 };
}
