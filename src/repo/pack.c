/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/pack.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/uuid.h"
#include "codec/aead.h"
#include "codec/crc.h"
#include "codec/format.h"
#include "codec/le.h"
#include "repo/repo-id.h"

#define MAGIC     "VMKPACK" /* 8 bytes with their NUL */
#define END_MAGIC "VMKPEND"
#define WRAP_GCM  1
#define WRAP_BOX  2
#define KEY_AAD   41

/* Offsets of docs/formats/pack.md: header, key table entry, trailer. */
enum {
    AT_VERSION = 8,
    AT_KIND = 10,
    AT_CIPHER = 11,
    AT_KEY_COUNT = 12,
    AT_EPOCH = 14,
    AT_INCOMPAT = 16,
    AT_SESSION = 24,
    AT_N = 40,
    AT_ZERO2 = 44,
    AT_CRC = 60,

    KEY_N = 16,
    KEY_WRAP = 20,
    KEY_ZERO = 21,
    KEY_EPOCH = 22,
    KEY_NONCE = 24, /* wrap 1 */
    KEY_WRAPPED = 36,
    KEY_TAG = 68,
    KEY_ZERO2 = 84,
    KEY_BOX = 24, /* wrap 2 */

    END_BODY = 8,
    END_FOOTER = 16,
    END_FOOTER_LEN = 24,
    END_STRIPES = 28,
    END_SESSION = 32,
    END_N = 48,
    END_KIND = 52,
    END_ZERO = 53,
    END_CRC = 60,
};

void
pack_name(const struct pack_id *id, char out[PACK_NAME_SIZE])
{
    char session[UUID_STR_SIZE];

    repo_id_format(id->session, session);
    (void)snprintf(out, PACK_NAME_SIZE, "%c/%s/%u",
                   id->kind == FRAME_DATA ? 'p' : 'm', session, id->n);
}

bool
pack_name_parse(const char *name, struct pack_id *ret)
{
    char session[UUID_STR_SIZE], again[PACK_NAME_SIZE];
    struct pack_id id = { .kind = name[0] == 'p' ? FRAME_DATA : FRAME_META };
    unsigned long long n;
    char *end;

    if (strlen(name) < 3 + UUID_STR_SIZE || name[1] != '/')
        return false;
    memcpy(session, name + 2, UUID_STR_SIZE - 1);
    session[UUID_STR_SIZE - 1] = 0;
    n = strtoull(name + 2 + UUID_STR_SIZE, &end, 10);
    if (!repo_id_parse(session, id.session) || *end != 0 || n > UINT32_MAX)
        return false;
    id.n = (uint32_t)n;
    pack_name(&id, again);
    *ret = id;
    return strcmp(name, again) == 0; /* no leading zeros, no other letters */
}

size_t
pack_head_size(unsigned key_count)
{
    return PACK_HEADER_SIZE + (size_t)PACK_KEY_SIZE * key_count;
}

/* ---- keys ---- */

static void
key_aad(const struct pack_wrap *wrap, enum frame_kind kind,
        const uint8_t *entry, uint8_t aad[KEY_AAD])
{
    memcpy(aad, wrap->repo_uuid, 16);
    aad[16] = (uint8_t)kind;
    memcpy(aad + 17, entry, KEY_NONCE);
}

static void
key_wrap(const struct pack_wrap *wrap, const struct frame_origin *o,
         const uint8_t *wrapping, uint8_t *entry)
{
    CLEANUP(aead_free) struct aead *aead = aead_new();
    uint8_t aad[KEY_AAD];

    entry[KEY_WRAP] = WRAP_GCM;
    uuid_random_bytes(entry + KEY_NONCE, AEAD_NONCE_SIZE);
    key_aad(wrap, o->kind, entry, aad);
    aead_set_key(aead, wrapping);
    aead_seal(aead, entry + KEY_NONCE, aad, sizeof aad, o->key, AEAD_KEY_SIZE,
              entry + KEY_WRAPPED, entry + KEY_TAG);
}

/* A role that cannot read data seals the key: it cannot open it again. */
static void
key_encode(const struct pack_wrap *wrap, const struct frame_origin *o,
           uint8_t *entry)
{
    const struct keys_epoch *e = &wrap->keys->epochs[wrap->epoch];

    memset(entry, 0, PACK_KEY_SIZE);
    memcpy(entry, o->session, 16);
    le_put32(entry + KEY_N, o->n);
    le_put16(entry + KEY_EPOCH, (uint16_t)wrap->epoch);
    if (o->kind == FRAME_META) {
        key_wrap(wrap, o, e->meta, entry);
    } else if (keys_can_read(wrap->keys)) {
        key_wrap(wrap, o, e->data, entry);
    } else {
        entry[KEY_WRAP] = WRAP_BOX;
        keys_box_seal(e->box_public, o->key, AEAD_KEY_SIZE, entry + KEY_BOX);
    }
}

