/* SPDX-License-Identifier: Apache-2.0 */
/* controller/secrets.h: what of a VM must not be read in the API: its domain
 * XML with passwords, sealed (codec/seal.h) under a key of this host.
 *
 *   <state_dir>/seal.key         32 random bytes, 0600, made once
 *   <state_dir>/secrets/<uuid>   one sealed text per kept snapshot
 *
 * Being sealed, the text is also known to be what we wrote: unlike the
 * redacted XML in an API object, which its owner may edit.
 * Threads: any. source  DESIGN 4 (Disks), 10
 */
#pragma once
#include "base/err.h"

struct secrets;

/* CORRUPT when the key file is not ours: nothing is overwritten. */
struct secrets *secrets_open(const char *state_dir, struct err *err) NODISCARD;
void secrets_close(struct secrets *s); /* NULL is fine; wipes the key */
DEFINE_CLEANUP(secrets_close, struct secrets *)

/* Durable when it returns; an older text of the same name is replaced.
 * `name`: a UUID. */
int secrets_put(struct secrets *s, const char *name, const char *text,
                struct err *err) NODISCARD;
/* The text; the caller frees it with secrets_free_text().
 * errors  NOT_FOUND; CORRUPT (damaged, or another key) */
int secrets_get(struct secrets *s, const char *name, char **ret_text,
                struct err *err) NODISCARD;
/* Absent is success. */
int secrets_delete(struct secrets *s, const char *name, struct err *err)
    NODISCARD;

#define SECRETS_MARK_SIZE 65 /* 64 hexadecimal digits, and NUL */
/* What only this host can say of a text: that it wrote it. A text from outside
 * that has its mark is ours, and unchanged. source  RFC 2104, SHA-256 */
void secrets_mark(const struct secrets *s, const char *text,
                  char ret_mark[SECRETS_MARK_SIZE]);

/* Wipe and free. */
void secrets_free_text(char *text);
DEFINE_CLEANUP(secrets_free_text, char *)
