/* SPDX-License-Identifier: Apache-2.0 */
/* The connection: open, watched, opened again.
 *
 * libvirt's default event loop runs in one thread of the process, started at
 * the first virt_open() and never stopped. Each struct virt has a second
 * thread, the connector: it opens the connection (which may block), registers
 * for events, and sleeps until the close callback says that libvirtd has gone;
 * then it begins anew, with a pause that grows from 0.1 s to 5 s.
 *
 * Keepalive bounds every call: a libvirtd that neither answers nor dies is
 * given up after KEEPALIVE_S * KEEPALIVE_COUNT seconds, and all calls on the
 * connection fail. Calls that wait for another job of a domain are given up by
 * libvirt itself after 30 s.
 *
 * Event callbacks may still run while virt_close() does: each of them
 * holds a reference that libvirt gives back by its free callback, and emit()
 * calls nobody once the closing has begun; virt_close() waits for the calls
 * that have begun before.
 */
#include <libvirt/virterror.h>
#include <libxml/parser.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/mutex.h"
#include "virt/virt-priv.h"

enum {
    KEEPALIVE_S = 5,
    KEEPALIVE_COUNT = 3,
    RETRY_MIN_MS = 100,
    RETRY_MAX_MS = 5000,
    EVENTS_MAX = 8,
    WHY_SIZE = 160,
    KEPT_MS = 5000,
};

extern struct role virt_lock;

struct virt {
    char *uri;        /* [C] */
    virt_event_fn fn; /* [C] */
    void *arg;        /* [C] */
    atomic_int refs;  /* [A] the owner's, and one per registration */
    pthread_t thread; /* [C] the connector */
    pthread_mutex_t mutex;
    pthread_cond_t changed;                   /* any of the fields below */
    virConnectPtr conn GUARDED_BY(virt_lock); /* NULL: not connected */
    bool is_lost GUARDED_BY(virt_lock); /* conn has been closed by the peer */
    bool is_closing GUARDED_BY(virt_lock);
    unsigned calls GUARDED_BY(virt_lock);     /* of fn, not yet returned */
    char why[WHY_SIZE] GUARDED_BY(virt_lock); /* the last try has failed */
    struct kept *kept GUARDED_BY(virt_lock);  /* see virt_connect_keep() */
};

struct kept {
    struct kept *next;
    virDomainPtr dom;
    uint64_t until_ms;
    char uuid[UUID_STR_SIZE];
};

static void
lock(struct virt *v) ACQUIRE(virt_lock) NO_TSA
{
    pthread_mutex_lock(&v->mutex);
}

static void
unlock(struct virt *v) RELEASE(virt_lock) NO_TSA
{
    pthread_mutex_unlock(&v->mutex);
}

static void
unref(struct virt *v)
{
    if (atomic_fetch_sub(&v->refs, 1) > 1)
        return;
    pthread_cond_destroy(&v->changed);
    pthread_mutex_destroy(&v->mutex);
    free(v->uri);
    free(v);
}

static void
unref_opaque(void *arg)
{
    unref(arg);
}

/* ---- the event loop of the process ---- */

static _Noreturn void *
run_events(void *unused)
{
    for (;;)
        if (virEventRunDefaultImpl() < 0)
            clock_sleep_ms(100); /* cannot happen; must not spin */
}

/* virEventRunDefaultImpl() sleeps in poll() while nothing is registered; a
 * timer wakes it now and then, so that it sees what came meanwhile. */
static void
tick(int timer, void *arg)
{
}

static void
ignore_error(void *arg, virErrorPtr e)
{
}

static void
start_event_loop(void)
{
    struct sigaction pipe;
    pthread_t thread;

    /* libvirt writes to a libvirtd that has died without MSG_NOSIGNAL. */
    if (sigaction(SIGPIPE, NULL, &pipe) == 0 && pipe.sa_handler == SIG_DFL)
        (void)signal(SIGPIPE, SIG_IGN);
    virSetErrorFunc(NULL, ignore_error); /* else it prints to stderr */
    xmlInitParser(); /* once, before two threads parse at the same time */
    if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0 ||
        virEventAddTimeout(1000, tick, NULL, NULL) < 0 ||
        pthread_create(&thread, NULL, run_events, NULL) != 0)
        abort(); /* out of memory or threads: see base/mem.h */
    (void)pthread_setname_np(thread, "virt-events");
    (void)pthread_detach(thread);
}

