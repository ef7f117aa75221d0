/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/args.h"

#include <string.h>

#include "base/mem.h"
#include "base/text.h"

static const struct cli_command *const tables[] = {
    cmd_vm_table,      cmd_snapshot_table, cmd_backup_table,
    cmd_restore_table, cmd_target_table,   cmd_other_table
};

const struct cli_command *
args_command(size_t i)
{
    for (size_t t = 0; t < ARRAY_SIZE(tables); t++) {
        for (const struct cli_command *c = tables[t]; c->noun != NULL; c++) {
            if (i-- == 0)
                return c;
        }
    }
    return NULL;
}

const struct cli_command *
args_find(const char *noun, const char *verb)
{
    const struct cli_command *c;

    for (size_t i = 0; (c = args_command(i)) != NULL; i++) {
        if (strcmp(c->noun, noun) != 0)
            continue;
        if (c->verb == NULL || (verb != NULL && strcmp(c->verb, verb) == 0))
            return c;
    }
    return NULL;
}

bool
args_is_noun(const char *noun)
{
    const struct cli_command *c;

    for (size_t i = 0; (c = args_command(i)) != NULL; i++) {
        if (strcmp(c->noun, noun) == 0)
            return true;
    }
    return false;
}

/* ---- options ---- */

/* Options of the command first; before it is known, all commands' are tried,
 * so that "vmkeep --wait snapshot create" works as well. */
static const struct cli_option *
find_in(const struct cli_option *list, const char *name, size_t len)
{
    for (; list != NULL && list->name != NULL; list++) {
        if ((strlen(list->name) == len &&
             strncmp(list->name, name, len) == 0) ||
            (len == 1 && list->letter == *name))
            return list;
    }
    return NULL;
}

static const struct cli_option *
find_option(const struct cli_command *command, const char *name, size_t len)
{
    const struct cli_option *o = find_in(cli_global_options, name, len);
    const struct cli_command *c;

    if (o != NULL || command != NULL)
        return o != NULL ? o : find_in(command->options, name, len);
    for (size_t i = 0; o == NULL && (c = args_command(i)) != NULL; i++)
        o = find_in(c->options, name, len);
    return o;
}

static int
add_option(struct cli *c, const struct cli_option *o, const char *value,
           struct err *err)
{
    if (c->n_options == CLI_MAX_OPTIONS)
        return err_set(err, ERR_INVALID, "too many options");
    c->options[c->n_options].option = o;
    c->options[c->n_options++].value = value == NULL ? "" : value;
    return 0;
}

/* One word that begins with a dash. *i moves on when its value is the next. */
static int
parse_option(struct cli *c, int argc, char **argv, int *i, struct err *err)
{
    const char *word = argv[*i];
    const char *name = word + (word[1] == '-' ? 2 : 1);
    size_t len = strcspn(name, "=");
    const char *value = name[len] == '=' ? name + len + 1 : NULL;
    const struct cli_option *o;

    if (word[1] != '-' && len > 1) {
        len = 1; /* -nNAMESPACE */
        value = name + 1 + (name[1] == '=');
    }
    o = find_option(c->command, name, len);
    if (o == NULL || (word[1] == '-' && len == 1))
        return err_set(
            err, ERR_INVALID,
            "there is no option %s; see: vmkeep%s%s%s%s --help", word,
            c->command == NULL ? "" : " ",
            c->command == NULL ? "" : c->command->noun,
            c->command == NULL || c->command->verb == NULL ? "" : " ",
            c->command == NULL || c->command->verb == NULL ? ""
                                                           : c->command->verb);
    if (o->arg == NULL && value != NULL)
        return err_set(err, ERR_INVALID, "option --%s takes no value", o->name);
    if (o->arg != NULL && value == NULL) {
        if (*i + 1 >= argc)
            return err_set(err, ERR_INVALID, "option --%s wants %s", o->name,
                           o->arg);
        value = argv[++*i];
    }
    return add_option(c, o, value, err);
}

