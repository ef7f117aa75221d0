/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "cli/args.h"
#include "test.h"

#define MAX_WORDS 16

/* Split at blanks and parse; c is the caller's to look at. */
static int
parse(struct cli *c, struct args *a, struct err *err, const char *line)
{
    static char text[200];
    static char *words[MAX_WORDS];
    int n = 0;

    *c = (struct cli){ 0 };
    (void)snprintf(text, sizeof text, "%s", line);
    for (char *save, *w = strtok_r(text, " ", &save); w != NULL;
         w = strtok_r(NULL, " ", &save))
        words[n++] = w;
    return args_parse(c, n, words, a, err);
}

static void
options_stand_anywhere(void)
{
    static const char *const lines[] = {
        "vmkeep snapshot create web s1 -n ns --deadline 1m --wait -o json",
        "vmkeep -n=ns -ojson snapshot --wait create --deadline=1m web s1",
        "vmkeep --namespace ns snapshot create -w --deadline 1m -ojson -- web s1",
    };

    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        struct cli c;
        struct args a;
        struct err err = { 0 };

        CHECK_OK(parse(&c, &a, &err, lines[i]), &err);
        CHECK(c.command != NULL && strcmp(c.command->verb, "create") == 0);
        CHECK(strcmp(cli_value(&c, "namespace"), "ns") == 0);
        CHECK(strcmp(cli_value(&c, "deadline"), "1m") == 0);
        CHECK(cli_has(&c, "wait") && !cli_has(&c, "retain"));
        CHECK_INT(c.format, ==, CLI_JSON);
        CHECK_INT(c.n_args, ==, 2);
        CHECK(strcmp(c.args[0], "web") == 0 && strcmp(c.args[1], "s1") == 0);
        free(c.args);
    }
}

static void
options_may_be_repeated(void)
{
    struct cli c;
    struct args a;
    struct err err = { 0 };

    CHECK_OK(parse(&c, &a, &err,
                   "vmkeep snapshot create web --exclude vdb --exclude vdc"),
             &err);
    CHECK(strcmp(cli_value_at(&c, "exclude", 0), "vdb") == 0);
    CHECK(strcmp(cli_value_at(&c, "exclude", 1), "vdc") == 0);
    CHECK(cli_value_at(&c, "exclude", 2) == NULL);
    CHECK(strcmp(cli_value(&c, "exclude"), "vdc") == 0);
    free(c.args);
}

static void
slips_are_refused(void)
{
    static const char *const lines[] = {
        "vmkeep vm list --nope",
        "vmkeep vm list extra",
        "vmkeep vm show",
        "vmkeep vm list --wait", /* another command's */
        "vmkeep --wait vm list", /* the same, before the command */
        "vmkeep vm list -o xml",
        "vmkeep vm list --wide=yes",
        "vmkeep vm list --all-namespaces=yes",
        "vmkeep vm list --n ns", /* a letter with two dashes */
        "vmkeep vm list -n",
    };

    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        struct cli c;
        struct args a;
        struct err err = { 0 };

        if (parse(&c, &a, &err, lines[i]) == 0)
            test_fail(__FILE__, __LINE__, lines[i], " was not refused");
        CHECK_INT(err.code, ==, ERR_INVALID);
        free(c.args);
    }
}

static void
every_command_can_be_found_and_has_examples(void)
{
    const struct cli_command *k;

    for (size_t i = 0; (k = args_command(i)) != NULL; i++) {
        CHECK(args_find(k->noun, k->verb) == k);
        CHECK(strstr(k->examples, "vmkeep ") != NULL);
        CHECK(k->run != NULL && k->max_args >= k->min_args);
    }
    CHECK(args_find("vm", "nope") == NULL);
    CHECK(!args_is_noun("nope"));
}

/* "vmkeep ..." in the examples must be accepted by the parser. */
static void
the_examples_are_right(void)
{
    const struct cli_command *k;

    for (size_t i = 0; (k = args_command(i)) != NULL; i++) {
        char line[200];
        struct cli c;
        struct args a;
        struct err err = { 0 };

        (void)snprintf(line, sizeof line, "%.*s",
                       (int)strcspn(k->examples, "\n>|'\""), k->examples);
        if (parse(&c, &a, &err, line) < 0)
            test_fail(__FILE__, __LINE__, line, err.msg);
        CHECK(c.command == k);
        free(c.args);
    }
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "options stand anywhere", options_stand_anywhere },
        { "options may be repeated", options_may_be_repeated },
        { "slips are refused", slips_are_refused },
        { "every command can be found and has examples",
          every_command_can_be_found_and_has_examples },
        { "the examples are right", the_examples_are_right },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
