/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/test-model.h"

#include <sys/stat.h>

#include <stdatomic.h>

#include "base/mem.h"
#include "repo/summary.h"

static uint64_t state = 88172645463325252u;

void
testing_seed(uint64_t seed)
{
    state = seed * 2654435769u + 88172645463325252u;
}

static uint64_t
step(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

uint64_t
testing_random(void)
{
    return step(&state);
}

uint64_t
testing_below(uint64_t n)
{
    return n == 0 ? 0 : testing_random() % n;
}

/* ---- a directory ---- */

char testing_dir[64];

static void
key_path(char out[96])
{
    (void)snprintf(out, 96, "%s.key", testing_dir);
}

void
testing_dir_make(void)
{
    /* In memory where that is possible: thousands of fsyncs. */
    (void)snprintf(testing_dir, sizeof testing_dir, "%s/vmkeep-repo-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    CHECK(mkdtemp(testing_dir) != NULL);
}

void
testing_dir_remove(void)
{
    char cmd[256];

    (void)snprintf(cmd, sizeof cmd, "rm -rf -- %s %s.key", testing_dir,
                   testing_dir);
    CHECK_INT(system(cmd), ==, 0); // NOLINT
}

void
testing_fill(uint8_t *out, size_t len, uint32_t seed)
{
    uint64_t s = 88172645463325252u + seed * (uint64_t)7919;

    for (size_t i = 0; i < len; i += 8) {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        memcpy(out + i, &s, 8);
    }
}

void
testing_check_sound(struct repo *repo)
{
    struct repo_verify_sink sink = { 0 };
    struct err err = { 0 };
    uint64_t damages = 99;

    CHECK_OK(repo_verify(repo, REPO_VERIFY_TREES, 2, &sink, &damages, &err),
             &err);
    CHECK_INT(damages, ==, 0);
}

struct blob *
testing_blob(void)
{
    struct err err = { 0 };
    struct blob *b = NULL;

    CHECK_OK(blob_dir_open(testing_dir, &b, &err), &err);
    return b;
}

bool testing_has_parity;

uint8_t *
testing_load(const char *name, size_t *ret_len)
{
    CLEANUP(blob_free) struct blob *b = testing_blob();
    struct err err = { 0 };
    uint64_t size = 0;
    uint8_t *data;

    CHECK_OK(blob_size(b, name, &size, &err), &err);
    data = xcalloc(1, (size_t)size + 1);
    CHECK_OK(blob_get(b, name, 0, data, (size_t)size, ret_len, &err), &err);
    CHECK_INT(*ret_len, ==, size);
    return data;
}

void
testing_replace(const char *name, const uint8_t *data, size_t len)
{
    CLEANUP(blob_free) struct blob *b = testing_blob();
    struct err err = { 0 };
    bool existed = true;

    CHECK_OK(blob_remove(b, name, &err), &err);
    CHECK_OK(blob_put(b, name, data, len, &existed, &err), &err);
    CHECK(!existed);
}

struct repo *
testing_repo_create(bool is_encrypted)
{
    struct repo_options o = { .is_encrypted = is_encrypted,
                              .makes_parity = testing_has_parity,
                              .chunk_log2 = 16,
                              .makes_key_file = true };
    struct repo_secret s = { 0 };
    struct repo *repo = NULL;
    struct err err = { 0 };
    char key[96];

    key_path(key);
    if (is_encrypted)
        s.key_file = key;
    CHECK_OK(repo_create(testing_blob(), &o, &s, &repo, &err), &err);
    return repo;
}

int
testing_repo_open_on(struct blob *blob, struct repo **ret, struct err *err)
{
    struct repo_secret s = { 0 };
    char key[96];

    key_path(key);
    if (access(key, F_OK) == 0)
        s.key_file = key;
    return repo_open(blob, &s, ret, err);
}

int
testing_repo_try_open(struct repo **ret, struct err *err)
{
    return testing_repo_open_on(testing_blob(), ret, err);
}

struct repo *
testing_repo_open(struct blob_fault_plan plan)
{
    struct repo *repo = NULL;
    struct err err = { 0 };

    CHECK_OK(
        testing_repo_open_on(blob_fault_new(testing_blob(), plan), &repo, &err),
        &err);
    return repo;
}

/* ---- the model ---- */

void
testing_disk_copy(struct testing_disk *to, const struct testing_disk *from)
{
    *to = *from;
    to->chunks = xcalloc(from->count + 1, sizeof *to->chunks);
    if (from->count > 0)
        memcpy(to->chunks, from->chunks, from->count * sizeof *to->chunks);
}

void
testing_disk_fini(struct testing_disk *d)
{
    free(d->chunks);
    *d = (struct testing_disk){ 0 };
}

uint64_t
testing_disk_chunks(const struct testing_disk *d)
{
    return (d->size + ((uint64_t)1 << d->log2) - 1) >> d->log2;
}

static uint64_t
span(const struct testing_disk *d, uint64_t c)
{
    uint64_t size = (uint64_t)1 << d->log2, left = d->size - c * size;

    return left < size ? left : size;
}

/* The place of chunk c, or where it would be. */
static size_t
place(const struct testing_disk *d, uint64_t c)
{
    size_t lo = 0, hi = d->count;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (d->chunks[mid].chunk < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

void
testing_disk_zero(struct testing_disk *d, uint64_t c0, uint64_t c1)
{
    size_t a = place(d, c0), b = place(d, c1);

    if (a == b)
        return;
    memmove(d->chunks + a, d->chunks + b, (d->count - b) * sizeof *d->chunks);
    d->count -= b - a;
}

void
testing_disk_set(struct testing_disk *d, uint64_t c, enum testing_kind kind,
                 uint64_t seed)
{
    size_t i;

    testing_disk_zero(d, c, c + 1);
    if (kind == TESTING_ZERO)
        return;
    i = place(d, c);
    d->chunks = xrealloc(d->chunks, d->count + 1, sizeof *d->chunks);
    memmove(d->chunks + i + 1, d->chunks + i,
            (d->count - i) * sizeof *d->chunks);
    d->chunks[i] =
        (struct testing_chunk){ c, kind, seed, span(d, c), span(d, c) };
    d->count++;
}

void
testing_disk_resize(struct testing_disk *d, uint64_t size)
{
    d->size = size;
    testing_disk_zero(d, testing_disk_chunks(d), UINT64_MAX);
    if (d->count > 0) {
        struct testing_chunk *last = &d->chunks[d->count - 1];

        if (last->valid > span(d, last->chunk))
            last->valid = span(d, last->chunk);
    }
}

static void
fill(const struct testing_disk *d, const struct testing_chunk *c, uint8_t *out)
{
    size_t size = (size_t)1 << d->log2;
    uint64_t s = c->seed * 2654435769u + 1;

    memset(out, 0, size);
    for (size_t i = 0; i < c->valid; i += 8) {
        uint64_t word = 0;

        if (c->kind == TESTING_PATTERN)
            word = c->seed | 1;
        else if (c->kind == TESTING_RANDOM)
            word = step(&s);
        else if (c->kind == TESTING_TEXT)
            word = (step(&s) & 0x0303030303030303u) | 0x6060606060606060u;
        memcpy(out + i, &word, i + 8 <= size ? 8 : size - i);
    }
    if (c->kind == TESTING_LAST_BYTE && c->made > 0)
        out[c->made - 1] = 7;
    memset(out + c->valid, 0, size - c->valid);
}

void
testing_disk_read(const struct testing_disk *d, uint64_t off, uint8_t *data,
                  size_t len)
{
    uint64_t size = (uint64_t)1 << d->log2;
    CLEANUP(mem_free) uint8_t *chunk = xcalloc(1, (size_t)size);

    memset(data, 0, len);
    for (size_t i = place(d, off / size); i < d->count; i++) {
        uint64_t at = d->chunks[i].chunk * size;
        uint64_t from = at > off ? at : off, to = at + size;

        if (at >= off + len)
            break;
        to = to < off + len ? to : off + len;
        fill(d, &d->chunks[i], chunk);
        memcpy(data + (from - off), chunk + (from - at), (size_t)(to - from));
    }
}

/* ---- writing it ---- */

static void
write_chunk(const struct testing_disk *d, struct repo_backup *b, unsigned n,
            uint64_t c)
{
    size_t size = (size_t)1 << d->log2;
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, size);
    struct err err = { 0 };

    testing_disk_read(d, c * size, data, size);
    CHECK_OK(repo_backup_write(b, n, c * size, data, (size_t)span(d, c), &err),
             &err);
}

void
testing_disk_change(struct testing_disk *d, struct repo_backup *b, unsigned n,
                    unsigned ops)
{
    uint64_t chunks = testing_disk_chunks(d), c = 0, size = 1;
    struct err err = { 0 };

    size <<= d->log2;
    for (unsigned i = 0; i < ops && c < chunks; i++) {
        /* Mostly near, sometimes far; always ascending. */
        c += testing_below(3) == 0 ? testing_below((chunks - c) / 2 + 1)
                                   : testing_below(6);
        if (c >= chunks)
            break;
        if (testing_below(5) == 0) {
            uint64_t c1 =
                c + 1 + testing_below(testing_below(2) ? 300 : chunks - c);
            uint64_t end;

            c1 = c1 < chunks ? c1 : chunks;
            end = c1 * size < d->size ? c1 * size : d->size;
            testing_disk_zero(d, c, c1);
            CHECK_OK(repo_backup_zero(b, n, c * size, end - c * size, &err),
                     &err);
            c = c1;
            continue;
        }
        /* Few seeds, so that chunks repeat. */
        testing_disk_set(d, c, (enum testing_kind)testing_below(TESTING_KINDS),
                         testing_below(40));
        write_chunk(d, b, n, c);
        c++;
    }
}

int
testing_disk_write(const struct testing_disk *d, struct repo_backup *b,
                   unsigned n, struct err *err)
{
    size_t size = (size_t)1 << d->log2;
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, size);
    uint64_t at = 0;

    for (size_t i = 0; i < d->count; i++) {
        uint64_t off = d->chunks[i].chunk * size;

        fill(d, &d->chunks[i], data);
        if (repo_backup_zero(b, n, at, off - at, err) < 0 ||
            repo_backup_write(b, n, off, data,
                              (size_t)span(d, d->chunks[i].chunk), err) < 0)
            return -1;
        at = off + span(d, d->chunks[i].chunk);
    }
    return repo_backup_zero(b, n, at, d->size - at, err);
}

/* ---- reading it back ---- */

static void
check_read(const struct testing_disk *d, struct repo_view *v, unsigned n,
           uint64_t off, size_t len)
{
    CLEANUP(mem_free) uint8_t *want = xcalloc(1, len + 1);
    CLEANUP(mem_free) uint8_t *got = xcalloc(1, len + 1);
    struct err err = { 0 };

    testing_disk_read(d, off, want, len);
    memset(got, 0xEE, len);
    CHECK_OK(repo_view_read(v, n, off, got, len, &err), &err);
    CHECK(memcmp(want, got, len) == 0);
}

/* A cut may have left nothing. */
static bool
is_all_zero(const struct testing_chunk *c)
{
    return c->valid == 0 ||
           (c->kind == TESTING_LAST_BYTE && c->valid < c->made);
}

static void
check_extents(const struct testing_disk *d, struct repo_view *v, unsigned n)
{
    uint64_t off = 0, chunk = (uint64_t)1 << d->log2;
    enum repo_extent_kind kind = REPO_EXTENT_ZERO, before = kind;
    size_t i = 0;

    while (off < d->size) {
        uint64_t len = 0;
        struct err err = { 0 };

        CHECK_OK(repo_view_extent(v, n, off, UINT64_MAX, &kind, &len, &err),
                 &err);
        CHECK(len > 0 && len <= d->size - off);
        CHECK(off == 0 || kind != before); /* as far as it goes */
        before = kind;
        if (kind == REPO_EXTENT_ZERO) {
            while (i < d->count && is_all_zero(&d->chunks[i]))
                i++;
            CHECK(i == d->count || d->chunks[i].chunk * chunk >= off + len);
        } else {
            while (i < d->count && d->chunks[i].chunk * chunk < off + len)
                i++;
        }
        off += len;
    }
}

struct comparison {
    const struct testing_disk *d;
    atomic_uint_fast64_t seen;
    atomic_bool differs;
};

static int
compare_write(void *arg, uint64_t off, const void *data, size_t len,
              struct err *err)
{
    struct comparison *c = arg;
    CLEANUP(mem_free) uint8_t *want = xcalloc(1, len + 1);

    testing_disk_read(c->d, off, want, len);
    if (memcmp(want, data, len) != 0)
        atomic_store(&c->differs, true);
    atomic_fetch_add(&c->seen, len);
    return 0;
}

static int
compare_zero(void *arg, uint64_t off, uint64_t len, struct err *err)
{
    struct comparison *c = arg;
    uint64_t chunk = (uint64_t)1 << c->d->log2;

    for (size_t i = place(c->d, off / chunk);
         i < c->d->count && c->d->chunks[i].chunk * chunk < off + len; i++) {
        uint64_t at = c->d->chunks[i].chunk * chunk;
        uint64_t from = at > off ? at : off;
        uint64_t to = at + chunk < off + len ? at + chunk : off + len;
        CLEANUP(mem_free) uint8_t *want = xcalloc(1, (size_t)(to - from) + 1);

        testing_disk_read(c->d, from, want, (size_t)(to - from));
        for (uint64_t k = 0; k < to - from; k++)
            if (want[k] != 0)
                atomic_store(&c->differs, true);
    }
    atomic_fetch_add(&c->seen, len);
    return 0;
}

static void
check_restore(const struct testing_disk *d, struct repo_view *v, unsigned n,
              uint64_t off, uint64_t len)
{
    struct comparison c = { .d = d };
    struct repo_sink sink = { .write = compare_write,
                              .zero = compare_zero,
                              .arg = &c };
    struct err err = { 0 };

    CHECK_OK(repo_view_restore(v, n, off, len, 2, &sink, &err), &err);
    CHECK(!atomic_load(&c.differs));
    CHECK(atomic_load(&c.seen) == len); /* each byte once */
}

/* The pack summary agrees with the tree. */
static void
check_summary(struct repo_view *v, unsigned n)
{
    struct packset *sets = xcalloc(v->root.disk_count, sizeof *sets);
    CLEANUP(packset_fini) struct packset walked = { 0 };
    const struct packset_item *item;
    struct err err = { 0 };

    CHECK_OK(summary_load(v->repo, &v->root, sets, &err), &err);
    CHECK_OK(summary_walk(v, n, &walked, &err), &err);
    for (size_t at = 0; (item = packset_next(&walked, &at)) != NULL;)
        CHECK(packset_get(&sets[n], &item->id) >= item->value);
    for (size_t at = 0; (item = packset_next(&sets[n], &at)) != NULL;)
        if (item->id.kind == FRAME_DATA)
            CHECK(packset_get(&walked, &item->id) == item->value);
    for (unsigned i = 0; i < v->root.disk_count; i++)
        packset_fini(&sets[i]);
    free(sets);
}

void
testing_disk_check(const struct testing_disk *d, struct repo_view *v)
{
    uint64_t chunk = (uint64_t)1 << d->log2, off;
    struct err err = { 0 };
    unsigned n = 0;

    CHECK_OK(repo_view_find_disk(v, d->name, &n, &err), &err);
    CHECK_INT(repo_view_disk(v, n).size, ==, d->size);
    CHECK_INT(repo_view_disk(v, n).chunk_size, ==, chunk);
    for (size_t i = 0; i < d->count; i++)
        check_read(d, v, n, d->chunks[i].chunk * chunk,
                   (size_t)span(d, d->chunks[i].chunk));
    for (unsigned i = 0; i < 8; i++) {
        off = testing_below(d->size + 1);
        check_read(d, v, n, off,
                   (size_t)testing_below(
                       d->size - off < 3 * chunk ? d->size - off : 3 * chunk));
    }
    check_extents(d, v, n);
    check_summary(v, n);
    check_restore(d, v, n, 0, d->size);
    off = testing_below(d->size + 1);
    check_restore(d, v, n, off, testing_below(d->size - off + 1));
}

void
testing_backup_check(struct repo *repo, const char *id,
                     const struct testing_disk *d)
{
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    struct err err = { 0 };

    CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
    testing_disk_check(d, v);
}
