/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints, of which libvirt is made to forget.
 *
 * Everything that keeps a bitmap right goes by the bitmaps that QEMU has, not
 * by libvirt's notes: a snapshot without metadata gives the overlay recording
 * bitmaps of the same names, a commit merges them down. The note is only
 * wanted to let libvirt remove a bitmap, which it does in all files of a
 * running chain: then it is written anew ("redefine") for one disk and deleted
 * the ordinary way. One disk at a time, because a bitmap that is missing or
 * broken on one of them makes libvirt refuse the whole.
 */
#include <string.h>

#include "base/mem.h"
#include "virt/checkpoint.h"
#include "virt/domxml-xml.h"
#include "virt/virt-priv.h"

static inline void
checkpoint_unref_p(virDomainCheckpointPtr *cp)
{
    if (*cp != NULL)
        (void)virDomainCheckpointFree(*cp);
}

/* Disks that are not named take no part. */
static char *
checkpoint_xml(const char *name, const char *const *targets, size_t n,
               bool is_redefined)
{
    CLEANUP(xmlFreeDoc) xmlDocPtr doc = xmlNewDoc(NULL);
    xmlNode *root =
        xmlNewDocNode(doc, NULL, domxml_xml_str("domaincheckpoint"), NULL);
    xmlNode *disks;

    if (root == NULL)
        abort();
    (void)xmlDocSetRootElement(doc, root);
    (void)domxml_xml_add(root, "name", name);
    if (is_redefined) /* required then, and nothing to us */
        (void)domxml_xml_add(root, "creationTime", "1");
    disks = domxml_xml_add(root, "disks", NULL);
    for (size_t i = 0; i < n; i++) {
        xmlNode *disk = domxml_xml_add(disks, "disk", NULL);

        domxml_xml_set(disk, "name", targets[i]);
        domxml_xml_set(disk, "checkpoint", "bitmap");
    }
    return domxml_xml_print(doc);
}

static int
create(virDomainPtr dom, const char *uuid, const char *xml, unsigned flags,
       struct err *err)
{
    struct effect e = effect_begin("checkpoint", uuid);
    virDomainCheckpointPtr cp = virDomainCheckpointCreateXML(dom, xml, flags);

    effect_end(&e);
    if (cp == NULL)
        return virt_error(err, "checkpoint");
    (void)virDomainCheckpointFree(cp);
    return 0;
}

int
virt_checkpoint_create(struct virt *v, const char *uuid, const char *name,
                       const char *const *targets, size_t n, struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = virt_connect_domain(v, uuid, err);
    CLEANUP(mem_free) char *xml = NULL;

    if (dom == NULL)
        return -1;
    if (n == 0) /* libvirt would take them all */
        return err_set(err, ERR_INVALID, "domain %s: checkpoint %s: no disk",
                       uuid, name);
    xml = checkpoint_xml(name, targets, n, false);
    if (create(dom, uuid, xml, 0, err) < 0)
        return err_wrap(err, "domain %s: %s", uuid, name);
    return 0;
}

/* By the list: looking up one that is not there is an error in libvirtd's log.
 * NULL in *ret: none. */
static int
find(virDomainPtr dom, const char *name, virDomainCheckpointPtr *ret,
     struct err *err)
{
    virDomainCheckpointPtr *all = NULL;
    int n = virDomainListAllCheckpoints(dom, &all, 0);

    *ret = NULL;
    if (n < 0)
        return virt_error(err, "list");
    for (int i = 0; i < n; i++) {
        const char *is = virDomainCheckpointGetName(all[i]);

        if (*ret == NULL && is != NULL && strcmp(is, name) == 0)
            *ret = all[i];
        else
            (void)virDomainCheckpointFree(all[i]);
    }
    free(all);
    return 0;
}

/* 1: there was one, 0: there was none. */
static int
drop(virDomainPtr dom, const char *name, unsigned flags, struct err *err)
{
    CLEANUP(checkpoint_unref) virDomainCheckpointPtr cp = NULL;
    int rc;

    if (find(dom, name, &cp, err) < 0)
        return -1;
    if (cp == NULL)
        return 0;
    struct effect e = effect_begin("checkpoint-delete", name);

    rc = virDomainCheckpointDelete(cp, flags);
    effect_end(&e);
    return rc < 0 ? virt_error(err, "delete") : 1;
}

int
virt_checkpoint_forget(struct virt *v, const char *uuid, const char *name,
                       struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = virt_connect_domain(v, uuid, err);

    if (dom == NULL)
        return -1;
    if (drop(dom, name, VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY, err) < 0)
        return err_wrap(err, "domain %s: checkpoint %s", uuid, name);
    return 0;
}

/* The bitmap of one disk. *ret_is_left: libvirt could not find or use it. */
static int
delete_disk(virDomainPtr dom, const char *uuid, const char *name,
            const char *target, bool *ret_is_left, struct err *err)
{
    CLEANUP(mem_free) char *xml = checkpoint_xml(name, &target, 1, true);
    struct err why;

    *ret_is_left = false;
    if (create(dom, uuid, xml, VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE, err) < 0)
        return -1;
    if (drop(dom, name, 0, &why) >= 0)
        return 0;
    if (drop(dom, name, VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY, err) < 0)
        return -1;
    if (why.code == ERR_UNAVAILABLE || why.code == ERR_TIMEOUT) {
        *err = why;
        return -1;
    }
    *ret_is_left = true;
    return 0;
}

int
virt_checkpoint_delete(struct virt *v, const char *uuid, const char *name,
                       const char *const *targets, size_t n, size_t *ret_left,
                       struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = virt_connect_domain(v, uuid, err);
    size_t left = 0;

    if (dom == NULL)
        return -1;
    if (virDomainIsActive(dom) == 0)
        return err_set(err, ERR_CONFLICT, "domain %s: it is not running", uuid);
    if (drop(dom, name, VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY, err) < 0)
        return err_wrap(err, "domain %s: checkpoint %s", uuid, name);
    for (size_t i = 0; i < n; i++) {
        bool is_left;

        if (delete_disk(dom, uuid, name, targets[i], &is_left, err) < 0)
            return err_wrap(err, "domain %s: checkpoint %s: disk %s", uuid,
                            name, targets[i]);
        left += is_left;
    }
    if (ret_left != NULL)
        *ret_left = left;
    return 0;
}

int
virt_checkpoint_list(struct virt *v, const char *uuid, const char *prefix,
                     char ***ret_names, size_t *ret_n, struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = virt_connect_domain(v, uuid, err);
    virDomainCheckpointPtr *all = NULL;
    char **names = NULL;
    size_t n = 0;
    int count;

    if (dom == NULL)
        return -1;
    count = virDomainListAllCheckpoints(dom, &all, 0);
    if (count < 0)
        return virt_error(err, "domain %s: checkpoints", uuid);
    for (int i = 0; i < count; i++) {
        const char *name = virDomainCheckpointGetName(all[i]);

        if (name != NULL && strncmp(name, prefix, strlen(prefix)) == 0) {
            names = xrealloc(names, n + 1, sizeof *names);
            names[n++] = xstrdup(name);
        }
        (void)virDomainCheckpointFree(all[i]);
    }
    free(all);
    *ret_names = names;
    *ret_n = n;
    return 0;
}
