/* SPDX-License-Identifier: Apache-2.0 */
/* controller/restore-source.c: the cut of a snapshot as a source.
 *
 * The sealed XML is preferred: what the API object shows is redacted, and its
 * owner may have edited it.
 */
#include "controller/restore-source.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "controller/capture.h"
#include "controller/firmware.h"
#include "controller/recover.h"

void
restore_source_fini(struct restore_source *s)
{
    free(s->firmware_dir);
    json_decref(s->vm);
    secrets_free_text(s->xml);
    for (size_t i = 0; i < s->n_targets; i++)
        free(s->targets[i]);
    free(s->targets);
    json_decref(s->notes);
    memset(s, 0, sizeof *s);
}

void
restore_source_note(struct restore_source *s, const char *line)
{
    (void)json_array_append_new(s->notes, json_string(line));
}

static int
load_xml(struct ctl *ctl, const json_t *content, struct restore_source *s,
         struct err *err)
{
    const char *shown = json_string_value(json_object_get(
        jsonx_get(content, "metadata.annotations"), CAPTURE_XML_ANNOTATION));

    if (secrets_get(recover_secrets(ctl), s->id, &s->xml, err) == 0) {
        s->is_xml_ours = true;
        return 0;
    }
    if (err->code != ERR_NOT_FOUND && err->code != ERR_CORRUPT)
        return -1;
    if (shown == NULL)
        return err_set(
            err, ERR_CORRUPT,
            "the snapshot holds no domain XML: neither sealed nor in the annotation " CAPTURE_XML_ANNOTATION);
    restore_source_note(
        s,
        "passwords: the sealed definition cannot be read; new ones are made");
    s->xml = xstrdup(shown);
    return 0;
}

static int
make_disks(struct ctl *ctl, struct restore_source *s,
           const struct restore_request *rq, struct volume_restore **ret_volume,
           struct err *err)
{
    enum volume_restore_mode mode =
        rq->old != NULL ? VOLUME_IN_PLACE : VOLUME_CLONE;

    return volume_restore_prepare(
        ctl->volume, s->vm_uuid, s->id, rq->restore_uid, mode, rq->owner_uuid,
        (const char *const *)s->targets, s->n_targets, ret_volume, err);
}

int
restore_source_snapshot(struct ctl *ctl, const json_t *snapshot,
                        const json_t *content,
                        struct restore_source *ret_source, struct err *err)
{
    CLEANUP(restore_source_fini)
    struct restore_source s = { .make_disks = make_disks,
                                .notes = json_array() };
    const json_t *layers = jsonx_get(content, "spec.vmkeep.layers");
    const json_t *vm = jsonx_get(content, "spec.source.virtualMachine");

    if (vm == NULL)
        return err_set(err, ERR_CORRUPT, "the content holds no VM");
    s.vm = json_deep_copy(vm);
    (void)snprintf(s.vm_uuid, sizeof s.vm_uuid, "%s",
                   jsonx_str_or(vm, "metadata.uid", ""));
    (void)snprintf(s.id, sizeof s.id, "%s",
                   jsonx_str_or(snapshot, "metadata.uid", ""));
    s.firmware_dir = xstrdup(ctl->config.state_dir);
    s.has_nvram = firmware_has_nvram(s.firmware_dir, s.id);
    s.has_tpm = jsonx_bool(content, "spec.vmkeep.cut.tpm");
    s.targets = xcalloc(json_array_size(layers) + 1, sizeof *s.targets);
    for (size_t i = 0; i < json_array_size(layers); i++)
        s.targets[s.n_targets++] =
            xstrdup(jsonx_str_or(json_array_get(layers, i), "volumeName", ""));
    if (load_xml(ctl, content, &s, err) < 0)
        return -1;
    *ret_source = s;
    memset(&s, 0, sizeof s);
    return 0;
}
