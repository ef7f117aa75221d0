/* SPDX-License-Identifier: Apache-2.0 */
/* An NBD server that lies, in the place of qemu-nbd: this program itself,
 * started again with VMKEEP_TEST_LIE=HOW. Whatever it says, a copy ends in
 * bounded time, with the right bytes or an error, within its buffers.
 *
 * source  NBD protocol (proto.md)
 */
#include <sys/socket.h>
#include <sys/un.h>

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>

#include "base/clock.h"
#include "disk/test-images.h"

enum {
    SIZE = 4 << 20,
    SHORT_MS = 500,  /* for servers that may say nothing more */
    LONG_MS = 20000, /* the machine may be busy */
};

/* ---- the liar ---- */

static const char *lie;
static char self[512]; /* this program; in valgrind /proc/self/exe is not it */
static uint32_t seed;  /* 0: no bits are flipped */
static int client;

static bool
lies(const char *how)
{
    return strcmp(lie, how) == 0;
}

static uint32_t
next_random(void)
{
    seed = seed * 1664525 + 1013904223;
    return seed >> 8;
}

static void
send_all(const void *data, size_t len)
{
    CLEANUP(mem_free) uint8_t *copy = xcalloc(1, len + 1);

    memcpy(copy, data, len);
    if (seed != 0 && next_random() % 24 == 0)
        copy[next_random() % len] ^= (uint8_t)(1u << next_random() % 8);
    for (size_t at = 0; at < len;) {
        ssize_t n = send(client, copy + at, lies("trickle") ? 1 : len - at,
                         MSG_NOSIGNAL);

        if (n <= 0)
            _exit(0);
        at += (size_t)n;
        if (lies("trickle"))
            clock_sleep_ms(100);
    }
}

static void
receive(void *data, size_t len)
{
    if (len > 0 && recv(client, data, len, MSG_WAITALL) != (ssize_t)len)
        _exit(0);
}

static void
put(struct buf *b, uint64_t v, unsigned bytes)
{
    while (bytes-- > 0)
        buf_add_char(b, (char)(v >> (8 * bytes)));
}

static void
send_option(uint32_t option, uint32_t type, const void *data, uint32_t len)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    put(&b, 0x3e889045565a9ull, 8);
    put(&b, option, 4);
    put(&b, type, 4);
    put(&b, len, 4);
    buf_add(&b, data, len);
    send_all(b.data, b.len);
}

static void
answer_option(uint32_t option, const uint8_t *data, uint32_t len)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    if (option == 10) { /* SET_META_CONTEXT */
        put(&b, 7, 4);
        buf_add(&b, "base:allocation", 15);
        if (!lies("no-context"))
            send_option(option, 4, b.data, (uint32_t)b.len);
    } else if (option == 7) { /* GO */
        put(&b, 0, 2);
        put(&b,
            lies("size-other")  ? 2 * SIZE
            : lies("size-huge") ? UINT64_MAX
            : lies("size-null") ? 0
                                : SIZE,
            8);
        put(&b, 0x1 | 0x2, 2); /* has flags, read-only */
        send_option(option, 3, b.data, (uint32_t)b.len);
    } else if (option != 8) { /* STRUCTURED_REPLY */
        send_option(option, 0x80000001u, NULL, 0);
        return;
    }
    send_option(option, 1, NULL, 0);
}

static void
negotiate(void)
{
    uint8_t head[16], data[4096];
    uint32_t option, len, flags;

    if (lies("silent"))
        clock_sleep_ms(60000);
    send_all(lies("not-nbd") ? "HTTP/1.1" : "NBDMAGIC", 8);
    send_all("IHAVEOPT\0\3", 10);
    receive(&flags, sizeof flags);
    do {
        receive(head, sizeof head);
        memcpy(&option, head + 8, 4);
        memcpy(&len, head + 12, 4);
        option = ntohl(option);
        len = ntohl(len);
        if (len > sizeof data)
            _exit(0);
        receive(data, len);
        answer_option(option, data, len);
    } while (option != 7);
}

static void
send_chunk(uint64_t handle, unsigned flags, unsigned type, const void *data,
           uint32_t len)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    put(&b, lies("bad-magic") ? 0x12345678 : 0x668e33ef, 4);
    put(&b, flags, 2);
    put(&b, type, 2);
    put(&b, lies("bad-handle") ? handle + 1000 : handle, 8);
    put(&b, lies("chunk-huge") ? 0xfffffff0u : len, 4);
    if (len > 0)
        buf_add(&b, data, len);
    send_all(b.data, b.len);
}

