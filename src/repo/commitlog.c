/* SPDX-License-Identifier: Apache-2.0 */
/* The log as far as it was read. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/uuid.h"
#include "repo/commitlog-private.h"
#include "repo/repo-id.h"

#define MISSING_MAX 50000 /* this many, and half of the log, may be lost */

void NO_TSA
commitlog_lock_take(struct commitlog *l)
{
    pthread_mutex_lock(&l->mutex);
}

void NO_TSA
commitlog_lock_drop(struct commitlog *l)
{
    pthread_mutex_unlock(&l->mutex);
}

struct commitlog *NO_TSA
commitlog_new(struct blob *blob, const uint8_t *repo_uuid,
              const struct keys *keys)
{
    struct commitlog *l = xcalloc(1, sizeof *l);

    l->blob = blob;
    l->repo_uuid = repo_uuid;
    l->keys = keys;
    l->next_seq = 1;
    l->has_head = true; /* entry 1 follows zeros */
    l->scratch = xcalloc(1, COMMITLOG_SIZE_MAX + 1);
    pthread_mutex_init(&l->mutex, NULL);
    return l;
}

void NO_TSA
commitlog_free(struct commitlog *l)
{
    if (l == NULL)
        return;
    logstate_fini(&l->state);
    free(l->scratch);
    pthread_mutex_destroy(&l->mutex);
    free(l);
}

void
commitlog_name(uint64_t seq, char out[32])
{
    (void)snprintf(out, 32, "log/%020llu", (unsigned long long)seq);
}

static int
take_entry_locked(struct commitlog *l, size_t len, struct err *err)
    REQUIRES(commitlog_lock)
{
    struct commitlog_entry e;

    if (commitlog_decode(l->scratch, len, l->repo_uuid, l->keys, &e, err) < 0)
        return -1;
    if (commitlog_needs_sign(e.type) && !e.is_signed)
        return err_set(err, ERR_CORRUPT,
                       "is not signed: written without the right to delete");
    if (e.seq != l->next_seq)
        return err_set(err, ERR_CORRUPT, "is entry %llu",
                       (unsigned long long)e.seq);
    if (l->has_head && memcmp(e.prev, l->head, HASH_SIZE) != 0)
        return err_set(
            err, ERR_CORRUPT,
            "does not follow the entry before it (the chain is broken)");
    return logstate_fold(&l->state, &e, err);
}

/* Read entry next_seq. `must_exist`: a later one exists, so this one does. */
static int
read_next_locked(struct commitlog *l, bool must_exist, bool *ret_found,
                 struct err *err) REQUIRES(commitlog_lock)
{
    char name[32];
    size_t len = 0;

    commitlog_name(l->next_seq, name);
    if (blob_get(l->blob, name, 0, l->scratch, COMMITLOG_SIZE_MAX + 1, &len,
                 err) < 0) {
        bool is_no_file = err->code == ERR_CORRUPT || err->code == ERR_INVALID;
        bool is_unread = err->sys_errno == EIO; /* a place of the disk */

        if (err->code != ERR_NOT_FOUND &&
            !(must_exist && (is_no_file || is_unread)))
            return -1;
        *ret_found = must_exist;
        if (must_exist) {
            logstate_note_damage(&l->state, l->next_seq,
                                 is_no_file || is_unread ? err->msg
                                                         : "is missing");
            l->has_head = false;
            l->is_blind = is_unread;
            l->next_seq++;
        }
        return 0;
    }
    *ret_found = true;
    if (take_entry_locked(l, len, err) < 0) {
        if (err->code == ERR_UNSUPPORTED)
            return -1;
        logstate_note_damage(&l->state, l->next_seq, err->msg);
    }
    hash_sha256(l->scratch, len, l->head);
    l->has_head = true;
    l->is_blind = false;
    l->bytes += len;
    l->next_seq++;
    return 0;
}

