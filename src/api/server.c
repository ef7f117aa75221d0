/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a request:
 *
 *   on_uri()      the request line came: a struct conn with a slot is made
 *   on_request()  headers; parts of the body; the end: the handler runs
 *   answer()      text is queued at once; a stream is read by on_read();
 *                 a pending reply suspends and is polled after each wake
 *   on_done()     the struct conn is freed, whatever happened before
 *
 * Wakes come from any thread, even after the request has ended. So a waker is
 * a number (slot and generation), never a pointer, and a wake that comes
 * before the suspension is remembered. All that is under one lock, which is
 * held for a few instructions.
 *
 * libmicrohttpd does not see that the peer of a suspended connection is gone
 * and aborts when it is stopped with one. The ticker asks the kernel every
 * second, and server_free() resumes everything before it stops.
 */
#include "api/server.h"

#include <sys/socket.h>

#include <microhttpd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "api/auth.h"
#include "api/ctx.h"
#include "api/status.h"
#include "api/strangers.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/mutex.h"

#define LISTENERS_MAX  4
#define POOL_THREADS   4 /* per listener */
#define CONNS_MAX      2048
#define CONNS_LOCAL    256 /* of them nobody on TLS can take */
#define IDLE_TIMEOUT_S 120
#define STRANGERS_MAX  256         /* connections on TLS without a token yet, */
#define STRANGER_MS    30000       /* and how long they may take to show one */
#define HEADER_MEMORY  (64u << 10) /* per connection; more headers: 431 */
#define STREAM_BLOCK   (64u << 10)
#define TLS_VERSIONS   "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
#define TICK_MS        250
#define TICKS_PER_PEER 4
#define BODY_PATIENCE  (64u << 20)

enum conn_state {
    CONN_NEW,      /* the headers are being read -> BODY, ANSWERED */
    CONN_BODY,     /* the body is being read -> PENDING, ANSWERED */
    CONN_PENDING,  /* the reply is awaited -> ANSWERED */
    CONN_ANSWERED, /* queued; a stream goes on being read */
};

extern struct role server_lock; /* struct server.mutex */

struct conn {
    struct server *server;      /* [C] */
    struct MHD_Connection *mhd; /* [C] */
    uint64_t waker;             /* [C] */
    enum conn_state state;      /* this and the next four: [T: who serves it] */
    bool is_local;
    bool is_too_big;
    size_t received; /* bytes of the body */
    struct request rq;
    struct reply rp;
    char *target;
    bool is_suspended GUARDED_BY(server_lock);
    bool has_wake GUARDED_BY(server_lock);   /* came before the suspension */
    bool is_closing GUARDED_BY(server_lock); /* end it at the next chance */
};

struct listener {
    struct server *server;
    struct MHD_Daemon *mhd;
    bool is_local;
};

struct server {
    struct api *api;                         /* [C] */
    server_handle_fn handle;                 /* [C] */
    struct listener listener[LISTENERS_MAX]; /* [T: main] */
    size_t nlisteners;
    struct strangers *strangers; /* [C] */
    pthread_t ticker;
    pthread_mutex_t mutex; /* server_lock; a leaf */
    pthread_cond_t tick;   /* signalled when is_stopping turns true */
    bool is_stopping GUARDED_BY(server_lock);
    struct conn *slot[CONNS_MAX] GUARDED_BY(server_lock);
    uint64_t generation GUARDED_BY(server_lock);
};

static void
lock(struct server *s) ACQUIRE(server_lock) NO_TSA
{
    (void)pthread_mutex_lock(&s->mutex);
}

static void
unlock(struct server *s) RELEASE(server_lock) NO_TSA
{
    (void)pthread_mutex_unlock(&s->mutex);
}

/* --- wakers ---------------------------------------------------------- */

static void
conn_resume_locked(struct conn *c) REQUIRES(server_lock)
{
    if (c->is_suspended) {
        c->is_suspended = false;
        MHD_resume_connection(c->mhd);
    } else {
        c->has_wake = true;
    }
}

