/* SPDX-License-Identifier: Apache-2.0 */
/* virt-test COMMAND UUID [ARGUMENT...]: one call of virt/, for tests/virt.sh.
 *
 * Prints "ok", with what the call returned, or the error's name and text.
 * Exit code: 0, 1 for an error, 2 for a wrong command line.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/effect.h"
#include "virt/block.h"
#include "virt/virt.h"
#include "volume/splitbrain.h"

#define AGENT_MS 10000

struct call {
    struct virt *v;
    const char *uuid;
    int argc;
    char **argv;
    struct err *err;
};

static uint64_t
number(const struct call *c, int i, uint64_t other)
{
    return c->argc > i ? strtoull(c->argv[i], NULL, 10) : other;
}

static int
show(const struct call *c)
{
    CLEANUP(virt_vm_free)
    struct virt_vm *vm = virt_vm_get(c->v, c->uuid, c->err);

    if (vm == NULL)
        return -1;
    printf("name=%s state=%d persistent=%d agent=%d\n", vm->inactive->name,
           (int)vm->state, vm->is_persistent,
           vm->live != NULL && vm->live->is_agent_connected);
    const struct domxml *d = vm->live != NULL ? vm->live : vm->inactive;
    for (size_t i = 0; i < d->n_disks; i++) {
        printf("%s", d->disks[i].target);
        for (size_t k = 0; k < d->disks[i].chain_len; k++)
            printf(" %s", d->disks[i].chain[k].path);
        printf("\n");
    }
    return 0;
}

static int
list(const struct call *c)
{
    char **uuids;
    size_t n;

    if (virt_list(c->v, &uuids, &n, c->err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        printf("%s\n", uuids[i]);
        free(uuids[i]);
    }
    free(uuids);
    return 0;
}

static int
freeze(const struct call *c)
{
    unsigned n;

    if (virt_freeze(c->v, c->uuid, number(c, 0, AGENT_MS), &n, c->err) < 0)
        return -1;
    printf("count=%u\n", n);
    return 0;
}

static int
thaw(const struct call *c)
{
    unsigned n;

    if (virt_thaw(c->v, c->uuid, number(c, 0, AGENT_MS), &n, c->err) < 0)
        return -1;
    printf("count=%u\n", n);
    return 0;
}

/* Thaw until it succeeds, as the product does. */
static int
thaw_until(const struct call *c)
{
    for (int i = 1; i < 200; i++) {
        unsigned n;

        if (virt_thaw(c->v, c->uuid, 2000, &n, c->err) == 0) {
            printf("count=%u tries=%d\n", n, i);
            return 0;
        }
        clock_sleep_ms(100);
    }
    return -1;
}

/* overlay TARGET PATH [TARGET PATH]: the files are there */
static int
overlay(const struct call *c)
{
    struct virt_overlay o[8];
    size_t n = 0;
    uint64_t since_ms;
    CLEANUP(mem_free) char *request = NULL;
    CLEANUP(virt_vm_free)
    struct virt_vm *vm = virt_vm_get(c->v, c->uuid, c->err);

    if (vm == NULL)
        return -1;
    for (int i = 0; i + 1 < c->argc && n < ARRAY_SIZE(o); i += 2)
        o[n++] = (struct virt_overlay){ c->argv[i], c->argv[i + 1] };
    if (virt_overlay_request(vm->live != NULL ? vm->live : vm->inactive, o, n,
                             &request, c->err) < 0)
        return -1;
    since_ms = clock_mono_ms();
    if (virt_overlay_switch(c->v, c->uuid, request, c->err) < 0)
        return -1;
    printf("ms=%" PRIu64 "\n", clock_mono_ms() - since_ms);
    return 0;
}

static bool
writes_to(const struct virt_open_files *f, const struct file_id *id)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->v[i].is_writable && file_id_equal(&f->v[i].id, id))
            return true;
    return false;
}

/* kill-on-switch FILE PID: SIGKILL for PID as soon as the domain's QEMU does
 * not write to FILE any more: an overlay has just been put above it. */
