/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/summary.h"

#include <string.h>

#include "base/mem.h"
#include "codec/format.h"
#include "codec/le.h"

#define MAGIC       "VMKP"
#define HEAD_SIZE   8u
#define GROUP_SIZE  23u /* disk, kind, session, count */
#define ENTRY_SIZE  12u
#define GROUP_PACKS 4096u

/* ---- bytes ---- */

/* How many from `at` on have one kind and session, at most GROUP_PACKS. */
static size_t
group_size(const struct packset_item *items, size_t count, size_t at)
{
    size_t n = 1;

    while (at + n < count && n < GROUP_PACKS &&
           items[at + n].id.kind == items[at].id.kind &&
           memcmp(items[at + n].id.session, items[at].id.session, 16) == 0)
        n++;
    return n;
}

void
summary_encode(const struct packset_item *const *items, const size_t *counts,
               unsigned disk_count, unsigned *disk, size_t *at, struct buf *out)
{
    buf_add(out, MAGIC, 4);
    le_add(out, FORMAT_VERSION, 4); /* and two bytes of zero */
    while (*disk < disk_count && out->len < SUMMARY_PART) {
        const struct packset_item *first = &items[*disk][*at];
        size_t n;

        if (*at == counts[*disk]) {
            ++*disk;
            *at = 0;
            continue;
        }
        n = group_size(items[*disk], counts[*disk], *at);
        le_add(out, *disk, 2);
        le_add(out, first->id.kind, 1);
        buf_add(out, first->id.session, 16);
        le_add(out, n, 4);
        for (size_t i = 0; i < n; i++) {
            le_add(out, first[i].id.n, 4);
            le_add(out, first[i].value, 8);
        }
        *at += n;
    }
}

static int
take_group(struct le_reader *r, unsigned disk_count, struct packset *ret,
           struct err *err)
{
    struct pack_id id = { .kind = FRAME_DATA };
    uint64_t disk = le_take_int(r, 2), kind = le_take_int(r, 1), n;

    le_take_bytes(r, id.session, 16);
    n = le_take_int(r, 4);
    if (r->is_short || disk >= disk_count || kind > FRAME_META || n == 0 ||
        n > GROUP_PACKS || n * ENTRY_SIZE > r->left)
        return err_set(err, ERR_CORRUPT, "pack summary: bad list");
    id.kind = (enum frame_kind)kind;
    while (n-- > 0) {
        uint64_t bytes;

        id.n = (uint32_t)le_take_int(r, 4);
        bytes = le_take_int(r, 8);
        if (bytes == 0 || packset_get(&ret[disk], &id) != 0)
            return err_set(err, ERR_CORRUPT, "pack summary: bad entry");
        packset_set(&ret[disk], &id, bytes);
    }
    return 0;
}

int
summary_decode(const uint8_t *data, size_t len, unsigned disk_count,
               struct packset *ret, struct err *err)
{
    struct le_reader r = { .p = data, .left = len };
    const uint8_t *magic = le_take(&r, 4);
    uint64_t version = le_take_int(&r, 4);

    if (magic == NULL || memcmp(magic, MAGIC, 4) != 0)
        return err_set(err, ERR_CORRUPT, "not a pack summary");
    if (version != FORMAT_VERSION)
        return err_set(err, ERR_UNSUPPORTED, "pack summary of version %u",
                       (unsigned)version);
    while (r.left > 0)
        if (take_group(&r, disk_count, ret, err) < 0)
            return -1;
    return 0;
}

/* ---- store and load ---- */

static int
store_parts(struct packer *meta, struct frame_ctx *ctx,
            const struct hash_key *id_key,
            const struct packset_item *const *items, const size_t *counts,
            struct root *root, struct err *err)
{
    unsigned disk = 0;
    size_t at = 0;

