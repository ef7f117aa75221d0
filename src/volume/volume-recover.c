/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/volume-priv.h"

/* At most one job is in the journal of a VM. Whoever comes next, after a crash
 * or for another operation, settles it first: a cut is undone, a merge goes
 * on, a restore is completed if the domain names its files and undone if not.
 * A job that cannot be settled now (the domain is not there, so nobody can say
 * which files it will name) stays in the journal, and everything that it names
 * stays as it is. */

static int
settle(struct volume *v, struct layer_table *t, bool *ret_is_open,
       struct err *err)
{
    switch (t->job.kind) {
    case LAYER_JOB_NONE:
        return 0;
    case LAYER_JOB_CUT:
        return volume_cut_undo(v, t, ret_is_open, err);
    case LAYER_JOB_COPY:
        return volume_copy_undo(v, t, err);
    case LAYER_JOB_MERGE:
        return volume_merge_resume(v, t, ret_is_open, err);
    case LAYER_JOB_INPLACE:
    case LAYER_JOB_CLONE:
    case LAYER_JOB_FILLINPLACE:
    case LAYER_JOB_FILLNEW:
        return volume_restore_settle(v, t, ret_is_open, err);
    }
    return 0;
}

int
volume_settle(struct volume *v, struct layer_table *t, struct err *err)
{
    bool is_open = false;

    if (settle(v, t, &is_open, err) < 0 && t->job.kind != LAYER_JOB_NONE)
        return err_wrap(err, "VM %s: unfinished job", t->vm);
    /* A merge that failed and was given up is no obstacle to anything. */
    return 0;
}

int
volume_recover(struct volume *v, const char *vm_uuid, struct err *err)
{
    CLEANUP(layer_table_free)
    struct layer_table *t = volume_load(v, vm_uuid, err);

    if (t == NULL)
        return -1;
    return volume_settle(v, t, err);
}
