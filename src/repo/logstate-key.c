/* SPDX-License-Identifier: Apache-2.0 */
/* KEY: from here on new packs get the keys of another epoch. */
#include <string.h>

#include "codec/le.h"
#include "repo/logstate.h"

int
logstate_fold_key(struct logstate *s, const struct commitlog_entry *e,
                  struct err *err)
{
    unsigned epoch;

    if (e->body_len != LOGSTATE_KEY_SIZE)
        return err_set(err, ERR_CORRUPT, "KEY: wrong length");
    epoch = le_get16(e->body);
    if (epoch <= s->epoch.epoch || epoch >= KEYS_EPOCHS_MAX)
        return 0; /* somebody else was first */
    s->epoch.epoch = epoch;
    memcpy(s->epoch.rotation, e->body + 2, sizeof s->epoch.rotation);
    return 0;
}

int
logstate_check_key(const struct logstate *s, const struct commitlog_entry *e,
                   struct err *err)
{
    if (le_get16(e->body) != s->epoch.epoch + 1)
        return err_set(err, ERR_CONFLICT,
                       "somebody else rotated the keys meanwhile");
    return 0;
}
