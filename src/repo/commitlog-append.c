/* SPDX-License-Identifier: Apache-2.0 */
/* Writing the log: an entry of the next number, created if absent. */
#include <string.h>

#include "base/clock.h"
#include "base/uuid.h"
#include "codec/le.h"
#include "repo/commitlog-private.h"

/* Writers that meet the same number again and again: something is wrong. */
#define MAX_TRIES 10000

/* Is the entry that exists as number `seq` the one with our nonce? */
static int
is_ours_locked(struct commitlog *l, const struct commitlog_entry *e,
               const char *name, bool *ret, struct err *err)
    REQUIRES(commitlog_lock)
{
    struct commitlog_entry got;
    size_t len = 0;

    *ret = false;
    if (blob_get(l->blob, name, 0, l->scratch, COMMITLOG_SIZE_MAX + 1, &len,
                 err) < 0)
        return -1;
    if (commitlog_decode(l->scratch, len, l->repo_uuid, l->keys, &got, err) ==
        0)
        *ret = memcmp(got.nonce, e->nonce, sizeof got.nonce) == 0;
    return 0;
}

static int
try_put_locked(struct commitlog *l, struct commitlog_entry *e, bool *ret_done,
               struct err *err) REQUIRES(commitlog_lock)
{
    CLEANUP(buf_fini) struct buf bytes = BUF_INIT;
    struct err put_err, look_err;
    bool existed = true;
    char name[32];

    e->seq = l->next_seq;
    if (l->is_blind) /* who can read it would see a broken chain */
        return err_set(
            err, ERR_UNAVAILABLE,
            "log/%020llu cannot be read: nothing can be written behind it",
            (unsigned long long)l->next_seq - 1);
    memcpy(e->prev, l->head, HASH_SIZE);
    commitlog_encode(e, l->repo_uuid, l->keys, &bytes);
    commitlog_name(e->seq, name);
    if (blob_put(l->blob, name, bytes.data, bytes.len, &existed, &put_err) <
        0) {
        /* It may have arrived all the same, or another's may be there. */
        if (is_ours_locked(l, e, name, ret_done, &look_err) == 0)
            return 0;
        *err = put_err;
        return -1;
    }
    *ret_done = !existed;
    if (existed && is_ours_locked(l, e, name, ret_done, err) < 0)
        return -1;
    return 0;
}

/* Who has not seen a rotation would go on with keys that were replaced. A
 * session that is at work already may end. */
static int
check_epoch_locked(struct commitlog *l, const struct commitlog_entry *e,
                   struct err *err) REQUIRES(commitlog_lock)
{
    const struct commitlog_epoch *now = &l->state.epoch;
    const struct logstate_session *s;

    if (e->type != COMMITLOG_OPEN || now->epoch == 0)
        return 0;
    s = logstate_session_of(&l->state, e->body);
    if ((s != NULL && s->open_seq != 0) ||
        (now->epoch == l->epoch.epoch &&
         memcmp(now->rotation, l->epoch.rotation, sizeof now->rotation) == 0))
        return 0;
    return err_set(
        err, ERR_UNAVAILABLE,
        "the repository's keys were rotated: open it again; if that does not help, this key was removed or is older than the rotation");
}

static int
append_locked(struct commitlog *l, enum commitlog_type type,
              const struct buf *body, struct err *err) REQUIRES(commitlog_lock)
{
    struct commitlog_entry e = {
        .type = (unsigned)type,
        .is_critical = logstate_type_of((unsigned)type)->is_critical,
        .body = (const uint8_t *)body->data,
        .body_len = body->len,
        .time_unix_s = clock_wall_s(),
    };
    bool is_done = false;

    if (l->keys == NULL)
        return err_set(err, ERR_DENIED, "writing needs the repository's key");
    /* Who begins on a full store has nothing to log. */
    if (e.type == COMMITLOG_OPEN &&
        blob_room(l->blob, COMMITLOG_SIZE_MAX, err) < 0)
        return -1;
    e.is_signed = commitlog_needs_sign(e.type);
    if (e.is_signed && !keys_can_delete(l->keys))
        return err_set(err, ERR_DENIED,
                       "this key is %s: it does not allow to delete",
                       keys_role_name(l->keys->role));
    uuid_random_bytes(e.nonce, sizeof e.nonce);
    for (unsigned i = 0; !is_done; i++) {
        if (i == MAX_TRIES)
            return err_set(err, ERR_BUSY, "log: no free number after %d tries",
                           MAX_TRIES);
        if (commitlog_refresh_locked(l, err) < 0 ||
            check_epoch_locked(l, &e, err) < 0 ||
            logstate_check(&l->state, &e, err) < 0 ||
            try_put_locked(l, &e, &is_done, err) < 0)
            return -1;
    }
    if (blob_sync(l->blob, err) < 0)
        return -1;
    return commitlog_refresh_locked(l, err); /* folds it in */
}

int
commitlog_append(struct commitlog *l, enum commitlog_type type,
                 const struct buf *body, struct err *err)
{
    int rc;

    commitlog_lock_take(l);
    rc = append_locked(l, type, body, err);
    commitlog_lock_drop(l);
    return rc;
}

int
commitlog_append_open(struct commitlog *l, const uint8_t session[16],
                      const uint8_t parent[16], int64_t created_unix_s,
                      const uint8_t *resumes, struct err *err)
{
    CLEANUP(buf_fini) struct buf body = BUF_INIT;
    uint8_t created[8];

    le_put64(created, (uint64_t)created_unix_s);
    buf_add(&body, session, 16);
    buf_add(&body, parent, 16);
    buf_add(&body, created, sizeof created);
    if (resumes != NULL)
        buf_add(&body, resumes, 16);
    return commitlog_append(l, COMMITLOG_OPEN, &body, err);
}

