/* SPDX-License-Identifier: Apache-2.0 */
/* A rotation writes a grant per slot, then the KEY entry, which is what makes
 * it count; then the grants of earlier rotations go. A crash before the KEY
 * leaves grants that nobody takes up, and a later rotation removes. There is no
 * lock: whoever removes something may have been stopped for a while just before
 * that, and others may have gone on.
 */
#include "repo/repo-keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/effect.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/uuid.h"
#include "codec/le.h"
#include "repo/repo-id.h"
#include "repo/repo-unlock.h"

/* ---- files ---- */

static int
file_make(const char *path, enum keys_slot_kind kind,
          const uint8_t key[KEYS_SIZE], struct err *err)
{
    char text[KEYS_TEXT_SIZE];
    struct effect e = effect_begin("create", path);
    CLEANUP(fd_close)
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int saved = errno;
    int rc;

    effect_end(&e);
    if (fd < 0)
        return err_sys(err, saved, "key file %s: create", path);
    keys_text_format(kind, key, text);
    rc = file_write_fd(fd, text, strlen(text), path, err);
    mem_wipe(text, sizeof text);
    return rc < 0 ? -1 : file_sync_path(path, err);
}

int
repo_keys_write_file(const char *path, const uint8_t key[KEYS_SIZE],
                     struct err *err)
{
    return file_make(path, KEYS_SLOT_FILE, key, err);
}

int
repo_keys_make_recipient(const char *path, char ret_public[KEYS_TEXT_SIZE],
                         struct err *err)
{
    uint8_t secret[KEYS_SIZE], public_key[KEYS_SIZE];
    int rc;

    uuid_random_bytes(secret, sizeof secret);
    keys_box_public(secret, public_key);
    rc = file_make(path, KEYS_SLOT_RECIPIENT, secret, err);
    mem_wipe(secret, sizeof secret);
    keys_text_format_public(public_key, ret_public);
    ret_public[strcspn(ret_public, "\n")] = 0;
    return rc;
}

/* ---- rights ---- */

static int
need_owner(const struct repo *repo, struct err *err)
{
    if (repo->cipher == 0)
        return err_set(err, ERR_INVALID, "this repository is not encrypted");
    if (repo_private_need_write(repo, err) < 0)
        return -1;
    if (!keys_can_own(&repo->keys))
        return err_set(err, ERR_DENIED,
                       "this key is %s: changing keys needs a full one",
                       keys_role_name(repo->keys.role));
    return 0;
}

/* ---- list ---- */

static const char *
kind_name(enum keys_slot_kind kind)
{
    return kind == KEYS_SLOT_FILE         ? "key file"
           : kind == KEYS_SLOT_PASSPHRASE ? "passphrase"
                                          : "recipient";
}

static bool
is_genuine(const struct repo *repo, const struct keys_slot *s)
{
    return keys_slot_is_signed(s, repo->keys.owner_public);
}

int
repo_keys_list(struct repo *repo, struct repo_key **ret_keys, size_t *ret_count,
               struct err *err)
{
    struct repo_unlock_slot **slots;
    struct repo_key *k;
    size_t count = 0, n = 0;

    if (repo->cipher == 0)
        return err_set(err, ERR_INVALID, "this repository is not encrypted");
    if (repo_private_need_key(repo, err) < 0 ||
        repo_unlock_slots(repo, &slots, &count, err) < 0)
        return -1;
    k = xcalloc(count + 1, sizeof *k);
    for (size_t i = 0; i < count; i++) {
        const struct keys_slot *s = &slots[i]->slot;

        if (s->kind == KEYS_SLOT_GRANT)
            continue;
        repo_id_format(s->uuid, k[n].id);
        memcpy(k[n].label, s->label, sizeof k[n].label);
        k[n].kind = kind_name(s->kind);
        k[n].role = keys_role_name(s->role);
        k[n].created_unix_s = s->created_unix_s;
        k[n].is_ours = memcmp(s->uuid, repo->slot, 16) == 0;
        k[n++].is_genuine = is_genuine(repo, s);
    }
    repo_unlock_slots_free(slots, count);
    *ret_keys = k;
    *ret_count = n;
    return 0;
}

/* ---- add ---- */

