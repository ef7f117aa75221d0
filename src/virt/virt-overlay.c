/* SPDX-License-Identifier: Apache-2.0 */
/* The cut: one libvirt call that gives every disk a new overlay.
 *
 * VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC makes QEMU switch all disks in one
 * transaction; NO_METADATA keeps libvirt from remembering a snapshot, so it is
 * none for virsh. Disks that are not named must be named as snapshot='no', or
 * libvirt would choose for itself. REUSE_EXT: the files are there. libvirt
 * would make them in the call, by jobs of QEMU, two for each disk, while a
 * frozen guest waits. It still adds to them the bitmaps that record.
 */
#include <sys/stat.h>

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "virt/block.h"
#include "virt/domxml-xml.h"
#include "virt/virt-priv.h"

static const struct virt_overlay *
overlay_of(const struct virt_overlay *overlays, size_t n, const char *target)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(overlays[i].target, target) == 0)
            return &overlays[i];
    return NULL;
}

static void
add_disk(xmlNode *disks, const char *target, const struct virt_overlay *overlay)
{
    xmlNode *disk = domxml_xml_add(disks, "disk", NULL);

    domxml_xml_set(disk, "name", target);
    domxml_xml_set(disk, "snapshot", overlay == NULL ? "no" : "external");
    if (overlay == NULL)
        return;
    domxml_xml_set(disk, "type", "file");
    domxml_xml_set(domxml_xml_add(disk, "driver", NULL), "type", "qcow2");
    domxml_xml_set(domxml_xml_add(disk, "source", NULL), "file", overlay->path);
}

static char *
snapshot_xml(const struct domxml *live, const struct virt_overlay *overlays,
             size_t n)
{
    CLEANUP(xmlFreeDoc) xmlDocPtr doc = xmlNewDoc(NULL);
    xmlNode *root =
        xmlNewDocNode(doc, NULL, domxml_xml_str("domainsnapshot"), NULL);
    xmlNode *disks;

    if (root == NULL)
        abort();
    (void)xmlDocSetRootElement(doc, root);
    disks = domxml_xml_add(root, "disks", NULL);
    for (size_t i = 0; i < live->n_disks; i++)
        if (live->disks[i].target != NULL)
            add_disk(disks, live->disks[i].target,
                     overlay_of(overlays, n, live->disks[i].target));
    return domxml_xml_print(doc);
}

static int
check_request(const struct domxml *live, const struct virt_overlay *overlays,
              size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        struct stat st;

        if (domxml_disk(live, overlays[i].target) == NULL)
            return err_set(err, ERR_NOT_FOUND, "there is no disk %s",
                           overlays[i].target);
        if (lstat(overlays[i].path, &st) < 0)
            return err_sys(err, errno, "disk %s: %s", overlays[i].target,
                           overlays[i].path);
    }
    return 0;
}

int
virt_overlay_request(const struct domxml *live,
                     const struct virt_overlay *overlays, size_t n,
                     char **ret_request, struct err *err)
{
    if (check_request(live, overlays, n, err) < 0)
        return -1;
    *ret_request = snapshot_xml(live, overlays, n);
    return 0;
}

static int
create(virDomainPtr dom, const char *uuid, const char *xml, struct err *err)
{
    struct effect e = effect_begin("snapshot", uuid);
    virDomainSnapshotPtr snapshot =
        virDomainSnapshotCreateXML(dom, xml,
                                   VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY |
                                       VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC |
                                       VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT |
                                       VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA);

    effect_end(&e);
    if (snapshot == NULL)
        return virt_error(err, "new overlays");
    (void)virDomainSnapshotFree(snapshot);
    return 0;
}

int
virt_overlay_switch(struct virt *v, const char *uuid, const char *request,
                    struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = virt_connect_kept(v, uuid);

    if (dom == NULL) {
        dom = virt_connect_domain(v, uuid, err);
        if (dom == NULL)
            return -1;
        if (virDomainIsActive(dom) == 0)
            return err_set(err, ERR_CONFLICT, "domain %s: it is not running",
                           uuid);
    }
    if (create(dom, uuid, request, err) < 0)
        return err_wrap(err, "domain %s", uuid);
    return 0;
}
