/* SPDX-License-Identifier: Apache-2.0 */
/* forget, undelete, hold, release. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "codec/jsonx.h"
#include "repo/hold.h"
#include "repotool/repotool.h"

#define DELETE_MAX 1024u /* at once */
#define KEEP_MAX   100000u

int
cmd_retain_option(struct repotool *t, int which, const char *text,
                  struct err *err)
{
    unsigned *const counts[] = { &t->keep.last,    &t->keep.hourly,
                                 &t->keep.daily,   &t->keep.weekly,
                                 &t->keep.monthly, &t->keep.yearly };
    char *end;
    unsigned long n;

    if (which >= (int)ARRAY_SIZE(counts))
        return retain_parse_within(text, &t->keep.within_s, err);
    n = strtoul(text, &end, 10);
    if (end == text || *end != 0 || text[0] == '-' || n > KEEP_MAX)
        return err_set(err, ERR_INVALID, "\"%.40s\": not a number from 0 to %u",
                       text, KEEP_MAX);
    *counts[which] = (unsigned)n;
    return 0;
}

/* Whose backup it is: the VM, where vmkeepd wrote it down, else the UID. */
static int
group_of(struct repo *repo, const struct repo_entry *e, char **ret,
         struct err *err)
{
    CLEANUP(repo_view_close) struct repo_view *view = NULL;
    CLEANUP(mem_free) void *data = NULL;
    CLEANUP(json_decref) json_t *json = NULL;
    struct err ignored;
    const char *vm = NULL;
    size_t len = 0;

    if (repo_view_open(repo, e->id, &view, err) < 0 ||
        repo_view_metadata(view, &data, &len, err) < 0)
        return -1;
    if (len > 0)
        json = jsonx_parse(data, len, &ignored);
    if (jsonx_get(json, "vmkeepBackup") != NULL)
        vm = jsonx_str(json, "vm.uuid");
    *ret = vm != NULL ? xasprintf("vm %s", vm) : xstrdup(e->object_uid);
    text_clean(*ret, false); /* metadata are whose the backup is */
    return 0;
}

struct forget {
    struct repo_entry *entries;
    struct retain_item *items;
    char **groups;
    size_t count;
};

static void
forget_fini_p(struct forget *f)
{
    for (size_t i = 0; i < f->count && f->groups != NULL; i++)
        free(f->groups[i]);
    free(f->groups);
    free(f->items);
    free(f->entries);
}

static const struct repo_entry *
entry_of(const struct forget *f, uint64_t seq)
{
    size_t i = 0;

    while (f->entries[i].seq != seq)
        i++;
    return &f->entries[i];
}

/* One that cannot be opened takes no place, and is let go by its own UID. */
static int
gather(struct repo *repo, struct forget *f, struct err *err)
{
    CLEANUP(mem_free) struct repo_hold *held = NULL;
    size_t holds = 0, damage = 0;

    if (repo_list(repo, &f->entries, &f->count, &damage, err) < 0 ||
        repo_hold_list(repo, &held, &holds, err) < 0)
        return -1;
    if (damage > 0)
        return err_set(
            err, ERR_CORRUPT,
            "%zu log entries cannot be read: nothing is deleted; run vmkeep repo verify",
            damage);
    f->items = xcalloc(f->count + 1, sizeof *f->items);
    f->groups = xcalloc(f->count + 1, sizeof *f->groups);
    for (size_t i = 0; i < f->count; i++) {
        const struct repo_entry *e = &f->entries[i];
        struct retain_item *it = &f->items[i];

        it->seq = e->seq;
        it->created_unix_s = e->created_unix_s;
        for (size_t k = 0; k < holds; k++)
            if (strcmp(held[k].id, e->id) == 0)
                it->is_held = true;
        if (group_of(repo, e, &f->groups[i], err) < 0) {
            if (err->code != ERR_CORRUPT && err->code != ERR_NOT_FOUND)
                return -1;
            it->is_bad = true;
            f->groups[i] = xstrdup(e->object_uid);
        }
        it->group = f->groups[i];
    }
    return 0;
}

