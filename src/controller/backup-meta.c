/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-meta.c: docs/formats/backup-metadata.md, both ways.
 *
 * The text is canonical JSON. The decoder reads the members that it knows,
 * checks them, encodes what it understood, and compares: what an encoder would
 * not have written byte for byte is refused, so there is no second way to say
 * the same and no member that is silently dropped.
 */
#include "controller/backup-meta.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/uuid.h"

#define NAME_LIMIT 253
#define XML_LIMIT  ((size_t)1 << 20)

static const char *const tracking_names[] = { "Full", "Incremental", "Rescan" };
static const char *const consistency_names[] = { "CrashConsistent", "Quiesced",
                                                 "Offline" };

const char *
backup_meta_tracking_name(enum backup_meta_tracking t)
{
    return tracking_names[t];
}

const char *
backup_meta_consistency_name(enum backup_meta_consistency c)
{
    return consistency_names[c];
}

void
backup_meta_free(struct backup_meta *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->n_disks; i++) {
        free(m->disks[i].target);
        free(m->disks[i].claim);
        free(m->disks[i].format);
        free(m->disks[i].bus);
    }
    for (size_t i = 0; i < m->n_files; i++) {
        free(m->files[i].repo_disk);
        free(m->files[i].path);
    }
    free(m->disks);
    free(m->files);
    free(m->ns);
    free(m->name);
    free(m->uid);
    free(m->vm_uuid);
    free(m->domain_xml);
    free(m->host);
    free(m->host_mark);
    json_decref(m->labels);
    json_decref(m->annotations);
    json_decref(m->spec);
    json_decref(m->source);
    json_decref(m->volume_backups);
    json_decref(m->secret_names);
    json_decref(m->excluded);
    free(m);
}

/* ---- encode ---- */

/* Members that are NULL, or no UTF-8, are left out. */
static void
put(json_t *o, const char *key, json_t *v)
{
    if (v != NULL)
        (void)json_object_set(o, key, v);
}

static void
put_str(json_t *o, const char *key, const char *s)
{
    if (s != NULL)
        (void)json_object_set_new(o, key, json_string(s));
}

static void
put_num(json_t *o, const char *key, uint64_t n)
{
    (void)json_object_set_new(o, key, json_integer((json_int_t)n));
}

static json_t *
disks_json(const struct backup_meta *m)
{
    json_t *list = json_array();

    for (size_t i = 0; i < m->n_disks; i++) {
        const struct backup_meta_disk *d = &m->disks[i];
        json_t *o = json_object();

        put_str(o, "target", d->target);
        put_str(o, "claim", d->claim);
        put_str(o, "format", d->format);
        put_str(o, "bus", d->bus);
        put_num(o, "size", d->size);
        put_str(o, "tracking", tracking_names[d->tracking]);
        (void)json_array_append_new(list, o);
    }
    return list;
}

static json_t *
files_json(const struct backup_meta *m)
{
    json_t *list = json_array();

    for (size_t i = 0; i < m->n_files; i++) {
        json_t *o = json_object();

        put_str(o, "disk", m->files[i].repo_disk);
        put_str(o, "path", m->files[i].path);
        put_num(o, "size", m->files[i].size);
        (void)json_array_append_new(list, o);
    }
    return list;
}