    while (disk < root->disk_count && root->summary_count < ROOT_PARTS_MAX) {
        struct tree_entry *e = &root->summary[root->summary_count];
        CLEANUP(buf_fini) struct buf part = BUF_INIT;

        summary_encode(items, counts, root->disk_count, &disk, &at, &part);
        if (part.len <= HEAD_SIZE)
            break;
        e->type = TREE_REF;
        hash_hmac(id_key, part.data, part.len, e->id);
        if (packer_add(meta, ctx, part.data, (uint32_t)part.len, e->id, &e->loc,
                       err) < 0)
            return -1;
        root->summary_count++;
    }
    if (disk < root->disk_count && at < counts[disk])
        return err_set(err, ERR_UNSUPPORTED, "the backup has too many packs");
    return 0;
}

int
summary_store(struct packer *meta, struct frame_ctx *ctx,
              const struct hash_key *id_key, const struct packset *const *disks,
              struct root *root, struct err *err)
{
    CLEANUP(mem_free) struct packset_item **items = NULL;
    CLEANUP(mem_free) size_t *counts = NULL;
    int rc;

    items = xcalloc(root->disk_count + 1, sizeof *items);
    counts = xcalloc(root->disk_count + 1, sizeof *counts);
    root->summary = xcalloc(ROOT_PARTS_MAX, sizeof *root->summary);
    for (unsigned i = 0; i < root->disk_count; i++)
        items[i] = packset_sorted(disks[i], &counts[i]);
    rc = store_parts(meta, ctx, id_key,
                     (const struct packset_item *const *)items, counts, root,
                     err);
    for (unsigned i = 0; i < root->disk_count; i++)
        free(items[i]);
    return rc;
}

static int
load_part(struct repo *repo, const struct tree_entry *e, unsigned disk_count,
          struct packset *ret, struct err *err)
{
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, e->loc.ulen);
    struct frame_ctx *ctx = repo_private_ctx_take(repo);
    int rc = pack_reader_frame(repo->packs, ctx, FRAME_META, &e->loc, e->id,
                               data, err);

    repo_private_ctx_put(repo, ctx);
    return rc < 0 ? -1
                  : summary_decode(data, e->loc.ulen, disk_count, ret, err);
}

int
summary_load(struct repo *repo, const struct root *root, struct packset *ret,
             struct err *err)
{
    for (unsigned i = 0; i < root->summary_count; i++)
        if (load_part(repo, &root->summary[i], root->disk_count, ret, err) < 0)
            return err_wrap(err, "pack summary");
    return 0;
}

/* ---- by walking ---- */

static void
note(struct packset *ret, const struct tree_entry *e, enum frame_kind kind)
{
    struct pack_id id = packset_id_of(&e->loc, kind);

    packset_add(ret, &id, e->loc.flen);
}

/* NOLINTNEXTLINE(misc-no-recursion): at most TREE_LEVEL_MAX deep */
static int
walk(struct repo_view *v, unsigned disk, unsigned level, uint64_t idx,
     const struct tree_entry *e, struct packset *ret, struct err *err)
{
    CLEANUP(mem_free) struct tree_node *node = NULL;
    bool found = false;

    if (e->type != TREE_REF)
        return 0;
    note(ret, e, FRAME_META);
    node = xcalloc(1, sizeof *node);
    if (view_node(v, disk, level, idx, node, &found, err) < 0)
        return -1;
    for (unsigned i = 0; found && i < TREE_FANOUT; i++) {
        const struct tree_entry *child = &node->entries[i];

        if (level == 0 && child->type == TREE_REF)
            note(ret, child, FRAME_DATA);
        else if (level > 0 && walk(v, disk, level - 1, idx * TREE_FANOUT + i,
                                   child, ret, err) < 0)
            return -1;
    }
    return 0;
}

int
summary_walk(struct repo_view *v, unsigned disk, struct packset *ret,
             struct err *err)
{
    const struct root_disk *d = &v->root.disks[disk];

    return walk(v, disk, d->top_level, 0, &d->top, ret, err);
}
