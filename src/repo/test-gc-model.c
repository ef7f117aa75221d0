/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of the log, in every order in which things can happen: writers,
 * collectors, a compactor, a reader and somebody who deletes, each stopped (or
 * crashed) between any two of its steps. Every entry goes through
 * logstate_check() and logstate_fold(), what to condemn comes from gc_choose().
 * In every state nothing may be missing that somebody needs; with one rule left
 * out, something must be. test-gc-model [all].
 *
 * A put that is created if absent happens or does not, as the chain of the log
 * leaves no third case; who was not told reads back later, which is one more
 * order. States in which the same can happen from now on are looked at once.
 */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "codec/le.h"
#include "repo/gc-private.h"
#include "test.h"

/* Whose session, and so whose pack: one each. */
enum who {
    B0,        /* a backup that is there from the begin */
    RESUMABLE, /* a session that was aborted and left a pack */
    CHILD,     /* a writer whose parent is B0 */
    DEDUP,     /* a writer that found a chunk of B0's pack by itself */
    RESUMER,   /* a writer that resumes RESUMABLE */
    MOVER,     /* the compactor */
    SESSIONS,
};
#define WRITERS 3 /* CHILD, DEDUP, RESUMER */

#define BIT(n)   (1u << (n))
#define ENTRIES  24
#define NEED_A   BIT(0) /* the two chunks in B0's pack: B0 needs A */
#define NEED_B   BIT(1) /* and DEDUP needs B */
#define DONE     90
#define MAX_SEEN ((size_t)1 << 22)

struct entry {
    unsigned type, who;
    unsigned seq;   /* base, checked, covers */
    unsigned packs; /* of a CONDEMN */
    bool drops;     /* of a CONDEMN: B0 */
};

/* A process: where it is, and what it has seen. */
struct process {
    unsigned pc;
    unsigned seq;
    unsigned packs, moved;
    bool drops;
};

enum {
    USER = WRITERS,
    READER,
    COMPACTOR,
    COLLECTOR_1,
    COLLECTOR_2,
    PROCESSES,
};

struct state {
    struct entry log[ENTRIES];
    unsigned length;
    unsigned packs;  /* that exist: BIT(who) */
    unsigned killed; /* sessions that were killed before they committed */
    unsigned moved;  /* of the REDIRECT that counted, if there was one */
    struct process p[PROCESSES];
};

struct scenario {
    const char *name;
    unsigned runs; /* BIT(process) */
    bool undeletes;
    unsigned kills; /* BIT(who) */
    bool is_long;
};

static const struct scenario scenarios[] = {
    { "two writers, two collectors",
      BIT(0) | BIT(1) | BIT(USER) | BIT(COLLECTOR_1) | BIT(COLLECTOR_2), false,
      0, false },
    { "a resumed session",
      BIT(1) | BIT(2) | BIT(COLLECTOR_1) | BIT(COLLECTOR_2), false,
      BIT(RESUMER), false },
    { "undelete, a reader",
      BIT(0) | BIT(USER) | BIT(READER) | BIT(COLLECTOR_1) | BIT(COLLECTOR_2),
      true, BIT(CHILD), false },
    { "a compactor",
      BIT(0) | BIT(1) | BIT(USER) | BIT(COMPACTOR) | BIT(COLLECTOR_1), false,
      BIT(MOVER), false },
    { "all at once",
      BIT(0) | BIT(1) | BIT(USER) | BIT(COMPACTOR) | BIT(COLLECTOR_1) |
          BIT(COLLECTOR_2),
      false, 0, true },
};

/* What one search works with. */
struct search {
    const struct scenario *scenario;
    unsigned without; /* the rule that is left out */
    struct state *stack;
    size_t depth, cap;
    uint64_t *seen; /* open addressing; 0: empty */
    size_t seen_count;
    const char *lost; /* what was found, or NULL */
};

/* ---- entries as bytes -------------------------------------------------------
 */

static void
id_of(unsigned who, uint8_t id[16])
{
    memset(id, (int)(0x10 + who), 16);
}

