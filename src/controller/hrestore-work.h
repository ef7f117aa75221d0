/* SPDX-License-Identifier: Apache-2.0 */
/* controller/hrestore-work.h: the two parts of a Harvester restore that read
 * the backup: the preflight, and the try itself, in a job.
 *
 * Threads: any.
 * source  DESIGN 7
 */
#pragma once
#include "controller/hrestore-pass.h"

/* Look at everything that could refuse the restore, choose the new VM's UUID,
 * and write what was found: vmkeep.preflight, .dropped, restores[],
 * deletedVolumes[], state. Nothing else is changed. In a job, for the target
 * may hang.
 * returns 0; 1: it has not ended yet, call again; -1
 * errors  what refuses it */
int hrestore_work_preflight(struct hrestore_pass *p, struct err *err) NODISCARD;
/* Nobody wants to know any more. */
void hrestore_work_drop(struct hrestore_pass *p);

/* Start the job of a try: restore_apply(). It holds the VM's lock until its
 * end. 0 it runs; 1 the VM is in other hands, *ret_again_ms holds. */
int hrestore_work_start(struct hrestore_pass *p, int64_t *ret_again_ms,
                        struct err *err) NODISCARD;
