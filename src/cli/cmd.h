/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cmd.h: what the commands of several nouns share. */
#pragma once
#include "cli/cli.h"
#include "types/kind.h"

/* All objects of a kind in c->ns; the caller's. NULL with err. */
json_t *cmd_list(struct cli *c, const struct kind *k, struct err *err)
    NODISCARD;
json_t *cmd_get(struct cli *c, const struct kind *k, const char *name,
                struct err *err) NODISCARD;
json_t *cmd_create(struct cli *c, const struct kind *k, const json_t *object,
                   struct err *err) NODISCARD;

/* start or stop through the subresource. `body` may be NULL.
 * errors  what the server says */
int cmd_power(struct cli *c, const char *vm, const char *verb,
              const json_t *body, struct err *err) NODISCARD;
/* Until status.printableStatus of the VM is `status`. */
int cmd_wait_power(struct cli *c, const char *vm, const char *status,
                   uint64_t timeout_ms, struct err *err) NODISCARD;

/* What a wait says, each line once and with the time since it began. */
struct cmd_progress {
    const struct cli *cli;
    uint64_t began_ms;
    char last[256];
};
void cmd_progress_say(struct cmd_progress *p, const char *text);

/* "Label:      value" of the show commands; value NULL or "": not shown. */
void cmd_print_field(const char *label, const char *value);
