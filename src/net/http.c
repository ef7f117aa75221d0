/* SPDX-License-Identifier: Apache-2.0 */
/* One libcurl easy handle per client; its options that belong to the peer are
 * set again for each request, because curl_easy_reset() is the only way to be
 * sure that nothing of the last request is left.
 */
#include "net/http.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"

#define CONNECT_TIMEOUT_MS 10000
#define MAX_BODY           ((size_t)64 << 20)
#define MAX_HEADERS        ((size_t)64 << 10)

struct http {
    CURL *curl;
    char *url, *unix_socket, *ca, *cert, *key, *token, *user_agent;
    uint64_t connect_timeout_ms;
    size_t max_body;
};

/* One exchange, as the callbacks see it. */
struct exchange {
    struct http *http;
    struct http_response *response;
    http_data_fn fn; /* NULL: collect */
    void *arg;
    struct err *err;
    bool is_enough;
    bool has_failed; /* err is set */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
init_curl(void)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        abort();
}

struct http *
http_new(const struct http_config *cfg, struct err *err)
{
    struct http *h = xcalloc(1, sizeof *h);

    (void)pthread_once(&once, init_curl);
    h->curl = curl_easy_init();
    if (h->curl == NULL) {
        free(h);
        return err_set_null(err, ERR_NO_MEMORY, "HTTP: libcurl did not start");
    }
    h->url = xstrdup(cfg->url == NULL ? "http://localhost" : cfg->url);
    h->unix_socket = xstrdup(cfg->unix_socket);
    h->ca = xstrdup(cfg->ca_pem);
    h->cert = xstrdup(cfg->cert_pem);
    h->key = xstrdup(cfg->key_pem);
    h->token = xstrdup(cfg->token);
    h->user_agent =
        xstrdup(cfg->user_agent == NULL ? "vmkeep" : cfg->user_agent);
    h->connect_timeout_ms = cfg->connect_timeout_ms == 0
                                ? CONNECT_TIMEOUT_MS
                                : cfg->connect_timeout_ms;
    h->max_body = cfg->max_body == 0 ? MAX_BODY : cfg->max_body;
    return h;
}

static void
wipe(char *secret)
{
    if (secret != NULL)
        mem_wipe(secret, strlen(secret));
    free(secret);
}

void
http_free(struct http *h)
{
    if (h == NULL)
        return;
    curl_easy_cleanup(h->curl);
    free(h->url);
    free(h->unix_socket);
    free(h->ca);
    free(h->cert);
    wipe(h->key);
    wipe(h->token);
    free(h->user_agent);
    free(h);
}

void
http_response_fini(struct http_response *r)
{
    buf_fini(&r->headers);
    buf_fini(&r->body);
    r->status = 0;
}

bool
http_response_header(const struct http_response *r, const char *name,
                     struct buf *out)
{
    size_t len = strlen(name);

    for (const char *line = buf_str(&r->headers); *line != 0;) {
        const char *end = line + strcspn(line, "\r\n");

        if (strncasecmp(line, name, len) == 0 && line[len] == ':') {
            const char *value = line + len + 1;

            value += strspn(value, " \t");
            buf_add(out, value, (size_t)(end - value));
            return true;
        }
        line = end + strspn(end, "\r\n");
    }
    return false;
}

/* ---- callbacks of libcurl ---- */

static size_t
on_header(char *data, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;
    struct buf *headers = &x->response->headers;

    if (n > 5 && strncmp(data, "HTTP/", 5) == 0)
        buf_truncate(headers, 0); /* after "100 Continue" */
    if (headers->len + n > MAX_HEADERS)
        return 0;
    buf_add(headers, data, n);
    return size * n;
}

static bool
is_success(const struct exchange *x)
{
    long status = 0;

    curl_easy_getinfo(x->http->curl, CURLINFO_RESPONSE_CODE, &status);
    return status >= 200 && status < 300;
}

static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;

    if (x->fn != NULL && is_success(x)) {
        int rc = x->fn(x->arg, data, n, x->err);

        x->is_enough = rc > 0;
        x->has_failed = rc < 0;
        return rc == 0 ? size * n : 0;
    }
    if (x->response->body.len + n > x->http->max_body) {
        x->has_failed = true;
        (void)err_set(x->err, ERR_NO_SPACE,
                      "HTTP: the answer is larger than %zu bytes",
                      x->http->max_body);
        return 0;
    }
    buf_add(&x->response->body, data, n);
    return size * n;
}

/* ---- a request ---- */

static void
set_pem(CURL *curl, CURLoption option, char *pem)
{
    struct curl_blob blob = { pem, pem == NULL ? 0 : strlen(pem),
                              CURL_BLOB_COPY };

    if (pem != NULL)
        curl_easy_setopt(curl, option, &blob);
}

