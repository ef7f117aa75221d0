/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/verify.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "codec/keys-slot.h"
#include "repo/packset.h"
#include "repo/parity.h"
#include "repo/repo-id.h"

#define WORKERS_MAX 8 /* with a window of 16 MiB each */

static void lock(struct verify *v) ACQUIRE(verify_lock);
static void unlock(struct verify *v) RELEASE(verify_lock);

static void NO_TSA
lock(struct verify *v)
{
    pthread_mutex_lock(&v->mutex);
}

static void NO_TSA
unlock(struct verify *v)
{
    pthread_mutex_unlock(&v->mutex);
}

void
verify_damage(struct verify *v, const char *object, const char *cause)
{
    /* The object is named already where the cause begins with it. */
    size_t n = strlen(object);

    if (strncmp(cause, object, n) == 0 && strncmp(cause + n, ": ", 2) == 0)
        cause += n + 2;
    lock(v);
    v->damages++;
    if (v->sink->damage != NULL)
        v->sink->damage(v->sink->arg, object, cause);
    unlock(v);
}

static void
note_bad(struct verify *v, const struct verify_bad *bad, const char *cause)
{
    char name[PACK_NAME_SIZE];

    lock(v);
    if ((v->bad_count & (v->bad_count - 1)) == 0)
        v->bad = xrealloc(v->bad, v->bad_count == 0 ? 1 : 2 * v->bad_count,
                          sizeof *v->bad);
    v->bad[v->bad_count++] = *bad;
    unlock(v);
    pack_name(&bad->pack, name);
    verify_damage(v, name, cause);
}

void
verify_damage_part(struct verify *v, const struct pack_id *pack, uint64_t from8,
                   uint64_t to8, const char *cause)
{
    struct verify_bad bad = { .pack = *pack, .from8 = from8, .to8 = to8 };

    note_bad(v, &bad, cause);
}

void
verify_damage_pack(struct verify *v, const struct pack_id *pack,
                   const char *cause)
{
    struct verify_bad bad = { .pack = *pack,
                              .to8 = UINT64_MAX,
                              .is_unsure = true };

    note_bad(v, &bad, cause);
}

static void
note_done(struct verify *v, uint64_t bytes)
{
    lock(v);
    v->done += bytes;
    if (v->sink->progress != NULL)
        v->sink->progress(v->sink->arg, v->done, v->all);
    unlock(v);
}

int
verify_read_done(struct verify *v, uint64_t bytes, struct err *err)
{
    note_done(v, bytes);
    return v->pace == NULL ? 0 : v->pace(v->hook_arg, bytes, err);
}

void
verify_bad_frame(struct verify *v, const struct pack_id *pack, uint32_t off8,
                 const uint8_t id[HASH_SIZE])
{
    struct badset_frame f = { .kind = pack->kind, .n = pack->n, .off8 = off8 };

    if (v->bad_frame == NULL)
        return;
    memcpy(f.session, pack->session, 16);
    memcpy(f.id, id, HASH_SIZE);
    v->bad_frame(v->hook_arg, &f);
}

void
verify_forget(struct verify *v, const struct pack_id *pack)
{
    size_t n = 0;

    lock(v);
    for (size_t i = 0; i < v->bad_count; i++)
        if (packset_compare(&v->bad[i].pack, pack) != 0)
            v->bad[n++] = v->bad[i];
    v->bad_count = n;
    unlock(v);
}

enum verify_state
verify_state_of(struct verify *v, const struct pack_id *pack, uint64_t from8,
                uint64_t to8)
{
    enum verify_state state = VERIFY_GOOD;

    lock(v);
    for (size_t i = 0; i < v->bad_count && state != VERIFY_BAD; i++) {
        const struct verify_bad *b = &v->bad[i];

        if (packset_compare(&b->pack, pack) == 0 && from8 < b->to8 &&
            b->from8 < to8)
            state = b->is_unsure ? VERIFY_UNSURE : VERIFY_BAD;
    }
    unlock(v);
    return state;
}

