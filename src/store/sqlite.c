/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlite.c: the store in one SQLite file.
 *
 * Two tables (docs/formats/store-sqlite.md): `log` has a row per write, its
 * rowid is the revision; `cur` has the newest value of each key, so that gets
 * and lists do not search the log. AUTOINCREMENT keeps the counter in
 * sqlite_sequence: it does not go back when rows are compacted.
 *
 *   write   BEGIN IMMEDIATE; look at cur.rev; insert log; change cur; COMMIT
 *   event   a log row joined with the row of its prev_rev: no second copy
 *   compact drop log rows that are tombstones or superseded, up to a revision
 *
 * Three connections, each with a lock: one writes, one reads, one feeds the
 * watch; WAL lets them work side by side. A write that returned is on disk
 * (synchronous=FULL): a crash leaves it or, in the middle, nothing of it.
 * One process at a time: a lock on a file beside it, gone with the process.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/mutex.h"
#include "store/backend.h"
#include "store/sqlconn.h"

#define FILE_NAME   "objects.db"
#define LOCK_NAME   "objects.lock"
#define WATCH_BATCH 256

extern struct role sqlite_conn_lock;
extern struct role sqlite_watch_lock;

struct sqlite_store {
    struct store base;
    char *path;  /* [C] for messages */
    int lock_fd; /* [C] */
    struct sqlconn writer, reader, feed;

    pthread_mutex_t watch_mutex; /* sqlite_watch_lock; a leaf */
    pthread_cond_t watch_cond;
    bool watch_stop GUARDED_BY(sqlite_watch_lock);
    bool has_news GUARDED_BY(sqlite_watch_lock); /* a write: look again */
    bool is_watched; /* [T: who calls watch and watch_stop] */
    pthread_t watch_thread;
    store_watch_fn watch_fn; /* [C] while watched */
    void *watch_arg;
    uint64_t watch_rev; /* [T: watch thread] */
};

static struct sqlite_store *
from_base(struct store *s)
{
    return container_of(s, struct sqlite_store, base);
}

static void
conn_lock(struct sqlconn *c) ACQUIRE(sqlite_conn_lock) NO_TSA
{
    pthread_mutex_lock(&c->mutex);
}

static void
conn_unlock(struct sqlconn *c) RELEASE(sqlite_conn_lock) NO_TSA
{
    pthread_mutex_unlock(&c->mutex);
}

static void
watch_lock(struct sqlite_store *s) ACQUIRE(sqlite_watch_lock) NO_TSA
{
    pthread_mutex_lock(&s->watch_mutex);
}

static void
watch_unlock(struct sqlite_store *s) RELEASE(sqlite_watch_lock) NO_TSA
{
    pthread_mutex_unlock(&s->watch_mutex);
}

static char *
dup_text(sqlite3_stmt *st, int col)
{
    return xstrdup((const char *)sqlite3_column_text(st, col));
}

/* ---- writes ---- */

struct change {
    enum store_op op;
    const char *key;
    const char *val; /* NULL for a delete */
    bool is_create;
    uint64_t expect_rev; /* unless is_create */
};

/* What is there now, against what the change expects. */
static int
check_present(const struct change *ch, uint64_t rev, struct err *err)
{
    if (ch->is_create && rev != 0)
        return err_set(err, ERR_EXISTS, "%s already exists", ch->key);
    if (!ch->is_create && rev == 0)
        return err_set(err, ERR_NOT_FOUND, "%s not found", ch->key);
    if (!ch->is_create && rev != ch->expect_rev)
        return err_set(err, ERR_CONFLICT,
                       "%s was changed: revision %" PRIu64
                       " is there, not %" PRIu64,
                       ch->key, rev, ch->expect_rev);
    return 0;
}

static int
find_present(struct sqlconn *c, const char *key, uint64_t *ret_rev,
             uint64_t *ret_create_rev, struct err *err)
{
    sqlite3_stmt *st = sqlconn_stmt(c, ST_CUR_GET, err);
    int rc;

    if (st == NULL)
        return -1;
    (void)sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
    rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        *ret_rev = (uint64_t)sqlite3_column_int64(st, 0);
        *ret_create_rev = (uint64_t)sqlite3_column_int64(st, 2);
    } else if (rc != SQLITE_DONE) {
        (void)sqlconn_err(err, c->db, "read");
    }
    (void)sqlite3_reset(st);
    (void)sqlite3_clear_bindings(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : -1;
}

