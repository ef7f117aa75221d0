/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cmd.h: what the commands of several nouns share. */
#pragma once
#include "cli/cli.h"
#include "cli/table.h"
#include "types/kind.h"

/* All objects of a kind in c->ns; the caller's. NULL with err. */
json_t *cmd_list(struct cli *c, const struct kind *k, struct err *err)
    NODISCARD;
json_t *cmd_get(struct cli *c, const struct kind *k, const char *name,
                struct err *err) NODISCARD;
json_t *cmd_create(struct cli *c, const struct kind *k, const json_t *object,
                   struct err *err) NODISCARD;

/* Only the objects of one VM stay (of kinds with spec.source.name). */
void cmd_keep_of_vm(json_t *list, const char *vm);
/* A list as the user asked for it: -o json|yaml|name, or a table with a row for
 * each item, or `none` if there is no item. */
void cmd_print_list(const struct cli *c, json_t *list, const char *const *heads,
                    void (*add_row)(const struct cli *c, struct table *t,
                                    const json_t *item),
                    const char *none);

/* Set one annotation of an object. */
int cmd_annotate(struct cli *c, const struct kind *k, const char *name,
                 const char *key, const char *value, struct err *err) NODISCARD;
/* Delete an object, with --wait until it is gone, and say so. `what`: its
 * noun. */
int cmd_delete(struct cli *c, const struct kind *k, const char *what,
               const char *name, int64_t def_timeout_ms, struct err *err)
    NODISCARD;
/* Call `fn` for each argument of the command. What is wrong with one says
 * nothing of the others: it is told, and they are gone on with, unless the
 * server does not answer or allow it. The last error is returned. */
int cmd_each_arg(struct cli *c,
                 int (*fn)(struct cli *c, void *arg, const char *name,
                           struct err *err),
                 void *arg, struct err *err) NODISCARD;
/* cmd_delete() of each argument. */
int cmd_delete_args(struct cli *c, const struct kind *k, const char *what,
                    int64_t def_timeout_ms, struct err *err) NODISCARD;
/* "web-1-snapshot-20260801-100007", as the console names them; caller frees. */
char *cmd_default_name(const char *vm, const char *what) NODISCARD;
/* The values of --exclude, with commas between them; caller frees. */
char *cmd_excluded(const struct cli *c) NODISCARD;
/* A virtual machine that is to be kept is there. */
int cmd_check_vm(struct cli *c, const char *vm_name, struct err *err) NODISCARD;

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
    int64_t last_tenth; /* of what is done, that was said */
    bool has_bar;       /* the cursor stands behind a bar */
};
void cmd_progress_say(struct cmd_progress *p, const char *text);
/* How far the object is, by its status.vmkeep: a bar on a terminal, else a
 * line for every tenth. */
void cmd_progress_bytes(struct cmd_progress *p, const json_t *object);
/* Take the bar away. */
void cmd_progress_end(struct cmd_progress *p);

/* vmkeep restore of a backup (cmd-hrestore.c). */
int cmd_hrestore_create(struct cli *c, const json_t *backup, const char *name,
                        struct err *err) NODISCARD;
void cmd_hrestore_print(const struct cli *c, const json_t *restore);
/* "Complete", "Failed" or what it does. */
const char *cmd_hrestore_state(const json_t *restore);
/* Why it failed, or what it waits for. */
const char *cmd_hrestore_message(const json_t *restore);

/* "Label:      value" of the show commands; value NULL or "": not shown. */
void cmd_print_field(const char *label, const char *value);
/* The members of a list of strings, one a line. */
void cmd_print_lines(const char *label, const json_t *list);
