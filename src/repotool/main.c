/* SPDX-License-Identifier: Apache-2.0 */
/* vmkeep-repo: backup repositories without a daemon. */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>

#include "base/clock.h"
#include "base/effect.h"
#include "base/file.h"
#include "base/mem.h"
#include "blob/blob-dir.h"
#include "repo/repo-index.h"
#include "repotool/repotool.h"

#define PASSPHRASE_MAX 1024

static const struct {
    const char *name;
    const char *args; /* for the help */
    int min_args;     /* after the command */
    int max_args;
    int (*run)(const struct repotool *t, struct err *err);
    const char *help;
} commands[] = {
    { "init", "DIR", 1, 1, cmd_init, "make a repository in a directory" },
    { "info", "DIR", 1, 1, cmd_info, "what kind of repository it is" },
    { "list", "DIR", 1, 1, cmd_list, "the backups in it" },
    { "import", "DIR FILE...", 2, 257, cmd_import,
      "back up disk images: one backup, each file a disk" },
    { "export", "DIR BACKUP FILE", 3, 3, cmd_export,
      "write a disk of a backup to a file, a disk, or - (standard output)" },
    { "verify", "DIR", 1, 1, cmd_verify, "read and check everything" },
    { "check", "DIR", 1, 1, cmd_check,
      "the same bit by bit; remember and heal what is damaged" },
    { "stats", "DIR", 1, 1, cmd_stats, "what is stored, in numbers" },
    { "delete", "DIR BACKUP...", 2, 1025, cmd_delete, "delete backups" },
    { "undelete", "DIR BACKUP...", 2, 1025, cmd_undelete,
      "take back what was deleted and is not collected yet" },
    { "forget", "DIR", 1, 1, cmd_forget,
      "delete the backups that no --keep-... keeps" },
    { "compact", "DIR", 1, 1, cmd_compact,
      "write packs anew of which little is needed" },
    { "gc", "DIR", 1, 1, cmd_gc,
      "give back what no backup needs; others may go on meanwhile" },
    { "hold", "DIR BACKUP REASON", 3, 3, cmd_hold,
      "nobody can delete it until it is released" },
    { "release", "DIR BACKUP...", 2, 1025, cmd_release, "end a hold" },
    { "index", "DIR [rebuild]", 1, 2, cmd_index,
      "complete what finds chunks again, or make it anew" },
    { "keys list", "DIR", 2, 2, cmd_keys, "who can open it, and for what" },
    { "keys add", "DIR", 2, 2, cmd_keys,
      "let one more passphrase, key file or recipient in" },
    { "keys remove", "DIR ID", 3, 3, cmd_keys, "take one away" },
    { "keys rotate", "DIR", 2, 2, cmd_keys,
      "new keys for what is stored from now on" },
    { "keys rewrite", "DIR", 2, 2, cmd_keys,
      "encrypt with the newest keys what older ones open" },
    { "keys new-recipient", "FILE", 2, 2, cmd_keys,
      "make a recipient's secret, and print its public key" },
    { "keys import-kit", "FILE|-", 2, 2, cmd_keys,
      "make the key file (-k) again from a restore kit" },
    { "export-kit", "DIR [FILE]", 1, 2, cmd_export_kit,
      "a page to print: a key, and how to restore with it" },
};

