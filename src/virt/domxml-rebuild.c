/* SPDX-License-Identifier: Apache-2.0 */
/* A new domain out of foreign XML: what the allow-list (domxml-allow.c) lets
 * through, then our own values in the places that carry a path, an identity or
 * a right.
 *
 * A device whose kind is allowed but whose back end is not (a serial port that
 * logs to a file, a random number generator that reads a path) gets the
 * harmless back end, and that is said; a device that is nothing without its
 * back end (a channel to a socket, macvtap) is dropped.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/uuid.h"
#include "virt/domxml-allow.h"
#include "virt/domxml-xml.h"
#include "virt/domxml.h"

#define VCPUS_MAX 4096 /* libvirt makes a record of each; QEMU has 1,024 */

struct rebuild {
    const struct domxml_rebuild *how;
    const xmlNode *from; /* <domain> as it came */
    xmlNode *to;         /* <domain> as it will be */
    xmlNode *devices;    /* of `to` */
    size_t nic;          /* interfaces seen so far */
    struct buf dropped;
};

static bool
attr_is_any(const xmlNode *node, const char *attr, const char *const *values)
{
    for (; *values != NULL; values++)
        if (domxml_xml_attr_is(node, attr, *values))
            return true;
    return false;
}

static void
say(struct rebuild *r, const char *what, const xmlNode *node, const char *attr)
{
    CLEANUP(mem_free) char *value = domxml_xml_attr(node, attr);

    buf_printf(&r->dropped, "%s: %s=%s\n", what, attr,
               value == NULL ? "(none)" : value);
}

static xmlNode *
only_child(xmlNode *node, const char *name)
{
    xmlNode *child = domxml_xml_child(node, name);

    return child != NULL ? child : domxml_xml_add(node, name, NULL);
}

/* ---- devices, each a copy that the allow-list made ---- */

static const struct domxml_source *
source_for(const struct domxml_rebuild *how, const char *target)
{
    for (size_t i = 0; target != NULL && i < how->n_disks; i++)
        if (strcmp(how->disks[i].target, target) == 0)
            return &how->disks[i];
    return NULL;
}

static bool
fix_disk(struct rebuild *r, xmlNode *disk)
{
    xmlNode *target = domxml_xml_child(disk, "target");
    CLEANUP(mem_free) char *name = domxml_xml_attr(target, "dev");
    const struct domxml_source *to = source_for(r->how, name);
    xmlNode *driver, *source, *wwn = domxml_xml_child(disk, "wwn");

    if (to == NULL) {
        buf_printf(&r->dropped, "devices/disk: %s\n",
                   name == NULL ? "(no target)" : name);
        return false;
    }
    domxml_xml_set(disk, "type", "file");
    domxml_xml_set(disk, "device", "disk");
    driver = only_child(disk, "driver");
    domxml_xml_set(driver, "name", "qemu");
    domxml_xml_set(driver, "type", to->format);
    source = xmlNewDocNode(disk->doc, NULL, domxml_xml_str("source"), NULL);
    if (source == NULL || xmlAddNextSibling(driver, source) == NULL)
        abort();
    domxml_xml_set(source, "file", to->path);
    if (wwn != NULL && !r->how->keep_identity)
        domxml_xml_remove(wwn); /* known to storage networks by it */
    return true;
}

static bool
is_mac(const char *s)
{
    for (size_t i = 0; i < 17; i++)
        if (i % 3 == 2 ? s[i] != ':' : !isxdigit((unsigned char)s[i]))
            return false;
    return s[17] == 0;
}

static bool
fix_interface(struct rebuild *r, xmlNode *nic)
{
    static const char *const allowed[] = { "network", "bridge", "user", NULL };
    const char *mac = r->how->macs == NULL ? NULL : r->how->macs[r->nic];
    CLEANUP(mem_free) char *old = NULL;

    r->nic++;
    if (!attr_is_any(nic, "type", allowed)) {
        say(r, "devices/interface", nic, "type");
        return false;
    }
    if (mac != NULL)
        domxml_xml_set(only_child(nic, "mac"), "address", mac);
    old = domxml_xml_attr(domxml_xml_child(nic, "mac"), "address");
    if (old != NULL && !is_mac(old)) {
        say(r, "devices/interface/mac", domxml_xml_child(nic, "mac"),
            "address");
        domxml_xml_remove(domxml_xml_child(nic, "mac"));
    }
    return true;
}

