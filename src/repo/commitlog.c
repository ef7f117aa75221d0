/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/commitlog.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/mutex.h"
#include "base/uuid.h"
#include "codec/le.h"
#include "repo/repo-id.h"

/* Writers that meet the same number again and again: something is wrong. */
#define MAX_TRIES    10000
#define DISCARD_SIZE 17u /* of an ABORT that says so */
#define OPEN_SIZE    40u /* without a session that is resumed */

extern struct role commitlog_lock;

struct session_end {
    uint8_t id[16];
    bool is_commit;
    bool is_discarded;
};

/* An OPEN that names another session. */
struct session_link {
    uint8_t id[16];
    uint8_t resumes[16];
    bool is_used; /* the first of the two committed, or was used in turn */
};

struct commitlog {
    struct blob *blob;              /* [C] */
    const uint8_t *repo_uuid;       /* [C] 16 bytes */
    const struct hash_key *mac_key; /* [C] NULL: no key */
    pthread_mutex_t mutex;          /* what commitlog_lock stands for */
    bool is_loaded GUARDED_BY(commitlog_lock);
    uint64_t next_seq GUARDED_BY(commitlog_lock);
    bool has_head GUARDED_BY(commitlog_lock); /* entry next_seq - 1 was found */
    uint8_t head[HASH_SIZE] GUARDED_BY(commitlog_lock);
    uint64_t bytes GUARDED_BY(commitlog_lock);
    struct commitlog_backup *backups GUARDED_BY(commitlog_lock);
    size_t backup_count GUARDED_BY(commitlog_lock);
    struct session_end *ends GUARDED_BY(commitlog_lock);
    size_t end_count GUARDED_BY(commitlog_lock);
    struct session_link *links GUARDED_BY(commitlog_lock);
    size_t link_count GUARDED_BY(commitlog_lock);
    struct commitlog_damage *damages GUARDED_BY(commitlog_lock);
    size_t damage_count GUARDED_BY(commitlog_lock);
    uint8_t *scratch GUARDED_BY(commitlog_lock); /* COMMITLOG_SIZE_MAX + 1 */
};

static void lock(struct commitlog *l) ACQUIRE(commitlog_lock);
static void unlock(struct commitlog *l) RELEASE(commitlog_lock);

static void NO_TSA
lock(struct commitlog *l)
{
    pthread_mutex_lock(&l->mutex);
}

static void NO_TSA
unlock(struct commitlog *l)
{
    pthread_mutex_unlock(&l->mutex);
}

struct commitlog *NO_TSA
commitlog_new(struct blob *blob, const uint8_t *repo_uuid,
              const struct hash_key *mac_key)
{
    struct commitlog *l = xcalloc(1, sizeof *l);

    l->blob = blob;
    l->repo_uuid = repo_uuid;
    l->mac_key = mac_key;
    l->next_seq = 1;
    l->has_head = true; /* entry 1 follows zeros */
    l->scratch = xcalloc(1, COMMITLOG_SIZE_MAX + 1);
    pthread_mutex_init(&l->mutex, NULL);
    return l;
}

void NO_TSA
commitlog_free(struct commitlog *l)
{
    if (l == NULL)
        return;
    free(l->backups);
    free(l->ends);
    free(l->links);
    free(l->damages);
    free(l->scratch);
    pthread_mutex_destroy(&l->mutex);
    free(l);
}

void
commitlog_name(uint64_t seq, char out[32])
{
    (void)snprintf(out, 32, "log/%020llu", (unsigned long long)seq);
}

/* Room for one more in an array that doubles at powers of two. */
static void *
grow(void *array, size_t count, size_t size)
{
    if ((count & (count - 1)) == 0)
        array = xrealloc(array, count == 0 ? 1 : 2 * count, size);
    return array;
}

static void
note_damage_locked(struct commitlog *l, const char *cause)
    REQUIRES(commitlog_lock)
{
    struct commitlog_damage *d;

    l->damages = grow(l->damages, l->damage_count, sizeof *l->damages);
    d = &l->damages[l->damage_count++];
    d->seq = l->next_seq;
    (void)snprintf(d->cause, sizeof d->cause, "%.199s", cause);
}

