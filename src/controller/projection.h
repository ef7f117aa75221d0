/* SPDX-License-Identifier: Apache-2.0 */
/* controller/projection.h: what a libvirt domain looks like as objects.
 *
 * Pure: from what virt/ and volume/ say to the content of VirtualMachine,
 * VirtualMachineInstance and PersistentVolumeClaim. controller/project.c
 * observes and writes. Each function changes an object in place (a new one
 * has its name already) and leaves what users and other controllers own:
 * labels, annotations, finalizers, runStrategy, snapshotInProgress ...; an
 * object that says the same already is left equal.
 * Threads: pure functions.
 * source  DESIGN 4; spec kubevirt 1.5, 9.4
 */
#pragma once
#include "codec/jsonx.h"
#include "virt/virt.h"

/* What is known of one disk besides the XML. */
struct projection_disk {
    const struct domxml_disk *xml; /* live if the domain runs */
    uint64_t size;                 /* virtual, bytes; 0: not known */
    bool is_missing;               /* its file is not there */
    const char *refusal; /* why it cannot be snapshotted; NULL: it can */
};

struct projection {
    const struct virt_vm *vm;
    const char *ns, *name; /* of the VM object */
    const char *node;
    const struct projection_disk *disks;
    size_t n_disks;
    const json_t *vm_object; /* for the VMI and claims: the VM as stored */
};

/* A disk that has a claim: a file or block device that is a disk. */
bool projection_has_claim(const struct domxml_disk *disk);

void projection_vm(json_t *object, const struct projection *p);
/* May a domain's metadata name this namespace? */
bool projection_is_namespace(const char *ns);
/* The condition of a VM whose domain names a namespace that it is not in: it
 * cannot be one, or it was said when the VM had its place already. */
#define PROJECTION_NAMESPACE "NamespaceAccepted"
void projection_vmi(json_t *object, const struct projection *p);

/* The domain is gone, or not reachable: what is said of it now.
 * `status`: "Undefined" or "Unknown". */
void projection_vm_absent(json_t *object, const char *status,
                          const char *message);

struct projection_claim {
    const char *vm, *volume;
    const char *path, *format;
    uint64_t size; /* virtual; 0: not known */
    bool is_block, is_missing, is_detached;
};
void projection_claim(json_t *object, const struct projection_claim *c);

/* The claim of volume `volume` in this VM object; NULL: it has none.
 * Borrowed. */
const char *projection_claim_of(const json_t *vm_object, const char *volume);
/* "<vm>-<volume>", at most 253 letters. Caller frees. */
char *projection_claim_name(const char *vm, const char *volume) NODISCARD;

#define PROJECTION_NAME_SIZE 64
/* The domain's name where it is a DNS-1123 label, else what of it can be one;
 * with `uuid` (not NULL) five digits of it at the end. */
void projection_name(const char *domain, const char *uuid,
                     char ret_name[PROJECTION_NAME_SIZE]);

/* Bytes as Kubernetes writes them: "10Gi", "512Mi", "1500". */
char *projection_quantity(uint64_t bytes) NODISCARD;