static int
take_word(struct cli *c, struct args *a, const char *word)
{
    if (a->noun == NULL) {
        a->noun = word;
        c->command = args_find(word, NULL);
    } else if (c->command == NULL && a->verb == NULL) {
        a->verb = word;
        c->command = args_find(a->noun, word);
    } else {
        c->args[c->n_args++] = word;
    }
    return 0;
}

/* An option that another command has is caught here. */
static int
check_options(const struct cli *c, struct err *err)
{
    for (size_t i = 0; i < c->n_options; i++) {
        const char *name = c->options[i].option->name;

        if (find_option(c->command, name, strlen(name)) == NULL)
            return err_set(err, ERR_INVALID, "vmkeep %s %s has no option --%s",
                           c->command->noun,
                           c->command->verb == NULL ? "" : c->command->verb,
                           name);
    }
    return 0;
}

static int
parse_format(struct cli *c, struct err *err)
{
    static const char *const names[] = {
        [CLI_TABLE] = "table", [CLI_WIDE] = "wide", [CLI_JSON] = "json",
        [CLI_YAML] = "yaml",   [CLI_NAME] = "name",
    };
    const char *s = cli_value(c, "output");

    if (s == NULL)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(names[i], s) == 0) {
            c->format = (enum cli_format)i;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID,
                   "there is no output format \"%s\": table, wide, json, yaml "
                   "and name are",
                   s);
}

static int
check_args(const struct cli *c, struct err *err)
{
    const struct cli_command *k = c->command;
    const char *verb = k->verb == NULL ? "" : k->verb;

    if (c->n_args < k->min_args)
        return err_set(err, ERR_INVALID, "vmkeep %s %s wants: %s", k->noun,
                       verb, k->args);
    if (c->n_args > k->max_args)
        return err_set(err, ERR_INVALID,
                       "vmkeep %s %s: \"%s\" is one word too many", k->noun,
                       verb, c->args[k->max_args]);
    /* An empty variable of a script must not become "all". */
    for (size_t i = 0; i < c->n_args; i++)
        if (c->args[i][0] == 0)
            return err_set(err, ERR_INVALID, "vmkeep %s %s: a name is empty",
                           k->noun, verb);
    return 0;
}

static bool
is_utf8(const char *s)
{
    while (*s != 0) {
        size_t n = text_utf8_length(s);

        if (n == 0)
            return false;
        s += n;
    }
    return true;
}

static bool
names_file(const struct cli_option *o)
{
    return strcmp(o->name, "socket") == 0 || strcmp(o->name, "kubeconfig") == 0;
}

/* What goes to the server is JSON: other bytes would be left out there. The
 * names of files that are only read here may have them. */
static int
check_text(const struct cli *c, struct err *err)
{
    const char *bad = NULL;

    for (size_t i = 0; i < c->n_args; i++)
        if (!is_utf8(c->args[i]))
            bad = c->args[i];
    for (size_t i = 0; i < c->n_options; i++)
        if (!is_utf8(c->options[i].value) && !names_file(c->options[i].option))
            bad = c->options[i].value;
    if (bad != NULL)
        return err_set(err, ERR_INVALID, "\"%s\" is no UTF-8 text", bad);
    return 0;
}

int
args_parse(struct cli *c, int argc, char **argv, struct args *ret_args,
           struct err *err)
{
    bool is_ended = false;

    *ret_args = (struct args){ NULL, NULL, false, false };
    c->args = xcalloc((size_t)argc + 1, sizeof *c->args);
    for (int i = 1; i < argc; i++) {
        if (!is_ended && strcmp(argv[i], "--") == 0)
            is_ended = true;
        else if (!is_ended && argv[i][0] == '-' && argv[i][1] != 0) {
            if (parse_option(c, argc, argv, &i, err) < 0)
                return -1;
        } else
            take_word(c, ret_args, argv[i]);
    }
    ret_args->wants_help = cli_has(c, "help");
    ret_args->wants_version = cli_has(c, "version");
    if (c->command == NULL || ret_args->wants_help)
        return 0;
    if (check_options(c, err) < 0 || parse_format(c, err) < 0 ||
        check_text(c, err) < 0)
        return -1;
    return check_args(c, err);
}