static struct session_end *
end_of_locked(struct commitlog *l, const uint8_t session[16])
    REQUIRES(commitlog_lock)
{
    for (size_t i = 0; i < l->end_count; i++)
        if (memcmp(l->ends[i].id, session, 16) == 0)
            return &l->ends[i];
    return NULL;
}

static struct session_end *
end_locked(struct commitlog *l, const uint8_t session[16], bool is_commit)
    REQUIRES(commitlog_lock)
{
    struct session_end *end;

    l->ends = grow(l->ends, l->end_count, sizeof *l->ends);
    end = &l->ends[l->end_count++];
    *end = (struct session_end){ .is_commit = is_commit };
    memcpy(end->id, session, 16);
    return end;
}

static int
fold_abort_locked(struct commitlog *l, const struct commitlog_entry *e,
                  struct err *err) REQUIRES(commitlog_lock)
{
    bool is_discarded = e->body_len == DISCARD_SIZE;

    if (e->body_len != 16 && (!is_discarded || e->body[16] != 1))
        return err_set(err, ERR_CORRUPT, "ABORT: wrong length");
    if (end_of_locked(l, e->body) == NULL)
        end_locked(l, e->body, false)->is_discarded = is_discarded;
    return 0;
}

static struct session_link *
link_locked(struct commitlog *l, const uint8_t session[16])
    REQUIRES(commitlog_lock)
{
    for (size_t i = 0; i < l->link_count; i++)
        if (memcmp(l->links[i].id, session, 16) == 0)
            return &l->links[i];
    return NULL;
}

static int
fold_open_locked(struct commitlog *l, const struct commitlog_entry *e,
                 struct err *err) REQUIRES(commitlog_lock)
{
    struct session_link *k;

    if (e->body_len != OPEN_SIZE && e->body_len != OPEN_SIZE + 16)
        return err_set(err, ERR_CORRUPT, "OPEN: wrong length");
    if (e->body_len == OPEN_SIZE || link_locked(l, e->body) != NULL)
        return 0;
    l->links = grow(l->links, l->link_count, sizeof *l->links);
    k = &l->links[l->link_count++];
    memcpy(k->id, e->body, 16);
    memcpy(k->resumes, e->body + OPEN_SIZE, 16);
    k->is_used = false;
    return 0;
}

/* The packs of the sessions that this one resumed are part of its backup. */
static void
use_locked(struct commitlog *l, const uint8_t session[16])
    REQUIRES(commitlog_lock)
{
    struct session_link *k = link_locked(l, session);

    for (; k != NULL && !k->is_used; k = link_locked(l, k->resumes))
        k->is_used = true;
}

static size_t
find_locked(struct commitlog *l, const uint8_t id[16]) REQUIRES(commitlog_lock)
{
    size_t i = 0;

    while (i < l->backup_count && memcmp(l->backups[i].commit.id, id, 16) != 0)
        i++;
    return i;
}

static void
fold_delete_locked(struct commitlog *l, const struct commitlog_entry *e)
    REQUIRES(commitlog_lock)
{
    for (size_t at = 2; at + 16 <= e->body_len; at += 16) {
        size_t i = find_locked(l, e->body + at);

        if (i == l->backup_count)
            continue;
        memmove(&l->backups[i], &l->backups[i + 1],
                (l->backup_count - i - 1) * sizeof *l->backups);
        l->backup_count--;
    }
}

static int
fold_commit_locked(struct commitlog *l, const struct commitlog_entry *e,
                   struct err *err) REQUIRES(commitlog_lock)
{
    struct commitlog_backup b = { .seq = e->seq };

    if (commitlog_commit_decode(e->body, e->body_len, &b.commit, err) < 0)
        return -1;
    if (end_of_locked(l, b.commit.id) != NULL)
        return 0; /* ignored by everybody */
    (void)end_locked(l, b.commit.id, true);
    use_locked(l, b.commit.id);
    l->backups =
        xrealloc(l->backups, 2 * l->backup_count + 1, sizeof *l->backups);
    l->backups[l->backup_count++] = b;
    return 0;
}

