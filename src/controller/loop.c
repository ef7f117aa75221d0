/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/loop.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/effect.h"
#include "base/log.h"
#include "base/mem.h"
#include "controller/job.h"

#define STEPS_MAX 16 /* in a row: more is a plan that goes in circles */

extern struct role loop_lock;

struct loop {
    struct ctl *ctl;              /* [C] */
    const struct loop_spec *spec; /* [C] */
    void *arg;                    /* [C] */
    struct queue *queue;          /* [C] */
    pthread_t thread;
    bool is_started; /* [T: who starts and frees] */
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool has_news GUARDED_BY(loop_lock);
    bool must_stop GUARDED_BY(loop_lock);
};

static void
lock(struct loop *l) ACQUIRE(loop_lock) NO_TSA
{
    pthread_mutex_lock(&l->mutex);
}

static void
unlock(struct loop *l) RELEASE(loop_lock) NO_TSA
{
    pthread_mutex_unlock(&l->mutex);
}

static int
work(void *arg, const char *key, int64_t *ret_again_ms, struct err *err)
{
    struct loop *l = arg;
    int rc;

    effect_flow_set(l->spec->flow);
    rc = l->spec->work(l->arg, key, ret_again_ms, err);
    effect_flow_set(NULL);
    return rc;
}

struct loop *
loop_new(struct ctl *ctl, const struct loop_spec *spec, void *arg)
{
    struct loop *l = xcalloc(1, sizeof *l);

    l->ctl = ctl;
    l->spec = spec;
    l->arg = arg == NULL ? l : arg;
    l->queue = queue_new(spec->name, spec->workers, work, l);
    (void)pthread_mutex_init(&l->mutex, NULL);
    (void)pthread_cond_init(&l->cond, NULL);
    return l;
}

static void
wake(void *arg)
{
    struct loop *l = arg;

    lock(l);
    l->has_news = true;
    pthread_cond_signal(&l->cond);
    unlock(l);
}

/* false: stop. */
static bool
wait_for_news(struct loop *l)
{
    bool go_on;

    lock(l);
    while (!l->has_news && !l->must_stop)
        (void)pthread_cond_wait(&l->cond, &l->mutex);
    l->has_news = false;
    go_on = !l->must_stop;
    unlock(l);
    return go_on;
}

static void
map_event(struct loop *l, const struct cache_event *ev)
{
    const struct gvr *gvr = object_gvr(ev->object);

    for (size_t i = 0; l->spec->gvrs[i] != NULL; i++) {
        if (l->spec->gvrs[i] != gvr)
            continue;
        if (l->spec->map != NULL)
            l->spec->map(l->arg, l, ev);
        else if (i == 0)
            loop_add(l, object_ns(ev->object), object_name(ev->object));
        return;
    }
}

/* Everything that is there, as ADDED. The watch was made before, so what
 * happens meanwhile comes once more, which does no harm. */
static void
replay(struct loop *l)
{
    for (size_t i = 0; l->spec->gvrs[i] != NULL; i++) {
        struct object_list list;

        cache_list(l->ctl->cache, l->spec->gvrs[i], NULL, &list);
        for (size_t j = 0; j < list.n; j++) {
            struct cache_event ev = { .type = CACHE_ADDED,
                                      .object = list.v[j],
                                      .rev = object_rev(list.v[j]) };

            map_event(l, &ev);
        }
        object_list_fini(&list);
    }
}

/* Hand on what is there; false when the watch has ended. */
static bool
drain(struct loop *l, struct cache_watch *w)
{
    struct cache_event ev;

    while (cache_watch_next(w, &ev)) {
        if (ev.type == CACHE_EXPIRED)
            return false;
        map_event(l, &ev);
        cache_event_fini(&ev);
    }
    return true;
}