static void
print_item(const struct repotool *t, const struct forget *f,
           const struct retain_item *it)
{
    const struct repo_entry *e = entry_of(f, it->seq);
    CLEANUP(mem_free) char *why = retain_reasons_text(it->reasons);
    char created[CLOCK_RFC3339_SIZE];

    clock_format_rfc3339(e->created_unix_s, created);
    if (t->is_json) {
        CLEANUP(json_decref) json_t *v = json_object();
        CLEANUP(mem_free) char *text = NULL;

        jsonx_set_str(v, "id", e->id);
        jsonx_set_str(v, "created", created);
        jsonx_set_str(v, "group", it->group);
        jsonx_set(v, "kept", json_boolean(it->reasons != 0));
        jsonx_set_str(v, "reasons", why);
        text = jsonx_canonical(v);
        printf("%s\n", text);
    } else {
        printf("%-6s  %-36s  %-20s  %-20s  %s\n",
               it->reasons != 0 ? "keep" : "delete", e->id, created, why,
               it->group);
    }
}

/* What no rule keeps, in as few entries of the log as it takes. */
static int
delete_rest(struct repo *repo, const struct forget *f, size_t count,
            struct err *err)
{
    CLEANUP(mem_free) const char **ids = xcalloc(count + 1, sizeof *ids);
    size_t n = 0;

    for (size_t i = 0; i < f->count; i++)
        if (f->items[i].reasons == 0)
            ids[n++] = entry_of(f, f->items[i].seq)->id;
    for (size_t at = 0; at < n; at += DELETE_MAX)
        if (repo_delete(repo, ids + at,
                        n - at < DELETE_MAX ? n - at : DELETE_MAX, err) < 0)
            return -1;
    return 0;
}

int
cmd_forget(const struct repotool *t, struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(forget_fini) struct forget f = { 0 };
    size_t goes = 0;

    if (retain_policy_is_empty(&t->keep))
        return err_set(err, ERR_INVALID,
                       "say what to keep: --keep-last, --keep-daily, ...");
    if (repotool_open(t, false, &repo, err) < 0 || gather(repo, &f, err) < 0)
        return -1;
    retain_apply(&t->keep, f.items, f.count, clock_wall_s());
    for (size_t i = 0; i < f.count; i++) {
        goes += f.items[i].reasons == 0;
        if (!t->is_quiet || t->is_dry_run)
            print_item(t, &f, &f.items[i]);
    }
    if (!t->is_dry_run && delete_rest(repo, &f, goes, err) < 0)
        return -1;
    if (!t->is_json)
        printf("%s %zu of %zu backups.\n",
               t->is_dry_run ? "Would delete" : "Deleted", goes, f.count);
    return 0;
}

static bool
was_named(const struct repotool *t, int i)
{
    for (int k = 1; k < i; k++)
        if (strcmp(t->args[k], t->args[i]) == 0)
            return true;
    return false;
}

unsigned
cmd_retain_count(const struct repotool *t)
{
    unsigned n = 0;

    for (int i = 1; i < t->arg_count; i++)
        n += !was_named(t, i);
    return n;
}

int
cmd_undelete(const struct repotool *t, struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    unsigned n;

    if (repotool_open(t, false, &repo, err) < 0 ||
        repo_hold_undelete(repo, (const char *const *)(t->args + 1),
                           (size_t)t->arg_count - 1, err) < 0)
        return -1;
    n = cmd_retain_count(t);
    printf("Took back %u %s.\n", n, n == 1 ? "backup" : "backups");
    return 0;
}

int
cmd_hold(const struct repotool *t, struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;

    if (repotool_open(t, false, &repo, err) < 0 ||
        repo_hold_set(repo, t->args[1], t->args[2], err) < 0)
        return -1;
    printf("On hold: %s\n", t->args[1]);
    return 0;
}

int
cmd_release(const struct repotool *t, struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    unsigned n;

    if (repotool_open(t, false, &repo, err) < 0)
        return -1;
    for (int i = 1; i < t->arg_count; i++)
        if (!was_named(t, i) && repo_hold_clear(repo, t->args[i], err) < 0)
            return -1;
    n = cmd_retain_count(t);
    printf("Released %u %s.\n", n, n == 1 ? "backup" : "backups");
    return 0;
}
