/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/test-around.h"

#include "base/mem.h"

struct blob *
testing_around_inner(struct blob *b)
{
    return container_of(b, struct testing_around, blob)->inner;
}

static void
around_free(struct blob *b)
{
    blob_free(testing_around_inner(b));
    free(container_of(b, struct testing_around, blob));
}

static int
around_put(struct blob *b, const char *name, const void *data, size_t len,
           bool *ret_existed, struct err *err)
{
    return blob_put(testing_around_inner(b), name, data, len, ret_existed, err);
}

static int
around_replace(struct blob *b, const char *name, const void *data, size_t len,
               struct err *err)
{
    return blob_replace(testing_around_inner(b), name, data, len, err);
}

static int
around_room(struct blob *b, size_t len, struct err *err)
{
    return blob_room(testing_around_inner(b), len, err);
}

static int
around_sync(struct blob *b, struct err *err)
{
    return blob_sync(testing_around_inner(b), err);
}

static int
around_sync_also(struct blob *b, const char *prefix, struct err *err)
{
    return blob_sync_also(testing_around_inner(b), prefix, err);
}

static int
around_get(struct blob *b, const char *name, uint64_t off, void *data,
           size_t len, size_t *ret_len, struct err *err)
{
    return blob_get(testing_around_inner(b), name, off, data, len, ret_len,
                    err);
}

static int
around_size(struct blob *b, const char *name, uint64_t *ret, struct err *err)
{
    return blob_size(testing_around_inner(b), name, ret, err);
}

int
testing_around_list(struct blob *b, const char *prefix,
                    struct blob_names *names, struct err *err)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };

    if (blob_list(testing_around_inner(b), prefix, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n.count; i++)
        blob_names_add(names, n.names[i]);
    return 0;
}

static int
around_remove(struct blob *b, const char *name, struct err *err)
{
    return blob_remove(testing_around_inner(b), name, err);
}

static int
around_sweep(struct blob *b, int64_t age_s, struct err *err)
{
    return blob_sweep(testing_around_inner(b), age_s, err);
}

void *
testing_around_new(size_t size, struct blob *inner)
{
    struct testing_around *a = xcalloc(1, size);

    a->inner = inner;
    a->ops = (struct blob_ops){ .free = around_free,
                                .put = around_put,
                                .replace = around_replace,
                                .room = around_room,
                                .sync = around_sync,
                                .sync_also = around_sync_also,
                                .get = around_get,
                                .size = around_size,
                                .list = testing_around_list,
                                .remove = around_remove,
                                .sweep = around_sweep };
    a->blob.ops = &a->ops;
    a->blob.what = xasprintf("around %s", inner->what);
    return a;
}
