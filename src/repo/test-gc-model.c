/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of the log, in every order in which things can happen: writers,
 * collectors, a compactor, a reader and somebody who deletes, each stopped (or
 * crashed) between any two of its steps. Every entry goes through
 * logstate_check() and logstate_fold(), what to condemn comes from gc_choose().
 * In every state nothing may be missing that somebody needs; with one rule left
 * out, something must be. test-gc-model [all [1]]: more of each, and with the 1
 * only the last scenario, which then takes long.
 *
 * A put whose answer is lost: who made it reads back, does not find it, and
 * goes on as after an error; the entry may still arrive, as long as nobody else
 * wrote that number, or never. `puts` of a scenario says how many answers are
 * lost, two of one process at most. States in which the same can happen from
 * now on are looked at once.
 */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "codec/le.h"
#include "repo/gc-private.h"
#include "repo/test-gc-log.h"
#include "test.h"

#define WRITERS 3 /* CHILD, DEDUP, RESUMER */

#define ENTRIES  24
#define DONE     90
#define DISCARDS 91
#define REMOVES  92
#define LATE     2
#define NEVER    99 /* a scenario of the slow suite only */
/* Besides logstate_rule: I3, which a collector keeps by itself; and that who
 * gives up removes his pack only when he knows that he did. */
#define WITHOUT_I3    BIT(31)
#define WITHOUT_KNOWN BIT(30)

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
    OWNER, /* of RESUMABLE: it was believed dead, and cleans up */
    COMPACTOR,
    COLLECTOR_1,
    COLLECTOR_2,
    HOLDER, /* puts B0 on hold */
    PROCESSES,
};

struct state {
    struct testing_entry log[ENTRIES];
    unsigned length;
    unsigned packs;  /* that exist: BIT(who) */
    unsigned killed; /* sessions that were killed before they committed */
    unsigned moved;  /* of the REDIRECT that counted, if there was one */
    unsigned puts;   /* whose answer may still be lost */
    struct process p[PROCESSES];
    /* Entries under way, and their number; 0: there is none. A process may go
     * on, and lose an answer again. */
    struct testing_entry late[PROCESSES][LATE];
    unsigned late_at[PROCESSES][LATE];
};

struct scenario {
    const char *name;
    unsigned runs; /* BIT(process) */
    bool undeletes;
    unsigned kills; /* BIT(who) */
    unsigned puts;  /* answers that are lost */
    unsigned more;  /* the same in the slow suite */
};

#define ALL                                                                    \
    (BIT(0) | BIT(1) | BIT(USER) | BIT(COMPACTOR) | BIT(COLLECTOR_1) |         \
     BIT(COLLECTOR_2))

static const struct scenario scenarios[] = {
    { "two writers, two collectors",
      BIT(0) | BIT(1) | BIT(USER) | BIT(COLLECTOR_1) | BIT(COLLECTOR_2), false,
      0, 0, 2 },
    { "a resumed session",
      BIT(1) | BIT(2) | BIT(OWNER) | BIT(COLLECTOR_1) | BIT(COLLECTOR_2), false,
      BIT(RESUMER), 0, 1 },
    { "undelete, a reader",
      BIT(0) | BIT(USER) | BIT(READER) | BIT(COLLECTOR_1) | BIT(COLLECTOR_2),
      true, BIT(CHILD), 0, 1 },
    { "a compactor",
      BIT(0) | BIT(1) | BIT(USER) | BIT(COMPACTOR) | BIT(COLLECTOR_1), false,
      BIT(MOVER), 0, 1 },
    { "a writer, a compactor, a collector",
      BIT(0) | BIT(COMPACTOR) | BIT(COLLECTOR_1), false, 0, 1, 2 },
    { "two writers, a collector",
      BIT(0) | BIT(2) | BIT(USER) | BIT(COLLECTOR_1), false, 0, 1, 2 },
    { "a compactor that is killed, two collectors",
      BIT(0) | BIT(COMPACTOR) | BIT(COLLECTOR_1) | BIT(COLLECTOR_2), false,
      BIT(MOVER) | BIT(CHILD), 0, 1 },
    { "a hold", BIT(0) | BIT(USER) | BIT(HOLDER) | BIT(COLLECTOR_1), true,
      BIT(CHILD), 1, 2 },
    { "two writers, a collector, two lost answers",
      BIT(0) | BIT(2) | BIT(COLLECTOR_1), false, 0, 2, 2 },
    { "a writer, two collectors, two lost answers",
      BIT(0) | BIT(USER) | BIT(COLLECTOR_1) | BIT(COLLECTOR_2), false, 0, 2,
      2 },
    { "two writers, two collectors, a compactor", ALL, false, 0, NEVER, 1 },
    { "the same, and one after the other is killed", ALL, false,
      BIT(CHILD) | BIT(DEDUP) | BIT(MOVER), NEVER, 0 },
};

