/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a domain: from the document to struct domxml.
 *
 * What this program does not know it does not see; what it cannot protect it
 * must see and name: so a disk of an unknown type, or with an unknown kind of
 * backing file, becomes DOMXML_DISK_OTHER and never looks like a plain file.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "virt/domxml-xml.h"
#include "virt/domxml.h"

#define CHAIN_MAX 256 /* deeper nesting libxml2 does not read */

static unsigned
number(const char *s)
{
    unsigned long n = s == NULL ? 0 : strtoul(s, NULL, 10);

    return n > 1000000 ? 0 : (unsigned)n;
}

static unsigned
number_attr(const xmlNode *node, const char *name)
{
    CLEANUP(mem_free) char *s = domxml_xml_attr(node, name);

    return number(s);
}

/* source  formatdomain.html, "Memory Allocation": KiB unless said */
static uint64_t
memory_kib(const xmlNode *node)
{
    static const struct {
        const char *unit;
        uint64_t bytes;
    } units[] = {
        { "b", 1 },          { "bytes", 1 },        { "KB", 1000 },
        { "k", 1024 },       { "KiB", 1024 },       { "MB", 1000000 },
        { "M", 1u << 20 },   { "MiB", 1u << 20 },   { "GB", 1000000000 },
        { "G", 1u << 30 },   { "GiB", 1u << 30 },   { "TB", 1000000000000 },
        { "T", 1ull << 40 }, { "TiB", 1ull << 40 },
    };
    CLEANUP(mem_free) char *text = domxml_xml_text(node);
    CLEANUP(mem_free) char *unit = domxml_xml_attr(node, "unit");
    uint64_t n = text == NULL ? 0 : strtoull(text, NULL, 10), bytes = 1024;

    for (size_t i = 0; unit != NULL && i < ARRAY_SIZE(units); i++)
        if (strcmp(unit, units[i].unit) == 0)
            bytes = units[i].bytes;
    if (n > UINT64_MAX / bytes)
        return 0;
    return n * bytes / 1024;
}

static enum domxml_disk_kind
kind_of(const char *type)
{
    if (type == NULL || strcmp(type, "file") == 0)
        return DOMXML_DISK_FILE;
    if (strcmp(type, "block") == 0)
        return DOMXML_DISK_BLOCK;
    if (strcmp(type, "volume") == 0)
        return DOMXML_DISK_VOLUME;
    if (strcmp(type, "network") == 0)
        return DOMXML_DISK_NETWORK;
    return DOMXML_DISK_OTHER;
}

static const char *
path_attr(enum domxml_disk_kind kind)
{
    return kind == DOMXML_DISK_BLOCK ? "dev" : "file";
}

/* Who knows where volumes are. */
struct finder {
    domxml_volume_fn find; /* NULL: nobody */
    void *arg;
};

/* The path of a source; a block device's volume makes *kind BLOCK. */
static char *
path_of(const xmlNode *source, enum domxml_disk_kind *kind,
        const struct finder *finder)
{
    CLEANUP(mem_free) char *pool = NULL;
    CLEANUP(mem_free) char *volume = NULL;
    bool is_block = false;
    char *path;

    if (*kind != DOMXML_DISK_VOLUME)
        return domxml_xml_attr(source, path_attr(*kind));
    pool = domxml_xml_attr(source, "pool");
    volume = domxml_xml_attr(source, "volume");
    if (pool == NULL || volume == NULL || finder->find == NULL)
        return NULL;
    path = finder->find(finder->arg, pool, volume, &is_block);
    if (path != NULL && is_block)
        *kind = DOMXML_DISK_BLOCK;
    return path;
}

/* `path` and `format` are taken; a path of NULL adds nothing. */
static void
add_to_chain(struct domxml_disk *disk, char *path, char *format)
{
    if (path == NULL) {
        free(format);
        return;
    }
    disk->chain =
        xrealloc(disk->chain, disk->chain_len + 1, sizeof *disk->chain);
    disk->chain[disk->chain_len++] =
        (struct domxml_file){ .path = path, .format = format };
}

/* <backingStore type='file'><format/><source/><backingStore>... */
static void
parse_backing(struct domxml_disk *disk, const xmlNode *node,
              const struct finder *finder)
{
    const xmlNode *store = domxml_xml_child(node, "backingStore");

    for (; store != NULL && disk->chain_len < CHAIN_MAX;
         store = domxml_xml_child(store, "backingStore")) {
        CLEANUP(mem_free) char *type = domxml_xml_attr(store, "type");
        const xmlNode *source = domxml_xml_child(store, "source");
        enum domxml_disk_kind kind = kind_of(type);
        char *path = path_of(source, &kind, finder);

        if (type == NULL && source == NULL)
            return; /* <backingStore/>: the chain ends here */
        if ((kind != DOMXML_DISK_FILE && kind != DOMXML_DISK_BLOCK &&
             kind != DOMXML_DISK_VOLUME) ||
            (kind == DOMXML_DISK_VOLUME && path == NULL)) {
            free(path);
            disk->kind = DOMXML_DISK_OTHER;
            return;
        }
        if (domxml_xml_child(source, "encryption") != NULL)
            disk->is_encrypted = true;
        add_to_chain(
            disk, path,
            domxml_xml_attr(domxml_xml_child(store, "format"), "type"));
    }
}