static void *
loop_main(void *arg)
{
    struct loop *l = arg;
    bool go_on = true;
    char name[16];

    (void)snprintf(name, sizeof name, "%.10s/w", l->spec->name);
    (void)pthread_setname_np(pthread_self(), name);
    while (go_on) {
        struct cache_watch *w;
        struct err err;

        w = cache_watch_new(l->ctl->cache, NULL, 0, wake, l, &err);
        if (w == NULL)
            abort(); /* "all, from now on" cannot be refused */
        replay(l);
        while (drain(l, w) && (go_on = wait_for_news(l)))
            ;
        cache_watch_free(w);
    }
    return NULL;
}

int
loop_start(struct loop *l, struct err *err)
{
    int rc = pthread_create(&l->thread, NULL, loop_main, l);

    if (rc != 0)
        return err_sys(err, rc, "%s: start its thread", l->spec->name);
    l->is_started = true;
    queue_start(l->queue);
    return 0;
}

void
loop_free(struct loop *l)
{
    if (l == NULL)
        return;
    if (l->is_started) {
        lock(l);
        l->must_stop = true;
        pthread_cond_signal(&l->cond);
        unlock(l);
        (void)pthread_join(l->thread, NULL);
    }
    /* A step that runs may still ask for a lock and leave its key there. */
    queue_stop(l->queue);
    if (l->ctl->locks != NULL)
        vmlock_forget_queue(l->ctl->locks, l->queue);
    if (l->ctl->jobs != NULL)
        job_forget_queue(l->ctl->jobs, l->queue);
    if (l->ctl->asks != NULL)
        job_forget_queue(l->ctl->asks, l->queue);
    queue_free(l->queue);
    (void)pthread_mutex_destroy(&l->mutex);
    (void)pthread_cond_destroy(&l->cond);
    free(l);
}

struct ctl *
loop_ctl(struct loop *l)
{
    return l->ctl;
}

void
loop_add(struct loop *l, const char *ns, const char *name)
{
    CLEANUP(mem_free) char *key = xasprintf("%s/%s", ns, name);

    queue_add(l->queue, key);
}

void
loop_add_key(struct loop *l, const char *key, uint64_t after_ms)
{
    queue_add_after(l->queue, key, after_ms);
}

struct queue *
loop_queue(struct loop *l)
{
    return l->queue;
}

int
loop_steps(loop_step_fn step, void *pass, const char *kind, const char *key,
           int64_t *ret_again_ms, struct err *err)
{
    *ret_again_ms = QUEUE_DONE;
    for (int i = 0; i < STEPS_MAX; i++) {
        int rc = step(pass, ret_again_ms, err);

        if (rc > 0)
            return 0;
        if (rc < 0 && err->code == ERR_NOT_FOUND)
            break;
        if (rc < 0)
            return err_wrap(err, "%s %s", kind, key);
    }
    *ret_again_ms = LOOP_LATER_MS;
    return 0;
}

int
loop_take_vm(struct loop *l, const char *vm_uuid, enum vmlock_reason reason,
             const char *key, int64_t *ret_again_ms, struct err *err)
{
    CLEANUP(mem_free) char *holder = xasprintf("%s %s", l->spec->name, key);

    if (vmlock_take(l->ctl->locks, vm_uuid, reason, holder, l->queue, key,
                    err) == 0)
        return 0;
    if (err->code != ERR_BUSY)
        return -1;
    *ret_again_ms = LOOP_LATER_MS;
    return 1;
}

void
loop_give_vm(struct loop *l, const char *vm_uuid, const char *key)
{
    CLEANUP(mem_free) char *holder = xasprintf("%s %s", l->spec->name, key);

    vmlock_release(l->ctl->locks, vm_uuid, holder);
}

void
loop_key_parse(const char *key, struct loop_key *ret_key)
{
    const char *slash = strchr(key, '/');
    size_t ns_len = slash == NULL ? 0 : (size_t)(slash - key);

    (void)snprintf(ret_key->ns, sizeof ret_key->ns, "%.*s", (int)ns_len, key);
    (void)snprintf(ret_key->name, sizeof ret_key->name, "%s",
                   slash == NULL ? key : slash + 1);
}
