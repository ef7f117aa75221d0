/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlconn.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SCHEMA_VERSION 1
#define APPLICATION_ID 0x766d6b70 /* "vmkp": what file(1) and we look for */
#define FIRST_REV      1000       /* below it nothing was ever handed out */

static const char *const stmt_sql[ST_COUNT] = {
    [ST_BEGIN] = "BEGIN",
    [ST_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [ST_COMMIT] = "COMMIT",
    [ST_ROLLBACK] = "ROLLBACK",
    [ST_HEAD] = "SELECT seq FROM sqlite_sequence WHERE name = 'log'",
    [ST_COMPACTED] = "SELECT v FROM meta WHERE k = 'compacted'",
    [ST_CUR_GET] = "SELECT rev, val, create_rev FROM cur WHERE key = ?1",
    [ST_LAST_REV] = "SELECT max(rev) FROM log WHERE key = ?1",
    [ST_LOG_INSERT] = "INSERT INTO log(key, op, create_rev, prev_rev, val) "
                      "VALUES(?1, ?2, ?3, ?4, ?5)",
    [ST_CUR_PUT] = "INSERT INTO cur(key, rev, create_rev, val) "
                   "VALUES(?1, ?2, ?3, ?4) ON CONFLICT(key) DO UPDATE "
                   "SET rev = ?2, create_rev = ?3, val = ?4",
    [ST_CUR_DELETE] = "DELETE FROM cur WHERE key = ?1",
    [ST_LIST] = "SELECT key, rev, val FROM cur "
                "WHERE key >= ?1 AND key < ?2 AND key > ?3 "
                "ORDER BY key LIMIT ?4",
    [ST_LIST_AT] = "SELECT l.key, l.rev, l.val FROM log l "
                   "WHERE l.key >= ?1 AND l.key < ?2 AND l.key > ?3 "
                   "AND l.rev <= ?5 AND l.op = 0 AND l.rev = "
                   "(SELECT max(m.rev) FROM log m "
                   " WHERE m.key = l.key AND m.rev <= ?5) "
                   "ORDER BY l.key LIMIT ?4",
    [ST_EVENTS] = "SELECT l.rev, l.op, l.key, l.val, p.val, p.rev, p.op "
                  "FROM log l LEFT JOIN log p ON p.rev = l.prev_rev "
                  "WHERE l.rev > ?1 ORDER BY l.rev LIMIT ?2",
    [ST_COMPACT] = "DELETE FROM log WHERE rev <= ?1 AND (op = 1 OR EXISTS "
                   "(SELECT 1 FROM log m WHERE m.key = log.key "
                   " AND m.rev > log.rev AND m.rev <= ?1))",
    [ST_COMPACT_SET] = "UPDATE meta SET v = ?1 WHERE k = 'compacted'",
};

enum err_code
sqlconn_code(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return ERR_NO_SPACE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_CORRUPT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERR_BUSY;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        return ERR_UNAVAILABLE;
    case SQLITE_NOMEM:
        return ERR_NO_MEMORY;
    default:
        return ERR_INTERNAL;
    }
}

/* A full disk shows as an I/O error where SQLite maps or grows a file. */
void
sqlconn_err_set(struct err *err, sqlite3 *db, const char *what)
{
    enum err_code code = sqlconn_code(sqlite3_extended_errcode(db));
    int sys = sqlite3_system_errno(db);
    const char *path = sqlite3_db_filename(db, NULL);
    const char *hint = "";
    char room[256] = "";

    if (code == ERR_UNAVAILABLE && (sys == ENOSPC || sys == EDQUOT))
        code = ERR_NO_SPACE;
    if (code == ERR_NO_SPACE) {
        (void)snprintf(room, sizeof room,
                       ": make room on the file system of %.200s",
                       path == NULL ? "the state directory" : path);
        hint = room;
    }
    if (code == ERR_CORRUPT)
        hint =
            ": it is damaged: move it away and restore a copy, or start empty; VMs and their disks are not touched, backups are found again on their targets, vmkeep vm release ends snapshots";
    err_do_set(err, code, "object store: %s: %s%s", what, sqlite3_errmsg(db),
               hint);
}

sqlite3_stmt *
sqlconn_stmt(struct sqlconn *c, enum stmt which, struct err *err)
{
    if (c->stmts[which] == NULL &&
        sqlite3_prepare_v3(c->db, stmt_sql[which], -1,
                           SQLITE_PREPARE_PERSISTENT, &c->stmts[which],
                           NULL) != SQLITE_OK) {
        err_do_set(err, sqlconn_code(sqlite3_extended_errcode(c->db)),
                   "object store: prepare: %s", sqlite3_errmsg(c->db));
        return NULL;
    }
    return c->stmts[which];
}

int
sqlconn_done(struct sqlconn *c, sqlite3_stmt *st, const char *what,
             struct err *err)
{
    int rc = sqlite3_step(st);

    if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        (void)sqlconn_err(err, c->db, what);
    (void)sqlite3_reset(st);
    (void)sqlite3_clear_bindings(st);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : -1;
}

int
sqlconn_run(struct sqlconn *c, enum stmt which, struct err *err)
{
    sqlite3_stmt *st = sqlconn_stmt(c, which, err);

    return st == NULL ? -1 : sqlconn_done(c, st, stmt_sql[which], err);
}

