/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cmd.h"

#include <sys/ioctl.h>

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/bar.h"
#include "cli/words.h"
#include "net/http.h"

json_t *
cmd_list(struct cli *c, const struct kind *k, struct err *err)
{
    CLEANUP(mem_free) char *path = client_path(&k->gvr, c->ns, NULL);
    json_t *v = NULL;

    return client_call(c->client, "GET", path, NULL, &v, err) < 0 ? NULL : v;
}

/* The path of an object without a name is that of them all. */
static int
check_name(const struct kind *k, const char *name, struct err *err)
{
    if (name[0] == 0)
        return err_set(err, ERR_INVALID, "the name of a %s is empty",
                       k->gvr.kind);
    return 0;
}

json_t *
cmd_get(struct cli *c, const struct kind *k, const char *name, struct err *err)
{
    CLEANUP(mem_free) char *path = client_path(&k->gvr, c->ns, name);
    json_t *v = NULL;

    if (check_name(k, name, err) < 0)
        return NULL;
    return client_call(c->client, "GET", path, NULL, &v, err) < 0 ? NULL : v;
}

json_t *
cmd_create(struct cli *c, const struct kind *k, const json_t *object,
           struct err *err)
{
    CLEANUP(mem_free) char *path = client_path(&k->gvr, c->ns, NULL);
    json_t *v = NULL;

    return client_call(c->client, "POST", path, object, &v, err) < 0 ? NULL : v;
}

void
cmd_keep_of_vm(json_t *list, const char *vm)
{
    json_t *items = json_object_get(list, "items");

    for (size_t i = json_array_size(items); i-- > 0;) {
        const json_t *v = json_array_get(items, i);

        if (strcmp(jsonx_str_or(v, "spec.source.name", ""), vm) != 0)
            json_array_remove(items, i);
    }
}

void
cmd_print_list(const struct cli *c, json_t *list, const char *const *heads,
               void (*add_row)(const struct cli *c, struct table *t,
                               const json_t *item),
               const char *none)
{
    const json_t *items = json_object_get(list, "items");

    if (cli_print(c, list))
        return;
    CLEANUP(table_free) struct table *t = table_new(heads);

    for (size_t i = 0; i < json_array_size(items); i++)
        add_row(c, t, json_array_get(items, i));
    if (table_rows(t) == 0)
        cli_say(c, "%s", none);
    else
        table_print(t, c->has_colour, stdout);
}

int
cmd_annotate(struct cli *c, const struct kind *k, const char *name,
             const char *key, const char *value, struct err *err)
{
    CLEANUP(mem_free) char *path = client_path(&k->gvr, c->ns, name);
    CLEANUP(json_decref)
    json_t *patch =
        json_pack("{s:{s:{s:s}}}", "metadata", "annotations", key, value);

    if (check_name(k, name, err) < 0)
        return -1;
    return client_call(c->client, "PATCH", path, patch, NULL, err);
}

static int
seen_gone(void *arg, const json_t *object, struct err *err)
{
    return object == NULL;
}

int
cmd_delete(struct cli *c, const struct kind *k, const char *what,
           const char *name, int64_t def_timeout_ms, struct err *err)
{
    CLEANUP(mem_free) char *path = client_path(&k->gvr, c->ns, name);
    int64_t timeout_ms;

    if (check_name(k, name, err) < 0 ||
        cli_timeout(c, def_timeout_ms, &timeout_ms, err) < 0 ||
        client_call(c->client, "DELETE", path, NULL, NULL, err) < 0)
        return -1;
    if (cli_has(c, "wait") &&
        client_wait(c->client, &k->gvr, c->ns, name, (uint64_t)timeout_ms,
                    seen_gone, NULL, err) < 0)
        return -1;
    cli_done(c, name, "%s \"%s\" %s", what, name,
             cli_has(c, "wait") ? "deleted" : "is being deleted");
    return 0;
}

static void
complain(const struct err *err)
{
    CLEANUP(mem_free) char *text = xstrdup(err->msg);

    words_clean_lines(text);
    (void)fflush(stdout); /* in the order in which they were said */
    (void)fprintf(stderr, "vmkeep: %s\n", text);
}

int
cmd_each_arg(struct cli *c,
             int (*fn)(struct cli *c, void *arg, const char *name,
                       struct err *err),
             void *arg, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < c->n_args; i++) {
        struct err why = { 0 };

        if (fn(c, arg, c->args[i], &why) == 0)
            continue;
        if (rc < 0)
            complain(err); /* main() says the last one */
        *err = why;
        rc = -1;
        if (why.code == ERR_UNAVAILABLE || why.code == ERR_DENIED)
            break;
    }
    return rc;
}

struct deletion {
    const struct kind *kind;
    const char *what;
    int64_t def_timeout_ms;
};

static int
delete_arg(struct cli *c, void *arg, const char *name, struct err *err)
{
    const struct deletion *d = arg;

    return cmd_delete(c, d->kind, d->what, name, d->def_timeout_ms, err);
}

int
cmd_delete_args(struct cli *c, const struct kind *k, const char *what,
                int64_t def_timeout_ms, struct err *err)
{
    struct deletion d = { k, what, def_timeout_ms };

    return cmd_each_arg(c, delete_arg, &d, err);
}

char *
cmd_default_name(const char *vm, const char *what)
{
    time_t now = (time_t)clock_wall_s();
    struct tm tm;
    char stamp[32];

    (void)localtime_r(&now, &tm);
    (void)strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &tm);
    return xasprintf("%s-%s-%s", vm, what, stamp);
}