static int
key_check(const uint8_t *entry, enum frame_kind kind, struct err *err)
{
    uint8_t wrap = entry[KEY_WRAP];

    if (wrap != WRAP_GCM && wrap != WRAP_BOX)
        return err_set(err, ERR_UNSUPPORTED, "key table: wrap %d is unknown",
                       wrap);
    if (entry[KEY_ZERO] != 0 ||
        le_get16(entry + KEY_EPOCH) >= KEYS_EPOCHS_MAX ||
        (wrap == WRAP_GCM && !le_is_zero(entry + KEY_ZERO2, 20)) ||
        (wrap == WRAP_BOX && kind != FRAME_DATA))
        return err_set(err, ERR_CORRUPT, "key table: unknown fields in use");
    return 0;
}

static int
key_decode(const struct pack_wrap *wrap, enum frame_kind kind,
           const uint8_t *entry, struct frame_origin *ret, struct err *err)
{
    CLEANUP(aead_free) struct aead *aead = aead_new();
    unsigned epoch = le_get16(entry + KEY_EPOCH);
    const struct keys_epoch *e;
    uint8_t aad[KEY_AAD];
    bool is_open;

    if (key_check(entry, kind, err) < 0)
        return -1;
    e = &wrap->keys->epochs[epoch];
    memcpy(ret->session, entry, 16);
    ret->n = le_get32(entry + KEY_N);
    ret->kind = kind;
    ret->is_encrypted = true;
    ret->serial = frame_serial();
    ret->is_locked = epoch >= wrap->keys->epoch_count ||
                     (kind == FRAME_DATA && !keys_can_read(wrap->keys));
    if (ret->is_locked)
        return 0;
    if (entry[KEY_WRAP] == WRAP_BOX) {
        is_open = keys_box_open(e->box_secret, entry + KEY_BOX,
                                AEAD_KEY_SIZE + KEYS_BOX_EXTRA, ret->key);
    } else {
        key_aad(wrap, kind, entry, aad);
        aead_set_key(aead, kind == FRAME_DATA ? e->data : e->meta);
        is_open = aead_open(aead, entry + KEY_NONCE, aad, sizeof aad,
                            entry + KEY_WRAPPED, AEAD_KEY_SIZE, entry + KEY_TAG,
                            ret->key);
    }
    if (!is_open)
        return err_set(err, ERR_CORRUPT, "key table: a key does not unwrap");
    return 0;
}

/* Who has the metadata's key can read every footer: where which chunk lies is
 * what a collector and an index need, and no content. */
static void
footer_origin(const struct pack_wrap *wrap, const struct pack_id *id,
              unsigned epoch, struct frame_origin *ret)
{
    uint8_t name[21];

    memset(ret, 0, sizeof *ret);
    memcpy(ret->session, id->session, 16);
    ret->n = id->n;
    ret->kind = id->kind;
    ret->serial = frame_serial();
    if (wrap->keys == NULL)
        return;
    ret->is_encrypted = true;
    ret->is_locked = epoch >= wrap->keys->epoch_count;
    if (ret->is_locked)
        return;
    memcpy(name, id->session, 16);
    le_put32(name + 16, id->n);
    name[20] = (uint8_t)id->kind;
    keys_footer(wrap->keys, epoch, name, ret->key);
}

void
pack_footer_origin(const struct pack_wrap *wrap, const struct pack_id *id,
                   struct frame_origin *ret)
{
    footer_origin(wrap, id, wrap->epoch, ret);
}

/* ---- header ---- */

size_t
pack_header_encode(const struct pack_wrap *wrap,
                   const struct frame_origin *origin,
                   uint8_t out[PACK_HEADER_SIZE + PACK_KEY_SIZE])
{
    return pack_header_encode_moved(wrap, origin, NULL, 0, out);
}

size_t
pack_header_encode_moved(const struct pack_wrap *wrap,
                         const struct frame_origin *origin,
                         const uint8_t *entries, unsigned count, uint8_t *out)
{
    unsigned keys = wrap->keys != NULL ? 1 + count : 0;
    uint32_t crc;

    memset(out, 0, PACK_HEADER_SIZE);
    memcpy(out, MAGIC, 8);
    le_put16(out + AT_VERSION, FORMAT_VERSION);
    out[AT_KIND] = (uint8_t)origin->kind;
    out[AT_CIPHER] = keys > 0;
    le_put16(out + AT_KEY_COUNT, (uint16_t)keys);
    memcpy(out + AT_SESSION, origin->session, 16);
    le_put32(out + AT_N, origin->n);
    if (keys > 0) {
        le_put16(out + AT_EPOCH, (uint16_t)wrap->epoch);
        key_encode(wrap, origin, out + PACK_HEADER_SIZE);
    }
    if (keys > 1)
        memcpy(out + PACK_HEADER_SIZE + PACK_KEY_SIZE, entries,
               (size_t)PACK_KEY_SIZE * count);
    crc = crc_32c(0, out, AT_CRC);
    crc = crc_32c(crc, out + PACK_HEADER_SIZE, (size_t)PACK_KEY_SIZE * keys);
    le_put32(out + AT_CRC, crc);
    return pack_head_size(keys);
}