static const char options_help[] =
    "  -k, --key-file FILE         the key (default /etc/vmkeep/repo.key for root,\n"
    "                              else ~/.config/vmkeep/repo.key)\n"
    "  -p, --passphrase-file FILE  the passphrase, in its first line\n"
    "      --no-encryption         init: keep everything in clear\n"
    "      --no-parity             init: none of what repairs damaged packs\n"
    "      --chunk-size KIB        init, import: 64 to 4096, a power of two (256)\n"
    "      --parent ID|none        import: compare with that backup (default: the\n"
    "                              newest with the same UID)\n"
    "      --resume ID             import: use what that one stored before it was killed\n"
    "      --uid TEXT              import: whose backup it is (default: the path)\n"
    "      --metadata FILE         import: keep these bytes with it; export: write them\n"
    "  -d, --disk NAME             import, export: the disk's name\n"
    "      --role ROLE             keys add, export-kit: full, backup-only,\n"
    "                              restore-only or maintainer (full)\n"
    "      --label TEXT            keys add, export-kit: what the list shows\n"
    "      --new-key-file FILE     keys add: make this key file\n"
    "      --new-passphrase-file FILE\n"
    "                              keys add: the passphrase, in its first line\n"
    "      --recipient TEXT|FILE   keys add: what new-recipient printed\n"
    "      --rewrite               keys rotate: then also do what keys rewrite does\n"
    "      --compress N            import: zstd level, 1 to 19 (default: the faster the\n"
    "                              target, the less: from below 1 to 3)\n"
    "      --verify-writes         import: decode every chunk again before it is written\n"
    "                              (always: of chunks one in 32, and all metadata)\n"
    "  -l, --level N               verify, check: 0 checksums, 1 every frame, 2 every backup (2)\n"
    "  -f, --force                 export: overwrite the file\n"
    "      --keep-last N           forget: the newest N of each VM; the same with hourly,\n"
    "      --keep-hourly N         daily, weekly, monthly, yearly: the newest of each of\n"
    "      --keep-daily N          the last N hours, days ... in which there is one\n"
    "      --keep-weekly N\n"
    "      --keep-monthly N\n"
    "      --keep-yearly N\n"
    "      --keep-within TIME      forget: what is younger before the newest: 36h, 30d, 1y6m\n"
    "      --dead PERCENT          compact, gc: packs of which that much is not needed (25)\n"
    "      --no-compact            gc: only whole packs that nobody needs\n"
    "      --rate MIB              check: so many MiB a second\n"
    "      --index-budget MIB      import, index, stats: of an index that is larger only one\n"
    "                              chunk in 128 is looked up at first (32768)\n"
    "      --add-parity            check: make parity from now on, for what is there too\n"
    "      --restart               check: from the begin, not where the last one stopped\n"
    "      --undelete-window TIME  gc: a deleted backup can be taken back so long (2d)\n"
    "      --grace TIME            gc: and its data is removed so long after that (2d)\n"
    "      --kill-after TIME       gc: a writer that said nothing so long is dead (7d)\n"
    "      --dry-run               forget, gc, compact: only say what it would do\n"
    "      --deleted               list: what can be taken back with undelete\n"
    "  -t, --threads N             workers (one per core)\n"
    "      --json                  info, list, stats, forget, gc, keys list: for programs\n"
    "  -q, --quiet                 no progress\n";

static void
usage(FILE *f)
{
    (void)fprintf(
        f, "usage: vmkeep repo COMMAND [OPTION...] DIR [ARGUMENT...]\n\n");
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        char line[64];

        (void)snprintf(line, sizeof line, "%s %s", commands[i].name,
                       commands[i].args);
        (void)fprintf(f, "  %-26s  %s\n", line, commands[i].help);
    }
    (void)fprintf(f, "\n%s", options_help);
}

/* ---- secrets ---- */

char *
repotool_key_path(const struct repotool *t)
{
    const char *env =
        getenv("VMKEEP_KEY_FILE");     // NOLINT(concurrency-mt-unsafe)
    const char *home = getenv("HOME"); // NOLINT(concurrency-mt-unsafe)

    if (t->key_file != NULL)
        return xstrdup(t->key_file);
    if (env != NULL && env[0] != 0)
        return xstrdup(env);
    if (geteuid() == 0 || home == NULL)
        return xstrdup("/etc/vmkeep/repo.key");
    return xasprintf("%s/.config/vmkeep/repo.key", home);
}

/* The terminal while it does not echo, for who ends us then. */
static struct {
    int fd;
    struct termios before;
} asking;

/* tcsetattr() and raise() may be called here: signal-safety(7). */
static void
on_ask_signal(int number)
{
    (void)tcsetattr(asking.fd, TCSANOW, &asking.before);
    (void)raise(number); /* the default now: SA_RESETHAND */
}

