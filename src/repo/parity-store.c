/* SPDX-License-Identifier: Apache-2.0 */
/* A damaged pack is read stripe by stripe into memory; a stripe that cannot be
 * read, is not there, or has another digest counts as lost. With at most two
 * lost ones they are made again, and everything is looked at once more: the
 * digests of what was made, the pack's trailer and stripe table, its header.
 * Only then the bytes leave here. One pack, at most PARITY_PACK_MAX and a
 * stripe, is in memory.
 *
 * On crash: a name has the damaged bytes or the good ones (blob_replace()).
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "codec/crc.h"
#include "codec/le.h"
#include "repo/parity.h"

/* ---- is a pack whole? ---------------------------------------------------- */

/* By its own checksums. */
static int
check_pack(const struct pack_id *id, const uint8_t *pack, size_t len,
           struct err *err)
{
    struct pack_trailer t;
    unsigned keys = 0;

    if (len < PARITY_PACK_MIN ||
        pack_trailer_decode(id, pack + len - PACK_TRAILER_SIZE, len, &t, err) <
            0 ||
        pack_tail_check(pack + t.body_len, pack_tail_size(t.body_len), err) <
            0 ||
        pack_header_peek(pack, len, &keys, err) < 0 ||
        pack_header_check(keys > 0, id, pack, len, &keys, err) < 0)
        return err_set(err, ERR_CORRUPT, "the pack is not whole");
    for (uint32_t i = 0; i < t.stripes; i++) {
        uint64_t at = i * PACK_STRIPE, left = t.body_len - at;
        size_t n = (size_t)(left < PACK_STRIPE ? left : PACK_STRIPE);

        if (crc_32c(0, pack + at, n) !=
            le_get32(pack + t.body_len + (size_t)4 * i))
            return err_set(err, ERR_CORRUPT, "the pack is not whole");
    }
    return 0;
}

/* ---- written --------------------------------------------------------------
 */

/* The parity of these bytes, which are whole; `is_anew`: in the place of what
 * is there. A bit that flipped since they were sealed would be in it for good.
 */
static int
write_parity(struct blob *blob, const struct pack_id *id, const uint8_t *pack,
             size_t pack_len, bool is_anew, struct err *err)
{
    CLEANUP(mem_free) uint8_t *object = NULL;
    char name[PARITY_NAME_SIZE];
    bool existed = false;
    size_t len = 0;

    object = parity_encode(id, pack, pack_len, &len);
    if (check_pack(id, pack, pack_len, err) < 0)
        return err_set(
            err, ERR_INTERNAL,
            "a pack was changed while its parity was made: the memory or the processor of this host is faulty");
    parity_name(id, name);
    if (is_anew) {
        if (blob_replace(blob, name, object, len, err) == 0)
            return 0;
        if (err->code != ERR_NOT_FOUND)
            return -1;
    }
    return blob_put_spare(blob, name, object, len, &existed, err);
}

int
parity_put(struct blob *blob, const struct pack_id *id, const uint8_t *pack,
           size_t pack_len, struct err *err)
{
    char name[PARITY_NAME_SIZE];

    if (pack_len > PARITY_PACK_MAX ||
        write_parity(blob, id, pack, pack_len, false, err) == 0 ||
        err->code == ERR_NO_SPACE)
        return 0;
    parity_name(id, name);
    return err_wrap(err, "write parity %s", name);
}

/* ---- reading it ---------------------------------------------------------- */

struct object {
    struct parity_head head;
    uint8_t *bytes;
    size_t len;
    uint8_t *stripes[ERASURE_PARITY]; /* in it */
    bool is_lost[ERASURE_PARITY];
};

static void
object_fini_p(struct object *o)
{
    free(o->bytes);
}

static int
load(struct blob *blob, const struct pack_id *id, struct object *ret,
     struct err *err)
{
    uint8_t digests[ERASURE_PARITY][HASH_SIZE];
    const struct parity_head *h = &ret->head;
    char name[PARITY_NAME_SIZE];
    uint64_t size = 0;
    size_t n = 0;