char *
cmd_excluded(const struct cli *c)
{
    struct buf out = BUF_INIT;
    const char *v;

    for (size_t i = 0; (v = cli_value_at(c, "exclude", i)) != NULL; i++)
        buf_printf(&out, "%s%s", i == 0 ? "" : ",", v);
    return buf_take_str(&out);
}

/* A slip in --exclude would keep a disk that was to be left out. */
static void
warn_excluded(struct cli *c, const json_t *vm)
{
    const json_t *disks = jsonx_get(vm, "status.vmkeep.disks");
    CLEANUP(mem_free) char *list = cmd_excluded(c);
    char *rest = list, *disk;

    while ((disk = strsep(&rest, ", ")) != NULL)
        if (*disk != 0 && jsonx_find(disks, "name", disk) == NULL)
            cli_say(c, "Warning: virtual machine \"%s\" has no disk \"%s\"",
                    jsonx_str_or(vm, "metadata.name", ""), disk);
}

int
cmd_check_vm(struct cli *c, const char *vm_name, struct err *err)
{
    CLEANUP(json_decref) json_t *vm = cmd_get(c, &kind_vm, vm_name, err);

    if (vm == NULL && err->code == ERR_NOT_FOUND)
        return err_set(err, ERR_NOT_FOUND,
                       "there is no virtual machine \"%s\" in namespace %s; "
                       "see: vmkeep vm list -A",
                       vm_name, c->ns);
    if (vm == NULL)
        return -1;
    warn_excluded(c, vm);
    return 0;
}

int
cmd_power(struct cli *c, const char *vm, const char *verb, const json_t *body,
          struct err *err)
{
    CLEANUP(mem_free) char *ns = http_escape(c->ns);
    CLEANUP(mem_free) char *name = http_escape(vm);
    CLEANUP(mem_free)
    char *path = xasprintf("/apis/subresources.kubevirt.io/v1/namespaces/%s/"
                           "virtualmachines/%s/%s",
                           ns, name, verb);

    return client_call(c->client, "PUT", path, body, NULL, err);
}

struct power_wait {
    struct cmd_progress progress;
    const char *vm, *status;
};

static int
seen_power(void *arg, const json_t *object, struct err *err)
{
    struct power_wait *w = arg;
    const char *is = jsonx_str_or(object, "status.printableStatus", "Unknown");

    if (object == NULL)
        return err_set(err, ERR_NOT_FOUND, "virtual machine \"%s\" is gone",
                       w->vm);
    cmd_progress_say(&w->progress, is);
    return strcmp(is, w->status) == 0;
}

int
cmd_wait_power(struct cli *c, const char *vm, const char *status,
               uint64_t timeout_ms, struct err *err)
{
    struct power_wait w = { .progress = { .cli = c,
                                          .began_ms = clock_mono_ms() },
                            .vm = vm,
                            .status = status };

    return client_wait(c->client, &kind_vm.gvr, c->ns, vm, timeout_ms,
                       seen_power, &w, err);
}

void
cmd_progress_say(struct cmd_progress *p, const char *text)
{
    if (text == NULL || *text == 0 ||
        strncmp(p->last, text, sizeof p->last - 1) == 0)
        return;
    cmd_progress_end(p);
    p->last_tenth = 0;
    (void)snprintf(p->last, sizeof p->last, "%s", text);
    cli_say(p->cli, "%6.1f s  %s",
            (double)(clock_mono_ms() - p->began_ms) / 1000, text);
}

/* The width of the terminal behind standard error; 0: there is none. */
static unsigned
terminal_width(void)
{
    struct winsize size = { 0 };

    if (isatty(STDERR_FILENO) != 1)
        return 0;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < 40)
        return 80;
    return size.ws_col;
}

void
cmd_progress_bytes(struct cmd_progress *p, const json_t *object)
{
    const json_t *s = jsonx_get(object, "status.vmkeep");
    struct bar_facts f = {
        .what = jsonx_str_or(s, "phase", ""),
        .done = jsonx_int(s, "doneBytes", 0),
        .all = jsonx_int(s, "totalBytes", 0),
        .per_second = jsonx_int(s, "bytesPerSecond", 0),
        .seconds_left = jsonx_int(s, "secondsLeft", -1),
    };
    unsigned width = terminal_width();
    bool is_for_people =
        p->cli->format == CLI_TABLE || p->cli->format == CLI_WIDE;
    CLEANUP(buf_fini) struct buf text = BUF_INIT;

    if (!is_for_people || f.all <= 0 || f.done <= 0)
        return;
    bar_format(&f, width, &text);
    if (width > 0) {
        (void)fprintf(stderr, "\r%s\033[K", buf_str(&text));
        (void)fflush(stderr);
        p->has_bar = true;
    } else if (f.done * 10 / f.all > p->last_tenth) {
        p->last_tenth = f.done * 10 / f.all;
        cli_say(p->cli, "%6.1f s  %s",
                (double)(clock_mono_ms() - p->began_ms) / 1000, buf_str(&text));
    }
}

void
cmd_progress_end(struct cmd_progress *p)
{
    if (p->has_bar)
        (void)fputs("\r\033[K", stderr);
    p->has_bar = false;
}

void
cmd_print_field(const char *label, const char *value)
{
    CLEANUP(mem_free) char *text = value == NULL ? NULL : xstrdup(value);

    if (text == NULL || *text == 0)
        return;
    words_clean(text);
    printf("%-13s %s\n", label, text);
}

void
cmd_print_lines(const char *label, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        cmd_print_field(i == 0 ? label : "",
                        json_string_value(json_array_get(list, i)));
}