/* Ask for a line that is not shown. */
static ssize_t
read_hidden(int fd, const char *prompt, char *out, size_t size)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
    struct sigaction ours = { .sa_handler = on_ask_signal,
                              .sa_flags = SA_RESETHAND | SA_NODEFER };
    struct sigaction before[ARRAY_SIZE(signals)];
    struct termios quiet = asking.before;
    ssize_t n;

    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        (void)sigaction(signals[i], &ours, &before[i]);
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    (void)tcsetattr(fd, TCSAFLUSH, &quiet);
    (void)!write(fd, prompt, strlen(prompt));
    n = read(fd, out, size);
    (void)tcsetattr(fd, TCSAFLUSH, &asking.before);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        (void)sigaction(signals[i], &before[i], NULL);
    return n;
}

static int
ask(const char *prompt, char *out, size_t size, struct err *err)
{
    CLEANUP(fd_close) int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return err_set(
            err, ERR_DENIED,
            "no key file, no passphrase file and no terminal to ask on");
    if (tcgetattr(fd, &asking.before) < 0)
        return err_sys(err, errno, "terminal");
    asking.fd = fd;
    n = read_hidden(fd, prompt, out, size - 1);
    (void)!write(fd, "\n", 1);
    if (n <= 0)
        return err_set(err, ERR_CANCELLED, "no passphrase was given");
    out[n] = 0;
    out[strcspn(out, "\n")] = 0;
    return 0;
}

static int
ask_passphrase(bool is_new, char **ret, struct err *err)
{
    char one[PASSPHRASE_MAX], two[PASSPHRASE_MAX];
    int rc = ask("Passphrase: ", one, sizeof one, err);

    if (rc == 0 && is_new)
        rc = ask("Again: ", two, sizeof two, err);
    if (rc == 0 && is_new && strcmp(one, two) != 0)
        rc = err_set(err, ERR_INVALID, "the two differ");
    if (rc == 0 && one[0] == 0)
        rc = err_set(err, ERR_INVALID, "the passphrase is empty");
    if (rc == 0)
        *ret = xstrdup(one);
    mem_wipe(one, sizeof one);
    mem_wipe(two, sizeof two);
    return rc;
}

int
repotool_passphrase(const struct repotool *t, bool is_new, char **ret,
                    struct err *err)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;

    *ret = NULL;
    if (t->passphrase_file == NULL)
        return ask_passphrase(is_new, ret, err);
    if (file_read_all(t->passphrase_file, PASSPHRASE_MAX, &text, err) < 0)
        return -1;
    *ret = xstrndup(buf_str(&text), strcspn(buf_str(&text), "\n"));
    if (text.len > 0)
        mem_wipe(text.data, text.len);
    if ((*ret)[0] == 0) {
        free(TAKE(*ret));
        return err_set(err, ERR_INVALID, "%s: no passphrase in its first line",
                       t->passphrase_file);
    }
    return 0;
}

static int
open_with_key(const struct repotool *t, struct repo **ret_repo, struct err *err)
{
    CLEANUP(mem_free) char *key = repotool_key_path(t);
    CLEANUP(mem_free) char *passphrase = NULL;
    struct repo_secret secret = { 0 };
    struct blob *blob = NULL;
    int rc;

    if (t->passphrase_file == NULL &&
        (t->key_file != NULL || access(key, F_OK) == 0))
        secret.key_file = key;
    else if (repotool_passphrase(t, false, &passphrase, err) < 0)
        return -1;
    secret.passphrase = passphrase;
    rc = blob_dir_open(t->args[0], &blob, err);
    if (rc == 0)
        rc = repo_open(blob, &secret, ret_repo, err);
    if (passphrase != NULL)
        mem_wipe(passphrase, strlen(passphrase));
    return rc;
}

