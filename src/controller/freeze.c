/* SPDX-License-Identifier: Apache-2.0 */
/* controller/freeze.c: the freeze journal and the thaws that it owes.
 *
 *   freeze_begin    journal file, fsync -> guard armed -> FSFreeze
 *   freeze_pause    the same with "resume" -> Suspend
 *   freeze_unpause  Resume
 *   freeze_end      FSThaw -> guard disarmed -> journal file unlinked
 *
 * A journal file holds the time, and in its second line what is owed: "thaw",
 * "resume" or "resume thaw" (no line: thaw).
 *
 * A freeze whose answer does not come in time is still in the agent's queue
 * and happens when the agent wakes up, so "it failed" means "a thaw is owed",
 * not "nothing happened". Owed thaws are keys of a queue of their own: one
 * worker per thaw, again every THAW_AGAIN_MS until it succeeds or the guest
 * is off (a guest that starts again is not frozen).
 *
 * On crash: the journal says whom to thaw; freeze_recover() puts every entry
 * into the queue before controllers run. A thaw too many is harmless, one too
 * few is not.
 */
#include "controller/freeze.h"

#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/queue.h"

#define THAW_AGAIN_MS 1000
#define THAW_WORKERS  4
#define JOURNAL_MAX   256
/* The guard waits longer than every step of ours between arm and thaw. */
#define GUARD_EXTRA_MS 30000

/* What is owed to a VM, and the guard's duty for it. */
struct owed {
    uint64_t arm_id; /* 0: of an earlier run of the daemon */
    bool resume, thaw;
};

struct freeze {
    struct virt *virt;                         /* [C] */
    struct guardclient *guard;                 /* [C] */
    uint64_t timeout_ms;                       /* [C] */
    int dir_fd;                                /* [C] <state_dir>/frozen */
    struct queue *thaws;                       /* [C] */
    void (*done)(void *arg, const char *uuid); /* [C] after freeze_recover */
    void *done_arg;                            /* [C] */
    pthread_mutex_t mutex;
    struct map *owed GUARDED_BY(freeze_lock); /* uuid -> struct owed */
};

static void
lock(struct freeze *f) ACQUIRE(freeze_lock) NO_TSA
{
    pthread_mutex_lock(&f->mutex);
}

static void
unlock(struct freeze *f) RELEASE(freeze_lock) NO_TSA
{
    pthread_mutex_unlock(&f->mutex);
}

static void
set_owed(struct freeze *f, const char *uuid, const struct owed *what)
{
    struct owed *o = xcalloc(1, sizeof *o);

    *o = *what;
    lock(f);
    o = map_put(f->owed, uuid, o);
    unlock(f);
    free(o);
}

/* false: nothing is. */
static bool
get_owed(struct freeze *f, const char *uuid, struct owed *ret)
{
    const struct owed *o;

    lock(f);
    o = map_get(f->owed, uuid);
    if (o != NULL)
        *ret = *o;
    unlock(f);
    return o != NULL;
}

/* Returns the guard's duty, or 0. */
static uint64_t
clear_owed(struct freeze *f, const char *uuid)
{
    struct owed *o;
    uint64_t arm_id;

    lock(f);
    o = map_remove(f->owed, uuid);
    unlock(f);
    arm_id = o == NULL ? 0 : o->arm_id;
    free(o);
    return arm_id;
}

bool
freeze_is_owed(struct freeze *f, const char *vm_uuid)
{
    struct owed unused;

    return get_owed(f, vm_uuid, &unused);
}

/* Off, or gone: whatever it was, it is not frozen any more. */
static bool
is_off(struct freeze *f, const char *uuid)
{
    struct err err;
    CLEANUP(virt_vm_free)
    struct virt_vm *vm = virt_vm_get(f->virt, uuid, &err);

    if (vm == NULL)
        return err.code == ERR_NOT_FOUND;
    return vm->state == VIRT_OFF || vm->state == VIRT_CRASHED;
}

/* Runs it, if we suspended it? CONFLICT: it runs already. */
static bool
resume(struct freeze *f, const char *uuid)
{
    struct err why;

    return virt_resume(f->virt, uuid, &why) == 0 || why.code == ERR_CONFLICT ||
           is_off(f, uuid);
}

