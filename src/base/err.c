/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* What every layer above makes of a code. No folder invents its own. */
static const struct {
    const char *name; /* Kubernetes' reason where one fits */
    int http;
    int exit; /* docs/man/vmkeep.1.md, EXIT STATUS */
    bool is_retryable;
} table[ERR_CODE_COUNT] = {
    [ERR_NONE] = { "None", 200, 0, false },
    [ERR_INVALID] = { "Invalid", 422, 2, false },
    [ERR_NOT_FOUND] = { "NotFound", 404, 3, false },
    [ERR_EXISTS] = { "AlreadyExists", 409, 4, false },
    [ERR_CONFLICT] = { "Conflict", 409, 5, true },
    [ERR_DENIED] = { "Forbidden", 403, 6, false },
    [ERR_BUSY] = { "Busy", 409, 7, true },
    [ERR_NO_SPACE] = { "NoSpace", 507, 8, true },
    [ERR_CORRUPT] = { "Corrupt", 500, 9, false },
    [ERR_UNSUPPORTED] = { "Unsupported", 501, 10, false },
    [ERR_TIMEOUT] = { "Timeout", 504, 11, true },
    [ERR_UNAVAILABLE] = { "ServiceUnavailable", 503, 12, true },
    [ERR_CANCELLED] = { "Cancelled", 499, 13, false },
    [ERR_NO_MEMORY] = { "NoMemory", 503, 14, true },
    [ERR_INTERNAL] = { "InternalError", 500, 1, true },
};

/* Keep `text` as the message: one line of valid UTF-8, because it ends up in
 * JSON and in logs and may carry bytes from outside (a domain's name, the
 * words of a program). What does not fit ends in an ellipsis, between two
 * characters. `text` may be longer than the message and may not lie in it. */
static void
keep(struct err *err, const char *text)
{
    size_t len = text_fit(text, sizeof err->msg - sizeof "...");

    memcpy(err->msg, text, len);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)err->msg[i] < 0x20)
            err->msg[i] = ' ';
    (void)strcpy(err->msg + len, text[len] != 0 ? "..." : "");
    text_clean(err->msg, false);
}

static void
join(struct err *err, const char *outer, const char *inner)
{
    char both[2 * sizeof err->msg + 2];

    (void)snprintf(both, sizeof both, "%s: %s", outer, inner);
    keep(err, both);
}

enum err_code
err_code_of_errno(int errnum)
{
    switch (errnum) {
    case EINVAL:
    case ENAMETOOLONG:
    case ELOOP:
    case EISDIR:
        return ERR_INVALID;
    case ENOENT:
    case ENOTDIR:
        return ERR_NOT_FOUND;
    case EEXIST:
    case ENOTEMPTY:
        return ERR_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_DENIED;
    case EBUSY:
    case ETXTBSY:
        return ERR_BUSY;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ERR_NO_SPACE;
    case ENOTSUP:
    case ENOSYS:
    case ENOTTY:
    case EXDEV:
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
        return ERR_UNSUPPORTED;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case EAGAIN:
    case EIO:
    case EINTR:
    case EMFILE:
    case ENFILE:
    case ENODEV:
    case ENXIO:
    case EADDRINUSE:
    case ECONNABORTED:
    case ECONNREFUSED:
    case ECONNRESET:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENOTCONN:
    case EPIPE:
    case ESTALE:
        return ERR_UNAVAILABLE;
    case ECANCELED:
        return ERR_CANCELLED;
    case ENOMEM:
        return ERR_NO_MEMORY;
    default:
        return ERR_INTERNAL;
    }
}

void
err_do_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    char text[2 * sizeof err->msg]; /* an argument may be err->msg itself */
    va_list ap;

    assert(code > ERR_NONE && code < ERR_CODE_COUNT);
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err->code = code;
    err->sys_errno = 0;
    keep(err, text);
}

void
err_do_sys(struct err *err, int errnum, const char *fmt, ...)
{
    char what[sizeof err->msg], why[64];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    err->code = err_code_of_errno(errnum);
    err->sys_errno = errnum;
    join(err, what, strerror_r(errnum, why, sizeof why));
}

void
err_do_wrap(struct err *err, const char *fmt, ...)
{
    char what[sizeof err->msg], inner[sizeof err->msg];
    va_list ap;

    memcpy(inner, err->msg, sizeof inner);
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (err->code == ERR_NONE) /* somebody failed without saying why: a bug */
        err->code = ERR_INTERNAL;
    join(err, what, inner);
}

const char *
err_code_name(enum err_code code)
{
    assert(code < ERR_CODE_COUNT);
    return table[code].name;
}

int
err_code_http(enum err_code code)
{
    assert(code < ERR_CODE_COUNT);
    return table[code].http;
}

int
err_code_exit(enum err_code code)
{
    assert(code < ERR_CODE_COUNT);
    return table[code].exit;
}

bool
err_code_is_retryable(enum err_code code)
{
    assert(code < ERR_CODE_COUNT);
    return table[code].is_retryable;
}