/* Errors other than UNSUPPORTED are damage. */
static int
fold_locked(struct commitlog *l, const struct commitlog_entry *e,
            struct err *err) REQUIRES(commitlog_lock)
{
    switch (e->type) {
    case COMMITLOG_OPEN:
        return fold_open_locked(l, e, err);
    case COMMITLOG_COMMIT:
        return fold_commit_locked(l, e, err);
    case COMMITLOG_ABORT:
        return fold_abort_locked(l, e, err);
    case COMMITLOG_DELETE:
        if (e->body_len < 18 || e->body_len != 2 + 16u * le_get16(e->body))
            return err_set(err, ERR_CORRUPT, "DELETE: wrong length");
        fold_delete_locked(l, e);
        return 0;
    default:
        if (e->is_critical)
            return err_set(
                err, ERR_UNSUPPORTED,
                "log entry %llu is of type %u, which this version does not know",
                (unsigned long long)e->seq, e->type);
        return 0;
    }
}

static int
take_entry_locked(struct commitlog *l, size_t len, struct err *err)
    REQUIRES(commitlog_lock)
{
    struct commitlog_entry e;

    if (commitlog_decode(l->scratch, len, l->repo_uuid, l->mac_key, &e, err) <
        0)
        return -1;
    if (e.seq != l->next_seq)
        return err_set(err, ERR_CORRUPT, "is entry %llu",
                       (unsigned long long)e.seq);
    if (l->has_head && memcmp(e.prev, l->head, HASH_SIZE) != 0)
        return err_set(
            err, ERR_CORRUPT,
            "does not follow the entry before it (the chain is broken)");
    return fold_locked(l, &e, err);
}

/* Read entry next_seq. `must_exist`: a later one exists, so this one does. */
static int
read_next_locked(struct commitlog *l, bool must_exist, bool *ret_found,
                 struct err *err) REQUIRES(commitlog_lock)
{
    char name[32];
    size_t len = 0;

    commitlog_name(l->next_seq, name);
    if (blob_get(l->blob, name, 0, l->scratch, COMMITLOG_SIZE_MAX + 1, &len,
                 err) < 0) {
        if (err->code != ERR_NOT_FOUND)
            return -1;
        *ret_found = must_exist;
        if (must_exist) {
            note_damage_locked(l, "is missing");
            l->has_head = false;
            l->next_seq++;
        }
        return 0;
    }
    *ret_found = true;
    if (take_entry_locked(l, len, err) < 0) {
        if (err->code == ERR_UNSUPPORTED)
            return -1;
        note_damage_locked(l, err->msg);
    }
    hash_sha256(l->scratch, len, l->head);
    l->has_head = true;
    l->bytes += len;
    l->next_seq++;
    return 0;
}

/* The highest number that exists, or 0. */
static int
find_highest_locked(struct commitlog *l, uint64_t *ret, struct err *err)
    REQUIRES(commitlog_lock)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };

    if (blob_list(l->blob, "log/", &n, err) < 0)
        return -1;
    *ret = 0;
    for (size_t i = 0; i < n.count; i++) {
        uint64_t seq = strtoull(n.names[i] + 4, NULL, 10);
        char name[32];

        commitlog_name(seq, name);
        if (strcmp(name, n.names[i]) == 0 && seq > *ret)
            *ret = seq;
    }
    return 0;
}

static int
refresh_locked(struct commitlog *l, struct err *err) REQUIRES(commitlog_lock)
{
    uint64_t highest = 0;
    bool found = true;

    if (!l->is_loaded) {
        if (find_highest_locked(l, &highest, err) < 0)
            return -1;
        /* A number like 10^19 would keep us busy for ever. */
        if (highest > 100000000)
            return err_set(err, ERR_CORRUPT, "log/: entry %llu is out of range",
                           (unsigned long long)highest);
    }
    while (found) {
        struct err ignored;

        if (read_next_locked(l, l->next_seq <= highest, &found, &ignored) < 0) {
            *err = ignored;
            return -1;
        }
    }
    l->is_loaded = true;
    return 0;
}