/* <mirror type='file' job='active-commit'><source file='...'/> */
static char *
parse_mirror(const xmlNode *node)
{
    const xmlNode *mirror = domxml_xml_child(node, "mirror");
    CLEANUP(mem_free) char *type = domxml_xml_attr(mirror, "type");

    return domxml_xml_attr(domxml_xml_child(mirror, "source"),
                           path_attr(kind_of(type)));
}

static void
parse_disk(struct domxml_disk *disk, const xmlNode *node,
           const struct finder *finder)
{
    CLEANUP(mem_free) char *type = domxml_xml_attr(node, "type");
    const xmlNode *source = domxml_xml_child(node, "source");
    const xmlNode *target = domxml_xml_child(node, "target");

    disk->kind = kind_of(type);
    disk->target = domxml_xml_attr(target, "dev");
    disk->bus = domxml_xml_attr(target, "bus");
    disk->device = domxml_xml_attr(node, "device");
    if (disk->device == NULL)
        disk->device = xstrdup("disk");
    disk->serial = domxml_xml_text(domxml_xml_child(node, "serial"));
    disk->is_readonly = domxml_xml_child(node, "readonly") != NULL;
    disk->is_shareable = domxml_xml_child(node, "shareable") != NULL;
    disk->is_transient = domxml_xml_child(node, "transient") != NULL;
    disk->driver_format =
        domxml_xml_attr(domxml_xml_child(node, "driver"), "type");
    disk->mirror = parse_mirror(node);
    disk->is_encrypted = domxml_xml_child(node, "encryption") != NULL ||
                         domxml_xml_child(source, "encryption") != NULL;
    if (disk->kind == DOMXML_DISK_VOLUME) {
        disk->pool = domxml_xml_attr(source, "pool");
        disk->volume = domxml_xml_attr(source, "volume");
    }
    if (disk->kind != DOMXML_DISK_NETWORK && disk->kind != DOMXML_DISK_OTHER)
        add_to_chain(disk, path_of(source, &disk->kind, finder),
                     xstrdup(disk->driver_format));
    if (disk->chain_len > 0)
        parse_backing(disk, node, finder);
}

static void
parse_nic(struct domxml_nic *nic, const xmlNode *node)
{
    static const char *const sources[] = { "network", "bridge", "dev" };
    const xmlNode *source = domxml_xml_child(node, "source");

    nic->mac = domxml_xml_attr(domxml_xml_child(node, "mac"), "address");
    nic->model = domxml_xml_attr(domxml_xml_child(node, "model"), "type");
    nic->type = domxml_xml_attr(node, "type");
    for (size_t i = 0; nic->source == NULL && i < ARRAY_SIZE(sources); i++)
        nic->source = domxml_xml_attr(source, sources[i]);
}

static void
parse_channel(struct domxml *d, const xmlNode *node)
{
    const xmlNode *target = domxml_xml_child(node, "target");

    if (!domxml_xml_attr_is(target, "name", "org.qemu.guest_agent.0"))
        return;
    d->has_agent_channel = true;
    d->is_agent_connected = domxml_xml_attr_is(target, "state", "connected");
}

static void
parse_devices(struct domxml *d, const xmlNode *devices,
              const struct finder *finder)
{
    d->emulator = domxml_xml_text(domxml_xml_child(devices, "emulator"));
    for (const xmlNode *n = domxml_xml_child(devices, "disk"); n != NULL;
         n = domxml_xml_next(n, "disk")) {
        d->disks = xrealloc(d->disks, d->n_disks + 1, sizeof *d->disks);
        memset(&d->disks[d->n_disks], 0, sizeof *d->disks);
        parse_disk(&d->disks[d->n_disks++], n, finder);
    }
    for (const xmlNode *n = domxml_xml_child(devices, "interface"); n != NULL;
         n = domxml_xml_next(n, "interface")) {
        d->nics = xrealloc(d->nics, d->n_nics + 1, sizeof *d->nics);
        memset(&d->nics[d->n_nics], 0, sizeof *d->nics);
        parse_nic(&d->nics[d->n_nics++], n);
    }
    for (const xmlNode *n = domxml_xml_child(devices, "channel"); n != NULL;
         n = domxml_xml_next(n, "channel"))
        parse_channel(d, n);
    d->has_tpm_emulator = domxml_xml_attr_is(
        domxml_xml_at(devices, "tpm/backend"), "type", "emulator");
}