/* None of these is condemned, or was rewritten. What the parent names too may
 * be, if it `may_be_moved`: the map has all of it. */
static int
check_packs_locked(struct commitlog *l, const struct packset *packs,
                   bool may_be_moved, struct err *err) REQUIRES(commitlog_lock)
{
    const struct packset_item *item;

    for (size_t pos = 0; (item = packset_next(packs, &pos)) != NULL;) {
        char name[PACK_NAME_SIZE];

        if (logstate_moved_find(&l->state, &item->id) != NULL
                ? may_be_moved
                : packset_get(&l->state.condemned, &item->id) == 0)
            continue;
        pack_name(&item->id, name);
        return err_set(err, ERR_CONFLICT,
                       "%s was rewritten or condemned meanwhile", name);
    }
    return 0;
}

static int
append_commit_locked(struct commitlog *l, struct commitlog_commit *c,
                     const struct packset *needed, const struct packset *fresh,
                     struct err *err) REQUIRES(commitlog_lock)
{
    int rc;

    do {
        CLEANUP(buf_fini) struct buf body = BUF_INIT;

        if (commitlog_refresh_locked(l, err) < 0 ||
            check_packs_locked(l, needed, true, err) < 0 ||
            check_packs_locked(l, fresh, false, err) < 0)
            return -1;
        c->checked_seq = l->state.last_seq;
        commitlog_commit_encode(c, &body);
        rc = append_locked(l, COMMITLOG_COMMIT, &body, err);
    } while (rc < 0 && err->code == ERR_CONFLICT &&
             l->state.shrink_seq > c->checked_seq);
    return rc;
}

int
commitlog_append_commit(struct commitlog *l, struct commitlog_commit *c,
                        const struct packset *needed,
                        const struct packset *fresh, struct err *err)
{
    int rc;

    commitlog_lock_take(l);
    rc = append_commit_locked(l, c, needed, fresh, err);
    commitlog_lock_drop(l);
    return rc;
}

int
commitlog_append_abort(struct commitlog *l, const uint8_t session[16],
                       struct err *err)
{
    CLEANUP(buf_fini) struct buf body = BUF_INIT;
    enum logstate_end end;

    commitlog_lock_take(l);
    end = logstate_end_of(&l->state, session);
    commitlog_lock_drop(l);
    if (end == LOGSTATE_ENDED || end == LOGSTATE_DISCARDED)
        return 0;
    buf_add(&body, session, 16);
    return commitlog_append(l, COMMITLOG_ABORT, &body, err);
}

int
commitlog_append_discard(struct commitlog *l, const uint8_t session[16],
                         struct err *err)
{
    CLEANUP(buf_fini) struct buf body = BUF_INIT;

    buf_add(&body, session, 16);
    buf_add(&body, "\1", 1);
    return commitlog_append(l, COMMITLOG_ABORT, &body, err);
}

/* An entry whose body is a list of backups. */
static int
append_ids(struct commitlog *l, enum commitlog_type type, const char *verb,
           const uint8_t (*ids)[16], unsigned count, struct err *err)
{
    CLEANUP(buf_fini) struct buf body = BUF_INIT;
    uint8_t n[2];

    if (count < 1 || count > COMMITLOG_DELETES)
        return err_set(err, ERR_INVALID, "%s 1 to %u backups at once", verb,
                       COMMITLOG_DELETES);
    le_put16(n, (uint16_t)count);
    buf_add(&body, n, sizeof n);
    buf_add(&body, ids, (size_t)count * 16);
    return commitlog_append(l, type, &body, err);
}

int
commitlog_append_delete(struct commitlog *l, const uint8_t (*ids)[16],
                        unsigned count, struct err *err)
{
    return append_ids(l, COMMITLOG_DELETE, "delete", ids, count, err);
}

int
commitlog_append_undelete(struct commitlog *l, const uint8_t (*ids)[16],
                          unsigned count, struct err *err)
{
    return append_ids(l, COMMITLOG_UNDELETE, "undelete", ids, count, err);
}

int
commitlog_append_kill(struct commitlog *l, const uint8_t session[16],
                      struct err *err)
{
    CLEANUP(buf_fini) struct buf body = BUF_INIT;

    buf_add(&body, session, 16);
    return commitlog_append(l, COMMITLOG_KILL, &body, err);
}

int
commitlog_append_condemn(struct commitlog *l, const struct commitlog_condemn *c,
                         struct err *err)
{
    CLEANUP(buf_fini) struct buf body = BUF_INIT;

    if (c->drop_count > COMMITLOG_DROPS || c->pack_count > COMMITLOG_CONDEMNS)
        return err_set(err, ERR_INVALID, "too much for one CONDEMN");
    commitlog_condemn_encode(c, &body);
    return commitlog_append(l, COMMITLOG_CONDEMN, &body, err);
}

int
commitlog_append_pin(struct commitlog *l, const uint8_t pin[16],
                     const uint8_t *backup, struct err *err)
{
    CLEANUP(buf_fini) struct buf body = BUF_INIT;

    buf_add(&body, backup != NULL ? "\1" : "\0", 1);
    buf_add(&body, pin, 16);
    if (backup != NULL)
        buf_add(&body, backup, 16);
    return commitlog_append(l, COMMITLOG_PIN, &body, err);
}