static struct pack_id
pack_of(unsigned who)
{
    struct pack_id p = { .kind = FRAME_DATA };

    id_of(who, p.session);
    return p;
}

static struct tree_entry
ref_of(unsigned who)
{
    struct tree_entry e = { .type = TREE_REF,
                            .loc = { .off8 = 8, .flen = 48, .ulen = 8 } };

    id_of(who, e.loc.session);
    return e;
}

static void
body_of_open(const struct entry *x, struct buf *out)
{
    uint8_t id[16], none[16] = { 0 }, created[8] = { 0 };

    id_of(x->who, id);
    buf_add(out, id, 16);
    id_of(B0, id);
    buf_add(out, x->who == CHILD ? id : none, 16);
    buf_add(out, created, 8);
    id_of(RESUMABLE, id);
    if (x->who == RESUMER)
        buf_add(out, id, 16);
}

static void
body_of_condemn(const struct entry *x, struct buf *out)
{
    uint8_t drop[1][16];
    struct pack_id packs[SESSIONS];
    struct commitlog_condemn c = { .base_seq = x->seq,
                                   .drops = drop,
                                   .drop_count = x->drops,
                                   .packs = packs };

    id_of(B0, drop[0]);
    for (unsigned i = 0; i < SESSIONS; i++)
        if (x->packs & BIT(i))
            packs[c.pack_count++] = pack_of(i);
    commitlog_condemn_encode(&c, out);
}

static void
body_of(const struct entry *x, struct buf *out)
{
    struct commitlog_commit commit = { .checked_seq = x->seq };
    struct pack_id source = pack_of(B0);
    struct movemap_entry move = { .covers = x->seq,
                                  .kind = FRAME_DATA,
                                  .map = ref_of(x->who),
                                  .sources = &source,
                                  .count = 1 };
    uint8_t id[16], backup[16], count[2] = { 1, 0 }, pins = x->packs != 0;

    id_of(x->who, id);
    id_of(B0, backup);
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
    case COMMITLOG_DELETE:
    case COMMITLOG_UNDELETE:
        buf_add(out, count, 2);
        buf_add(out, backup, 16);
        return;
    default: /* ABORT, KILL */
        buf_add(out, id, 16);
    }
}

static struct commitlog_entry
entry_of(const struct entry *x, uint64_t seq, struct buf *body)
{
    struct commitlog_entry e = { .type = x->type, .seq = seq };

    body_of(x, body);
    e.body = (const uint8_t *)body->data;
    e.body_len = body->len;
    return e;
}

static void
replay(const struct search *h, const struct state *st, struct logstate *ret)
{
    struct err err;

    *ret = (struct logstate){ .without = h->without };
    for (unsigned i = 0; i < st->length; i++) {
        CLEANUP(buf_fini) struct buf body = BUF_INIT;
        struct commitlog_entry e = entry_of(&st->log[i], i + 1, &body);

        CHECK_OK(logstate_fold(ret, &e, &err), &err);
    }
}

/* Is it there for the taking? Then it is. */
static bool
append(struct state *st, const struct logstate *s, const struct entry *x)
{
    CLEANUP(buf_fini) struct buf body = BUF_INIT;
    struct commitlog_entry e = entry_of(x, (uint64_t)st->length + 1, &body);
    struct err err;

    if (logstate_check(s, &e, &err) < 0)
        return false;
    CHECK(st->length < ENTRIES);
    st->log[st->length++] = *x;
    return true;
}

/* ---- what is needed ---------------------------------------------------------
 */

static bool
is_backup(const struct logstate *s, unsigned who)
{
    uint8_t id[16];

    id_of(who, id);
    return logstate_is_present(s, id);
}

static enum logstate_end
end_of(const struct logstate *s, unsigned who)
{
    uint8_t id[16];

    id_of(who, id);
    return logstate_end_of(s, id);
}

