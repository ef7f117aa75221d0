/* SPDX-License-Identifier: Apache-2.0 */
/* check, stats. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "codec/jsonx.h"
#include "repo/hold.h"
#include "repo/scrub.h"
#include "repo/stats.h"
#include "repotool/interrupt.h"
#include "repotool/progress.h"
#include "repotool/repotool.h"

#define TOLD_MAX   1000u /* disks of which the places are told, */
#define RANGES_MAX 20u   /* and so many of each */

struct told {
    struct progress progress;
    struct {
        char id[REPO_ID_SIZE];
        char disk[REPO_DISK_NAME_MAX + 1];
    } * disks; /* that damage affects */
    size_t count;
};

static void
told_fini_p(struct told *t)
{
    free(t->disks);
}

static void
on_damage(void *arg, const char *object, const char *cause)
{
    (void)arg;
    printf("damaged: %s: %s\n", object, cause);
}

static void
on_repaired(void *arg, const char *object, const char *what)
{
    (void)arg;
    printf("repaired: %s: %s\n", object, what);
}

static void
on_affected(void *arg, const struct repo_entry *backup, const char *disk,
            uint64_t lost_bytes)
{
    char lost[PROGRESS_SIZE], uid[REPO_UID_MAX + 1];
    struct told *t = arg;

    if (disk[0] != 0 && t->count < TOLD_MAX) {
        t->disks = xrealloc(t->disks, t->count + 1, sizeof *t->disks);
        memcpy(t->disks[t->count].id, backup->id, REPO_ID_SIZE);
        (void)snprintf(t->disks[t->count++].disk, REPO_DISK_NAME_MAX + 1, "%s",
                       disk);
    }
    progress_format(lost_bytes, lost);
    (void)snprintf(uid, sizeof uid, "%s", backup->object_uid);
    text_clean(uid, false);
    printf("affected: backup %s (%s): %s%s%s cannot be read\n", backup->id, uid,
           disk[0] != 0 ? "disk " : "", disk, disk[0] != 0 ? "" : "it");
    if (disk[0] != 0)
        printf("          %s of it\n", lost);
}

static int
on_progress(void *arg, uint64_t done, uint64_t all)
{
    struct told *t = arg;

    t->progress.all = all;
    progress_show(&t->progress, done);
    return interrupt_is_set();
}

/* ---- which bytes ---- */

struct range {
    const char *id, *disk;
    struct repo_view *view;
    unsigned n;        /* of the disk */
    uint8_t *chunk;    /* room for one */
    uint64_t off, end; /* not printed yet; equal: none */
    unsigned printed;
};

static void
print_range(struct range *r)
{
    if (r->off < r->end && ++r->printed <= RANGES_MAX)
        printf("lost: backup %s: disk %s: bytes %llu to %llu\n", r->id, r->disk,
               (unsigned long long)r->off, (unsigned long long)r->end - 1);
    r->off = r->end;
}

static int
on_lost(void *arg, uint64_t off, uint64_t len)
{
    struct range *r = arg;
    struct err ignored;

    if (repo_view_read(r->view, r->n, off, r->chunk, len, &ignored) == 0)
        return 0; /* it has a whole copy */
    if (off != r->end) {
        print_range(r);
        r->off = off;
    }
    r->end = off + len;
    return 0;
}

/* What a tree that is whole leads to; of others only that they are damaged is
 * known. */
static void
print_lost(struct repo *repo, const struct told *t)
{
    for (size_t i = 0; i < t->count; i++) {
        CLEANUP(repo_view_close) struct repo_view *v = NULL;
        CLEANUP(mem_free) uint8_t *chunk = NULL;
        struct range r = { .id = t->disks[i].id, .disk = t->disks[i].disk };
        struct err ignored;

        if (repo_view_open(repo, r.id, &v, &ignored) < 0 ||
            repo_view_find_disk(v, r.disk, &r.n, &ignored) < 0)
            continue;
        r.view = v;
        r.chunk = chunk = xcalloc(1, repo_view_disk(v, r.n).chunk_size);
        if (repo_view_bad(v, r.n, on_lost, &r, &ignored) < 0)
            continue;
        print_range(&r);
        if (r.printed > RANGES_MAX)
            printf("      and %u more places of it\n", r.printed - RANGES_MAX);
    }
}

