/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of the log's entries: docs/formats/log.md. */
#include <string.h>

#include "base/mem.h"
#include "codec/format.h"
#include "codec/le.h"
#include "repo/commitlog.h"
#include "repo/root.h"

#define MAGIC         "VMKLOGE" /* 8 bytes with its NUL */
#define FLAG_CRITICAL 1
#define FLAG_SIGNED   2

enum {
    AT_VERSION = 8,
    AT_TYPE = 10,
    AT_FLAGS = 11,
    AT_BODY_LEN = 12,
    AT_SEQ = 16,
    AT_PREV = 24,
    AT_REPO = 56,
    AT_NONCE = 72,
    AT_TIME = 88,
};

bool
commitlog_needs_sign(unsigned type)
{
    return type != COMMITLOG_OPEN && type != COMMITLOG_COMMIT &&
           type != COMMITLOG_ABORT && type != COMMITLOG_PIN;
}

void
commitlog_encode(const struct commitlog_entry *e, const uint8_t repo_uuid[16],
                 const struct keys *keys, struct buf *out)
{
    uint8_t head[COMMITLOG_HEAD] = { 0 }, mac[HASH_SIZE], sign[KEYS_SIGN_SIZE];

    memcpy(head, MAGIC, 8);
    le_put16(head + AT_VERSION, FORMAT_VERSION);
    head[AT_TYPE] = (uint8_t)e->type;
    head[AT_FLAGS] =
        (e->is_critical ? FLAG_CRITICAL : 0) | (e->is_signed ? FLAG_SIGNED : 0);
    le_put32(head + AT_BODY_LEN, (uint32_t)e->body_len);
    le_put64(head + AT_SEQ, e->seq);
    memcpy(head + AT_PREV, e->prev, HASH_SIZE);
    memcpy(head + AT_REPO, repo_uuid, 16);
    memcpy(head + AT_NONCE, e->nonce, 16);
    le_put64(head + AT_TIME, (uint64_t)e->time_unix_s);
    buf_add(out, head, sizeof head);
    buf_add(out, e->body, e->body_len);
    if (e->is_signed) {
        keys_admin_sign(keys, out->data, out->len, sign);
        buf_add(out, sign, sizeof sign);
    }
    hash_hmac(&keys->log, out->data, out->len, mac);
    buf_add(out, mac, sizeof mac);
}

int
commitlog_decode(const uint8_t *data, size_t len, const uint8_t repo_uuid[16],
                 const struct keys *keys, struct commitlog_entry *ret,
                 struct err *err)
{
    uint8_t mac[HASH_SIZE];
    uint32_t body_len;
    size_t tail = HASH_SIZE;

    if (len < COMMITLOG_HEAD + HASH_SIZE || memcmp(data, MAGIC, 8) != 0)
        return err_set(err, ERR_CORRUPT, "not a log entry, or cut short");
    if (keys != NULL) {
        hash_hmac(&keys->log, data, len - HASH_SIZE, mac);
        if (!hash_is_equal(mac, data + len - HASH_SIZE))
            return err_set(err, ERR_CORRUPT, "MAC mismatch");
    }
    if (le_get16(data + AT_VERSION) != FORMAT_VERSION)
        return err_set(err, ERR_UNSUPPORTED, "log entry of version %u",
                       le_get16(data + AT_VERSION));
    body_len = le_get32(data + AT_BODY_LEN);
    if ((data[AT_FLAGS] & FLAG_SIGNED) != 0)
        tail += KEYS_SIGN_SIZE;
    if (body_len > COMMITLOG_BODY_MAX || len < COMMITLOG_HEAD + tail ||
        body_len != len - COMMITLOG_HEAD - tail ||
        data[AT_FLAGS] > (FLAG_CRITICAL | FLAG_SIGNED))
        return err_set(err, ERR_CORRUPT, "wrong length or flags");
    if (keys != NULL && tail > HASH_SIZE &&
        !keys_sign_check(keys->admin_public, data, len - tail,
                         data + len - tail))
        return err_set(err, ERR_CORRUPT, "signature mismatch");
    if (memcmp(data + AT_REPO, repo_uuid, 16) != 0)
        return err_set(err, ERR_CORRUPT, "belongs to another repository");
    ret->type = data[AT_TYPE];
    ret->is_critical = (data[AT_FLAGS] & FLAG_CRITICAL) != 0;
    ret->is_signed = tail > HASH_SIZE;
    ret->seq = le_get64(data + AT_SEQ);
    memcpy(ret->prev, data + AT_PREV, HASH_SIZE);
    memcpy(ret->nonce, data + AT_NONCE, 16);
    ret->time_unix_s = (int64_t)le_get64(data + AT_TIME);
    ret->body = data + COMMITLOG_HEAD;
    ret->body_len = body_len;
    return 0;
}

void
commitlog_commit_encode(const struct commitlog_commit *c, struct buf *out)
{
    uint8_t loc[FRAME_LOC_SIZE];

    buf_add(out, c->id, 16);
    buf_add(out, c->parent, 16);
    le_add(out, (uint64_t)c->created_unix_s, 8);
    le_add(out, c->logical_bytes, 8);
    le_add(out, c->stored_bytes, 8);
    le_add(out, c->checked_seq, 8);
    frame_loc_encode(&c->root.loc, loc);
    buf_add(out, loc, sizeof loc);
    buf_add(out, c->root.id, HASH_SIZE);
    le_add(out, strlen(c->object_uid), 2);
    buf_add_str(out, c->object_uid);
}

