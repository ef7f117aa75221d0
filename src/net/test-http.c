/* SPDX-License-Identifier: Apache-2.0 */
/* Against a server of a dozen lines on a UNIX socket. */
#include <sys/socket.h>
#include <sys/un.h>

#include <pthread.h>

#include "base/mem.h"
#include "net/http.h"
#include "test.h"

static char dir[] = "/tmp/vk-http-XXXXXX";
static struct sockaddr_un address = { .sun_family = AF_UNIX };

/* Answer one connection: read a request's head, write `arg`, close. */
static void *
serve(void *arg)
{
    const char *answer = arg;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char head[4096];
    int peer;

    (void)unlink(address.sun_path);
    CHECK(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(fd, 1) == 0);
    peer = accept(fd, NULL, NULL);
    CHECK(peer >= 0 && read(peer, head, sizeof head) > 0);
    CHECK(write(peer, answer, strlen(answer)) == (ssize_t)strlen(answer));
    (void)close(peer);
    (void)close(fd);
    return NULL;
}

static pthread_t
start_server(const char *answer)
{
    pthread_t t;

    CHECK(pthread_create(&t, NULL, serve, (void *)(uintptr_t)answer) == 0);
    return t;
}

static struct http *
client(void)
{
    struct http_config cfg = { .unix_socket = address.sun_path,
                               .max_body = 1000 };
    struct err err;
    struct http *h = http_new(&cfg, &err);

    CHECK(h != NULL);
    return h;
}

/* The server thread needs a moment until it listens. */
static int
ask(struct http_response *ret, struct err *err)
{
    CLEANUP(http_free) struct http *h = client();
    struct http_request rq = { .method = "GET", .path = "/x" };
    int rc = -1;

    for (int i = 0; i < 400; i++) {
        rc = http_do(h, &rq, ret, err);
        if (rc == 0 || err->code != ERR_UNAVAILABLE)
            break;
        usleep(5000);
    }
    return rc;
}

static void
an_answer_is_read_whatever_its_status(void)
{
    CLEANUP(http_response_fini) struct http_response r = { 0 };
    CLEANUP(buf_fini) struct buf value = BUF_INIT;
    struct err err = { 0 };
    pthread_t t = start_server("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n"
                               "X-Reason:  why\r\n\r\ngone");

    CHECK_OK(ask(&r, &err), &err);
    pthread_join(t, NULL);
    CHECK_INT(r.status, ==, 404);
    CHECK(strcmp(buf_str(&r.body), "gone") == 0);
    CHECK(http_response_header(&r, "x-reason", &value));
    CHECK(strcmp(buf_str(&value), "why") == 0);
    CHECK(!http_response_header(&r, "x-none", &value));
}

static void
an_endless_answer_is_refused(void)
{
    CLEANUP(http_response_fini) struct http_response r = { 0 };
    struct err err = { 0 };
    char answer[3000] = "HTTP/1.1 200 OK\r\n\r\n";
    size_t len = strlen(answer);
    pthread_t t;

    memset(answer + len, 'x', sizeof answer - len - 1);
    t = start_server(answer);
    CHECK_ERR(ask(&r, &err), &err, ERR_NO_SPACE);
    pthread_join(t, NULL);
}

static int
take_five(void *arg, const char *data, size_t len, struct err *err)
{
    struct buf *got = arg;

    buf_add(got, data, len);
    return got->len >= 5;
}

static void
a_stream_ends_when_the_reader_has_enough(void)
{
    CLEANUP(http_response_fini) struct http_response r = { 0 };
    CLEANUP(http_free) struct http *h = client();
    CLEANUP(buf_fini) struct buf got = BUF_INIT;
    struct http_request rq = { .method = "GET", .path = "/x" };
    struct err err = { 0 };
    pthread_t t = start_server("HTTP/1.1 200 OK\r\n\r\nhello");
    int rc = -1;

    for (int i = 0; i < 400 && rc < 0; i++) {
        rc = http_stream(h, &rq, take_five, &got, &r, &err);
        if (rc < 0)
            usleep(5000);
    }
    CHECK_OK(rc, &err);
    pthread_join(t, NULL);
    CHECK_INT(r.status, ==, 200);
    CHECK(strcmp(buf_str(&got), "hello") == 0);
}

static void
nobody_there_is_unavailable(void)
{
    CLEANUP(http_response_fini) struct http_response r = { 0 };
    CLEANUP(http_free) struct http *h = client();
    struct http_request rq = { .method = "GET", .path = "/x" };
    struct err err = { 0 };

    (void)unlink(address.sun_path);
    CHECK_ERR(http_do(h, &rq, &r, &err), &err, ERR_UNAVAILABLE);
    CHECK(strstr(err.msg, "nobody answers") != NULL);
}

static void
names_are_escaped(void)
{
    CLEANUP(mem_free) char *s = http_escape("a/b c=\xc3\xa4");

    CHECK(strcmp(s, "a%2Fb%20c%3D%C3%A4") == 0);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "an answer is read whatever its status",
          an_answer_is_read_whatever_its_status },
        { "an endless answer is refused", an_endless_answer_is_refused },
        { "a stream ends when the reader has enough",
          a_stream_ends_when_the_reader_has_enough },
        { "nobody there is unavailable", nobody_there_is_unavailable },
        { "names are escaped", names_are_escaped },
    };
    int rc;

    CHECK(mkdtemp(dir) != NULL);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/s", dir);
    rc = test_main(cases, ARRAY_SIZE(cases));
    (void)unlink(address.sun_path);
    (void)rmdir(dir);
    return rc;
}
