/* SPDX-License-Identifier: Apache-2.0 */
/* A summary that says less than the trees name would cost data, and nobody
 * would know before a restore. So a collector looks before it takes something
 * away. Backups never change: what was found right stays right, and which those
 * are is a hint, hint/checked/<n>: their ids. Who could forge it could remove
 * the packs as well.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "repo/gc-private.h"
#include "repo/hint.h"
#include "repo/repo-id.h"
#include "repo/summary-check.h"

#define PREFIX   "hint/checked/"
#define HINT_MAX ((size_t)1 << 24)

struct gc_checked {
    struct summary_check *check;
    struct buf known;    /* ids of 16 bytes, sorted: right, says the hint */
    uint64_t number;     /* of the hint */
    struct buf right;    /* ids for the next one: those that are present */
    uint8_t (*seen)[16]; /* in this run, right or not */
    size_t seen_count;
    size_t found; /* that the hint did not have */
};

static int
compare(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

static int
begin(struct gc *gc, struct err *err)
{
    struct gc_checked *c = xcalloc(1, sizeof *c);

    gc->checked = c;
    c->check = summary_check_new(gc->repo);
    if (hint_load(gc->repo, PREFIX, HINT_MAX, &c->known, &c->number, err) < 0)
        return -1;
    if (c->known.len >= 16)
        qsort(c->known.data, c->known.len / 16, 16, compare);
    return 0;
}

static bool
is_known(const struct gc_checked *c, const uint8_t id[16])
{
    return c->known.len >= 16 &&
           bsearch(id, c->known.data, c->known.len / 16, 16, compare) != NULL;
}

/* True the first time in this run. */
static bool
note_seen(struct gc_checked *c, const uint8_t id[16])
{
    for (size_t i = 0; i < c->seen_count; i++)
        if (memcmp(c->seen[i], id, 16) == 0)
            return false;
    c->seen = logstate_grow(c->seen, c->seen_count, sizeof *c->seen);
    memcpy(c->seen[c->seen_count++], id, 16);
    return true;
}

static void
doubt(struct gc *gc, const uint8_t id[16], const struct summary_fault *fault)
{
    char what[SUMMARY_FAULT_TEXT], text[REPO_ID_SIZE];

    gc->result->wrong_summaries++;
    if (gc->sink == NULL || gc->sink->doubt == NULL)
        return;
    repo_id_format(id, text);
    summary_fault_format(fault, what);
    gc->sink->doubt(gc->sink->arg, text, what);
}

static int
check_one(struct gc *gc, const struct commitlog_commit *backup, bool *ret_grew,
          struct err *err)
{
    CLEANUP(packset_fini) struct packset missing = { 0 };
    struct gc_checked *c = gc->checked;
    const struct packset_item *item;
    struct summary_fault fault;

    if (is_known(c, backup->id)) {
        summary_check_trust(c->check, backup);
        buf_add(&c->right, backup->id, 16);
        return 0;
    }
    if (summary_check_backup(c->check, backup, &missing, &fault, err) < 0)
        /* A damaged backup keeps what its summary says. */
        return blob_is_lost(err) ? 0 : -1;
    if (fault.disk[0] == 0) {
        buf_add(&c->right, backup->id, 16);
        c->found++;
        return 0;
    }
    doubt(gc, backup->id, &fault);
    for (size_t pos = 0; (item = packset_next(&missing, &pos)) != NULL;) {
        packset_set(&gc->named, &item->id, 1);
        *ret_grew = true;
    }
    return 0;
}

int
gc_check(struct gc *gc, const struct commitlog_commit *backups, size_t count,
         bool *ret_grew, struct err *err)
{
    if (gc->checked == NULL && begin(gc, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (note_seen(gc->checked, backups[i].id) &&
            check_one(gc, &backups[i], ret_grew, err) < 0)
            return -1;
    return 0;
}

void
gc_check_end(struct gc *gc)
{
    struct gc_checked *c = gc->checked;
    struct err ignored;

    if (c != NULL && !gc->options->is_dry_run && c->found > 0)
        (void)!hint_store(gc->repo, PREFIX, c->number, c->right.data,
                          c->right.len, &ignored);
}

void
gc_check_free(struct gc *gc)
{
    struct gc_checked *c = gc->checked;

    if (c == NULL)
        return;
    summary_check_free(c->check);
    buf_fini(&c->known);
    buf_fini(&c->right);
    free(c->seen);
    free(c);
    gc->checked = NULL;
}