static int
kill_on_switch(const struct call *c)
{
    uint64_t until_ms = clock_mono_ms() + 60000;
    struct file_id id;

    if (c->argc < 2 || file_id_of_path(c->argv[0], &id, c->err) < 0)
        return -1;
    printf("waiting\n");
    (void)fflush(stdout);
    while (clock_mono_ms() < until_ms) {
        struct virt_open_files f;
        bool is_switched;

        if (virt_open_files(c->v, c->uuid, &f, c->err) < 0)
            return -1;
        is_switched = !writes_to(&f, &id);
        virt_open_files_fini(&f);
        if (is_switched) {
            (void)kill((pid_t)number(c, 1, 0), SIGKILL);
            return 0;
        }
    }
    return err_set(c->err, ERR_TIMEOUT, "no switch");
}

/* A line that is added to the effect log from now on has `text` in it. */
static int
await_effect(const char *log, const char *text, uint64_t until_ms,
             struct err *err)
{
    FILE *f = fopen(log, "re");
    char line[512];
    bool is_seen = false;

    if (f == NULL || fseek(f, 0, SEEK_END) < 0)
        return err_set(err, ERR_INVALID, "%s: effect log", log);
    printf("waiting\n");
    (void)fflush(stdout);
    while (!is_seen && clock_mono_ms() < until_ms) {
        if (fgets(line, sizeof line, f) != NULL) {
            is_seen = strstr(line, text) != NULL;
        } else {
            clearerr(f);
            (void)usleep(200);
        }
    }
    (void)fclose(f);
    return is_seen ? 0 : err_set(err, ERR_TIMEOUT, "no %s", text);
}

static bool
file_has(const char *path, const char *text)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    struct err unused;

    return file_read_all(path, 1u << 20, &b, &unused) == 0 &&
           strstr(buf_str(&b), text) != NULL;
}

/* WRITES FILE | LEAVES FILE (the domain's QEMU, open for writing) |
 * HAS FILE TEXT: do all hold? */
static bool
all_hold(const struct call *c, int i)
{
    struct virt_open_files f = { .n = 0 };
    bool do_hold = virt_open_files(c->v, c->uuid, &f, c->err) == 0;

    while (do_hold && i + 1 < c->argc) {
        const char *word = c->argv[i], *path = c->argv[i + 1];
        struct file_id id = { .ino = 0 };

        i += 2;
        if (strcmp(word, "HAS") == 0)
            do_hold = i < c->argc && file_has(path, c->argv[i++]);
        else
            do_hold = file_id_of_path(path, &id, c->err) == 0 &&
                      writes_to(&f, &id) == (strcmp(word, "WRITES") == 0);
    }
    virt_open_files_fini(&f);
    return do_hold;
}

/* step LOG TEXT PID CONDITION...: as kill-on; but then PID (libvirtd) may run
 * in slices only, too short for a command to QEMU and its answer, until all
 * conditions hold between two of them: then SIGKILL. */
static int
step(const struct call *c)
{
    uint64_t until_ms = clock_mono_ms() + 60000;
    pid_t pid = (pid_t)number(c, 2, 0);

    if (c->argc < 5)
        return err_set(c->err, ERR_INVALID, "step LOG TEXT PID CONDITION...");
    if (await_effect(c->argv[0], c->argv[1], until_ms, c->err) < 0)
        return -1;
    while (clock_mono_ms() < until_ms) {
        (void)kill(pid, SIGSTOP);
        (void)usleep(2500);
        if (all_hold(c, 3)) {
            (void)kill(pid, SIGKILL);
            return 0;
        }
        (void)kill(pid, SIGCONT);
        (void)usleep(120);
    }
    return err_set(c->err, ERR_TIMEOUT, "that never held");
}

/* kill-on LOG TEXT PID US: wait (60 s) until a line that is added to LOG from
 * now on has TEXT in it, then so many microseconds, then SIGKILL for PID. */
static int
kill_on(const struct call *c)
{
    if (c->argc < 4)
        return err_set(c->err, ERR_INVALID, "kill-on LOG TEXT PID US");
    if (await_effect(c->argv[0], c->argv[1], clock_mono_ms() + 60000, c->err) <
        0)
        return -1;
    (void)usleep((useconds_t)number(c, 3, 0));
    (void)kill((pid_t)number(c, 2, 0), SIGKILL);
    return 0;
}