static bool
fix_serial(struct rebuild *r, xmlNode *node)
{
    if (!domxml_xml_attr_is(node, "type", "pty")) {
        say(r, "devices/serial or console, a pty instead", node, "type");
        domxml_xml_set(node, "type", "pty");
    }
    return true;
}

static bool
fix_channel(struct rebuild *r, xmlNode *node)
{
    static const char *const allowed[] = { "unix", "spicevmc", NULL };
    const xmlNode *target = domxml_xml_child(node, "target");

    /* libvirt makes the path of a unix channel itself when none is named. */
    if (!attr_is_any(node, "type", allowed) ||
        !domxml_xml_attr_is(target, "type", "virtio")) {
        say(r, "devices/channel", target, "name");
        return false;
    }
    return true;
}

static bool
fix_tpm(struct rebuild *r, xmlNode *node)
{
    const xmlNode *backend = domxml_xml_child(node, "backend");

    if (domxml_xml_attr_is(backend, "type", "emulator"))
        return true;
    say(r, "devices/tpm", backend, "type");
    return false;
}

static bool
fix_graphics(struct rebuild *r, xmlNode *node)
{
    static const char *const allowed[] = { "vnc", "spice", NULL };
    xmlNode *listen;

    if (!attr_is_any(node, "type", allowed)) {
        say(r, "devices/graphics", node, "type");
        return false;
    }
    domxml_xml_set(node, "autoport", "yes");
    listen = domxml_xml_add(node, "listen", NULL);
    domxml_xml_set(listen, "type", "address");
    domxml_xml_set(listen, "address", "127.0.0.1");
    return true;
}

static bool
fix_input(struct rebuild *r, xmlNode *node)
{
    static const char *const allowed[] = { "tablet", "mouse", "keyboard",
                                           NULL };

    if (attr_is_any(node, "type", allowed))
        return true;
    say(r, "devices/input", node, "type");
    return false;
}

static bool
fix_audio(struct rebuild *r, xmlNode *node)
{
    static const char *const allowed[] = { "none", "spice", NULL };

    if (!attr_is_any(node, "type", allowed)) {
        say(r, "devices/audio, none instead", node, "type");
        domxml_xml_set(node, "type", "none");
    }
    return true;
}

static bool
fix_rng(struct rebuild *r, xmlNode *node)
{
    xmlNode *backend = domxml_xml_child(node, "backend");

    if (domxml_xml_attr_is(backend, "model", "builtin"))
        return true;
    if (!domxml_xml_attr_is(backend, "model", "random")) {
        say(r, "devices/rng", backend, "model");
        return false;
    }
    domxml_xml_set_text(backend, "/dev/urandom");
    return true;
}

static bool
fix_redirdev(struct rebuild *r, xmlNode *node)
{
    if (domxml_xml_attr_is(node, "type", "spicevmc"))
        return true;
    say(r, "devices/redirdev", node, "type");
    return false;
}

static const struct device {
    const char *name;
    bool (*fix)(struct rebuild *r, xmlNode *node); /* false: drop it */
} devices[] = {
    { "disk", fix_disk },         { "interface", fix_interface },
    { "serial", fix_serial },     { "console", fix_serial },
    { "channel", fix_channel },   { "tpm", fix_tpm },
    { "graphics", fix_graphics }, { "input", fix_input },
    { "audio", fix_audio },       { "rng", fix_rng },
    { "redirdev", fix_redirdev },
};

static void
add_device(struct rebuild *r, const xmlNode *node)
{
    CLEANUP(mem_free)
    char *path = xasprintf("devices/%s", (const char *)node->name);
    xmlNode *copy;

    if (domxml_xml_is(node, "emulator"))
        return; /* this host's: put in already */
    copy = domxml_allow_copy(node, path, &r->dropped);
    if (copy == NULL)
        return;
    (void)xmlAddChild(r->devices, copy);
    for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
        if (domxml_xml_is(copy, devices[i].name)) {
            if (!devices[i].fix(r, copy))
                domxml_xml_remove(copy);
            return;
        }
}