static uint8_t
byte_at(uint64_t off)
{
    return (uint8_t)(1 + off / 4096 % 255);
}

static void
answer_read(uint64_t handle, uint64_t off, uint32_t len)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    uint32_t said = lies("read-short") ? len / 2 : len;
    uint64_t at = lies("read-beyond")   ? off + len / 2
                  : lies("read-before") ? off - 4096
                  : lies("read-far")    ? UINT64_MAX - 100
                                        : off;

    if (lies("read-nothing")) {
        send_chunk(handle, 1, 0, NULL, 0);
        return;
    }
    if (lies("read-error")) {
        put(&b, 5, 4);
        put(&b, 0, 2);
        send_chunk(handle, 1, 32769, b.data, (uint32_t)b.len);
        return;
    }
    put(&b, at, 8);
    if (lies("read-hole-far")) {
        put(&b, 0xffffffffu, 4);
        send_chunk(handle, 1, 2, b.data, (uint32_t)b.len);
        return;
    }
    for (uint32_t i = 0; i < said; i++)
        buf_add_char(&b, (char)byte_at(off + i));
    send_chunk(handle, lies("read-twice") ? 0 : 1, 1, b.data, (uint32_t)b.len);
    if (lies("read-twice"))
        send_chunk(handle, 1, 1, b.data, (uint32_t)b.len);
}

static void
answer_status(uint64_t handle, uint64_t off, uint32_t len)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    size_t n = 1;

    put(&b, lies("status-context") ? 99 : 7, 4);
    if (lies("status-error")) {
        b.len = 0;
        put(&b, 5, 4);
        put(&b, 0, 2);
        send_chunk(handle, 1, 32769, b.data, (uint32_t)b.len);
        return;
    }
    if (lies("status-none"))
        n = 0;
    else if (lies("status-many"))
        n = 300000;
    for (size_t i = 0; i < n; i++) {
        put(&b,
            lies("status-long")     ? 0xffffffffu
            : lies("status-null")   ? 0
            : lies("status-crumbs") ? 1
            : lies("status-many")   ? 64
                                    : len,
            4);
        put(&b, lies("status-flags") ? 0xfffffffcu : 0, 4);
    }
    if (lies("status-odd"))
        put(&b, 17, 3);
    send_chunk(handle, 1, 5, b.data, (uint32_t)b.len);
}

static _Noreturn void
be_a_liar(const char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    if (strncmp(lie, "flip-", 5) == 0)
        seed = (uint32_t)atoi(lie + 5) * 7919 + 1;
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    if (lies("ends") || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 ||
        listen(fd, 4) < 0) {
        fprintf(stderr, "the liar ends\n");
        _exit(3);
    }
    client = accept(fd, NULL, NULL);
    (void)unlink(path);
    negotiate();
    for (;;) {
        uint8_t r[28];
        uint64_t handle, off;
        uint32_t len;

        receive(r, sizeof r);
        memcpy(&handle, r + 8, 8);
        memcpy(&off, r + 16, 8);
        memcpy(&len, r + 24, 4);
        handle = be64toh(handle);
        off = be64toh(off);
        len = ntohl(len);
        if (r[7] == 2 || lies("leaves"))
            _exit(0);
        if (lies("mute"))
            continue;
        if (r[7] == 7)
            answer_status(handle, off, len);
        else
            answer_read(handle, off, len);
    }
}

/* ---- the tests ---- */

static bool
is_mute(const char *how)
{
    return strcmp(how, "silent") == 0 || strcmp(how, "mute") == 0 ||
           strcmp(how, "trickle") == 0 || strncmp(how, "flip-", 5) == 0;
}

/* What came of it; -1: it could not even be opened. */
static int
copy_from_liar(const char *how, struct probe *p, struct err *err)
{
    CLEANUP(mem_free) char *path = image("liar.raw");
    CLEANUP(ranges_fini) struct ranges want = RANGES_INIT;
    CLEANUP(disk_source_close) struct disk_source *s = NULL;
    const struct disk_source_options o = { .dir = images_dir,
                                           .top = { path, "raw" },
                                           .stall_ms = is_mute(how) ? SHORT_MS
                                                                    : LONG_MS,
                                           .program = self };
    const struct disk_sink sink = probe_sink(p, SIZE, 256 * KIB);
    uint64_t begin = clock_mono_ms();
    int rc;

    setenv("VMKEEP_TEST_LIE", how, 1);
    rc = disk_source_open(&o, &s, err);
    unsetenv("VMKEEP_TEST_LIE");
    if (rc == 0) {
        ranges_add(&want, 0, SIZE);
        rc = disk_source_copy(s, &want, 256 * KIB, &sink, err);
    }
    disk_source_close(TAKE(s));
    CHECK_INT(clock_mono_ms() - begin, <, LONG_MS + 20000);
    return rc;
}