/* The highest number that exists, or 0. Each missing one is looked for and
 * noted: a name like log/00000000000099999999, which anybody who can write
 * there can make, must not keep us busy for ever. */
static int
find_highest_locked(struct commitlog *l, uint64_t *ret, struct err *err)
    REQUIRES(commitlog_lock)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    uint64_t present = 0;

    if (blob_list(l->blob, "log/", &n, err) < 0)
        return -1;
    *ret = 0;
    for (size_t i = 0; i < n.count; i++) {
        uint64_t seq = strtoull(n.names[i] + 4, NULL, 10);
        char name[32];

        commitlog_name(seq, name);
        if (strcmp(name, n.names[i]) != 0)
            continue;
        present++;
        if (seq > *ret)
            *ret = seq;
    }
    if (*ret / 2 > present + MISSING_MAX)
        return err_set(
            err, ERR_CORRUPT,
            "log/: there is an entry %llu, but only %llu entries in all: remove it if it is not the repository's",
            (unsigned long long)*ret, (unsigned long long)present);
    return 0;
}

/* Is the last entry that was read still there? Whoever puts yesterday's copy of
 * the repository in its place does that under our feet: what is in memory names
 * packs and backups that are not there, condemns packs that are needed again,
 * and the next entry would leave a gap. */
static int
check_head_locked(struct commitlog *l, bool *ret_went_back, struct err *err)
    REQUIRES(commitlog_lock)
{
    uint8_t hash[HASH_SIZE];
    char name[32];
    size_t len = 0;

    *ret_went_back = false;
    if (!l->is_loaded || !l->has_head || l->next_seq == 1)
        return 0;
    commitlog_name(l->next_seq - 1, name);
    if (blob_get(l->blob, name, 0, l->scratch, COMMITLOG_SIZE_MAX + 1, &len,
                 err) < 0) {
        *ret_went_back = err->code == ERR_NOT_FOUND;
        return *ret_went_back ? 0 : -1;
    }
    hash_sha256(l->scratch, len, hash);
    *ret_went_back = memcmp(hash, l->head, HASH_SIZE) != 0;
    return 0;
}

int
commitlog_went_back(struct commitlog *l, bool *ret, struct err *err)
{
    int rc;

    commitlog_lock_take(l);
    rc = check_head_locked(l, ret, err);
    commitlog_lock_drop(l);
    return rc;
}

int
commitlog_refresh_locked(struct commitlog *l, struct err *err)
{
    uint64_t highest = 0;
    bool found = true, went_back = false;

    if (!l->is_loaded && find_highest_locked(l, &highest, err) < 0)
        return -1;
    if (check_head_locked(l, &went_back, err) < 0)
        return -1;
    if (went_back)
        return err_set(
            err, ERR_UNAVAILABLE,
            "log/%020llu is gone, or another one, since it was read: was an older copy of the repository put in its place? It has to be opened anew",
            (unsigned long long)l->next_seq - 1);
    while (found) {
        struct err ignored;

        if (read_next_locked(l, l->next_seq <= highest, &found, &ignored) < 0) {
            *err = ignored;
            return -1;
        }
    }
    l->is_loaded = true;
    return 0;
}

int
commitlog_list(struct commitlog *l, struct commitlog_backup **ret,
               size_t *ret_count, size_t *ret_damage, struct err *err)
{
    int rc;

    commitlog_lock_take(l);
    rc = commitlog_refresh_locked(l, err);
    if (rc == 0) {
        *ret_count = l->state.backup_count;
        *ret_damage = l->state.damage_count;
        *ret = xcalloc(l->state.backup_count + 1, sizeof **ret);
        for (size_t i = 0; i < l->state.backup_count; i++)
            (*ret)[i] = l->state.backups[i];
    }
    commitlog_lock_drop(l);
    return rc;
}

int
commitlog_find(struct commitlog *l, const uint8_t id[16],
               struct commitlog_backup *ret, struct err *err)
{
    char text[UUID_STR_SIZE];
    int rc;

