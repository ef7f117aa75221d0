/* SPDX-License-Identifier: Apache-2.0 */
/* Holds, bad frames, and the list of what was deleted and can be taken back. */
#include <string.h>

#include "base/mem.h"
#include "codec/le.h"
#include "repo/commitlog-private.h"

int
commitlog_append_hold(struct commitlog *l, const uint8_t id[16],
                      const char *reason, struct err *err)
{
    CLEANUP(buf_fini) struct buf body = BUF_INIT;
    size_t len = reason == NULL ? 0 : strlen(reason);
    uint8_t op = reason != NULL, n;

    if (len > REPO_HOLD_REASON_MAX)
        return err_set(err, ERR_INVALID, "a reason has at most %d bytes",
                       REPO_HOLD_REASON_MAX);
    n = (uint8_t)len;
    buf_add(&body, &op, 1);
    buf_add(&body, id, 16);
    buf_add(&body, &n, 1);
    if (len > 0)
        buf_add(&body, reason, len);
    return commitlog_append(l, COMMITLOG_HOLD, &body, err);
}

int
commitlog_append_bad(struct commitlog *l, bool is_bad,
                     const struct badset_frame *frames, size_t count,
                     struct err *err)
{
    while (count > 0) {
        CLEANUP(buf_fini) struct buf body = BUF_INIT;
        size_t n = count < BADSET_MAX ? count : BADSET_MAX;
        uint8_t head[3] = { is_bad }, one[BADSET_SIZE];

        le_put16(head + 1, (uint16_t)n);
        buf_add(&body, head, sizeof head);
        for (size_t i = 0; i < n; i++) {
            badset_encode(&frames[i], one);
            buf_add(&body, one, sizeof one);
        }
        if (commitlog_append(l, COMMITLOG_BAD, &body, err) < 0)
            return -1;
        frames += n;
        count -= n;
    }
    return 0;
}

int
commitlog_holds(struct commitlog *l, struct commitlog_hold **ret,
                size_t *ret_count, struct err *err)
{
    int rc;

    commitlog_lock_take(l);
    rc = commitlog_refresh_locked(l, err);
    if (rc == 0) {
        *ret_count = l->state.hold_count;
        *ret = xcalloc(l->state.hold_count + 1, sizeof **ret);
        if (l->state.hold_count > 0)
            memcpy(*ret, l->state.holds, l->state.hold_count * sizeof **ret);
    }
    commitlog_lock_drop(l);
    return rc;
}

int
commitlog_deleted(struct commitlog *l, struct commitlog_deleted **ret,
                  size_t *ret_count, struct err *err)
{
    int rc;

    commitlog_lock_take(l);
    rc = commitlog_refresh_locked(l, err);
    if (rc == 0) {
        *ret_count = l->state.deleted_count;
        *ret = xcalloc(l->state.deleted_count + 1, sizeof **ret);
        if (l->state.deleted_count > 0)
            memcpy(*ret, l->state.deleted,
                   l->state.deleted_count * sizeof **ret);
    }
    commitlog_lock_drop(l);
    return rc;
}

int
commitlog_bad(struct commitlog *l, struct badset *ret, struct err *err)
{
    int rc;

    commitlog_lock_take(l);
    rc = commitlog_refresh_locked(l, err);
    if (rc == 0)
        badset_copy(&l->state.bad, ret);
    commitlog_lock_drop(l);
    return rc;
}
