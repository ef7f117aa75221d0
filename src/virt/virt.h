/* SPDX-License-Identifier: Apache-2.0 */
/* virt/virt.h: the one connection to libvirt, and what is on the host.
 *
 * Opened once; an own thread runs libvirt's events and connects again when
 * libvirtd goes away. Every call has a bound. Calls that change something are
 * counted effects (base/effect.h).
 * Threads: any, unless said. Callbacks come on threads of virt/ and must only
 * enqueue; none is running any more when virt_close() returns.
 * source  spec guest.md 0, 2, 3, 8; libvirt 9.0 API reference
 */
#pragma once
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "base/uuid.h"
#include "virt/domxml.h"

struct virt;

enum virt_event {
    VIRT_EVENT_CHANGED,   /* this domain: read it again */
    VIRT_EVENT_UNDEFINED, /* said by libvirt, not concluded */
    VIRT_EVENT_CONNECTED, /* uuid NULL: list everything again */
    VIRT_EVENT_DISCONNECTED,
    /* Once, when the tries to connect begin to fail; in the place of a UUID:
     * why, in libvirt's words. */
    VIRT_EVENT_UNREACHABLE,
};
typedef void (*virt_event_fn)(void *arg, enum virt_event event,
                              const char *uuid);

/* Connect to `uri`; a libvirtd that is away is no error, it is waited for in
 * the background. fn NULL: no events. From the first call on the process
 * ignores SIGPIPE, unless it has a handler. */
struct virt *virt_open(const char *uri, virt_event_fn fn, void *arg,
                       struct err *err) NODISCARD;
void virt_close(struct virt *v);
DEFINE_CLEANUP(virt_close, struct virt *)
bool virt_is_connected(struct virt *v);
bool virt_wait_connected(struct virt *v, uint64_t timeout_ms);

enum virt_state {
    VIRT_OFF,
    VIRT_RUNNING,
    VIRT_PAUSED,   /* by a user */
    VIRT_IO_ERROR, /* paused by QEMU */
    VIRT_STOPPING, /* "in shutdown": not startable yet */
    VIRT_CRASHED,
    VIRT_OTHER, /* suspended by power management, incoming, ... */
};

/* Everything known about one domain at one moment. */
struct virt_vm {
    char uuid[UUID_STR_SIZE];
    enum virt_state state;
    bool is_persistent, has_autostart, has_managed_save;
    char *xml_inactive; /* as libvirt prints it, without secrets */
    char *xml_live;     /* NULL while off */
    struct domxml *inactive;
    struct domxml *live; /* NULL while off */
};
void virt_vm_free(struct virt_vm *vm);
DEFINE_CLEANUP(virt_vm_free, struct virt_vm *)

/* errors  NOT_FOUND; UNAVAILABLE (no connection) */
struct virt_vm *virt_vm_get(struct virt *v, const char *uuid, struct err *err)
    NODISCARD;
/* UUIDs of all domains; complete, or an error: an empty list is the truth of
 * a live connection. Caller frees each and the array. */
int virt_list(struct virt *v, char ***ret_uuids, size_t *ret_n, struct err *err)
    NODISCARD;
/* A domain and the files that it names, for who must know every user of a
 * file: two calls of libvirt for a domain that runs, one for another one. */
struct virt_use {
    char uuid[UUID_STR_SIZE];
    enum virt_state state;
    bool is_persistent, has_managed_save;
    struct domxml *inactive;
    struct domxml *live; /* NULL while off */
};
/* All domains; complete, or an error. `ret_v`: virt_use_free() */
int virt_use_list(struct virt *v, struct virt_use **ret_v, size_t *ret_n,
                  struct err *err) NODISCARD;
void virt_use_free(struct virt_use *v, size_t n);
/* The inactive XML with its secrets. Never log it. */
int virt_xml_secure(struct virt *v, const char *uuid, char **ret_xml,
                    struct err *err) NODISCARD;

/* Is there a libvirt network of this name? */
int virt_network_exists(struct virt *v, const char *name, bool *ret_is,
                        struct err *err) NODISCARD;

/* Power. Each returns when libvirt has done it, not when the guest has.
 * errors  CONFLICT (already so); NOT_FOUND; TIMEOUT */
int virt_start(struct virt *v, const char *uuid, bool paused, struct err *err)
    NODISCARD;
/* Ask the guest (agent first, then ACPI). */
int virt_shutdown(struct virt *v, const char *uuid, struct err *err) NODISCARD;
int virt_destroy(struct virt *v, const char *uuid, struct err *err) NODISCARD;
int virt_reboot(struct virt *v, const char *uuid, struct err *err) NODISCARD;
int virt_suspend(struct virt *v, const char *uuid, struct err *err) NODISCARD;
int virt_resume(struct virt *v, const char *uuid, struct err *err) NODISCARD;
/* Wait for `state`; TIMEOUT. */
int virt_wait_state(struct virt *v, const char *uuid, enum virt_state state,
                    uint64_t timeout_ms, struct err *err) NODISCARD;

/* Define (persistent). The XML was made by domxml_retarget/_rebuild. */
int virt_define(struct virt *v, const char *xml, struct err *err) NODISCARD;
/* Definition only: disks, NVRAM and TPM files stay. */
int virt_undefine(struct virt *v, const char *uuid, struct err *err) NODISCARD;

/* Freeze all file systems of the guest, once.
 *
 *   timeout_ms  for the agent's answer; always set (a call without one can
 *               wait for ever)
 *   ret_count   frozen file systems
 *   errors      UNAVAILABLE (no agent); TIMEOUT, after which the freeze may
 *               STILL HAPPEN later: thaw until it succeeds
 */
int virt_freeze(struct virt *v, const char *uuid, uint64_t timeout_ms,
                unsigned *ret_count, struct err *err) NODISCARD;
int virt_thaw(struct virt *v, const char *uuid, uint64_t timeout_ms,
              unsigned *ret_count, struct err *err) NODISCARD;
