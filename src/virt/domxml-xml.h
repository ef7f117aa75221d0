/* SPDX-License-Identifier: Apache-2.0 */
/* virt/domxml-xml.h: the little that domxml-*.c need of libxml2.
 *
 * For the domxml files only; everybody else sees virt/domxml.h.
 */
#pragma once
#include <libxml/tree.h>

#include "base/err.h"
#include "base/macros.h"

DEFINE_CLEANUP(xmlFreeDoc, xmlDocPtr)

/* A document whose root is <domain>. Refused: over 1 MiB, any DTD (so no
 * entity is ever declared), nesting over libxml2's 256. INVALID. */
xmlDocPtr domxml_xml_read(const char *xml, struct err *err) NODISCARD;
/* The same of another root. */
xmlDocPtr domxml_xml_read_as(const char *xml, const char *root, struct err *err)
    NODISCARD;
/* The root element and what is in it, as text with an XML head left out. */
char *domxml_xml_print(xmlDocPtr doc) NODISCARD;

bool domxml_xml_is(const xmlNode *node, const char *name); /* no namespace */
/* First child, next sibling of this name; NULL: none. `node` may be NULL. */
xmlNode *domxml_xml_child(const xmlNode *node, const char *name);
xmlNode *domxml_xml_next(const xmlNode *node, const char *name);
/* Child of child: "os/type". */
xmlNode *domxml_xml_at(const xmlNode *node, const char *path);
/* Copies, the caller's to free; NULL: not there. `node` may be NULL. */
char *domxml_xml_attr(const xmlNode *node, const char *name) NODISCARD;
char *domxml_xml_text(const xmlNode *node) NODISCARD;
bool domxml_xml_attr_is(const xmlNode *node, const char *name,
                        const char *value);

void domxml_xml_set(xmlNode *node, const char *attr, const char *value);
void domxml_xml_set_text(xmlNode *node, const char *text);
xmlNode *domxml_xml_add(xmlNode *parent, const char *name, const char *text);
void domxml_xml_remove(xmlNode *node);

static inline const xmlChar *
domxml_xml_str(const char *s)
{
    return (const xmlChar *)s;
}
