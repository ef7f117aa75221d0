/* SPDX-License-Identifier: Apache-2.0 */
/* The name of a chunk is a digest of what is in it, under a key that hosts have
 * which only make backups. A short password could be guessed by that: hence the
 * salt.
 */
#include "controller/backup-sealed.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/uuid.h"
#include "controller/secrets.h"
#include "virt/domxml.h"

#define VERSION 1
#define MAX     ((size_t)4 << 20)
#define SALT    32

static char *
encode(const char *xml, const char *mark)
{
    CLEANUP(json_decref) json_t *v = json_object();
    uint8_t salt[SALT];
    char hex[2 * SALT + 1];

    uuid_random_bytes(salt, sizeof salt);
    for (size_t i = 0; i < SALT; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", salt[i]);
    jsonx_set(v, "vmkeepSecrets", json_integer(VERSION));
    jsonx_set_str(v, "hostMark", mark);
    jsonx_set_str(v, "salt", hex);
    jsonx_set_str(v, "domainXML", xml);
    return jsonx_canonical(v);
}

int
backup_sealed_store(struct repo_backup *backup, const char *xml,
                    const char *mark, struct err *err)
{
    CLEANUP(secrets_free_text) char *text = encode(xml, mark);
    size_t len = strlen(text);
    unsigned n;

    if (len > MAX)
        return err_set(err, ERR_UNSUPPORTED,
                       "the definition has more than %zu bytes", MAX);
    if (repo_backup_add_disk(backup, BACKUP_SEALED_DISK, len, 0, &n, err) < 0 ||
        repo_backup_write(backup, n, 0, text, len, err) < 0)
        return err_wrap(err, "secrets of the definition");
    return 0;
}

/* The text; NUL ends it. The caller's, to wipe and free. */
static char *
load(struct repo_view *view, struct err *err)
{
    CLEANUP(secrets_free_text) char *text = NULL;
    struct repo_disk d;
    unsigned n;

    if (repo_view_find_disk(view, BACKUP_SEALED_DISK, &n, err) < 0)
        return NULL;
    d = repo_view_disk(view, n);
    if (d.size > MAX)
        return err_set_null(err, ERR_CORRUPT, "too long");
    text = xcalloc(1, (size_t)d.size + 1);
    if (repo_view_read(view, n, 0, text, (size_t)d.size, err) < 0)
        return NULL;
    return TAKE(text);
}

static int
put_back(const char *text, struct backup_meta *meta, struct err *err)
{
    CLEANUP(json_decref) json_t *v = jsonx_parse(text, strlen(text), err);
    const char *xml = jsonx_str_or(v, "domainXML", "");
    CLEANUP(mem_free) char *redacted = NULL;

    if (v == NULL)
        return -1;
    if (jsonx_int(v, "vmkeepSecrets", 0) != VERSION)
        return err_set(err, ERR_UNSUPPORTED, "of a newer version");
    if (domxml_redact(xml, &redacted, err) < 0)
        return -1;
    if (strcmp(redacted, meta->domain_xml) != 0)
        return err_set(err, ERR_CORRUPT,
                       "they are of another definition than the backup's");
    free(meta->domain_xml);
    meta->domain_xml = xstrdup(xml);
    meta->has_secrets = true;
    free(meta->host_mark);
    meta->host_mark = xstrdup(jsonx_str(v, "hostMark"));
    return 0;
}

int
backup_sealed_open(struct repo_view *view, struct backup_meta *meta,
                   struct err *err)
{
    CLEANUP(secrets_free_text) char *text = NULL;

    if (meta->has_secrets || !meta->has_sealed)
        return 0;
    text = load(view, err);
    if (text == NULL || put_back(text, meta, err) < 0)
        return err_wrap(err, "secrets of the definition");
    return 0;
}
