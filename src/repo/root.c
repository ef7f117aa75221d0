/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/root.h"

#include <string.h>

#include "base/mem.h"
#include "codec/format.h"
#include "codec/le.h"

#define MAGIC "VMKR"

void
root_fini(struct root *r)
{
    free(r->disks);
    free(r->summary);
    *r = (struct root){ 0 };
}

static bool
is_text(const char *s, size_t min, size_t max, char forbidden)
{
    size_t len = strnlen(s, max + 1);

    if (len < min || len > max)
        return false;
    for (size_t i = 0; i < len; i++)
        if (s[i] < ' ' || s[i] > '~' || s[i] == forbidden)
            return false;
    return true;
}

bool
root_name_is_valid(const char *name)
{
    return is_text(name, 1, REPO_DISK_NAME_MAX, '/');
}

bool
root_uid_is_valid(const char *uid)
{
    return is_text(uid, 0, REPO_UID_MAX, 0);
}

static void
put_ref(struct buf *out, const struct tree_entry *e)
{
    uint8_t loc[FRAME_LOC_SIZE];

    frame_loc_encode(&e->loc, loc);
    buf_add(out, loc, sizeof loc);
    buf_add(out, e->id, HASH_SIZE);
}

void
root_encode(const struct root *r, struct buf *out)
{
    buf_add(out, MAGIC, 4);
    le_add(out, FORMAT_VERSION, 2);
    le_add(out, r->disk_count, 2);
    buf_add(out, r->repo_uuid, 16);
    buf_add(out, r->id, 16);
    buf_add(out, r->parent, 16);
    le_add(out, (uint64_t)r->created_unix_s, 8);
    le_add(out, strlen(r->object_uid), 2);
    buf_add_str(out, r->object_uid);
    le_add(out, r->metadata.type == TREE_REF, 1);
    if (r->metadata.type == TREE_REF)
        put_ref(out, &r->metadata);
    le_add(out, r->summary_count, 1);
    for (unsigned i = 0; i < r->summary_count; i++)
        put_ref(out, &r->summary[i]);
    for (unsigned i = 0; i < r->disk_count; i++) {
        const struct root_disk *d = &r->disks[i];

        le_add(out, strlen(d->name), 1);
        buf_add_str(out, d->name);
        le_add(out, d->size, 8);
        le_add(out, d->chunk_log2, 1);
        le_add(out, d->top_level, 1);
        le_add(out, d->top.type, 1);
        if (d->top.type == TREE_REF)
            put_ref(out, &d->top);
    }
}

static int
get_ref(struct le_reader *r, struct tree_entry *e, struct err *err)
{
    uint8_t loc[FRAME_LOC_SIZE];

    e->type = TREE_REF;
    le_take_bytes(r, loc, sizeof loc);
    le_take_bytes(r, e->id, HASH_SIZE);
    if (r->is_short)
        return err_set(err, ERR_CORRUPT, "root: cut short");
    return frame_loc_decode(loc, &e->loc, err);
}

static int
get_disk(struct le_reader *r, struct root_disk *d, struct err *err)
{
    size_t name_len = le_take_int(r, 1);
    uint64_t chunks, type;

    if (name_len > REPO_DISK_NAME_MAX)
        return err_set(err, ERR_CORRUPT, "root: disk name too long");
    le_take_bytes(r, d->name, name_len);
    d->size = le_take_int(r, 8);
    d->chunk_log2 = (unsigned)le_take_int(r, 1);
    d->top_level = (unsigned)le_take_int(r, 1);
    type = le_take_int(r, 1);
    if (r->is_short || strlen(d->name) != name_len ||
        !root_name_is_valid(d->name) || d->size > TREE_SIZE_MAX ||
        d->chunk_log2 < 16 || d->chunk_log2 > 22)
        return err_set(err, ERR_CORRUPT, "root: bad disk");
    chunks = (d->size + ((uint64_t)1 << d->chunk_log2) - 1) >> d->chunk_log2;
    if (d->top_level != tree_top_level(chunks) ||
        (type != TREE_ZERO && type != TREE_REF) ||
        (type == TREE_REF && chunks == 0))
        return err_set(err, ERR_CORRUPT, "root: bad tree of disk %s", d->name);
    return type == TREE_REF ? get_ref(r, &d->top, err) : 0;
}

static int
get_summary(struct le_reader *r, struct root *root, struct err *err)
{
    unsigned count = (unsigned)le_take_int(r, 1);

    root->summary = xcalloc(count + 1, sizeof *root->summary);
    for (unsigned i = 0; i < count; i++)
        if (get_ref(r, &root->summary[i], err) < 0)
            return -1;
    root->summary_count = count;
    return 0;
}

static int
get_disks(struct le_reader *r, struct root *root, struct err *err)
{
    root->disks = xcalloc(root->disk_count + 1, sizeof *root->disks);
    for (unsigned i = 0; i < root->disk_count; i++) {
        if (get_disk(r, &root->disks[i], err) < 0)
            return -1;
        for (unsigned k = 0; k < i; k++)
            if (strcmp(root->disks[k].name, root->disks[i].name) == 0)
                return err_set(err, ERR_CORRUPT, "root: two disks named %s",
                               root->disks[i].name);
    }
    return 0;
}

int
root_decode(const uint8_t *data, size_t len, struct root *ret, struct err *err)
{
    CLEANUP(root_fini) struct root root = { 0 };
    struct le_reader r = { .p = data, .left = len };
    const uint8_t *magic = le_take(&r, 4);
    uint64_t version = le_take_int(&r, 2), uid_len, has_metadata;

    if (magic == NULL || memcmp(magic, MAGIC, 4) != 0)
        return err_set(err, ERR_CORRUPT, "not a backup's root");
    if (version != FORMAT_VERSION)
        return err_set(err, ERR_UNSUPPORTED, "root of version %u",
                       (unsigned)version);
    root.disk_count = (unsigned)le_take_int(&r, 2);
    le_take_bytes(&r, root.repo_uuid, 16);
    le_take_bytes(&r, root.id, 16);
    le_take_bytes(&r, root.parent, 16);
    root.created_unix_s = (int64_t)le_take_int(&r, 8);
    uid_len = le_take_int(&r, 2);
    if (uid_len > REPO_UID_MAX || root.disk_count > REPO_DISKS_MAX)
        return err_set(err, ERR_CORRUPT, "root: impossible counts");
    le_take_bytes(&r, root.object_uid, uid_len);
    has_metadata = le_take_int(&r, 1);
    if (r.is_short || has_metadata > 1 || strlen(root.object_uid) != uid_len ||
        !root_uid_is_valid(root.object_uid))
        return err_set(err, ERR_CORRUPT, "root: bad fields");
    if (has_metadata && get_ref(&r, &root.metadata, err) < 0)
        return -1;
    if (get_summary(&r, &root, err) < 0 || get_disks(&r, &root, err) < 0)
        return -1;
    if (r.is_short || r.left != 0)
        return err_set(err, ERR_CORRUPT, "root: wrong length");
    *ret = root;
    root.disks = NULL;
    root.summary = NULL;
    return 0;
}
