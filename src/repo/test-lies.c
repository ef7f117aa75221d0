/* SPDX-License-Identifier: Apache-2.0 */
/* Trees and entries of the log that are written as they should be, by somebody
 * with the key, and say what cannot be. Nobody builds on them, and nobody is
 * led beyond his memory. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "repo/collect.h"
#include "repo/logstate.h"
#include "repo/packer.h"
#include "repo/repo-id.h"
#include "repo/root.h"
#include "repo/test-model.h"
#include "repo/view.h"

#define CHUNK  ((size_t)131072)
#define CHUNKS 8u
#define META   ((size_t)100000) /* more than a node has */

static uint8_t metadata[META];

/* Noise in chunks of 2^17 bytes, and metadata that do not compress. */
static void
back_up(struct repo *repo, char ret_id[REPO_ID_SIZE])
{
    struct repo_backup_options o = { .threads = 1 };
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    CLEANUP(mem_free) uint8_t *data = xcalloc(CHUNKS, CHUNK);
    struct err err = { 0 };
    unsigned n;

    testing_fill(data, CHUNKS * CHUNK, 1);
    testing_fill(metadata, META, 2);
    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    CHECK_OK(repo_backup_add_disk(b, "a", CHUNKS * CHUNK, 17, &n, &err), &err);
    CHECK_OK(repo_backup_write(b, n, 0, data, CHUNKS * CHUNK, &err), &err);
    CHECK_OK(repo_backup_commit(b, metadata, META, "uid", &err), &err);
    memcpy(ret_id, repo_backup_id(b), REPO_ID_SIZE);
}

/* A repository with that one backup. */
static struct repo *
backed_up(bool is_encrypted, char id[REPO_ID_SIZE])
{
    struct repo *repo;

    testing_dir_make();
    repo = testing_repo_create(is_encrypted);
    back_up(repo, id);
    return repo;
}

/* A backup with that root: its id and repository are set. */
static void
commit_root(struct repo *repo, struct root *root, char ret_id[REPO_ID_SIZE])
{
    static const uint8_t none[16];
    struct commitlog_commit c = { .created_unix_s = clock_wall_s() };
    struct packer_config config = { .blob = repo->blob,
                                    .wrap = repo->wrap,
                                    .session = c.id,
                                    .kind = FRAME_META,
                                    .pack_size = (size_t)1 << 20,
                                    .id_key = &repo->keys.id };
    CLEANUP(frame_ctx_free) struct frame_ctx *ctx = frame_ctx_new(1);
    CLEANUP(packer_free) struct packer *p = NULL;
    CLEANUP(buf_fini) struct buf bytes = BUF_INIT;
    struct packset packs = { 0 };
    struct err err = { 0 };

    repo_id_random(c.id);
    repo_id_format(c.id, ret_id);
    memcpy(root->repo_uuid, repo->uuid, 16);
    memcpy(root->id, c.id, 16);
    root_encode(root, &bytes);
    hash_hmac(&repo->keys.id, bytes.data, bytes.len, c.root.id);
    c.root.type = TREE_REF;
    CHECK_OK(commitlog_append_open(repo->log, c.id, none, c.created_unix_s,
                                   NULL, &err),
             &err);
    p = packer_new(&config);
    CHECK_OK(packer_add(p, ctx, bytes.data, (uint32_t)bytes.len, c.root.id,
                        &c.root.loc, &err),
             &err);
    CHECK_OK(packer_finish(p, &err), &err);
    CHECK_OK(commitlog_append_commit(repo->log, &c, &packs, &packs, &err),
             &err);
}

/* Refused wherever its first disk is looked at. */
static void
is_refused(struct repo *repo, const char *id, unsigned log2)
{
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    struct repo_collect_options o = { .compact = { .dead_percent = 1,
                                                   .rest_percent = 100 } };
    struct repo_backup_options child = { .parent = id, .threads = 1 };
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    struct repo_collect_sink nobody = { 0 };
    struct repo_collect_result result;
    uint8_t got[4096];
    uint64_t damages = 0;
    struct err err = { 0 };
    unsigned n = 0;

    CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
    CHECK_ERR(repo_view_read(v, 0, 0, got, sizeof got, &err), &err,
              ERR_CORRUPT);
    CHECK_OK(repo_verify(repo, REPO_VERIFY_TREES, 1,
                         &(struct repo_verify_sink){ 0 }, &damages, &err),
             &err);
    CHECK(damages > 0);
    /* Whether they go on without it or not is theirs to say. */
    (void)!repo_collect(repo, &o, &nobody, &result, &err);
    if (repo_backup_begin(repo, &child, &b, &err) == 0 &&
        repo_backup_add_disk(b, "a", repo_view_disk(v, 0).size, log2, &n,
                             &err) == 0 &&
        repo_backup_write(b, n, 0, metadata, 65536, &err) == 0)
        CHECK(repo_backup_commit(b, NULL, 0, "", &err) < 0);
}

