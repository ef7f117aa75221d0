/* SPDX-License-Identifier: Apache-2.0 */
/* The hands of tracking.sh: one step of a backup's tracking per run, as the
 * backup controller takes them, without freeze and without repository.
 *
 *   STATE-DIR URI cut VM UID REPO TARGET...   begin, checkpoint, cut, record
 *   ...       judge VM UID TARGET REPO ENTRY SIZE   level, bytes that are read
 *   ...       commit VM UID ENTRY; abort VM UID; distrust VM; drop VM
 *   ...       settle VM yes|no; collect VM
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/effect.h"
#include "base/mem.h"
#include "controller/tracking-priv.h"
#include "disk/dirty.h"
#include "virt/checkpoint.h"

struct run {
    struct ctl *ctl;
    const char *vm;
    char **args; /* after the VM's UUID */
    size_t n;
};

static int
cut_all(struct run *r, const struct virt_vm *vm, const char *const *tracked,
        size_t n_tracked, struct err *err)
{
    const char *uid = r->args[0];
    CLEANUP(volume_cut_free) struct volume_cut *cut = NULL;
    struct volume_cut_disk disks[32];
    char name[TRACKING_NAME_SIZE];

    tracking_name(uid, name);
    if (volume_cut_prepare(r->ctl->volume, vm, uid,
                           (const char *const *)r->args + 2, r->n - 2, 1, &cut,
                           err) < 0)
        return -1;
    if (n_tracked > 0 && virt_checkpoint_create(r->ctl->virt, r->vm, name,
                                                tracked, n_tracked, err) < 0)
        return -1;
    return volume_cut_commit(cut, err) < 0 ||
                   volume_cut_finish(cut, disks, err) < 0
               ? -1
               : tracking_cut(r->ctl, r->vm, uid, tracked, n_tracked, err);
}

static int
cut(struct run *r, struct err *err)
{
    CLEANUP(virt_vm_free)
    struct virt_vm *vm = virt_vm_get(r->ctl->virt, r->vm, err);
    const char *tracked[32];
    struct tracking_choice c = { .targets = tracked };

    if (vm == NULL ||
        tracking_begin(r->ctl, vm, r->args[0], r->args[1],
                       (const char *const *)r->args + 2, r->n - 2, &c, err) < 0)
        return -1;
    printf("recording on %zu%s%s\n", c.n, c.why == NULL ? "" : ": ",
           c.why == NULL ? "" : c.why);
    return cut_all(r, vm, tracked, c.n, err);
}

static int
print_ranges(const struct tracking_verdict *v, struct err *err)
{
    CLEANUP(ranges_fini) struct ranges dirty = RANGES_INIT;

    for (size_t i = 0; i < v->trust.n_layers; i++) {
        const struct disk_layer l = { v->files[i].path, v->files[i].format };

        if (disk_dirty_read("/tmp", &l, v->bitmap, &dirty, err) < 0)
            return -1;
    }
    if (v->trust.dirty_from != UINT64_MAX)
        ranges_add(&dirty, v->trust.dirty_from,
                   v->files[0].size - v->trust.dirty_from);
    for (size_t i = 0; i < dirty.n; i++)
        printf("%llu %llu\n", (unsigned long long)dirty.v[i].off,
               (unsigned long long)dirty.v[i].len);
    return 0;
}

static int
judge(struct run *r, struct err *err)
{
    const char *entry = strcmp(r->args[3], "-") == 0 ? NULL : r->args[3];
    const struct tracking_parent parent = {
        .repo = r->args[2],
        .entry = entry,
        .has_disk = entry != NULL,
        .size = strtoull(r->args[4], NULL, 10),
    };
    CLEANUP(tracking_verdict_fini) struct tracking_verdict v = { .n_files = 0 };

    if (tracking_judge(r->ctl, r->vm, r->args[0], r->args[1], &parent, &v,
                       err) < 0)
        return -1;
    printf("%s %zu %s\n%s %s %llu\n", trust_level_name(v.trust.level),
           v.trust.n_layers, v.trust.reason, v.files[0].format, v.files[0].path,
           (unsigned long long)v.files[0].size);
    return v.trust.level == TRUST_DIRTY ? print_ranges(&v, err) : 0;
}

static int
commit(struct run *r, struct err *err)
{
    return tracking_commit(r->ctl, r->vm, r->args[0], r->args[1], err);
}

static int
abort_backup(struct run *r, struct err *err)
{
    return tracking_abort(r->ctl, r->vm, r->args[0], err);
}

static int
distrust(struct run *r, struct err *err)
{
    return tracking_distrust(r->ctl, r->vm, err);
}

static int
drop(struct run *r, struct err *err)
{
    return tracking_drop(r->ctl, r->vm, err);
}

static int
collect(struct run *r, struct err *err)
{
    size_t left;

    return tracking_collect(r->ctl, r->vm, &left, err);
}

static bool
yes(struct ctl *ctl, const char *backup_uid)
{
    (void)ctl;
    (void)backup_uid;
    return true;
}

static bool
no(struct ctl *ctl, const char *backup_uid)
{
    return !yes(ctl, backup_uid);
}

/* After the volume's own recovery, as the daemon does it. */
static int
settle(struct run *r, struct err *err)
{
    return volume_recover(r->ctl->volume, r->vm, err) < 0
               ? -1
               : tracking_settle(r->ctl, r->vm,
                                 strcmp(r->args[0], "yes") == 0 ? yes : no,
                                 err);
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *word;
        int (*fn)(struct run *r, struct err *err);
        size_t least;
    } commands[] = {
        { "cut", cut, 3 },           { "judge", judge, 5 },
        { "commit", commit, 2 },     { "abort", abort_backup, 1 },
        { "distrust", distrust, 0 }, { "drop", drop, 0 },
        { "settle", settle, 1 },     { "collect", collect, 0 },
    };
    CLEANUP(virt_close) struct virt *virt = NULL;
    CLEANUP(volume_close) struct volume *volume = NULL;
    CLEANUP(mem_free) char *layers = NULL;
    struct ctl ctl = { .config = { .state_dir = argv[1] } };
    struct err err = { 0 };

    if (argc < 5) {
        fprintf(stderr, "usage: %s DIR URI COMMAND VM ARGUMENT...\n", argv[0]);
        return 2;
    }
    effect_init();
    layers = xasprintf("%s/layers", argv[1]);
    virt = ctl.virt = virt_open(argv[2], NULL, NULL, &err);
    if (virt == NULL || !virt_wait_connected(virt, 10000) ||
        (volume = ctl.volume = volume_open(layers, virt, &err)) == NULL) {
        fprintf(stderr, "no connection: %s\n", err.msg);
        return 2;
    }
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        struct run r = { &ctl, argv[4], argv + 5, (size_t)argc - 5 };

        if (strcmp(argv[3], commands[i].word) != 0 || r.n < commands[i].least)
            continue;
        effect_flow_set("t");
        if (commands[i].fn(&r, &err) == 0)
            return 0;
        fprintf(stderr, "%s: %s\n", err_code_name(err.code), err.msg);
        return 1;
    }
    fprintf(stderr, "%s: no such command\n", argv[3]);
    return 2;
}
