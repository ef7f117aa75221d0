/* SPDX-License-Identifier: Apache-2.0 */
/* controller/manifest.h: the definition of a VM as the API shows it, read and
 * patched: what of it reaches the domain that a restore defines.
 *
 * Threads: pure functions.
 * source  RFC 6902, 6901; spec kubevirt 1.3, 3.5; DESIGN 7
 */
#pragma once
#include "codec/jsonx.h"

/* Apply JSON Patch operations (an array; checked by types/restorepatch.h) to
 * `vm`, in order. Members on the way to an added one are made: a VM without
 * firmware can be given a firmware/serial.
 * errors  INVALID (no such place; a test that fails); `vm` is then undefined */
int manifest_patch(json_t *vm, const json_t *operations, struct err *err)
    NODISCARD;

/* What of the definition becomes the domain's. Strings are borrowed from the
 * manifest; NULL or 0: not said. */
struct manifest_domain {
    const char *uuid; /* "": a new one */
    const char *serial;
    uint64_t memory_kib;
    unsigned vcpus;
};
/* errors  INVALID (a quantity that is none) */
int manifest_read(const json_t *vm, struct manifest_domain *ret_domain,
                  struct err *err) NODISCARD;
/* The MAC of interface `i`, as xx:xx:xx:xx:xx:xx in lower case; "" (a new one)
 * when empty; false: not said. */
bool manifest_mac(const json_t *vm, size_t i, char ret_mac[18]);

/* "2Gi", "1500M", "1.5Gi", "4096" in bytes. errors  INVALID */
int manifest_quantity(const char *text, uint64_t *ret_bytes, struct err *err)
    NODISCARD;
