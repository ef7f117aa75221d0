/* SPDX-License-Identifier: Apache-2.0 */
/* virt/domxml.h: domain XML as the rest of the program sees it.
 *
 * Read and written by libxml2 only: no string is ever pasted into XML.
 * Input is bounded (1 MiB), entities and network access are off.
 * Threads: pure functions; a struct domxml is one thread's at a time.
 * source  https://libvirt.org/formatdomain.html (libvirt 9.0)
 */
#pragma once
#include <stdint.h>

#include "base/err.h"
#include "codec/jsonx.h"

/* <metadata><vmkeep:namespace xmlns:vmkeep="...">prod</vmkeep:namespace> */
#define DOMXML_NS_URI "https://vmkeep.io/xmlns/domain/1.0"

enum domxml_disk_kind {
    DOMXML_DISK_FILE,
    DOMXML_DISK_BLOCK,
    DOMXML_DISK_VOLUME, /* pool and volume; virt/ finds out the path */
    DOMXML_DISK_NETWORK,
    DOMXML_DISK_OTHER, /* vhostuser, nvme, vhostvdpa, dir; or a backing file
                          that is neither file nor block device */
};

struct domxml_file {
    char *path;
    char *format; /* "qcow2", "raw"; NULL: not said */
};

struct domxml_disk {
    char *target; /* "vda": the volume's name; NULL in odd XML */
    char *bus;
    char *device; /* disk, cdrom, floppy, lun */
    enum domxml_disk_kind kind;
    struct domxml_file *chain; /* [0] the top, then its backing files */
    size_t chain_len;          /* 0: no medium, or no file */
    char *pool, *volume;       /* DOMXML_DISK_VOLUME */
    char *driver_format;       /* <driver type>; NULL: not said */
    char *serial;
    char *mirror; /* what a block job writes to as well; NULL: none */
    bool is_readonly, is_shareable, is_encrypted, is_transient;
};

struct domxml_nic {
    char *mac, *model, *type, *source;
};

struct domxml {
    char *name, *uuid, *title, *description;
    char *ns; /* <metadata><vmkeep:namespace>; NULL: default */
    char *machine, *arch, *emulator, *cpu_model;
    uint64_t memory_kib;
    unsigned vcpus, cores, threads, sockets;
    struct domxml_disk *disks;
    size_t n_disks;
    struct domxml_nic *nics;
    size_t n_nics;
    char *loader, *nvram; /* UEFI; nvram is the VM's own file */
    bool has_tpm_emulator;
    bool has_agent_channel;
    bool is_agent_connected; /* in live XML only */
};

void domxml_free(struct domxml *d);
DEFINE_CLEANUP(domxml_free, struct domxml *)

/* errors  INVALID (not XML, not a domain, too large) */
struct domxml *domxml_parse(const char *xml, struct err *err) NODISCARD;
/* The path of a volume in a storage pool, the caller's; NULL: not known. */
typedef char *(*domxml_volume_fn)(void *arg, const char *pool,
                                  const char *volume, bool *ret_is_block);
/* The same, and volumes have paths: a disk whose volume is a block device is
 * of kind BLOCK; one whose volume nobody knows has an empty chain. */
struct domxml *domxml_parse_with(const char *xml, domxml_volume_fn find,
                                 void *arg, struct err *err) NODISCARD;
const struct domxml_disk *domxml_disk(const struct domxml *d,
                                      const char *target); /* or NULL */

/* The XML without passwords and other secrets; the caller's. */
int domxml_redact(const char *xml, char **ret_xml, struct err *err) NODISCARD;

struct domxml_source {
    const char *target;
    const char *path;
    const char *format;
};

/* The XML with the sources of the given disks replaced (type file, no
 * backingStore) and everything else as it was: for redefinition of a domain
 * by what libvirt itself gave us. */
int domxml_retarget(const char *xml, const struct domxml_source *sources,
                    size_t n, char **ret_xml, struct err *err) NODISCARD;

/* The XML under another name: for a domain that was renamed since. */
int domxml_rename(const char *xml, const char *name, char **ret_xml,
                  struct err *err) NODISCARD;

struct domxml_rebuild {
    const char *name, *uuid;           /* NULL: as in the XML */
    const char *ns;                    /* metadata namespace; NULL: none */
    const char *emulator, *machine;    /* of this host; NULL: dropped / kept */
    const char *nvram;                 /* its new file; NULL: none */
    const struct domxml_source *disks; /* disks not named here are left out */
    size_t n_disks;
    const char *const *macs; /* one per NIC of the XML, NULL: keep it;
                                macs NULL: keep all */
    bool keep_identity;      /* uuid, SMBIOS (sysinfo), WWNs are kept; else a
                                uuid of NULL becomes a random one */
    bool keep_kernel;        /* <kernel>, <initrd>, <cmdline> stay: only for
                                XML that this host's libvirt gave us, because
                                the guest can read those files */
    uint64_t memory_kib;     /* 0: as in the XML */
    unsigned vcpus;          /* 0: as in the XML */
    const char *serial;      /* of the machine (SMBIOS); NULL: as kept */
};

/* Foreign XML is code that libvirt runs as root: build a new domain from an
 * allow-list. What is not on the list is dropped and named, one line each, in
 * *ret_dropped; not named is what something of ours takes the place of. Paths
 * of disks, NVRAM, TPM, logs and sockets are ours. */
int domxml_rebuild(const char *xml, const struct domxml_rebuild *how,
                   char **ret_xml, char **ret_dropped, struct err *err)
    NODISCARD;
