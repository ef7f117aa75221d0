/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/mem.h"
#include "cli/kubeconf.h"
#include "test.h"

static char dir[] = "/tmp/vk-conf-XXXXXX";

static char *
write_file(const char *name, const char *text)
{
    char *path = xasprintf("%s/%s", dir, name);
    FILE *f = fopen(path, "we");

    CHECK(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
    return path;
}

static void
the_current_context_leads_to_a_server_and_a_user(void)
{
    CLEANUP(mem_free) char *token = write_file("token", "t0ken\n");
    CLEANUP(mem_free)
    char *path =
        write_file("config", "apiVersion: v1\nkind: Config\n"
                             "current-context: b\n"
                             "clusters:\n"
                             "- {name: one, cluster: {server: 'https://x'}}\n"
                             "- name: two\n"
                             "  cluster: {server: 'https://y:7443',"
                             " certificate-authority-data: UEVNCg==}\n"
                             "contexts:\n"
                             "- {name: a, context: {cluster: one, user: u}}\n"
                             "- {name: b, context: {cluster: two, user: u,"
                             " namespace: lab}}\n"
                             "users:\n"
                             "- {name: u, user: {tokenFile: token}}\n");
    struct err err = { 0 };
    struct kubeconf *k = kubeconf_load(path, &err);

    if (k == NULL)
        test_fail(__FILE__, __LINE__, path, err.msg);
    CHECK(strcmp(k->server, "https://y:7443") == 0);
    CHECK(strcmp(k->ns, "lab") == 0);
    CHECK(strcmp(k->ca_pem, "PEM\n") == 0);
    CHECK(strcmp(k->token, "t0ken") == 0);
    CHECK(k->cert_pem == NULL && k->key_pem == NULL);
    kubeconf_free(k);
    (void)unlink(path);
    (void)unlink(token);
}

static void
a_context_that_leads_nowhere_is_invalid(void)
{
    CLEANUP(mem_free)
    char *path = write_file("config", "current-context: a\n");
    struct err err = { 0 };

    CHECK(kubeconf_load(path, &err) == NULL);
    CHECK_INT(err.code, ==, ERR_INVALID);
    CHECK(strstr(err.msg, path) != NULL);
    (void)unlink(path);
    CHECK(kubeconf_load(path, &err) == NULL);
    CHECK_INT(err.code, ==, ERR_NOT_FOUND);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "the current context leads to a server and a user",
          the_current_context_leads_to_a_server_and_a_user },
        { "a context that leads nowhere is invalid",
          a_context_that_leads_nowhere_is_invalid },
    };
    int rc;

    CHECK(mkdtemp(dir) != NULL);
    rc = test_main(cases, ARRAY_SIZE(cases));
    (void)rmdir(dir);
    return rc;
}