    parity_name(id, name);
    if (blob_size(blob, name, &size, err) < 0)
        return -1;
    if (size > PARITY_SIZE_MAX)
        return err_set(err, ERR_CORRUPT, "parity: too long");
    ret->bytes = mem_try((size_t)size + 1, "parity", err);
    if (ret->bytes == NULL ||
        blob_get(blob, name, 0, ret->bytes, (size_t)size, &n, err) < 0 ||
        parity_head_decode(id, ret->bytes, n, size, &ret->head, err) < 0)
        return -1;
    if (n < size)
        return err_set(err, ERR_CORRUPT, "parity: cut short");
    ret->len = n;
    for (unsigned i = 0; i < ERASURE_PARITY; i++)
        ret->stripes[i] =
            ret->bytes + parity_head_size(h) + (size_t)i * h->stripe;
    parity_digest(h, (const uint8_t *const *)ret->stripes, h->count,
                  h->count + ERASURE_PARITY, digests);
    for (unsigned i = 0; i < ERASURE_PARITY; i++)
        ret->is_lost[i] = !hash_is_equal(digests[i], h->digests[h->count + i]);
    return 0;
}

int
parity_check(struct blob *blob, const struct pack_id *id, uint64_t *ret_bytes,
             struct err *err)
{
    CLEANUP(object_fini) struct object o = { 0 };
    char name[PACK_NAME_SIZE];
    uint64_t size = 0;
    uint8_t end[4];
    size_t n = 0;

    *ret_bytes = 0;
    if (load(blob, id, &o, err) < 0)
        return -1;
    *ret_bytes = o.len;
    if (o.is_lost[0] || o.is_lost[1])
        return err_set(err, ERR_CORRUPT, "parity: digest mismatch");
    pack_name(id, name);
    if (blob_size(blob, name, &size, err) < 0)
        return -1;
    if (size != o.head.pack_len)
        return err_set(err, ERR_CORRUPT, "parity: is of another pack");
    if (blob_get(blob, name, size - sizeof end, end, sizeof end, &n, err) < 0)
        return -1;
    if (n < sizeof end || memcmp(end, o.head.end, sizeof end) != 0)
        return err_set(err, ERR_CORRUPT, "parity: is of another pack");
    return 0;
}

/* ---- made anew ------------------------------------------------------------
 */

int
parity_make(struct blob *blob, const struct pack_id *id, uint64_t *ret_bytes,
            struct err *err)
{
    CLEANUP(mem_free) uint8_t *pack = NULL;
    char name[PACK_NAME_SIZE];
    uint64_t size = 0;
    size_t n = 0;

    *ret_bytes = 0;
    pack_name(id, name);
    if (blob_size(blob, name, &size, err) < 0)
        return -1;
    if (size > PARITY_PACK_MAX)
        return err_set(err, ERR_UNSUPPORTED, "%s: is too long for parity",
                       name);
    pack = mem_try((size_t)size + 1, "pack", err);
    if (pack == NULL ||
        blob_get(blob, name, 0, pack, (size_t)size, &n, err) < 0 ||
        check_pack(id, pack, n, err) < 0 ||
        write_parity(blob, id, pack, n, true, err) < 0)
        return -1;
    *ret_bytes = n;
    return blob_sync(blob, err);
}

/* ---- repair -------------------------------------------------------------- */

struct rebuild {
    struct blob *blob;
    const struct pack_id *id;
    char name[PACK_NAME_SIZE];
    uint64_t size; /* of the damaged pack */
    struct object object;
    uint8_t *pack; /* all stripes whole, so a little longer than it */
    uint8_t *stripes[ERASURE_STRIPES_MAX];
    bool is_lost[ERASURE_STRIPES_MAX];
};

static void
rebuild_fini_p(struct rebuild *r)
{
    object_fini_p(&r->object);
    free(r->pack);
}

static int
read_stripes(struct rebuild *r, struct err *err)
{
    const struct parity_head *h = &r->object.head;

    for (unsigned i = 0; i < h->count; i++) {
        size_t len = parity_stripe_len(h, i), n = 0;

        if (blob_get(r->blob, r->name, (uint64_t)i * h->stripe, r->stripes[i],
                     len, &n, err) < 0) {
            if (err->code == ERR_NOT_FOUND || !blob_is_lost(err))
                return -1;
            n = 0;
        }
        r->is_lost[i] = n < len;
    }
    return 0;
}

/* Those whose digests differ are lost. */
static void
compare(struct rebuild *r)
{
    const struct parity_head *h = &r->object.head;
    uint8_t digests[ERASURE_STRIPES_MAX][HASH_SIZE];

    parity_digest(h, (const uint8_t *const *)r->stripes, 0, h->count, digests);
    for (unsigned i = 0; i < h->count; i++)
        if (!hash_is_equal(digests[i], h->digests[i]))
            r->is_lost[i] = true;
}

