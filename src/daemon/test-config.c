/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/config.h"
#include "test.h"

static struct config *
parse(const char *text)
{
    struct err err;
    struct config *c = config_parse("f", text, &err);

    if (c == NULL)
        test_fail(__FILE__, __LINE__, text, err.msg);
    return c;
}

static void
refused(const char *text, const char *begin)
{
    struct err err;

    CHECK(config_parse("f", text, &err) == NULL);
    CHECK_INT(err.code, ==, ERR_INVALID);
    if (strncmp(err.msg, begin, strlen(begin)) != 0)
        test_fail(__FILE__, __LINE__, begin, err.msg);
}

static void
an_empty_file_is_all_defaults(void)
{
    CLEANUP(config_free) struct config *c = parse("");

    CHECK(strcmp(c->state_dir, "/var/lib/vmkeep") == 0);
    CHECK(strcmp(c->socket, "/run/vmkeep/vmkeepd.sock") == 0);
    CHECK(strcmp(c->listen, "127.0.0.1:7443") == 0);
    CHECK_INT(c->min_free, ==, 0);
    CHECK_INT(c->trash_hours, ==, 24);
    CHECK(strcmp(c->target_roots[0], "/var/lib/vmkeep/targets") == 0);
    CHECK(strcmp(c->target_roots[3], "/srv") == 0);
    CHECK(c->target_roots[4] == NULL);
    CHECK(c->restore_dir == NULL);
}

static void
values_are_read(void)
{
    CLEANUP(config_free)
    struct config *c = parse("# a comment\n\n  run_dir=/r \r\n"
                             "min_free = 64M\ntrash_hours = 1\n"
                             "target_roots = /a/, /b/c \n"
                             "restore_dir = /vm\n"
                             "libvirt_uri = test:///default?a=b\n");

    CHECK(strcmp(c->restore_dir, "/vm") == 0);
    CHECK(strcmp(c->socket, "/r/vmkeepd.sock") == 0);
    CHECK_INT(c->min_free, ==, 64 << 20);
    CHECK_INT(c->trash_hours, ==, 1);
    CHECK(strcmp(c->target_roots[0], "/a") == 0);
    CHECK(strcmp(c->target_roots[1], "/b/c") == 0);
    CHECK(c->target_roots[2] == NULL);
    CHECK(strcmp(c->libvirt_uri, "test:///default?a=b") == 0);
}

static void
mistakes_are_named_with_their_line(void)
{
    refused("state_dir = /a\nstate_dir = /b\n", "f:2: state_dir is given");
    refused("\nstatedir = /a\n", "f:2: unknown key 'statedir'");
    refused("state_dir = a\n", "f:1: state_dir: 'a': want an absolute path");
    refused("target_roots = /a b\n", "f:1: target_roots: '/a b': want");
    refused("target_roots = /\n", "f:1: target_roots: '/': want");
    refused("trash_hours = x\n", "f:1: trash_hours: 'x' is not a number");
    refused("trash_hours = 0\n", "f:1: trash_hours: '0': want");
    refused("min_free = 5%\n", "f:1: min_free: '5%': want bytes");
    refused("hello\n", "f:1: want 'key = value'");
    refused("listen =\n", "f:1: listen: '': want a value");
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "an empty file is all defaults", an_empty_file_is_all_defaults },
        { "values are read", values_are_read },
        { "mistakes are named with their line",
          mistakes_are_named_with_their_line },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