/* May this entry be written, as the log is now? */
static int
check_locked(struct commitlog *l, const struct commitlog_entry *e,
             struct err *err) REQUIRES(commitlog_lock)
{
    const struct session_end *end = end_of_locked(l, e->body);

    if (e->type == COMMITLOG_COMMIT && end != NULL)
        return err_set(err, ERR_CONFLICT,
                       "this session was ended by somebody else");
    if (e->type == COMMITLOG_ABORT && end != NULL && end->is_commit)
        return err_set(err, ERR_CONFLICT, "this session did commit");
    if (e->type == COMMITLOG_ABORT && e->body_len == DISCARD_SIZE) {
        if (end != NULL)
            return err_set(err, ERR_CONFLICT, "this session has ended");
        if (l->damage_count > 0) /* what ended it may be among that */
            return err_set(err, ERR_CONFLICT, "the log is damaged");
    }
    for (size_t at = 2; e->type == COMMITLOG_DELETE && at < e->body_len;
         at += 16) {
        char id[UUID_STR_SIZE];

        if (find_locked(l, e->body + at) < l->backup_count)
            continue;
        repo_id_format(e->body + at, id);
        return err_set(err, ERR_NOT_FOUND, "backup %s: no such backup", id);
    }
    return 0;
}

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
    if (commitlog_decode(l->scratch, len, l->repo_uuid, l->mac_key, &got,
                         err) == 0)
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
    memcpy(e->prev, l->head, HASH_SIZE);
    commitlog_encode(e, l->repo_uuid, l->mac_key, &bytes);
    commitlog_name(e->seq, name);
    if (blob_put(l->blob, name, bytes.data, bytes.len, &existed, &put_err) <
        0) {
        /* It may have arrived all the same. */
        if (is_ours_locked(l, e, name, ret_done, &look_err) < 0 || !*ret_done) {
            *err = put_err;
            return -1;
        }
        return 0;
    }
    *ret_done = !existed;
    if (existed && is_ours_locked(l, e, name, ret_done, err) < 0)
        return -1;
    return 0;
}

static int
append_locked(struct commitlog *l, enum commitlog_type type,
              const struct buf *body, struct err *err) REQUIRES(commitlog_lock)
{
    struct commitlog_entry e = {
        .type = (unsigned)type,
        .is_critical = type == COMMITLOG_COMMIT || type == COMMITLOG_DELETE,
        .body = (const uint8_t *)body->data,
        .body_len = body->len,
    };
    bool is_done = false;

    if (l->mac_key == NULL)
        return err_set(err, ERR_DENIED, "writing needs the repository's key");
    uuid_random_bytes(e.nonce, sizeof e.nonce);
    for (unsigned i = 0; !is_done; i++) {
        if (i == MAX_TRIES)
            return err_set(err, ERR_BUSY, "log: no free number after %d tries",
                           MAX_TRIES);
        if (refresh_locked(l, err) < 0 || check_locked(l, &e, err) < 0 ||
            try_put_locked(l, &e, &is_done, err) < 0)
            return -1;
    }
    if (blob_sync(l->blob, err) < 0)
        return -1;
    return refresh_locked(l, err); /* folds it in */
}

static int
append(struct commitlog *l, enum commitlog_type type, const struct buf *body,
       struct err *err)
{
    int rc;

    lock(l);
    rc = append_locked(l, type, body, err);
    unlock(l);
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
    return append(l, COMMITLOG_OPEN, &body, err);
}

int
commitlog_append_commit(struct commitlog *l, const struct commitlog_commit *c,
                        struct err *err)
{
    CLEANUP(buf_fini) struct buf body = BUF_INIT;

    commitlog_commit_encode(c, &body);
    return append(l, COMMITLOG_COMMIT, &body, err);
}

