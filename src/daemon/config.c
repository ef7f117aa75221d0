/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/config.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

#define MAX_FILE (64u * 1024)

/* Where the parser is, for messages. */
struct place {
    const char *name;
    unsigned line;
};

enum type {
    TYPE_TEXT,
    TYPE_PATH,   /* absolute */
    TYPE_NUMBER, /* > 0 */
    TYPE_SPACE,  /* bytes with a unit, or "10%": the rule */
    TYPE_PATHS,  /* absolute ones, between them commas or blanks */
};

static const struct key {
    const char *name;
    enum type type;
    size_t offset;
} keys[] = {
    { "state_dir", TYPE_PATH, offsetof(struct config, state_dir) },
    { "run_dir", TYPE_PATH, offsetof(struct config, run_dir) },
    { "libvirt_uri", TYPE_TEXT, offsetof(struct config, libvirt_uri) },
    { "listen", TYPE_TEXT, offsetof(struct config, listen) },
    { "socket", TYPE_PATH, offsetof(struct config, socket) },
    { "guard", TYPE_PATH, offsetof(struct config, guard) },
    { "trash_hours", TYPE_NUMBER, offsetof(struct config, trash_hours) },
    { "min_free", TYPE_SPACE, offsetof(struct config, min_free) },
    { "restore_dir", TYPE_PATH, offsetof(struct config, restore_dir) },
    { "scratch_dir", TYPE_PATH, offsetof(struct config, scratch_dir) },
    { "target_roots", TYPE_PATHS, offsetof(struct config, target_roots) },
    { "agent_timeout_ms", TYPE_NUMBER,
      offsetof(struct config, agent_timeout_ms) },
};

static int
parse_number(const struct place *at, const char *key, const char *value,
             uint64_t *ret, char **ret_end, struct err *err)
{
    unsigned long long n;

    errno = 0;
    n = strtoull(value, ret_end, 10);
    if (*ret_end == value || errno != 0 || value[0] == '-')
        return err_set(err, ERR_INVALID, "%s:%u: %s: '%s' is not a number",
                       at->name, at->line, key, value);
    *ret = n;
    return 0;
}

/* "4096", "64M", "4G", "4GiB". */
static int
parse_space(const struct place *at, const char *value, uint64_t *ret,
            struct err *err)
{
    static const char units[] = "KMGT";
    const char *unit;
    uint64_t n;
    char *end;

    if (strcmp(value, "10%") == 0) {
        *ret = 0;
        return 0;
    }
    if (parse_number(at, "min_free", value, &n, &end, err) < 0)
        return -1;
    unit = *end == 0 ? NULL : strchr(units, *end);
    if (unit != NULL) {
        unsigned shift = 10 * (unsigned)(unit - units + 1);

        end++;
        if (strcmp(end, "iB") == 0)
            end += 2;
        n = n > UINT64_MAX >> shift ? 0 : n << shift;
    }
    if (*end != 0 || n == 0)
        return err_set(
            err, ERR_INVALID,
            "%s:%u: min_free: '%s': want bytes (64M, 4G), or 10%%: that part of the disk and at least 4 GiB",
            at->name, at->line, value);
    *ret = n;
    return 0;
}

static void
paths_free(char **paths)
{
    for (size_t i = 0; paths != NULL && paths[i] != NULL; i++)
        free(paths[i]);
    free(paths);
}

static int
parse_paths(const struct place *at, const char *key, const char *value,
            char ***ret, struct err *err)
{
    CLEANUP(mem_free) char *copy = xstrdup(value);
    char **paths = xcalloc(strlen(value) + 1, sizeof *paths);
    char *rest = copy, *word;
    size_t n = 0;

    while ((word = strsep(&rest, ", \t")) != NULL) {
        if (word[0] == 0)
            continue;
        if (word[0] != '/' || word[1] == 0) {
            paths_free(paths);
            return err_set(
                err, ERR_INVALID,
                "%s:%u: %s: '%s': want absolute paths other than /, with commas or blanks between them",
                at->name, at->line, key, value);
        }
        while (strlen(word) > 1 && word[strlen(word) - 1] == '/')
            word[strlen(word) - 1] = 0;
        paths[n++] = xstrdup(word);
    }
    paths_free(*ret);
    *ret = paths;
    return 0;
}

