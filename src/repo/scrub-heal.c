/* SPDX-License-Identifier: Apache-2.0 */
/* The same chunk may lie whole in another pack: stored again by a later backup,
 * or by two writers that did not know of each other. Only footers are read, and
 * one frame per copy that is claimed. */
#include <string.h>

#include "base/mem.h"
#include "repo/copies.h"
#include "repo/scrub-private.h"
#include "repo/verify.h"

struct heal {
    struct repo *repo;
    struct frame_ctx *ctx;
    struct badset bad;
    struct badset healed;
};

void
scrub_packs_fini(struct scrub_packs *p)
{
    free(p->ids);
    free(p->sizes);
    *p = (struct scrub_packs){ 0 };
}

static int
list_below(struct repo *repo, const char *prefix, bool takes_all,
           struct scrub_packs *p, struct err *err)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };

    if (blob_list(repo->blob, prefix, &n, err) < 0)
        return -1;
    p->ids = xrealloc(p->ids, p->count + n.count + 1, sizeof *p->ids);
    p->sizes = xrealloc(p->sizes, p->count + n.count + 1, sizeof *p->sizes);
    for (size_t i = 0; i < n.count; i++) {
        struct pack_id id;
        uint64_t size = 0;

        if (!pack_name_parse(n.names[i], &id) ||
            (!takes_all && !commitlog_is_used(repo->log, id.session)) ||
            commitlog_is_condemned(repo->log, &id))
            continue;
        if (blob_size(repo->blob, n.names[i], &size, err) < 0) {
            if (!blob_is_lost(err))
                return -1;
            if (err->code == ERR_NOT_FOUND)
                continue; /* collected meanwhile */
        }
        p->ids[p->count] = id;
        p->sizes[p->count++] = size;
    }
    return 0;
}

int
scrub_packs_list(struct repo *repo, struct scrub_packs *ret, struct err *err)
{
    CLEANUP(mem_free) struct commitlog_damage *d = NULL;
    bool takes_all = commitlog_damages(repo->log, &d) > 0;

    *ret = (struct scrub_packs){ 0 };
    if (list_below(repo, "m/", takes_all, ret, err) == 0 &&
        list_below(repo, "p/", takes_all, ret, err) == 0)
        return 0;
    scrub_packs_fini(ret);
    return -1;
}

/* The frame at entry `i` of a footer, if it can be read. */
static bool
try_copy(struct heal *h, const struct pack_id *pack,
         const struct pack_trailer *t, const struct pack_footer_entry *e,
         uint32_t i, uint32_t count, struct frame_loc *ret)
{
    uint64_t off = (uint64_t)e[i].off8 * 8;
    uint64_t end = i + 1 < count ? (uint64_t)e[i + 1].off8 * 8 : t->footer_off;
    uint8_t head[FRAME_HEADER_SIZE];
    char name[PACK_NAME_SIZE];
    struct frame_header fh;
    struct err err;
    size_t n = 0;

    pack_name(pack, name);
    if (end <= off || end - off > FRAME_SIZE_MAX ||
        blob_get(h->repo->blob, name, off, head, sizeof head, &n, &err) < 0 ||
        n < sizeof head ||
        frame_header_decode(head, sizeof head, h->repo->cipher != 0, &fh,
                            &err) < 0 ||
        fh.flen != end - off || fh.ulen == 0 || fh.ulen > FRAME_PLAIN_MAX)
        return false;
    *ret = (struct frame_loc){
        .n = pack->n, .off8 = e[i].off8, .flen = fh.flen, .ulen = fh.ulen
    };
    memcpy(ret->session, pack->session, 16);
    return pack_reader_frame(h->repo->packs, h->ctx, pack->kind, ret, e[i].id,
                             frame_ctx_plain(h->ctx), &err) == 0;
}

/* The bad frames with this id have a copy there. */
static void
match(struct heal *h, const struct pack_id *pack, const struct pack_trailer *t,
      const struct pack_footer_entry *e, uint32_t i, uint32_t count)
{
    struct frame_loc copy = { 0 }, here = { .n = pack->n, .off8 = e[i].off8 };
    bool is_tried = false;

    memcpy(here.session, pack->session, 16);
    for (size_t k = 0; k < h->bad.count; k++) {
        struct badset_frame f = h->bad.frames[k];

        if (f.has_copy || f.kind != pack->kind ||
            !hash_is_equal(f.id, e[i].id) ||
            badset_has(&h->bad, pack->kind, &here))
            continue;
        if (!is_tried && !try_copy(h, pack, t, e, i, count, &copy))
            return;
        is_tried = true;
        f.has_copy = true;
        f.copy = copy;
        badset_add(&h->healed, &f);
        h->bad.frames[k].has_copy = true;
    }
}

static int
look_into(struct heal *h, const struct pack_id *pack, struct err *err)
{
    CLEANUP(mem_free) struct pack_footer_entry *e = NULL;
    struct pack_trailer t;
    uint32_t n = 0;

    if (pack_reader_footer(h->repo->packs, h->ctx, pack, &t, &e, &n, err) < 0)
        return blob_is_lost(err) ? 0 : -1;
    for (uint32_t i = 0; i < n; i++)
        if (badset_has_id(&h->bad, e[i].id))
            match(h, pack, &t, e, i, n);
    return 0;
}

static bool
is_all_healed(const struct heal *h)
{
    for (size_t i = 0; i < h->bad.count; i++)
        if (!h->bad.frames[i].has_copy)
            return false;
    return true;
}

int
scrub_heal(struct repo *repo, uint64_t *ret_healed, struct err *err)
{
    CLEANUP(scrub_packs_fini) struct scrub_packs packs = { 0 };
    struct heal h = { .repo = repo };
    int rc = copies_bad(repo, &h.bad, err);

    if (rc == 0 && !is_all_healed(&h)) {
        rc = scrub_packs_list(repo, &packs, err);
        h.ctx = repo_private_ctx_take(repo);
        for (size_t i = 0; i < packs.count && rc == 0 && !is_all_healed(&h);
             i++)
            rc = look_into(&h, &packs.ids[i], err);
        repo_private_ctx_put(repo, h.ctx);
    }
    if (rc == 0 && h.healed.count > 0)
        rc = copies_add(repo, &h.healed, err);
    if (rc == 0)
        *ret_healed = h.healed.count;
    badset_fini(&h.bad);
    badset_fini(&h.healed);
    return rc;
}
