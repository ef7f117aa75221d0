/* SPDX-License-Identifier: Apache-2.0 */
/* vmkeep kubeconfig, vmkeep version. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/cmd.h"
#include "codec/yamlx.h"

#define KUBECONFIG_PATH "/vmkeep/v1/kubeconfig" /* docs/api.md */

static int
print_kubeconfig(struct cli *c, struct err *err)
{
    CLEANUP(json_decref) json_t *body = json_object();
    CLEANUP(json_decref) json_t *v = NULL;
    CLEANUP(buf_fini) struct buf text = BUF_INIT;

    jsonx_set_str(body, "user", cli_value(c, "user"));
    jsonx_set_str(body, "server", cli_value(c, "address"));
    if (client_call(c->client, "POST", KUBECONFIG_PATH, body, &v, err) < 0)
        return -1;
    if (c->format != CLI_JSON) {
        yamlx_print(v, &text);
        fputs(buf_str(&text), stdout);
    } else
        (void)cli_print(c, v);
    if (isatty(STDOUT_FILENO) == 1)
        cli_say(c, "# For kubectl: (umask 077; vmkeep kubeconfig "
                   ">~/.kube/vmkeep); export KUBECONFIG=~/.kube/vmkeep");
    return 0;
}

/* The server's version is told if there is a server; it need not be. */
static int
print_version(struct cli *c, struct err *err)
{
    static const char mark[] = "+vmkeep"; /* before it: what kubectl reads */
    CLEANUP(json_decref) json_t *v = NULL;
    CLEANUP(json_decref) json_t *both = json_object();
    const char *text, *ours;
    bool has_server =
        client_call(c->client, "GET", "/version", NULL, &v, err) == 0;

    text = jsonx_str_or(v, "gitVersion", "?");
    ours = strstr(text, mark);
    if (ours != NULL)
        text = ours + sizeof mark - 1;
    jsonx_set_str(both, "vmkeep", VMKEEP_VERSION);
    if (has_server)
        jsonx_set_str(both, "vmkeepd", text);
    if ((c->format == CLI_JSON || c->format == CLI_YAML) && cli_print(c, both))
        return 0;
    printf("vmkeep %s\n", VMKEEP_VERSION);
    if (has_server)
        printf("vmkeepd %s\n", text);
    else
        cli_say(c, "vmkeepd: %s", err->msg);
    return 0;
}

static const struct cli_option kubeconfig_options[] = {
    { "user", 0, "NAME", "whose token it is to be (default: yours)" },
    { "address", 0, "URL", "how kubectl reaches the server" },
    { NULL },
};

const struct cli_command cmd_other_table[] = {
    { "kubeconfig", NULL, "", 0, 0,
      "print a kubeconfig for kubectl, with a token of your own",
      "Over the UNIX socket only. Who has the file has your rights: keep it\n"
      "as you keep a key.",
      "vmkeep kubeconfig | install -m 600 /dev/stdin ~/.kube/vmkeep\n"
      "KUBECONFIG=~/.kube/vmkeep kubectl get vm,vmsnapshot",
      kubeconfig_options, print_kubeconfig },
    { "version", NULL, "", 0, 0, "print the versions of vmkeep and the daemon",
      NULL, "vmkeep version", NULL, print_version },
    { NULL },
};