static int
set_value(struct config *c, const struct place *at, const struct key *key,
          const char *value, struct err *err)
{
    void *field = (char *)c + key->offset;
    char *end;

    if (key->type == TYPE_SPACE)
        return parse_space(at, value, field, err);
    if (key->type == TYPE_PATHS)
        return parse_paths(at, key->name, value, field, err);
    if (key->type == TYPE_NUMBER) {
        if (parse_number(at, key->name, value, field, &end, err) < 0)
            return -1;
        if (*end != 0 || *(uint64_t *)field == 0)
            return err_set(err, ERR_INVALID,
                           "%s:%u: %s: '%s': want a whole number above 0",
                           at->name, at->line, key->name, value);
        return 0;
    }
    if (value[0] == 0 || (key->type == TYPE_PATH && value[0] != '/'))
        return err_set(err, ERR_INVALID, "%s:%u: %s: '%s': want %s", at->name,
                       at->line, key->name, value,
                       key->type == TYPE_PATH ? "an absolute path" : "a value");
    free(*(char **)field);
    *(char **)field = xstrdup(value);
    return 0;
}

/* The text without blanks at both ends; changed in place. */
static char *
trim(char *s)
{
    size_t n;

    s += strspn(s, " \t\r");
    n = strlen(s);
    while (n > 0 && strchr(" \t\r", s[n - 1]) != NULL)
        s[--n] = 0;
    return s;
}

static int
parse_line(struct config *c, const struct place *at, char *line, unsigned *seen,
           struct err *err)
{
    char *equals, *name;

    line = trim(line);
    if (line[0] == 0 || line[0] == '#')
        return 0;
    equals = strchr(line, '=');
    if (equals == NULL)
        return err_set(err, ERR_INVALID, "%s:%u: want 'key = value'", at->name,
                       at->line);
    *equals = 0;
    name = trim(line);
    for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
        if (strcmp(keys[i].name, name) != 0)
            continue;
        if ((*seen & 1u << i) != 0)
            return err_set(err, ERR_INVALID, "%s:%u: %s is given twice",
                           at->name, at->line, name);
        *seen |= 1u << i;
        return set_value(c, at, &keys[i], trim(equals + 1), err);
    }
    return err_set(err, ERR_INVALID,
                   "%s:%u: unknown key '%s': see vmkeep.conf(5)", at->name,
                   at->line, name);
}

/* Beside our own binary, as in a build directory; else where it is installed.
 */
static char *
default_guard(void)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;

    if (n > 0) {
        self[n] = 0;
        slash = strrchr(self, '/');
        if (slash != NULL) {
            char *path =
                xasprintf("%.*s/vmkeep-guard", (int)(slash - self), self);

            if (access(path, X_OK) == 0)
                return path;
            free(path);
            /* the build directory has one directory per folder */
            path = xasprintf("%.*s/../guard/vmkeep-guard", (int)(slash - self),
                             self);
            if (access(path, X_OK) == 0)
                return path;
            free(path);
        }
    }
    return xstrdup(VMKEEP_LIBEXECDIR "/vmkeep-guard");
}

static void
set_defaults(struct config *c)
{
    if (c->socket == NULL)
        c->socket = xasprintf("%s/vmkeepd.sock", c->run_dir);
    if (c->guard == NULL)
        c->guard = default_guard();
    if (c->target_roots == NULL) {
        c->target_roots = xcalloc(5, sizeof *c->target_roots);
        c->target_roots[0] = xasprintf("%s/targets", c->state_dir);
        c->target_roots[1] = xstrdup("/mnt");
        c->target_roots[2] = xstrdup("/media");
        c->target_roots[3] = xstrdup("/srv");
    }
}

struct config *
config_parse(const char *name, const char *text, struct err *err)
{
    CLEANUP(config_free) struct config *c = xcalloc(1, sizeof *c);
    CLEANUP(mem_free) char *copy = xstrdup(text);
    struct place at = { .name = name };
    char *rest = copy, *line;
    unsigned seen = 0;

    c->state_dir = xstrdup("/var/lib/vmkeep");
    c->run_dir = xstrdup("/run/vmkeep");
    c->libvirt_uri = xstrdup("qemu:///system");
    c->listen = xstrdup("127.0.0.1:7443");
    c->trash_hours = 24;
    c->agent_timeout_ms = 10000;
    while ((line = strsep(&rest, "\n")) != NULL) {
        at.line++;
        if (parse_line(c, &at, line, &seen, err) < 0)
            return NULL;
    }
    set_defaults(c);
    return TAKE(c);
}

struct config *
config_load(const char *path, struct err *err)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;

    if (file_read_all(path, MAX_FILE, &text, err) < 0 &&
        err->code != ERR_NOT_FOUND)
        return NULL;
    return config_parse(path, buf_str(&text), err);
}

void
config_free(struct config *c)
{
    if (c == NULL)
        return;
    free(c->state_dir);
    free(c->run_dir);
    free(c->libvirt_uri);
    free(c->listen);
    free(c->socket);
    free(c->guard);
    free(c->restore_dir);
    free(c->scratch_dir);
    paths_free(c->target_roots);
    free(c);
}