/* What one search works with. */
struct search {
    const struct scenario *scenario;
    unsigned without; /* the rule that is left out */
    struct state *stack;
    size_t depth, cap;
    struct testing_seen seen;
    const char *lost; /* what was found, or NULL */
    bool loses;       /* the answer to the next put */
    unsigned process; /* whose step it is */
};

static void
replay(const struct search *h, const struct state *st, struct logstate *ret)
{
    struct err err;

    *ret = (struct logstate){ .without = h->without };
    for (unsigned i = 0; i < st->length; i++) {
        CLEANUP(buf_fini) struct buf body = BUF_INIT;
        struct commitlog_entry e = testing_entry_of(&st->log[i], i + 1, &body);

        CHECK_OK(logstate_fold(ret, &e, &err), &err);
    }
}

enum outcome {
    REFUSED,
    STANDS, /* in the log, and he knows */
    LOST,   /* he gets an error */
};

/* For one more entry under way; LATE: there is none. */
static unsigned
free_place(const struct state *st, unsigned process)
{
    unsigned at = 0;

    while (at < LATE && st->late_at[process][at] != 0)
        at++;
    return at;
}

static void
enter(struct state *st, const struct testing_entry *x)
{
    CHECK(st->length < ENTRIES);
    st->log[st->length++] = *x;
    if (x->type == COMMITLOG_REDIRECT)
        st->moved = x->packs;
}

/* Is the number there for the taking? Then it is. */
static enum outcome
append(struct search *h, struct state *st, const struct logstate *s,
       const struct testing_entry *x)
{
    CLEANUP(buf_fini) struct buf body = BUF_INIT;
    struct commitlog_entry e =
        testing_entry_of(x, (uint64_t)st->length + 1, &body);
    struct err err;

    if (logstate_check(s, &e, &err) < 0)
        return REFUSED;
    if (h->loses) {
        unsigned at = free_place(st, h->process);

        st->late[h->process][at] = *x;
        st->late_at[h->process][at] = st->length + 1;
        st->puts--;
        return LOST;
    }
    enter(st, x);
    return STANDS;
}

/* An entry that this one had under way arrives. */
static bool
arrive(struct state *st, unsigned process, unsigned at)
{
    const struct testing_entry *x = &st->late[process][at];

    if (st->late_at[process][at] != st->length + 1)
        return false;
    enter(st, x);
    st->late_at[process][at] = 0;
    return true;
}

/* ---- what is needed ---- */

static bool
has(const struct state *st, const struct logstate *s, unsigned who)
{
    unsigned chunks = testing_chunks_of(who);

    if ((testing_others_of(who) & ~st->packs) != 0)
        return false;
    if (st->packs & BIT(B0))
        return true;
    return chunks == 0 || ((chunks & ~st->moved) == 0 && testing_is_moved(s) &&
                           (st->packs & BIT(MOVER)) != 0);
}