static json_t *
to_json(const struct backup_meta *m)
{
    json_t *backup = json_object(), *vm = json_object(), *cut = json_object();
    char time[CLOCK_RFC3339_SIZE];

    put_str(backup, "namespace", m->ns);
    put_str(backup, "name", m->name);
    put_str(backup, "uid", m->uid);
    put(backup, "labels", m->labels);
    put(backup, "annotations", m->annotations);
    put(backup, "spec", m->spec);
    put_str(vm, "uuid", m->vm_uuid);
    put(vm, "source", m->source);
    put(vm, "volumeBackups", m->volume_backups);
    put(vm, "secretNames", m->secret_names);
    put(vm, "excluded", m->excluded);
    put_str(vm, "domainXML", m->domain_xml);
    (void)json_object_set_new(vm, "hasSecrets", json_boolean(m->has_secrets));
    put_str(vm, "host", m->host);
    put_str(vm, "hostMark", m->host_mark);
    clock_format_rfc3339(m->cut_s, time);
    put_str(cut, "time", time);
    put_str(cut, "consistency", consistency_names[m->consistency]);
    put_num(cut, "frozenMilliseconds", m->frozen_ms);
    return json_pack("{s:i, s:o, s:o, s:o, s:o, s:o}", "vmkeepBackup",
                     BACKUP_META_VERSION, "backup", backup, "vm", vm, "cut",
                     cut, "disks", disks_json(m), "firmware", files_json(m));
}

int
backup_meta_encode(const struct backup_meta *m, char **ret_text,
                   size_t *ret_len, struct err *err)
{
    CLEANUP(json_decref) json_t *v = to_json(m);
    char *text;
    size_t len;

    if (v == NULL || jsonx_str(v, "vm.domainXML") == NULL)
        return err_set(err, ERR_INVALID,
                       "the backup's metadata has text that is not UTF-8");
    text = jsonx_canonical(v);
    len = strlen(text);
    if (len > REPO_METADATA_MAX) {
        free(text);
        return err_set(err, ERR_INVALID,
                       "the backup's metadata has %zu bytes, at most %zu fit",
                       len, REPO_METADATA_MAX);
    }
    *ret_text = text;
    *ret_len = len;
    return 0;
}

/* ---- decode ---- */

/* A copy of the string at `path`; NULL when absent. */
static char *
text_of(const json_t *v, const char *path)
{
    return xstrdup(jsonx_str(v, path));
}

/* A new reference to the member at `path` if it has `type`. */
static json_t *
member_of(const json_t *v, const char *path, json_type type)
{
    json_t *m = jsonx_get(v, path);

    return m != NULL && json_typeof(m) == type ? json_incref(m) : NULL;
}

/* The place of `s` in `names`; `n` when it is not there. */
static size_t
word_of(const char *s, const char *const *names, size_t n)
{
    for (size_t i = 0; s != NULL && i < n; i++)
        if (strcmp(s, names[i]) == 0)
            return i;
    return n;
}

static bool
is_label(const char *s, size_t max)
{
    size_t n = s == NULL ? 0 : strlen(s);

    return n >= 1 && n <= max &&
           strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") == n;
}

static bool
is_target(const char *s)
{
    size_t n = s == NULL ? 0 : strlen(s);

    return n >= 1 && n <= 31 &&
           strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789") == n;
}

/* Relative, without "." and "..": it is joined to a directory of ours. */
static bool
is_path(const char *s)
{
    size_t n = s == NULL ? 0 : strlen(s);

    if (n < 1 || n > 255 || s[n - 1] == '/')
        return false;
    for (const char *p = s; p != NULL; p = strchr(p, '/')) {
        p += *p == '/' && p != s;
        if (*p == '/' || *p == '.' || *p == 0)
            return false;
    }
    for (size_t i = 0; i < n; i++)
        if (s[i] <= ' ' || s[i] == 0x7f)
            return false;
    return true;
}

static bool
is_file_disk(const char *s)
{
    return s != NULL && strlen(s) <= REPO_DISK_NAME_MAX &&
           (strcmp(s, "nvram") == 0 || strncmp(s, "tpm:", 4) == 0);
}

static int
read_disk(const json_t *o, struct backup_meta_disk *d)
{
    size_t tracking = word_of(jsonx_str(o, "tracking"), tracking_names,
                              ARRAY_SIZE(tracking_names));
    int64_t size = jsonx_int(o, "size", -1);

    d->target = text_of(o, "target");
    d->claim = text_of(o, "claim");
    d->format = text_of(o, "format");
    d->bus = text_of(o, "bus");
    d->size = (uint64_t)size;
    if (!is_target(d->target) || size < 0 || d->format == NULL ||
        (strcmp(d->format, "qcow2") != 0 && strcmp(d->format, "raw") != 0) ||
        (d->claim != NULL && !is_label(d->claim, NAME_LIMIT)) ||
        tracking == ARRAY_SIZE(tracking_names))
        return -1;
    d->tracking = (enum backup_meta_tracking)tracking;
    return 0;
}

