/* SPDX-License-Identifier: Apache-2.0 */
/* repotool/repotool.h: the program vmkeep-repo, which is `vmkeep repo`.
 *
 * main.c reads the command line; cmd-*.c do the work.
 */
#pragma once
#include "repo/gc.h"
#include "repo/repo.h"
#include "repo/retain.h"

struct repotool {
    const char *command;
    char **args; /* after the command */
    int arg_count;

    const char *key_file;
    const char *passphrase_file;
    const char *resume;
    const char *parent; /* id, "none", or NULL: the newest of the same uid */
    const char *disk;
    const char *uid;
    const char *metadata;
    const char *role;
    const char *label;
    const char *new_key_file;
    const char *new_passphrase_file;
    const char *recipient;
    unsigned chunk_log2;
    unsigned threads;
    int zstd_level;
    unsigned verify_level;
    unsigned dead_percent; /* 0: as repo_compact() likes */
    bool keeps_packs;      /* gc: rewrite none */
    bool rewrites_keys;    /* keys rotate */
    bool verifies_writes;  /* import: decode every chunk again */
    bool is_unencrypted;
    bool has_no_parity; /* init */
    bool adds_parity;   /* check */
    bool is_quiet;
    bool is_json;
    bool overwrites;
    bool is_dry_run;
    bool shows_deleted;
    bool restarts;
    uint64_t rate;         /* bytes a second; 0: as fast as it goes */
    uint64_t index_budget; /* bytes; 0: repo-index.h's */
    struct retain_policy keep;
    struct repo_gc_options gc;
};

/* Open args[0]; with the key, unless `is_keyless` and none is given. */
int repotool_open(const struct repotool *t, bool is_keyless,
                  struct repo **ret_repo, struct err *err) NODISCARD;
/* The key file: the option, VMKEEP_KEY_FILE, or the default, which is
 * /etc/vmkeep/repo.key for root and ~/.config/vmkeep/repo.key else.
 * The caller frees. */
char *repotool_key_path(const struct repotool *t) NODISCARD;
/* Read the passphrase from its file, or ask on the terminal (twice when
 * `is_new`). NULL with no error: there is none. The caller wipes and frees. */
int repotool_passphrase(const struct repotool *t, bool is_new, char **ret,
                        struct err *err) NODISCARD;

/* --keep-last, hourly, daily, weekly, monthly, yearly, within: 0 to 6. */
int cmd_retain_option(struct repotool *t, int which, const char *text,
                      struct err *err) NODISCARD;

/* How many backups args[1] and those behind it name; one may do so twice. */
unsigned cmd_retain_count(const struct repotool *t);

/* --grace, --undelete-window, --kill-after: 0 to 2. */
int cmd_gc_option(struct repotool *t, int which, const char *text,
                  struct err *err) NODISCARD;

int cmd_init(const struct repotool *t, struct err *err) NODISCARD;
int cmd_keys(const struct repotool *t, struct err *err) NODISCARD;
int cmd_export_kit(const struct repotool *t, struct err *err) NODISCARD;
int cmd_info(const struct repotool *t, struct err *err) NODISCARD;
int cmd_list(const struct repotool *t, struct err *err) NODISCARD;
int cmd_delete(const struct repotool *t, struct err *err) NODISCARD;
int cmd_undelete(const struct repotool *t, struct err *err) NODISCARD;
int cmd_forget(const struct repotool *t, struct err *err) NODISCARD;
int cmd_gc(const struct repotool *t, struct err *err) NODISCARD;
int cmd_hold(const struct repotool *t, struct err *err) NODISCARD;
int cmd_release(const struct repotool *t, struct err *err) NODISCARD;
int cmd_compact(const struct repotool *t, struct err *err) NODISCARD;
int cmd_check(const struct repotool *t, struct err *err) NODISCARD;
int cmd_stats(const struct repotool *t, struct err *err) NODISCARD;
int cmd_index(const struct repotool *t, struct err *err) NODISCARD;
int cmd_verify(const struct repotool *t, struct err *err) NODISCARD;
int cmd_import(const struct repotool *t, struct err *err) NODISCARD;
int cmd_export(const struct repotool *t, struct err *err) NODISCARD;
