#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

/* A message that does not fit ends in an ellipsis, never in half a word. */
static void
join(struct err *err, const char *outer, const char *inner)
{
    static const char more[] = "...";
    int n = snprintf(err->msg, sizeof err->msg, "%s: %s", outer, inner);

    if (n >= (int)sizeof err->msg)
        memcpy(err->msg + sizeof err->msg - sizeof more, more, sizeof more);
}

enum err_code
err_code_of_errno(int errnum)
{
    switch (errnum) {
    case EINVAL:
    case ENAMETOOLONG:
    case ELOOP:
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
        return ERR_UNSUPPORTED;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case EAGAIN:
    case EIO:
    case ECONNREFUSED:
    case ECONNRESET:
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
    va_list ap;

    assert(code > ERR_NONE && code < ERR_CODE_COUNT);
    err->code = code;
    err->sys_errno = 0;
    va_start(ap, fmt);
    (void)vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
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
