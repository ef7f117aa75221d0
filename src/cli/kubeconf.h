/* SPDX-License-Identifier: Apache-2.0 */
/* cli/kubeconf.h: what of a kubeconfig file names a server and its user.
 *
 * Threads: pure functions.
 * source  https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
 */
#pragma once
#include "base/err.h"

struct kubeconf {
    char *server, *ns;                 /* ns NULL: not said */
    char *ca_pem, *cert_pem, *key_pem; /* NULL: none */
    char *token;                       /* NULL: none */
};

/* The current context of `path`. NULL: VMKEEP_TOKEN and VMKEEP_CA (a file) of
 * the environment alone.
 * errors  NOT_FOUND; INVALID (no such context, no server) */
struct kubeconf *kubeconf_load(const char *path, struct err *err) NODISCARD;
void kubeconf_free(struct kubeconf *k); /* NULL is fine */
