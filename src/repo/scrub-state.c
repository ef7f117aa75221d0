/* SPDX-License-Identifier: Apache-2.0 */
/* Where the pass is: a hint. A lost one means a pass from the begin, one that
 * lies a pass that skips something once. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "codec/jsonx.h"
#include "repo/hint.h"
#include "repo/scrub-private.h"

#define PREFIX   "hint/scrub/"
#define HINT_MAX 4096

static void
decode(const char *text, size_t len, struct scrub_state *ret)
{
    struct err ignored;
    CLEANUP(json_decref) json_t *v = jsonx_parse(text, len, &ignored);
    const char *cursor = jsonx_str_or(v, "cursor", "");

    if (v == NULL || jsonx_int(v, "version", 0) != 0)
        return;
    ret->level = (unsigned)jsonx_int(v, "level", 0);
    if (strlen(cursor) < sizeof ret->cursor)
        (void)snprintf(ret->cursor, sizeof ret->cursor, "%s", cursor);
    ret->known.is_under_way = jsonx_bool(v, "underWay");
    ret->known.began_unix_s = jsonx_int(v, "began", 0);
    ret->known.done_bytes = (uint64_t)jsonx_int(v, "doneBytes", 0);
    ret->known.damages = (uint64_t)jsonx_int(v, "damages", 0);
    ret->known.last_end_unix_s = jsonx_int(v, "lastEnd", 0);
    ret->known.last_damages = (uint64_t)jsonx_int(v, "lastDamages", 0);
}

int
scrub_state_load(struct repo *repo, struct scrub_state *ret, struct err *err)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;

    *ret = (struct scrub_state){ 0 };
    if (hint_load(repo, PREFIX, HINT_MAX, &text, &ret->number, err) < 0)
        return -1;
    decode(text.data, text.len, ret);
    return 0;
}

static char *
encode(const struct scrub_state *s)
{
    CLEANUP(json_decref) json_t *v = json_object();
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {
        { "version", 0 },
        { "level", s->level },
        { "began", s->known.began_unix_s },
        { "doneBytes", (int64_t)s->known.done_bytes },
        { "damages", (int64_t)s->known.damages },
        { "lastEnd", s->known.last_end_unix_s },
        { "lastDamages", (int64_t)s->known.last_damages },
    };

    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        jsonx_set(v, numbers[i].name, json_integer(numbers[i].value));
    jsonx_set_str(v, "cursor", s->cursor);
    jsonx_set(v, "underWay", json_boolean(s->known.is_under_way));
    return jsonx_canonical(v);
}

int
scrub_state_save(struct repo *repo, struct scrub_state *s, struct err *err)
{
    CLEANUP(mem_free) char *text = encode(s);

    if (hint_store(repo, PREFIX, s->number, text, strlen(text), err) < 0)
        return -1;
    s->number++; /* another one's pass counts as well as ours */
    return 0;
}

int
repo_scrub_look(struct repo *repo, struct repo_scrub_state *ret,
                struct err *err)
{
    struct scrub_state s;

    if (scrub_state_load(repo, &s, err) < 0)
        return -1;
    *ret = s.known;
    return 0;
}