static int
put_slot(struct repo *repo, const struct keys *keys,
         const struct keys_slot *head, const struct keys_secret *secret,
         const uint8_t name_uuid[16], struct err *err)
{
    CLEANUP(buf_fini) struct buf bytes = BUF_INIT;
    char text[UUID_STR_SIZE], name[64];
    bool existed = false;

    repo_id_format(name_uuid, text);
    (void)snprintf(name, sizeof name, "keys/%s", text);
    if (keys_slot_encode(keys, head, secret, &bytes, err) < 0)
        return -1;
    return blob_put(repo->blob, name, bytes.data, bytes.len, &existed, err);
}

static int
set_label(struct keys_slot *head, const char *label, struct err *err)
{
    if (label == NULL)
        return 0;
    if (strlen(label) > KEYS_SLOT_LABEL)
        return err_set(err, ERR_INVALID, "a label has at most %d characters",
                       KEYS_SLOT_LABEL);
    for (const char *c = label; *c != 0; c++)
        if (*c < 0x20 || *c > 0x7e)
            return err_set(err, ERR_INVALID,
                           "a label is made of printable ASCII");
    memcpy(head->label, label, strlen(label) + 1);
    return 0;
}

static int
take_secret(const struct repo_keys_new *n, struct keys_slot *head,
            struct keys_secret *secret, struct err *err)
{
    secret->kind = KEYS_SLOT_FILE;
    if (n->passphrase != NULL) {
        secret->kind = KEYS_SLOT_PASSPHRASE;
        secret->passphrase = n->passphrase;
        keys_slot_set_limits(head, n->is_kdf_fast);
    } else if (n->recipient != NULL) {
        secret->kind = KEYS_SLOT_RECIPIENT;
        if (keys_text_parse_public(n->recipient, strlen(n->recipient),
                                   head->box_public, err) < 0)
            return -1;
    } else if (n->raw != NULL) {
        memcpy(secret->key, n->raw, KEYS_SIZE);
    } else {
        uuid_random_bytes(secret->key, KEYS_SIZE);
        if (file_make(n->key_file, KEYS_SLOT_FILE, secret->key, err) < 0)
            return -1;
    }
    head->kind = secret->kind;
    return 0;
}

/* A rotation that came between gives only those the new keys that it has seen:
 * then the new slot would open nothing of what is backed up from now on. */
static int
check_new_slot(struct repo *repo, const uint8_t slot[16], struct err *err)
{
    struct commitlog_epoch now;
    char text[UUID_STR_SIZE], name[64];

    if (commitlog_epoch(repo->log, &now, err) < 0)
        return -1;
    if (now.epoch == repo->wrap.epoch)
        return 0;
    repo_id_format(slot, text);
    (void)snprintf(name, sizeof name, "keys/%s", text);
    if (blob_remove(repo->blob, name, err) < 0)
        return -1;
    return err_set(
        err, ERR_CONFLICT,
        "somebody rotated the keys meanwhile: the slot was taken away again; add it once more");
}

int
repo_keys_add(struct repo *repo, const struct repo_keys_new *n,
              char ret_id[REPO_ID_SIZE], struct err *err)
{
    CLEANUP(mem_free) struct keys *keys = NULL;
    struct keys_slot head = { .role = KEYS_ROLE_FULL, .cipher = repo->cipher };
    struct keys_secret secret = { 0 };
    int rc;

    if (need_owner(repo, err) < 0 || set_label(&head, n->label, err) < 0)
        return -1;
    if (n->role != NULL && !keys_role_parse(n->role, &head.role))
        return err_set(
            err, ERR_INVALID,
            "no role \"%.20s\": full, backup-only, restore-only or maintainer",
            n->role);
    if (take_secret(n, &head, &secret, err) < 0)
        return -1;
    memcpy(head.repo_uuid, repo->uuid, 16);
    repo_id_random(head.uuid);
    head.created_unix_s = clock_wall_s();
    keys = xcalloc(1, sizeof *keys);
    *keys = repo->keys;
    keys->epoch_count = repo->wrap.epoch + 1;
    rc = put_slot(repo, keys, &head, &secret, head.uuid, err);
    mem_wipe(&secret, sizeof secret);
    mem_wipe(keys, sizeof *keys);
    if (rc < 0 || blob_sync(repo->blob, err) < 0 ||
        check_new_slot(repo, head.uuid, err) < 0)
        return -1;
    repo_id_format(head.uuid, ret_id);
    return 0;
}

/* ---- remove ---- */

