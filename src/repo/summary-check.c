/* SPDX-License-Identifier: Apache-2.0 */
/* What a tree names follows from what another one names and from the nodes in
 * which the two differ: the same sum that a writer makes. If it does not come
 * out, the tree is walked, and only then is a summary called wrong: for
 * metadata packs it may say more than there is.
 */
#include "repo/summary-check.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "repo/logstate.h"
#include "repo/repo-id.h"
#include "repo/summary.h"

#define BASES   4u /* that are looked at when the parent is gone */
#define SAMPLES 8u /* leaves that say how alike two trees are */

struct summary_check {
    struct repo *repo;
    struct commitlog_commit *right; /* backups whose summary is */
    size_t count;
};

/* An open backup with what its summary says of each disk. */
struct side {
    struct repo_view *view;
    struct packset *said;
};

struct summary_check *
summary_check_new(struct repo *repo)
{
    struct summary_check *c = xcalloc(1, sizeof *c);

    c->repo = repo;
    return c;
}

void
summary_check_free(struct summary_check *c)
{
    if (c == NULL)
        return;
    free(c->right);
    free(c);
}

void
summary_check_trust(struct summary_check *c,
                    const struct commitlog_commit *backup)
{
    c->right = logstate_grow(c->right, c->count, sizeof *c->right);
    c->right[c->count++] = *backup;
}

/* ---- sides ---- */

static void
side_fini(struct side *s)
{
    for (unsigned i = 0; s->said != NULL && i < s->view->root.disk_count; i++)
        packset_fini(&s->said[i]);
    free(s->said);
    repo_view_close(s->view);
    *s = (struct side){ 0 };
}

static int
side_open(struct repo *repo, const struct commitlog_commit *backup,
          struct side *ret, struct err *err)
{
    struct side s = { 0 };

    if (view_open_commit(repo, backup, &s.view, err) < 0)
        return -1;
    s.said = xcalloc(s.view->root.disk_count + 1, sizeof *s.said);
    if (summary_load(repo, &s.view->root, s.said, err) < 0) {
        side_fini(&s);
        return -1;
    }
    *ret = s;
    return 0;
}

/* The disk of that name and shape. */
static bool
find_disk(const struct repo_view *v, const struct root_disk *like,
          unsigned *ret)
{
    for (unsigned i = 0; i < v->root.disk_count; i++) {
        const struct root_disk *d = &v->root.disks[i];

        if (strcmp(d->name, like->name) == 0 &&
            d->chunk_log2 == like->chunk_log2 &&
            d->top_level == like->top_level) {
            *ret = i;
            return true;
        }
    }
    return false;
}

/* ---- a relative ---- */

/* The first leaf from `idx` on that is not zero; not found: the last tried. */
static int
next_leaf(struct repo_view *v, unsigned disk, uint64_t end, uint64_t *idx,
          struct tree_entry *ret, struct err *err)
{
    for (unsigned i = 0; i < TREE_FANOUT; i++, ++*idx)
        if (view_entry(v, disk, 0, *idx, ret, err) < 0)
            return -1;
        else if (ret->type == TREE_REF || *idx + 1 >= end)
            return 0;
    return 0;
}

/* Of a few leaves, how many are the same? */
static int
likeness(struct repo_view *v, struct repo_view *other, unsigned *ret,
         struct err *err)
{
    *ret = 0;
    for (unsigned i = 0; i < v->root.disk_count; i++) {
        const struct root_disk *d = &v->root.disks[i];
        uint64_t leaves = (view_chunks(d) + TREE_FANOUT - 1) / TREE_FANOUT;
        uint64_t idx = 0;
        unsigned k = 0;

        if (!find_disk(other, d, &k))
            continue;
        for (unsigned n = 0; n < SAMPLES && idx < leaves; n++) {
            struct tree_entry a, b;

            if (next_leaf(v, i, leaves, &idx, &a, err) < 0 ||
                view_entry(other, k, 0, idx, &b, err) < 0)
                return -1;
            *ret += a.type == TREE_REF && tree_entry_is_equal(&a, &b);
            idx += leaves / SAMPLES + 1;
        }
    }
    return 0;
}

