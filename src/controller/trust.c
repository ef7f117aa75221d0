/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/trust.h"

#include <string.h>

/* What could make a bitmap lie, and what stands against it.
 *
 * - A bitmap's name holds the uid of one backup: an image that was put back
 *   from before that backup does not have it; one that was put back from after
 *   it, by whatever copies whole files, has content and bitmap of one instant,
 *   which is right again.
 * - QEMU killed, host crashed: what it had in memory is absent from the file,
 *   what it had loaded is marked in-use. Both are refused.
 * - Overlays: every file from the sealed one down to the one that was written
 *   to at that instant (the *origin*) has to have the bitmap. A snapshot or a
 *   stream made by somebody else, or a restore to a snapshot older than the
 *   backup, breaks this chain: a link without the bitmap, or no origin in it.
 * - A copy for another VM, a disk moved, converted, restored: another file than
 *   the recorded one, or no bitmap. The record belongs to one VM's UUID.
 * - A disk that has grown: nothing marks the new area. A disk made smaller and
 *   larger again between two backups is not noticed here: see lostarea.c.
 * - Internal snapshots change content behind a bitmap's back.
 *
 * Copies that share blocks cannot lie: a block that is at the same place in the
 * disk and in a copy that was there all the time is the same block, whatever
 * happened to QEMU, the host or the disk's file. */

#define WHY_FULL      "there is no earlier backup of this disk in the repository"
#define WHY_NO_RECORD "changes of this disk were not recorded"
#define WHY_RAW                                                                \
    "changes of a raw disk cannot be recorded; the disk was compared"
#define WHY_SNAPSHOTS "the disk has internal snapshots; the disk was compared"
#define WHY_OTHER_FILE                                                         \
    "the disk is not the file that it was at the last backup; it was compared"
#define WHY_ABSENT                                                             \
    "the record of changes is incomplete (QEMU was killed, or the disk's files were changed by others); the disk was compared"
#define WHY_BROKEN                                                             \
    "the record of changes was not closed (QEMU was killed or the host crashed); the disk was compared"
#define WHY_SIZE                                                               \
    "the disk had another size in the earlier backup than when its changes began to be recorded; it was compared"
#define WHY_NO_CLONE                                                           \
    "the copy of the disk at the last backup is gone; the disk was compared"
#define WHY_OTHER_CHAIN                                                        \
    "the disk is not made of files like those that were copied at the last backup; it was compared"
#define WHY_DIRTY "only what was written since the last backup was read"

static struct trust_verdict
verdict(enum trust_level level, const char *reason)
{
    return (struct trust_verdict){ .level = level,
                                   .dirty_from = UINT64_MAX,
                                   .reason = reason };
}

/* Was this the file that was written to when the bitmap was made? A merge
 * keeps the id of the upper content and the file of the lower. The path is
 * compared too: an inode is soon given to another file, and a device may have
 * another number since. */
static bool
is_origin(const struct trust_layer *l, const struct trust_record *r)
{
    return strcmp(l->id, r->layer) == 0 ||
           (file_id_equal_there(&l->file, &r->file) &&
            strcmp(l->path, r->path) == 0);
}

/* All files from the top that have the bitmap; the origin is among them. What
 * stands below the origin and has it, too, costs nothing and is taken. */
static struct trust_verdict
walk(const struct trust_facts *f)
{
    struct trust_verdict v = verdict(TRUST_DIRTY, WHY_DIRTY);
    bool found = false;

    for (size_t i = 0; i < f->n_layers; i++) {
        const struct trust_layer *l = &f->layers[i];

        if (l->bitmap == TRUST_BITMAP_BROKEN)
            return verdict(TRUST_RESCAN, WHY_BROKEN);
        if (l->bitmap == TRUST_BITMAP_ABSENT && found)
            break;
        if (l->bitmap == TRUST_BITMAP_ABSENT)
            return verdict(TRUST_RESCAN, i > 0 || is_origin(l, f->record)
                                             ? WHY_ABSENT
                                             : WHY_OTHER_FILE);
        found = found || is_origin(l, f->record);
        v.n_layers = i + 1;
    }
    if (!found)
        return verdict(TRUST_RESCAN, WHY_OTHER_FILE);
    if (f->layers[0].size > f->parent_size)
        v.dirty_from = f->parent_size;
    return v;
}

/* Files that can be compared one by one. */
static struct trust_verdict
compare_clone(const struct trust_facts *f)
{
    struct trust_verdict v = verdict(TRUST_DIRTY, WHY_DIRTY);

    if (f->n_clone == 0)
        return verdict(TRUST_RESCAN, WHY_NO_CLONE);
    if (f->n_clone != f->n_layers)
        return verdict(TRUST_RESCAN, WHY_OTHER_CHAIN);
    for (size_t i = 0; i < f->n_clone; i++)
        if (strcmp(f->clone[i].format, f->layers[i].format) != 0 ||
            f->clone[i].file.dev != f->layers[i].file.dev)
            return verdict(TRUST_RESCAN, WHY_OTHER_CHAIN);
    v.by_clone = true;
    if (f->layers[0].size > f->parent_size)
        v.dirty_from = f->parent_size;
    return v;
}

/* Why the record of the parent's cut cannot be used; NULL: it can. */
static const char *
refusal_of(const struct trust_facts *f)
{
    if (f->record_refusal != NULL)
        return f->record_refusal;
    if (f->record == NULL)
        return WHY_NO_RECORD;
    return f->record->size != f->parent_size ? WHY_SIZE : NULL;
}

struct trust_verdict
trust_decide(const struct trust_facts *f)
{
    if (!f->has_parent)
        return verdict(TRUST_FULL, WHY_FULL);
    if (f->n_layers == 0)
        return verdict(TRUST_RESCAN, WHY_NO_RECORD);
    if (f->is_clone)
        return refusal_of(f) != NULL ? verdict(TRUST_RESCAN, refusal_of(f))
                                     : compare_clone(f);
    if (strcmp(f->layers[0].format, "raw") == 0)
        return verdict(TRUST_RESCAN, WHY_RAW);
    for (size_t i = 0; i < f->n_layers; i++)
        if (f->layers[i].n_snapshots > 0)
            return verdict(TRUST_RESCAN, WHY_SNAPSHOTS);
    return refusal_of(f) != NULL ? verdict(TRUST_RESCAN, refusal_of(f))
                                 : walk(f);
}

const char *
trust_level_name(enum trust_level level)
{
    static const char *const names[] = { "Full", "Dirty", "Rescan" };

    return names[level];
}
