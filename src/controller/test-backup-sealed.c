/* SPDX-License-Identifier: Apache-2.0 */
/* What a host that only makes backups can learn of old ones. */
#include <sys/stat.h>

#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/spawn.h"
#include "blob/blob-dir.h"
#include "controller/backup-sealed.h"
#include "controller/secrets.h"
#include "repo/repo-keys.h"
#include "test.h"
#include "virt/domxml.h"

#define XML                                                                    \
    "<domain type='kvm'><name>a</name><devices>"                               \
    "<graphics type='vnc' port='-1' passwd='hunter42'/></devices></domain>"
#define UUID "6f4c0b1e-0000-4000-8000-000000000001"

static char dir[] = "/tmp/test-sealed-XXXXXX";

static struct repo *
open_as(const char *key, bool creates)
{
    CLEANUP(mem_free) char *path = xasprintf("%s/%s.key", dir, key);
    CLEANUP(mem_free) char *at = xasprintf("%s/r", dir);
    struct repo_options o = { .is_encrypted = true, .makes_key_file = true };
    struct repo_secret secret = { .key_file = path };
    struct repo *repo = NULL;
    struct blob *blob = NULL;
    struct err err = { 0 };

    CHECK(!creates || mkdir(at, 0700) == 0);
    CHECK_OK(blob_dir_open(at, &blob, &err), &err);
    if (creates)
        CHECK_OK(repo_create(blob, &o, &secret, &repo, &err), &err);
    else
        CHECK_OK(repo_open(blob, &secret, &repo, &err), &err);
    return repo;
}

static void
add_role(struct repo *repo, const char *role)
{
    CLEANUP(mem_free) char *path = xasprintf("%s/%s.key", dir, role);
    struct repo_keys_new n = { .role = role, .label = "t", .key_file = path };
    char id[REPO_ID_SIZE];
    struct err err = { 0 };

    CHECK_OK(repo_keys_add(repo, &n, id, &err), &err);
}

static struct backup_meta *
make_meta(void)
{
    struct backup_meta *m = xcalloc(1, sizeof *m);
    struct err err = { 0 };

    m->ns = xstrdup("default");
    m->name = xstrdup("b");
    m->uid = xstrdup(UUID);
    m->spec = jsonx_parse("{}", 2, &err);
    m->vm_uuid = xstrdup(UUID);
    m->source = jsonx_parse("{}", 2, &err);
    m->volume_backups = json_array();
    return m;
}

/* A backup as a role. */
static void
back_up(struct repo *repo, char ret_id[REPO_ID_SIZE])
{
    CLEANUP(backup_meta_free) struct backup_meta *m = make_meta();
    CLEANUP(repo_backup_free) struct repo_backup *b = NULL;
    struct repo_backup_options o = { .threads = 1 };
    CLEANUP(mem_free) char *text = NULL;
    struct err err = { 0 };
    size_t len = 0;

    CHECK_OK(domxml_redact(XML, &m->domain_xml, &err), &err);
    CHECK(strstr(m->domain_xml, "hunter42") == NULL);
    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    CHECK_OK(backup_sealed_store(b, XML, "the mark", &err), &err);
    CHECK_OK(backup_meta_encode(m, &text, &len, &err), &err);
    CHECK_OK(repo_backup_commit(b, text, len, UUID, &err), &err);
    memcpy(ret_id, repo_backup_id(b), REPO_ID_SIZE);
}

/* What opening says; the definition with what could be read. */
static enum err_code
read_back(struct repo *repo, const char *id)
{
    CLEANUP(repo_view_close) struct repo_view *v = NULL;
    CLEANUP(backup_meta_free) struct backup_meta *m = NULL;
    CLEANUP(mem_free) void *blob = NULL;
    size_t len = 0;
    struct err err = { 0 };

    CHECK_OK(repo_view_open(repo, id, &v, &err), &err);
    CHECK_OK(repo_view_metadata(v, &blob, &len, &err), &err);
    CHECK(memmem(blob, len, "hunter42", 8) == NULL);
    m = backup_meta_read(v, &err);
    CHECK(m != NULL && m->has_sealed && !m->has_secrets);
    if (backup_sealed_open(v, m, &err) < 0) {
        CHECK(!m->has_secrets && strstr(m->domain_xml, "hunter42") == NULL);
        return err.code;
    }
    CHECK(m->has_secrets && strcmp(m->domain_xml, XML) == 0);
    CHECK(strcmp(m->host_mark, "the mark") == 0);
    return ERR_NONE;
}

static void
who_only_makes_backups_cannot_read_their_secrets(void)
{
    CLEANUP(repo_close) struct repo *full = open_as("full", true);
    CLEANUP(repo_close) struct repo *thief = NULL;
    CLEANUP(repo_close) struct repo *restorer = NULL;
    char first[REPO_ID_SIZE], second[REPO_ID_SIZE];

    add_role(full, "backup-only");
    add_role(full, "restore-only");
    thief = open_as("backup-only", false);
    restorer = open_as("restore-only", false);
    back_up(full, first);
    back_up(thief, second);
    CHECK_INT(read_back(thief, first), ==, ERR_DENIED);
    CHECK_INT(read_back(thief, second), ==, ERR_DENIED);
    CHECK_INT(read_back(full, first), ==, ERR_NONE);
    CHECK_INT(read_back(full, second), ==, ERR_NONE);
    CHECK_INT(read_back(restorer, second), ==, ERR_NONE);
}

int
main(void)
{
    static const struct test_case tests[] = {
        { "who only makes backups cannot read their secrets",
          who_only_makes_backups_cannot_read_their_secrets },
    };
    const char *const rm[] = { "rm", "-rf", "--", dir, NULL };
    struct err err;
    int rc;

    CHECK(mkdtemp(dir) != NULL);
    rc = test_main(tests, ARRAY_SIZE(tests));
    CHECK_OK(spawn_run(rm, 10000, NULL, &err), &err);
    return rc;
}
