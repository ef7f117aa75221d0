/* SPDX-License-Identifier: Apache-2.0 */
/* net/http.h: an HTTP client.
 *
 * A client is one peer: its address, how it is authenticated, and a connection
 * that is kept between requests. Requests block. No redirect is followed and
 * no cookie kept; bodies are bounded.
 * Threads: a client is one thread's at a time.
 * source  libcurl 7.88
 */
#pragma once
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* Borrowed for http_new(). PEM texts: NULL for none. */
struct http_config {
    const char *url;         /* "https://127.0.0.1:7443", no slash at the end */
    const char *unix_socket; /* path: connect there, whatever `url` says */
    const char *ca_pem;      /* who may sign the peer; NULL: the system's */
    const char *cert_pem;    /* our certificate and its key */
    const char *key_pem;
    const char *token; /* bearer token; sent over TLS or the socket only */
    const char *user_agent;
    uint64_t connect_timeout_ms; /* 0: 10 s */
    size_t max_body;             /* bytes of an answer; 0: 64 MiB */
};

struct http;

struct http *http_new(const struct http_config *cfg, struct err *err) NODISCARD;
void http_free(struct http *h); /* NULL is fine */
DEFINE_CLEANUP(http_free, struct http *)

struct http_request {
    const char *method;         /* "GET" */
    const char *path;           /* with query, already escaped */
    const char *const *headers; /* "Name: value", NULL at the end; or NULL */
    const void *body;           /* NULL: none */
    size_t body_len;
    uint64_t timeout_ms; /* for the whole exchange; 0: none (streams) */
};

struct http_response {
    int status;         /* 200 */
    struct buf headers; /* as received, one a line */
    struct buf body;
};
void http_response_fini(struct http_response *r);
static inline void
http_response_fini_p(struct http_response *r)
{
    http_response_fini(r);
}
/* The value of a header, appended to `out`; false: not there. */
bool http_response_header(const struct http_response *r, const char *name,
                          struct buf *out);

/* Ask and read the whole answer, whatever its status.
 *
 *   ret    set up by the caller with = { 0 }; emptied first
 *   errors UNAVAILABLE (nobody answers), TIMEOUT, DENIED (the socket's or the
 *          certificate's refusal), NO_SPACE (answer beyond max_body)
 */
int http_do(struct http *h, const struct http_request *rq,
            struct http_response *ret, struct err *err) NODISCARD;

/* Called with pieces of a body as they come. 0: go on; 1: enough, end the
 * exchange well; -1 with err. */
typedef int (*http_data_fn)(void *arg, const char *data, size_t len,
                            struct err *err);

/* The same, but the body of a 2xx answer goes to `fn` and not to `ret`. Ends
 * when the peer or `fn` does; a timeout is then no error (status 2xx). */
int http_stream(struct http *h, const struct http_request *rq, http_data_fn fn,
                void *arg, struct http_response *ret, struct err *err)
    NODISCARD;

/* `s` with all but letters, digits and -._~ as %XX. Caller frees. */
char *http_escape(const char *s) NODISCARD;
