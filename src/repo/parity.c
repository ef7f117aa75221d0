/* SPDX-License-Identifier: Apache-2.0 */
/* Short packs get short stripes, so that the share of parity is the same for
 * all but the smallest; a stripe is never less than a sector of a disk, or one
 * bad sector could hit more stripes than parity repairs.
 *
 * A pack lies in memory as a whole when it is written, so its parity is made
 * then, at once: 64 MiB take some 10 ms, and as much again for the digests.
 */
#include "repo/parity.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "codec/crc.h"
#include "codec/format.h"
#include "codec/le.h"

#define MAGIC  "VMKPRTY" /* 8 bytes with its NUL */
#define SECTOR 4096u

/* Offsets of docs/formats/parity.md. */
enum {
    AT_VERSION = 8,
    AT_KIND = 10,
    AT_PARITY = 11,
    AT_COUNT = 12,
    AT_LEN = 16,
    AT_SESSION = 24,
    AT_N = 40,
    AT_STRIPE = 44,
    AT_END = 48,
    AT_ZERO = 52,
    AT_CRC = 60,
};

void
parity_name(const struct pack_id *id, char out[PARITY_NAME_SIZE])
{
    char pack[PACK_NAME_SIZE];

    pack_name(id, pack);
    (void)snprintf(out, PARITY_NAME_SIZE, "%s" PARITY_SUFFIX, pack);
}

bool
parity_name_parse(const char *name, struct pack_id *ret)
{
    const char *suffix = strrchr(name, '.');
    char pack[PACK_NAME_SIZE];

    if (suffix == NULL || strcmp(suffix, PARITY_SUFFIX) != 0 ||
        (size_t)(suffix - name) >= sizeof pack ||
        (name[0] != 'p' && name[0] != 'm'))
        return false;
    memcpy(pack, name, (size_t)(suffix - name));
    pack[suffix - name] = 0;
    return pack_name_parse(pack, ret);
}

/* ---- lengths ---- */

/* Everything that follows from the length of the pack. */
static void
measure(uint64_t pack_len, struct parity_head *h)
{
    uint64_t unit = (uint64_t)SECTOR * ERASURE_DATA_MAX;

    h->pack_len = pack_len;
    h->stripe = (uint32_t)((pack_len + unit - 1) / unit * SECTOR);
    if (pack_len < SECTOR)
        h->stripe = (uint32_t)((pack_len + 63) / 64 * 64);
    h->count = (unsigned)((pack_len + h->stripe - 1) / h->stripe);
}

size_t
parity_head_size(const struct parity_head *h)
{
    return PARITY_HEAD + (size_t)HASH_SIZE * (h->count + ERASURE_PARITY);
}

size_t
parity_size(const struct parity_head *h)
{
    return parity_head_size(h) + (size_t)ERASURE_PARITY * h->stripe;
}

size_t
parity_stripe_len(const struct parity_head *h, unsigned i)
{
    if (i + 1 != h->count)
        return h->stripe;
    return (size_t)(h->pack_len - (uint64_t)i * h->stripe);
}

/* ---- digests ---- */

void
parity_digest(const struct parity_head *h, const uint8_t *const data[],
              unsigned from, unsigned to, uint8_t out[][HASH_SIZE])
{
    static const uint8_t no_key[HASH_SIZE];
    unsigned lanes = hash_lanes(h->stripe);
    struct hash_key key;

    hash_key_init(&key, no_key);
    while (from < to) {
        size_t len = parity_stripe_len(h, from);
        unsigned n = 1;

        while (n < lanes && from + n < to &&
               parity_stripe_len(h, from + n) == len)
            n++;
        hash_hmac_lanes(&key, data, n, len, out);
        data += n;
        out += n;
        from += n;
    }
}

/* ---- the object ---- */

static void
head_encode(const struct pack_id *id, const struct parity_head *h, uint8_t *out)
{
    size_t digests = (size_t)HASH_SIZE * (h->count + ERASURE_PARITY);

    memset(out, 0, PARITY_HEAD);
    memcpy(out, MAGIC, 8);
    le_put16(out + AT_VERSION, FORMAT_VERSION);
    out[AT_KIND] = (uint8_t)id->kind;
    out[AT_PARITY] = ERASURE_PARITY;
    le_put32(out + AT_COUNT, h->count);
    le_put64(out + AT_LEN, h->pack_len);
    memcpy(out + AT_SESSION, id->session, 16);
    le_put32(out + AT_N, id->n);
    le_put32(out + AT_STRIPE, h->stripe);
    memcpy(out + AT_END, h->end, sizeof h->end);
    memcpy(out + PARITY_HEAD, h->digests, digests);
    le_put32(out + AT_CRC,
             crc_32c(crc_32c(0, out, AT_CRC), out + PARITY_HEAD, digests));
}