static bool
is_moved(const struct logstate *s)
{
    struct pack_id p = pack_of(B0);

    return logstate_moved_find(s, &p) != NULL;
}

/* Which chunks of B0's pack a backup needs, and which other packs. */
static unsigned
chunks_of(unsigned who)
{
    return who == DEDUP ? NEED_B : who == B0 || who == CHILD ? NEED_A : 0;
}

static unsigned
others_of(unsigned who)
{
    return who == RESUMER ? BIT(RESUMER) | BIT(RESUMABLE)
           : who == B0    ? 0
                          : BIT(who);
}

static bool
has(const struct state *st, const struct logstate *s, unsigned who)
{
    unsigned chunks = chunks_of(who);

    if ((others_of(who) & ~st->packs) != 0)
        return false;
    if (st->packs & BIT(B0))
        return true;
    return chunks == 0 || ((chunks & ~st->moved) == 0 && is_moved(s) &&
                           (st->packs & BIT(MOVER)) != 0);
}

/* What is missing that somebody needs; NULL: nothing. */
static const char *
find_loss(const struct search *h, const struct state *st,
          const struct logstate *s)
{
    static const unsigned writers[] = { CHILD, DEDUP, RESUMER };

    for (unsigned i = 0; i < SESSIONS; i++)
        if (i != RESUMABLE && i != MOVER && is_backup(s, i) && !has(st, s, i))
            return "a backup misses a pack";
    if (s->pin_count > 0 && !has(st, s, B0))
        return "a reader misses a pack";
    for (unsigned i = 0; i < WRITERS; i++) {
        unsigned who = writers[i], own = st->p[i].pc >= 2 ? BIT(who) : 0;
        const struct logstate_session *x;
        uint8_t id[16];

        id_of(who, id);
        x = logstate_session_of(s, id);
        if ((st->killed & BIT(who)) != 0 && is_backup(s, who))
            return "a session that was killed did commit";
        if (x == NULL || x->open_seq == 0 || x->end != LOGSTATE_OPEN ||
            x->is_void)
            continue;
        if ((own & ~st->packs) != 0)
            return "a writer at work misses a pack of its own";
        if (who == CHILD && !has(st, s, B0))
            return "a writer at work misses its parent";
        if (who == RESUMER && (st->packs & BIT(RESUMABLE)) == 0)
            return "a writer at work misses what it resumed";
    }
    return NULL;
}

/* ---- the search -------------------------------------------------------------
 */

/* What the rest depends on, in few bytes: no numbers of entries, but which of
 * them is behind which. */
static uint64_t
key_of(const struct state *st, const struct logstate *s)
{
    uint64_t k = 1469598103934665603u;
    uint8_t b[64];
    size_t n = 0;

    for (unsigned i = 0; i < SESSIONS; i++) {
        const struct logstate_session *x;
        struct pack_id p = pack_of(i);
        uint8_t id[16];

        id_of(i, id);
        x = logstate_session_of(s, id);
        b[n++] = (uint8_t)((x != NULL ? 1 + x->end * 2 + 8 * x->is_void +
                                            16 * (x->open_seq != 0) +
                                            32 * x->is_condemned
                                      : 0) +
                           64 * (packset_get(&s->condemned, &p) != 0));
        b[n++] =
            (uint8_t)((logstate_find(s, id) < s->backup_count) +
                      2 * (logstate_find_deleted(s, id) < s->deleted_count));
    }
    b[n++] = (uint8_t)(s->pin_count + 2u * is_moved(s));
    b[n++] = (uint8_t)st->packs;
    b[n++] = (uint8_t)st->killed;
    b[n++] = (uint8_t)st->moved;
    for (unsigned i = 0; i < PROCESSES; i++) {
        const struct process *p = &st->p[i];

        b[n++] = (uint8_t)p->pc;
        b[n++] = (uint8_t)(p->packs | (unsigned)p->drops << 7);
        b[n++] = (uint8_t)(p->moved | (p->seq < s->growth_seq) << 4 |
                           (p->seq < s->shrink_seq) << 5 |
                           (p->seq < s->commit_seq) << 6);
    }
    CHECK(n <= sizeof b);
    for (size_t i = 0; i < n; i++)
        k = (k ^ b[i]) * 1099511628211u;
    k ^= k >> 29;
    k *= 0xbf58476d1ce4e5b9u;
    return (k ^ k >> 32) | 1;
}