    commitlog_lock_take(l);
    rc = commitlog_refresh_locked(l, err);
    if (rc == 0) {
        size_t i = logstate_find(&l->state, id);

        repo_id_format(id, text);
        if (i < l->state.backup_count)
            *ret = l->state.backups[i];
        else
            rc = err_set(err, ERR_NOT_FOUND, "backup %s: no such backup", text);
    }
    commitlog_lock_drop(l);
    return rc;
}

int
commitlog_look(struct commitlog *l, bool reads_log, commitlog_look_fn look,
               void *arg, struct err *err)
{
    int rc = 0;

    commitlog_lock_take(l);
    if (reads_log)
        rc = commitlog_refresh_locked(l, err);
    if (rc == 0)
        rc = look(arg, &l->state, err);
    commitlog_lock_drop(l);
    return rc;
}

bool
commitlog_is_used(struct commitlog *l, const uint8_t session[16])
{
    bool is;

    commitlog_lock_take(l);
    is = logstate_is_used(&l->state, session);
    commitlog_lock_drop(l);
    return is;
}

bool
commitlog_has_ended(struct commitlog *l, const uint8_t session[16])
{
    bool has;

    commitlog_lock_take(l);
    has = logstate_end_of(&l->state, session) != LOGSTATE_OPEN;
    commitlog_lock_drop(l);
    return has;
}

bool
commitlog_is_discarded(struct commitlog *l, const uint8_t session[16])
{
    enum logstate_end end;

    commitlog_lock_take(l);
    end = logstate_end_of(&l->state, session);
    commitlog_lock_drop(l);
    return end == LOGSTATE_DISCARDED;
}

bool
commitlog_resumed(struct commitlog *l, const uint8_t session[16],
                  uint8_t ret[16])
{
    const struct logstate_session *x;
    bool is;

    commitlog_lock_take(l);
    x = logstate_session_of(&l->state, session);
    is = x != NULL && x->has_resumes;
    if (is)
        memcpy(ret, x->resumes, 16);
    commitlog_lock_drop(l);
    return is;
}

int NO_TSA
commitlog_state_take(struct commitlog *l, const struct logstate **ret,
                     struct err *err)
{
    commitlog_lock_take(l);
    if (commitlog_refresh_locked(l, err) < 0) {
        commitlog_lock_drop(l);
        return -1;
    }
    *ret = &l->state;
    return 0;
}

void NO_TSA
commitlog_state_give(struct commitlog *l)
{
    commitlog_lock_drop(l);
}

bool
commitlog_is_condemned(struct commitlog *l, const struct pack_id *pack)
{
    bool is;

    commitlog_lock_take(l);
    is = packset_get(&l->state.condemned, pack) != 0;
    commitlog_lock_drop(l);
    return is;
}

size_t
commitlog_damages(struct commitlog *l, struct commitlog_damage **ret)
{
    size_t n;

    commitlog_lock_take(l);
    n = l->state.damage_count;
    *ret = xcalloc(n + 1, sizeof **ret);
    if (n > 0)
        memcpy(*ret, l->state.damages, n * sizeof **ret);
    commitlog_lock_drop(l);
    return n;
}

uint64_t
commitlog_bytes(struct commitlog *l)
{
    uint64_t n;

    commitlog_lock_take(l);
    n = l->bytes;
    commitlog_lock_drop(l);
    return n;
}

int
commitlog_epoch(struct commitlog *l, struct commitlog_epoch *ret,
                struct err *err)
{
    int rc;

    commitlog_lock_take(l);
    rc = commitlog_refresh_locked(l, err);
    *ret = l->state.epoch;
    commitlog_lock_drop(l);
    return rc;
}

void
commitlog_set_epoch(struct commitlog *l, const struct commitlog_epoch *e)
{
    l->epoch = *e;
}