/* Slots of full keys that are not that one. */
static size_t
count_full(const struct repo *repo, struct repo_unlock_slot **slots,
           size_t count, const uint8_t but[16])
{
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        const struct keys_slot *s = &slots[i]->slot;

        n += s->kind != KEYS_SLOT_GRANT && s->role == KEYS_ROLE_FULL &&
             is_genuine(repo, s) && memcmp(s->uuid, but, 16) != 0;
    }
    return n;
}

static int
refuse_last(struct err *err)
{
    return err_set(
        err, ERR_CONFLICT,
        "this is the last slot of a full key: without one nobody could change keys, nor restore with full rights; add another first");
}

/* Two may each take away the slot of the other at once. Who finds none left
 * puts back what he took: that may be both, but is one. */
static int
look_after_removal(struct repo *repo, const struct repo_unlock_slot *gone,
                   struct err *err)
{
    struct repo_unlock_slot **slots;
    size_t count = 0, others;
    bool existed;

    if (repo_unlock_slots(repo, &slots, &count, err) < 0)
        return -1;
    others = count_full(repo, slots, count, gone->slot.uuid);
    repo_unlock_slots_free(slots, count);
    if (others > 0)
        return 0;
    if (blob_put(repo->blob, gone->name, gone->bytes, gone->slot.len, &existed,
                 err) < 0 ||
        blob_sync(repo->blob, err) < 0)
        return -1;
    return refuse_last(err);
}

