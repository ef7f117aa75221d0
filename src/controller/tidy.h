/* SPDX-License-Identifier: Apache-2.0 */
/* controller/tidy.h: layers that nobody needs any more, and the trash.
 *
 * Works VM by VM in the background: what a deleted snapshot leaves, what a
 * crash left, what is due in the trash. Anybody may poke it; it also looks by
 * itself every TIDY_EVERY_MS.
 * Threads: any. source  DESIGN 5 (Layers), 7
 */
#pragma once
#include "controller/ctl.h"

/* Look at this VM soon. Before tidy_part runs: nothing. */
void tidy_poke(struct ctl *ctl, const char *vm_uuid);
/* The same, but not at once: a VM that was just stopped is often started again,
 * and a merge of its files would be in the way. */
void tidy_poke_later(struct ctl *ctl, const char *vm_uuid, uint64_t after_ms);