/* ---- events ---- */

static bool
begin_call(struct virt *v)
{
    bool go;

    lock(v);
    go = !v->is_closing;
    if (go)
        v->calls++;
    unlock(v);
    return go;
}

static void
emit(struct virt *v, enum virt_event event, const char *uuid)
{
    if (v->fn == NULL || !begin_call(v))
        return;
    v->fn(v->arg, event, uuid);
    lock(v);
    v->calls--;
    pthread_cond_broadcast(&v->changed);
    unlock(v);
}

static void
emit_domain(struct virt *v, virDomainPtr dom, enum virt_event event)
{
    char uuid[VIR_UUID_STRING_BUFLEN];

    if (virDomainGetUUIDString(dom, uuid) == 0)
        emit(v, event, uuid);
}

static int
on_lifecycle(virConnectPtr conn, virDomainPtr dom, int event, int detail,
             void *arg)
{
    bool is_gone = event == VIR_DOMAIN_EVENT_UNDEFINED &&
                   detail == VIR_DOMAIN_EVENT_UNDEFINED_REMOVED;

    emit_domain(arg, dom, is_gone ? VIRT_EVENT_UNDEFINED : VIRT_EVENT_CHANGED);
    return 0;
}

static void
on_agent(virConnectPtr conn, virDomainPtr dom, int state, int reason, void *arg)
{
    emit_domain(arg, dom, VIRT_EVENT_CHANGED);
}

static void
on_device(virConnectPtr conn, virDomainPtr dom, const char *alias, void *arg)
{
    emit_domain(arg, dom, VIRT_EVENT_CHANGED);
}

static void
on_metadata(virConnectPtr conn, virDomainPtr dom, int type, const char *uri,
            void *arg)
{
    emit_domain(arg, dom, VIRT_EVENT_CHANGED);
}

static void
on_block_job(virConnectPtr conn, virDomainPtr dom, const char *disk, int type,
             int status, void *arg)
{
    emit_domain(arg, dom, VIRT_EVENT_CHANGED);
}

static void
on_close(virConnectPtr conn, int reason, void *arg)
{
    struct virt *v = arg;

    lock(v);
    if (v->conn == conn || v->conn == NULL)
        v->is_lost = true;
    pthread_cond_broadcast(&v->changed);
    unlock(v);
}

static const struct event {
    int id;
    virConnectDomainEventGenericCallback fn;
} events[] = {
    { VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle) },
    { VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE,
      VIR_DOMAIN_EVENT_CALLBACK(on_agent) },
    { VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, VIR_DOMAIN_EVENT_CALLBACK(on_device) },
    { VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
      VIR_DOMAIN_EVENT_CALLBACK(on_device) },
    { VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
      VIR_DOMAIN_EVENT_CALLBACK(on_metadata) },
    { VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2,
      VIR_DOMAIN_EVENT_CALLBACK(on_block_job) },
};
_Static_assert(ARRAY_SIZE(events) <= EVENTS_MAX, "EVENTS_MAX");

/* ---- the connector ---- */

struct session {
    virConnectPtr conn;
    int callbacks[EVENTS_MAX]; /* -1: not registered */
    bool has_close_callback;
};

static void
session_end(struct session *s)
{
    for (size_t i = 0; i < ARRAY_SIZE(events); i++)
        if (s->callbacks[i] >= 0)
            (void)virConnectDomainEventDeregisterAny(s->conn, s->callbacks[i]);
    if (s->has_close_callback)
        (void)virConnectUnregisterCloseCallback(s->conn, on_close);
    (void)virConnectClose(s->conn);
    s->conn = NULL;
}