static void
say_result(const struct repo_scrub_result *r)
{
    char bytes[PROGRESS_SIZE];

    progress_format(r->bytes, bytes);
    printf("Read %llu packs, %s.\n", (unsigned long long)r->packs, bytes);
    if (r->repaired > 0)
        printf("%llu damaged packs were repaired from their parity.\n",
               (unsigned long long)r->repaired);
    if (r->parity_made > 0)
        printf("Parity of %llu packs was made.\n",
               (unsigned long long)r->parity_made);
    if (r->parity_lacks > 0)
        printf("%llu packs have no parity, and none could be made: %s\n",
               (unsigned long long)r->parity_lacks, r->parity_cause);
    if (r->is_shallow)
        printf(
            "This key does not open the content of disks: only checksums were compared.\n");
    if (r->new_bad > 0)
        printf(
            "%llu damaged frames were put on the list: the next backup of each disk stores them again.\n",
            (unsigned long long)r->new_bad);
    if (r->healed > 0)
        printf("%llu damaged frames have a whole copy, which is read now.\n",
               (unsigned long long)r->healed);
    if (r->good_again > 0)
        printf("%llu frames are good again.\n",
               (unsigned long long)r->good_again);
}

/* Why a check that ended before its end did so. */
static int
tell_stop(struct err *err)
{
    if (err->code == ERR_CANCELLED)
        return err_set(err, ERR_CANCELLED,
                       "stopped; the same command goes on where this one was");
    if (err->code == ERR_DENIED || err->code == ERR_UNSUPPORTED)
        return err_wrap(
            err,
            "a check writes down how far it is; \"vmkeep repo verify\" reads as much and writes nothing");
    return -1;
}

/* Of all packs that are there: a pass that was begun before has to begin anew.
 */
static int
add_parity(struct repo *repo, struct repo_scrub_options *o, struct err *err)
{
    bool was_set = false;

    if (repo_add_parity(repo, &was_set, err) < 0)
        return -1;
    if (was_set)
        return 0;
    printf("From now on parity is made for each pack.\n");
    o->restarts = true;
    return 0;
}

int
cmd_check(const struct repotool *t, struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_scrub_options o = { .bytes_per_s = t->rate,
                                    .restarts = t->restarts };
    CLEANUP(told_fini) struct told told = { 0 };
    struct repo_scrub_sink sink = { .damage = on_damage,
                                    .repaired = on_repaired,
                                    .affected = on_affected,
                                    .progress = on_progress,
                                    .arg = &told };
    struct repo_scrub_result r;
    int rc;

    if (repotool_open(t, t->verify_level == 0, &repo, err) < 0 ||
        (t->adds_parity && add_parity(repo, &o, err) < 0))
        return -1;
    o.level = t->verify_level == 0 ? REPO_VERIFY_STRIPES : REPO_VERIFY_FRAMES;
    interrupt_catch();
    progress_init(&told.progress, "check", 0, t->is_quiet);
    rc = repo_scrub_run(repo, &o, &sink, &r, err);
    progress_end(&told.progress);
    if (repo_info_get(repo)->is_unlocked)
        print_lost(repo, &told);
    if (rc == 0 || r.packs > 0)
        say_result(&r);
    if (rc < 0)
        return tell_stop(err);
    if (r.bad > 0)
        return err_set(err, ERR_CORRUPT,
                       "%llu frames are damaged and have no whole copy",
                       (unsigned long long)r.bad);
    if (r.damages > 0)
        return err_set(err, ERR_CORRUPT, "%llu damaged objects",
                       (unsigned long long)r.damages);
    printf(r.repaired > 0 ? "No damage is left.\n" : "No damage found.\n");
    return 0;
}