static int
insert_log(struct sqlconn *c, const struct change *ch, uint64_t create_rev,
           uint64_t prev_rev, uint64_t *ret_rev, struct err *err)
{
    sqlite3_stmt *st = sqlconn_stmt(c, ST_LOG_INSERT, err);

    if (st == NULL)
        return -1;
    (void)sqlite3_bind_text(st, 1, ch->key, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int(st, 2, ch->op == STORE_DELETE);
    (void)sqlite3_bind_int64(st, 3, (sqlite3_int64)create_rev);
    (void)sqlite3_bind_int64(st, 4, (sqlite3_int64)prev_rev);
    if (ch->val != NULL)
        (void)sqlite3_bind_text(st, 5, ch->val, -1, SQLITE_STATIC);
    if (sqlconn_done(c, st, "append", err) < 0)
        return -1;
    *ret_rev = (uint64_t)sqlite3_last_insert_rowid(c->db);
    return 0;
}

static int
change_cur(struct sqlconn *c, const struct change *ch, uint64_t rev,
           uint64_t create_rev, struct err *err)
{
    sqlite3_stmt *st =
        sqlconn_stmt(c, ch->val == NULL ? ST_CUR_DELETE : ST_CUR_PUT, err);

    if (st == NULL)
        return -1;
    (void)sqlite3_bind_text(st, 1, ch->key, -1, SQLITE_STATIC);
    if (ch->val != NULL) {
        (void)sqlite3_bind_int64(st, 2, (sqlite3_int64)rev);
        (void)sqlite3_bind_int64(st, 3, (sqlite3_int64)create_rev);
        (void)sqlite3_bind_text(st, 4, ch->val, -1, SQLITE_STATIC);
    }
    return sqlconn_done(c, st, "write", err);
}

static int
change_in_transaction(struct sqlconn *c, const struct change *ch,
                      uint64_t *ret_rev, struct err *err)
{
    uint64_t rev = 0, create_rev = 0, prev_rev = 0, new_rev = 0;

    if (find_present(c, ch->key, &rev, &create_rev, err) < 0 ||
        check_present(ch, rev, err) < 0)
        return -1;
    prev_rev = rev;
    /* After a deletion the new object follows the tombstone, so that the
     * unique index (key, prev_rev) stays one chain per key. */
    if (rev == 0 && sqlconn_number(c, ST_LAST_REV, ch->key, &prev_rev, err) < 0)
        return -1;
    if (insert_log(c, ch, create_rev, prev_rev, &new_rev, err) < 0 ||
        change_cur(c, ch, new_rev, create_rev == 0 ? new_rev : create_rev,
                   err) < 0)
        return -1;
    *ret_rev = new_rev;
    return 0;
}

static int
change_locked(struct sqlconn *c, const struct change *ch, uint64_t *ret_rev,
              struct err *err) REQUIRES(sqlite_conn_lock)
{
    if (sqlconn_run(c, ST_BEGIN_WRITE, err) < 0)
        return -1;
    if (change_in_transaction(c, ch, ret_rev, err) < 0 ||
        sqlconn_run(c, ST_COMMIT, err) < 0) {
        sqlconn_rollback(c);
        return -1;
    }
    return 0;
}

static int
change(struct store *base, const struct change *ch, uint64_t *ret_rev,
       struct err *err)
{
    struct sqlite_store *s = from_base(base);
    uint64_t rev = 0;
    int rc;

    conn_lock(&s->writer);
    rc = change_locked(&s->writer, ch, &rev, err);
    conn_unlock(&s->writer);
    if (rc < 0)
        return -1;
    watch_lock(s);
    s->has_news = true;
    pthread_cond_signal(&s->watch_cond);
    watch_unlock(s);
    *ret_rev = rev;
    return 0;
}

static int
sqlite_create(struct store *s, const char *key, const char *val,
              uint64_t *ret_rev, struct err *err)
{
    struct change ch = {
        .op = STORE_PUT, .key = key, .val = val, .is_create = true
    };

    return change(s, &ch, ret_rev, err);
}

static int
sqlite_update(struct store *s, const char *key, const char *val,
              uint64_t expect_rev, uint64_t *ret_rev, struct err *err)
{
    struct change ch = {
        .op = STORE_PUT, .key = key, .val = val, .expect_rev = expect_rev
    };

    return change(s, &ch, ret_rev, err);
}

static int
sqlite_remove(struct store *s, const char *key, uint64_t expect_rev,
              uint64_t *ret_rev, struct err *err)
{
    struct change ch = { .op = STORE_DELETE,
                         .key = key,
                         .expect_rev = expect_rev };

    return change(s, &ch, ret_rev, err);
}

/* ---- reads ---- */

static int
get_in_transaction(struct sqlconn *c, const char *key, struct store_item *item,
                   uint64_t *ret_head, struct err *err)
{
    sqlite3_stmt *st = sqlconn_stmt(c, ST_CUR_GET, err);
    int rc;

    if (st == NULL || sqlconn_number(c, ST_HEAD, NULL, ret_head, err) < 0)
        return -1;
    (void)sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
    rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        item->key = xstrdup(key);
        item->rev = (uint64_t)sqlite3_column_int64(st, 0);
        item->val = dup_text(st, 1);
        item->val_len = (size_t)sqlite3_column_bytes(st, 1);
    } else if (rc == SQLITE_DONE) {
        err_do_set(err, ERR_NOT_FOUND, "%s not found", key);
    } else {
        (void)sqlconn_err(err, c->db, "read");
    }
    (void)sqlite3_reset(st);
    (void)sqlite3_clear_bindings(st);
    return rc == SQLITE_ROW ? 0 : -1;
}

