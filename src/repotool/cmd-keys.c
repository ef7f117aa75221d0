/* SPDX-License-Identifier: Apache-2.0 */
/* keys, export-kit. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/uuid.h"
#include "codec/jsonx.h"
#include "codec/keys-text.h"
#include "repo/compact.h"
#include "repo/repo-keys.h"
#include "repotool/progress.h"
#include "repotool/repotool.h"

/* "keys X DIR ...": as "X DIR ...". */
static struct repotool
without_action(const struct repotool *t)
{
    struct repotool sub = *t;

    sub.args++;
    sub.arg_count--;
    return sub;
}

static void
print_json(const struct repo_key *k, const char *created)
{
    CLEANUP(json_decref) json_t *v = json_object();
    CLEANUP(mem_free) char *text = NULL;

    jsonx_set_str(v, "id", k->id);
    jsonx_set_str(v, "kind", k->kind);
    jsonx_set_str(v, "role", k->role);
    jsonx_set_str(v, "label", k->label);
    jsonx_set_str(v, "created", created);
    jsonx_set(v, "used", json_boolean(k->is_ours));
    jsonx_set(v, "genuine", json_boolean(k->is_genuine));
    text = jsonx_canonical(v);
    printf("%s\n", text);
}

static int
list(const struct repotool *t, struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(mem_free) struct repo_key *k = NULL;
    size_t n = 0;

    if (repotool_open(t, false, &repo, err) < 0 ||
        repo_keys_list(repo, &k, &n, err) < 0)
        return -1;
    if (!t->is_json)
        printf("  %-36s  %-10s  %-12s  %-20s  %s\n", "ID", "KIND", "ROLE",
               "CREATED", "LABEL");
    for (size_t i = 0; i < n; i++) {
        char created[CLOCK_RFC3339_SIZE];

        clock_format_rfc3339(k[i].created_unix_s, created);
        text_clean(k[i].label, false); /* anybody can put a slot there */
        if (t->is_json)
            print_json(&k[i], created);
        else
            printf("%c %-36s  %-10s  %-12s  %-20s  %s%s\n",
                   k[i].is_ours ? '*' : ' ', k[i].id, k[i].kind, k[i].role,
                   created, k[i].label,
                   k[i].is_genuine ? ""
                                   : " (NOT GENUINE: no owner of this "
                                     "repository made it)");
    }
    return 0;
}

/* The text itself, or a file that holds it. */
static int
read_recipient(const char *arg, char out[KEYS_TEXT_SIZE], struct err *err)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;

    if (strncmp(arg, "vmkeep-public-", 14) == 0)
        buf_add_str(&text, arg);
    else if (file_read_all(arg, 4096, &text, err) < 0)
        return -1;
    (void)snprintf(out, KEYS_TEXT_SIZE, "%.*s",
                   (int)strcspn(buf_str(&text), "\n"), buf_str(&text));
    return 0;
}

static int
add(const struct repotool *t, struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(mem_free) char *passphrase = NULL;
    struct repo_keys_new n = { .role = t->role, .label = t->label };
    struct repotool asker = { .passphrase_file = t->new_passphrase_file };
    char id[REPO_ID_SIZE], recipient[KEYS_TEXT_SIZE];
    int rc;

    if ((t->new_key_file != NULL) + (t->new_passphrase_file != NULL) +
            (t->recipient != NULL) >
        1)
        return err_set(
            err, ERR_INVALID,
            "one of --new-key-file, --new-passphrase-file and --recipient");
    if (t->recipient != NULL) {
        if (read_recipient(t->recipient, recipient, err) < 0)
            return -1;
        n.recipient = recipient;
    }
    n.key_file = t->new_key_file;
    if (repotool_open(t, false, &repo, err) < 0)
        return -1;
    if (n.recipient == NULL && n.key_file == NULL) {
        if (repotool_passphrase(&asker, true, &passphrase, err) < 0)
            return -1;
        n.passphrase = passphrase;
    }
    rc = repo_keys_add(repo, &n, id, err);
    if (passphrase != NULL)
        mem_wipe(passphrase, strlen(passphrase));
    if (rc < 0)
        return -1;
    printf("Added: key %s (%s).\n", id, t->role != NULL ? t->role : "full");
    return 0;
}

