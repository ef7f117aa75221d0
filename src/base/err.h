/* SPDX-License-Identifier: Apache-2.0 */
/* base/err.h: the one way a function says why it failed.
 *
 * A struct err belongs to the caller, needs no allocation (so "out of memory"
 * can be reported) and is never NULL. A function that can fail returns 0 or
 * -1 (NULL for constructors), takes it last, and touches its outputs only on
 * success. Messages are built outwards: "snapshot default/s1: disk vda: ...".
 */
#pragma once
#include <stdbool.h>

#include "base/macros.h"

enum err_code {
    ERR_NONE,
    ERR_INVALID,     /* the request or the data is wrong; do not retry */
    ERR_NOT_FOUND,   /* it is not there */
    ERR_EXISTS,      /* it is there already */
    ERR_CONFLICT,    /* somebody changed it first; read again */
    ERR_DENIED,      /* not allowed */
    ERR_BUSY,        /* held by somebody; retry later */
    ERR_NO_SPACE,    /* disk, quota or table full */
    ERR_CORRUPT,     /* bytes are not what they must be; do not retry */
    ERR_UNSUPPORTED, /* this peer, format or host cannot do it */
    ERR_TIMEOUT,     /* it did not answer in time; retry */
    ERR_UNAVAILABLE, /* peer away; retry */
    ERR_CANCELLED,   /* we were asked to stop */
    ERR_NO_MEMORY,   /* an allocation sized by input failed */
    ERR_INTERNAL,    /* a bug, or an errno that no row below names */
    ERR_CODE_COUNT,
};

struct err {
    enum err_code code;
    int sys_errno; /* 0 when no system call was involved */
    char msg[512];
};

/* Each expands to an expression of value -1, so "return err_set(...)" is one
 * statement, and the compiler and the analysers know that it fails. */
#define err_set(...)  (err_do_set(__VA_ARGS__), -1)
#define err_sys(...)  (err_do_sys(__VA_ARGS__), -1)
#define err_wrap(...) (err_do_wrap(__VA_ARGS__), -1)
/* The same for constructors: an expression of value NULL. */
#define err_set_null(...)  (err_do_set(__VA_ARGS__), NULL)
#define err_sys_null(...)  (err_do_sys(__VA_ARGS__), NULL)
#define err_wrap_null(...) (err_do_wrap(__VA_ARGS__), NULL)

void err_do_set(struct err *err, enum err_code code, const char *fmt, ...)
    PRINTF(3, 4);
/* errno becomes a code (ENOENT: NOT_FOUND, ENOSPC: NO_SPACE, ...). */
void err_do_sys(struct err *err, int errnum, const char *fmt, ...) PRINTF(3, 4);
/* Put context before the message that is there: "outer: inner". */
void err_do_wrap(struct err *err, const char *fmt, ...) PRINTF(2, 3);

const char *err_code_name(enum err_code code);  /* "NotFound", as K8s reasons */
int err_code_http(enum err_code code);          /* 404 */
int err_code_exit(enum err_code code);          /* exit code of the CLI */
bool err_code_is_retryable(enum err_code code); /* a controller tries again */
enum err_code err_code_of_errno(int errnum);