static int
remove_slot(struct repo *repo, struct repo_unlock_slot **slots, size_t count,
            const uint8_t id[16], struct err *err)
{
    const struct repo_unlock_slot *found = NULL;

    for (size_t i = 0; i < count; i++)
        if (slots[i]->slot.kind != KEYS_SLOT_GRANT &&
            memcmp(slots[i]->slot.uuid, id, 16) == 0)
            found = slots[i];
    if (found == NULL)
        return err_set(err, ERR_NOT_FOUND, "no such key slot");
    if (count_full(repo, slots, count, id) == 0)
        return refuse_last(err);
    if (blob_remove(repo->blob, found->name, err) < 0 ||
        look_after_removal(repo, found, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (slots[i]->slot.kind == KEYS_SLOT_GRANT &&
            memcmp(slots[i]->slot.uuid, id, 16) == 0 &&
            blob_remove(repo->blob, slots[i]->name, err) < 0)
            return -1;
    return blob_sync(repo->blob, err);
}

int
repo_keys_remove(struct repo *repo, const char *id, struct err *err)
{
    struct repo_unlock_slot **slots;
    size_t count = 0;
    uint8_t uuid[16];
    int rc;

    if (need_owner(repo, err) < 0)
        return -1;
    if (!repo_id_parse(id, uuid))
        return err_set(err, ERR_NOT_FOUND, "key slot %.60s: no such slot", id);
    if (repo_unlock_slots(repo, &slots, &count, err) < 0)
        return -1;
    rc = remove_slot(repo, slots, count, uuid, err);
    repo_unlock_slots_free(slots, count);
    return rc < 0 ? err_wrap(err, "key slot %s", id) : 0;
}

/* ---- rotate ---- */

static bool
has_grant(struct repo_unlock_slot **slots, size_t count,
          const struct keys_slot *of, const uint8_t rotation[16])
{
    for (size_t i = 0; i < count; i++) {
        const struct keys_slot *s = &slots[i]->slot;

        if (s->kind == KEYS_SLOT_GRANT && memcmp(s->uuid, of->uuid, 16) == 0 &&
            memcmp(s->rotation, rotation, 16) == 0)
            return true;
    }
    return false;
}

/* For each slot that has none of that rotation. */
static int
put_grants(struct repo *repo, const struct keys *keys, size_t *ret_skipped,
           struct err *err)
{
    const uint8_t *rotation = keys->epochs[keys->epoch_count - 1].rotation;
    struct repo_unlock_slot **slots;
    size_t count = 0;
    int rc = 0;

    *ret_skipped = 0;
    if (repo_unlock_slots(repo, &slots, &count, err) < 0)
        return -1;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct keys_slot head = { .kind = KEYS_SLOT_GRANT,
                                  .role = slots[i]->slot.role,
                                  .cipher = repo->cipher };
        uint8_t name[16];

        if (slots[i]->slot.kind == KEYS_SLOT_GRANT)
            continue;
        if (!is_genuine(repo, &slots[i]->slot)) {
            ++*ret_skipped;
            continue;
        }
        if (has_grant(slots, count, &slots[i]->slot, rotation))
            continue;
        memcpy(head.repo_uuid, repo->uuid, 16);
        memcpy(head.uuid, slots[i]->slot.uuid, 16);
        memcpy(head.box_public, slots[i]->slot.box_public, KEYS_SIZE);
        head.created_unix_s = clock_wall_s();
        repo_id_random(name);
        rc = put_slot(repo, keys, &head, NULL, name, err);
    }
    repo_unlock_slots_free(slots, count);
    return rc < 0 ? -1 : blob_sync(repo->blob, err);
}

/* Is it of the rotation that counts, or of one that may come to that? Epochs
 * only grow. */
static bool
may_count(const struct repo *repo, const struct keys_slot *s,
          const struct commitlog_epoch *now)
{
    return is_genuine(repo, s) &&
           (s->epoch > now->epoch ||
            memcmp(s->rotation, now->rotation, sizeof now->rotation) == 0);
}

/* Grants that are of no use any more, as the log says after they were listed; a
 * courtesy, and best effort. */
static void
sweep_grants(struct repo *repo)
{
    struct repo_unlock_slot **slots;
    struct commitlog_epoch now;
    struct err ignored;
    size_t count = 0;
    bool is_known;

    if (repo_unlock_slots(repo, &slots, &count, &ignored) < 0)
        return;
    is_known = commitlog_epoch(repo->log, &now, &ignored) == 0;
    for (size_t i = 0; is_known && i < count; i++)
        if (slots[i]->slot.kind == KEYS_SLOT_GRANT &&
            !may_count(repo, &slots[i]->slot, &now))
            (void)!blob_remove(repo->blob, slots[i]->name, &ignored);
    repo_unlock_slots_free(slots, count);
}

static int
append_key(struct repo *repo, unsigned epoch, const uint8_t rotation[16],
           struct err *err)
{
    CLEANUP(buf_fini) struct buf body = BUF_INIT;
    uint8_t number[2];

    le_put16(number, (uint16_t)epoch);
    buf_add(&body, number, sizeof number);
    buf_add(&body, rotation, 16);
    return commitlog_append(repo->log, COMMITLOG_KEY, &body, err);
}

/* The keys with one more epoch. */
static int
next_keys(struct repo *repo, struct keys *keys, uint8_t rotation[16],
          struct err *err)
{
    struct commitlog_epoch now;
    uint8_t root[KEYS_SIZE];
    bool has_room;

    if (commitlog_epoch(repo->log, &now, err) < 0)
        return -1;
    if (now.epoch != repo->wrap.epoch)
        return err_set(err, ERR_CONFLICT,
                       "somebody else rotated the keys meanwhile");
    *keys = repo->keys;
    keys->epoch_count = now.epoch + 1;
    repo_id_random(rotation);
    uuid_random_bytes(root, sizeof root);
    has_room = keys_add_epoch(keys, root, rotation);
    mem_wipe(root, sizeof root);
    if (!has_room)
        return err_set(err, ERR_UNSUPPORTED,
                       "the keys were rotated %d times: no more is possible",
                       KEYS_EPOCHS_MAX - 1);
    return 0;
}

int
repo_keys_rotate(struct repo *repo, unsigned *ret_epoch, size_t *ret_skipped,
                 struct err *err)
{
    CLEANUP(mem_free) struct keys *keys = NULL;
    uint8_t rotation[16];
    int rc;

    if (need_owner(repo, err) < 0)
        return -1;
    keys = xcalloc(1, sizeof *keys);
    if (next_keys(repo, keys, rotation, err) < 0)
        return -1;
    *ret_epoch = keys->epoch_count - 1;
    rc = put_grants(repo, keys, ret_skipped, err);
    if (rc == 0)
        rc = append_key(repo, *ret_epoch, rotation, err);
    if (rc == 0) /* and slots that were added since; later ones know it */
        rc = put_grants(repo, keys, ret_skipped, err);
    mem_wipe(keys, sizeof *keys);
    if (rc == 0 || err->code == ERR_CONFLICT)
        sweep_grants(repo);
    return rc;
}

int
repo_keys_is_current(struct repo *repo, bool *ret, struct err *err)
{
    struct commitlog_epoch now;

    if (commitlog_epoch(repo->log, &now, err) < 0)
        return -1;
    *ret = now.epoch == 0 ||
           (now.epoch == repo->wrap.epoch &&
            memcmp(now.rotation, repo->keys.epochs[now.epoch].rotation,
                   sizeof now.rotation) == 0);
    return 0;
}