static bool
is_new(struct search *h, uint64_t key)
{
    size_t i = (size_t)(key >> 1) & (MAX_SEEN - 1);

    for (; h->seen[i] != 0; i = (i + 1) & (MAX_SEEN - 1))
        if (h->seen[i] == key)
            return false;
    CHECK(++h->seen_count < MAX_SEEN / 4 * 3);
    h->seen[i] = key;
    return true;
}

static void
push(struct search *h, const struct state *st)
{
    struct logstate s;

    replay(h, st, &s);
    if (is_new(h, key_of(st, &s))) {
        if (h->depth == h->cap) {
            h->cap = 2 * h->cap + 1024;
            h->stack = xrealloc(h->stack, h->cap, sizeof *h->stack);
        }
        h->stack[h->depth++] = *st;
        if (h->lost == NULL)
            h->lost = find_loss(h, st, &s);
    }
    logstate_fini(&s);
}

/* ---- the processes
 * -----------------------------------------------------------
 */

/* May a backup that needs this be committed? As commitlog_append_commit(). */
static bool
looks_good(const struct logstate *s, unsigned who)
{
    for (unsigned i = 0; i < SESSIONS; i++) {
        struct pack_id p = pack_of(i);
        bool needs =
            (others_of(who) & BIT(i)) != 0 || (i == B0 && chunks_of(who) != 0);

        if (!needs)
            continue;
        if (i == B0 && is_moved(s)) {
            if (who == DEDUP) /* named anew: it may be left behind */
                return false;
            continue;
        }
        if (packset_get(&s->condemned, &p) != 0)
            return false;
    }
    return true;
}

/* OPEN, store, look, COMMIT. */
static bool
step_writer(struct state *st, const struct logstate *s, unsigned i)
{
    unsigned who = CHILD + i;
    struct process *p = &st->p[i];
    struct entry open = { .type = COMMITLOG_OPEN, .who = who };
    struct entry commit = { .type = COMMITLOG_COMMIT,
                            .who = who,
                            .seq = p->seq };

    switch (p->pc) {
    case 0:
        p->pc = append(st, s, &open) ? 1 : DONE;
        return true;
    case 1:
        st->packs |= BIT(who);
        p->pc = 2;
        return true;
    case 2:
        p->seq = (unsigned)s->last_seq;
        p->pc = looks_good(s, who) ? 3 : DONE;
        return true;
    case 3:
        if (append(st, s, &commit))
            p->pc = DONE;
        else
            p->pc = s->shrink_seq > p->seq ? 2 : DONE;
        return true;
    default:
        return false;
    }
}

/* B0 is deleted, and taken back. */
static bool
step_user(const struct search *h, struct state *st, const struct logstate *s)
{
    struct process *p = &st->p[USER];
    struct entry x = { .type =
                           p->pc == 0 ? COMMITLOG_DELETE : COMMITLOG_UNDELETE };

    if (p->pc > (h->scenario->undeletes ? 1 : 0))
        return false;
    p->pc = append(st, s, &x) ? p->pc + 1 : DONE;
    return true;
}

static bool
step_reader(struct state *st, const struct logstate *s)
{
    struct process *p = &st->p[READER];
    struct entry x = { .type = COMMITLOG_PIN, .packs = p->pc == 0 };

    if (p->pc > 1)
        return false;
    p->pc = append(st, s, &x) ? p->pc + 1 : DONE;
    return true;
}