static int
sqlite_get(struct store *base, const char *key, struct store_item *ret_item,
           uint64_t *ret_head_rev, struct err *err)
{
    struct sqlite_store *s = from_base(base);
    struct store_item item = { 0 };
    uint64_t head = 0;
    int rc;

    conn_lock(&s->reader);
    rc = sqlconn_run(&s->reader, ST_BEGIN, err);
    if (rc == 0) {
        rc = get_in_transaction(&s->reader, key, &item, &head, err);
        sqlconn_rollback(&s->reader);
    }
    conn_unlock(&s->reader);
    if (rc < 0)
        return -1;
    *ret_item = item;
    if (ret_head_rev != NULL)
        *ret_head_rev = head;
    return 0;
}

static void
items_add(struct store_items *items, sqlite3_stmt *st)
{
    struct store_item *item;

    if ((items->n & (items->n - 1)) == 0) /* grows at powers of two */
        items->v = xrealloc(items->v, items->n == 0 ? 1 : items->n * 2,
                            sizeof *items->v);
    item = &items->v[items->n++];
    item->key = dup_text(st, 0);
    item->rev = (uint64_t)sqlite3_column_int64(st, 1);
    item->val = dup_text(st, 2);
    item->val_len = (size_t)sqlite3_column_bytes(st, 2);
}

/* Which past can be read? */
static int
check_at_rev(struct sqlconn *c, uint64_t at_rev, uint64_t head, struct err *err)
{
    uint64_t compacted = 0;

    if (sqlconn_number(c, ST_COMPACTED, NULL, &compacted, err) < 0)
        return -1;
    if (at_rev < compacted)
        return err_set(err, ERR_NOT_FOUND,
                       "too old resource version: %" PRIu64 " (%" PRIu64 ")",
                       at_rev, compacted);
    if (at_rev > head)
        return err_set(err, ERR_UNAVAILABLE,
                       "too large resource version: %" PRIu64
                       ", current: %" PRIu64,
                       at_rev, head);
    return 0;
}

static int
list_in_transaction(struct sqlconn *c, const struct store_query *q,
                    struct store_items *items, struct err *err)
{
    CLEANUP(mem_free) char *end = xstrdup(q->prefix);
    sqlite3_stmt *st;
    int rc;

