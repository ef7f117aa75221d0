/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "base/spawn.h"
#include "codec/pki.h"
#include "test.h"

static char dir[] = "/tmp/test-pki-XXXXXX";

static void
the_authority_is_made_once_and_kept(void)
{
    static const char *const hosts[] = { "localhost", "127.0.0.1", "::1",
                                         NULL };
    static const char *const more[] = { "localhost", "host.example", NULL };
    struct err err = { 0 };
    CLEANUP(pki_fini) struct pki a = { 0 };
    CLEANUP(pki_fini) struct pki b = { 0 };
    CLEANUP(pki_fini) struct pki c = { 0 };

    CHECK_OK(pki_open(dir, hosts, &a, &err), &err);
    CHECK_OK(pki_open(dir, hosts, &b, &err), &err);
    CHECK(strcmp(a.ca_pem, b.ca_pem) == 0);
    CHECK(strcmp(a.server_pem, b.server_pem) == 0);
    CHECK_OK(pki_open(dir, more, &c, &err), &err);
    CHECK(strcmp(a.ca_pem, c.ca_pem) == 0);
    CHECK(strcmp(a.server_pem, c.server_pem) != 0);
}

static void
a_lost_ca_key_is_told_not_replaced(void)
{
    static const char *const hosts[] = { "localhost", NULL };
    struct err err = { 0 };
    CLEANUP(pki_fini) struct pki a = { 0 };
    CLEANUP(mem_free) char *key = xasprintf("%s/ca.key", dir);

    CHECK(unlink(key) == 0);
    CHECK_ERR(pki_open(dir, hosts, &a, &err), &err, ERR_CORRUPT);
}

static void
base64_is_the_published_one(void)
{
    CLEANUP(mem_free) char *b64 = pki_base64("foob", 4);

    CHECK(strcmp(b64, "Zm9vYg==") == 0);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "the authority is made once and kept",
          the_authority_is_made_once_and_kept },
        { "a lost CA key is told, not replaced",
          a_lost_ca_key_is_told_not_replaced },
        { "base64 is the published one", base64_is_the_published_one },
    };
    const char *const rm[] = { "rm", "-rf", "--", dir, NULL };
    struct err err = { 0 };
    int rc;

    CHECK(mkdtemp(dir) != NULL);
    rc = test_main(cases, ARRAY_SIZE(cases));
    CHECK_OK(spawn_run(rm, 5000, NULL, &err), &err);
    return rc;
}