int
commitlog_append_abort(struct commitlog *l, const uint8_t session[16],
                       struct err *err)
{
    CLEANUP(buf_fini) struct buf body = BUF_INIT;
    const struct session_end *end;
    bool is_aborted;

    lock(l);
    end = end_of_locked(l, session);
    is_aborted = end != NULL && !end->is_commit;
    unlock(l);
    if (is_aborted)
        return 0;
    buf_add(&body, session, 16);
    return append(l, COMMITLOG_ABORT, &body, err);
}

int
commitlog_append_discard(struct commitlog *l, const uint8_t session[16],
                         struct err *err)
{
    CLEANUP(buf_fini) struct buf body = BUF_INIT;

    buf_add(&body, session, 16);
    buf_add(&body, "\1", 1);
    return append(l, COMMITLOG_ABORT, &body, err);
}

int
commitlog_append_delete(struct commitlog *l, const uint8_t (*ids)[16],
                        unsigned count, struct err *err)
{
    CLEANUP(buf_fini) struct buf body = BUF_INIT;
    uint8_t n[2];

    if (count < 1 || count > COMMITLOG_DELETES)
        return err_set(err, ERR_INVALID, "delete 1 to %u backups at once",
                       COMMITLOG_DELETES);
    le_put16(n, (uint16_t)count);
    buf_add(&body, n, sizeof n);
    buf_add(&body, ids, (size_t)count * 16);
    return append(l, COMMITLOG_DELETE, &body, err);
}

int
commitlog_list(struct commitlog *l, struct commitlog_backup **ret,
               size_t *ret_count, size_t *ret_damage, struct err *err)
{
    int rc;

    lock(l);
    rc = refresh_locked(l, err);
    if (rc == 0) {
        *ret_count = l->backup_count;
        *ret_damage = l->damage_count;
        *ret = xcalloc(l->backup_count + 1, sizeof **ret);
        if (l->backup_count > 0)
            memcpy(*ret, l->backups, l->backup_count * sizeof **ret);
    }
    unlock(l);
    return rc;
}

int
commitlog_find(struct commitlog *l, const uint8_t id[16],
               struct commitlog_backup *ret, struct err *err)
{
    char text[UUID_STR_SIZE];
    int rc;

    lock(l);
    rc = refresh_locked(l, err);
    if (rc == 0) {
        size_t i = find_locked(l, id);

        repo_id_format(id, text);
        if (i < l->backup_count)
            *ret = l->backups[i];
        else
            rc = err_set(err, ERR_NOT_FOUND, "backup %s: no such backup", text);
    }
    unlock(l);
    return rc;
}

bool
commitlog_is_used(struct commitlog *l, const uint8_t session[16])
{
    const struct session_end *end;
    bool is;

    lock(l);
    end = end_of_locked(l, session);
    is = end != NULL && end->is_commit;
    for (size_t i = 0; i < l->link_count && !is; i++)
        is = l->links[i].is_used &&
             memcmp(l->links[i].resumes, session, 16) == 0;
    unlock(l);
    return is;
}

bool
commitlog_is_discarded(struct commitlog *l, const uint8_t session[16])
{
    const struct session_end *end;
    bool is;

    lock(l);
    end = end_of_locked(l, session);
    is = end != NULL && end->is_discarded;
    unlock(l);
    return is;
}

bool
commitlog_resumed(struct commitlog *l, const uint8_t session[16],
                  uint8_t ret[16])
{
    const struct session_link *k;

    lock(l);
    k = link_locked(l, session);
    if (k != NULL)
        memcpy(ret, k->resumes, 16);
    unlock(l);
    return k != NULL;
}

size_t
commitlog_damages(struct commitlog *l, struct commitlog_damage **ret)
{
    size_t n;

    lock(l);
    n = l->damage_count;
    *ret = xcalloc(n + 1, sizeof **ret);
    if (n > 0)
        memcpy(*ret, l->damages, n * sizeof **ret);
    unlock(l);
    return n;
}

uint64_t
commitlog_bytes(struct commitlog *l)
{
    uint64_t n;

    lock(l);
    n = l->bytes;
    unlock(l);
    return n;
}