/* OPEN, choose and copy what present backups need of B0's pack, REDIRECT. */
static bool
step_compactor(struct state *st, const struct logstate *s)
{
    struct process *p = &st->p[COMPACTOR];
    struct entry open = { .type = COMMITLOG_OPEN, .who = MOVER };
    struct entry move = { .type = COMMITLOG_REDIRECT,
                          .who = MOVER,
                          .seq = p->seq };

    switch (p->pc) {
    case 0:
        p->pc = append(st, s, &open) ? 1 : DONE;
        return true;
    case 1:
        if ((st->packs & BIT(B0)) == 0) {
            p->pc = DONE;
            return true;
        }
        p->seq = (unsigned)s->last_seq;
        p->moved = 0;
        for (unsigned i = 0; i < SESSIONS; i++)
            if (is_backup(s, i))
                p->moved |= chunks_of(i);
        st->packs |= BIT(MOVER);
        p->pc = 2;
        return true;
    case 2:
        if (append(st, s, &move)) {
            st->moved = p->moved;
            p->pc = DONE;
        } else {
            p->pc = end_of(s, MOVER) == LOGSTATE_OPEN ? 1 : DONE;
        }
        return true;
    default:
        return false;
    }
}

/* What the collector sees, by the real gc_choose(). */
static void
look(const struct state *st, const struct logstate *s, struct process *p)
{
    struct repo_gc_result result = { 0 };
    struct pack_id exist[SESSIONS], next[SESSIONS];
    struct gc gc = { .result = &result,
                     .packs = exist,
                     .next = { .packs = next } };
    uint8_t id[16];

    id_of(B0, id);
    p->seq = (unsigned)s->last_seq;
    p->drops = logstate_find_deleted(s, id) < s->deleted_count &&
               !logstate_is_kept(s, id);
    p->packs = 0;
    for (unsigned i = 0; i < SESSIONS; i++) {
        struct pack_id own = pack_of(i), base = pack_of(B0);
        struct pack_id resumed = pack_of(RESUMABLE);

        if (st->packs & BIT(i))
            exist[gc.pack_count++] = own;
        if (!is_backup(s, i) || (i == B0 && p->drops))
            continue;
        packset_set(&gc.named, &own, 1);
        if (chunks_of(i) != 0)
            packset_set(&gc.named, &base, 1);
        if (i == RESUMER)
            packset_set(&gc.named, &resumed, 1);
    }
    gc_choose(&gc, s);
    for (size_t i = 0; i < gc.next.pack_count; i++)
        p->packs |= BIT(next[i].session[0] - 0x10);
    packset_fini(&gc.named);
}

/* Look, CONDEMN, remove one after the other. */
static bool
step_collector(struct state *st, const struct logstate *s, unsigned i)
{
    struct process *p = &st->p[i];
    struct entry x = { .type = COMMITLOG_CONDEMN,
                       .seq = p->seq,
                       .packs = p->packs,
                       .drops = p->drops };

    switch (p->pc) {
    case 0:
        look(st, s, p);
        p->pc = p->packs != 0 || p->drops ? 1 : 2;
        return true;
    case 1:
        p->pc = append(st, s, &x) ? 2 : 0;
        return true;
    case 2:
        for (unsigned k = 0; k < SESSIONS; k++) {
            struct pack_id pack = pack_of(k);

            if ((st->packs & BIT(k)) == 0 ||
                packset_get(&s->condemned, &pack) == 0)
                continue;
            st->packs &= ~BIT(k);
            return true;
        }
        p->pc = DONE;
        return true;
    default:
        return false;
    }
}

/* Somebody believes it dead. */
static bool
step_kill(struct state *st, const struct logstate *s, unsigned who)
{
    struct entry x = { .type = COMMITLOG_KILL, .who = who };
    uint8_t id[16];

    id_of(who, id);
    if (logstate_session_of(s, id) == NULL || (st->killed & BIT(who)) != 0 ||
        !append(st, s, &x))
        return false;
    st->killed |= BIT(who);
    return true;
}