static void
set_peer(struct http *h)
{
    CURL *c = h->curl;

    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L); /* a name may be ".." */
    curl_easy_setopt(c, CURLOPT_USERAGENT, h->user_agent);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)h->connect_timeout_ms);
    if (h->unix_socket != NULL) {
        curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, h->unix_socket);
        curl_easy_setopt(c, CURLOPT_PROXY, "");
    }
    set_pem(c, CURLOPT_CAINFO_BLOB, h->ca);
    set_pem(c, CURLOPT_SSLCERT_BLOB, h->cert);
    set_pem(c, CURLOPT_SSLKEY_BLOB, h->key);
    if (h->token != NULL &&
        (h->unix_socket != NULL || strncmp(h->url, "https:", 6) == 0)) {
        curl_easy_setopt(c, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        curl_easy_setopt(c, CURLOPT_XOAUTH2_BEARER, h->token);
    }
}

static void
set_request(struct http *h, const struct http_request *rq,
            struct curl_slist *headers)
{
    CURL *c = h->curl;

    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, rq->method);
    if (strcmp(rq->method, "HEAD") == 0)
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    if (rq->body != NULL) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE,
                         (curl_off_t)rq->body_len);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, rq->body);
    }
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)rq->timeout_ms);
}

static struct curl_slist *
make_headers(const struct http_request *rq)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");

    for (size_t i = 0; rq->headers != NULL && rq->headers[i] != NULL; i++) {
        struct curl_slist *next = curl_slist_append(list, rq->headers[i]);

        if (next == NULL)
            abort(); /* out of memory */
        list = next;
    }
    return list;
}

static int
connect_error(struct http *h, const char *text, struct err *err)
{
    const char *peer = h->unix_socket != NULL ? h->unix_socket : h->url;
    long os_errno = 0;

    curl_easy_getinfo(h->curl, CURLINFO_OS_ERRNO, &os_errno);
    if (os_errno == EACCES || os_errno == EPERM)
        return err_set(err, ERR_DENIED, "%s: permission denied", peer);
    if (h->unix_socket != NULL)
        return err_set(err, ERR_UNAVAILABLE, "%s: nobody answers", peer);
    return err_set(err, ERR_UNAVAILABLE, "%s: %s", peer, text);
}

static int
report(struct http *h, CURLcode rc, const char *text, struct err *err)
{
    const char *peer = h->unix_socket != NULL ? h->unix_socket : h->url;

    if (*text == 0)
        text = curl_easy_strerror(rc);
    switch ((int)rc) { /* CURLcode has a hundred values */
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
        return connect_error(h, text, err);
    case CURLE_OPERATION_TIMEDOUT:
        return err_set(err, ERR_TIMEOUT, "%s: %s", peer, text);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
        return err_set(err, ERR_DENIED, "%s: %s", peer, text);
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return err_set(err, ERR_INVALID, "%s: %s", peer, text);
    default:
        return err_set(err, ERR_UNAVAILABLE, "%s: %s", peer, text);
    }
}

static int
perform(struct exchange *x, const struct http_request *rq, struct err *err)
{
    struct http *h = x->http;
    char text[CURL_ERROR_SIZE] = "";
    CLEANUP(mem_free) char *url = xasprintf("%s%s", h->url, rq->path);
    struct curl_slist *headers = make_headers(rq);
    long status = 0;
    CURLcode rc;

    http_response_fini(x->response);
    curl_easy_reset(h->curl);
    set_peer(h);
    set_request(h, rq, headers);
    curl_easy_setopt(h->curl, CURLOPT_URL, url);
    curl_easy_setopt(h->curl, CURLOPT_ERRORBUFFER, text);
    curl_easy_setopt(h->curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(h->curl, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, x);
    rc = curl_easy_perform(h->curl);
    curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_setopt(h->curl, CURLOPT_ERRORBUFFER, NULL);
    curl_slist_free_all(headers);
    x->response->status = (int)status;
    if (x->has_failed)
        return -1;
    if (rc == CURLE_OK || x->is_enough)
        return 0;
    if (rc == CURLE_OPERATION_TIMEDOUT && x->fn != NULL && status >= 200 &&
        status < 300)
        return 0; /* a stream ends when its time is over */
    return report(h, rc, text, err);
}

int
http_do(struct http *h, const struct http_request *rq,
        struct http_response *ret, struct err *err)
{
    struct exchange x = { .http = h, .response = ret, .err = err };

    return perform(&x, rq, err);
}

int
http_stream(struct http *h, const struct http_request *rq, http_data_fn fn,
            void *arg, struct http_response *ret, struct err *err)
{
    struct exchange x = {
        .http = h, .response = ret, .fn = fn, .arg = arg, .err = err
    };

    return perform(&x, rq, err);
}

char *
http_escape(const char *s)
{
    struct buf out = BUF_INIT;

    for (; *s != 0; s++) {
        unsigned char c = (unsigned char)*s;

        if (isalnum(c) || strchr("-._~", c) != NULL)
            buf_add_char(&out, (char)c);
        else
            buf_printf(&out, "%%%02X", c);
    }
    return buf_take_str(&out);
}
