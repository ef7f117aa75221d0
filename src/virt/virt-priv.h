/* SPDX-License-Identifier: Apache-2.0 */
/* virt/virt-priv.h: what the virt-*.c files share. For them only. */
#pragma once
#include <libvirt/libvirt.h>

#include "base/effect.h"
#include "virt/virt.h"

static inline void
virt_domain_unref_p(virDomainPtr *dom)
{
    if (*dom != NULL)
        (void)virDomainFree(*dom);
}

static inline void
virt_conn_unref_p(virConnectPtr *conn)
{
    if (*conn != NULL)
        (void)virConnectClose(*conn);
}

/* The live connection with a reference of the caller's own, CLEANUP
 * (virt_conn_unref); NULL with UNAVAILABLE. */
virConnectPtr virt_connect_get(struct virt *v, struct err *err) NODISCARD;
/* The domain, CLEANUP(virt_domain_unref). It keeps its connection alive. */
virDomainPtr virt_connect_domain(struct virt *v, const char *uuid,
                                 struct err *err) NODISCARD;

/* While a guest is frozen every call to libvirtd counts, looking up the domain
 * too. So what was looked up for the freeze is kept: for its thaw, and what
 * comes before that, if it is at once. */
void virt_connect_keep(struct virt *v, const char *uuid, virDomainPtr dom);
virDomainPtr virt_connect_kept(struct virt *v, const char *uuid)
    NODISCARD; /* a reference, or NULL */
void virt_connect_drop(struct virt *v, const char *uuid);

/* domxml_parse() of XML that libvirt gave us, volumes with their paths. */
struct domxml *virt_vm_parse(virConnectPtr conn, const char *xml,
                             struct err *err) NODISCARD;

/* libvirt's last error of this thread, translated; like err_set a value. */
#define virt_error(...)      (virt_errors_set(__VA_ARGS__), -1)
#define virt_error_null(...) (virt_errors_set(__VA_ARGS__), NULL)
void virt_errors_set(struct err *err, const char *fmt, ...) PRINTF(2, 3);
/* Is libvirt's last error of this thread this virErrorCode? */
bool virt_errors_is(int code);

/* /proc/PID of the process that runs the domain; the caller's. NOT_FOUND: none;
 * CONFLICT: two claim to be it. */
int virt_process_open(const char *uuid, int *ret_pid_fd, struct err *err)
    NODISCARD;