static bool
step(const struct search *h, struct state *st, const struct logstate *s,
     unsigned i)
{
    if ((h->scenario->runs & BIT(i)) == 0)
        return false;
    if (i < WRITERS)
        return step_writer(st, s, i);
    if (i == USER)
        return step_user(h, st, s);
    if (i == READER)
        return step_reader(st, s);
    if (i == COMPACTOR)
        return step_compactor(st, s);
    return step_collector(st, s, i);
}

static void
expand(struct search *h, const struct state *st)
{
    struct logstate s;

    replay(h, st, &s);
    for (unsigned i = 0; i < PROCESSES + SESSIONS; i++) {
        struct state next = *st;
        unsigned who = i - PROCESSES;
        bool moves = i < PROCESSES ? step(h, &next, &s, i)
                     : (h->scenario->kills & BIT(who)) != 0
                         ? step_kill(&next, &s, who)
                         : false;

        if (moves)
            push(h, &next);
    }
    logstate_fini(&s);
}

/* What is lost, with that rule left out. */
static const char *
explore(const struct scenario *scenario, unsigned without, size_t *ret_states)
{
    struct search h = { .scenario = scenario, .without = without };
    struct state begin = {
        .log = { { .type = COMMITLOG_OPEN, .who = B0 },
                 { .type = COMMITLOG_COMMIT, .who = B0, .seq = 1 },
                 { .type = COMMITLOG_OPEN, .who = RESUMABLE },
                 { .type = COMMITLOG_ABORT, .who = RESUMABLE } },
        .length = 4,
        .packs = BIT(B0) | BIT(RESUMABLE),
    };

    h.seen = xcalloc(MAX_SEEN, sizeof *h.seen);
    push(&h, &begin);
    while (h.depth > 0 && h.lost == NULL) {
        struct state st = h.stack[--h.depth];

        expand(&h, &st);
    }
    *ret_states = h.seen_count;
    free(h.stack);
    free(h.seen);
    return h.lost;
}

static bool takes_all;

static void
nothing_is_lost_in_any_order(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++) {
        const char *lost;
        size_t states;

        if (scenarios[i].is_long && !takes_all)
            continue;
        lost = explore(&scenarios[i], 0, &states);
        printf("# %s: %zu states\n", scenarios[i].name, states);
        if (lost != NULL)
            printf("# %s\n", lost);
        CHECK(lost == NULL);
        CHECK(states > 500);
    }
}

static void
every_rule_is_needed(void)
{
    static const struct {
        enum logstate_rule rule;
        const char *name;
    } rules[] = {
        { LOGSTATE_RULE_ENDED, "a killed session never commits" },
        { LOGSTATE_RULE_CHECKED, "a COMMIT has seen every CONDEMN" },
        { LOGSTATE_RULE_GROWN, "a CONDEMN has seen every COMMIT" },
        { LOGSTATE_RULE_PROTECTED, "open sessions keep their packs" },
        { LOGSTATE_RULE_RESUMED, "and those of what they resume" },
        { LOGSTATE_RULE_PARENT, "and their parent" },
        { LOGSTATE_RULE_PINNED, "a pinned backup stays" },
        { LOGSTATE_RULE_DROPPED, "only deleted backups are dropped" },
        { LOGSTATE_RULE_VOID, "nobody begins on what is gone" },
        { LOGSTATE_RULE_COVERED, "a REDIRECT has seen every COMMIT" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        const char *lost = NULL;
        size_t states = 0;

        for (size_t k = 0; k < ARRAY_SIZE(scenarios) && lost == NULL; k++)
            if (!scenarios[k].is_long)
                lost = explore(&scenarios[k], rules[i].rule, &states);
        printf("# without \"%s\": %s (%zu states)\n", rules[i].name,
               lost != NULL ? lost : "nothing is lost", states);
        CHECK(lost != NULL);
    }
}

int
main(int argc, char **argv)
{
    static const struct test_case tests[] = {
        { "nothing is lost in any order", nothing_is_lost_in_any_order },
        { "every rule is needed", every_rule_is_needed },
    };

    takes_all = argc > 1;
    return test_main(tests, ARRAY_SIZE(tests));
}
