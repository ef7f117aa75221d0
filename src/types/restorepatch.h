/* SPDX-License-Identifier: Apache-2.0 */
/* types/restorepatch.h: the patches of a VirtualMachineRestore.
 *
 * Each string of spec.patches is one JSON Patch operation (or a list of them)
 * on the definition of the new virtual machine. What they can reach is what a
 * user may decide about a copy; everything else comes from the snapshot.
 * Threads: pure functions.
 * source  DESIGN 7; RFC 6902; spec kubevirt 4.3
 */
#pragma once
#include "codec/jsonx.h"

/* The operations in `text` as a JSON array, each checked: known op, a path on
 * the list, a value of the right kind.
 *
 *   target_name  what /metadata/name may be set to
 *   errors       INVALID; the message is for the user, without context
 */
json_t *restorepatch_parse(const char *text, const char *target_name,
                           struct err *err) NODISCARD;