/* Is that one a better relative than `ret`? Then it becomes that. */
static int
try_base(struct summary_check *c, struct repo_view *v, size_t at,
         unsigned *most, struct side *ret, struct err *err)
{
    struct side s = { 0 };
    unsigned n = 0;

    if (side_open(c->repo, &c->right[at], &s, err) < 0 ||
        likeness(v, s.view, &n, err) < 0) {
        side_fini(&s);
        /* It was removed meanwhile, or is damaged: not the one to ask. */
        return blob_is_lost(err) ? 0 : -1;
    }
    if (n > *most || memcmp(c->right[at].id, v->root.parent, 16) == 0) {
        struct side before = *ret;

        *ret = s;
        s = before;
        *most = n;
    }
    side_fini(&s);
    return 0;
}

/* ret->view NULL: there is none. */
static int
find_base(struct summary_check *c, struct repo_view *v, struct side *ret,
          struct err *err)
{
    unsigned most = 0;

    for (size_t i = 0; i < c->count; i++)
        if (memcmp(c->right[i].id, v->root.parent, 16) == 0)
            return try_base(c, v, i, &most, ret, err);
    for (size_t i = 0; i < BASES && i < c->count; i++)
        if (try_base(c, v, c->count - 1 - i, &most, ret, err) < 0)
            return -1;
    return 0;
}

/* ---- the difference of two trees ---- */

struct diff {
    struct repo_view *from, *to;
    unsigned from_disk, to_disk;
    struct packset *sum; /* of `from` at first, of `to` in the end */
    bool is_off;         /* it does not come out */
};

static bool
is_same(const struct tree_entry *a, const struct tree_entry *b)
{
    return a->type != TREE_REF || b->type != TREE_REF
               ? a->type != TREE_REF && b->type != TREE_REF
               : memcmp(a->id, b->id, HASH_SIZE) == 0 &&
                     memcmp(&a->loc, &b->loc, sizeof a->loc) == 0;
}

static void
exchange(struct diff *d, const struct tree_entry *from,
         const struct tree_entry *to, enum frame_kind kind)
{
    struct pack_id id;

    if (to->type == TREE_REF) {
        id = packset_id_of(&to->loc, kind);
        packset_add(d->sum, &id, to->loc.flen);
    }
    if (from->type == TREE_REF) {
        id = packset_id_of(&from->loc, kind);
        if (!packset_sub(d->sum, &id, from->loc.flen))
            d->is_off = true;
    }
}

/* NOLINTNEXTLINE(misc-no-recursion): at most TREE_LEVEL_MAX deep */
static int
diff_nodes(struct diff *d, unsigned level, uint64_t idx,
           const struct tree_entry *from, const struct tree_entry *to,
           struct err *err)
{
    CLEANUP(mem_free) struct tree_node *a = NULL;
    CLEANUP(mem_free) struct tree_node *b = NULL;
    bool found;

    if (is_same(from, to))
        return 0;
    exchange(d, from, to, FRAME_META);
    if (from->type == TREE_REF && to->type == TREE_REF &&
        memcmp(from->id, to->id, HASH_SIZE) == 0)
        return 0; /* the same node, stored twice */
    a = xcalloc(1, sizeof *a);
    b = xcalloc(1, sizeof *b);
    if ((from->type == TREE_REF &&
         view_node(d->from, d->from_disk, level, idx, a, &found, err) < 0) ||
        (to->type == TREE_REF &&
         view_node(d->to, d->to_disk, level, idx, b, &found, err) < 0))
        return -1;
    for (unsigned i = 0; i < TREE_FANOUT; i++) {
        if (level == 0 && !is_same(&a->entries[i], &b->entries[i]))
            exchange(d, &a->entries[i], &b->entries[i], FRAME_DATA);
        if (level > 0 && diff_nodes(d, level - 1, idx * TREE_FANOUT + i,
                                    &a->entries[i], &b->entries[i], err) < 0)
            return -1;
    }
    return 0;
}

/* ---- compare ---- */

static void
note_fault(struct summary_fault *f, const char *disk, const struct pack_id *id,
           bool is_missing)
{
    if (f->disk[0] == 0 || (is_missing && f->missing == 0)) {
        (void)snprintf(f->disk, sizeof f->disk, "%s", disk);
        f->example = *id;
    }
    f->missing += is_missing;
    f->miscounted += !is_missing;
}