/* All bytes that were handed on are right. */
static void
check_bytes(const struct probe *p, bool is_complete)
{
    for (size_t at = 0; at < SIZE; at++)
        CHECK(p->data[at] == byte_at(at) ||
              (!is_complete && p->data[at] == 0xee));
}

static void
odd_but_true_answers_are_understood(void)
{
    static const char *const how[] = { "honest", "status-long", "status-crumbs",
                                       "status-many", "status-flags" };

    for (size_t i = 0; i < ARRAY_SIZE(how); i++) {
        struct err err = { .code = ERR_NONE };
        struct probe p = { .data = NULL };
        int rc = copy_from_liar(how[i], &p, &err);

        printf("# %s: %s\n", how[i], rc == 0 ? "ok" : err.msg);
        /* bits that nobody knows may say "zero" */
        if (strcmp(how[i], "status-flags") != 0) {
            CHECK_INT(rc, ==, 0);
            check_bytes(&p, true);
        }
        probe_fini(&p);
    }
}

static void
lies_end_in_an_error(void)
{
    static const struct {
        const char *how;
        int code; /* 0: any */
    } cases[] = {
        { "ends", ERR_UNAVAILABLE },
        { "silent", ERR_TIMEOUT },
        { "mute", ERR_TIMEOUT },
        { "leaves", ERR_UNAVAILABLE },
        { "trickle", ERR_TIMEOUT },
        { "not-nbd", 0 },
        { "no-context", ERR_UNSUPPORTED },
        { "size-other", ERR_CONFLICT },
        { "size-huge", 0 },
        { "size-null", ERR_CONFLICT },
        { "bad-magic", 0 },
        { "bad-handle", 0 },
        { "chunk-huge", 0 },
        { "status-error", 0 },
        { "status-none", 0 },
        { "status-null", 0 },
        { "status-odd", 0 },
        { "status-context", 0 },
        { "read-short", 0 },
        { "read-nothing", 0 },
        { "read-error", 0 },
        { "read-beyond", 0 },
        { "read-before", 0 },
        { "read-far", 0 },
        { "read-hole-far", 0 },
        { "read-twice", -1 }, /* the same bytes twice: no harm */
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct err err = { .code = ERR_NONE };
        struct probe p = { .data = NULL };
        int rc = copy_from_liar(cases[i].how, &p, &err);

        printf("# %s: %s\n", cases[i].how, rc == 0 ? "ok" : err.msg);
        check_bytes(&p, rc == 0);
        if (cases[i].code >= 0)
            CHECK_INT(rc, <, 0);
        if (cases[i].code > 0)
            CHECK_INT(err.code, ==, cases[i].code);
        probe_fini(&p);
    }
}

/* A flipped bit in the data goes unnoticed here: only lengths and buffers are
 * at stake. */
static void
flipped_bits_do_no_harm(void)
{
    unsigned n_failed = 0;

    for (int i = 0; i < 30; i++) {
        struct err err = { .code = ERR_NONE };
        struct probe p = { .data = NULL };
        CLEANUP(mem_free) char *how = xasprintf("flip-%d", i);

        n_failed += copy_from_liar(how, &p, &err) < 0;
        probe_fini(&p);
    }
    printf("# %u of 30 failed\n", n_failed);
    CHECK_INT(n_failed, >, 0);
}

int
main(int argc, char *argv[])
{
    static const struct test_case cases[] = {
        { "odd but true answers are understood",
          odd_but_true_answers_are_understood },
        { "lies end in an error", lies_end_in_an_error },
        { "flipped bits do no harm", flipped_bits_do_no_harm },
    };
    int rc;

    lie = getenv("VMKEEP_TEST_LIE");
    for (int i = 1; i + 1 < argc && lie != NULL; i++)
        if (strcmp(argv[i], "-k") == 0)
            be_a_liar(argv[i + 1]);
    if (mkdtemp(images_dir) == NULL ||
        readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        return 1;
    CLEANUP(mem_free) char *path = image("liar.raw");

    close(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (truncate(path, SIZE) < 0)
        return 1;
    rc = test_main(cases, ARRAY_SIZE(cases));
    (void)unlink(path);
    (void)rmdir(images_dir);
    return rc;
}