static int
remove_key(const struct repotool *t, struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;

    if (repotool_open(t, false, &repo, err) < 0 ||
        repo_keys_remove(repo, t->args[1], err) < 0)
        return -1;
    printf("Removed: key %s.\n"
           "Who kept a copy of the repository can still read that with it; "
           "\"vmkeep repo keys rotate\" keeps later backups from it.\n",
           t->args[1]);
    return 0;
}

static int
rewrite(const struct repotool *t, struct err *err)
{
    const struct repo_compact_options o = { .rewrites_keys = true };
    CLEANUP(repo_close) struct repo *repo = NULL;
    struct repo_compact_sink sink = { .progress = progress_on };
    struct repo_compact_result r;
    struct progress p;
    int rc;

    if (repotool_open(t, false, &repo, err) < 0)
        return -1;
    progress_init(&p, "rewrite", 0, t->is_quiet);
    sink.arg = &p;
    rc = repo_compact(repo, &o, &sink, &r, err);
    progress_end(&p);
    if (rc < 0)
        return -1;
    if (r.packs_rewritten == 0 && r.packs_skipped == 0 && r.old_sessions == 0)
        printf("Nothing to do: no older key opens what backups need.\n");
    else
        printf("%llu packs were encrypted with the newest keys. \"vmkeep repo "
               "gc\" removes the old ones.\n",
               (unsigned long long)r.packs_rewritten);
    if (r.old_sessions > 0)
        return err_set(
            err, ERR_BUSY,
            "%u backups that began before the rotation are not at their end, and store with the older keys: do this once more (keys rewrite) when they are",
            r.old_sessions);
    if (r.packs_skipped > 0)
        return err_set(
            err, ERR_BUSY,
            "%llu packs were left out: damaged (vmkeep repo check), or somebody else was faster (once more)",
            (unsigned long long)r.packs_skipped);
    return 0;
}

static int
rotate(const struct repotool *t, struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    unsigned epoch = 0;
    size_t skipped = 0;

    if (repotool_open(t, false, &repo, err) < 0 ||
        repo_keys_rotate(repo, &epoch, &skipped, err) < 0)
        return -1;
    printf("Rotated: backups from now on get the keys of epoch %u. Key files "
           "and passphrases stay the same.\n",
           epoch);
    if (skipped > 0)
        printf("Warning: %zu key slots are not genuine and got nothing; look "
               "at \"vmkeep repo keys list\".\n",
               skipped);
    return t->rewrites_keys ? rewrite(t, err) : 0;
}

static int
new_recipient(const struct repotool *t, struct err *err)
{
    char text[KEYS_TEXT_SIZE];

    if (repo_keys_make_recipient(t->args[0], text, err) < 0)
        return -1;
    printf("%s\n", text);
    return 0;
}

/* ---- the kit ---- */

static int
read_kit(const char *path, struct buf *out, struct err *err)
{
    char line[256];

    if (strcmp(path, "-") != 0)
        return file_read_all(path, 65536, out, err);
    while (out->len < 65536 && fgets(line, sizeof line, stdin) != NULL)
        buf_add_str(out, line);
    mem_wipe(line, sizeof line);
    return 0;
}

static int
import_kit(const struct repotool *t, struct err *err)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    CLEANUP(mem_free) char *path = repotool_key_path(t);
    uint8_t key[KEYS_SIZE];
    int rc;

    if (read_kit(t->args[0], &text, err) < 0)
        return -1;
    rc = keys_text_collect(buf_str(&text), text.len, key, err);
    if (text.len > 0)
        mem_wipe(text.data, text.len);
    if (rc == 0)
        rc = repo_keys_write_file(path, key, err);
    mem_wipe(key, sizeof key);
    if (rc < 0)
        return -1;
    printf("Key file %s made.\n", path);
    return 0;
}