bool
verify_is_repairable(struct verify *v, const struct pack_id *pack)
{
    bool is;

    lock(v);
    is = packset_get(&v->repairable, pack) == 2;
    unlock(v);
    return is;
}

/* Of the damaged packs; one after the other, for each takes 64 MiB. */
static void NO_TSA
find_repairable(struct verify *v)
{
    for (size_t i = 0; i < v->bad_count; i++) {
        CLEANUP(mem_free) uint8_t *made = NULL;
        const struct pack_id *id = &v->bad[i].pack;
        struct parity_repair ignored;
        char name[PACK_NAME_SIZE];
        size_t len = 0;
        struct err err;

        if (packset_get(&v->repairable, id) != 0)
            continue;
        if (parity_rebuild(v->repo->blob, id, &made, &len, &ignored, &err) <
            0) {
            packset_set(&v->repairable, id, 1);
            continue;
        }
        packset_set(&v->repairable, id, 2);
        pack_name(id, name);
        if (v->sink->repairable != NULL)
            v->sink->repairable(v->sink->arg, name);
    }
}

/* ---- the small objects ---- */

static int
check_log(struct verify *v, struct err *err)
{
    CLEANUP(mem_free) struct commitlog_backup *b = NULL;
    CLEANUP(mem_free) struct commitlog_damage *d = NULL;
    size_t n = 0, damage = 0;

    if (commitlog_list(v->repo->log, &b, &n, &damage, err) < 0 ||
        redirect_update(v->repo->moves, false, err) < 0)
        return -1;
    n = commitlog_damages(v->repo->log, &d);
    for (size_t i = 0; i < n; i++) {
        char name[32];

        commitlog_name(d[i].seq, name);
        verify_damage(v, name, d[i].cause);
    }
    note_done(v, commitlog_bytes(v->repo->log));
    return 0;
}

/* Structure and checksum; that a slot opens is known to who has its key. */
static int
check_slots(struct verify *v, struct err *err)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };

    if (blob_list(v->repo->blob, "keys/", &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n.count; i++) {
        uint8_t bytes[KEYS_SLOT_MAX + 1], uuid[16];
        struct keys_slot slot;
        size_t len = 0;
        struct err cause;

        if (!repo_id_parse(n.names[i] + strlen("keys/"), uuid))
            continue;
        if (blob_get(v->repo->blob, n.names[i], 0, bytes, sizeof bytes, &len,
                     err) < 0) {
            if (!blob_is_lost(err))
                return -1;
            if (err->code != ERR_NOT_FOUND) /* it was taken away meanwhile */
                verify_damage(v, n.names[i], err->msg);
            continue;
        }
        if (keys_slot_decode(bytes, len, v->repo->uuid, v->repo->cipher, &slot,
                             &cause) < 0)
            verify_damage(v, n.names[i], cause.msg);
        else if (slot.kind != KEYS_SLOT_GRANT &&
                 memcmp(slot.uuid, uuid, sizeof uuid) != 0)
            verify_damage(v, n.names[i], "is another slot");
        note_done(v, len);
    }
    return 0;
}

/* ---- the packs ---- */

struct pack_list {
    struct verify *v;
    struct pack_id *packs;
    size_t count;
    atomic_size_t next;
    atomic_bool has_failed;
    pthread_mutex_t mutex; /* of err */
    struct err err;
};

/* Packs of sessions that committed, or were resumed, and that were not
 * rewritten since; of all when the log is damaged, because it may be a COMMIT
 * that is missing. */
