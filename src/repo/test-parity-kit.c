/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/test-parity-kit.h"

#include <string.h>

#include "base/mem.h"
#include "repo/repo-private.h"

#define LOG2   16u
#define CHUNK  ((size_t)1 << LOG2)
#define CHUNKS TESTING_PARITY_CHUNKS

struct testing_disk testing_parity_disk = { .name = "d",
                                            .size = CHUNKS * CHUNK,
                                            .log2 = LOG2 };

void
testing_make_disk(uint64_t first)
{
    for (uint64_t c = 0; c < CHUNKS; c++)
        testing_disk_set(&testing_parity_disk, c, TESTING_RANDOM, first + c);
}

int
testing_try_backup(struct repo *repo, const char *parent, char id[REPO_ID_SIZE],
                   struct err *err)
{
    struct repo_backup_options o = { .threads = 1, .parent = parent };
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    unsigned n;

    if (repo_backup_begin(repo, &o, &b, err) < 0)
        return -1;
    memcpy(id, repo_backup_id(b), REPO_ID_SIZE);
    if (repo_backup_add_disk(b, testing_parity_disk.name,
                             testing_parity_disk.size, LOG2, &n, err) < 0 ||
        testing_disk_write(&testing_parity_disk, b, n, err) < 0)
        return -1;
    return repo_backup_commit(b, "meta", 4, "uid", err);
}

void
testing_backup(struct repo *repo, const char *parent, char id[REPO_ID_SIZE])
{
    struct err err = { 0 };

    CHECK_OK(testing_try_backup(repo, parent, id, &err), &err);
}

void
testing_subject_init(struct testing_subject *s, const char *name)
{
    struct err err = { 0 };

    CHECK(parity_name_parse(name, &s->id));
    pack_name(&s->id, s->name);
    parity_name(&s->id, s->parity);
    s->pack = testing_load(s->name, &s->pack_len);
    s->object = testing_load(s->parity, &s->object_len);
    CHECK_OK(parity_head_decode(&s->id, s->object, s->object_len, s->object_len,
                                &s->head, &err),
             &err);
}

void
testing_subject_of(struct testing_subject *s, char kind, const char *id)
{
    char name[PARITY_NAME_SIZE];

    (void)snprintf(name, sizeof name, "%c/%s/0.parity", kind, id);
    testing_subject_init(s, name);
}

void
testing_subject_fini(struct testing_subject *s)
{
    free(s->pack);
    free(s->object);
    *s = (struct testing_subject){ 0 };
}

bool
testing_is_as(const char *name, const uint8_t *data, size_t len)
{
    size_t n = 0;
    CLEANUP(mem_free) uint8_t *got = testing_load(name, &n);

    return n == len && memcmp(got, data, len) == 0;
}

bool
testing_is_as_written(const struct testing_subject *s)
{
    return testing_is_as(s->name, s->pack, s->pack_len) &&
           testing_is_as(s->parity, s->object, s->object_len);
}

/* Flip a bit of an object. */
void
testing_flip(const char *name, size_t at)
{
    size_t n = 0;
    CLEANUP(mem_free) uint8_t *data = testing_load(name, &n);

    CHECK(at < n);
    data[at] ^= (uint8_t)(1u << at % 8);
    testing_replace(name, data, n);
}

static void
on_damage(void *arg, const char *object, const char *cause)
{
    struct testing_heard *h = arg;

    h->damages++;
    (void)snprintf(h->object, sizeof h->object, "%s", object);
    (void)snprintf(h->cause, sizeof h->cause, "%s", cause);
}

static void
on_repaired(void *arg, const char *object, const char *what)
{
    struct testing_heard *h = arg;

    h->repaired++;
    (void)snprintf(h->object, sizeof h->object, "%s", object);
    (void)snprintf(h->what, sizeof h->what, "%s", what);
}

static void
on_affected(void *arg, const struct repo_entry *entry, const char *name,
            uint64_t lost_bytes)
{
    struct testing_heard *h = arg;

    h->affected++;
}

int
testing_try_scrub(struct repo *repo, enum repo_verify_level level,
                  struct testing_heard *h, struct repo_scrub_result *ret,
                  struct err *err)
{
    struct repo_scrub_options o = { .level = level, .restarts = true };
    struct repo_scrub_sink sink = { .damage = on_damage,
                                    .repaired = on_repaired,
                                    .affected = on_affected,
                                    .arg = h };

    *h = (struct testing_heard){ 0 };
    return repo_scrub_run(repo, &o, &sink, ret, err);
}

struct repo_scrub_result
testing_scrub(struct repo *repo, struct testing_heard *h)
{
    struct repo_scrub_result r;
    struct err err = { 0 };

    CHECK_OK(testing_try_scrub(repo, REPO_VERIFY_FRAMES, h, &r, &err), &err);
    return r;
}

void
testing_check_quiet(struct repo *repo)
{
    struct testing_heard h;
    struct repo_scrub_result r = testing_scrub(repo, &h);

    CHECK_INT(r.damages + r.repaired + r.parity_made + r.new_bad + r.bad, ==,
              0);
    CHECK_INT(h.damages + h.repaired + h.affected, ==, 0);
}

/* Does all of the backup read as the disk is? */
bool
testing_reads(struct repo *repo, const char *id)
{
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    CLEANUP(mem_free) uint8_t *data = xcalloc(1, testing_parity_disk.size);
    CLEANUP(mem_free) uint8_t *want = xcalloc(1, testing_parity_disk.size);
    struct err err = { 0 };

    if (repo_view_open(repo, id, &v, &err) < 0 ||
        repo_view_read(v, 0, 0, data, testing_parity_disk.size, &err) < 0) {
        CHECK(blob_is_lost(&err));
        return false;
    }
    testing_disk_read(&testing_parity_disk, 0, want, testing_parity_disk.size);
    CHECK(memcmp(data, want, testing_parity_disk.size) == 0);
    return true;
}

struct repo *
testing_parity_repo(bool is_encrypted, char id[REPO_ID_SIZE])
{
    struct repo *repo;

    testing_dir_make();
    testing_has_parity = true;
    repo = testing_repo_create(is_encrypted);
    testing_make_disk(1);
    testing_backup(repo, NULL, id);
    return repo;
}

/* The names of all parity. */
void
testing_list_parities(struct repo *repo, struct blob_names *ret)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };
    struct err err = { 0 };
    struct pack_id id;

    CHECK_OK(blob_list(repo->blob, "", &n, &err), &err);
    for (size_t i = 0; i < n.count; i++)
        if (parity_name_parse(n.names[i], &id))
            blob_names_add(ret, n.names[i]);
}

unsigned
testing_count_parities(struct repo *repo)
{
    CLEANUP(blob_names_fini) struct blob_names n = { 0 };

    testing_list_parities(repo, &n);
    return (unsigned)n.count;
}