static int
drop(void *arg, uint64_t off, const void *data, size_t len, struct err *err)
{
    return 0;
}

/* The root says 64 KiB, the leaf below it has 128. */
static void
a_chunk_is_not_longer_than_those_of_its_disk(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CLEANUP(repo_close) struct repo *repo = NULL;
        CLEANUP(repo_view_close) struct repo_view *v = NULL;
        CLEANUP(repo_view_close) struct repo_view *lie = NULL;
        struct repo_sink sink = { .write = drop };
        char id[REPO_ID_SIZE];
        struct err err = { 0 };

        repo = backed_up(i == 0, id);
        CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
        v->root.disks[0].chunk_log2 = 16;
        v->root.disks[0].size = CHUNKS * CHUNK / 2;
        commit_root(repo, &v->root, id);
        is_refused(repo, id, 16);
        CHECK_OK(repo_view_open(repo, id, &lie, &err), &err);
        CHECK_ERR(
            repo_view_restore(lie, 0, 0, CHUNKS * CHUNK / 2, 1, &sink, &err),
            &err, ERR_CORRUPT);
        testing_dir_remove();
    }
}

/* The root's tree begins with what is no node, but longer than any. */
static void
a_node_is_not_longer_than_nodes_are(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CLEANUP(repo_close) struct repo *repo = NULL;
        CLEANUP(repo_view_close) struct repo_view *v = NULL;
        char id[REPO_ID_SIZE];
        struct err err = { 0 };

        repo = backed_up(i == 0, id);
        CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
        CHECK_INT(v->root.metadata.loc.ulen, ==, META);
        v->root.disks[0].top = v->root.metadata;
        commit_root(repo, &v->root, id);
        is_refused(repo, id, 17);
        testing_dir_remove();
    }
}

/* Somebody with the right to delete condemns a pack that is needed. What has it
 * already is lost; what would have it next is told. */
static void
nobody_commits_on_a_pack_that_was_condemned(void)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(repo_close) struct repo *other = NULL;
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    CLEANUP(commitlog_condemn_fini) struct commitlog_condemn c = { 0 };
    struct repo_backup_options o = { .threads = 1 };
    const struct logstate *s;
    char id[REPO_ID_SIZE];
    struct err err = { 0 };
    unsigned n = 0;

    repo = backed_up(true, id);
    o.parent = id;
    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    CHECK_OK(repo_backup_add_disk(b, "a", CHUNKS * CHUNK, 17, &n, &err), &err);
    other = testing_repo_open((struct blob_fault_plan){ 0 });
    CHECK_OK(commitlog_state_take(other->log, &s, &err), &err);
    c.base_seq = s->last_seq;
    commitlog_state_give(other->log);
    c.packs = xcalloc(1, sizeof *c.packs);
    c.pack_count = 1;
    c.packs[0].kind = FRAME_DATA;
    CHECK(repo_id_parse(id, c.packs[0].session));
    CHECK_OK(commitlog_append_condemn(other->log, &c, &err), &err);
    /* It names all chunks of the parent, and nothing else. */
    CHECK_ERR(repo_backup_commit(b, NULL, 0, "", &err), &err, ERR_CONFLICT);
    CHECK(strstr(err.msg, "condemned") != NULL);
    testing_dir_remove();
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a chunk is not longer than those of its disk",
          a_chunk_is_not_longer_than_those_of_its_disk },
        { "a node is not longer than nodes are",
          a_node_is_not_longer_than_nodes_are },
        { "nobody commits on a pack that was condemned",
          nobody_commits_on_a_pack_that_was_condemned },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