static int
open_it(const struct repotool *t, bool is_keyless, struct repo **ret_repo,
        struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_secret none = { 0 };
    struct blob *blob = NULL;

    if (blob_dir_open(t->args[0], &blob, err) < 0 ||
        repo_open(blob, &none, &repo, err) < 0)
        return -1;
    if (!repo_info_get(repo)->is_encrypted) {
        if (t->key_file != NULL || t->passphrase_file != NULL)
            return err_set(
                err, ERR_INVALID,
                "%s: is not encrypted, yet a key was given: is it the right repository?",
                t->args[0]);
        *ret_repo = TAKE(repo);
        return 0;
    }
    if (is_keyless && t->key_file == NULL && t->passphrase_file == NULL) {
        CLEANUP(mem_free) char *key = repotool_key_path(t);

        if (access(key, F_OK) == 0) {
            int rc = open_with_key(t, ret_repo, err);

            /* A key that lies there need not be that of this one. */
            if (rc == 0 || err->code != ERR_DENIED)
                return rc;
        }
        *ret_repo = TAKE(repo);
        return 0;
    }
    return open_with_key(t, ret_repo, err);
}

int
repotool_open(const struct repotool *t, bool is_keyless, struct repo **ret_repo,
              struct err *err)
{
    if (open_it(t, is_keyless, ret_repo, err) < 0)
        return -1;
    if (t->index_budget > 0)
        repo_index_set_budget(*ret_repo, t->index_budget);
    return 0;
}

/* ---- command line ---- */

enum {
    OPT_NO_ENCRYPTION = 256,
    OPT_NO_PARITY,
    OPT_CHUNK_SIZE,
    OPT_ADD_PARITY,
    OPT_PARENT,
    OPT_RESUME,
    OPT_UID,
    OPT_METADATA,
    OPT_COMPRESS,
    OPT_VERIFY_WRITES,
    OPT_REWRITE,
    OPT_JSON,
    OPT_DRY_RUN,
    OPT_DELETED,
    OPT_DEAD,
    OPT_NO_COMPACT,
    OPT_RATE,
    OPT_INDEX_BUDGET,
    OPT_RESTART,
    OPT_KEEP, /* and the six that follow; see cmd_retain_option() */
    OPT_KEEP_END = OPT_KEEP + 7,
    OPT_ROLE,
    OPT_LABEL,
    OPT_NEW_KEY_FILE,
    OPT_NEW_PASSPHRASE_FILE,
    OPT_RECIPIENT,
    OPT_GC, /* and the two that follow; see cmd_gc_option() */
    OPT_GC_END = OPT_GC + 3,
};