static void
parse_os(struct domxml *d, const xmlNode *os)
{
    const xmlNode *nvram = domxml_xml_child(os, "nvram");
    const xmlNode *source = domxml_xml_child(nvram, "source");

    d->machine = domxml_xml_attr(domxml_xml_child(os, "type"), "machine");
    d->arch = domxml_xml_attr(domxml_xml_child(os, "type"), "arch");
    d->loader = domxml_xml_text(domxml_xml_child(os, "loader"));
    d->nvram = source != NULL ? domxml_xml_attr(source, "file")
                              : domxml_xml_text(nvram);
    if (d->nvram != NULL && d->nvram[0] == 0) {
        free(d->nvram);
        d->nvram = NULL;
    }
}

static void
parse_cpu(struct domxml *d, const xmlNode *root)
{
    const xmlNode *cpu = domxml_xml_child(root, "cpu");
    const xmlNode *topology = domxml_xml_child(cpu, "topology");
    CLEANUP(mem_free)
    char *vcpus = domxml_xml_text(domxml_xml_child(root, "vcpu"));

    d->cpu_model = domxml_xml_text(domxml_xml_child(cpu, "model"));
    if (d->cpu_model == NULL)
        d->cpu_model = domxml_xml_attr(cpu, "mode");
    d->vcpus = vcpus == NULL ? 1 : number(vcpus);
    d->cores = number_attr(topology, "cores");
    d->threads = number_attr(topology, "threads");
    d->sockets = number_attr(topology, "sockets");
}

/* <metadata><vmkeep:namespace xmlns:vmkeep=DOMXML_NS_URI>prod</...> */
static char *
parse_namespace(const xmlNode *root)
{
    const xmlNode *meta = domxml_xml_child(root, "metadata");

    for (const xmlNode *n = meta == NULL ? NULL : meta->children; n != NULL;
         n = n->next)
        if (n->type == XML_ELEMENT_NODE && n->ns != NULL &&
            xmlStrEqual(n->ns->href, domxml_xml_str(DOMXML_NS_URI)) &&
            xmlStrEqual(n->name, domxml_xml_str("namespace")))
            return domxml_xml_text(n);
    return NULL;
}

struct domxml *
domxml_parse(const char *xml, struct err *err)
{
    return domxml_parse_with(xml, NULL, NULL, err);
}

struct domxml *
domxml_parse_with(const char *xml, domxml_volume_fn find, void *arg,
                  struct err *err)
{
    struct finder finder = { find, arg };
    CLEANUP(xmlFreeDoc) xmlDocPtr doc = domxml_xml_read(xml, err);
    const xmlNode *root;
    struct domxml *d;

    if (doc == NULL)
        return NULL;
    root = xmlDocGetRootElement(doc);
    d = xcalloc(1, sizeof *d);
    d->name = domxml_xml_text(domxml_xml_child(root, "name"));
    d->uuid = domxml_xml_text(domxml_xml_child(root, "uuid"));
    d->title = domxml_xml_text(domxml_xml_child(root, "title"));
    d->description = domxml_xml_text(domxml_xml_child(root, "description"));
    d->ns = parse_namespace(root);
    d->memory_kib = memory_kib(domxml_xml_child(root, "memory"));
    parse_cpu(d, root);
    parse_os(d, domxml_xml_child(root, "os"));
    parse_devices(d, domxml_xml_child(root, "devices"), &finder);
    if (d->name == NULL || d->name[0] == 0) {
        domxml_free(d);
        return err_set_null(err, ERR_INVALID,
                            "domain XML: a domain without a name");
    }
    return d;
}

const struct domxml_disk *
domxml_disk(const struct domxml *d, const char *target)
{
    for (size_t i = 0; i < d->n_disks; i++)
        if (d->disks[i].target != NULL &&
            strcmp(d->disks[i].target, target) == 0)
            return &d->disks[i];
    return NULL;
}

static void
disk_fini(struct domxml_disk *disk)
{
    for (size_t i = 0; i < disk->chain_len; i++) {
        free(disk->chain[i].path);
        free(disk->chain[i].format);
    }
    free(disk->chain);
    free(disk->target);
    free(disk->bus);
    free(disk->device);
    free(disk->pool);
    free(disk->driver_format);
    free(disk->volume);
    free(disk->serial);
    free(disk->mirror);
}

void
domxml_free(struct domxml *d)
{
    if (d == NULL)
        return;
    for (size_t i = 0; i < d->n_disks; i++)
        disk_fini(&d->disks[i]);
    for (size_t i = 0; i < d->n_nics; i++) {
        free(d->nics[i].mac);
        free(d->nics[i].model);
        free(d->nics[i].type);
        free(d->nics[i].source);
    }
    free(d->disks);
    free(d->nics);
    free(d->name);
    free(d->uuid);
    free(d->title);
    free(d->description);
    free(d->ns);
    free(d->machine);
    free(d->arch);
    free(d->emulator);
    free(d->cpu_model);
    free(d->loader);
    free(d->nvram);
    free(d);
}
