/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/driver-fault.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

enum kind {
    FAULT_ERROR,
    FAULT_HALF,
    FAULT_SLOW,
    FAULT_KILL,
};
enum {
    FAULTS_MAX = 16
};

struct fault {
    struct driver base;
    struct driver *inner;
    unsigned steps;
    struct {
        enum kind kind;
        unsigned at;
        unsigned arg;
    } v[FAULTS_MAX];
    size_t n;
};

static struct fault *
fault_of(struct driver *d)
{
    return container_of(d, struct fault, base);
}

static int
before(struct fault *f, const char *what, struct err *err)
{
    f->steps++;
    for (size_t i = 0; i < f->n; i++) {
        if (f->v[i].at != f->steps)
            continue;
        if (f->v[i].kind == FAULT_SLOW)
            clock_sleep_ms(f->v[i].arg);
        if (f->v[i].kind == FAULT_ERROR)
            return err_set(err, ERR_INTERNAL, "%s: injected error", what);
    }
    return 0;
}

static int
after(struct fault *f, const char *what, int rc, struct err *err)
{
    for (size_t i = 0; i < f->n; i++) {
        if (f->v[i].at != f->steps)
            continue;
        if (f->v[i].kind == FAULT_KILL)
            (void)kill(getpid(), SIGKILL);
        if (f->v[i].kind == FAULT_HALF && rc == 0)
            return err_set(err, ERR_INTERNAL, "%s: injected error after it",
                           what);
    }
    return rc;
}

/* One step: the fault before, the real thing, the fault after. */
#define STEP(what, call)                                                       \
    do {                                                                       \
        struct fault *f = fault_of(d);                                         \
                                                                               \
        if (before(f, what, err) < 0)                                          \
            return -1;                                                         \
        return after(f, what, call, err);                                      \
    } while (0)

static int
cut(struct driver *d, const char *uuid, const char *request, struct err *err)
{
    STEP("cut", driver_cut(f->inner, uuid, request, err));
}

static int
create(struct driver *d, const struct driver_create *c, struct err *err)
{
    STEP("create", driver_create(f->inner, c, err));
}

static int
merge_live(struct driver *d, const struct driver_merge *m, struct err *err)
{
    STEP("merge_live", driver_merge_live(f->inner, m, err));
}

static int
merge(struct driver *d, const struct driver_merge *m, struct err *err)
{
    STEP("merge", driver_merge(f->inner, m, err));
}

static int
rebase(struct driver *d, const char *path, const struct qimg_file *parent,
       const struct imglock *locks, struct err *err)
{
    STEP("rebase", driver_rebase(f->inner, path, parent, locks, err));
}

static int
clone_file(struct driver *d, const struct qimg_file *from, const char *to,
           const char *like, struct err *err)
{
    STEP("clone", driver_clone(f->inner, from, to, like, err));
}

static int
remove_files(struct driver *d, const char *const *paths, size_t n,
             struct err *err)
{
    STEP("remove", driver_remove_all(f->inner, paths, n, err));
}

static int
rename_file(struct driver *d, const char *from, const char *to, struct err *err)
{
    STEP("rename", driver_rename(f->inner, from, to, err));
}

/* Changes nothing: not a step. */
static int
copy_probe(struct driver *d, const char *path, uint64_t *ret_us,
           struct err *err)
{
    return driver_copy_probe(fault_of(d)->inner, path, ret_us, err);
}

static int
copy_create(struct driver *d, const char *from, const char *to, struct err *err)
{
    STEP("copy_create", driver_copy_create(f->inner, from, to, err));
}

static int
copy(struct driver *d, const char *from, const char *to, struct err *err)
{
    STEP("copy", driver_copy(f->inner, from, to, err));
}

static void
free_driver(struct driver *d)
{
    driver_free(fault_of(d)->inner);
    free(fault_of(d));
}

static const struct driver_ops fault_ops = {
    .name = "fault",
    .cut = cut,
    .create = create,
    .merge_live = merge_live,
    .merge = merge,
    .rebase = rebase,
    .clone = clone_file,
    .remove = remove_files,
    .rename = rename_file,
    .copy_probe = copy_probe,
    .copy_create = copy_create,
    .copy = copy,
    .free = free_driver,
};

static int
parse(struct fault *f, const char *spec, struct err *err)
{
    static const char *const words[] = { "error", "half", "slow", "kill" };

    for (const char *p = spec; *p != 0; p += strcspn(p, ",")) {
        char word[8];
        unsigned at, arg = 0;
        size_t i = 0;

        p += *p == ',';
        if (f->n == FAULTS_MAX ||
            // NOLINTNEXTLINE(cert-err34-c): a test's own word
            sscanf(p, "%7[a-z]:%u:%u", word, &at, &arg) < 2)
            return err_set(err, ERR_INVALID, "fault %s", p);
        while (i < ARRAY_SIZE(words) && strcmp(words[i], word) != 0)
            i++;
        if (i == ARRAY_SIZE(words))
            return err_set(err, ERR_INVALID, "fault %s", p);
        f->v[f->n].kind = (enum kind)i;
        f->v[f->n].at = at;
        f->v[f->n++].arg = arg;
    }
    return 0;
}

struct driver *
driver_fault_new(struct driver *inner, const char *spec, struct err *err)
{
    struct fault *f = xcalloc(1, sizeof *f);

    f->base.ops = &fault_ops;
    f->inner = inner;
    if (parse(f, spec, err) < 0) {
        driver_free(&f->base);
        return NULL;
    }
    return &f->base;
}