static const struct option long_options[] = {
    { "key-file", required_argument, NULL, 'k' },
    { "passphrase-file", required_argument, NULL, 'p' },
    { "no-encryption", no_argument, NULL, OPT_NO_ENCRYPTION },
    { "no-parity", no_argument, NULL, OPT_NO_PARITY },
    { "add-parity", no_argument, NULL, OPT_ADD_PARITY },
    { "chunk-size", required_argument, NULL, OPT_CHUNK_SIZE },
    { "parent", required_argument, NULL, OPT_PARENT },
    { "resume", required_argument, NULL, OPT_RESUME },
    { "uid", required_argument, NULL, OPT_UID },
    { "metadata", required_argument, NULL, OPT_METADATA },
    { "disk", required_argument, NULL, 'd' },
    { "compress", required_argument, NULL, OPT_COMPRESS },
    { "rewrite", no_argument, NULL, OPT_REWRITE },
    { "verify-writes", no_argument, NULL, OPT_VERIFY_WRITES },
    { "level", required_argument, NULL, 'l' },
    { "force", no_argument, NULL, 'f' },
    { "threads", required_argument, NULL, 't' },
    { "json", no_argument, NULL, OPT_JSON },
    { "dry-run", no_argument, NULL, OPT_DRY_RUN },
    { "dead", required_argument, NULL, OPT_DEAD },
    { "no-compact", no_argument, NULL, OPT_NO_COMPACT },
    { "deleted", no_argument, NULL, OPT_DELETED },
    { "rate", required_argument, NULL, OPT_RATE },
    { "restart", no_argument, NULL, OPT_RESTART },
    { "index-budget", required_argument, NULL, OPT_INDEX_BUDGET },
    { "keep-last", required_argument, NULL, OPT_KEEP },
    { "keep-hourly", required_argument, NULL, OPT_KEEP + 1 },
    { "keep-daily", required_argument, NULL, OPT_KEEP + 2 },
    { "keep-weekly", required_argument, NULL, OPT_KEEP + 3 },
    { "keep-monthly", required_argument, NULL, OPT_KEEP + 4 },
    { "keep-yearly", required_argument, NULL, OPT_KEEP + 5 },
    { "keep-within", required_argument, NULL, OPT_KEEP + 6 },
    { "role", required_argument, NULL, OPT_ROLE },
    { "label", required_argument, NULL, OPT_LABEL },
    { "new-key-file", required_argument, NULL, OPT_NEW_KEY_FILE },
    { "new-passphrase-file", required_argument, NULL, OPT_NEW_PASSPHRASE_FILE },
    { "recipient", required_argument, NULL, OPT_RECIPIENT },
    { "grace", required_argument, NULL, OPT_GC },
    { "undelete-window", required_argument, NULL, OPT_GC + 1 },
    { "kill-after", required_argument, NULL, OPT_GC + 2 },
    { "quiet", no_argument, NULL, 'q' },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

static int
number(const char *text, unsigned min, unsigned max, unsigned *ret,
       struct err *err)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);

    if (end == text || *end != 0 || v < min || v > max)
        return err_set(err, ERR_INVALID,
                       "\"%.40s\": not a number from %u to %u", text, min, max);
    *ret = (unsigned)v;
    return 0;
}

static int
chunk_size(const char *text, unsigned *ret_log2, struct err *err)
{
    unsigned kib;

    if (number(text, 64, 4096, &kib, err) < 0)
        return -1;
    if ((kib & (kib - 1)) != 0)
        return err_set(err, ERR_INVALID, "%u KiB: not a power of two", kib);
    *ret_log2 = 10 + (unsigned)__builtin_ctz(kib);
    return 0;
}

static int
take_key_option(struct repotool *t, int c, struct err *err)
{
    switch (c) {
    case OPT_ROLE:
        t->role = optarg;
        return 0;
    case OPT_LABEL:
        t->label = optarg;
        return 0;
    case OPT_NEW_KEY_FILE:
        t->new_key_file = optarg;
        return 0;
    case OPT_NEW_PASSPHRASE_FILE:
        t->new_passphrase_file = optarg;
        return 0;
    case OPT_RECIPIENT:
        t->recipient = optarg;
        return 0;
    default:
        return err_set(err, ERR_INVALID, "see vmkeep repo --help");
    }
}