static int
read_disks(const json_t *v, struct backup_meta *m, struct err *err)
{
    const json_t *list = json_object_get(v, "disks");
    size_t n = json_array_size(list);

    if (!json_is_array(list) || n > BACKUP_META_DISKS_MAX)
        return err_set(err, ERR_INVALID, "disks: want at most %d",
                       BACKUP_META_DISKS_MAX);
    m->disks = xcalloc(n + 1, sizeof *m->disks);
    m->n_disks = n;
    for (size_t i = 0; i < n; i++) {
        if (read_disk(json_array_get(list, i), &m->disks[i]) < 0)
            return err_set(err, ERR_INVALID, "disks[%zu] is not a disk", i);
        for (size_t k = 0; k < i; k++)
            if (strcmp(m->disks[k].target, m->disks[i].target) == 0)
                return err_set(err, ERR_INVALID, "disk %s is there twice",
                               m->disks[i].target);
    }
    return 0;
}

static int
read_files(const json_t *v, struct backup_meta *m, struct err *err)
{
    const json_t *list = json_object_get(v, "firmware");
    size_t n = json_array_size(list);

    if (!json_is_array(list) || n > BACKUP_META_FILES_MAX)
        return err_set(err, ERR_INVALID, "firmware: want at most %d files",
                       BACKUP_META_FILES_MAX);
    m->files = xcalloc(n + 1, sizeof *m->files);
    m->n_files = n;
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(list, i);
        struct backup_meta_file *f = &m->files[i];
        int64_t size = jsonx_int(o, "size", -1);

        f->repo_disk = text_of(o, "disk");
        f->path = text_of(o, "path");
        f->size = (uint64_t)size;
        if (!is_file_disk(f->repo_disk) || !is_path(f->path) || size < 0)
            return err_set(err, ERR_INVALID, "firmware[%zu] is not a file", i);
    }
    return 0;
}

static int
read_backup(const json_t *v, struct backup_meta *m, struct err *err)
{
    m->ns = text_of(v, "backup.namespace");
    m->name = text_of(v, "backup.name");
    m->uid = text_of(v, "backup.uid");
    m->labels = member_of(v, "backup.labels", JSON_OBJECT);
    m->annotations = member_of(v, "backup.annotations", JSON_OBJECT);
    m->spec = member_of(v, "backup.spec", JSON_OBJECT);
    if (!is_label(m->ns, 63) || !is_label(m->name, NAME_LIMIT) ||
        m->uid == NULL || !uuid_is_valid(m->uid) || m->spec == NULL)
        return err_set(err, ERR_INVALID,
                       "backup: want namespace, name, uid and spec");
    return 0;
}

static int
read_vm(const json_t *v, struct backup_meta *m, struct err *err)
{
    m->vm_uuid = text_of(v, "vm.uuid");
    m->source = member_of(v, "vm.source", JSON_OBJECT);
    m->volume_backups = member_of(v, "vm.volumeBackups", JSON_ARRAY);
    m->secret_names = member_of(v, "vm.secretNames", JSON_ARRAY);
    m->excluded = member_of(v, "vm.excluded", JSON_ARRAY);
    m->domain_xml = text_of(v, "vm.domainXML");
    m->has_secrets = jsonx_bool(v, "vm.hasSecrets");
    m->host = text_of(v, "vm.host");
    m->host_mark = text_of(v, "vm.hostMark");
    if (m->vm_uuid == NULL || !uuid_is_valid(m->vm_uuid) || m->source == NULL ||
        m->volume_backups == NULL || m->domain_xml == NULL ||
        strlen(m->domain_xml) > XML_LIMIT)
        return err_set(
            err, ERR_INVALID,
            "vm: want uuid, source, volumeBackups and a domainXML of at most 1 MiB");
    return 0;
}

