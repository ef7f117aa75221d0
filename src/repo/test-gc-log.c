/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/test-gc-log.h"

#include <string.h>

#include "base/mem.h"

void
testing_id_of(unsigned who, uint8_t id[16])
{
    memset(id, (int)(0x10 + who), 16);
}

struct pack_id
testing_pack_of(unsigned who)
{
    struct pack_id p = { .kind = FRAME_DATA };

    testing_id_of(who, p.session);
    return p;
}

static struct tree_entry
ref_of(unsigned who)
{
    struct tree_entry e = { .type = TREE_REF,
                            .loc = { .off8 = 8, .flen = 48, .ulen = 8 } };

    testing_id_of(who, e.loc.session);
    return e;
}

static void
body_of_open(const struct testing_entry *x, struct buf *out)
{
    uint8_t id[16], none[16] = { 0 }, created[8] = { 0 };

    testing_id_of(x->who, id);
    buf_add(out, id, 16);
    testing_id_of(B0, id);
    buf_add(out, x->who == CHILD ? id : none, 16);
    buf_add(out, created, 8);
    testing_id_of(RESUMABLE, id);
    if (x->who == RESUMER)
        buf_add(out, id, 16);
}

static void
body_of_condemn(const struct testing_entry *x, struct buf *out)
{
    uint8_t drop[1][16];
    struct pack_id packs[SESSIONS];
    struct commitlog_condemn c = { .base_seq = x->seq,
                                   .drops = drop,
                                   .drop_count = x->drops,
                                   .packs = packs };

    testing_id_of(B0, drop[0]);
    for (unsigned i = 0; i < SESSIONS; i++)
        if (x->packs & BIT(i))
            packs[c.pack_count++] = testing_pack_of(i);
    commitlog_condemn_encode(&c, out);
}

static void
body_of(const struct testing_entry *x, struct buf *out)
{
    struct commitlog_commit commit = { .checked_seq = x->seq };
    struct pack_id source = testing_pack_of(B0);
    struct movemap_entry move = { .covers = x->seq,
                                  .kind = FRAME_DATA,
                                  .map = ref_of(x->who),
                                  .sources = &source,
                                  .count = 1 };
    uint8_t id[16], backup[16], count[2] = { 1, 0 }, pins = x->packs != 0;

    testing_id_of(x->who, id);
    testing_id_of(B0, backup);
    switch (x->type) {
    case COMMITLOG_OPEN:
        body_of_open(x, out);
        return;
    case COMMITLOG_COMMIT:
        commit.root = ref_of(x->who);
        memcpy(commit.id, id, 16);
        commitlog_commit_encode(&commit, out);
        return;
    case COMMITLOG_CONDEMN:
        body_of_condemn(x, out);
        return;
    case COMMITLOG_REDIRECT:
        memcpy(move.session, id, 16);
        movemap_entry_encode(&move, out);
        return;
    case COMMITLOG_PIN:
        buf_add(out, &pins, 1);
        buf_add(out, id, 16);
        if (pins)
            buf_add(out, backup, 16);
        return;
    case COMMITLOG_HOLD:
        buf_add(out, "\1", 1);
        buf_add(out, backup, 16);
        buf_add(out, "", 1); /* no reason */
        return;
    case COMMITLOG_DELETE:
    case COMMITLOG_UNDELETE:
        buf_add(out, count, 2);
        buf_add(out, backup, 16);
        return;
    default: /* ABORT, KILL */
        buf_add(out, id, 16);
        if (x->type == COMMITLOG_ABORT && x->packs != 0)
            buf_add(out, "\1", 1);
    }
}

bool
testing_is_backup(const struct logstate *s, unsigned who)
{
    uint8_t id[16];

    testing_id_of(who, id);
    return logstate_is_present(s, id);
}

bool
testing_is_backup_now(const struct logstate *s, unsigned who)
{
    uint8_t id[16];

    testing_id_of(who, id);
    return logstate_find(s, id) < s->backup_count;
}

enum logstate_end
testing_end_of(const struct logstate *s, unsigned who)
{
    uint8_t id[16];

    testing_id_of(who, id);
    return logstate_end_of(s, id);
}

bool
testing_is_moved(const struct logstate *s)
{
    struct pack_id p = testing_pack_of(B0);

    return logstate_moved_find(s, &p) != NULL;
}

unsigned
testing_chunks_of(unsigned who)
{
    return who == DEDUP ? NEED_B : who == B0 || who == CHILD ? NEED_A : 0;
}

unsigned
testing_others_of(unsigned who)
{
    return who == RESUMER ? BIT(RESUMER) | BIT(RESUMABLE)
           : who == B0    ? 0
                          : BIT(who);
}

struct commitlog_entry
testing_entry_of(const struct testing_entry *x, uint64_t seq, struct buf *body)
{
    struct commitlog_entry e = { .type = x->type, .seq = seq };

    body_of(x, body);
    e.body = (const uint8_t *)body->data;
    e.body_len = body->len;
    return e;
}

static bool
put_key(struct testing_seen *s, uint64_t key)
{
    size_t i = (size_t)(key >> 1) & (s->cap - 1);

    for (; s->keys[i] != 0; i = (i + 1) & (s->cap - 1))
        if (s->keys[i] == key)
            return false;
    s->keys[i] = key;
    return true;
}

static void
grow(struct testing_seen *s)
{
    CLEANUP(mem_free) uint64_t *old = s->keys;
    size_t n = s->cap;

    s->cap = n == 0 ? (size_t)1 << 16 : 2 * n;
    s->keys = xcalloc(s->cap, sizeof *s->keys);
    for (size_t i = 0; i < n; i++)
        if (old[i] != 0)
            (void)put_key(s, old[i]);
}

bool
testing_seen_add(struct testing_seen *s, uint64_t key)
{
    if (s->count >= s->cap / 4 * 3)
        grow(s);
    if (!put_key(s, key))
        return false;
    s->count++;
    return true;
}