static int
take_option(struct repotool *t, int c, struct err *err)
{
    unsigned n;

    switch (c) {
    case 'k':
        t->key_file = optarg;
        return 0;
    case 'p':
        t->passphrase_file = optarg;
        return 0;
    case 'd':
        t->disk = optarg;
        return 0;
    case 'l':
        return number(optarg, 0, 2, &t->verify_level, err);
    case 'f':
        t->overwrites = true;
        return 0;
    case 't':
        return number(optarg, 1, 16, &t->threads, err);
    case 'q':
        t->is_quiet = true;
        return 0;
    case OPT_NO_ENCRYPTION:
        t->is_unencrypted = true;
        return 0;
    case OPT_ADD_PARITY:
        t->adds_parity = true;
        return 0;
    case OPT_NO_PARITY:
        t->has_no_parity = true;
        return 0;
    case OPT_CHUNK_SIZE:
        return chunk_size(optarg, &t->chunk_log2, err);
    case OPT_PARENT:
        t->parent = optarg;
        return 0;
    case OPT_RESUME:
        t->resume = optarg;
        return 0;
    case OPT_UID:
        t->uid = optarg;
        return 0;
    case OPT_METADATA:
        t->metadata = optarg;
        return 0;
    case OPT_REWRITE:
        t->rewrites_keys = true;
        return 0;
    case OPT_VERIFY_WRITES:
        t->verifies_writes = true;
        return 0;
    case OPT_COMPRESS:
        if (number(optarg, 1, 19, &n, err) < 0)
            return -1;
        t->zstd_level = (int)n;
        return 0;
    case OPT_JSON:
        t->is_json = true;
        return 0;
    case OPT_DRY_RUN:
        t->is_dry_run = true;
        return 0;
    case OPT_DEAD:
        return number(optarg, 1, 100, &t->dead_percent, err);
    case OPT_NO_COMPACT:
        t->keeps_packs = true;
        return 0;
    case OPT_DELETED:
        t->shows_deleted = true;
        return 0;
    case OPT_RATE:
        if (number(optarg, 1, 1000000, &n, err) < 0)
            return -1;
        t->rate = (uint64_t)n << 20;
        return 0;
    case OPT_INDEX_BUDGET:
        if (number(optarg, 1, 1u << 30, &n, err) < 0)
            return -1;
        t->index_budget = (uint64_t)n << 20;
        return 0;
    case OPT_RESTART:
        t->restarts = true;
        return 0;
    default:
        if (c >= OPT_KEEP && c < OPT_KEEP_END)
            return cmd_retain_option(t, c - OPT_KEEP, optarg, err);
        if (c >= OPT_GC && c < OPT_GC_END)
            return cmd_gc_option(t, c - OPT_GC, optarg, err);
        return take_key_option(t, c, err);
    }
}

static int
run(struct repotool *t, struct err *err)
{
    char full[64];

    /* "keys list": two words, the second of which is args[0]. */
    (void)snprintf(full, sizeof full, "%.20s %.20s", t->command,
                   t->arg_count > 0 ? t->args[0] : "");
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, t->command) != 0 &&
            strcmp(commands[i].name, full) != 0)
            continue;
        if (t->arg_count < commands[i].min_args ||
            t->arg_count > commands[i].max_args)
            return err_set(err, ERR_INVALID, "usage: vmkeep repo %s %s",
                           commands[i].name, commands[i].args);
        return commands[i].run(t, err);
    }
    return err_set(err, ERR_INVALID,
                   "no command \"%.40s\"; see vmkeep repo --help",
                   strcmp(t->command, "keys") == 0 ? full : t->command);
}

int
main(int argc, char **argv)
{
    struct repotool t = { .verify_level = REPO_VERIFY_TREES,
                          .gc = repo_gc_defaults() };
    struct err err = { 0 };
    int c, rc = 0;

    effect_init();
    clock_init();
    (void)signal(SIGPIPE, SIG_IGN);
    (void)umask(077);
    while (rc == 0 &&
           // NOLINTNEXTLINE(concurrency-mt-unsafe): no other thread yet
           (c = getopt_long(argc, argv, "k:p:d:l:ft:qh", long_options, NULL)) !=
               -1) {
        if (c == 'h') {
            usage(stdout);
            return 0;
        }
        rc = take_option(&t, c, &err);
    }
    if (rc == 0 && optind == argc) {
        usage(stderr);
        return err_code_exit(ERR_INVALID);
    }
    if (rc == 0) {
        char flow[EFFECT_FLOW_SIZE];

        t.command = argv[optind];
        t.args = argv + optind + 1;
        t.arg_count = argc - optind - 1;
        (void)snprintf(flow, sizeof flow, "repo-%.20s", t.command);
        effect_flow_set(flow);
        rc = run(&t, &err);
    }
    if (rc == 0 && (fflush(stdout) != 0 || ferror(stdout) != 0))
        rc = err_sys(&err, errno == 0 ? EIO : errno, "standard output");
    if (rc == 0)
        return 0;
    (void)fprintf(stderr, "vmkeep repo: %s\n", err.msg);
    return err_code_exit(err.code);
}
