/* SPDX-License-Identifier: Apache-2.0 */
/* virt/domxml-allow.h: what foreign domain XML may contain. For domxml-*.c. */
#pragma once
#include <libxml/tree.h>

#include "base/buf.h"

/* A copy of `node` with what the list allows; NULL: the element itself is not
 * allowed. What is left out is named in `dropped`, a line each.
 *
 *   path  of the element below <domain>: "devices/disk"
 */
xmlNode *domxml_allow_copy(const xmlNode *node, const char *path,
                           struct buf *dropped) NODISCARD;
