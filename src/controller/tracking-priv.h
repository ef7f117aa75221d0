/* SPDX-License-Identifier: Apache-2.0 */
/* controller/tracking-priv.h: what the tracking-*.c files share, and their
 * test. For them only. */
#pragma once
#include "controller/tracking.h"

/* tracking-code.c */
void tracking_code_drop_point(struct tracking_point **p); /* NULL after it */

/* tracking.c */
int tracking_save(struct ctl *ctl, const struct tracking *t, struct err *err)
    NODISCARD;
/* tracking_recover() with somebody else's word on the pending backup. */
int tracking_settle(struct ctl *ctl, const char *vm_uuid,
                    bool (*is_wanted)(struct ctl *ctl, const char *backup_uid),
                    struct err *err) NODISCARD;