static bool
session_begin(struct virt *v, struct session *s)
{
    lock(v);
    v->is_lost = false; /* a late word about the connection before */
    unlock(v);
    s->conn = virConnectOpen(v->uri);
    if (s->conn == NULL)
        return false;
    /* Not every driver has these (test:///default has not); libvirtd does. */
    (void)virConnectSetKeepAlive(s->conn, KEEPALIVE_S, KEEPALIVE_COUNT);
    /* Called under a lock that unregistering takes: it needs no reference. */
    s->has_close_callback =
        virConnectRegisterCloseCallback(s->conn, on_close, v, NULL) == 0;
    for (size_t i = 0; i < ARRAY_SIZE(events); i++)
        s->callbacks[i] = -1;
    for (size_t i = 0; v->fn != NULL && i < ARRAY_SIZE(events); i++) {
        atomic_fetch_add(&v->refs, 1);
        s->callbacks[i] = virConnectDomainEventRegisterAny(
            s->conn, NULL, events[i].id, events[i].fn, v, unref_opaque);
        if (s->callbacks[i] < 0)
            unref(v);
    }
    if (virConnectIsAlive(s->conn) == 1)
        return true;
    session_end(s);
    return false;
}

/* Sleep until the connection is lost, it is closing time, or `pause_ms`. */
static bool
wait_for_end(struct virt *v, uint64_t pause_ms)
{
    uint64_t until_ns = clock_mono_ns() + pause_ms * 1000000;
    struct timespec until = { .tv_sec = (time_t)(until_ns / 1000000000),
                              .tv_nsec = (long)(until_ns % 1000000000) };
    bool is_closing;

    lock(v);
    while (!v->is_closing && !v->is_lost) {
        if (pause_ms == 0)
            pthread_cond_wait(&v->changed, &v->mutex);
        else if (pthread_cond_timedwait(&v->changed, &v->mutex, &until) != 0)
            break;
    }
    is_closing = v->is_closing;
    unlock(v);
    return is_closing;
}

static void
publish(struct virt *v, virConnectPtr conn)
{
    lock(v);
    v->conn = conn;
    if (conn != NULL)
        v->why[0] = 0;
    pthread_cond_broadcast(&v->changed);
    unlock(v);
}

/* The cause is kept for whoever asks; the first failure in a row is told. */
static void
note_failure(struct virt *v, bool *told)
{
    const char *why = virGetLastErrorMessage();

    log_debug("libvirt: %s: %s", v->uri, why);
    lock(v);
    (void)snprintf(v->why, sizeof v->why, "%s", why);
    unlock(v);
    publish(v, NULL);
    if (!*told)
        emit(v, VIRT_EVENT_UNREACHABLE, why);
    *told = true;
}

static void *
run_connector(void *arg)
{
    struct virt *v = arg;
    uint64_t pause_ms = RETRY_MIN_MS;
    bool is_closing = false, told = false;

    while (!is_closing) {
        struct session s;

        if (!session_begin(v, &s)) {
            note_failure(v, &told);
            is_closing = wait_for_end(v, pause_ms);
            pause_ms =
                pause_ms * 2 < RETRY_MAX_MS ? pause_ms * 2 : RETRY_MAX_MS;
            continue;
        }
        pause_ms = RETRY_MIN_MS;
        told = false;
        publish(v, s.conn);
        emit(v, VIRT_EVENT_CONNECTED, NULL);
        is_closing = wait_for_end(v, 0);
        publish(v, NULL);
        session_end(&s);
        emit(v, VIRT_EVENT_DISCONNECTED, NULL);
    }
    return NULL;
}

/* ---- what virt.h says ---- */

static struct virt *
new_virt(const char *uri, virt_event_fn fn, void *arg)
{
    struct virt *v = xcalloc(1, sizeof *v);
    pthread_condattr_t attr;

    v->uri = xstrdup(uri);
    v->fn = fn;
    v->arg = arg;
    atomic_init(&v->refs, 1);
    pthread_mutex_init(&v->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&v->changed, &attr);
    pthread_condattr_destroy(&attr);
    return v;
}