void
server_wake(struct server *s, uint64_t waker)
{
    struct conn *c;

    lock(s);
    c = s->slot[waker % CONNS_MAX];
    if (c != NULL && c->waker == waker)
        conn_resume_locked(c);
    unlock(s);
}

/* Suspend until the next wake. False: do not wait, look again. */
static bool
conn_suspend(struct conn *c)
{
    struct server *s = c->server;
    bool is_suspended = false;

    lock(s);
    if (!c->has_wake && !c->is_closing && !s->is_stopping) {
        c->is_suspended = is_suspended = true;
        MHD_suspend_connection(c->mhd);
    }
    c->has_wake = false;
    unlock(s);
    return is_suspended;
}

static bool
conn_is_closing(struct conn *c)
{
    bool is_closing;

    lock(c->server);
    c->is_closing |= c->server->is_stopping;
    is_closing = c->is_closing;
    unlock(c->server);
    return is_closing;
}

static bool
is_peer_gone(struct conn *c)
{
    struct pollfd p = { .fd = c->rq.fd, .events = POLLRDHUP };

    return poll(&p, 1, 0) == 1 &&
           (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

/* `with_peers`: ask the kernel too whether they are there. */
static void
tick_locked(struct server *s, uint64_t now_ms, bool with_peers)
    REQUIRES(server_lock)
{
    for (size_t i = 0; i < CONNS_MAX; i++) {
        struct conn *c = s->slot[i];
        struct stream *stream;

        if (c == NULL || !c->is_suspended)
            continue;
        /* Suspended: no server thread looks at c now, and none can begin to
         * while we hold the lock. */
        stream = c->rp.stream;
        if (with_peers && is_peer_gone(c))
            c->is_closing = true;
        if (c->is_closing || stream == NULL || stream->tick(stream, now_ms))
            conn_resume_locked(c);
    }
}

static void *
ticker_main(void *arg)
{
    struct server *s = arg;

    lock(s);
    for (unsigned n = 0; !s->is_stopping; n++) {
        struct timespec until;

        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += TICK_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        (void)pthread_cond_timedwait(&s->tick, &s->mutex, &until);
        tick_locked(s, clock_mono_ms(), n % TICKS_PER_PEER == 0);
        if (n % TICKS_PER_PEER == 0) {
            unlock(s);
            strangers_tick(s->strangers, clock_mono_ms());
            lock(s);
        }
    }
    unlock(s);
    return NULL;
}

/* --- one request ----------------------------------------------------- */

static size_t conn_headers(void *arg, const char *name, const char **v,
                           size_t max);

/* libmicrohttpd's first call for a request; what it returns becomes the
 * request's context. */
static void *
on_uri(void *arg, const char *uri, struct MHD_Connection *mhd)
{
    struct listener *l = arg;
    struct server *s = l->server;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct conn *c = xcalloc(1, sizeof *c);

    *c = (struct conn){ .server = s, .mhd = mhd, .is_local = l->is_local };
    c->target = xstrdup(uri);
    c->rq.api = s->api;
    c->rq.is_local = l->is_local;
    c->rq.headers = conn_headers;
    c->rq.conn = c;
    c->rq.fd = info != NULL ? info->connect_fd : -1;
    lock(s);
    for (size_t i = 0; i < CONNS_MAX && c->waker == 0; i++) {
        if (s->slot[i] == NULL) {
            c->waker = ++s->generation * CONNS_MAX + i;
            s->slot[i] = c;
        }
    }
    unlock(s);
    c->rq.waker = c->waker;
    return c;
}

static void
on_done(void *arg, struct MHD_Connection *mhd, void **ctx,
        enum MHD_RequestTerminationCode why)
{
    struct conn *c = *ctx;

    *ctx = NULL;
    if (c == NULL)
        return;
    lock(c->server);
    if (c->waker != 0)
        c->server->slot[c->waker % CONNS_MAX] = NULL;
    unlock(c->server);
    reply_fini(&c->rp);
    uri_fini(&c->rq.uri);
    user_fini(&c->rq.user);
    buf_fini(&c->rq.body);
    free(c->target);
    free(c);
}

struct header_search {
    const char *name;
    const char **v;
    size_t max, n;
};

static enum MHD_Result
on_header(void *arg, enum MHD_ValueKind kind, const char *key, const char *val)
{
    struct header_search *h = arg;

    if (val != NULL && strcasecmp(key, h->name) == 0) {
        if (h->n < h->max)
            h->v[h->n] = val;
        h->n++;
    }
    return MHD_YES;
}

static size_t
conn_headers(void *arg, const char *name, const char **v, size_t max)
{
    struct conn *c = arg;
    struct header_search h = { name, v, max, 0 };

    (void)MHD_get_connection_values(c->mhd, MHD_HEADER_KIND, on_header, &h);
    return h.n;
}

static enum method
method_of(const char *name)
{
    static const struct {
        const char *name;
        enum method method;
    } table[] = {
        { "GET", METHOD_GET },     { "HEAD", METHOD_GET },
        { "POST", METHOD_POST },   { "PUT", METHOD_PUT },
        { "PATCH", METHOD_PATCH }, { "DELETE", METHOD_DELETE },
    };

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (strcmp(table[i].name, name) == 0)
            return table[i].method;
    }
    return METHOD_OTHER;
}

/* More of a stream is wanted. */
static ssize_t
on_read(void *arg, uint64_t pos, char *buf, size_t max)
{
    struct conn *c = arg;

    for (;;) {
        ssize_t n;

        if (conn_is_closing(c))
            return MHD_CONTENT_READER_END_OF_STREAM;
        n = c->rp.stream->read(c->rp.stream, buf, max);
        if (n == STREAM_END)
            return MHD_CONTENT_READER_END_OF_STREAM;
        if (n > 0)
            return n;
        if (conn_suspend(c))
            return 0;
    }
}

static struct MHD_Response *
make_response(struct conn *c)
{
    struct reply *rp = &c->rp;
    struct MHD_Response *r;

    if (rp->stream != NULL)
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK,
                                                 on_read, c, NULL);
    if (rp->body.len == 0)
        return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    r = MHD_create_response_from_buffer(rp->body.len, rp->body.data,
                                        MHD_RESPMEM_MUST_FREE);
    if (r != NULL)
        rp->body = (struct buf)BUF_INIT; /* the response's now */
    return r;
}

