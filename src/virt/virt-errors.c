/* SPDX-License-Identifier: Apache-2.0 */
/* The one place where libvirt's error codes become ours. */
#include <libvirt/virterror.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "virt/virt-priv.h"

/* source  virterror.h; the texts of libvirt 9.0 where a code says too little */
static enum err_code
code_of(const virError *e)
{
    const char *msg = e->message == NULL ? "" : e->message;

    /* Our end of the socket: "client socket is closed", "Broken pipe". */
    if (e->domain == VIR_FROM_RPC || e->domain == VIR_FROM_REMOTE)
        return ERR_UNAVAILABLE;
    switch (e->code) {
    case VIR_ERR_NO_DOMAIN:
    case VIR_ERR_NO_DOMAIN_SNAPSHOT:
    case VIR_ERR_NO_DOMAIN_CHECKPOINT:
    case VIR_ERR_NO_STORAGE_POOL:
    case VIR_ERR_NO_STORAGE_VOL:
    case VIR_ERR_NO_NETWORK:
    case VIR_ERR_NO_SECRET:
    case VIR_ERR_DEVICE_MISSING:
        return ERR_NOT_FOUND;
    case VIR_ERR_DOM_EXIST:
    case VIR_ERR_STORAGE_VOL_EXIST:
        return ERR_EXISTS;
    case VIR_ERR_OPERATION_INVALID: /* "domain is not running", "is already" */
    case VIR_ERR_CHECKPOINT_INCONSISTENT:
        return ERR_CONFLICT;
    case VIR_ERR_RESOURCE_BUSY:
    case VIR_ERR_BLOCK_COPY_ACTIVE:
        return ERR_BUSY;
    case VIR_ERR_OPERATION_TIMEOUT: /* "cannot acquire state change lock" */
        return ERR_TIMEOUT;
    case VIR_ERR_AGENT_UNRESPONSIVE:
        return strstr(msg, "not connected") != NULL ? ERR_UNAVAILABLE
                                                    : ERR_TIMEOUT;
    case VIR_ERR_AGENT_UNSYNCED:
        return ERR_TIMEOUT;
    case VIR_ERR_NO_CONNECT:
    case VIR_ERR_INVALID_CONN:
    case VIR_ERR_RPC:
        return ERR_UNAVAILABLE;
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_OPERATION_UNSUPPORTED:
    case VIR_ERR_CONFIG_UNSUPPORTED:
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
        return ERR_UNSUPPORTED;
    case VIR_ERR_XML_ERROR:
    case VIR_ERR_XML_DETAIL:
    case VIR_ERR_XML_INVALID_SCHEMA:
    case VIR_ERR_INVALID_ARG:
        return ERR_INVALID;
    case VIR_ERR_ACCESS_DENIED:
    case VIR_ERR_OPERATION_DENIED:
    case VIR_ERR_AUTH_FAILED:
        return ERR_DENIED;
    case VIR_ERR_OPERATION_ABORTED:
        return ERR_CANCELLED;
    case VIR_ERR_NO_MEMORY:
        return ERR_NO_MEMORY;
    default:
        return strstr(msg, "No space left") != NULL ? ERR_NO_SPACE
                                                    : ERR_INTERNAL;
    }
}

void
virt_errors_set(struct err *err, const char *fmt, ...)
{
    virErrorPtr e = virGetLastError();
    char what[256];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (e == NULL || e->code == VIR_ERR_OK) {
        err_do_set(err, ERR_INTERNAL, "%s: libvirt failed and did not say why",
                   what);
        return;
    }
    err_do_set(err, code_of(e), "%s: %s", what,
               e->message == NULL ? "libvirt gave no text" : e->message);
}

bool
virt_errors_is(int code)
{
    virErrorPtr e = virGetLastError();

    return e != NULL && e->code == code;
}
