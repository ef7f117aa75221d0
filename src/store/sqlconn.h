/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlconn.h: one connection to the SQLite file: its statements, and
 * SQLite's errors in our words.
 *
 * Threads: the caller holds the connection's lock, but for init and fini.
 * Bytes on disk: docs/formats/store-sqlite.md
 */
#pragma once
#include <pthread.h>
#include <sqlite3.h>
#include <stdint.h>

#include "base/err.h"

enum stmt {
    ST_BEGIN,
    ST_BEGIN_WRITE,
    ST_COMMIT,
    ST_ROLLBACK,
    ST_HEAD,
    ST_COMPACTED,
    ST_CUR_GET,
    ST_LAST_REV,
    ST_LOG_INSERT,
    ST_CUR_PUT,
    ST_CUR_DELETE,
    ST_LIST,
    ST_LIST_AT,
    ST_EVENTS,
    ST_COMPACT,
    ST_COMPACT_SET,
    ST_COUNT,
};

struct sqlconn {
    pthread_mutex_t mutex; /* leaf: no other lock is taken under it */
    sqlite3 *db;
    sqlite3_stmt *stmts[ST_COUNT];
};

#define sqlconn_err(err, db, what) (sqlconn_err_set(err, db, what), -1)
void sqlconn_err_set(struct err *err, sqlite3 *db, const char *what);
enum err_code sqlconn_code(int rc);

void sqlconn_init(struct sqlconn *c);
/* errors  CORRUPT; UNAVAILABLE; NO_MEMORY */
int sqlconn_open(struct sqlconn *c, const char *path, struct err *err)
    NODISCARD;
/* Make the tables in an empty file; else check format and integrity.
 * errors  CORRUPT (damaged, or not ours); UNSUPPORTED (newer) */
int sqlconn_check_schema(struct sqlconn *c, const char *path, struct err *err)
    NODISCARD;
void sqlconn_fini(struct sqlconn *c);

/* The statement, ready for values. NULL: it cannot be prepared. */
sqlite3_stmt *sqlconn_stmt(struct sqlconn *c, enum stmt which, struct err *err)
    NODISCARD;
/* Run a statement that gives no rows, and make it ready again. */
int sqlconn_done(struct sqlconn *c, sqlite3_stmt *st, const char *what,
                 struct err *err) NODISCARD;
int sqlconn_run(struct sqlconn *c, enum stmt which, struct err *err) NODISCARD;
/* The one number that `which` asks for (about `key`, or NULL); 0 where there
 * is no row. */
int sqlconn_number(struct sqlconn *c, enum stmt which, const char *key,
                   uint64_t *ret, struct err *err) NODISCARD;
/* End a transaction that is open, without a word. */
void sqlconn_rollback(struct sqlconn *c);