uint8_t *
parity_encode(const struct pack_id *id, const uint8_t *pack, size_t pack_len,
              size_t *ret_len)
{
    const uint8_t *data[ERASURE_STRIPES_MAX];
    CLEANUP(mem_free) uint8_t *last = NULL;
    uint8_t *parity[ERASURE_PARITY], *out;
    struct parity_head h;

    assert(pack_len >= PARITY_PACK_MIN && pack_len <= PARITY_PACK_MAX);
    measure(pack_len, &h);
    memcpy(h.end, pack + pack_len - sizeof h.end, sizeof h.end);
    out = xcalloc(1, parity_size(&h));
    for (unsigned i = 0; i < h.count; i++)
        data[i] = pack + (size_t)i * h.stripe;
    if (parity_stripe_len(&h, h.count - 1) < h.stripe) {
        last = xcalloc(1, h.stripe);
        memcpy(last, data[h.count - 1], parity_stripe_len(&h, h.count - 1));
        data[h.count - 1] = last;
    }
    for (unsigned i = 0; i < ERASURE_PARITY; i++) {
        parity[i] = out + parity_head_size(&h) + (size_t)i * h.stripe;
        data[h.count + i] = parity[i];
    }
    erasure_encode(h.count, h.stripe, data, parity);
    parity_digest(&h, data, 0, h.count + ERASURE_PARITY, h.digests);
    head_encode(id, &h, out);
    *ret_len = parity_size(&h);
    return out;
}

/* Every field says what follows from the pack's length. */
static int
check_fields(const struct pack_id *id, const uint8_t *data,
             const struct parity_head *h, uint64_t size, struct err *err)
{
    if (le_get32(data + AT_COUNT) != h->count ||
        le_get32(data + AT_STRIPE) != h->stripe || size != parity_size(h))
        return err_set(err, ERR_CORRUPT, "parity: impossible lengths");
    if (data[AT_KIND] != (uint8_t)id->kind ||
        memcmp(data + AT_SESSION, id->session, 16) != 0 ||
        le_get32(data + AT_N) != id->n)
        return err_set(err, ERR_CORRUPT, "parity: is of another pack");
    if (!le_is_zero(data + AT_ZERO, 8))
        return err_set(err, ERR_CORRUPT, "parity: unknown fields in use");
    return 0;
}

int
parity_head_decode(const struct pack_id *id, const uint8_t *data, size_t len,
                   uint64_t size, struct parity_head *ret, struct err *err)
{
    struct parity_head h;
    uint64_t pack_len;
    size_t digests;

    if (len < PARITY_HEAD || memcmp(data, MAGIC, 8) != 0)
        return err_set(err, ERR_CORRUPT, "parity: is none");
    if (le_get16(data + AT_VERSION) != FORMAT_VERSION ||
        data[AT_PARITY] != ERASURE_PARITY)
        return err_set(err, ERR_UNSUPPORTED, "parity: of a newer format");
    pack_len = le_get64(data + AT_LEN);
    if (pack_len < PARITY_PACK_MIN || pack_len > PARITY_PACK_MAX)
        return err_set(err, ERR_CORRUPT, "parity: impossible lengths");
    measure(pack_len, &h);
    digests = parity_head_size(&h) - PARITY_HEAD;
    if (len < parity_head_size(&h))
        return err_set(err, ERR_CORRUPT, "parity: cut short");
    if (le_get32(data + AT_CRC) !=
        crc_32c(crc_32c(0, data, AT_CRC), data + PARITY_HEAD, digests))
        return err_set(err, ERR_CORRUPT, "parity: checksum mismatch");
    if (check_fields(id, data, &h, size, err) < 0)
        return -1;
    memcpy(h.end, data + AT_END, sizeof h.end);
    memcpy(h.digests, data + PARITY_HEAD, digests);
    *ret = h;
    return 0;
}
