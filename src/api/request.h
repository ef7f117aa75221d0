/* api/request.h: one request and its answer, free of any HTTP library.
 *
 * server.c fills a struct request, route.c finds the handler, the handler
 * fills a struct reply. An answer is text, or a stream (watch), or "not yet":
 * a pending reply that is asked again when its connection is woken.
 * Threads: both belong to the thread that serves the connection.
 */
#pragma once
#include <sys/types.h>

#include <stdint.h>

#include "api/uri.h"
#include "api/user.h"
#include "base/buf.h"
#include "codec/jsonx.h"
#include "types/kind.h"

enum method {
    METHOD_GET, /* and HEAD */
    METHOD_POST,
    METHOD_PUT,
    METHOD_PATCH,
    METHOD_DELETE,
    METHOD_OTHER,
};

struct api;

/* What the URL names, filled by route.c. */
struct target {
    const struct kind *kind;
    const char *version;     /* as in the URL: answers carry it */
    const char *ns;          /* NULL: none, or all namespaces */
    const char *name;        /* NULL: the collection */
    const char *subresource; /* NULL: none */
};

struct request {
    struct api *api;
    enum method method;
    struct uri uri;
    struct user user;
    bool is_local; /* came by the UNIX socket */
    struct buf body;
    struct target target;
    int fd; /* the peer's socket */
    /* The values of a header, at most `max` are set; how many there are. Use
     * request_header(). `conn` is what server.c needs for it. */
    size_t (*headers)(void *conn, const char *name, const char **v, size_t max);
    void *conn;
    uint64_t waker; /* of this connection, for api_wake() */
};

const char *request_header(const struct request *rq, const char *name);

/* Ends of a stream's read. */
#define STREAM_WAIT ((ssize_t)0) /* nothing now; api_wake() says when */
#define STREAM_END  ((ssize_t)-1)

/* A body that is made while it is sent. */
struct stream {
    ssize_t (*read)(struct stream *s, char *buf, size_t max);
    /* Called about every second while it waits: true wants a read. */
    bool (*tick)(struct stream *s, uint64_t now_ms);
    void (*free)(struct stream *s);
};

struct reply;

/* An answer that is not there yet. */
struct pending {
    /* True: `rp` is filled. Called after each wake and about every second. */
    bool (*poll)(struct pending *p, struct reply *rp);
    void (*free)(struct pending *p);
};

#define REPLY_HEADERS_MAX 8

struct reply {
    int code;                 /* 0: nothing was answered yet */
    const char *content_type; /* static; NULL: application/json */
    struct buf body;
    struct {
        const char *name; /* static */
        char *value;      /* owned */
    } header[REPLY_HEADERS_MAX];
    size_t nheaders;
    struct stream *stream;   /* owned; NULL: `body` is the body */
    struct pending *pending; /* owned */
};

void reply_fini(struct reply *rp);
/* `value` is copied; more than REPLY_HEADERS_MAX are dropped. */
void reply_header(struct reply *rp, const char *name, const char *value);
/* Warning: 299 - "text"; shown by kubectl. */
void reply_warning(struct reply *rp, const char *text);
void reply_text(struct reply *rp, int code, const char *text);
/* `v` is borrowed. */
void reply_json(struct reply *rp, int code, const json_t *v);

/* Let the connection `waker` go on reading its stream or asking its pending
 * reply. Any thread, also long after the connection is gone. */
void api_wake(struct api *a, uint64_t waker);
