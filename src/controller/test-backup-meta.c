/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/mem.h"
#include "controller/backup-meta.h"
#include "test.h"

#define UID  "6f1c2a4e-0000-4000-8000-000000000001"
#define UUID "6f1c2a4e-0000-4000-8000-000000000002"

static struct backup_meta *
example(void)
{
    struct backup_meta *m = xcalloc(1, sizeof *m);

    m->ns = xstrdup("default");
    m->name = xstrdup("b1");
    m->uid = xstrdup(UID);
    m->labels = json_pack("{s:s}", "app", "db");
    m->spec = json_pack("{s:s, s:{s:s, s:s, s:s}}", "type", "backup", "source",
                        "apiGroup", "kubevirt.io", "kind", "VirtualMachine",
                        "name", "web-1");
    m->vm_uuid = xstrdup(UUID);
    m->source =
        json_pack("{s:{s:s}, s:{}}", "metadata", "name", "web-1", "spec");
    m->volume_backups = json_pack("[{s:s}]", "volumeName", "vda");
    m->domain_xml =
        xstrdup("<domain type='kvm'><name>w\xc3\xa4</name>\n</domain>");
    m->has_secrets = true;
    m->host = xstrdup("host1");
    m->disks = xcalloc(2, sizeof *m->disks);
    m->n_disks = 2;
    m->disks[0] = (struct backup_meta_disk){ .target = xstrdup("vda"),
                                             .claim = xstrdup("web-1-vda"),
                                             .format = xstrdup("qcow2"),
                                             .bus = xstrdup("virtio"),
                                             .size = (uint64_t)1 << 40 };
    m->disks[1] = (struct backup_meta_disk){
        .target = xstrdup("sdb"),
        .format = xstrdup("raw"),
        .size = 512,
        .tracking = BACKUP_META_RESCAN,
    };
    m->files = xcalloc(2, sizeof *m->files);
    m->n_files = 2;
    m->files[0] =
        (struct backup_meta_file){ xstrdup("nvram"), xstrdup("nvram"), 540672 };
    m->files[1] =
        (struct backup_meta_file){ xstrdup("tpm:0"),
                                   xstrdup("tpm/tpm2/tpm2-00.permall"), 7000 };
    m->consistency = BACKUP_META_QUIESCED;
    m->cut_s = 1800000000;
    m->frozen_ms = 71;
    return m;
}

static void
what_was_encoded_is_decoded(void)
{
    CLEANUP(backup_meta_free) struct backup_meta *m = example();
    CLEANUP(backup_meta_free) struct backup_meta *d = NULL;
    CLEANUP(mem_free) char *text = NULL;
    struct err err;
    size_t len;

    CHECK_OK(backup_meta_encode(m, &text, &len, &err), &err);
    d = backup_meta_decode(text, len, &err);
    CHECK_OK(d == NULL ? -1 : 0, &err);
    CHECK(strcmp(d->name, "b1") == 0 && strcmp(d->uid, UID) == 0);
    CHECK(strcmp(d->domain_xml, m->domain_xml) == 0 && d->has_secrets);
    CHECK_INT(d->n_disks, ==, 2);
    CHECK_INT(d->disks[0].size, ==, (uint64_t)1 << 40);
    CHECK(d->disks[1].claim == NULL && d->disks[1].bus == NULL);
    CHECK_INT(d->disks[1].tracking, ==, BACKUP_META_RESCAN);
    CHECK_INT(d->n_files, ==, 2);
    CHECK(strcmp(d->files[1].path, "tpm/tpm2/tpm2-00.permall") == 0);
    CHECK_INT(d->cut_s, ==, 1800000000);
    CHECK_INT(d->consistency, ==, BACKUP_META_QUIESCED);
    CHECK(d->annotations == NULL && jsonx_equal(d->spec, m->spec));
    CHECK(backup_meta_disk(d, "sdb") == &d->disks[1]);
    CHECK(backup_meta_disk(d, "vdx") == NULL);
}

/* The text of the example with `from` replaced by `to`. */
static char *
spoilt(const char *from, const char *to, size_t *ret_len)
{
    CLEANUP(backup_meta_free) struct backup_meta *m = example();
    CLEANUP(mem_free) char *text = NULL;
    const char *at;
    struct err err;
    size_t len;
    char *out;

    CHECK_OK(backup_meta_encode(m, &text, &len, &err), &err);
    at = strstr(text, from);
    CHECK(at != NULL);
    out = xasprintf("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    *ret_len = strlen(out);
    return out;
}

static void
what_an_encoder_would_not_write_is_refused(void)
{
    static const struct {
        const char *from, *to;
        enum err_code want;
    } rows[] = {
        { "\"vmkeepBackup\":1", "\"vmkeepBackup\":2", ERR_UNSUPPORTED },
        { "\"vmkeepBackup\":1", "\"vmkeepBackup\":0", ERR_INVALID },
        { "\"vmkeepBackup\":1", "\"vmkeepBackup\": 1", ERR_INVALID },
        { "\"vmkeepBackup\":1", "\"what\":1,\"vmkeepBackup\":1", ERR_INVALID },
        { "\"target\":\"sdb\"", "\"target\":\"vda\"", ERR_INVALID },
        { "\"target\":\"sdb\"", "\"target\":\"../x\"", ERR_INVALID },
        { "\"size\":512", "\"size\":-512", ERR_INVALID },
        { "tpm/tpm2/", "tpm/../", ERR_INVALID },
        { "tpm/tpm2/", "/tpm2/", ERR_INVALID },
        { "tpm/tpm2/", "tpm//", ERR_INVALID },
        { "\"disk\":\"nvram\"", "\"disk\":\"vda\"", ERR_INVALID },
        { "\"format\":\"raw\"", "\"format\":\"vmdk\"", ERR_INVALID },
        { "\"namespace\":\"default\"", "\"namespace\":\"a/b\"", ERR_INVALID },
        { "\"Quiesced\"", "\"Fine\"", ERR_INVALID },
        { UUID, "x", ERR_INVALID },
        { "}", "", ERR_INVALID },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        size_t len;
        CLEANUP(mem_free) char *text = spoilt(rows[i].from, rows[i].to, &len);
        CLEANUP(backup_meta_free) struct backup_meta *m = NULL;
        struct err err = { 0 };

        m = backup_meta_decode(text, len, &err);
        CHECK(m == NULL);
        CHECK_INT(err.code, ==, rows[i].want);
    }
}

static void
text_that_is_not_utf8_is_left_out(void)
{
    CLEANUP(backup_meta_free) struct backup_meta *m = example();
    char *text;
    struct err err;
    size_t len;

    free(m->host);
    m->host = xstrdup("h\xff");
    CHECK_OK(backup_meta_encode(m, &text, &len, &err), &err); /* left out */
    CHECK(strstr(text, "\"host\"") == NULL);
    free(text);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "what was encoded is decoded", what_was_encoded_is_decoded },
        { "what an encoder would not write is refused",
          what_an_encoder_would_not_write_is_refused },
        { "text that is not UTF-8 is left out",
          text_that_is_not_utf8_is_left_out },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