/* commit TARGET BASE TOP [TIMEOUT_MS] */
static int
commit(const struct call *c)
{
    uint64_t since_ms = clock_mono_ms();
    struct virt_commit how;

    if (c->argc < 3)
        return err_set(c->err, ERR_INVALID, "commit TARGET BASE TOP");
    how = (struct virt_commit){ .uuid = c->uuid,
                                .target = c->argv[0],
                                .base = c->argv[1],
                                .top = c->argv[2],
                                .timeout_ms = number(c, 3, 30000) };
    if (virt_block_commit(c->v, &how, c->err) < 0)
        return -1;
    printf("ms=%" PRIu64 "\n", clock_mono_ms() - since_ms);
    return 0;
}

/* resume TARGET BASE TOP: complete the commit that is running */
static int
resume(const struct call *c)
{
    struct virt_commit how;
    bool is_found;

    if (c->argc < 3)
        return err_set(c->err, ERR_INVALID, "resume TARGET BASE TOP");
    how = (struct virt_commit){ .uuid = c->uuid,
                                .target = c->argv[0],
                                .base = c->argv[1],
                                .top = c->argv[2],
                                .timeout_ms = 30000 };
    if (virt_block_commit_resume(c->v, &how, &is_found, c->err) < 0)
        return -1;
    printf("found=%d\n", is_found);
    return 0;
}

static int
job(const struct call *c)
{
    bool is_active, is_ready;
    char what[64];

    if (c->argc > 0) {
        if (virt_block_job(c->v, c->uuid, c->argv[0], &is_active, &is_ready,
                           c->err) < 0)
            return -1;
        printf("active=%d ready=%d\n", is_active, is_ready);
        return 0;
    }
    if (virt_domain_job(c->v, c->uuid, &is_active, what, sizeof what, c->err) <
        0)
        return -1;
    printf("active=%d what=%s\n", is_active, what);
    return 0;
}

static int
job_end(const struct call *c)
{
    return virt_block_job_end(c->v, c->uuid, c->argv[0],
                              strcmp(c->argv[1], "pivot") == 0, c->err);
}

static int
files(const struct call *c)
{
    struct virt_open_files f;

    if (virt_open_files(c->v, c->uuid, &f, c->err) < 0)
        return -1;
    for (size_t i = 0; i < f.n; i++)
        printf("%s %s\n", f.v[i].is_writable ? "rw" : "ro", f.v[i].path);
    virt_open_files_fini(&f);
    return 0;
}

static int
check(const struct call *c)
{
    CLEANUP(virt_vm_free)
    struct virt_vm *vm = virt_vm_get(c->v, c->uuid, c->err);

    return vm == NULL ? -1 : splitbrain_check(c->v, vm, c->err);
}

static int
power(const struct call *c)
{
    const char *what = c->argc > 0 ? c->argv[0] : "";

    if (strcmp(what, "start") == 0)
        return virt_start(c->v, c->uuid, false, c->err);
    if (strcmp(what, "start-paused") == 0)
        return virt_start(c->v, c->uuid, true, c->err);
    if (strcmp(what, "shutdown") == 0)
        return virt_shutdown(c->v, c->uuid, c->err);
    if (strcmp(what, "destroy") == 0)
        return virt_destroy(c->v, c->uuid, c->err);
    if (strcmp(what, "reboot") == 0)
        return virt_reboot(c->v, c->uuid, c->err);
    if (strcmp(what, "suspend") == 0)
        return virt_suspend(c->v, c->uuid, c->err);
    if (strcmp(what, "resume") == 0)
        return virt_resume(c->v, c->uuid, c->err);
    if (strcmp(what, "undefine") == 0)
        return virt_undefine(c->v, c->uuid, c->err);
    if (strcmp(what, "wait-off") == 0)
        return virt_wait_state(c->v, c->uuid, VIRT_OFF, number(c, 1, 60000),
                               c->err);
    return err_set(c->err, ERR_INVALID, "power WHAT");
}

/* retarget TARGET PATH FORMAT: redefine the domain so */
static int
retarget(const struct call *c)
{
    CLEANUP(mem_free) char *xml = NULL;
    CLEANUP(mem_free) char *changed = NULL;
    struct domxml_source s = { c->argv[0], c->argv[1], c->argv[2] };

    if (virt_xml_secure(c->v, c->uuid, &xml, c->err) < 0 ||
        domxml_retarget(xml, &s, 1, &changed, c->err) < 0)
        return -1;
    return virt_define(c->v, changed, c->err);
}

