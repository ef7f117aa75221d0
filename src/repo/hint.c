/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/hint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define NAME_SIZE 80

static void
make_name(const char *prefix, uint64_t number, char out[NAME_SIZE])
{
    (void)snprintf(out, NAME_SIZE, "%s%llu", prefix,
                   (unsigned long long)number);
}

/* A name that is not ours would be the newest for ever: nothing can be written
 * behind the highest number, and what has none is never removed. */
static uint64_t
number_of(const char *prefix, const char *name)
{
    uint64_t number = strtoull(name + strlen(prefix), NULL, 10);
    char again[NAME_SIZE];

    make_name(prefix, number, again);
    return strcmp(name, again) == 0 && number < UINT64_MAX ? number : 0;
}

static int
find_newest(struct repo *repo, const char *prefix, uint64_t *ret,
            struct err *err)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };

    *ret = 0;
    if (blob_list(repo->blob, prefix, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n.count; i++) {
        uint64_t number = number_of(prefix, n.names[i]);

        *ret = number > *ret ? number : *ret;
    }
    return 0;
}

int
hint_load(struct repo *repo, const char *prefix, size_t max, struct buf *ret,
          uint64_t *ret_number, struct err *err)
{
    CLEANUP(mem_free) uint8_t *data = NULL;
    char name[NAME_SIZE];
    uint64_t size = 0;
    size_t len = 0;

    if (find_newest(repo, prefix, ret_number, err) < 0)
        return -1;
    if (*ret_number == 0)
        return 0;
    make_name(prefix, *ret_number, name);
    if (blob_size(repo->blob, name, &size, err) < 0)
        return blob_is_lost(err) ? 0 : -1;
    if (size > max)
        return 0; /* none of ours */
    data = xcalloc(1, (size_t)size + 1);
    if (blob_get(repo->blob, name, 0, data, (size_t)size, &len, err) < 0)
        return blob_is_lost(err) ? 0 : -1;
    buf_add(ret, data, len);
    return 0;
}

int
hint_store(struct repo *repo, const char *prefix, uint64_t number,
           const void *data, size_t len, struct err *err)
{
    char name[NAME_SIZE];
    bool existed;

    make_name(prefix, number + 1, name);
    if (blob_put(repo->blob, name, data, len, &existed, err) < 0)
        return -1;
    if (number == 0)
        return 0;
    make_name(prefix, number, name);
    return blob_remove(repo->blob, name, err);
}
