/* SPDX-License-Identifier: Apache-2.0 */
/* cli/help.h: --help, which teaches. */
#pragma once
#include <stdio.h>

#include "cli/cli.h"

void help_all(FILE *out);
/* The commands of one noun. */
void help_noun(FILE *out, const char *noun);
void help_command(FILE *out, const struct cli_command *command);
