/* SPDX-License-Identifier: Apache-2.0 */
/* The hands of driver-conformance.sh: one operation of src/volume per run, so
 * that each is a process that can be killed at any of its side effects. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/effect.h"
#include "base/mem.h"
#include "base/spawn.h"
#include "volume/driver-fault.h"
#include "volume/overlay.h"
#include "volume/volume.h"

struct run {
    struct volume *v;
    struct virt *virt;
    const char *vm;
    char **args; /* after the VM's UUID */
    size_t n;
};

/* A VM that has to stand still does. */
static int
commit(struct run *r, struct volume_cut *c, struct err *err)
{
    bool is_paused = volume_cut_needs_pause(c);
    struct err later;
    int rc;

    if (is_paused && virt_suspend(r->virt, r->vm, err) < 0)
        return -1;
    rc = volume_cut_commit(c, err);
    if (is_paused && virt_resume(r->virt, r->vm, &later) < 0)
        fprintf(stderr, "resume: %s\n", later.msg);
    return rc;
}

static int
cut(struct run *r, struct err *err)
{
    CLEANUP(virt_vm_free) struct virt_vm *vm = virt_vm_get(r->virt, r->vm, err);
    CLEANUP(volume_cut_free) struct volume_cut *c = NULL;
    struct volume_cut_disk disks[32];
    const char *min_free = getenv("MIN_FREE");
    uint64_t begin_ms;

    if (vm == NULL ||
        volume_cut_prepare_as(
            r->v,
            getenv("CUT_BY_COPIES") != NULL ? VOLUME_CUT_ANY
                                            : VOLUME_CUT_LAYERS,
            vm, r->args[0], (const char *const *)r->args + 1, r->n - 1,
            min_free == NULL ? 0 : strtoull(min_free, NULL, 10), &c, err) < 0)
        return -1;
    begin_ms = clock_mono_ms();
    if (commit(r, c, err) < 0 || volume_cut_finish(c, disks, err) < 0) {
        struct err undo = { 0 };

        if (volume_cut_abort(c, &undo) < 0)
            fprintf(stderr, "abort: %s\n", undo.msg);
        return -1;
    }
    printf("%llu ms\n", (unsigned long long)(clock_mono_ms() - begin_ms));
    return 0;
}

static int
abort_cut(struct run *r, struct err *err)
{
    CLEANUP(virt_vm_free) struct virt_vm *vm = virt_vm_get(r->virt, r->vm, err);
    CLEANUP(volume_cut_free) struct volume_cut *c = NULL;

    if (vm == NULL ||
        volume_cut_prepare(r->v, vm, r->args[0],
                           (const char *const *)r->args + 1, r->n - 1, 1, &c,
                           err) < 0 ||
        volume_cut_commit(c, err) < 0)
        return -1;
    return volume_cut_abort(c, err);
}

static int
delete_cut(struct run *r, struct err *err)
{
    return volume_cut_delete(r->v, r->vm, r->args[0], err);
}

static int
collect(struct run *r, struct err *err)
{
    size_t left;

    if (volume_collect(r->v, r->vm, &left, err) < 0)
        return -1;
    printf("%zu\n", left);
    return 0;
}

static uint64_t
cpu_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* As the daemon does it, timed without the start of this program. */
static int
drop(struct run *r, struct err *err)
{
    uint64_t begin_us = clock_mono_ns() / 1000, begin_cpu_us = cpu_us();
    bool is_gone = false;
    size_t left;

    if (volume_cut_drop(r->v, r->vm, r->args[0], &is_gone, err) < 0 ||
        (!is_gone && volume_collect(r->v, r->vm, &left, err) < 0))
        return -1;
    printf("%llu us, %llu of them the program's own\n",
           (unsigned long long)(clock_mono_ns() / 1000 - begin_us),
           (unsigned long long)(cpu_us() - begin_cpu_us));
    return 0;
}

static int
recover(struct run *r, struct err *err)
{
    return volume_recover(r->v, r->vm, err);
}

static int
check(struct run *r, struct err *err)
{
    return volume_cut_check(r->v, r->vm, r->args[0], err);
}

static int
usage(struct run *r, struct err *err)
{
    uint64_t own, total;

    if (volume_cut_usage(r->v, r->vm, r->args[0], &own, &total, err) < 0)
        return -1;
    printf("%llu %llu\n", (unsigned long long)own, (unsigned long long)total);
    return 0;
}

