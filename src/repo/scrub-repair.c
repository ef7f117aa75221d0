/* SPDX-License-Identifier: Apache-2.0 */
/* What a scrub does with parity: a damaged pack is repaired before anybody is
 * told that it is damaged; of a whole one it is seen that its parity is there
 * and whole. Nothing here ends a pass but a store that does not answer. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "repo/parity.h"
#include "repo/repo-private.h"
#include "repo/scrub-private.h"

void
scrub_held_fini(struct scrub_held *h)
{
    for (size_t i = 0; i < h->count; i++) {
        free(h->notes[i].object);
        free(h->notes[i].cause);
    }
    free(h->notes);
    *h = (struct scrub_held){ 0 };
}

void
scrub_held_add(struct scrub_held *h, const char *object, const char *cause)
{
    h->notes = xrealloc(h->notes, h->count + 1, sizeof *h->notes);
    h->notes[h->count].object = xstrdup(object);
    h->notes[h->count++].cause = xstrdup(cause);
}

static bool
can_write(const struct repo *repo)
{
    return !repo->is_read_only &&
           !(repo->info.is_unlocked && repo->keys.role == KEYS_ROLE_RESTORE);
}

bool
scrub_repair(struct repo *repo, const struct pack_id *id,
             struct scrub_held *held, char text[SCRUB_TEXT])
{
    struct parity_repair r;
    struct err err;
    char *cause;

    if (can_write(repo) && parity_repair(repo->blob, id, &r, &err) == 0) {
        (void)snprintf(text, SCRUB_TEXT, "%s", r.text);
        return true;
    }
    /* Why not, with the first that was found; there may be no parity. */
    if (!can_write(repo) || err.code == ERR_NOT_FOUND || held->count == 0)
        return false;
    cause = held->notes[0].cause;
    held->notes[0].cause =
        xasprintf("%s (not repaired from its parity: %s)", cause, err.msg);
    free(cause);
    return false;
}

int
scrub_keep_parity(struct repo *repo, const struct pack_id *id,
                  struct scrub_parity *ret, struct err *err)
{
    struct err cause, ignored;

    *ret = (struct scrub_parity){ 0 };
    if (parity_check(repo->blob, id, &ret->bytes, &cause) == 0 ||
        cause.code == ERR_UNSUPPORTED)
        return 0;
    if (cause.code == ERR_NOT_FOUND) {
        ret->is_made = repo->info.makes_parity && can_write(repo) &&
                       parity_make(repo->blob, id, &ignored) == 0;
        return 0;
    }
    if (!blob_is_lost(&cause)) {
        *err = cause;
        return -1;
    }
    ret->is_damaged = true;
    ret->is_made =
        can_write(repo) && parity_make(repo->blob, id, &ignored) == 0;
    (void)snprintf(ret->text, sizeof ret->text, "%.200s%s", cause.msg,
                   ret->is_made ? "; made again from its pack" : "");
    return 0;
}
