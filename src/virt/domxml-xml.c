/* SPDX-License-Identifier: Apache-2.0 */
#include "virt/domxml-xml.h"

#include <assert.h>
#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <string.h>

#include "base/mem.h"

#define XML_SIZE_MAX (1u << 20)

DEFINE_CLEANUP(xmlFreeParserCtxt, xmlParserCtxtPtr)

/* A <!DOCTYPE begins: the only door to entities. Nobody needs it here. */
static void
refuse_dtd(void *arg, const xmlChar *name, const xmlChar *external,
           const xmlChar *system)
{
    xmlParserCtxtPtr ctxt = arg;

    xmlStopParser(ctxt);
    ctxt->wellFormed = 0;
}

xmlDocPtr
domxml_xml_read(const char *xml, struct err *err)
{
    return domxml_xml_read_as(xml, "domain", err);
}

xmlDocPtr
domxml_xml_read_as(const char *xml, const char *root, struct err *err)
{
    size_t len = strnlen(xml, XML_SIZE_MAX + 1);
    CLEANUP(xmlFreeDoc) xmlDocPtr doc = NULL;

    if (len > XML_SIZE_MAX)
        return err_set_null(err, ERR_INVALID, "domain XML: over %u bytes",
                            XML_SIZE_MAX);
    if (len == 0)
        return err_set_null(err, ERR_INVALID, "domain XML: empty");

    CLEANUP(xmlFreeParserCtxt)
    xmlParserCtxtPtr ctxt = xmlCreateMemoryParserCtxt(xml, (int)len);

    if (ctxt == NULL)
        return err_set_null(err, ERR_NO_MEMORY, "domain XML: no parser");
    (void)xmlCtxtUseOptions(ctxt, XML_PARSE_NONET | XML_PARSE_NOERROR |
                                      XML_PARSE_NOWARNING | XML_PARSE_NOBLANKS |
                                      XML_PARSE_NOCDATA);
    ctxt->sax->internalSubset = refuse_dtd;
    (void)xmlParseDocument(ctxt);
    doc = ctxt->myDoc;
    ctxt->myDoc = NULL;
    if (!ctxt->wellFormed || doc == NULL) {
        const char *why = ctxt->lastError.message;
        size_t n = why == NULL ? 0 : strcspn(why, "\n");

        return err_set_null(err, ERR_INVALID, "domain XML: line %d: %.*s",
                            ctxt->lastError.line, (int)n, n == 0 ? "" : why);
    }
    if (!domxml_xml_is(xmlDocGetRootElement(doc), root))
        return err_set_null(err, ERR_INVALID,
                            "domain XML: the root is not <%s>", root);
    return TAKE(doc);
}

char *
domxml_xml_print(xmlDocPtr doc)
{
    xmlBufferPtr buf = xmlBufferCreate();
    char *text;

    if (buf == NULL ||
        xmlNodeDump(buf, doc, xmlDocGetRootElement(doc), 0, 1) < 0)
        abort(); /* out of memory: see base/mem.h */
    text = xasprintf("%s\n", (const char *)xmlBufferContent(buf));
    xmlBufferFree(buf);
    return text;
}

bool
domxml_xml_is(const xmlNode *node, const char *name)
{
    return node != NULL && node->type == XML_ELEMENT_NODE && node->ns == NULL &&
           xmlStrEqual(node->name, domxml_xml_str(name));
}

static xmlNode *
first_named(xmlNode *node, const char *name)
{
    while (node != NULL && !domxml_xml_is(node, name))
        node = node->next;
    return node;
}

xmlNode *
domxml_xml_child(const xmlNode *node, const char *name)
{
    return node == NULL ? NULL : first_named(node->children, name);
}

xmlNode *
domxml_xml_next(const xmlNode *node, const char *name)
{
    return node == NULL ? NULL : first_named(node->next, name);
}

xmlNode *
domxml_xml_at(const xmlNode *node, const char *path)
{
    const char *slash = strchr(path, '/');
    char first[32];

    if (slash == NULL)
        return domxml_xml_child(node, path);
    assert((size_t)(slash - path) < sizeof first);
    memcpy(first, path, (size_t)(slash - path));
    first[slash - path] = 0;
    return domxml_xml_at(domxml_xml_child(node, first), slash + 1);
}

static char *
take_xml_string(xmlChar *s)
{
    char *copy = xstrdup((const char *)s);

    xmlFree(s);
    return copy;
}

char *
domxml_xml_attr(const xmlNode *node, const char *name)
{
    return node == NULL
               ? NULL
               : take_xml_string(xmlGetNoNsProp(node, domxml_xml_str(name)));
}

char *
domxml_xml_text(const xmlNode *node)
{
    return node == NULL ? NULL : take_xml_string(xmlNodeGetContent(node));
}

bool
domxml_xml_attr_is(const xmlNode *node, const char *name, const char *value)
{
    CLEANUP(mem_free) char *is = domxml_xml_attr(node, name);

    return is != NULL && strcmp(is, value) == 0;
}

void
domxml_xml_set(xmlNode *node, const char *attr, const char *value)
{
    if (xmlSetProp(node, domxml_xml_str(attr), domxml_xml_str(value)) == NULL)
        abort();
}

void
domxml_xml_set_text(xmlNode *node, const char *text)
{
    xmlNode *old;

    while ((old = node->children) != NULL)
        domxml_xml_remove(old);
    if (text[0] != 0)
        xmlNodeAddContent(node, domxml_xml_str(text));
}

xmlNode *
domxml_xml_add(xmlNode *parent, const char *name, const char *text)
{
    xmlNode *node = xmlNewTextChild(parent, NULL, domxml_xml_str(name),
                                    domxml_xml_str(text));

    if (node == NULL)
        abort();
    return node;
}

void
domxml_xml_remove(xmlNode *node)
{
    xmlUnlinkNode(node);
    xmlFreeNode(node);
}