static int
read_cut(const json_t *v, struct backup_meta *m, struct err *err)
{
    const char *time = jsonx_str(v, "cut.time");
    size_t consistency =
        word_of(jsonx_str(v, "cut.consistency"), consistency_names,
                ARRAY_SIZE(consistency_names));
    int64_t frozen_ms = jsonx_int(v, "cut.frozenMilliseconds", -1);

    if (time == NULL || clock_parse_rfc3339(time, &m->cut_s, err) < 0 ||
        consistency == ARRAY_SIZE(consistency_names) || frozen_ms < 0)
        return err_set(err, ERR_INVALID,
                       "cut: want time, consistency and frozenMilliseconds");
    m->consistency = (enum backup_meta_consistency)consistency;
    m->frozen_ms = (uint64_t)frozen_ms;
    return 0;
}

static int
check_same(const struct backup_meta *m, const char *data, size_t len,
           struct err *err)
{
    CLEANUP(mem_free) char *text = NULL;
    size_t n;

    if (backup_meta_encode(m, &text, &n, err) < 0)
        return -1;
    if (n != len || memcmp(text, data, len) != 0)
        return err_set(
            err, ERR_INVALID,
            "it is not as version %d writes it: members, their order or numbers differ",
            BACKUP_META_VERSION);
    return 0;
}

static struct backup_meta *
decode(const char *data, size_t len, struct err *err)
{
    CLEANUP(backup_meta_free) struct backup_meta *m = xcalloc(1, sizeof *m);
    CLEANUP(json_decref) json_t *v = NULL;
    int64_t version;

    if (len > REPO_METADATA_MAX)
        return err_set_null(err, ERR_INVALID, "%zu bytes are too many", len);
    v = jsonx_parse(data, len, err);
    if (v == NULL)
        return NULL;
    version = jsonx_int(v, "vmkeepBackup", 0);
    if (version > BACKUP_META_VERSION)
        return err_set_null(err, ERR_UNSUPPORTED,
                            "version %" PRId64
                            " is newer than this vmkeep, which reads %d",
                            version, BACKUP_META_VERSION);
    if (version < 1)
        return err_set_null(err, ERR_INVALID, "it is no backup of vmkeep");
    if (read_backup(v, m, err) < 0 || read_vm(v, m, err) < 0 ||
        read_cut(v, m, err) < 0 || read_disks(v, m, err) < 0 ||
        read_files(v, m, err) < 0 || check_same(m, data, len, err) < 0)
        return NULL;
    return TAKE(m);
}

struct backup_meta *
backup_meta_decode(const void *data, size_t len, struct err *err)
{
    struct backup_meta *m = decode(data, len, err);

    return m == NULL ? err_wrap_null(err, "the backup's metadata") : m;
}

struct backup_meta *
backup_meta_read(struct repo_view *view, struct err *err)
{
    CLEANUP(mem_free) void *data = NULL;
    struct backup_meta *meta;
    struct err ignored;
    unsigned disk;
    size_t len;

    if (repo_view_metadata(view, &data, &len, err) < 0)
        return NULL;
    if (data == NULL)
        return err_set_null(err, ERR_INVALID,
                            "the backup has no metadata: not made by vmkeepd");
    meta = backup_meta_decode(data, len, err);
    if (meta != NULL)
        meta->has_sealed =
            repo_view_find_disk(view, BACKUP_SEALED_DISK, &disk, &ignored) == 0;
    return meta;
}

const struct backup_meta_disk *
backup_meta_disk(const struct backup_meta *m, const char *target)
{
    for (size_t i = 0; i < m->n_disks; i++)
        if (strcmp(m->disks[i].target, target) == 0)
            return &m->disks[i];
    return NULL;
}