static void
add_devices(struct rebuild *r)
{
    const xmlNode *from = domxml_xml_child(r->from, "devices");

    r->devices = domxml_xml_add(r->to, "devices", NULL);
    if (r->how->emulator != NULL)
        (void)domxml_xml_add(r->devices, "emulator", r->how->emulator);
    for (const xmlNode *n = from == NULL ? NULL : from->children; n != NULL;
         n = n->next)
        if (n->type == XML_ELEMENT_NODE)
            add_device(r, n);
}

/* ---- the rest of the domain ---- */

/* Is this a firmware image that a package brought to this host? The guest
 * reads it, so it may be no other file. */
static bool
is_firmware_image(const char *path)
{
    static const char *const dirs[] = { "OVMF/", "AAVMF/",     "ovmf/",
                                        "edk2/", "edk2-ovmf/", "qemu/" };
    static const char share[] = "/usr/share/";

    if (path == NULL || strncmp(path, share, sizeof share - 1) != 0 ||
        strstr(path, "/../") != NULL || access(path, R_OK) != 0)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
        if (strncmp(path + sizeof share - 1, dirs[i], strlen(dirs[i])) == 0)
            return true;
    return false;
}

/* The same flash image where this host has it, because the variables fit only
 * one of their size; else, and where libvirt chose it before, "efi". */
static void
fix_loader(struct rebuild *r, xmlNode *os)
{
    const xmlNode *old =
        domxml_xml_child(domxml_xml_child(r->from, "os"), "loader");
    CLEANUP(mem_free) char *path = domxml_xml_text(old);
    bool is_secure = domxml_xml_attr_is(old, "secure", "yes");
    bool is_flash = domxml_xml_attr_is(old, "type", "pflash");
    bool is_chosen = domxml_xml_attr_is(os, "firmware", "efi");
    bool is_here = is_flash && !is_chosen && is_firmware_image(path);
    xmlNode *loader;

    if (is_flash && !is_here)
        domxml_xml_set(os, "firmware", "efi");
    if (!is_secure && !is_here)
        return;
    loader = domxml_xml_add(os, "loader", is_here ? path : NULL);
    if (is_here) {
        domxml_xml_set(loader, "readonly", "yes");
        domxml_xml_set(loader, "type", "pflash");
    }
    if (is_secure)
        domxml_xml_set(loader, "secure", "yes");
}

/* Firmware is this host's. A kernel is a file of the host that the guest can
 * read. */
static void
fix_os(struct rebuild *r, xmlNode *os)
{
    const xmlNode *old = domxml_xml_child(r->from, "os");
    static const char *const boot[] = { "kernel", "initrd", "cmdline" };

    fix_loader(r, os);
    if (r->how->nvram != NULL)
        (void)domxml_xml_add(os, "nvram", r->how->nvram);
    if (r->how->machine != NULL && domxml_xml_child(os, "type") != NULL)
        domxml_xml_set(domxml_xml_child(os, "type"), "machine",
                       r->how->machine);
    for (size_t i = 0; r->how->keep_kernel && i < ARRAY_SIZE(boot); i++) {
        CLEANUP(mem_free)
        char *text = domxml_xml_text(domxml_xml_child(old, boot[i]));

        if (text != NULL)
            (void)domxml_xml_add(os, boot[i], text);
    }
}

static void
add_metadata(struct rebuild *r)
{
    xmlNode *meta, *ns_node;
    xmlNs *ns;

    if (r->how->ns == NULL)
        return;
    meta = domxml_xml_add(r->to, "metadata", NULL);
    ns_node = domxml_xml_add(meta, "namespace", r->how->ns);
    ns = xmlNewNs(ns_node, domxml_xml_str(DOMXML_NS_URI),
                  domxml_xml_str("vmkeep"));
    if (ns == NULL)
        abort();
    xmlSetNs(ns_node, ns);
}

static bool
is_handled(const xmlNode *node)
{
    static const char *const ours[] = { "name", "uuid", "devices", "metadata",
                                        "vcpu" };

    for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
        if (domxml_xml_is(node, ours[i]))
            return true;
    return false;
}

