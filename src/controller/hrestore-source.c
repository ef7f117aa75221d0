/* SPDX-License-Identifier: Apache-2.0 */
/* controller/hrestore-source.c: what a backup says about itself, as a source.
 *
 * The definition in a repository is foreign: whoever can write there, and has
 * the key, wrote it. It is ours only if it bears this host's mark
 * (controller/secrets.h), or if the VM's present definition, but for the disks'
 * files, is the very same: then nothing new would be defined.
 */
#include "controller/hrestore-source.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "controller/backup-sealed.h"
#include "controller/hrestore-fill.h"
#include "controller/objutil.h"
#include "controller/recover.h"

char *
hrestore_source_firmware_dir(const struct ctl *ctl)
{
    return xasprintf("%s/restores", ctl->config.state_dir);
}

void
hrestore_source_close(struct hrestore_source *s)
{
    if (s == NULL)
        return;
    restore_source_fini(&s->base);
    repo_view_close(s->view);
    target_release(s->target);
    backup_meta_free(s->meta);
    hrestore_place_close(s->places);
    free(s);
}

/* ---- the definition ---- */

/* The XML with all disks' files replaced by the same word. */
static char *
without_files(const char *xml, struct err *err)
{
    CLEANUP(domxml_free) struct domxml *d = domxml_parse(xml, err);
    CLEANUP(mem_free) struct domxml_source *sources = NULL;
    char *same = NULL;
    size_t n = 0;

    if (d == NULL)
        return NULL;
    sources = xcalloc(d->n_disks + 1, sizeof *sources);
    for (size_t i = 0; i < d->n_disks; i++)
        if (d->disks[i].target != NULL && d->disks[i].chain_len > 0)
            sources[n++] =
                (struct domxml_source){ d->disks[i].target, "/-", "raw" };
    if (domxml_retarget(xml, sources, n, &same, err) < 0)
        return NULL;
    return same;
}

/* Blanks after a tag go: they depend on what stood between the tags. */
static void
squeeze(char *xml)
{
    char *to = xml;

    for (const char *c = xml; *c != 0; c++) {
        bool is_blank = strchr(" \t\r\n", *c) != NULL;

        if (!is_blank || to == xml || to[-1] != '>')
            *to++ = *c;
    }
    *to = 0;
}

static char *
comparable(const char *xml)
{
    CLEANUP(secrets_free_text) char *same = NULL;
    char *plain = NULL;
    struct err unused;

    same = without_files(xml, &unused);
    if (same == NULL || domxml_redact(same, &plain, &unused) < 0)
        return NULL;
    squeeze(plain);
    return plain;
}

/* Does the VM have this definition now? Then its own text, with secrets, is
 * taken: the backup's may lack them. */
static bool
take_present(struct ctl *ctl, struct hrestore_source *s)
{
    CLEANUP(secrets_free_text) char *now = NULL;
    CLEANUP(mem_free) char *a = NULL;
    CLEANUP(mem_free) char *b = NULL;
    struct err unused;

    if (virt_xml_secure(ctl->virt, s->base.vm_uuid, &now, &unused) < 0)
        return false;
    a = comparable(now);
    b = comparable(s->meta->domain_xml);
    if (a == NULL || b == NULL || strcmp(a, b) != 0)
        return false;
    s->base.xml = TAKE(now);
    return true;
}

/* Did this host write the definition, and has nobody changed it since? */
static bool
is_our_own(struct ctl *ctl, const struct backup_meta *meta)
{
    char mark[SECRETS_MARK_SIZE];

    if (meta->host_mark == NULL || !meta->has_secrets)
        return false;
    secrets_mark(recover_secrets(ctl), meta->domain_xml, mark);
    return strcmp(mark, meta->host_mark) == 0;
}

/* Without them it can be restored too. */
static int
open_sealed(struct hrestore_source *s, struct err *err)
{
    if (backup_sealed_open(s->view, s->meta, err) == 0)
        return 0;
    if (err->code != ERR_DENIED && err->code != ERR_CORRUPT &&
        err->code != ERR_NOT_FOUND && err->code != ERR_UNSUPPORTED)
        return -1;

    CLEANUP(mem_free)
    char *line = xasprintf("passwords: %s; new ones are made", err->msg);

    restore_source_note(&s->base, line);
    return 0;
}

static int
load_xml(struct ctl *ctl, struct hrestore_source *s, struct err *err)
{
    struct restore_source *base = &s->base;

    if (open_sealed(s, err) < 0)
        return -1;
    base->is_xml_ours = true;
    if (!is_our_own(ctl, s->meta) && take_present(ctl, s))
        return 0;
    base->is_xml_ours = is_our_own(ctl, s->meta);
    base->xml = xstrdup(s->meta->domain_xml);
    if (!s->meta->has_secrets && !s->meta->has_sealed)
        restore_source_note(
            base,
            "passwords: not in the backup, its repository is not encrypted; new ones are made");
    return 0;
}

/* ---- a backup in a repository ---- */

