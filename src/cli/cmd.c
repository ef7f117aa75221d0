/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/http.h"

json_t *
cmd_list(struct cli *c, const struct kind *k, struct err *err)
{
    CLEANUP(mem_free) char *path = client_path(&k->gvr, c->ns, NULL);
    json_t *v = NULL;

    return client_call(c->client, "GET", path, NULL, &v, err) < 0 ? NULL : v;
}

json_t *
cmd_get(struct cli *c, const struct kind *k, const char *name, struct err *err)
{
    CLEANUP(mem_free) char *path = client_path(&k->gvr, c->ns, name);
    json_t *v = NULL;

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
    (void)snprintf(p->last, sizeof p->last, "%s", text);
    cli_say(p->cli, "%6.1f s  %s",
            (double)(clock_mono_ms() - p->began_ms) / 1000, text);
}

void
cmd_print_field(const char *label, const char *value)
{
    if (value != NULL && *value != 0)
        printf("%-14s%s\n", label, value);
}