static void
set_memory(struct rebuild *r, xmlNode *node)
{
    char kib[24];

    (void)snprintf(kib, sizeof kib, "%" PRIu64, r->how->memory_kib);
    domxml_xml_set(node, "unit", "KiB");
    domxml_xml_set_text(node, kib);
}

/* Elements below <domain> that need more than the list. False: drop it. */
static bool
fix_element(struct rebuild *r, xmlNode *node)
{
    bool is_memory =
        domxml_xml_is(node, "memory") || domxml_xml_is(node, "currentMemory");

    if (is_memory && r->how->memory_kib != 0)
        set_memory(r, node);
    if (domxml_xml_is(node, "os"))
        fix_os(r, node);
    if (domxml_xml_is(node, "sysinfo"))
        return r->how->keep_identity &&
               domxml_xml_attr_is(node, "type", "smbios");
    return true;
}

/* <smbios mode='sysinfo'/> without <sysinfo> does not define. */
static void
fix_smbios(struct rebuild *r)
{
    xmlNode *smbios = domxml_xml_at(r->to, "os/smbios");

    if (smbios != NULL && domxml_xml_child(r->to, "sysinfo") == NULL &&
        domxml_xml_attr_is(smbios, "mode", "sysinfo"))
        domxml_xml_remove(smbios);
}

/* The machine's serial number as the guest's firmware tells it. */
static void
set_serial(struct rebuild *r)
{
    const char *serial = r->how->serial;
    xmlNode *os = domxml_xml_child(r->to, "os");
    xmlNode *info = domxml_xml_child(r->to, "sysinfo");
    xmlNode *system, *entry, *smbios;

    if (serial == NULL || *serial == 0 || os == NULL)
        return;
    if (info == NULL) {
        info = domxml_xml_add(r->to, "sysinfo", NULL);
        domxml_xml_set(info, "type", "smbios");
    }
    system = domxml_xml_child(info, "system");
    if (system == NULL)
        system = domxml_xml_add(info, "system", NULL);
    entry = domxml_xml_child(system, "entry");
    while (entry != NULL && !domxml_xml_attr_is(entry, "name", "serial"))
        entry = domxml_xml_next(entry, "entry");
    if (entry == NULL) {
        entry = domxml_xml_add(system, "entry", NULL);
        domxml_xml_set(entry, "name", "serial");
    }
    domxml_xml_set_text(entry, serial);
    smbios = domxml_xml_child(os, "smbios");
    if (smbios == NULL)
        smbios = domxml_xml_add(os, "smbios", NULL);
    domxml_xml_set(smbios, "mode", "sysinfo");
}

static void
add_elements(struct rebuild *r)
{
    for (const xmlNode *n = r->from->children; n != NULL; n = n->next) {
        xmlNode *copy;

        if (n->type != XML_ELEMENT_NODE || is_handled(n))
            continue;
        copy = domxml_allow_copy(n, (const char *)n->name, &r->dropped);
        if (copy == NULL)
            continue;
        (void)xmlAddChild(r->to, copy);
        if (!fix_element(r, copy)) {
            buf_printf(&r->dropped, "%s\n", (const char *)n->name);
            domxml_xml_remove(copy);
        }
    }
    set_serial(r);
    fix_smbios(r);
}

static void
add_vcpu(struct rebuild *r)
{
    const xmlNode *old = domxml_xml_child(r->from, "vcpu");
    xmlNode *copy =
        old == NULL ? NULL : domxml_allow_copy(old, "vcpu", &r->dropped);
    xmlNode *topology = domxml_xml_at(r->to, "cpu/topology");
    char count[16];

    if (copy != NULL)
        (void)xmlAddChild(r->to, copy);
    if (r->how->vcpus == 0)
        return;
    if (copy == NULL)
        copy = domxml_xml_add(r->to, "vcpu", NULL);
    (void)xmlUnsetProp(copy, domxml_xml_str("current"));
    (void)snprintf(count, sizeof count, "%u", r->how->vcpus);
    domxml_xml_set_text(copy, count);
    if (topology != NULL)
        domxml_xml_remove(topology); /* it would not multiply to the count */
}