/* rebuild NAME TARGET PATH FORMAT [TARGET PATH FORMAT]: a new domain out of
 * this one's XML, as if it were foreign; prints what was dropped. */
static int
rebuild(const struct call *c)
{
    CLEANUP(mem_free) char *xml = NULL;
    CLEANUP(mem_free) char *made = NULL;
    CLEANUP(mem_free) char *dropped = NULL;
    struct domxml_source disks[4];
    struct domxml_rebuild how = {
        .name = c->argv[0],
        .ns = "test",
        .emulator = "/usr/bin/qemu-system-x86_64",
        .disks = disks,
        .keep_kernel = true,
    };

    for (int i = 1; i + 2 < c->argc && how.n_disks < ARRAY_SIZE(disks); i += 3)
        disks[how.n_disks++] =
            (struct domxml_source){ c->argv[i], c->argv[i + 1],
                                    c->argv[i + 2] };
    if (virt_xml_secure(c->v, c->uuid, &xml, c->err) < 0 ||
        domxml_rebuild(xml, &how, &made, &dropped, c->err) < 0)
        return -1;
    printf("%s", dropped);
    return virt_define(c->v, made, c->err);
}

static void
on_event(void *arg, enum virt_event event, const char *uuid)
{
    static const char *const names[] = {
        [VIRT_EVENT_CHANGED] = "changed",
        [VIRT_EVENT_UNDEFINED] = "undefined",
        [VIRT_EVENT_CONNECTED] = "connected",
        [VIRT_EVENT_DISCONNECTED] = "disconnected",
        [VIRT_EVENT_UNREACHABLE] = "unreachable",
    };

    printf("%s %s\n", names[event], uuid == NULL ? "-" : uuid);
    fflush(stdout);
}

/* watch MS [PAUSE_MS]: print events, and whenever it changes whether a list
 * can be had, asked every PAUSE_MS (100). */
static int
watch(const struct call *c)
{
    uint64_t until_ms = clock_mono_ms() + number(c, 0, 10000);
    bool was_good = false;

    while (clock_mono_ms() < until_ms) {
        char **uuids;
        size_t n;
        bool is_good = virt_list(c->v, &uuids, &n, c->err) == 0;

        for (size_t i = 0; is_good && i < n; i++)
            free(uuids[i]);
        if (is_good)
            free(uuids);
        if (is_good != was_good) {
            printf("%s\n", is_good ? "list-good" : err_code_name(c->err->code));
            fflush(stdout);
        }
        was_good = is_good;
        clock_sleep_ms(number(c, 1, 100));
    }
    return 0;
}

static const struct command {
    const char *name;
    int (*run)(const struct call *c);
} commands[] = {
    { "show", show },
    { "list", list },
    { "freeze", freeze },
    { "thaw", thaw },
    { "overlay", overlay },
    { "commit", commit },
    { "resume", resume },
    { "job", job },
    { "job-end", job_end },
    { "files", files },
    { "check", check },
    { "power", power },
    { "watch", watch },
    { "retarget", retarget },
    { "thaw-until", thaw_until },
    { "rebuild", rebuild },
    { "kill-on", kill_on },
    { "kill-on-switch", kill_on_switch },
    { "step", step },
};

int
main(int argc, char **argv)
{
    const char *uri = getenv("LIBVIRT_URI");
    struct err err = { 0 };
    const struct command *command = NULL;

    for (size_t i = 0; argc > 2 && i < ARRAY_SIZE(commands); i++)
        if (strcmp(commands[i].name, argv[1]) == 0)
            command = &commands[i];
    if (command == NULL || uri == NULL)
        return 2;
    effect_init();
    effect_flow_set("test");

    CLEANUP(virt_close)
    struct virt *v =
        virt_open(uri, command->run == watch ? on_event : NULL, NULL, &err);
    struct call c = { v, argv[2], argc - 3, argv + 3, &err };

    if (v == NULL || !virt_wait_connected(v, 15000) || command->run(&c) < 0) {
        printf("%s: %s\n", err_code_name(err.code), err.msg);
        return 1;
    }
    printf("ok\n");
    return 0;
}
