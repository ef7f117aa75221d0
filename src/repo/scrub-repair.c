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

void
scrub_held_explain(struct scrub_held *h, const char *why)
{
    char *cause;

    if (h->count == 0 || why[0] == 0)
        return;
    cause = h->notes[0].cause;
    h->notes[0].cause =
        xasprintf("%s (not repaired from its parity: %s)", cause, why);
    free(cause);
}

static bool
can_write(const struct repo *repo)
{
    return !repo->is_read_only &&
           !(repo->info.is_unlocked && repo->keys.role == KEYS_ROLE_RESTORE);
}

enum scrub_repair
scrub_repair(struct repo *repo, const struct pack_id *id, char text[SCRUB_TEXT],
             struct err *err)
{
    struct parity_repair r;

    text[0] = 0;
    if (!can_write(repo))
        return SCRUB_REPAIR_NONE;
    if (parity_repair(repo->blob, id, &r, err) == 0) {
        (void)snprintf(text, SCRUB_TEXT, "%s", r.text);
        return SCRUB_REPAIR_DONE;
    }
    if (blob_is_away(err))
        return SCRUB_REPAIR_AWAY;
    if (err->code != ERR_NOT_FOUND)
        (void)snprintf(text, SCRUB_TEXT, "%.250s", err->msg);
    /* Another one may have repaired it meanwhile, or it was misread. */
    return err->code == ERR_EXISTS ? SCRUB_REPAIR_WHOLE : SCRUB_REPAIR_NONE;
}

/* Why not goes to ret->text.
 *   errors  the store is away */
static int
make(struct repo *repo, const struct pack_id *id, struct scrub_parity *ret,
     struct err *err)
{
    uint64_t bytes = 0;

    if (!can_write(repo)) {
        (void)snprintf(ret->text, sizeof ret->text, "this key only reads");
        return 0;
    }
    ret->is_made = parity_make(repo->blob, id, &bytes, err) == 0;
    ret->bytes += bytes;
    /* Of what was collected meanwhile, or is too long, there is none. */
    if (ret->is_made || err->code == ERR_NOT_FOUND ||
        err->code == ERR_UNSUPPORTED)
        return 0;
    if (blob_is_away(err))
        return -1;
    ret->lacks = true;
    (void)snprintf(ret->text, sizeof ret->text, "%.200s", err->msg);
    return 0;
}

int
scrub_keep_parity(struct repo *repo, const struct pack_id *id, bool should_be,
                  struct scrub_parity *ret, struct err *err)
{
    char why[SCRUB_TEXT];
    struct err cause;

    *ret = (struct scrub_parity){ 0 };
    if (parity_check(repo->blob, id, &ret->bytes, &cause) == 0 ||
        cause.code == ERR_UNSUPPORTED)
        return 0;
    if (cause.code == ERR_NOT_FOUND)
        return should_be ? make(repo, id, ret, err) : 0;
    if (!blob_is_lost(&cause)) {
        *err = cause;
        return -1;
    }
    if (make(repo, id, ret, err) < 0)
        return -1;
    ret->is_damaged = true;
    ret->lacks = false;
    (void)snprintf(why, sizeof why, "%s", ret->text);
    (void)snprintf(
        ret->text, sizeof ret->text, "%.120s; %s%.120s", cause.msg,
        ret->is_made ? "made again from its pack" : "not made again: ", why);
    return 0;
}
