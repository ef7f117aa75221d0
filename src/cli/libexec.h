/* SPDX-License-Identifier: Apache-2.0 */
/* cli/libexec.h: commands that are programs of their own, as git has them:
 * `vmkeep repo` is vmkeep-repo (docs/decisions/0004-repo-tool.md).
 */
#pragma once
#include "base/err.h"

/* Is argv[1] such a command? */
bool libexec_has(int argc, char **argv);
/* Become it, with the words after argv[1]. Returns on failure only. */
int libexec_exec(char **argv, struct err *err) NODISCARD;