int
sqlconn_number(struct sqlconn *c, enum stmt which, const char *key,
               uint64_t *ret, struct err *err)
{
    sqlite3_stmt *st = sqlconn_stmt(c, which, err);
    int rc;

    if (st == NULL)
        return -1;
    if (key != NULL)
        (void)sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
    rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        *ret = (uint64_t)sqlite3_column_int64(st, 0);
    else if (rc == SQLITE_DONE)
        *ret = 0;
    else
        (void)sqlconn_err(err, c->db, stmt_sql[which]);
    (void)sqlite3_reset(st);
    (void)sqlite3_clear_bindings(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : -1;
}

void
sqlconn_rollback(struct sqlconn *c)
{
    struct err ignored;

    if (sqlite3_get_autocommit(c->db) == 0 &&
        sqlconn_run(c, ST_ROLLBACK, &ignored) < 0)
        return; /* the next BEGIN says what is wrong */
}

void
sqlconn_init(struct sqlconn *c)
{
    (void)pthread_mutex_init(&c->mutex, NULL);
}

void
sqlconn_fini(struct sqlconn *c)
{
    for (size_t i = 0; i < ST_COUNT; i++)
        (void)sqlite3_finalize(c->stmts[i]);
    (void)sqlite3_close(c->db);
    (void)pthread_mutex_destroy(&c->mutex);
}

/* The pragma's or query's first value as a number; -1: none. */
static int64_t
ask_number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *st = NULL;
    int64_t v = -1;

    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW)
        v = sqlite3_column_int64(st, 0);
    (void)sqlite3_finalize(st);
    return v;
}

static int
check_integrity(sqlite3 *db, const char *path, struct err *err)
{
    sqlite3_stmt *st = NULL;
    const char *said = NULL;
    int rc = 0;

    if (sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &st, NULL) ==
            SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW)
        said = (const char *)sqlite3_column_text(st, 0);
    if (said == NULL || strcmp(said, "ok") != 0)
        rc = err_set(
            err, ERR_CORRUPT,
            "%s is damaged (%s): move it away and restore a copy, or start empty; VMs and their disks are not touched, backups are found again on their targets, vmkeep vm release ends snapshots",
            path, said == NULL ? sqlite3_errmsg(db) : said);
    (void)sqlite3_finalize(st);
    return rc;
}

static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE log(rev INTEGER PRIMARY KEY AUTOINCREMENT,"
    " key TEXT NOT NULL, op INTEGER NOT NULL, create_rev INTEGER NOT NULL,"
    " prev_rev INTEGER NOT NULL, val TEXT);"
    "CREATE UNIQUE INDEX log_key_prev ON log(key, prev_rev);"
    "CREATE INDEX log_key_rev ON log(key, rev DESC);"
    "CREATE TABLE cur(key TEXT PRIMARY KEY, rev INTEGER NOT NULL,"
    " create_rev INTEGER NOT NULL, val TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE meta(k TEXT PRIMARY KEY, v INTEGER NOT NULL) WITHOUT ROWID;"
    "INSERT INTO meta VALUES('compacted', 0);"
    "INSERT INTO sqlite_sequence(name, seq) VALUES('log', %d);"
    "PRAGMA application_id = %d;"
    "PRAGMA user_version = %d;"
    "COMMIT;";

int
sqlconn_check_schema(struct sqlconn *c, const char *path, struct err *err)
{
    sqlite3 *db = c->db;
    int64_t version = ask_number(db, "PRAGMA user_version");
    int64_t app = ask_number(db, "PRAGMA application_id");
    char sql[sizeof schema + 64];

    if (version == 0 &&
        ask_number(db, "SELECT count(*) FROM sqlite_master") == 0) {
        (void)snprintf(sql, sizeof sql, schema, FIRST_REV, APPLICATION_ID,
                       SCHEMA_VERSION);
        if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
            return sqlconn_err(err, db, "make the tables");
        return 0;
    }
    if (version < 0)
        return err_set(err, ERR_CORRUPT, "%s cannot be read: %s", path,
                       sqlite3_errmsg(db));
    if (app != APPLICATION_ID)
        return err_set(err, ERR_CORRUPT, "%s is not a vmkeep object store",
                       path);
    if (version != SCHEMA_VERSION)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s has format %" PRId64
                       ", this vmkeepd knows %d: use a newer vmkeepd",
                       path, version, SCHEMA_VERSION);
    return check_integrity(db, path, err);
}

int
sqlconn_open(struct sqlconn *c, const char *path, struct err *err)
{
    static const char setup[] = "PRAGMA journal_mode = WAL;"
                                "PRAGMA synchronous = FULL;"
                                "PRAGMA trusted_schema = OFF;"
                                "PRAGMA cache_size = -2000;";
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
                SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;

    if (sqlite3_open_v2(path, &c->db, flags, NULL) != SQLITE_OK)
        return c->db == NULL ? err_set(err, ERR_NO_MEMORY, "%s: open", path)
                             : sqlconn_err(err, c->db, "open");
    (void)sqlite3_extended_result_codes(c->db, 1);
    (void)sqlite3_busy_timeout(c->db, 5000);
    if (sqlite3_exec(c->db, setup, NULL, NULL, NULL) != SQLITE_OK)
        return sqlconn_err(err, c->db, path);
    return 0;
}
