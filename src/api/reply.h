/* SPDX-License-Identifier: Apache-2.0 */
/* api/reply.h: the answer to a request, free of any HTTP library.
 *
 * An answer is text, or a stream (watch), or "not yet": a pending reply that
 * is asked again when its connection is woken.
 */
#pragma once
#include <sys/types.h>

#include <stdint.h>

#include "base/buf.h"
#include "codec/jsonx.h"

/* Ends of a stream's read. */
#define STREAM_WAIT ((ssize_t)0) /* nothing now; api_wake() says when */
#define STREAM_END  ((ssize_t)-1)

/* A body that is made while it is sent. */
struct stream {
    ssize_t (*read)(struct stream *s, char *buf, size_t max);
    /* Called some times a second while it waits: true wants a read. */
    bool (*tick)(struct stream *s, uint64_t now_ms);
    void (*free)(struct stream *s);
};

struct reply;

/* An answer that is not there yet. */
struct pending {
    /* True: `rp` is filled. Called after each wake and some times a
     * second. */
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