/* One try to give an owed VM back what it is owed: a queue_work_fn. */
static int
thaw_owed(void *arg, const char *uuid, int64_t *ret_again_ms, struct err *err)
{
    struct freeze *f = arg;
    struct owed owed;
    struct err why;
    unsigned count = 0;
    uint64_t arm_id;

    *ret_again_ms = THAW_AGAIN_MS;
    if (!get_owed(f, uuid, &owed)) {
        *ret_again_ms = QUEUE_DONE;
        return 0;
    }
    if (owed.resume && !resume(f, uuid))
        return 0;
    if (owed.thaw &&
        virt_thaw(f->virt, uuid, f->timeout_ms, &count, &why) < 0 &&
        !is_off(f, uuid))
        return 0;
    if (file_unlink(f->dir_fd, uuid, err) < 0)
        return err_wrap(err, "freeze journal");
    arm_id = clear_owed(f, uuid);
    if (arm_id != 0)
        guardclient_disarm(f->guard, arm_id);
    *ret_again_ms = QUEUE_DONE;
    if (f->done != NULL)
        f->done(f->done_arg, uuid);
    return 0;
}

struct freeze *
freeze_new(const char *state_dir, struct virt *virt, struct guardclient *guard,
           uint64_t timeout_ms, struct err *err)
{
    CLEANUP(mem_free) char *dir = xasprintf("%s/frozen", state_dir);
    int fd = -1;

    if (file_make_dirs(dir, 0700, err) < 0 || file_sweep(dir, err) < 0 ||
        file_open_dir(dir, &fd, err) < 0)
        return err_wrap_null(err, "freeze journal");

    struct freeze *f = xcalloc(1, sizeof *f);

    f->virt = virt;
    f->guard = guard;
    f->timeout_ms = timeout_ms;
    f->dir_fd = fd;
    pthread_mutex_init(&f->mutex, NULL);
    lock(f);
    f->owed = map_new();
    unlock(f);
    f->thaws = queue_new("thaw", THAW_WORKERS, thaw_owed, f);
    return f;
}

void
freeze_free(struct freeze *f)
{
    const char *key;
    void *owed;

    if (f == NULL)
        return;
    queue_free(f->thaws);
    lock(f);
    for (size_t i = 0; map_next(f->owed, &i, &key, &owed);)
        free(owed);
    map_free(f->owed);
    unlock(f);
    pthread_mutex_destroy(&f->mutex);
    (void)close(f->dir_fd);
    free(f);
}

/* What an earlier run wrote; a file that cannot be read owes a thaw. */
static struct owed
journal_read(struct freeze *f, const char *uuid)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    CLEANUP(fd_close)
    int fd = openat(f->dir_fd, uuid, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    struct owed owed = { .thaw = true };
    const char *line;
    struct err unused;

    if (fd < 0 || file_read_fd(fd, JOURNAL_MAX, uuid, &text, &unused) < 0)
        return owed;
    line = strchr(buf_str(&text), '\n');
    if (line == NULL || line[1] == 0)
        return owed;
    owed.resume = strstr(line, "resume") != NULL;
    owed.thaw = strstr(line, "thaw") != NULL;
    return owed;
}

int
freeze_recover(struct freeze *f, void (*done)(void *arg, const char *uuid),
               void *arg, struct err *err)
{
    int fd = openat(f->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);

    if (d == NULL)
        return err_sys(err, errno, "freeze journal");
    f->done = done;
    f->done_arg = arg;
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (!uuid_is_valid(e->d_name))
            continue; /* ".", "..", a temporary file of file_replace() */

        const struct owed owed = journal_read(f, e->d_name);

        set_owed(f, e->d_name, &owed);
        queue_add(f->thaws, e->d_name);
    }
    (void)closedir(d);
    queue_start(f->thaws);
    return 0;
}

/* From here on a crash leads to a thaw, a resume, or both. */
static int
journal_write(struct freeze *f, const char *uuid, const char *owed,
              struct err *err)
{
    char stamp[CLOCK_RFC3339_SIZE];
    CLEANUP(mem_free) char *text = NULL;

    clock_format_rfc3339(clock_wall_s(), stamp);
    text = xasprintf("%s\n%s\n", stamp, owed);
    if (file_replace(f->dir_fd, uuid, text, strlen(text), 0600, err) < 0)
        return err_wrap(err, "freeze journal");
    return 0;
}

static void
journal_remove(struct freeze *f, const char *uuid)
{
    const struct owed owed = { .thaw = false };
    struct err err;

    /* It was thawed; what is owed is only the unlink. */
    if (file_unlink(f->dir_fd, uuid, &err) < 0) {
        set_owed(f, uuid, &owed);
        queue_add_after(f->thaws, uuid, THAW_AGAIN_MS);
    }
}

static int
arm(struct freeze *f, struct freeze_hold *h, bool is_pause, uint64_t hold_ms,
    struct err *err)
{
    struct guardclient_duty duty = {
        .vm_uuid = h->uuid,
        .resume = is_pause,
        .thaw = !is_pause || h->is_held,
        .deadline_ms = 2 * f->timeout_ms + GUARD_EXTRA_MS + hold_ms,
    };

    return guardclient_arm(f->guard, &duty, &h->arm_id, err);
}

