/* SPDX-License-Identifier: Apache-2.0 */
/* cli/args.h: the command line, by the tables of cli/cli.h. */
#pragma once
#include "cli/cli.h"

/* What the words of the command line ask for. */
struct args {
    const char *noun, *verb; /* as given; NULL: not given */
    bool wants_help, wants_version;
};

/* All commands of all nouns, in the order of the help; i counts from 0. */
const struct cli_command *args_command(size_t i);
/* verb NULL: the command that is the noun alone. NULL: there is none. */
const struct cli_command *args_find(const char *noun, const char *verb);
bool args_is_noun(const char *noun);

/* Fill c->command, options, args and format. Options may stand anywhere;
 * "--" ends them. errors  INVALID (usage), naming what to look at */
int args_parse(struct cli *c, int argc, char **argv, struct args *ret_args,
               struct err *err) NODISCARD;