static enum MHD_Result
queue_reply(struct conn *c)
{
    struct reply *rp = &c->rp;
    struct MHD_Response *r = make_response(c);
    enum MHD_Result rc;

    if (r == NULL)
        return MHD_NO;
    (void)MHD_add_response_header(
        r, "Content-Type",
        rp->content_type != NULL ? rp->content_type : "application/json");
    (void)MHD_add_response_header(r, "Cache-Control", "no-cache, private");
    for (size_t i = 0; i < rp->nheaders; i++)
        (void)MHD_add_response_header(r, rp->header[i].name,
                                      rp->header[i].value);
    c->state = CONN_ANSWERED;
    rc = MHD_queue_response(c->mhd, (unsigned)rp->code, r);
    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result
poll_pending(struct conn *c)
{
    while (!c->rp.pending->poll(c->rp.pending, &c->rp)) {
        if (conn_is_closing(c)) {
            status_reply(
                &c->rp, 503, "ServiceUnavailable",
                "vmkeepd is stopping: the request goes on, but its end is not awaited");
            break;
        }
        if (conn_suspend(c))
            return MHD_YES;
    }
    return queue_reply(c);
}

/* The request is complete. */
static enum MHD_Result
answer(struct conn *c)
{
    struct err err = { 0 };

    if (c->waker == 0) {
        reply_header(&c->rp, "Retry-After", "1"); /* clients obey */
        status_reply(&c->rp, 503, "ServiceUnavailable",
                     "more than %d requests at once; try again", CONNS_MAX);
    } else if (c->is_too_big)
        status_reply(&c->rp, 413, "RequestEntityTooLarge",
                     "the body is larger than %u bytes", SERVER_BODY_MAX);
    else if (uri_parse(c->target, &c->rq.uri, &err) < 0)
        status_bad_request(&c->rp, "%s", err.msg);
    else
        c->server->handle(&c->rq, &c->rp);
    if (c->rp.pending != NULL) {
        c->state = CONN_PENDING;
        return poll_pending(c);
    }
    if (c->rp.code == 0)
        status_reply(&c->rp, 500, "InternalError", "no answer was made");
    log_debug("api: %s %s: %d", c->rq.user.name != NULL ? c->rq.user.name : "-",
              c->target, c->rp.code);
    return queue_reply(c);
}

/* What the client says that it will send; 0: nothing said. */
static size_t
announced(struct conn *c)
{
    const char *len = request_header(&c->rq, "Content-Length");

    if (len == NULL)
        return 0;
    return strlen(len) > 12 ? SIZE_MAX : strtoull(len, NULL, 10);
}

/* More of the body. A client that sends too much is heard to the end, for the
 * 413 to reach it, but not for ever: then false, hang up. */
static bool
take_body(struct conn *c, const char *data, size_t len)
{
    c->received += len;
    c->is_too_big |= c->received > SERVER_BODY_MAX;
    if (!c->is_too_big)
        buf_add(&c->rq.body, data, len);
    return c->received <= BODY_PATIENCE;
}

/* On TLS: is it still one who has not shown a token? */
static bool
is_stranger(struct conn *c)
{
    const union MHD_ConnectionInfo *info;

    if (c->is_local)
        return false;
    if (auth_is_stranger(c->rq.api->auth, &c->rq))
        return true;
    info = MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    if (info != NULL && info->socket_context != NULL)
        strangers_known(c->server->strangers, info->socket_context);
    return false;
}

/* 2,048 strangers would have us keep 6 GiB of bodies, for a 401 each. */
static bool
is_body_unwanted(struct conn *c)
{
    bool has_body =
        announced(c) > 0 || request_header(&c->rq, "Transfer-Encoding") != NULL;
    bool is_unknown = is_stranger(c);

    return announced(c) > BODY_PATIENCE || (has_body && is_unknown);
}

static enum MHD_Result
on_request(void *arg, struct MHD_Connection *mhd, const char *url,
           const char *method, const char *version, const char *data,
           size_t *len, void **ctx)
{
    struct conn *c = *ctx;

    if (c == NULL)
        return MHD_NO;
    switch (c->state) {
    case CONN_NEW:
        c->rq.method = method_of(method);
        c->is_too_big = announced(c) > SERVER_BODY_MAX;
        c->state = CONN_BODY;
        return is_body_unwanted(c) ? answer(c) : MHD_YES;
    case CONN_BODY:
        if (*len == 0)
            return answer(c);
        if (!take_body(c, data, *len))
            return MHD_NO;
        *len = 0;
        return MHD_YES;
    case CONN_PENDING:
        return poll_pending(c);
    case CONN_ANSWERED:
        break;
    }
    return MHD_YES;
}

/* Connections of the TLS listener come and go, before any handshake. */
static void
on_connection(void *arg, struct MHD_Connection *mhd, void **context,
              enum MHD_ConnectionNotificationCode what)
{
    struct listener *l = arg;
    const union MHD_ConnectionInfo *info;

    if (l->is_local)
        return;
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (*context != NULL)
            strangers_left(l->server->strangers, *context);
        *context = NULL;
        return;
    }
    info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info != NULL)
        *context = strangers_came(l->server->strangers, info->connect_fd,
                                  clock_mono_ms());
}