/* One thaw now; what fails is left to the background and to the guard. */
static void
thaw_now(struct freeze *f, struct freeze_hold *h)
{
    struct err err;

    h->end_ns = clock_mono_ns();
    if (virt_thaw(f->virt, h->uuid, f->timeout_ms, &h->thawed, &err) < 0 &&
        !is_off(f, h->uuid)) {
        const struct owed owed = { .arm_id = h->arm_id,
                                   .resume = h->is_resume_failed,
                                   .thaw = true };

        h->is_thaw_failed = true;
        set_owed(f, h->uuid, &owed);
        queue_add_after(f->thaws, h->uuid, THAW_AGAIN_MS);
        return;
    }
    guardclient_disarm(f->guard, h->arm_id);
    journal_remove(f, h->uuid);
}

/* The freeze failed. Is the guest certainly not frozen by it? Only where the
 * command never reached an agent, or the agent refused it because somebody
 * else has frozen the guest before. */
static bool
is_untouched(const struct err *why, bool *ret_is_foreign)
{
    *ret_is_foreign = why->code == ERR_CONFLICT &&
                      strstr(why->msg, "is in frozen state") != NULL;
    return *ret_is_foreign || why->code == ERR_UNAVAILABLE ||
           why->code == ERR_NOT_FOUND;
}

int
freeze_begin(struct freeze *f, const char *vm_uuid, uint64_t hold_ms,
             struct freeze_hold *ret_hold, struct err *err)
{
    struct freeze_hold h = { .frozen = 0 };

    (void)snprintf(h.uuid, sizeof h.uuid, "%s", vm_uuid);
    if (freeze_is_owed(f, vm_uuid))
        return err_set(
            err, ERR_BUSY,
            "the guest still waits for the thaw after an earlier freeze");
    if (journal_write(f, vm_uuid, "thaw", err) < 0)
        return -1;
    if (arm(f, &h, false, hold_ms, err) < 0) {
        journal_remove(f, vm_uuid); /* no answer, no freeze */
        return -1;
    }
    if (virt_freeze(f->virt, vm_uuid, f->timeout_ms, &h.frozen, err) < 0) {
        if (is_untouched(err, &h.is_foreign)) {
            guardclient_disarm(f->guard, h.arm_id);
            journal_remove(f, vm_uuid);
        } else {
            thaw_now(f, &h);
        }
        if (!h.is_foreign)
            return err_wrap(err, "command Freeze failed");
        *ret_hold = h;
        return 0;
    }
    h.begin_ns = clock_mono_ns();
    h.is_held = true;
    *ret_hold = h;
    return 0;
}

int
freeze_pause(struct freeze *f, const char *vm_uuid, struct freeze_hold *hold,
             struct err *err)
{
    bool is_held = hold->is_held;

    if (!is_held && freeze_is_owed(f, vm_uuid))
        return err_set(err, ERR_BUSY,
                       "the guest still waits to be resumed or thawed after "
                       "an earlier snapshot");
    (void)snprintf(hold->uuid, sizeof hold->uuid, "%s", vm_uuid);
    if (journal_write(f, vm_uuid, is_held ? "resume thaw" : "resume", err) < 0)
        return -1;
    if (arm(f, hold, true, 0, err) < 0) {
        if (!is_held)
            journal_remove(f, vm_uuid); /* no answer, no suspend */
        return -1;
    }
    hold->is_paused = true;
    hold->pause_begin_ns = clock_mono_ns();
    if (virt_suspend(f->virt, vm_uuid, err) == 0)
        return 0;
    freeze_unpause(f, hold); /* it may have happened */
    return err_wrap(err, "suspend");
}

void
freeze_unpause(struct freeze *f, struct freeze_hold *hold)
{
    const struct owed owed = { .arm_id = hold->arm_id, .resume = true };

    if (!hold->is_paused)
        return;
    hold->is_paused = false;
    hold->is_resume_failed = !resume(f, hold->uuid);
    hold->pause_end_ns = clock_mono_ns();
    if (hold->is_held)
        return; /* freeze_end() does the rest */
    if (!hold->is_resume_failed) {
        guardclient_disarm(f->guard, hold->arm_id);
        journal_remove(f, hold->uuid);
        return;
    }
    set_owed(f, hold->uuid, &owed);
    queue_add_after(f->thaws, hold->uuid, THAW_AGAIN_MS);
}

void
freeze_end(struct freeze *f, struct freeze_hold *hold)
{
    if (!hold->is_held)
        return;
    hold->is_held = false;
    thaw_now(f, hold);
}

bool
freeze_was_complete(const struct freeze_hold *hold)
{
    return !hold->is_foreign && !hold->is_thaw_failed && !hold->is_held &&
           hold->begin_ns != 0 && hold->thawed == hold->frozen;
}
