/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/manifest.h"
#include "test.h"

static json_t *
parse(const char *text)
{
    struct err err;
    json_t *v = jsonx_parse(text, strlen(text), &err);

    if (v == NULL)
        printf("# %s: %s\n", text, err.msg);
    CHECK(v != NULL);
    return v;
}

static const char vm_text[] =
    "{\"metadata\":{\"name\":\"vm1\",\"labels\":{\"a/b\":\"1\"}},"
    "\"spec\":{\"template\":{\"spec\":{\"domain\":{"
    "\"cpu\":{\"cores\":2,\"sockets\":3,\"threads\":1},"
    "\"memory\":{\"guest\":\"512Mi\"},"
    "\"devices\":{\"interfaces\":[{\"macAddress\":\"52:54:00:00:00:01\"},"
    "{\"macAddress\":\"\"},{}]}}}}}}";

static void
patches_change_the_definition(void)
{
    static const struct {
        const char *ops, *path, *want; /* want NULL: absent */
    } rows[] = {
        { "[{\"op\":\"add\",\"path\":\"/metadata/labels/x\",\"value\":\"y\"}]",
          "metadata.labels.x", "y" },
        { "[{\"op\":\"replace\",\"path\":\"/metadata/name\",\"value\":\"n\"}]",
          "metadata.name", "n" },
        { "[{\"op\":\"add\",\"path\":\"/spec/template/spec/domain/firmware/"
          "serial\",\"value\":\"s9\"}]",
          "spec.template.spec.domain.firmware.serial", "s9" },
        { "[{\"op\":\"replace\",\"path\":\"/spec/template/spec/domain/devices/"
          "interfaces/0/macAddress\",\"value\":\"02-00-00-00-00-01\"}]",
          "spec.template.spec.domain.devices.interfaces.0.macAddress",
          "02-00-00-00-00-01" },
        { "[{\"op\":\"remove\",\"path\":\"/spec/template/spec/domain/memory/"
          "guest\"}]",
          "spec.template.spec.domain.memory.guest", NULL },
        { "[{\"op\":\"test\",\"path\":\"/metadata/labels/a~1b\",\"value\":"
          "\"1\"}]",
          "metadata.name", "vm1" },
    };
    struct err err;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        CLEANUP(json_decref) json_t *vm = parse(vm_text);
        CLEANUP(json_decref) json_t *ops = parse(rows[i].ops);

        CHECK_OK(manifest_patch(vm, ops, &err), &err);
        const char *got = jsonx_str(vm, rows[i].path);

        CHECK((got == NULL) == (rows[i].want == NULL));
        CHECK(got == NULL || strcmp(got, rows[i].want) == 0);
    }
}

static void
patches_that_do_not_fit_are_refused(void)
{
    static const char *const rows[] = {
        "[{\"op\":\"replace\",\"path\":\"/metadata/x/y\",\"value\":\"z\"}]",
        "[{\"op\":\"remove\",\"path\":\"/metadata/labels/none\"}]",
        "[{\"op\":\"test\",\"path\":\"/metadata/name\",\"value\":\"vm2\"}]",
        "[{\"op\":\"replace\",\"path\":\"/spec/template/spec/domain/devices/"
        "interfaces/7/macAddress\",\"value\":\"\"}]",
        "[{\"op\":\"add\",\"path\":\"metadata\",\"value\":\"\"}]",
        "[{\"op\":\"add\",\"path\":\"/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q\","
        "\"value\":\"\"}]",
    };
    struct err err;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        CLEANUP(json_decref) json_t *vm = parse(vm_text);
        CLEANUP(json_decref) json_t *ops = parse(rows[i]);

        CHECK_ERR(manifest_patch(vm, ops, &err), &err, ERR_INVALID);
    }
}

static void
the_domain_is_read(void)
{
    CLEANUP(json_decref) json_t *vm = parse(vm_text);
    struct manifest_domain d;
    struct err err;
    char mac[18];

    CHECK_OK(manifest_read(vm, &d, &err), &err);
    CHECK_INT(d.memory_kib, ==, 512 * 1024);
    CHECK_INT(d.vcpus, ==, 6);
    CHECK(d.uuid == NULL && d.serial == NULL);
    CHECK(manifest_mac(vm, 0, mac) && strcmp(mac, "52:54:00:00:00:01") == 0);
    CHECK(manifest_mac(vm, 1, mac) && mac[0] == 0);
    CHECK(!manifest_mac(vm, 2, mac) && !manifest_mac(vm, 9, mac));
}

static void
quantities_are_read(void)
{
    static const struct {
        const char *text;
        int64_t bytes; /* -1: refused */
    } rows[] = {
        { "2Gi", 2147483648 },
        { "1500M", 1500000000 },
        { "4096", 4096 },
        { "1.5Ki", 1536 },
        { "0", 0 },
        { "", -1 },
        { "Gi", -1 },
        { "-1", -1 },
        { "1Xi", -1 },
        { "1e3", -1 },
        { "99999999999999999999", -1 },
        { "999999999999999Ti", -1 },
        { "18446744.9T", -1 }, /* 2^64 and a little */
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t bytes = 0;
        struct err err;
        int rc = manifest_quantity(rows[i].text, &bytes, &err);

        CHECK_INT(rc, ==, rows[i].bytes < 0 ? -1 : 0);
        if (rc == 0)
            CHECK_INT((int64_t)bytes, ==, rows[i].bytes);
    }
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "patches change the definition", patches_change_the_definition },
        { "patches that do not fit are refused",
          patches_that_do_not_fit_are_refused },
        { "the domain is read from the definition", the_domain_is_read },
        { "quantities are read", quantities_are_read },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
