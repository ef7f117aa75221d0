/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/words.h"
#include "codec/yamlx.h"

const struct cli_option cli_global_options[] = {
    { "namespace", 'n', "NAMESPACE", "the namespace (default: default)" },
    { "all-namespaces", 'A', NULL, "all namespaces, for list" },
    { "output", 'o', "FORMAT", "table, wide, json, yaml or name" },
    { "socket", 0, "PATH",
      "the daemon's UNIX socket (default: /run/vmkeep/vmkeepd.sock)" },
    { "server", 0, "URL", "speak HTTPS to this server instead" },
    { "kubeconfig", 0, "FILE", "speak HTTPS to the server that FILE names" },
    { "help", 'h', NULL, "show this help" },
    { "version", 0, NULL, "show the version" },
    { NULL },
};

const char *
cli_value_at(const struct cli *c, const char *name, size_t i)
{
    for (size_t k = 0; k < c->n_options; k++) {
        if (strcmp(c->options[k].option->name, name) == 0 && i-- == 0)
            return c->options[k].value;
    }
    return NULL;
}

const char *
cli_value(const struct cli *c, const char *name)
{
    const char *value = NULL, *next;

    for (size_t i = 0; (next = cli_value_at(c, name, i)) != NULL; i++)
        value = next;
    return value;
}

bool
cli_has(const struct cli *c, const char *name)
{
    return cli_value(c, name) != NULL;
}

int
cli_timeout(const struct cli *c, int64_t def_ms, int64_t *ret_ms,
            struct err *err)
{
    const char *s = cli_value(c, "timeout");

    *ret_ms = def_ms;
    if (s == NULL)
        return 0;
    if (clock_parse_duration(s, ret_ms, err) < 0 || *ret_ms < 0)
        return err_set(err, ERR_INVALID,
                       "--timeout \"%s\": want a duration, as 30s or 5m", s);
    return 0;
}

static void
print_names(const json_t *v)
{
    const json_t *items = json_object_get(v, "items");

    if (items == NULL) {
        printf("%s\n", jsonx_str_or(v, "metadata.name", ""));
        return;
    }
    for (size_t i = 0; i < json_array_size(items); i++)
        printf("%s\n",
               jsonx_str_or(json_array_get(items, i), "metadata.name", ""));
}

/* Bookkeeping of the server that nobody reads, as kubectl hides it. */
static void
strip(json_t *v)
{
    json_t *items = json_object_get(v, "items");

    jsonx_del(v, "metadata.managedFields");
    for (size_t i = 0; i < json_array_size(items); i++)
        jsonx_del(json_array_get(items, i), "metadata.managedFields");
}

bool
cli_print(const struct cli *c, json_t *v)
{
    switch (c->format) {
    case CLI_JSON: {
        strip(v);
        CLEANUP(mem_free) char *text = jsonx_pretty(v);

        puts(text);
        return true;
    }
    case CLI_YAML: {
        CLEANUP(buf_fini) struct buf text = BUF_INIT;

        strip(v);
        yamlx_print(v, &text);
        fputs(buf_str(&text), stdout);
        return true;
    }
    case CLI_NAME:
        print_names(v);
        return true;
    case CLI_TABLE:
    case CLI_WIDE:
    default:
        return false;
    }
}

void
cli_done(const struct cli *c, const char *name, const char *fmt, ...)
{
    va_list ap;

    if (c->format == CLI_NAME)
        puts(name);
    if (c->format != CLI_TABLE && c->format != CLI_WIDE)
        return;
    va_start(ap, fmt);
    (void)vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

void
cli_say(const struct cli *c, const char *fmt, ...)
{
    CLEANUP(mem_free) char *text = NULL;
    struct buf line = BUF_INIT;
    va_list ap;

    if (c->format != CLI_TABLE && c->format != CLI_WIDE)
        return;
    (void)fflush(stdout); /* in the order in which they were said */
    va_start(ap, fmt);
    buf_vprintf(&line, fmt, ap);
    va_end(ap);
    text = buf_take_str(&line);
    words_clean_lines(text);
    (void)fprintf(stderr, "%s\n", text);
}
