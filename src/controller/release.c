/* SPDX-License-Identifier: Apache-2.0 */
/* Cuts that no object knows are dropped first: they are what a host whose
 * object store was lost (or begun anew) has in its layer tables. Nobody can
 * restore them or delete them by name any more, and nothing but this request
 * removes them. */
#include "controller/release.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "controller/capture.h"
#include "controller/tracking.h"

/* Is there an object of this kind, in any namespace, of which `get` is `text`?
 */
static bool
has(struct ctl *ctl, const struct gvr *gvr,
    const char *(*get)(const struct object *), const char *text)
{
    struct object_list all;
    bool found = false;

    cache_list(ctl->cache, gvr, NULL, &all);
    for (size_t i = 0; i < all.n && !found; i++)
        found = strcmp(get(all.v[i]), text) == 0;
    object_list_fini(&all);
    return found;
}

/* The content of a snapshot may outlive it. */
static bool
is_known(struct ctl *ctl, const char *cut_id)
{
    CLEANUP(mem_free) char *content = capture_content_name(cut_id);

    return has(ctl, &kind_vmsnapshot.gvr, object_uid, cut_id) ||
           has(ctl, &kind_vmbackup.gvr, object_uid, cut_id) ||
           has(ctl, &kind_vmsnapshotcontent.gvr, object_name, content);
}

static int
drop_unknown(struct ctl *ctl, const char *uuid, const char *cut_id,
             struct err *err)
{
    if (is_known(ctl, cut_id))
        return 0;
    log_warn(
        "VM %s: released with the layers of %s, a snapshot that no object knows",
        uuid, cut_id);
    return volume_cut_delete(ctl->volume, uuid, cut_id, err);
}

int
release_vm(struct ctl *ctl, const char *uuid, struct err *err)
{
    char **cuts = NULL;
    size_t n = 0, left;
    int rc = 0;

    if (volume_cut_list(ctl->volume, uuid, &cuts, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (rc == 0)
            rc = drop_unknown(ctl, uuid, cuts[i], err);
        free(cuts[i]);
    }
    free(cuts);
    if (rc < 0 || tracking_drop(ctl, uuid, err) < 0 ||
        volume_trash_empty(ctl->volume, uuid, INT64_MAX, err) < 0 ||
        volume_collect(ctl->volume, uuid, &left, err) < 0)
        return -1;
    return volume_release(ctl->volume, uuid, err);
}
