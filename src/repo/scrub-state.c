/* SPDX-License-Identifier: Apache-2.0 */
/* Where the pass is: one small object below hint/, with a number in its name
 * because objects never change. Nothing depends on it: a lost one means a pass
 * from the begin, one that lies a pass that skips something once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/jsonx.h"
#include "repo/repo-private.h"
#include "repo/scrub-private.h"

#define PREFIX   "hint/scrub/"
#define HINT_MAX 4096

static uint64_t
number_of(const char *name)
{
    return strtoull(name + strlen(PREFIX), NULL, 10);
}

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
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    char text[HINT_MAX];
    size_t len = 0;

    *ret = (struct scrub_state){ 0 };
    if (blob_list(repo->blob, PREFIX, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n.count; i++)
        if (number_of(n.names[i]) > ret->number)
            ret->number = number_of(n.names[i]);
    for (size_t i = 0; i < n.count; i++) {
        if (number_of(n.names[i]) != ret->number)
            continue;
        if (blob_get(repo->blob, n.names[i], 0, text, sizeof text, &len, err) ==
            0)
            decode(text, len, ret);
        else if (err->code != ERR_NOT_FOUND)
            return -1;
    }
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
    char name[64], old[64];
    bool existed;

    (void)snprintf(old, sizeof old, PREFIX "%llu",
                   (unsigned long long)s->number);
    (void)snprintf(name, sizeof name, PREFIX "%llu",
                   (unsigned long long)s->number + 1);
    if (blob_put(repo->blob, name, text, strlen(text), &existed, err) < 0)
        return -1;
    s->number++; /* another one's pass counts as well as ours */
    return s->number > 1 ? blob_remove(repo->blob, old, err) : 0;
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