    if (sqlconn_number(c, ST_HEAD, NULL, &items->head_rev, err) < 0)
        return -1;
    if (q->at_rev != 0 && check_at_rev(c, q->at_rev, items->head_rev, err) < 0)
        return -1;
    st = sqlconn_stmt(c, q->at_rev == 0 ? ST_LIST : ST_LIST_AT, err);
    if (st == NULL)
        return -1;
    end[strlen(end) - 1]++; /* keys are ASCII below 0x7f at their ends */
    (void)sqlite3_bind_text(st, 1, q->prefix, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(st, 2, end, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(st, 3, q->after == NULL ? "" : q->after, -1,
                            SQLITE_STATIC);
    (void)sqlite3_bind_int64(st, 4,
                             q->limit == 0 ? -1 : (sqlite3_int64)q->limit + 1);
    if (q->at_rev != 0)
        (void)sqlite3_bind_int64(st, 5, (sqlite3_int64)q->at_rev);
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        if (q->limit != 0 && items->n == q->limit) {
            items->has_more = true;
            rc = SQLITE_DONE;
            break;
        }
        items_add(items, st);
    }
    if (rc != SQLITE_DONE)
        (void)sqlconn_err(err, c->db, "list");
    (void)sqlite3_reset(st);
    (void)sqlite3_clear_bindings(st);
    return rc == SQLITE_DONE ? 0 : -1;
}

static int
sqlite_list(struct store *base, const struct store_query *q,
            struct store_items *ret_items, struct err *err)
{
    struct sqlite_store *s = from_base(base);
    struct store_items items = { 0 };
    int rc;