int
commitlog_commit_decode(const uint8_t *data, size_t len,
                        struct commitlog_commit *ret, struct err *err)
{
    struct le_reader r = { .p = data, .left = len };
    uint8_t loc[FRAME_LOC_SIZE];
    size_t uid_len;

    memset(ret, 0, sizeof *ret);
    le_take_bytes(&r, ret->id, 16);
    le_take_bytes(&r, ret->parent, 16);
    ret->created_unix_s = (int64_t)le_take_int(&r, 8);
    ret->logical_bytes = le_take_int(&r, 8);
    ret->stored_bytes = le_take_int(&r, 8);
    ret->checked_seq = le_take_int(&r, 8);
    le_take_bytes(&r, loc, sizeof loc);
    le_take_bytes(&r, ret->root.id, HASH_SIZE);
    ret->root.type = TREE_REF;
    uid_len = le_take_int(&r, 2);
    if (r.is_short || uid_len != r.left || uid_len > REPO_UID_MAX)
        return err_set(err, ERR_CORRUPT, "COMMIT: wrong length");
    le_take_bytes(&r, ret->object_uid, uid_len);
    if (strlen(ret->object_uid) != uid_len ||
        !root_uid_is_valid(ret->object_uid))
        return err_set(err, ERR_CORRUPT, "COMMIT: bad object UID");
    return frame_loc_decode(loc, &ret->root.loc, err);
}

/* ---- CONDEMN ---- */

void
commitlog_condemn_fini(struct commitlog_condemn *c)
{
    free(c->drops);
    free(c->packs);
    *c = (struct commitlog_condemn){ 0 };
}

static bool
is_same_group(const struct pack_id *a, const struct pack_id *b)
{
    return a->kind == b->kind && memcmp(a->session, b->session, 16) == 0;
}

void
commitlog_condemn_encode(const struct commitlog_condemn *c, struct buf *out)
{
    size_t n;

    le_add(out, c->base_seq, 8);
    le_add(out, c->drop_count, 2);
    buf_add(out, c->drops, c->drop_count * 16);
    le_add(out, c->pack_count, 2);
    for (size_t i = 0; i < c->pack_count; i += n) {
        for (n = 1; i + n < c->pack_count &&
                    is_same_group(&c->packs[i], &c->packs[i + n]);
             n++)
            continue;
        le_add(out, c->packs[i].kind, 1);
        buf_add(out, c->packs[i].session, 16);
        le_add(out, n, 2);
        for (size_t k = 0; k < n; k++)
            le_add(out, c->packs[i + k].n, 4);
    }
}

static int
take_packs(struct le_reader *r, struct commitlog_condemn *c, size_t count,
           struct err *err)
{
    while (c->pack_count < count) {
        struct pack_id id = { .kind = FRAME_DATA };
        uint64_t kind = le_take_int(r, 1), n;

        le_take_bytes(r, id.session, 16);
        n = le_take_int(r, 2);
        if (r->is_short || kind > FRAME_META || n == 0 ||
            n > count - c->pack_count)
            return err_set(err, ERR_CORRUPT, "CONDEMN: bad list");
        id.kind = (enum frame_kind)kind;
        if (c->pack_count > 0 &&
            is_same_group(&id, &c->packs[c->pack_count - 1]))
            return err_set(err, ERR_CORRUPT, "CONDEMN: bad list");
        for (uint64_t k = 0; k < n; k++) {
            id.n = (uint32_t)le_take_int(r, 4);
            c->packs[c->pack_count++] = id;
        }
    }
    return 0;
}

int
commitlog_condemn_decode(const uint8_t *data, size_t len,
                         struct commitlog_condemn *ret, struct err *err)
{
    CLEANUP(commitlog_condemn_fini) struct commitlog_condemn c = { 0 };
    struct le_reader r = { .p = data, .left = len };
    size_t packs;

    c.base_seq = le_take_int(&r, 8);
    c.drop_count = le_take_int(&r, 2);
    if (r.is_short || c.drop_count > COMMITLOG_DROPS)
        return err_set(err, ERR_CORRUPT, "CONDEMN: wrong length");
    c.drops = xcalloc(c.drop_count + 1, sizeof *c.drops);
    le_take_bytes(&r, c.drops, c.drop_count * 16);
    packs = le_take_int(&r, 2);
    if (r.is_short || packs > COMMITLOG_CONDEMNS)
        return err_set(err, ERR_CORRUPT, "CONDEMN: wrong length");
    c.packs = xcalloc(packs + 1, sizeof *c.packs);
    if (take_packs(&r, &c, packs, err) < 0)
        return -1;
    if (r.is_short || r.left != 0)
        return err_set(err, ERR_CORRUPT, "CONDEMN: wrong length");
    *ret = c;
    c = (struct commitlog_condemn){ 0 };
    return 0;
}