/* --- the whole ------------------------------------------------------- */

/* Decoding is uri.c's: here the text must stay as it came. */
static size_t
keep_escapes(void *arg, struct MHD_Connection *mhd, char *s)
{
    return strlen(s);
}

static void
log_mhd(void *arg, const char *fmt, va_list ap)
{
    char text[256];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    (void)vsnprintf(text, sizeof text, fmt, ap);
#pragma GCC diagnostic pop
    text[strcspn(text, "\n")] = 0;
    log_debug("api: http: %s", text);
}

struct server *
server_new(struct api *api, server_handle_fn handle)
{
    struct server *s = xcalloc(1, sizeof *s);
    pthread_condattr_t attr;

    s->api = api;
    s->handle = handle;
    s->strangers = strangers_new(STRANGERS_MAX, STRANGER_MS);
    (void)pthread_mutex_init(&s->mutex, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->tick, &attr);
    (void)pthread_condattr_destroy(&attr);
    if (pthread_create(&s->ticker, NULL, ticker_main, s) != 0)
        abort();
    return s;
}

int
server_listen(struct server *s, const struct server_listener *l,
              struct err *err)
{
    struct listener *to = &s->listener[s->nlisteners];
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
                     MHD_USE_ERROR_LOG | (l->key_pem != NULL ? MHD_USE_TLS : 0);
    struct MHD_OptionItem tls[] = {
        { MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)l->key_pem },
        { MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)l->cert_pem },
        { MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_VERSIONS },
        { MHD_OPTION_END, 0, NULL },
    };

    if (s->nlisteners == LISTENERS_MAX) {
        (void)close(l->fd);
        return err_set(err, ERR_NO_SPACE, "too many listeners");
    }
    *to = (struct listener){ .server = s, .is_local = l->is_local };
    to->mhd = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, to, MHD_OPTION_EXTERNAL_LOGGER,
        log_mhd, NULL, MHD_OPTION_LISTEN_SOCKET, l->fd,
        MHD_OPTION_THREAD_POOL_SIZE, POOL_THREADS, MHD_OPTION_CONNECTION_LIMIT,
        l->is_local ? CONNS_MAX : CONNS_MAX - CONNS_LOCAL,
        MHD_OPTION_CONNECTION_TIMEOUT, IDLE_TIMEOUT_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_MEMORY,
        MHD_OPTION_URI_LOG_CALLBACK, on_uri, to, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, to, MHD_OPTION_NOTIFY_COMPLETED, on_done, to,
        MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, to, MHD_OPTION_ARRAY,
        l->key_pem != NULL ? tls : &tls[ARRAY_SIZE(tls) - 1], MHD_OPTION_END);
    if (to->mhd == NULL) {
        (void)close(l->fd);
        return err_set(err, ERR_INTERNAL, "libmicrohttpd does not start");
    }
    s->nlisteners++;
    return 0;
}

/* Wait (bounded) until what was suspended has sent its last bytes. */
static void
wait_for_streams(struct server *s)
{
    for (int i = 0; i < 200; i++) {
        bool is_busy = false;

        lock(s);
        for (size_t k = 0; k < CONNS_MAX; k++)
            is_busy |= s->slot[k] != NULL;
        unlock(s);
        if (!is_busy)
            return;
        clock_sleep_ms(10);
    }
}

void
server_free(struct server *s)
{
    if (s == NULL)
        return;
    lock(s);
    s->is_stopping = true;
    for (size_t i = 0; i < CONNS_MAX; i++) {
        if (s->slot[i] != NULL)
            conn_resume_locked(s->slot[i]);
    }
    (void)pthread_cond_signal(&s->tick);
    unlock(s);
    (void)pthread_join(s->ticker, NULL);
    wait_for_streams(s);
    for (size_t i = 0; i < s->nlisteners; i++)
        MHD_stop_daemon(s->listener[i].mhd);
    strangers_free(s->strangers);
    (void)pthread_cond_destroy(&s->tick);
    (void)pthread_mutex_destroy(&s->mutex);
    free(s);
}