struct virt *
virt_open(const char *uri, virt_event_fn fn, void *arg, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct virt *v;
    int rc;

    pthread_once(&once, start_event_loop);
    v = new_virt(uri, fn, arg);
    rc = pthread_create(&v->thread, NULL, run_connector, v);
    if (rc != 0) {
        unref(v);
        return err_sys_null(err, rc, "libvirt: thread");
    }
    (void)pthread_setname_np(v->thread, "virt-connector");
    return v;
}

/* uuid NULL: any. */
static struct kept *
take_kept(struct virt *v, const char *uuid)
{
    struct kept **at, *k;

    lock(v);
    for (at = &v->kept;
         *at != NULL && uuid != NULL && strcmp((*at)->uuid, uuid) != 0;)
        at = &(*at)->next;
    k = *at;
    if (k != NULL)
        *at = k->next;
    unlock(v);
    return k;
}

static void
free_kept(struct kept *k)
{
    if (k == NULL)
        return;
    (void)virDomainFree(k->dom);
    free(k);
}

void
virt_close(struct virt *v)
{
    if (v == NULL)
        return;
    lock(v);
    v->is_closing = true;
    pthread_cond_broadcast(&v->changed);
    while (v->calls > 0)
        pthread_cond_wait(&v->changed, &v->mutex);
    unlock(v);
    pthread_join(v->thread, NULL);
    for (struct kept *k; (k = take_kept(v, NULL)) != NULL;)
        free_kept(k);
    unref(v);
}

bool
virt_is_connected(struct virt *v)
{
    bool is;

    lock(v);
    is = v->conn != NULL && !v->is_lost;
    unlock(v);
    return is;
}

bool
virt_wait_connected(struct virt *v, uint64_t timeout_ms)
{
    uint64_t until_ms = clock_mono_ms() + timeout_ms;

    while (!virt_is_connected(v)) {
        if (clock_mono_ms() >= until_ms)
            return false;
        clock_sleep_ms(10);
    }
    return true;
}

virConnectPtr
virt_connect_get(struct virt *v, struct err *err)
{
    virConnectPtr conn = NULL;
    char why[WHY_SIZE];

    lock(v);
    if (v->conn != NULL && !v->is_lost && virConnectRef(v->conn) == 0)
        conn = v->conn;
    memcpy(why, v->why, sizeof why);
    unlock(v);
    if (conn == NULL)
        return err_set_null(err, ERR_UNAVAILABLE,
                            "no connection to libvirt (%s): is libvirtd up? %s",
                            v->uri, why);
    return conn;
}

virDomainPtr
virt_connect_domain(struct virt *v, const char *uuid, struct err *err)
{
    CLEANUP(virt_conn_unref) virConnectPtr conn = virt_connect_get(v, err);
    virDomainPtr dom;

    if (conn == NULL)
        return NULL;
    dom = virDomainLookupByUUIDString(conn, uuid);
    if (dom == NULL)
        return virt_error_null(err, "domain %s", uuid);
    return dom;
}

/* ---- a frozen guest waits ---- */

void
virt_connect_keep(struct virt *v, const char *uuid, virDomainPtr dom)
{
    struct kept *k;

    free_kept(take_kept(v, uuid));
    if (virDomainRef(dom) < 0)
        return;
    k = xcalloc(1, sizeof *k);
    k->dom = dom;
    k->until_ms = clock_mono_ms() + KEPT_MS;
    (void)snprintf(k->uuid, sizeof k->uuid, "%s", uuid);
    lock(v);
    k->next = v->kept;
    v->kept = k;
    unlock(v);
}

virDomainPtr
virt_connect_kept(struct virt *v, const char *uuid)
{
    virDomainPtr dom = NULL;

    lock(v);
    for (struct kept *k = v->kept; k != NULL && dom == NULL; k = k->next)
        if (strcmp(k->uuid, uuid) == 0 && clock_mono_ms() < k->until_ms &&
            virDomainRef(k->dom) == 0)
            dom = k->dom;
    unlock(v);
    return dom;
}

void
virt_connect_drop(struct virt *v, const char *uuid)
{
    free_kept(take_kept(v, uuid));
}