static void
print_time(const char *what, int64_t unix_s)
{
    char text[CLOCK_RFC3339_SIZE] = "never";

    if (unix_s > 0)
        clock_format_rfc3339(unix_s, text);
    printf("%s%s\n", what, text);
}

static void
print_stats(const struct repo_stats *s, const struct repo_scrub_state *k)
{
    char logical[PROGRESS_SIZE], stored[PROGRESS_SIZE], dead[PROGRESS_SIZE];
    char index[PROGRESS_SIZE], parity[PROGRESS_SIZE];

    progress_format(s->logical_bytes, logical);
    progress_format(s->pack_bytes, stored);
    progress_format(s->dead_bytes, dead);
    progress_format(s->index_bytes, index);
    printf("Backups:      %zu, %zu on hold, %zu deleted that can be taken "
           "back\n",
           s->backups, s->holds, s->deleted);
    printf("Logical:      %s\n", logical);
    printf("Stored:       %s in %zu packs\n", stored, s->packs);
    if (s->parities > 0) {
        progress_format(s->parity_bytes, parity);
        printf("Parity:       %s for %zu packs\n", parity, s->parities);
    }
    if (s->pack_bytes > 0)
        printf("Ratio:        %.1f\n",
               (double)s->logical_bytes / (double)s->pack_bytes);
    printf("Dead:         %s in %zu packs that no backup uses\n", dead,
           s->dead_packs);
    printf("Index:        %s%s\n", index,
           s->index_is_sampled
               ? ", sampled: more than --index-budget or memory allows"
               : "");
    printf("Damaged:      %zu frames, %zu of them with a whole copy\n",
           s->bad_frames, s->bad_frames_healed);
    print_time("Last check:   ", k->last_end_unix_s);
    if (k->is_under_way)
        print_time("Under way:    since ", k->began_unix_s);
}

static void
print_stats_json(const struct repo_stats *s, const struct repo_scrub_state *k)
{
    CLEANUP(json_decref) json_t *v = json_object();
    CLEANUP(mem_free) char *text = NULL;
    const struct {
        const char *name;
        uint64_t n;
    } numbers[] = {
        { "backups", s->backups },
        { "holds", s->holds },
        { "deleted", s->deleted },
        { "logicalBytes", s->logical_bytes },
        { "packBytes", s->pack_bytes },
        { "packs", s->packs },
        { "parityBytes", s->parity_bytes },
        { "parities", s->parities },
        { "deadBytes", s->dead_bytes },
        { "deadPacks", s->dead_packs },
        { "indexBytes", s->index_bytes },
        { "badFrames", s->bad_frames },
        { "badFramesWithCopy", s->bad_frames_healed },
        { "lastCheckDamages", k->last_damages },
    };
    char time[CLOCK_RFC3339_SIZE];

    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        jsonx_set(v, numbers[i].name, json_integer((json_int_t)numbers[i].n));
    jsonx_set(v, "indexIsSampled", json_boolean(s->index_is_sampled));
    if (k->last_end_unix_s > 0) {
        clock_format_rfc3339(k->last_end_unix_s, time);
        jsonx_set_str(v, "lastCheck", time);
    }
    text = jsonx_canonical(v);
    printf("%s\n", text);
}

int
cmd_stats(const struct repotool *t, struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_stats stats;
    struct repo_scrub_state state;

    if (repotool_open(t, false, &repo, err) < 0 ||
        repo_stats_get(repo, &stats, err) < 0 ||
        repo_scrub_look(repo, &state, err) < 0)
        return -1;
    if (t->is_json)
        print_stats_json(&stats, &state);
    else
        print_stats(&stats, &state);
    return 0;
}
