/* SPDX-License-Identifier: Apache-2.0 */
/* list: the backups, what is on hold, what can be taken back. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "codec/jsonx.h"
#include "repo/hold.h"
#include "repotool/progress.h"
#include "repotool/repotool.h"

struct holds {
    struct repo_hold *v;
    size_t count;
};

/* Why it is on hold; NULL: it is not. */
static const char *
hold_of(const struct holds *h, const char *id)
{
    for (size_t i = 0; i < h->count; i++)
        if (strcmp(h->v[i].id, id) == 0)
            return h->v[i].reason;
    return NULL;
}

static void
print_json(const struct repo_entry *e, const char *hold, bool is_deleted)
{
    CLEANUP(json_decref) json_t *v = json_object();
    CLEANUP(mem_free) char *text = NULL;
    char created[CLOCK_RFC3339_SIZE];

    clock_format_rfc3339(e->created_unix_s, created);
    jsonx_set_str(v, "id", e->id);
    jsonx_set_str(v, "parent", e->parent);
    jsonx_set_str(v, "objectUID", e->object_uid);
    jsonx_set_str(v, "created", created);
    jsonx_set(v, "logicalBytes", json_integer((json_int_t)e->logical_bytes));
    jsonx_set(v, "storedBytes", json_integer((json_int_t)e->stored_bytes));
    if (hold != NULL)
        jsonx_set_str(v, "hold", hold);
    if (is_deleted)
        jsonx_set(v, "deleted", json_true());
    text = jsonx_canonical(v);
    printf("%s\n", text);
}

static void
print_line(const struct repo_entry *e, const char *hold)
{
    char created[CLOCK_RFC3339_SIZE], size[PROGRESS_SIZE],
        stored[PROGRESS_SIZE];

    clock_format_rfc3339(e->created_unix_s, created);
    progress_format(e->logical_bytes, size);
    progress_format(e->stored_bytes, stored);
    printf("%-36s  %-20s  %10s  %10s  %s", e->id, created, size, stored,
           e->object_uid);
    if (hold != NULL)
        printf("  (on hold: %s)", hold);
    printf("\n");
}

int
cmd_list(const struct repotool *t, struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(mem_free) struct repo_entry *e = NULL;
    CLEANUP(mem_free) struct repo_hold *held = NULL;
    struct holds holds = { 0 };
    size_t n = 0, damage = 0;

    if (repotool_open(t, false, &repo, err) < 0 ||
        repo_hold_list(repo, &held, &holds.count, err) < 0)
        return -1;
    holds.v = held;
    if (t->shows_deleted ? repo_hold_deleted(repo, &e, &n, err) < 0
                         : repo_list(repo, &e, &n, &damage, err) < 0)
        return -1;
    if (!t->is_json && n > 0)
        printf("%-36s  %-20s  %10s  %10s  %s\n", "BACKUP", "CREATED", "SIZE",
               "STORED", "UID");
    for (size_t i = 0; i < n; i++) {
        const char *hold = hold_of(&holds, e[i].id);

        text_clean(e[i].object_uid, false); /* a path, or what others said */
        if (t->is_json)
            print_json(&e[i], hold, t->shows_deleted);
        else
            print_line(&e[i], hold);
    }
    if (damage > 0)
        (void)fprintf(
            stderr,
            "vmkeep repo: warning: %zu log entries cannot be read; backups may be missing from this list; run vmkeep repo verify\n",
            damage);
    return 0;
}