static void
take_meta(struct hrestore_source *s)
{
    const struct backup_meta *m = s->meta;
    struct restore_source *base = &s->base;

    (void)snprintf(base->vm_uuid, sizeof base->vm_uuid, "%s", m->vm_uuid);
    base->vm = json_deep_copy(m->source);
    base->targets = xcalloc(m->n_disks + 1, sizeof *base->targets);
    for (size_t i = 0; i < m->n_disks; i++)
        base->targets[base->n_targets++] = xstrdup(m->disks[i].target);
    for (size_t i = 0; i < m->n_files; i++) {
        base->has_nvram =
            base->has_nvram || strcmp(m->files[i].path, "nvram") == 0;
        base->has_tpm =
            base->has_tpm || strncmp(m->files[i].path, "tpm/", 4) == 0;
    }
    for (size_t i = 0; i < json_array_size(m->excluded); i++) {
        const json_t *e = json_array_get(m->excluded, i);
        CLEANUP(mem_free)
        char *line = xasprintf("disk %s: not in the backup: %s",
                               jsonx_str_or(e, "volume", "?"),
                               jsonx_str_or(e, "reason", "excluded"));

        restore_source_note(base, line);
    }
}

static int
open_backup(struct ctl *ctl, const json_t *backup, const json_t *restore,
            struct hrestore_source *s, struct err *err)
{
    const char *target =
        jsonx_str_or(backup, "status.vmkeep.target", TARGET_DEFAULT);
    const char *id = jsonx_str(backup, "status.vmkeep.backupID");
    const char *want = jsonx_str(backup, "status.vmkeep.repositoryUUID");

    if (id == NULL)
        return err_set(err, ERR_CORRUPT,
                       "the VMBackup does not say where its data are");
    if (target_open(ctl, target, &s->target, err) < 0)
        return -1;
    if (want != NULL && strcmp(want, target_uuid(s->target)) != 0)
        return err_set(
            err, ERR_UNAVAILABLE,
            "backup target %s is not matched in vmBackup: it is the repository %s, the backup is in %s",
            target, target_uuid(s->target), want);
    if (repo_view_open(target_repo(s->target), id, &s->view, err) < 0)
        return err_wrap(err, "backup target %s", target);
    s->meta = backup_meta_read(s->view, err);
    if (s->meta == NULL)
        return err_wrap(err, "backup target %s: backup %s", target, id);
    (void)snprintf(s->base.id, sizeof s->base.id, "%s",
                   jsonx_str_or(restore, "metadata.uid", ""));
    s->base.firmware_dir = hrestore_source_firmware_dir(ctl);
    s->base.make_disks = hrestore_fill_make_disks;
    s->base.arg = s;
    take_meta(s);
    if (hrestore_place_open(ctl, restore, &s->places, err) < 0)
        return -1;
    return load_xml(ctl, s, err);
}

/* ---- a snapshot ---- */

static int
open_snapshot(struct ctl *ctl, const json_t *backup, struct hrestore_source *s,
              struct err *err)
{
    const char *ns = jsonx_str_or(backup, "metadata.namespace", "");
    const char *name = jsonx_str_or(backup, "metadata.name", "");
    CLEANUP(object_unref) struct object *snapshot = NULL;
    CLEANUP(object_unref) struct object *content = NULL;
    CLEANUP(json_decref) json_t *sj = NULL;
    CLEANUP(json_decref) json_t *cj = NULL;
    const char *of;

    name = jsonx_str_or(backup, "status.vmkeep.snapshotName", name);
    if (objutil_find(ctl, &kind_vmsnapshot, ns, name, &snapshot, err) < 0)
        return -1;
    sj = snapshot == NULL ? NULL : object_json(snapshot);
    of = jsonx_str(sj, "status.virtualMachineSnapshotContentName");
    if (of != NULL &&
        objutil_find(ctl, &kind_vmsnapshotcontent, ns, of, &content, err) < 0)
        return -1;
    if (content == NULL || !jsonx_bool(sj, "status.readyToUse"))
        return err_set(err, ERR_NOT_FOUND,
                       "the VirtualMachineSnapshot %s/%s is not there or not "
                       "ready",
                       ns, name);
    cj = object_json(content);
    return restore_source_snapshot(ctl, sj, cj, &s->base, err);
}

int
hrestore_source_open(struct ctl *ctl, const json_t *backup,
                     const json_t *restore, struct hrestore_source **ret_source,
                     struct err *err)
{
    CLEANUP(hrestore_source_close)
    struct hrestore_source *s = xcalloc(1, sizeof *s);
    bool is_snapshot =
        strcmp(jsonx_str_or(backup, "spec.type", ""), "snapshot") == 0;

    s->base.notes = json_array();
    if (is_snapshot) {
        json_decref(TAKE(s->base.notes));
        if (open_snapshot(ctl, backup, s, err) < 0)
            return -1;
    } else if (open_backup(ctl, backup, restore, s, err) < 0) {
        return -1;
    }
    *ret_source = TAKE(s);
    return 0;
}
