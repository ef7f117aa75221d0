/* SPDX-License-Identifier: Apache-2.0 */
/* store/store.c: the checked front of every backend.
 *
 * Arguments are checked, and each write is counted as a side effect, once and
 * here, so that backends and their fault wrapper behave alike.
 */
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

#include "base/effect.h"
#include "store/backend.h"

/* As etcd's default request limit less its framing: what is accepted here can
 * be moved there. source: spec k8swire 14, "Limits seen" */
#define MAX_VAL_LEN (1536u * 1024 - 4096)
#define MAX_KEY_LEN 1024u

static int
check_key(const char *key, struct err *err)
{
    size_t len = strnlen(key, MAX_KEY_LEN + 1);

    if (len > MAX_KEY_LEN)
        return err_set(err, ERR_INVALID, "store: key longer than %u bytes",
                       MAX_KEY_LEN);
    if (strncmp(key, "/k/", 3) != 0)
        return err_set(err, ERR_INVALID, "store: key '%s' is not below /k/",
                       key);
    return 0;
}

static int
check_val(const char *key, const char *val, struct err *err)
{
    if (strnlen(val, MAX_VAL_LEN + 1) > MAX_VAL_LEN)
        return err_set(err, ERR_INVALID,
                       "%s: too large: an object has at most %u bytes of JSON",
                       key, MAX_VAL_LEN);
    return 0;
}

struct store *
store_open_sqlite(const char *dir, struct err *err)
{
    return sqlite_open(dir, err);
}

void
store_close(struct store *s)
{
    if (s == NULL)
        return;
    s->ops->watch_stop(s);
    s->ops->close(s);
}

int
store_create(struct store *s, const char *key, const char *val,
             uint64_t *ret_rev, struct err *err)
{
    if (check_key(key, err) < 0 || check_val(key, val, err) < 0)
        return -1;

    struct effect e = effect_begin("store", key);
    int rc = s->ops->create(s, key, val, ret_rev, err);

    effect_end(&e);
    return rc;
}

int
store_update(struct store *s, const char *key, const char *val,
             uint64_t expect_rev, uint64_t *ret_rev, struct err *err)
{
    if (check_key(key, err) < 0 || check_val(key, val, err) < 0)
        return -1;

    struct effect e = effect_begin("store", key);
    int rc = s->ops->update(s, key, val, expect_rev, ret_rev, err);

    effect_end(&e);
    return rc;
}

int
store_delete(struct store *s, const char *key, uint64_t expect_rev,
             uint64_t *ret_rev, struct err *err)
{
    if (check_key(key, err) < 0)
        return -1;

    struct effect e = effect_begin("store", key);
    int rc = s->ops->remove(s, key, expect_rev, ret_rev, err);

    effect_end(&e);
    return rc;
}

int
store_get(struct store *s, const char *key, struct store_item *ret_item,
          uint64_t *ret_head_rev, struct err *err)
{
    if (check_key(key, err) < 0)
        return -1;
    return s->ops->get(s, key, ret_item, ret_head_rev, err);
}

int
store_list(struct store *s, const char *prefix, const char *after, size_t limit,
           uint64_t at_rev, struct store_items *ret_items, struct err *err)
{
    struct store_query query = {
        .prefix = prefix, .after = after, .limit = limit, .at_rev = at_rev
    };

    if (check_key(prefix, err) < 0)
        return -1;
    return s->ops->list(s, &query, ret_items, err);
}

int
store_watch(struct store *s, uint64_t after_rev, store_watch_fn fn, void *arg,
            struct err *err)
{
    return s->ops->watch(s, after_rev, fn, arg, err);
}

void
store_watch_stop(struct store *s)
{
    s->ops->watch_stop(s);
}

int
store_compact(struct store *s, uint64_t rev, struct err *err)
{
    struct effect e = effect_begin("store", "compact");
    int rc = s->ops->compact(s, rev, err);

    effect_end(&e);
    return rc;
}

void
store_item_fini(struct store_item *item)
{
    free(item->key);
    free(item->val);
    *item = (struct store_item){ 0 };
}

void
store_items_fini(struct store_items *items)
{
    for (size_t i = 0; i < items->n; i++)
        store_item_fini(&items->v[i]);
    free(items->v);
    *items = (struct store_items){ 0 };
}