/* Of metadata packs it may say more. `missing` NULL: not asked for. */
static bool
compare(const struct packset *sum, const struct packset *said, const char *disk,
        struct packset *missing, struct summary_fault *f)
{
    const struct packset_item *item;
    bool is_right = true;

    for (size_t pos = 0; (item = packset_next(sum, &pos)) != NULL;) {
        uint64_t says = packset_get(said, &item->id);

        if (says == item->value ||
            (says > item->value && item->id.kind == FRAME_META))
            continue;
        is_right = false;
        note_fault(f, disk, &item->id, says == 0);
        if (says == 0 && missing != NULL)
            packset_set(missing, &item->id, item->value);
    }
    for (size_t pos = 0; (item = packset_next(said, &pos)) != NULL;)
        if (item->id.kind == FRAME_DATA && packset_get(sum, &item->id) == 0) {
            is_right = false;
            note_fault(f, disk, &item->id, false);
        }
    return is_right;
}

/* By a relative: *ret_is_right false: it does not come out so. */
static int
check_by_base(const struct side *s, unsigned disk, const struct side *base,
              bool *ret_is_right, struct err *err)
{
    const struct root_disk *to = &s->view->root.disks[disk];
    struct summary_fault ignored = { 0 };
    CLEANUP(packset_fini) struct packset sum = { 0 };
    struct diff d = {
        .from = base->view, .to = s->view, .to_disk = disk, .sum = &sum
    };

    *ret_is_right = false;
    if (base->view == NULL || !find_disk(base->view, to, &d.from_disk))
        return 0;
    packset_add_all(&sum, &base->said[d.from_disk]);
    if (diff_nodes(&d, to->top_level, 0,
                   &base->view->root.disks[d.from_disk].top, &to->top, err) < 0)
        return -1;
    *ret_is_right =
        !d.is_off && compare(&sum, &s->said[disk], to->name, NULL, &ignored);
    return 0;
}

static int
check_disk(const struct side *s, unsigned disk, const struct side *base,
           struct packset *missing, struct summary_fault *f, struct err *err)
{
    CLEANUP(packset_fini) struct packset sum = { 0 };
    bool is_right;

    if (check_by_base(s, disk, base, &is_right, err) < 0)
        return -1;
    if (is_right)
        return 0;
    if (summary_walk(s->view, disk, &sum, err) < 0)
        return -1;
    (void)compare(&sum, &s->said[disk], s->view->root.disks[disk].name, missing,
                  f);
    return 0;
}

int
summary_check_backup(struct summary_check *c,
                     const struct commitlog_commit *backup,
                     struct packset *ret_missing,
                     struct summary_fault *ret_fault, struct err *err)
{
    struct side s = { 0 }, base = { 0 };
    char id[REPO_ID_SIZE];
    int rc;

    *ret_fault = (struct summary_fault){ 0 };
    rc = side_open(c->repo, backup, &s, err);
    if (rc == 0)
        rc = find_base(c, s.view, &base, err);
    for (unsigned i = 0; rc == 0 && i < s.view->root.disk_count; i++)
        rc = check_disk(&s, i, &base, ret_missing, ret_fault, err);
    side_fini(&s);
    side_fini(&base);
    repo_id_format(backup->id, id);
    if (rc < 0)
        return err_wrap(err, "backup %s", id);
    if (ret_fault->disk[0] == 0)
        summary_check_trust(c, backup);
    return 0;
}

void
summary_fault_format(const struct summary_fault *f,
                     char out[SUMMARY_FAULT_TEXT])
{
    char name[PACK_NAME_SIZE];

    pack_name(&f->example, name);
    if (f->missing > 0)
        (void)snprintf(
            out, SUMMARY_FAULT_TEXT,
            "disk %s: its pack summary lacks %llu packs that its tree needs, %s for one; a collector of an older version would remove them",
            f->disk, (unsigned long long)f->missing, name);
    else
        (void)snprintf(
            out, SUMMARY_FAULT_TEXT,
            "disk %s: its pack summary counts %llu packs wrong, %s for one",
            f->disk, (unsigned long long)f->miscounted, name);
}
