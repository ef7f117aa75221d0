/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/help.h"

#include <string.h>

#include "base/mem.h"
#include "cli/args.h"

#define WIDTH 80

/* Words from column `at` on; what does not fit goes on below, at `indent`. */
static void
print_words(FILE *out, size_t at, size_t indent, const char *text)
{
    while (*text != 0) {
        size_t len = strcspn(text, " ");

        if (at > indent && at + 1 + len > WIDTH) {
            fprintf(out, "\n%*s", (int)indent, "");
            at = indent;
        } else if (at > indent) {
            fputc(' ', out);
            at++;
        }
        fprintf(out, "%.*s", (int)len, text);
        at += len;
        text += len + (text[len] == ' ');
    }
    fputc('\n', out);
}

/* "  LEFT    words", the words from column `indent` on. */
static void
print_row(FILE *out, const char *left, size_t indent, const char *words)
{
    size_t len = strlen(left) + 4;

    fprintf(out, "  %-*s  ", (int)indent - 4, left);
    /* What is too long for its column has its words further to the right. */
    print_words(out, indent, len > indent ? len : indent, words);
}

static void
print_options(FILE *out, const struct cli_option *o)
{
    for (; o != NULL && o->name != NULL; o++) {
        CLEANUP(mem_free)
        char *left = xasprintf(
            "%s%c%s--%s%s%s", o->letter != 0 ? "-" : "  ",
            o->letter != 0 ? o->letter : ' ', o->letter != 0 ? ", " : " ",
            o->name, o->arg == NULL ? "" : " ", o->arg == NULL ? "" : o->arg);

        print_row(out, left, 32, o->help);
    }
}

static void
print_command(FILE *out, const struct cli_command *c)
{
    CLEANUP(mem_free)
    char *left =
        xasprintf("vmkeep %s%s%s %s", c->noun, c->verb == NULL ? "" : " ",
                  c->verb == NULL ? "" : c->verb, c->args);

    print_row(out, left, 48, c->summary);
}

static void
print_examples(FILE *out, const char *examples)
{
    for (const char *p = examples; *p != 0;) {
        size_t len = strcspn(p, "\n");

        fprintf(out, "  %.*s\n", (int)len, p);
        p += len + (p[len] == '\n');
    }
}

void
help_all(FILE *out)
{
    const struct cli_command *c;
    const char *noun = "";
    bool had_verb = false;

    fputs("vmkeep keeps snapshots and backups of the virtual machines of this "
          "host and\nbrings them back.\n\nCommands:\n",
          out);
    for (size_t i = 0; (c = args_command(i)) != NULL; i++) {
        if (strcmp(noun, c->noun) != 0 && had_verb)
            fputc('\n', out);
        noun = c->noun;
        had_verb = c->verb != NULL;
        print_command(out, c);
    }
    fputs("\nBackup repositories, without a daemon: vmkeep repo --help\n", out);
    fputs("\nOptions of every command:\n", out);
    print_options(out, cli_global_options);
    fputs("\nA snapshot before an upgrade, and back if it went wrong:\n"
          "  vmkeep snapshot create web-1 before-upgrade --wait\n"
          "  vmkeep snapshot list web-1\n"
          "  vmkeep restore create before-upgrade --stop --start --wait\n"
          "\nA place for backups, a backup, and a lost machine back from it:\n"
          "  vmkeep target create /srv/backups --wait\n"
          "  vmkeep backup create web-1 friday --wait\n"
          "  vmkeep restore create friday --wait\n"
          "\nMore about a command: vmkeep snapshot create --help\n"
          "The manual: man vmkeep\n",
          out);
}

void
help_noun(FILE *out, const char *noun)
{
    const struct cli_command *c;

    fprintf(out, "Commands:\n");
    for (size_t i = 0; (c = args_command(i)) != NULL; i++) {
        if (strcmp(noun, c->noun) == 0)
            print_command(out, c);
    }
    fprintf(out, "\nMore about one: vmkeep %s VERB --help\n", noun);
}

void
help_command(FILE *out, const struct cli_command *c)
{
    fprintf(out, "vmkeep %s%s%s %s%s[options]\n  %s\n", c->noun,
            c->verb == NULL ? "" : " ", c->verb == NULL ? "" : c->verb, c->args,
            *c->args == 0 ? "" : " ", c->summary);
    if (c->text != NULL) {
        fputc('\n', out);
        print_examples(out, c->text);
    }
    fprintf(out, "\nExamples:\n");
    print_examples(out, c->examples);
    if (c->options != NULL) {
        fprintf(out, "\nOptions:\n");
        print_options(out, c->options);
    }
    fprintf(out, "\nOptions of every command:\n");
    print_options(out, cli_global_options);
}