static int
add_identity(struct rebuild *r, const struct domxml *d, struct err *err)
{
    const char *name = r->how->name != NULL ? r->how->name : d->name;
    const char *uuid = r->how->uuid;
    static const char *const types[] = { "kvm", "qemu", NULL };
    char random[UUID_STR_SIZE];

    if (!attr_is_any(r->from, "type", types))
        return err_set(err, ERR_UNSUPPORTED,
                       "domain XML: a domain of another hypervisor than QEMU");
    if (uuid == NULL && r->how->keep_identity)
        uuid = d->uuid;
    if (uuid == NULL) {
        uuid_random(random);
        uuid = random;
    }
    if (!uuid_is_valid(uuid))
        return err_set(err, ERR_INVALID, "domain XML: not a UUID: %s", uuid);
    domxml_xml_set(r->to, "type",
                   domxml_xml_attr_is(r->from, "type", "kvm") ? "kvm" : "qemu");
    (void)domxml_xml_add(r->to, "name", name);
    (void)domxml_xml_add(r->to, "uuid", uuid);
    return 0;
}

static int
check_vcpus(const struct rebuild *r, const struct domxml *d, struct err *err)
{
    unsigned n = r->how->vcpus != 0 ? r->how->vcpus : d->vcpus;

    if (n >= 1 && n <= VCPUS_MAX)
        return 0;
    return err_set(err, ERR_INVALID, "domain XML: want 1 to %d virtual CPUs",
                   VCPUS_MAX);
}

static int
check_disks(const struct rebuild *r, const struct domxml *d, struct err *err)
{
    for (size_t i = 0; i < r->how->n_disks; i++)
        if (domxml_disk(d, r->how->disks[i].target) == NULL)
            return err_set(err, ERR_NOT_FOUND,
                           "domain XML: there is no disk %s",
                           r->how->disks[i].target);
    return 0;
}

/* The lines of `dropped` but those in whose place something of ours stands: a
 * person who reads them looks for what is gone. */
static char *
without_replaced(const struct rebuild *r, char *dropped)
{
    static const char *const disk[] = { "devices/disk: attribute type",
                                        "devices/disk/driver: attribute name",
                                        "devices/disk/driver: attribute type",
                                        "devices/disk/source",
                                        "devices/disk/backingStore" };
    static const char *const kernel[] = { "os/kernel", "os/initrd",
                                          "os/cmdline" };
    struct buf out = BUF_INIT;
    char *rest = dropped, *line;

    while ((line = strsep(&rest, "\n")) != NULL) {
        bool is_ours = *line == 0 ||
                       (r->how->nvram != NULL && strcmp(line, "os/nvram") == 0);

        for (size_t i = 0; i < ARRAY_SIZE(disk); i++)
            is_ours = is_ours || strcmp(line, disk[i]) == 0;
        for (size_t i = 0; r->how->keep_kernel && i < ARRAY_SIZE(kernel); i++)
            is_ours = is_ours || strcmp(line, kernel[i]) == 0;
        if (!is_ours)
            buf_printf(&out, "%s\n", line);
    }
    free(dropped);
    return buf_take_str(&out);
}

int
domxml_rebuild(const char *xml, const struct domxml_rebuild *how,
               char **ret_xml, char **ret_dropped, struct err *err)
{
    CLEANUP(xmlFreeDoc) xmlDocPtr in = domxml_xml_read(xml, err);
    CLEANUP(xmlFreeDoc) xmlDocPtr out = xmlNewDoc(NULL);
    CLEANUP(domxml_free) struct domxml *d = NULL;
    struct rebuild r = { .how = how, .dropped = BUF_INIT };

    if (in == NULL)
        return -1;
    d = domxml_parse(xml, err);
    if (d == NULL || check_disks(&r, d, err) < 0 || check_vcpus(&r, d, err) < 0)
        return -1;
    r.from = xmlDocGetRootElement(in);
    r.to = xmlNewDocNode(out, NULL, domxml_xml_str("domain"), NULL);
    if (r.to == NULL)
        abort();
    (void)xmlDocSetRootElement(out, r.to);
    if (add_identity(&r, d, err) < 0)
        return -1;
    add_metadata(&r);
    add_elements(&r);
    add_vcpu(&r);
    add_devices(&r);
    *ret_xml = domxml_xml_print(out);
    *ret_dropped = without_replaced(&r, buf_take_str(&r.dropped));
    return 0;
}
