/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cli.h: one invocation of vmkeep: what was asked for, and how to say it.
 *
 * Threads: one.
 * source  docs/man/vmkeep.1
 */
#pragma once
#include "cli/client.h"
#include "codec/jsonx.h"

/* An option; arrays of them end with name NULL. */
struct cli_option {
    const char *name; /* "namespace": --namespace */
    char letter;      /* 'n', or 0 */
    const char *arg;  /* what follows it, for the help; NULL: nothing */
    const char *help;
};

struct cli;

struct cli_command {
    const char *noun, *verb; /* verb NULL: the noun is the whole command */
    const char *args;        /* "VM [NAME]" */
    size_t min_args, max_args;
    const char *summary;              /* one line */
    const char *text;                 /* what to know, or NULL */
    const char *examples;             /* one a line: "vmkeep ..." */
    const struct cli_option *options; /* besides the global ones */
    int (*run)(struct cli *c, struct err *err);
};

extern const struct cli_option cli_global_options[];

enum cli_format {
    CLI_TABLE,
    CLI_WIDE, /* a table with more columns */
    CLI_JSON,
    CLI_YAML,
    CLI_NAME, /* bare names, for scripts */
};

#define CLI_MAX_OPTIONS 64
struct cli {
    const struct cli_command *command;
    struct {
        const struct cli_option *option;
        const char *value;
    } options[CLI_MAX_OPTIONS];
    size_t n_options;
    const char **args; /* after noun and verb */
    size_t n_args;
    enum cli_format format;
    bool has_colour; /* standard output takes colour */
    const char *ns;  /* the namespace, or NULL for all */
    char *in_ns;     /* "-n NS " for commands that are proposed, or "" */
    struct client *client;
};

/* The last value given for an option; NULL: not given ("" for a flag). */
const char *cli_value(const struct cli *c, const char *name);
bool cli_has(const struct cli *c, const char *name);
/* The i-th value of an option that may be repeated; NULL: no more. */
const char *cli_value_at(const struct cli *c, const char *name, size_t i);
/* --timeout in ms, else def_ms. */
int cli_timeout(const struct cli *c, int64_t def_ms, int64_t *ret_ms,
                struct err *err) NODISCARD;

/* Print an object, or a list, in the format that is no table; false: the
 * format is a table, nothing was printed. */
bool cli_print(const struct cli *c, json_t *v);

/* What was done to `name`, where there is nothing to show: a sentence for
 * people, the bare name with -o name, nothing for other programs. */
void cli_done(const struct cli *c, const char *name, const char *fmt, ...)
    PRINTF(3, 4);

/* Progress and remarks, to standard error; not with a format for programs. */
void cli_say(const struct cli *c, const char *fmt, ...) PRINTF(2, 3);

/* The commands of each noun: arrays that end with noun NULL. */
extern const struct cli_command cmd_vm_table[], cmd_snapshot_table[],
    cmd_backup_table[], cmd_restore_table[], cmd_target_table[],
    cmd_other_table[];