int
pack_header_peek(const uint8_t *data, size_t len, unsigned *ret_key_count,
                 struct err *err)
{
    unsigned n;

    if (len < PACK_HEADER_SIZE || memcmp(data, MAGIC, 8) != 0)
        return err_set(err, ERR_CORRUPT, "not a pack");
    if (le_get16(data + AT_VERSION) != FORMAT_VERSION ||
        le_get64(data + AT_INCOMPAT) != 0)
        return err_set(err, ERR_UNSUPPORTED, "pack of a newer format");
    n = le_get16(data + AT_KEY_COUNT);
    if (n > PACK_KEYS_MAX || data[AT_CIPHER] > 1 ||
        (n > 0) != (data[AT_CIPHER] == 1))
        return err_set(err, ERR_CORRUPT, "pack header: bad key table");
    *ret_key_count = n;
    return 0;
}

bool
pack_head_is_of(const uint8_t *head, unsigned key_count, unsigned epoch)
{
    const uint8_t *entry = head + PACK_HEADER_SIZE;

    for (unsigned i = 0; i < key_count; i++, entry += PACK_KEY_SIZE)
        if (le_get16(entry + KEY_EPOCH) != epoch)
            return false;
    return key_count == 0 || le_get16(head + AT_EPOCH) == epoch;
}

int
pack_header_check(bool is_encrypted, const struct pack_id *id,
                  const uint8_t *data, size_t len, unsigned *ret_key_count,
                  struct err *err)
{
    unsigned keys;
    uint32_t crc;

    if (pack_header_peek(data, len, &keys, err) < 0)
        return -1;
    if (len < pack_head_size(keys))
        return err_set(err, ERR_CORRUPT, "pack header: cut short");
    crc = crc_32c(0, data, AT_CRC);
    crc = crc_32c(crc, data + PACK_HEADER_SIZE, (size_t)PACK_KEY_SIZE * keys);
    if (crc != le_get32(data + AT_CRC))
        return err_set(err, ERR_CORRUPT, "pack header: checksum mismatch");
    if (data[AT_KIND] != (uint8_t)id->kind ||
        memcmp(data + AT_SESSION, id->session, 16) != 0 ||
        le_get32(data + AT_N) != id->n)
        return err_set(err, ERR_CORRUPT, "pack header: is another pack");
    if (!le_is_zero(data + AT_ZERO2, 16) ||
        le_get16(data + AT_EPOCH) >= (keys > 0 ? KEYS_EPOCHS_MAX : 1))
        return err_set(err, ERR_CORRUPT, "pack header: unknown fields in use");
    if (is_encrypted != (keys > 0))
        return err_set(err, ERR_CORRUPT,
                       "pack header: cipher differs from the repository's");
    *ret_key_count = keys;
    return 0;
}

int
pack_header_decode(const struct pack_wrap *wrap, const struct pack_id *id,
                   const uint8_t *data, size_t len,
                   struct frame_origin **ret_origins, unsigned *ret_count,
                   struct err *err)
{
    struct frame_origin *o;
    unsigned keys;
    int rc = 0;

    if (pack_header_check(wrap->keys != NULL, id, data, len, &keys, err) < 0)
        return -1;
    o = xcalloc(keys + 2, sizeof *o);
    memcpy(o[0].session, id->session, 16); /* the only one without a cipher */
    o[0].n = id->n;
    o[0].kind = id->kind;
    for (unsigned i = 0; rc == 0 && i < keys; i++)
        rc = key_decode(wrap, id->kind,
                        data + PACK_HEADER_SIZE + (size_t)PACK_KEY_SIZE * i,
                        &o[i], err);
    if (rc < 0) {
        pack_origins_free(o, keys);
        return -1;
    }
    keys = keys > 0 ? keys : 1;
    footer_origin(wrap, id, le_get16(data + AT_EPOCH), &o[keys]);
    *ret_origins = o;
    *ret_count = keys;
    return 0;
}

void
pack_origins_free(struct frame_origin *origins, unsigned count)
{
    if (origins != NULL)
        mem_wipe(origins, (count + 1) * sizeof *origins);
    free(origins);
}