static int
trash(struct run *r, struct err *err)
{
    return volume_trash_empty(r->v, r->vm, strtoll(r->args[0], NULL, 10), err);
}

static int
release(struct run *r, struct err *err)
{
    return volume_release(r->v, r->vm, err);
}

static int
detached(struct run *r, struct err *err)
{
    struct volume_detached *d;
    size_t n;

    if (r->n > 0)
        return volume_detached_delete(r->v, r->vm, r->args[0], err);
    if (volume_list_detached(r->v, r->vm, &d, &n, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        printf("%s\n", d[i].path);
        free(d[i].path);
        free(d[i].format);
        free(d[i].target);
    }
    free(d);
    return 0;
}

/* Redefine in place, or define a VM "clon" with another UUID beside "conf". */
static int
define(struct run *r, const struct volume_restore *restore,
       const struct volume_new_disk *disks, size_t n, const char *new_uuid,
       struct err *err)
{
    struct domxml_source sources[32];
    CLEANUP(mem_free) char *old_xml = NULL;
    CLEANUP(mem_free) char *new_xml = NULL;

    if (volume_restore_is_finished(restore))
        return 0;
    for (size_t i = 0; i < n; i++)
        sources[i] = (struct domxml_source){ disks[i].target, disks[i].path,
                                             disks[i].format };
    if (virt_xml_secure(r->virt, r->vm, &old_xml, err) < 0 ||
        domxml_retarget(old_xml, sources, n, &new_xml, err) < 0)
        return -1;
    if (new_uuid != NULL) {
        memcpy(strstr(new_xml, r->vm), new_uuid, strlen(new_uuid));
        memcpy(strstr(new_xml, "<name>conf"), "<name>clon", 10);
    }
    return virt_define(r->virt, new_xml, err);
}

/* args: CUT RESTORE trash|retain|clone=UUID|stop TARGET... */
static int
restore(struct run *r, struct err *err)
{
    CLEANUP(volume_restore_free) struct volume_restore *x = NULL;
    const char *how = r->args[2];
    const char *clone = strncmp(how, "clone=", 6) == 0 ? how + 6 : NULL;
    const struct volume_new_disk *disks;
    CLEANUP(mem_free) char *kept = NULL;
    size_t n;

    if (volume_restore_prepare(r->v, r->vm, r->args[0], r->args[1],
                               clone != NULL ? VOLUME_CLONE : VOLUME_IN_PLACE,
                               clone != NULL ? clone : r->vm,
                               (const char *const *)r->args + 3, r->n - 3, &x,
                               err) < 0)
        return -1;
    disks = volume_restore_disks(x, &n);
    for (size_t i = 0; i < n; i++)
        printf("%s %s\n", disks[i].target, disks[i].path);
    fflush(stdout);
    if (strcmp(how, "stop") == 0) {
        (void)getchar();
        return volume_restore_abort(x, err);
    }
    if (volume_restore_policy(x,
                              strcmp(how, "retain") == 0 ? VOLUME_OLD_RETAIN
                                                         : VOLUME_OLD_TRASH,
                              3600, err) < 0 ||
        define(r, x, disks, n, clone, err) < 0)
        return -1;
    volume_restore_unlock(x);
    if (volume_restore_finish(x,
                              strcmp(how, "retain") == 0 ? VOLUME_OLD_RETAIN
                                                         : VOLUME_OLD_TRASH,
                              3600, &kept, err) < 0)
        return -1;
    if (kept != NULL)
        printf("kept %s\n", kept);
    return 0;
}

/* What the restore's caller does: write the content, here that of an image. */
static int
fill_disk(const struct volume_new_disk *d, const char *from, struct err *err)
{
    const char *const argv[] = { "qemu-img", "convert", "-n",      "-f",
                                 "qcow2",    "-O",      d->format, "--",
                                 from,       d->path,   NULL };

    return spawn_run(argv, 60000, NULL, err);
}

static int
fill_all(struct run *r, struct volume_restore *x,
         const struct volume_new_disk *disks, size_t n, struct err *err)
{
    if (volume_restore_is_finished(x))
        return 0;
    for (size_t i = 0; i < n; i++)
        if (fill_disk(&disks[i], strchr(r->args[4 + i], '=') + 1, err) < 0)
            return -1;
    return volume_restore_filled(x, err);
}

/* The disks of the request, each beside the one that the domain has now;
 * `vm` and the arguments live as long as they. */
static void
fill_request(const struct run *r, const struct virt_vm *vm,
             struct volume_fill_disk *ret)
{
    for (size_t i = 4; i < r->n; i++) {
        char *word = r->args[i];
        char target[32];
        const struct domxml_disk *disk;

        (void)snprintf(target, sizeof target, "%.*s", (int)strcspn(word, "="),
                       word);
        disk = domxml_disk(vm->inactive, target);
        ret[i - 4] = (struct volume_fill_disk){
            .target = disk->target,
            .format = r->args[2],
            .size = strtoull(r->args[3], NULL, 10),
            .beside = disk->chain[0].path,
        };
    }
}

/* args: RESTORE trash|retain|new=UUID|stop|early FORMAT SIZE TARGET=IMAGE... */
static int
fill(struct run *r, struct err *err)
{
    CLEANUP(virt_vm_free) struct virt_vm *vm = virt_vm_get(r->virt, r->vm, err);
    CLEANUP(volume_restore_free) struct volume_restore *x = NULL;
    struct volume_fill_disk want[32];
    const char *how = r->args[1];
    const char *new_uuid = strncmp(how, "new=", 4) == 0 ? how + 4 : NULL;
    enum volume_old_disk old =
        strcmp(how, "retain") == 0 ? VOLUME_OLD_RETAIN : VOLUME_OLD_TRASH;
    const struct volume_new_disk *disks;
    CLEANUP(mem_free) char *kept = NULL;
    size_t n;

    if (vm == NULL)
        return -1;
    fill_request(r, vm, want);
    if (volume_fill_prepare(r->v, new_uuid != NULL ? new_uuid : r->vm,
                            r->args[0], new_uuid != NULL ? new_uuid : r->vm,
                            new_uuid == NULL, want, r->n - 4, &x, err) < 0)
        return -1;
    disks = volume_restore_disks(x, &n);
    for (size_t i = 0; i < n; i++)
        printf("%s %s\n", disks[i].target, disks[i].path);
    fflush(stdout);
    if (strcmp(how, "early") == 0)
        return volume_restore_finish(x, old, 3600, &kept, err);
    if (fill_all(r, x, disks, n, err) < 0)
        return -1;
    if (strcmp(how, "stop") == 0) {
        printf("filled\n");
        fflush(stdout);
        (void)getchar();
        return volume_restore_abort(x, err);
    }
    if (volume_restore_policy(x, old, 3600, err) < 0 ||
        define(r, x, disks, n, new_uuid, err) < 0)
        return -1;
    volume_restore_unlock(x);
    if (volume_restore_finish(x, old, 3600, &kept, err) < 0)
        return -1;
    if (kept != NULL)
        printf("kept %s\n", kept);
    return 0;
}

/* FAULT=SPEC in the environment: a driver that goes wrong there. */
static struct volume *
open_volume(const char *dir, struct virt *virt, struct err *err)
{
    const char *spec = getenv("FAULT");
    struct driver *driver;

    if (spec == NULL)
        return volume_open(dir, virt, err);
    driver = driver_fault_new(overlay_new(virt), spec, err);
    return driver == NULL ? NULL : volume_open_with(dir, virt, driver, err);
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *word;
        int (*fn)(struct run *r, struct err *err);
        size_t least;
    } commands[] = {
        { "cut", cut, 2 },           { "abort", abort_cut, 2 },
        { "delete", delete_cut, 1 }, { "collect", collect, 0 },
        { "drop", drop, 1 },         { "recover", recover, 0 },
        { "check", check, 1 },       { "usage", usage, 1 },
        { "trash", trash, 1 },       { "release", release, 0 },
        { "detached", detached, 0 }, { "restore", restore, 4 },
        { "fill", fill, 5 },
    };
    CLEANUP(virt_close) struct virt *virt = NULL;
    CLEANUP(volume_close) struct volume *v = NULL;
    struct err err = { 0 };

    if (argc < 5) {
        fprintf(stderr, "usage: %s DIR URI COMMAND VM ARGUMENT...\n", argv[0]);
        return 2;
    }
    effect_init();
    virt = virt_open(argv[2], NULL, NULL, &err);
    if (virt == NULL || !virt_wait_connected(virt, 10000) ||
        (v = open_volume(argv[1], virt, &err)) == NULL) {
        fprintf(stderr, "no connection: %s\n", err.msg);
        return 2;
    }
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        struct run r = { v, virt, argv[4], argv + 5, (size_t)argc - 5 };

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
