/* SPDX-License-Identifier: Apache-2.0 */
/* A secret opens one slot. A rotation leaves a grant for it, with the keys of
 * all epochs up to a new one; which of several grants counts is said by the
 * last KEY of the log. A rotation that crashed left grants that no KEY names.
 */
#include "repo/repo-unlock.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "repo/repo-id.h"

int
repo_unlock_read_file(const char *path, struct keys_secret *ret,
                      struct err *err)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    int rc;

    if (file_read_all(path, 4096, &text, err) < 0)
        return err_wrap(err, "key file");
    rc = keys_text_parse(buf_str(&text), text.len, ret, err);
    if (text.len > 0)
        mem_wipe(text.data, text.len);
    return rc < 0 ? err_wrap(err, "key file %s", path) : 0;
}

/* ---- the slots ---- */

void
repo_unlock_slots_free(struct repo_unlock_slot **slots, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(slots[i]);
    free(slots);
}

/* NULL with no error: not one that can be used. */
static int
load_slot(struct repo *repo, const char *name, struct repo_unlock_slot **ret,
          struct err *err)
{
    CLEANUP(mem_free) struct repo_unlock_slot *s = NULL;
    uint8_t uuid[16];
    size_t len = 0;
    struct err ignored;

    *ret = NULL;
    if (!repo_id_parse(name + strlen("keys/"), uuid))
        return 0;
    s = xcalloc(1, sizeof *s);
    (void)snprintf(s->name, sizeof s->name, "%s", name);
    if (blob_get(repo->blob, name, 0, s->bytes, sizeof s->bytes, &len, err) < 0)
        return blob_is_lost(err) ? 0 : -1;
    if (keys_slot_decode(s->bytes, len, repo->uuid, repo->cipher, &s->slot,
                         &ignored) < 0)
        return 0;
    /* A slot stands under its own name; a grant under any. */
    if (s->slot.kind != KEYS_SLOT_GRANT &&
        memcmp(s->slot.uuid, uuid, sizeof uuid) != 0)
        return 0;
    *ret = TAKE(s);
    return 0;
}

int
repo_unlock_slots(struct repo *repo, struct repo_unlock_slot ***ret,
                  size_t *ret_count, struct err *err)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    struct repo_unlock_slot **slots;
    size_t count = 0;

    if (blob_list(repo->blob, "keys/", &n, err) < 0)
        return -1;
    slots = xcalloc(n.count + 1, sizeof *slots);
    for (size_t i = 0; i < n.count; i++) {
        if (load_slot(repo, n.names[i], &slots[count], err) < 0) {
            repo_unlock_slots_free(slots, count);
            return -1;
        }
        count += slots[count] != NULL;
    }
    *ret = slots;
    *ret_count = count;
    return 0;
}

/* ---- what a secret opens ---- */

struct unlock {
    struct repo *repo;
    struct repo_unlock_slot **slots;
    size_t count;
    uint8_t box[KEYS_SIZE]; /* opens the grants of our slot */
};

static const char *
what_is(const struct keys_secret *s)
{
    return s->kind == KEYS_SLOT_FILE        ? "the key file"
           : s->kind == KEYS_SLOT_RECIPIENT ? "the recipient's key"
                                            : "the passphrase";
}

static int
find_slot(struct unlock *u, const struct keys_secret *secret, struct err *err)
{
    size_t slots = 0;

    for (size_t i = 0; i < u->count; i++) {
        const struct keys_slot *s = &u->slots[i]->slot;
        bool matched = false;

        slots += s->kind != KEYS_SLOT_GRANT;
        if (keys_slot_open(s, secret, &matched, &u->repo->keys, u->box, err) <
                0 &&
            err->code == ERR_NO_MEMORY)
            return -1;
        if (matched && u->repo->keys.epoch_count > 0) {
            memcpy(u->repo->slot, s->uuid, sizeof u->repo->slot);
            return 0;
        }
    }
    if (slots == 0)
        return err_set(
            err, ERR_DENIED,
            "no key slot (keys/) can be read: put a copy of them back; verify --level 0 says which are damaged");
    return err_set(err, ERR_DENIED,
                   "%s opens none of the %zu key slots of this repository",
                   what_is(secret), slots);
}

/* Does this grant serve better than what we have? `now` is what the log says.
 * Without a log that knows better, the newest. */
static bool
is_better(const struct keys *g, const struct keys *have,
          const struct commitlog_epoch *now)
{
    bool g_fits =
        g->epoch_count > now->epoch &&
        memcmp(g->epochs[now->epoch].rotation, now->rotation, 16) == 0;
    bool have_fits =
        have->epoch_count > now->epoch &&
        memcmp(have->epochs[now->epoch].rotation, now->rotation, 16) == 0;

    if (g_fits != have_fits)
        return g_fits;
    return g->epoch_count > have->epoch_count;
}

static int
take_grants(struct unlock *u, struct err *err)
{
    CLEANUP(mem_free) struct keys *g = xcalloc(1, sizeof *g);
    struct commitlog_epoch now = { 0 };
    struct keys *have = &u->repo->keys;
    bool has_looked = false;
    struct err ignored;

    for (size_t i = 0; i < u->count; i++) {
        const struct keys_slot *s = &u->slots[i]->slot;
        bool matched = false;

        if (s->kind != KEYS_SLOT_GRANT ||
            memcmp(s->uuid, u->repo->slot, 16) != 0 || s->role != have->role ||
            !keys_slot_is_signed(s, have->owner_public) ||
            keys_slot_open_grant(s, u->box, &matched, g, &ignored) < 0 ||
            !matched)
            continue;
        if (!has_looked) {
            struct commitlog *log =
                commitlog_new(u->repo->blob, u->repo->uuid, have);
            int rc = commitlog_epoch(log, &now, err);

            commitlog_free(log);
            if (rc < 0)
                return -1;
            has_looked = true;
        }
        if (is_better(g, have, &now))
            *have = *g;
    }
    mem_wipe(g, sizeof *g);
    u->repo->wrap.epoch = have->epoch_count - 1;
    if (has_looked && now.epoch < have->epoch_count)
        u->repo->wrap.epoch = now.epoch;
    return 0;
}

static int
unlock_with(struct unlock *u, const struct repo_secret *secret, struct err *err)
{
    struct keys_secret s = { .kind = KEYS_SLOT_FILE };
    int rc;

    if (secret->key_file != NULL) {
        if (repo_unlock_read_file(secret->key_file, &s, err) < 0)
            return -1;
        rc = find_slot(u, &s, err);
        mem_wipe(&s, sizeof s);
        if (rc == 0 || secret->passphrase == NULL)
            return rc;
    }
    s = (struct keys_secret){ .kind = KEYS_SLOT_PASSPHRASE,
                              .passphrase = secret->passphrase };
    return find_slot(u, &s, err);
}

int
repo_unlock(struct repo *repo, const struct repo_secret *secret,
            struct err *err)
{
    struct unlock u = { .repo = repo };
    int rc;

    if (repo_unlock_slots(repo, &u.slots, &u.count, err) < 0)
        return -1;
    rc = unlock_with(&u, secret, err);
    if (rc == 0)
        rc = take_grants(&u, err);
    repo_unlock_slots_free(u.slots, u.count);
    mem_wipe(u.box, sizeof u.box);
    return rc;
}
