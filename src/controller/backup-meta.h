/* SPDX-License-Identifier: Apache-2.0 */
/* controller/backup-meta.h: what a backup says about itself: the metadata blob
 * of a repository backup.
 *
 * Everything that a restore on a host that never saw the VM needs besides the
 * disks' bytes. JSON text, docs/formats/backup-metadata.md, version 1.
 * Threads: pure functions; a struct backup_meta is one thread's at a time.
 * source  DESIGN 6 step 5; spec harvester 1.1, 2.5
 */
#pragma once
#include <stdint.h>

#include "base/err.h"
#include "codec/jsonx.h"
#include "repo/repo.h"

#define BACKUP_META_VERSION   1
#define BACKUP_META_DISKS_MAX 64
#define BACKUP_META_FILES_MAX 64
#define BACKUP_SEALED_DISK    "domain:secrets" /* backup-sealed.h */

/* How the bytes of a disk were found. */
enum backup_meta_tracking {
    BACKUP_META_FULL,        /* everything: there was no parent */
    BACKUP_META_INCREMENTAL, /* what the bitmaps said */
    BACKUP_META_RESCAN,      /* everything, compared with the parent */
};

enum backup_meta_consistency {
    BACKUP_META_CRASH,    /* as after a power cut */
    BACKUP_META_QUIESCED, /* file systems frozen, by freeze and thaw */
    BACKUP_META_OFFLINE,  /* the VM was off */
};

/* One disk of the VM; its bytes are the repository's disk `target`. */
struct backup_meta_disk {
    char *target;  /* "vda": also the volume's name and the repository disk */
    char *claim;   /* the PersistentVolumeClaim's name; NULL: none */
    char *format;  /* of the file it came from: "qcow2" or "raw" */
    char *bus;     /* "virtio"; NULL: not said */
    uint64_t size; /* bytes, as the guest saw it at the cut */
    enum backup_meta_tracking tracking;
};

/* A file of the firmware: NVRAM or a file of the TPM's directory. */
struct backup_meta_file {
    char *repo_disk; /* "nvram", "tpm:0" */
    char *path;      /* "nvram", or relative: "tpm/tpm2/tpm2-00.permall" */
    uint64_t size;   /* bytes */
};

struct backup_meta {
    /* The VirtualMachineBackup that it was made for. */
    char *ns, *name, *uid;
    json_t *labels, *annotations; /* objects; NULL: none */
    json_t *spec;                 /* its spec: source, type, fsFreezeDeadline */
    /* The VM. */
    char *vm_uuid;
    json_t *source;         /* status.source: {metadata, spec} */
    json_t *volume_backups; /* status.volumeBackups, an array */
    json_t *secret_names;   /* names of secrets that it refers to; NULL: none */
    char *domain_xml;       /* redacted unless has_secrets */
    bool has_secrets;       /* domain_xml carries its passwords */
    bool has_sealed;        /* they are in BACKUP_SEALED_DISK; not encoded */
    char *host_mark;        /* secrets_mark() of domain_xml by the host that
                             * wrote it; NULL: none */
    struct backup_meta_disk *disks;
    size_t n_disks;
    json_t *excluded; /* [{volume, reason}]; NULL: none */
    struct backup_meta_file *files;
    size_t n_files;
    /* The cut. */
    enum backup_meta_consistency consistency;
    int64_t cut_s; /* the instant, s since 1970 */
    uint64_t frozen_ms;
    char *host; /* status.nodeName of the VM */
};

/* The text; the caller's to free(). errors  INVALID (over REPO_METADATA_MAX) */
int backup_meta_encode(const struct backup_meta *meta, char **ret_text,
                       size_t *ret_len, struct err *err) NODISCARD;
/* errors  INVALID (not this format, or beyond its bounds); UNSUPPORTED (a newer
 *         version) */
struct backup_meta *backup_meta_decode(const void *data, size_t len,
                                       struct err *err) NODISCARD;
/* Read and decode the metadata of a backup in a repository. */
struct backup_meta *backup_meta_read(struct repo_view *view, struct err *err)
    NODISCARD;
void backup_meta_free(struct backup_meta *meta); /* NULL is fine */
DEFINE_CLEANUP(backup_meta_free, struct backup_meta *)

/* NULL: not in this backup. Borrowed. */
const struct backup_meta_disk *backup_meta_disk(const struct backup_meta *meta,
                                                const char *target);
/* The claim's size or name may differ later; the words for the API. */
const char *backup_meta_tracking_name(enum backup_meta_tracking t);
const char *backup_meta_consistency_name(enum backup_meta_consistency c);