static void
say(const struct rebuild *r, struct parity_repair *ret)
{
    const struct parity_head *h = &r->object.head;
    unsigned at[ERASURE_PARITY] = { 0 }, n = 0;

    for (unsigned i = 0; i < h->count; i++)
        if (r->is_lost[i])
            at[n++] = i;
    *ret = (struct parity_repair){ .damaged = n, .stripe = h->stripe };
    if (n == 0)
        (void)snprintf(ret->text, sizeof ret->text,
                       "made %llu bytes long again, as it was written",
                       (unsigned long long)h->pack_len);
    else if (n == 1)
        (void)snprintf(ret->text, sizeof ret->text,
                       "%u KiB at byte %llu made again from its parity",
                       h->stripe / 1024, (unsigned long long)at[0] * h->stripe);
    else
        (void)snprintf(
            ret->text, sizeof ret->text,
            "%u KiB at byte %llu and at byte %llu made again from its parity",
            h->stripe / 1024, (unsigned long long)at[0] * h->stripe,
            (unsigned long long)at[1] * h->stripe);
}

/* What was lost is made and looked at. */
static int
solve(struct rebuild *r, struct parity_repair *ret, struct err *err)
{
    const struct parity_head *h = &r->object.head;
    uint8_t digest[1][HASH_SIZE];

    if (erasure_rebuild(h->count, h->stripe, r->stripes, r->is_lost, err) < 0)
        return -1;
    for (unsigned i = 0; i < h->count + ERASURE_PARITY; i++) {
        const uint8_t *stripe = r->stripes[i];

        if (!r->is_lost[i])
            continue;
        parity_digest(h, &stripe, i, i + 1, digest);
        if (!hash_is_equal(digest[0], h->digests[i]))
            return err_set(err, ERR_CORRUPT, "the parity is not of this pack");
    }
    if (check_pack(r->id, r->pack, (size_t)h->pack_len, err) < 0)
        return err_set(err, ERR_CORRUPT, "the parity is not of this pack");
    say(r, ret);
    return 0;
}

static int
rebuild(struct rebuild *r, struct parity_repair *ret, struct err *err)
{
    struct object *o = &r->object;
    unsigned lost = 0;

    pack_name(r->id, r->name);
    if (load(r->blob, r->id, o, err) < 0 ||
        (blob_size(r->blob, r->name, &r->size, err) < 0 &&
         (err->code == ERR_NOT_FOUND || !blob_is_lost(err))))
        return -1;
    r->pack = mem_try((size_t)o->head.count * o->head.stripe, "pack", err);
    if (r->pack == NULL)
        return -1;
    for (unsigned i = 0; i < o->head.count; i++)
        r->stripes[i] = r->pack + (size_t)i * o->head.stripe;
    for (unsigned i = 0; i < ERASURE_PARITY; i++) {
        r->stripes[o->head.count + i] = o->stripes[i];
        r->is_lost[o->head.count + i] = o->is_lost[i];
    }
    if (read_stripes(r, err) < 0)
        return -1;
    compare(r);
    for (unsigned i = 0; i < o->head.count; i++)
        lost += r->is_lost[i];
    if (lost == 0 && r->size == o->head.pack_len)
        return err_set(err, ERR_EXISTS, "it is as it was written");
    return solve(r, ret, err);
}

int
parity_rebuild(struct blob *blob, const struct pack_id *id, uint8_t **ret_pack,
               size_t *ret_len, struct parity_repair *ret, struct err *err)
{
    CLEANUP(rebuild_fini) struct rebuild r = { .blob = blob, .id = id };

    if (rebuild(&r, ret, err) < 0)
        return -1;
    *ret_len = (size_t)r.object.head.pack_len;
    *ret_pack = TAKE(r.pack);
    return 0;
}

int
parity_repair(struct blob *blob, const struct pack_id *id,
              struct parity_repair *ret, struct err *err)
{
    CLEANUP(rebuild_fini) struct rebuild r = { .blob = blob, .id = id };
    struct err ignored;
    size_t len;

    if (rebuild(&r, ret, err) < 0)
        return -1;
    len = (size_t)r.object.head.pack_len;
    if (blob_replace(blob, r.name, r.pack, len, err) < 0)
        return -1;
    /* That is done, whatever becomes of the rest: the next one sees to it. */
    if (r.object.is_lost[0] || r.object.is_lost[1])
        (void)!write_parity(blob, id, r.pack, len, true, &ignored);
    (void)!blob_sync(blob, &ignored);
    return 0;
}

/* ---- the end of it ------------------------------------------------------- */

int
parity_remove(struct blob *blob, const struct pack_id *id, struct err *err)
{
    char name[PARITY_NAME_SIZE];

    parity_name(id, name);
    return blob_remove(blob, name, err);
}