/* What is missing that somebody needs; NULL: nothing. */
static const char *
find_loss(const struct search *h, const struct state *st,
          const struct logstate *s)
{
    static const unsigned writers[] = { CHILD, DEDUP, RESUMER };

    for (unsigned i = 0; i < SESSIONS; i++)
        if (i != RESUMABLE && i != MOVER && testing_is_backup(s, i) &&
            !has(st, s, i))
            return "a backup misses a pack";
    if (s->pin_count > 0 && !has(st, s, B0))
        return "a reader misses a pack";
    if (s->hold_count > 0 && !testing_is_backup_now(s, B0))
        return "a backup on hold was deleted";
    for (unsigned i = 0; i < WRITERS; i++) {
        unsigned who = writers[i], pc = st->p[i].pc;
        unsigned own = pc == 2 || pc == 3 ? BIT(who) : 0;
        const struct logstate_session *x;
        uint8_t id[16];

        testing_id_of(who, id);
        x = logstate_session_of(s, id);
        if ((st->killed & BIT(who)) != 0 && testing_is_backup(s, who))
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

/* ---- the search ---- */

/* What the rest depends on, in few bytes: no numbers of entries, but which of
 * them is behind which. */
static uint64_t
key_of(const struct state *st, const struct logstate *s)
{
    uint64_t k = 1469598103934665603u;
    uint8_t b[128];
    size_t n = 0;

    for (unsigned i = 0; i < SESSIONS; i++) {
        const struct logstate_session *x;
        struct pack_id p = testing_pack_of(i);
        uint8_t id[16];

        testing_id_of(i, id);
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
    b[n++] =
        (uint8_t)(s->pin_count + 2u * testing_is_moved(s) + 4u * s->hold_count);
    b[n++] = (uint8_t)st->packs;
    b[n++] = (uint8_t)st->killed;
    b[n++] = (uint8_t)st->moved;
    b[n++] = (uint8_t)st->puts;
    for (unsigned i = 0; i < PROCESSES; i++) {
        const struct process *p = &st->p[i];

        for (unsigned at = 0; at < LATE; at++) {
            const struct testing_entry *x = &st->late[i][at];

            if (st->late_at[i][at] == 0)
                continue;
            b[n++] = (uint8_t)(x->type + 16 * x->who);
            b[n++] = (uint8_t)(x->packs | (unsigned)x->drops << 7);
        }
        b[n++] = 0xff;
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

static void
push(struct search *h, struct state *st)
{
    struct logstate s;

    for (unsigned i = 0; i < PROCESSES; i++)
        for (unsigned k = 0; k < LATE; k++)
            if (st->late_at[i][k] <= st->length) /* somebody was faster */
                st->late_at[i][k] = 0;
    replay(h, st, &s);
    if (testing_seen_add(&h->seen, key_of(st, &s))) {
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

/* ---- the processes ---- */

/* May a backup that needs this be committed? As commitlog_append_commit(). */
static bool
looks_good(const struct logstate *s, unsigned who)
{
    for (unsigned i = 0; i < SESSIONS; i++) {
        struct pack_id p = testing_pack_of(i);
        bool needs = (testing_others_of(who) & BIT(i)) != 0 ||
                     (i == B0 && testing_chunks_of(who) != 0);

        if (!needs)
            continue;
        if (i == B0 && testing_is_moved(s)) {
            if (who == DEDUP) /* named anew: it may be left behind */
                return false;
            continue;
        }
        if (packset_get(&s->condemned, &p) != 0)
            return false;
    }
    return true;
}

/* Gives up: ends the session, and if the log takes that, removes its pack. */
static bool
step_discard(struct search *h, struct state *st, const struct logstate *s,
             unsigned who, struct process *p)
{
    struct testing_entry end = { .type = COMMITLOG_ABORT,
                                 .who = who,
                                 .packs = 1 };

    if (p->pc == DISCARDS) {
        enum outcome got = append(h, st, s, &end);
        bool is_sure = (h->without & WITHOUT_KNOWN) == 0;

        p->pc = got == STANDS || (got == LOST && !is_sure) ? REMOVES : DONE;
        return true;
    }
    if (p->pc != REMOVES)
        return false;
    st->packs &= ~BIT(who);
    p->pc = DONE;
    return true;
}

/* OPEN, store, look, COMMIT. */
static bool
step_writer(struct search *h, struct state *st, const struct logstate *s,
            unsigned i)
{
    unsigned who = CHILD + i;
    struct process *p = &st->p[i];
    struct testing_entry open = { .type = COMMITLOG_OPEN, .who = who };
    struct testing_entry commit = { .type = COMMITLOG_COMMIT,
                                    .who = who,
                                    .seq = p->seq };
    enum outcome got;

    switch (p->pc) {
    case 0:
        p->pc = append(h, st, s, &open) == STANDS ? 1 : DONE;
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
        got = append(h, st, s, &commit);
        if (got == REFUSED)
            p->pc = s->shrink_seq > p->seq ? 2 : DONE;
        else
            p->pc = got == STANDS ? DONE : DISCARDS;
        return true;
    default:
        return step_discard(h, st, s, who, p);
    }
}

/* Once; it has to be there. */
static bool
step_holder(struct search *h, struct state *st, const struct logstate *s)
{
    struct process *p = &st->p[HOLDER];
    struct testing_entry x = { .type = COMMITLOG_HOLD };

    if (p->pc != 0)
        return false;
    (void)append(h, st, s, &x);
    p->pc = DONE;
    return true;
}

/* B0 is deleted, and taken back. */
static bool
step_user(struct search *h, struct state *st, const struct logstate *s)
{
    struct process *p = &st->p[USER];
    struct testing_entry x = { .type = p->pc == 0 ? COMMITLOG_DELETE
                                                  : COMMITLOG_UNDELETE };

    if (p->pc > (h->scenario->undeletes ? 1 : 0))
        return false;
    p->pc = append(h, st, s, &x) == REFUSED ? DONE : p->pc + 1;
    return true;
}

static bool
step_reader(struct search *h, struct state *st, const struct logstate *s)
{
    struct process *p = &st->p[READER];
    struct testing_entry x = { .type = COMMITLOG_PIN, .packs = p->pc == 0 };

    if (p->pc > 1)
        return false;
    p->pc = append(h, st, s, &x) == STANDS ? p->pc + 1 : DONE;
    return true;
}

/* Its session was aborted by somebody who may want to resume it. */
static bool
step_owner(struct search *h, struct state *st, const struct logstate *s)
{
    struct process *p = &st->p[OWNER];

    if (p->pc == 0)
        p->pc = DISCARDS;
    return step_discard(h, st, s, RESUMABLE, p);
}

/* OPEN, choose and copy what present backups need of B0's pack, REDIRECT. */
static bool
step_compactor(struct search *h, struct state *st, const struct logstate *s)
{
    struct process *p = &st->p[COMPACTOR];
    struct testing_entry open = { .type = COMMITLOG_OPEN, .who = MOVER };
    struct testing_entry move = { .type = COMMITLOG_REDIRECT,
                                  .who = MOVER,
                                  .seq = p->seq,
                                  .packs = p->moved };
    enum outcome got;

    switch (p->pc) {
    case 0:
        p->pc = append(h, st, s, &open) == STANDS ? 1 : DONE;
        return true;
    case 1:
        if ((st->packs & BIT(B0)) == 0) {
            p->pc = DONE;
            return true;
        }
        p->seq = (unsigned)s->last_seq;
        p->moved = 0;
        for (unsigned i = 0; i < SESSIONS; i++)
            if (testing_is_backup(s, i))
                p->moved |= testing_chunks_of(i);
        st->packs |= BIT(MOVER);
        p->pc = 2;
        return true;
    case 2:
        got = append(h, st, s, &move);
        if (got == REFUSED)
            p->pc = testing_end_of(s, MOVER) == LOGSTATE_OPEN ? 1 : DONE;
        else
            p->pc = got == STANDS ? DONE : DISCARDS;
        return true;
    default:
        return step_discard(h, st, s, MOVER, p);
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

    testing_id_of(B0, id);
    p->seq = (unsigned)s->last_seq;
    p->drops = logstate_find_deleted(s, id) < s->deleted_count &&
               !logstate_is_kept(s, id);
    p->packs = 0;
    for (unsigned i = 0; i < SESSIONS; i++) {
        struct pack_id own = testing_pack_of(i), base = testing_pack_of(B0);
        struct pack_id resumed = testing_pack_of(RESUMABLE);

        if (st->packs & BIT(i))
            exist[gc.pack_count++] = own;
        if (!testing_is_backup(s, i) || (i == B0 && p->drops))
            continue;
        packset_set(&gc.named, &own, 1);
        if (testing_chunks_of(i) != 0)
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
step_collector(struct search *h, struct state *st, const struct logstate *s,
               unsigned i)
{
    struct process *p = &st->p[i];
    bool has_no_i3 = (h->without & WITHOUT_I3) != 0;
    struct testing_entry x = { .type = COMMITLOG_CONDEMN,
                               .seq = p->seq,
                               .packs = p->packs,
                               .drops = p->drops };

    switch (p->pc) {
    case 0:
        look(st, s, p);
        p->pc = p->packs != 0 || p->drops ? 1 : 2;
        return true;
    case 1:
        p->pc = append(h, st, s, &x) == STANDS || has_no_i3 ? 2 : 0;
        return true;
    case 2:
        for (unsigned k = 0; k < SESSIONS; k++) {
            struct pack_id pack = testing_pack_of(k);
            bool may_go = packset_get(&s->condemned, &pack) != 0 ||
                          (has_no_i3 && (p->packs & BIT(k)) != 0);

            if ((st->packs & BIT(k)) == 0 || !may_go)
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
step_kill(struct search *h, struct state *st, const struct logstate *s,
          unsigned who)
{
    struct testing_entry x = { .type = COMMITLOG_KILL, .who = who };
    uint8_t id[16];

    testing_id_of(who, id);
    if (logstate_session_of(s, id) == NULL || (st->killed & BIT(who)) != 0 ||
        append(h, st, s, &x) != STANDS)
        return false;
    st->killed |= BIT(who);
    return true;
}

static bool
step(struct search *h, struct state *st, const struct logstate *s, unsigned i)
{
    if ((h->scenario->runs & BIT(i)) == 0)
        return false;
    if (i < WRITERS)
        return step_writer(h, st, s, i);
    if (i == USER)
        return step_user(h, st, s);
    if (i == READER)
        return step_reader(h, st, s);
    if (i == OWNER)
        return step_owner(h, st, s);
    if (i == HOLDER)
        return step_holder(h, st, s);
    if (i == COMPACTOR)
        return step_compactor(h, st, s);
    return step_collector(h, st, s, i);
}

static void
expand_process(struct search *h, const struct state *st,
               const struct logstate *s, unsigned i)
{
    struct state next = *st;

    h->process = i;
    if (step(h, &next, s, i))
        push(h, &next);
    for (unsigned k = 0; k < LATE; k++) {
        next = *st;
        if (arrive(&next, i, k))
            push(h, &next);
    }
    next = *st;
    h->loses = st->puts > 0 && free_place(st, i) < LATE;
    if (h->loses && step(h, &next, s, i) && next.puts < st->puts)
        push(h, &next);
    h->loses = false;
}

static void
expand(struct search *h, const struct state *st)
{
    struct logstate s;

    replay(h, st, &s);
    for (unsigned i = 0; i < PROCESSES; i++)
        expand_process(h, st, &s, i);
    for (unsigned who = 0; who < SESSIONS; who++) {
        struct state next = *st;

        if ((h->scenario->kills & BIT(who)) != 0 &&
            step_kill(h, &next, &s, who))
            push(h, &next);
    }
    logstate_fini(&s);
}

/* What is lost, with that rule left out. */
static const char *
explore(const struct scenario *scenario, unsigned puts, unsigned without,
        size_t *ret_states)
{
    struct search h = { .scenario = scenario, .without = without };
    struct state begin = {
        .log = { { .type = COMMITLOG_OPEN, .who = B0 },
                 { .type = COMMITLOG_COMMIT, .who = B0, .seq = 1 },
                 { .type = COMMITLOG_OPEN, .who = RESUMABLE },
                 { .type = COMMITLOG_ABORT, .who = RESUMABLE } },
        .length = 4,
        .packs = BIT(B0) | BIT(RESUMABLE),
        .puts = puts,
    };

    push(&h, &begin);
    while (h.depth > 0 && h.lost == NULL) {
        struct state st = h.stack[--h.depth];

        expand(&h, &st);
    }
    *ret_states = h.seen.count;
    free(h.stack);
    free(h.seen.keys);
    return h.lost;
}

static bool takes_all;
static unsigned answers; /* more than a scenario says */
static size_t first;     /* scenario */

static void
nothing_is_lost_in_any_order(void)
{
    for (size_t i = first; i < ARRAY_SIZE(scenarios); i++) {
        unsigned puts =
            takes_all ? scenarios[i].more + answers : scenarios[i].puts;
        const char *lost;
        size_t states;

        if (puts == NEVER)
            continue;
        lost = explore(&scenarios[i], puts, 0, &states);
        printf("# %s, %u answers lost: %zu states\n", scenarios[i].name, puts,
               states);
        (void)fflush(stdout);
        if (lost != NULL)
            printf("# %s\n", lost);
        CHECK(lost == NULL);
        CHECK(states > 500);
    }
}

/* The COMMIT got no answer, nor the ABORT behind it: the COMMIT may still come,
 * in the place of the ABORT. */
static void
some_rule_is_needed_for_a_second_lost_answer(void)
{
    const struct scenario *two = NULL;
    size_t states;

    for (size_t i = 0; i < ARRAY_SIZE(scenarios) && two == NULL; i++)
        if (scenarios[i].puts == 2)
            two = &scenarios[i];
    CHECK(two != NULL && two->runs != 0);
    CHECK(explore(two, 1, WITHOUT_KNOWN, &states) == NULL);
    CHECK(explore(two, 2, WITHOUT_KNOWN, &states) != NULL);
}

static void
every_rule_is_needed(void)
{
    static const struct {
        unsigned rule;
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
        { LOGSTATE_RULE_DISCARD, "who has committed removes no packs" },
        { LOGSTATE_RULE_TAKEN, "nor he whose session another one ended" },
        { LOGSTATE_RULE_MOVER, "a killed compactor moves nothing" },
        { LOGSTATE_RULE_HELD, "what is on hold is not deleted" },
        { WITHOUT_I3, "only what a CONDEMN names is removed" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        const char *lost = NULL;
        size_t states = 0;

        for (size_t k = 0; k < ARRAY_SIZE(scenarios) && lost == NULL; k++)
            if (scenarios[k].puts != NEVER)
                lost = explore(&scenarios[k], scenarios[k].puts, rules[i].rule,
                               &states);
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
        { "some rule is needed for a second lost answer",
          some_rule_is_needed_for_a_second_lost_answer },
        { "every rule is needed", every_rule_is_needed },
    };

    takes_all = argc > 1;
    if (argc > 2)
        answers = (unsigned)strtoul(argv[2], NULL, 10);
    if (answers > 0)
        first = ARRAY_SIZE(scenarios) - 1;
    /* The last one: the same code as the first one's, less the rule. */
    return test_main(tests, ARRAY_SIZE(tests) - TEST_LOOKS_AT_ADDRESSES);
}
