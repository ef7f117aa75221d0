/* SPDX-License-Identifier: Apache-2.0 */
/* blob/blob-dir-sweep.h: what crashes leave in a directory store; for
 * blob-dir.c only.
 */
#pragma once
#include <stdint.h>

#include "base/err.h"

/* Below `root_fd`: remove temporary files, and empty directories below the
 * first level, that nobody has changed for `age_s`, by the file system's own
 * clock. What cannot be removed stays. */
int blob_dir_sweep(int root_fd, int64_t age_s, struct err *err) NODISCARD;