static int
list_packs(struct verify *v, const char *prefix, struct pack_list *l,
           struct err *err)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    CLEANUP(mem_free) struct commitlog_damage *d = NULL;
    bool takes_all = commitlog_damages(v->repo->log, &d) > 0;

    if (blob_list(v->repo->blob, prefix, &n, err) < 0)
        return -1;
    l->packs = xrealloc(l->packs, l->count + n.count + 1, sizeof *l->packs);
    for (size_t i = 0; i < n.count; i++) {
        struct pack_id id;
        uint64_t size = 0;

        if (!pack_name_parse(n.names[i], &id))
            continue;
        if (!takes_all && (!commitlog_is_used(v->repo->log, id.session) ||
                           redirect_is_source(v->repo->moves, &id) ||
                           commitlog_is_condemned(v->repo->log, &id)))
            continue;
        if (blob_size(v->repo->blob, n.names[i], &size, err) < 0 &&
            !blob_is_lost(err)) /* verify_pack() says what to think */
            return -1;
        v->all += size;
        l->packs[l->count++] = id;
    }
    return 0;
}

static void *
pack_worker(void *arg)
{
    struct pack_list *l = arg;
    struct frame_ctx *ctx = repo_private_ctx_take(l->v->repo);
    CLEANUP(mem_free) uint8_t *window = xcalloc(1, VERIFY_WINDOW);
    size_t i;

    while ((i = atomic_fetch_add(&l->next, 1)) < l->count &&
           !atomic_load(&l->has_failed)) {
        struct err err = { 0 };

        if (verify_pack(l->v, ctx, window, &l->packs[i], &err) == 0)
            continue;
        pthread_mutex_lock(&l->mutex);
        if (!atomic_exchange(&l->has_failed, true))
            l->err = err;
        pthread_mutex_unlock(&l->mutex);
    }
    repo_private_ctx_put(l->v->repo, ctx);
    return NULL;
}

static int
check_packs(struct verify *v, unsigned wanted, struct err *err)
{
    struct pack_list l = { .v = v };
    pthread_t threads[WORKERS_MAX];
    unsigned n = repo_private_threads(wanted);
    int rc;

    n = n < WORKERS_MAX ? n : WORKERS_MAX;
    pthread_mutex_init(&l.mutex, NULL);
    rc = list_packs(v, "p/", &l, err);
    if (rc == 0)
        rc = list_packs(v, "m/", &l, err);
    if (rc == 0) {
        for (unsigned i = 0; i < n; i++)
            if (pthread_create(&threads[i], NULL, pack_worker, &l) != 0)
                abort();
        for (unsigned i = 0; i < n; i++)
            pthread_join(threads[i], NULL);
        if (atomic_load(&l.has_failed)) {
            *err = l.err;
            rc = -1;
        }
    }
    if (rc == 0)
        find_repairable(v);
    if (rc == 0 && v->level == REPO_VERIFY_FRAMES) /* else the walk tells */
        rc = verify_missing(v, l.packs, l.count, err);
    pthread_mutex_destroy(&l.mutex);
    free(l.packs);
    return rc;
}

static uint64_t
damages(struct verify *v)
{
    uint64_t n;

    lock(v);
    n = v->damages;
    unlock(v);
    return n;
}

static int
run(struct verify *v, unsigned threads, struct err *err)
{
    if (check_slots(v, err) < 0 || check_log(v, err) < 0 ||
        check_packs(v, threads, err) < 0)
        return -1;
    if (v->level < REPO_VERIFY_TREES &&
        (damages(v) == 0 || !v->repo->info.is_unlocked))
        return 0;
    return verify_walk(v, err);
}

int NO_TSA
repo_verify(struct repo *repo, enum repo_verify_level level, unsigned threads,
            const struct repo_verify_sink *sink, uint64_t *ret_damages,
            struct err *err)
{
    struct verify v = { .repo = repo, .level = level, .sink = sink };
    int rc;

    if (level > REPO_VERIFY_STRIPES && repo_private_need_read(repo, err) < 0)
        return -1;
    pthread_mutex_init(&v.mutex, NULL);
    rc = run(&v, threads, err);
    *ret_damages = v.damages;
    free(v.bad);
    packset_fini(&v.repairable);
    pthread_mutex_destroy(&v.mutex);
    return rc;
}
