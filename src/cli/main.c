/* SPDX-License-Identifier: Apache-2.0 */
/* vmkeep: the command line. Reads the words, runs one command, and says what
 * went wrong and what to do about it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/args.h"
#include "cli/help.h"
#include "cli/libexec.h"
#include "cli/table.h"
#include "cli/words.h"

#define DEFAULT_SOCKET "/run/vmkeep/vmkeepd.sock"

/* What a user can do, by what went wrong. */
static const char *
hint_for(enum err_code code, bool is_local)
{
    switch (code) {
    case ERR_UNAVAILABLE:
        return is_local ? "Is the daemon running? systemctl status vmkeepd; "
                          "another socket: --socket PATH"
                        : NULL;
    case ERR_DENIED:
        return is_local ? "The socket serves root and the group vmkeep: "
                          "sudo adduser YOU vmkeep, then log in again"
                        : NULL;
    case ERR_NONE:
    case ERR_INVALID:
    case ERR_NOT_FOUND:
    case ERR_EXISTS:
    case ERR_CONFLICT:
    case ERR_BUSY:
    case ERR_NO_SPACE:
    case ERR_CORRUPT:
    case ERR_UNSUPPORTED:
    case ERR_TIMEOUT:
    case ERR_CANCELLED:
    case ERR_NO_MEMORY:
    case ERR_INTERNAL:
    case ERR_CODE_COUNT:
    default:
        return NULL;
    }
}

/* Where to look for the right name. */
static const char *
hint_where(const struct cli_command *command)
{
    static const char *const hints[][2] = {
        { "vm", "What there is: vmkeep vm list -A -o wide (the names that "
                "libvirt uses are in the column DOMAIN)" },
        { "snapshot", "What there is: vmkeep snapshot list -A" },
        { "backup", "What there is: vmkeep backup list -A" },
        { "restore", "What there is: vmkeep restore list -A" },
        { "target", "What there is: vmkeep target list" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(hints); i++)
        if (strcmp(command->noun, hints[i][0]) == 0)
            return hints[i][1];
    return NULL;
}

/* The causes, where there are several: the message joins them in one line. */
static void
print_causes(const json_t *status)
{
    const json_t *causes = jsonx_get(status, "details.causes");

    if (json_array_size(causes) < 2)
        return;
    for (size_t i = 0; i < json_array_size(causes); i++) {
        const json_t *cause = json_array_get(causes, i);
        CLEANUP(mem_free)
        char *text = xasprintf("%s: %s", jsonx_str_or(cause, "field", ""),
                               jsonx_str_or(cause, "message", ""));

        words_clean_lines(text);
        fprintf(stderr, "  * %s\n", text);
    }
}

/* What the server said stands for itself, but for a bad token. */
static const char *
hint_of(const struct cli *c, const struct err *err)
{
    const json_t *status = client_status(c->client);
    bool is_local = !cli_has(c, "server") && !cli_has(c, "kubeconfig");

    if (jsonx_int(status, "code", 0) == 401)
        return "The token is not valid (any more). Make a new one on the host: "
               "vmkeep kubeconfig";
    if (strcmp(jsonx_str_or(status, "message", ""), err->msg) == 0)
        return err->code == ERR_NOT_FOUND ? hint_where(c->command) : NULL;
    return hint_for(err->code, is_local);
}

static int
complain(const struct cli *c, const struct err *err)
{
    const char *hint = hint_of(c, err);
    CLEANUP(mem_free) char *text = xstrdup(err->msg);

    words_clean_lines(text);
    fprintf(stderr, "vmkeep: %s\n", text);
    print_causes(client_status(c->client));
    if (hint != NULL)
        fprintf(stderr, "  %s\n", hint);
    return err_code_exit(err->code);
}

static int
connect_client(struct cli *c, struct err *err)
{
    const char *env = getenv("VMKEEP_SOCKET");
    struct client_config cfg = {
        .socket = cli_value(c, "socket"),
        .server = cli_value(c, "server"),
        .kubeconfig = cli_value(c, "kubeconfig"),
    };

    if (cfg.socket == NULL)
        cfg.socket = env != NULL && *env != 0 ? env : DEFAULT_SOCKET;
    c->client = client_new(&cfg, err);
    if (c->client == NULL)
        return -1;
    c->ns = cli_value(c, "namespace");
    if (c->ns == NULL)
        c->ns = client_ns(c->client);
    if (c->ns == NULL || *c->ns == 0)
        c->ns = "default";
    if (cli_has(c, "all-namespaces"))
        c->ns = NULL;
    c->in_ns = cli_has(c, "namespace") && c->ns != NULL
                   ? xasprintf("-n %s ", c->ns)
                   : xstrdup("");
    return 0;
}

static int
run(struct cli *c, struct err *err)
{
    bool is_list =
        c->command->verb != NULL && strcmp(c->command->verb, "list") == 0;

    if (cli_has(c, "all-namespaces") && !is_list)
        return err_set(err, ERR_INVALID,
                       "--all-namespaces is for list; name one with -n");
    if (connect_client(c, err) < 0)
        return -1;
    return c->command->run(c, err);
}

/* No command was named, or not wholly. */
static int
guide(const struct args *a)
{
    if (a->wants_version) {
        puts("vmkeep " VMKEEP_VERSION);
        return 0;
    }
    if (a->noun == NULL) {
        help_all(a->wants_help ? stdout : stderr);
        return a->wants_help ? 0 : err_code_exit(ERR_INVALID);
    }
    if (strcmp(a->noun, "help") == 0) {
        help_all(stdout);
        return 0;
    }
    if (!args_is_noun(a->noun)) {
        fprintf(stderr,
                "vmkeep: there is no command \"%s\"; see: vmkeep "
                "--help\n",
                a->noun);
        return err_code_exit(ERR_INVALID);
    }
    if (a->verb != NULL)
        fprintf(stderr, "vmkeep: there is no command \"%s %s\"\n", a->noun,
                a->verb);
    help_noun(a->wants_help ? stdout : stderr, a->noun);
    return a->wants_help && a->verb == NULL ? 0 : err_code_exit(ERR_INVALID);
}

/* A standard descriptor that the caller closed would become a connection, and
 * what is printed would go to the server. Reads give nothing, writes fail. */
static void
fill_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)open("/dev/null", O_RDONLY); // NOLINT: it is to stay open
}

/* What was printed must have arrived: a kubeconfig that was cut short by a
 * full disk is no success. */
static int
finish(struct cli *c, int code)
{
    struct err err = { 0 };
    bool had_failed = ferror(stdout) != 0;

    if (fflush(stdout) == 0 && !had_failed)
        return code;
    (void)err_sys(&err, errno == 0 ? EIO : errno, "standard output");
    return code != 0 ? code : complain(c, &err);
}

int
main(int argc, char **argv)
{
    struct cli c = { .has_colour = isatty(STDOUT_FILENO) == 1 &&
                                   getenv("NO_COLOR") == NULL };
    struct err err = { 0 };
    struct args a;
    int code = 0;

    fill_descriptors();
    if (libexec_has(argc, argv))
        code = libexec_exec(argv, &err) < 0 ? complain(&c, &err) : 0;
    else if (args_parse(&c, argc, argv, &a, &err) < 0)
        code = complain(&c, &err);
    else if (c.command == NULL)
        code = guide(&a);
    else if (a.wants_help)
        help_command(stdout, c.command);
    else if (run(&c, &err) < 0)
        code = complain(&c, &err);
    code = finish(&c, code);
    client_free(c.client);
    free(c.in_ns);
    free(c.args);
    return code;
}