static void
write_page(struct buf *out, const struct repo_info *i, const char *dir,
           const char *id, const char *role, const uint8_t key[KEYS_SIZE])
{
    char created[CLOCK_RFC3339_SIZE], line[KEYS_TEXT_SIZE];

    clock_format_rfc3339(clock_wall_s(), created);
    buf_printf(out,
               "VMKEEP RESTORE KIT\n\n"
               "Who has this page and the repository can read the backups in "
               "it. Keep it\nwhere the machines that are backed up are not.\n\n"
               "  repository  %s\n  was at      %s\n  made        %s\n"
               "  key slot    %s (%s)\n\nThe key:\n\n",
               i->uuid, dir, created, id, role);
    for (unsigned n = 1; n <= KEYS_TEXT_LINES; n++) {
        keys_text_line(key, n, line);
        buf_printf(out, "  %s\n", line);
    }
    mem_wipe(line, sizeof line);
    buf_printf(
        out,
        "\nThe last four digits of a line are its checksum: a typing error is "
        "found.\n\nTo restore with it:\n\n"
        "  a) On a Linux machine with vmkeep, make the repository's directory\n"
        "     reachable, say at /mnt/backups (it holds the file repo.cfg).\n"
        "  b) Type the four lines above, with their numbers, into a file "
        "\"kit\".\n"
        "  c) vmkeep repo keys import-kit kit -k restore.key\n"
        "     (it says which line is mistyped, if one is)\n"
        "  d) vmkeep repo list -k restore.key /mnt/backups\n"
        "  e) vmkeep repo export -k restore.key --disk vda --metadata vm.json "
        "\\\n       /mnt/backups BACKUP vda.raw\n"
        "     for each disk; vm.json is the VM's definition.\n"
        "  f) Or let vmkeepd make the whole VM: a BackupTarget with "
        "encryption\n     mode KeyFile and this key finds all backups.\n"
        "  g) If the repository is damaged: vmkeep repo verify; "
        "docs/salvage.md.\n\n"
        "If this page is lost or seen by others: vmkeep repo keys remove DIR\n"
        "%s, then vmkeep repo keys rotate DIR.\n",
        id);
}

/* -1: standard output. */
static int
open_page(const struct repotool *t, int *ret_fd, struct err *err)
{
    int how = t->overwrites ? O_TRUNC : O_EXCL;

    *ret_fd = -1;
    if (t->arg_count < 2)
        return 0;
    *ret_fd = open(t->args[1], O_WRONLY | O_CREAT | O_CLOEXEC | how, 0600);
    return *ret_fd < 0 ? err_sys(err, errno, "%s: create", t->args[1]) : 0;
}

static int
put_page(const struct repotool *t, int fd, const struct buf *page,
         struct err *err)
{
    if (fd >= 0)
        return file_write_fd(fd, page->data, page->len, t->args[1], err);
    if (fwrite(page->data, 1, page->len, stdout) != page->len)
        return err_sys(err, errno, "standard output");
    return 0;
}

int
cmd_export_kit(const struct repotool *t, struct err *err)
{
    CLEANUP(repo_close) struct repo *repo = NULL;
    CLEANUP(buf_fini) struct buf page = BUF_INIT;
    CLEANUP(fd_close) int fd = -1;
    uint8_t key[KEYS_SIZE];
    char id[REPO_ID_SIZE];
    struct repo_keys_new n = { .role = t->role,
                               .label =
                                   t->label != NULL ? t->label : "restore kit",
                               .raw = key };
    int rc;

    if (repotool_open(t, false, &repo, err) < 0 || open_page(t, &fd, err) < 0)
        return -1;
    uuid_random_bytes(key, sizeof key);
    rc = repo_keys_add(repo, &n, id, err);
    if (rc == 0) {
        write_page(&page, repo_info_get(repo), t->args[0], id,
                   t->role != NULL ? t->role : "full", key);
        rc = put_page(t, fd, &page, err);
        mem_wipe(page.data, page.len);
    }
    mem_wipe(key, sizeof key);
    return rc;
}

/* ---- keys ---- */

int
cmd_keys(const struct repotool *t, struct err *err)
{
    static const struct {
        const char *name;
        int (*run)(const struct repotool *t, struct err *err);
    } actions[] = {
        { "list", list },
        { "add", add },
        { "remove", remove_key },
        { "rotate", rotate },
        { "rewrite", rewrite },
        { "new-recipient", new_recipient },
        { "import-kit", import_kit },
    };
    struct repotool sub = without_action(t);

    for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
        if (strcmp(t->args[0], actions[i].name) == 0)
            return actions[i].run(&sub, err);
    return err_set(err, ERR_INVALID, "see vmkeep repo --help");
}