int
pack_footer_decode(const uint8_t *data, size_t len,
                   struct pack_footer_entry **ret_entries, uint32_t *ret_count,
                   struct err *err)
{
    size_t n = len / PACK_FOOTER_ENTRY;
    struct pack_footer_entry *e;
    uint32_t before = 0;

    if (len % PACK_FOOTER_ENTRY != 0 || n > PACK_FRAMES_MAX)
        return err_set(err, ERR_CORRUPT, "pack footer: odd length");
    e = mem_try((n + 1) * sizeof *e, "pack footer", err);
    if (e == NULL)
        return -1;
    for (size_t i = 0; i < n; i++) {
        memcpy(e[i].id, data + i * PACK_FOOTER_ENTRY, 32);
        e[i].off8 = le_get32(data + i * PACK_FOOTER_ENTRY + 32);
        if (e[i].off8 <= before) {
            free(e);
            return err_set(err, ERR_CORRUPT, "pack footer: not in order");
        }
        before = e[i].off8;
    }
    *ret_entries = e;
    *ret_count = (uint32_t)n;
    return 0;
}

static uint32_t
stripe_count(uint64_t body_len)
{
    return (uint32_t)((body_len + PACK_STRIPE - 1) / PACK_STRIPE);
}

int
pack_check_frames(const uint8_t *pack, size_t off, size_t end,
                  bool is_encrypted, struct err *err)
{
    struct frame_header h;

    for (; off < end; off += h.flen)
        if (frame_check(pack + off, end - off, is_encrypted, &h, err) < 0)
            return err_set(
                err, ERR_INTERNAL,
                "a pack was changed before it was written, at byte %zu: the memory or the processor of this host is faulty",
                off);
    return 0;
}

size_t
pack_tail_size(uint64_t body_len)
{
    return (size_t)4 * stripe_count(body_len) + PACK_TRAILER_SIZE;
}

void
pack_tail_encode(uint8_t *pack, const struct pack_id *id,
                 struct pack_trailer *t)
{
    uint8_t *tail = pack + t->body_len, *end;

    t->stripes = stripe_count(t->body_len);
    for (uint32_t i = 0; i < t->stripes; i++) {
        uint64_t at = i * PACK_STRIPE, left = t->body_len - at;

        le_put32(tail + (size_t)4 * i,
                 crc_32c(0, pack + at,
                         (size_t)(left < PACK_STRIPE ? left : PACK_STRIPE)));
    }
    end = tail + (size_t)4 * t->stripes;
    memset(end, 0, PACK_TRAILER_SIZE);
    memcpy(end, END_MAGIC, 8);
    le_put64(end + END_BODY, t->body_len);
    le_put64(end + END_FOOTER, t->footer_off);
    le_put32(end + END_FOOTER_LEN, t->footer_len);
    le_put32(end + END_STRIPES, t->stripes);
    memcpy(end + END_SESSION, id->session, 16);
    le_put32(end + END_N, id->n);
    end[END_KIND] = (uint8_t)id->kind;
    le_put32(end + END_CRC, crc_32c(0, tail, (size_t)4 * t->stripes + END_CRC));
}

int
pack_trailer_decode(const struct pack_id *id, const uint8_t *data,
                    uint64_t pack_size, struct pack_trailer *ret,
                    struct err *err)
{
    struct pack_trailer t;

    if (memcmp(data, END_MAGIC, 8) != 0)
        return err_set(err, ERR_CORRUPT, "no pack trailer: cut short?");
    t.body_len = le_get64(data + END_BODY);
    t.footer_off = le_get64(data + END_FOOTER);
    t.footer_len = le_get32(data + END_FOOTER_LEN);
    t.stripes = le_get32(data + END_STRIPES);
    if (pack_size > PACK_SIZE_MAX || t.body_len > pack_size ||
        t.stripes != stripe_count(t.body_len) ||
        t.body_len + pack_tail_size(t.body_len) != pack_size ||
        t.footer_len < FRAME_HEADER_SIZE || t.footer_off < PACK_HEADER_SIZE ||
        t.footer_off % 8 != 0 || t.footer_off > t.body_len ||
        t.body_len - t.footer_off != t.footer_len ||
        !le_is_zero(data + END_ZERO, 7))
        return err_set(err, ERR_CORRUPT, "pack trailer: impossible lengths");
    if (memcmp(data + END_SESSION, id->session, 16) != 0 ||
        le_get32(data + END_N) != id->n || data[END_KIND] != (uint8_t)id->kind)
        return err_set(err, ERR_CORRUPT, "pack trailer: is another pack");
    *ret = t;
    return 0;
}

int
pack_tail_check(const uint8_t *data, size_t len, struct err *err)
{
    if (len < PACK_TRAILER_SIZE ||
        le_get32(data + len - 4) != crc_32c(0, data, len - 4))
        return err_set(err, ERR_CORRUPT, "pack trailer: checksum mismatch");
    return 0;
}