    conn_lock(&s->reader);
    rc = sqlconn_run(&s->reader, ST_BEGIN, err);
    if (rc == 0) {
        rc = list_in_transaction(&s->reader, q, &items, err);
        sqlconn_rollback(&s->reader);
    }
    conn_unlock(&s->reader);
    if (rc < 0) {
        store_items_fini(&items);
        return -1;
    }
    *ret_items = items;
    return 0;
}

/* ---- watch ---- */

/* A row of the log, copied out of SQLite so that no lock is held while it is
 * delivered. */
struct event_row {
    struct store_event ev;
    char *key, *val, *prev_val;
};

static void
event_row_take(struct event_row *row, sqlite3_stmt *st)
{
    bool has_prev = sqlite3_column_type(st, 5) != SQLITE_NULL &&
                    sqlite3_column_int(st, 6) == 0;

    row->key = dup_text(st, 2);
    row->val = dup_text(st, 3);
    row->prev_val = has_prev ? dup_text(st, 4) : NULL;
    row->ev = (struct store_event){
        .rev = (uint64_t)sqlite3_column_int64(st, 0),
        .op = sqlite3_column_int(st, 1) == 0 ? STORE_PUT : STORE_DELETE,
        .key = row->key,
        .val = row->val,
        .prev_val = row->prev_val,
        .prev_rev = has_prev ? (uint64_t)sqlite3_column_int64(st, 5) : 0,
    };
}

/* Events after `after`, and up to which revision the log is compacted. */
static int
read_events_locked(struct sqlconn *c, uint64_t after, struct event_row *rows,
                   size_t *ret_n, uint64_t *ret_compacted, struct err *err)
    REQUIRES(sqlite_conn_lock)
{
    sqlite3_stmt *st = sqlconn_stmt(c, ST_EVENTS, err);
    size_t n = 0;
    int rc;

    if (st == NULL || sqlconn_run(c, ST_BEGIN, err) < 0)
        return -1;
    if (sqlconn_number(c, ST_COMPACTED, NULL, ret_compacted, err) < 0) {
        sqlconn_rollback(c);
        return -1;
    }
    (void)sqlite3_bind_int64(st, 1, (sqlite3_int64)after);
    (void)sqlite3_bind_int(st, 2, WATCH_BATCH);
    while ((rc = sqlite3_step(st)) == SQLITE_ROW && n < WATCH_BATCH)
        event_row_take(&rows[n++], st);
    if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        (void)sqlconn_err(err, c->db, "watch");
    (void)sqlite3_reset(st);
    sqlconn_rollback(c);
    *ret_n = n;
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : -1;
}

/* Deliver what is there; false when there is nothing more. */
static bool
watch_step(struct sqlite_store *s)
{
    struct event_row *rows = xcalloc(WATCH_BATCH, sizeof *rows);
    uint64_t compacted = 0;
    struct err err;
    size_t n = 0;
    int rc;

    conn_lock(&s->feed);
    rc = read_events_locked(&s->feed, s->watch_rev, rows, &n, &compacted, &err);
    conn_unlock(&s->feed);
    if (rc == 0 && compacted > s->watch_rev) {
        s->watch_fn(s->watch_arg, NULL);
        s->watch_rev = compacted;
    }
    for (size_t i = 0; i < n; i++) {
        if (rc == 0 && rows[i].ev.rev > s->watch_rev) {
            s->watch_fn(s->watch_arg, &rows[i].ev);
            s->watch_rev = rows[i].ev.rev;
        }
        free(rows[i].key);
        free(rows[i].val);
        free(rows[i].prev_val);
    }
    free(rows);
    return rc == 0 && n > 0;
}

/* Waits for a write; true: go on, false: end. A failed reading (disk error)
 * is tried again after a second. */
static bool
watch_wait(struct sqlite_store *s)
{
    struct timespec until;
    bool is_stopped;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    watch_lock(s);
    if (!s->watch_stop && !s->has_news)
        (void)pthread_cond_timedwait(&s->watch_cond, &s->watch_mutex, &until);
    is_stopped = s->watch_stop;
    s->has_news = false;
    watch_unlock(s);
    return !is_stopped;
}

static void *
watch_main(void *arg)
{
    struct sqlite_store *s = arg;

    (void)pthread_setname_np(pthread_self(), "store-watch");
    while (watch_wait(s))
        while (watch_step(s))
            ;
    return NULL;
}

static int
check_watch_rev(struct sqlite_store *s, uint64_t after_rev, struct err *err)
{
    uint64_t compacted = 0;
    int rc;

    conn_lock(&s->feed);
    rc = sqlconn_number(&s->feed, ST_COMPACTED, NULL, &compacted, err);
    conn_unlock(&s->feed);
    if (rc < 0)
        return -1;
    if (after_rev < compacted)
        return err_set(err, ERR_NOT_FOUND,
                       "too old resource version: %" PRIu64 " (%" PRIu64 ")",
                       after_rev, compacted);
    return 0;
}

static int
sqlite_watch(struct store *base, uint64_t after_rev, store_watch_fn fn,
             void *arg, struct err *err)
{
    struct sqlite_store *s = from_base(base);
    int rc;

    if (s->is_watched)
        return err_set(err, ERR_BUSY, "object store: it has a watch already");
    if (check_watch_rev(s, after_rev, err) < 0)
        return -1;
    watch_lock(s);
    s->watch_stop = false;
    s->has_news = true; /* look once before the first wait */
    watch_unlock(s);
    s->watch_fn = fn;
    s->watch_arg = arg;
    s->watch_rev = after_rev;
    rc = pthread_create(&s->watch_thread, NULL, watch_main, s);
    if (rc != 0)
        return err_sys(err, rc, "object store: start the watch thread");
    s->is_watched = true;
    return 0;
}

static void
sqlite_watch_stop(struct store *base)
{
    struct sqlite_store *s = from_base(base);

    if (!s->is_watched)
        return;
    watch_lock(s);
    s->watch_stop = true;
    pthread_cond_signal(&s->watch_cond);
    watch_unlock(s);
    (void)pthread_join(s->watch_thread, NULL);
    s->is_watched = false;
}

/* ---- compaction ---- */

static int
compact_in_transaction(struct sqlconn *c, uint64_t rev, struct err *err)
{
    uint64_t head = 0, compacted = 0;
    sqlite3_stmt *st;

    if (sqlconn_number(c, ST_HEAD, NULL, &head, err) < 0 ||
        sqlconn_number(c, ST_COMPACTED, NULL, &compacted, err) < 0)
        return -1;
    if (rev > head)
        rev = head;
    if (rev <= compacted)
        return 0;
    st = sqlconn_stmt(c, ST_COMPACT, err);
    if (st == NULL)
        return -1;
    (void)sqlite3_bind_int64(st, 1, (sqlite3_int64)rev);
    if (sqlconn_done(c, st, "compact", err) < 0)
        return -1;
    st = sqlconn_stmt(c, ST_COMPACT_SET, err);
    if (st == NULL)
        return -1;
    (void)sqlite3_bind_int64(st, 1, (sqlite3_int64)rev);
    return sqlconn_done(c, st, "compact", err);
}

static int
sqlite_compact(struct store *base, uint64_t rev, struct err *err)
{
    struct sqlite_store *s = from_base(base);
    int rc;

    conn_lock(&s->writer);
    rc = sqlconn_run(&s->writer, ST_BEGIN_WRITE, err);
    if (rc == 0 && (compact_in_transaction(&s->writer, rev, err) < 0 ||
                    sqlconn_run(&s->writer, ST_COMMIT, err) < 0)) {
        sqlconn_rollback(&s->writer);
        rc = -1;
    }
    conn_unlock(&s->writer);
    return rc;
}

/* ---- open and close ---- */

static void
sqlite_close(struct store *base)
{
    struct sqlite_store *s = from_base(base);

    sqlconn_fini(&s->feed);
    sqlconn_fini(&s->reader);
    sqlconn_fini(&s->writer);
    if (s->lock_fd >= 0)
        (void)close(s->lock_fd); /* releases the lock */
    (void)pthread_mutex_destroy(&s->watch_mutex);
    (void)pthread_cond_destroy(&s->watch_cond);
    free(s->path);
    free(s);
}

static const struct store_ops sqlite_ops = {
    .name = "sqlite",
    .create = sqlite_create,
    .update = sqlite_update,
    .remove = sqlite_remove,
    .get = sqlite_get,
    .list = sqlite_list,
    .watch = sqlite_watch,
    .watch_stop = sqlite_watch_stop,
    .compact = sqlite_compact,
    .close = sqlite_close,
};

/* A lock of the process (fcntl), not of the open file (flock): a child has the
 * open files of its parent until it executes its program, and would hold the
 * lock when the parent is killed in that moment (seen in 11 of 400 kills of a
 * process that spawns, for up to 14 ms). A process has one store: closing any
 * descriptor of this file ends its lock.
 *
 * No waiting: it goes when the last thread of the killed process has ended,
 * which is what waitpid(2), and so systemd, waits for. Its leader is a zombie
 * before that: "Z" in /proc says too little (up to 0.1 s under load). */
static int
take_lock(struct sqlite_store *s, const char *dir, struct err *err)
{
    CLEANUP(mem_free) char *path = xasprintf("%s/%s", dir, LOCK_NAME);
    struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock_fd < 0)
        return err_sys(err, errno, "%s: open", path);
    if (fcntl(s->lock_fd, F_SETLK, &all) == 0)
        return 0;
    if (errno != EAGAIN && errno != EACCES)
        return err_sys(err, errno, "%s: lock", path);
    return err_set(err, ERR_BUSY,
                   "%s: another vmkeepd uses this state directory", dir);
}

static struct sqlite_store *
sqlite_new(const char *dir)
{
    struct sqlite_store *s = xcalloc(1, sizeof *s);

    s->base.ops = &sqlite_ops;
    s->path = xasprintf("%s/%s", dir, FILE_NAME);
    s->lock_fd = -1;
    sqlconn_init(&s->writer);
    sqlconn_init(&s->reader);
    sqlconn_init(&s->feed);
    (void)pthread_mutex_init(&s->watch_mutex, NULL);
    (void)pthread_cond_init(&s->watch_cond, NULL);
    return s;
}

struct store *
sqlite_open(const char *dir, struct err *err)
{
    CLEANUP(store_close) struct store *base = NULL;
    struct sqlite_store *s;

    if (file_make_dirs(dir, 0700, err) < 0)
        return NULL;
    s = sqlite_new(dir);
    base = &s->base;
    if (take_lock(s, dir, err) < 0 ||
        sqlconn_open(&s->writer, s->path, err) < 0 ||
        sqlconn_check_schema(&s->writer, s->path, err) < 0 ||
        sqlconn_open(&s->reader, s->path, err) < 0 ||
        sqlconn_open(&s->feed, s->path, err) < 0)
        return NULL;
    return TAKE(base);
}
