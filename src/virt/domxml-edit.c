/* SPDX-License-Identifier: Apache-2.0 */
/* Changing a domain's XML in a few places and leaving the rest as it was.
 *
 * A secret has a slot: an attribute or the text of an element, found by a walk
 * over the whole document. A password of a graphics device is removed, as
 * libvirt does when it is not asked for secrets; other slots are emptied.
 */
#include <string.h>

#include "base/mem.h"
#include "virt/domxml-xml.h"
#include "virt/domxml.h"

/* `attr` NULL: the text of the element. */
static const struct slot {
    const char *parent, *element, *attr;
} slots[] = {
    { "devices", "graphics", "passwd" }, /* VNC, SPICE */
    { "commandline", "arg", "value" },   /* qemu:commandline */
    { "commandline", "env", "value" },
    { "cookies", "cookie", NULL },   /* https disks */
    { "sysinfo", "entry", NULL },    /* fw_cfg: ignition, cloud-init */
    { "oemStrings", "entry", NULL }, /* cloud-init */
    { "launchSecurity", "session", NULL },
    { "launchSecurity", "dhCert", NULL },
};

static void
clear(xmlNode *node, const struct slot *slot)
{
    if (slot->attr == NULL)
        domxml_xml_set_text(node, "");
    else if (strcmp(slot->attr, "passwd") == 0)
        (void)xmlUnsetNsProp(node, NULL, domxml_xml_str(slot->attr));
    else
        domxml_xml_set(node, slot->attr, "");
}

static void
redact_slot(xmlNode *node, const struct slot *slot)
{
    char *value = slot->attr == NULL ? domxml_xml_text(node)
                                     : domxml_xml_attr(node, slot->attr);

    if (value != NULL && value[0] != 0) {
        mem_wipe(value, strlen(value));
        clear(node, slot);
    }
    free(value);
}

static const struct slot *
slot_of(const xmlNode *node)
{
    const xmlNode *parent = node->parent;

    for (size_t i = 0; i < ARRAY_SIZE(slots); i++)
        if (xmlStrEqual(node->name, domxml_xml_str(slots[i].element)) &&
            parent->type == XML_ELEMENT_NODE &&
            xmlStrEqual(parent->name, domxml_xml_str(slots[i].parent)))
            return &slots[i];
    return NULL;
}

/* The next element in document order below `root`; NULL: none left. */
static xmlNode *
next_element(const xmlNode *root, xmlNode *node)
{
    do {
        if (node->children != NULL && node->type == XML_ELEMENT_NODE) {
            node = node->children;
            continue;
        }
        while (node != root && node->next == NULL)
            node = node->parent;
        if (node == root)
            return NULL;
        node = node->next;
    } while (node->type != XML_ELEMENT_NODE);
    return node;
}

int
domxml_redact(const char *xml, char **ret_xml, struct err *err)
{
    CLEANUP(xmlFreeDoc) xmlDocPtr doc = domxml_xml_read(xml, err);
    xmlNode *root;

    if (doc == NULL)
        return -1;
    root = xmlDocGetRootElement(doc);
    for (xmlNode *n = root; n != NULL; n = next_element(root, n)) {
        const struct slot *slot = slot_of(n);

        if (slot != NULL)
            redact_slot(n, slot);
    }
    *ret_xml = domxml_xml_print(doc);
    return 0;
}

static xmlNode *
find_disk(const xmlNode *root, const char *target)
{
    xmlNode *n = domxml_xml_at(root, "devices/disk");

    for (; n != NULL; n = domxml_xml_next(n, "disk"))
        if (domxml_xml_attr_is(domxml_xml_child(n, "target"), "dev", target))
            return n;
    return NULL;
}

static void
remove_children(xmlNode *node, const char *name)
{
    xmlNode *child;

    while ((child = domxml_xml_child(node, name)) != NULL)
        domxml_xml_remove(child);
}

static void
retarget_disk(xmlNode *disk, const struct domxml_source *to)
{
    xmlNode *driver = domxml_xml_child(disk, "driver");
    xmlNode *old = domxml_xml_child(disk, "source");
    xmlNode *label = domxml_xml_child(old, "seclabel");
    xmlNode *source =
        xmlNewDocNode(disk->doc, NULL, domxml_xml_str("source"), NULL);

    if (source == NULL)
        abort();
    domxml_xml_set(disk, "type", "file");
    domxml_xml_set(source, "file", to->path);
    if (label != NULL) {
        xmlUnlinkNode(label);
        (void)xmlAddChild(source, label);
    }
    if (old != NULL) {
        (void)xmlReplaceNode(old, source);
        xmlFreeNode(old);
    } else {
        (void)xmlAddPrevSibling(domxml_xml_child(disk, "target"), source);
    }
    remove_children(disk, "backingStore");
    remove_children(disk, "mirror");
    if (driver == NULL) {
        driver = xmlNewDocNode(disk->doc, NULL, domxml_xml_str("driver"), NULL);
        if (driver == NULL || xmlAddPrevSibling(source, driver) == NULL)
            abort();
        domxml_xml_set(driver, "name", "qemu");
    }
    domxml_xml_set(driver, "type", to->format);
}

int
domxml_retarget(const char *xml, const struct domxml_source *sources, size_t n,
                char **ret_xml, struct err *err)
{
    CLEANUP(xmlFreeDoc) xmlDocPtr doc = domxml_xml_read(xml, err);

    if (doc == NULL)
        return -1;
    for (size_t i = 0; i < n; i++) {
        xmlNode *disk = find_disk(xmlDocGetRootElement(doc), sources[i].target);

        if (disk == NULL)
            return err_set(err, ERR_NOT_FOUND,
                           "domain XML: there is no disk %s",
                           sources[i].target);
        retarget_disk(disk, &sources[i]);
    }
    *ret_xml = domxml_xml_print(doc);
    return 0;
}

int
domxml_rename(const char *xml, const char *name, char **ret_xml,
              struct err *err)
{
    CLEANUP(xmlFreeDoc) xmlDocPtr doc = domxml_xml_read(xml, err);
    xmlNode *node;

    if (doc == NULL)
        return -1;
    node = domxml_xml_child(xmlDocGetRootElement(doc), "name");
    if (node == NULL)
        return err_set(err, ERR_INVALID, "domain XML: it has no name");
    domxml_xml_set_text(node, name);
    *ret_xml = domxml_xml_print(doc);
    return 0;
}
