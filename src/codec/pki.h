/* SPDX-License-Identifier: Apache-2.0 */
/* codec/pki.h: the daemon's own certificate authority.
 *
 * In a directory (0700): ca.crt, ca.key, server.crt, server.key, all PEM, keys
 * 0600. Keys are ECDSA on P-256. A file is replaced atomically, key before
 * certificate; after a crash in between, the pair does not match and is made
 * again.
 * Threads: any, but one pki_open() per directory at a time.
 * source  RFC 5280; x509v3_config(5)
 */
#pragma once
#include <stdint.h>

#include "base/err.h"

struct pki {
    char *ca_pem;
    char *server_pem; /* the certificate alone */
    char *key_pem;    /* the server's; wiped by pki_fini() */
};

/* Read, and make what is missing. The server's certificate is made anew when
 * it ends within 30 days, lacks one of `hosts` or does not fit its key; the
 * CA (10 years) never: clients hold it.
 *
 *   dir    absolute; made when missing
 *   hosts  names and IP addresses, NULL at the end
 *   errors CORRUPT (ca.crt and ca.key do not fit: says what to do), file
 *          errors
 */
int pki_open(const char *dir, const char *const *hosts, struct pki *ret_pki,
             struct err *err) NODISCARD;
void pki_fini(struct pki *p);
static inline void
pki_fini_p(struct pki *p)
{
    pki_fini(p);
}

/* Standard alphabet with padding; the caller's to free. source: RFC 4648 */
char *pki_base64(const void *data, size_t len) NODISCARD;
