/* SPDX-License-Identifier: Apache-2.0 */
/* The allow-list for domain XML from outside.
 *
 * libvirt runs domain XML as root: it names programs (emulator, scripts),
 * files that the guest may read or write (disks, kernel, firmware, logs),
 * devices of the host and raw arguments of QEMU. So elements and attributes
 * pass by being listed here, and no listed one carries a path, a host device,
 * a socket or a program. What needs one (disks, NVRAM, the emulator) is put in
 * by domxml-rebuild.c from its caller's values. A value with a slash in it is
 * a path to somebody: libvirt joins a channel's name to a directory, removes
 * what is there and gives it to QEMU's user; QEMU opens a keymap that has one;
 * glibc does it with a time zone. So only those are let through that are known
 * not to be. And a number may be of how many libvirt is to make: it makes every
 * controller below the index of one, every I/O thread, every virtual CPU, and
 * with numbers in the millions it hangs, or dies for want of memory.
 *
 * Left out on purpose, though harmless for some: memoryBacking, cputune,
 * numatune, seclabel (this host's affair); hostdev, filesystem, shmem, vsock,
 * launchSecurity, memory devices, qemu:* (paths, devices, raw arguments);
 * genid (must change when a machine is copied).
 */
#include "virt/domxml-allow.h"

#include <string.h>

#include "base/mem.h"
#include "virt/domxml-xml.h"

#define ADDRESS                                                                \
    "type domain bus slot function multifunction controller target unit port"

/* `path` may end in an asterisk for any name. An element's text is copied
 * where it has no element in it. */
static const struct rule {
    const char *path, *attrs;
} rules[] = {
    { "name", "" },
    { "uuid", "" },
    { "title", "" },
    { "description", "" },
    { "memory", "unit" },
    { "currentMemory", "unit" },
    { "maxMemory", "unit slots" },
    { "vcpu", "placement current" },
    { "iothreads", "" },
    { "os", "firmware" },
    { "os/firmware", "" },
    { "os/firmware/feature", "enabled name" },
    { "os/type", "arch machine" },
    { "os/boot", "dev" },
    { "os/bootmenu", "enable timeout" },
    { "os/bios", "useserial rebootTimeout" },
    { "os/smbios", "mode" },
    { "features", "" },
    { "features/acpi", "" },
    { "features/apic", "eoi" },
    { "features/pae", "" },
    { "features/hap", "state" },
    { "features/viridian", "" },
    { "features/pvspinlock", "state" },
    { "features/vmport", "state" },
    { "features/pmu", "state" },
    { "features/gic", "version" },
    { "features/ioapic", "driver" },
    { "features/vmcoreinfo", "state" },
    { "features/smm", "state" },
    { "features/smm/tseg", "unit" },
    { "features/hyperv", "mode" },
    { "features/hyperv/*", "state retries value" },
    { "features/kvm", "" },
    { "features/kvm/*", "state" },
    { "features/tcg", "" },
    { "features/tcg/tb-cache", "unit" },
    { "cpu", "mode match check migratable" },
    { "cpu/model", "fallback vendor_id" },
    { "cpu/vendor", "" },
    { "cpu/topology", "sockets dies cores threads" },
    { "cpu/feature", "policy name" },
    { "cpu/cache", "level mode" },
    { "cpu/maxphysaddr", "mode bits" },
    { "cpu/numa", "" },
    { "cpu/numa/cell", "id cpus memory unit discard" },
    { "clock", "offset timezone basis adjustment" },
    { "clock/timer", "name tickpolicy present track mode frequency" },
    { "clock/timer/catchup", "threshold slew limit" },
    { "on_poweroff", "" },
    { "on_reboot", "" },
    { "on_crash", "" },
    { "pm", "" },
    { "pm/suspend-to-mem", "enabled" },
    { "pm/suspend-to-disk", "enabled" },
    { "sysinfo", "type" }, /* smbios only: domxml-rebuild.c */
    { "sysinfo/bios", "" },
    { "sysinfo/bios/entry", "name" },
    { "sysinfo/system", "" },
    { "sysinfo/system/entry", "name" },
    { "sysinfo/baseBoard", "" },
    { "sysinfo/baseBoard/entry", "name" },
    { "sysinfo/chassis", "" },
    { "sysinfo/chassis/entry", "name" },
    { "sysinfo/oemStrings", "" },
    { "sysinfo/oemStrings/entry", "" },
    { "devices", "" },
    { "devices/disk", "device" },
    { "devices/disk/driver", "cache io discard detect_zeroes error_policy "
                             "rerror_policy queues iothread" },
    { "devices/disk/target", "dev bus rotation_rate" },
    { "devices/disk/serial", "" },
    { "devices/disk/wwn", "" },
    { "devices/disk/vendor", "" },
    { "devices/disk/product", "" },
    { "devices/disk/boot", "order" },
    { "devices/disk/blockio",
      "logical_block_size physical_block_size discard_granularity" },
    { "devices/disk/geometry", "cyls heads secs trans" },
    { "devices/disk/iotune", "" },
    { "devices/disk/iotune/*", "" },
    { "devices/disk/address", ADDRESS },
    { "devices/controller", "type index model ports vectors" },
    { "devices/controller/driver", "queues cmd_per_lun max_sectors iothread" },
    { "devices/controller/model", "name" },
    { "devices/controller/master", "startport" },
    { "devices/controller/target",
      "chassis port chassisNr busNr hotplug index" },
    { "devices/controller/target/node", "" },
    { "devices/controller/address", ADDRESS },
    { "devices/interface", "type" },
    { "devices/interface/mac", "address" },
    { "devices/interface/source", "network bridge portgroup" },
    { "devices/interface/model", "type" },
    { "devices/interface/boot", "order" },
    { "devices/interface/link", "state" },
    { "devices/interface/mtu", "size" },
    { "devices/interface/driver", "queues rx_queue_size tx_queue_size" },
    { "devices/interface/filterref", "filter" },
    { "devices/interface/filterref/parameter", "name value" },
    { "devices/interface/vlan", "trunk" },
    { "devices/interface/vlan/tag", "id nativeMode" },
    { "devices/interface/bandwidth", "" },
    { "devices/interface/bandwidth/*", "average peak burst floor" },
    { "devices/interface/address", ADDRESS },
    { "devices/serial", "type" },
    { "devices/serial/target", "type port" },
    { "devices/serial/target/model", "name" },
    { "devices/serial/address", ADDRESS },
    { "devices/console", "type" },
    { "devices/console/target", "type port" },
    { "devices/console/address", ADDRESS },
    { "devices/channel", "type" },
    { "devices/channel/target", "type name" },
    { "devices/channel/address", ADDRESS },
    { "devices/input", "type bus model" },
    { "devices/input/address", ADDRESS },
    { "devices/hub", "type" },
    { "devices/hub/address", ADDRESS },
    { "devices/tpm", "model" },
    { "devices/tpm/backend", "type version persistent_state" },
    { "devices/tpm/address", ADDRESS },
    { "devices/graphics", "type keymap passwd passwdValidTo" },
    { "devices/graphics/image", "compression" },
    { "devices/graphics/streaming", "mode" },
    { "devices/graphics/clipboard", "copypaste" },
    { "devices/graphics/mouse", "mode" },
    { "devices/graphics/filetransfer", "enable" },
    { "devices/video", "" },
    { "devices/video/model", "type ram vram vram64 vgamem heads primary" },
    { "devices/video/model/resolution", "x y" },
    { "devices/video/address", ADDRESS },
    { "devices/sound", "model" },
    { "devices/sound/codec", "type" },
    { "devices/sound/address", ADDRESS },
    { "devices/audio", "id type" },
    { "devices/watchdog", "model action" },
    { "devices/watchdog/address", ADDRESS },
    { "devices/panic", "model" },
    { "devices/panic/address", ADDRESS " iobase" },
    { "devices/rng", "model" },
    { "devices/rng/rate", "bytes period" },
    { "devices/rng/backend", "model" },
    { "devices/rng/address", ADDRESS },
    { "devices/memballoon", "model autodeflate freePageReporting" },
    { "devices/memballoon/stats", "period" },
    { "devices/memballoon/address", ADDRESS },
    { "devices/redirdev", "bus type" },
    { "devices/redirdev/address", ADDRESS },
    { "devices/iommu", "model" },
    { "devices/iommu/driver", "intremap caching_mode eim iotlb aw_bits" },
    { "devices/iommu/address", ADDRESS },
};

static const struct rule *
find_rule(const char *path)
{
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        size_t n = strlen(rules[i].path);

        if (strcmp(rules[i].path, path) == 0)
            return &rules[i];
        if (rules[i].path[n - 1] == '*' &&
            strncmp(rules[i].path, path, n - 1) == 0 &&
            strchr(path + n - 1, '/') == NULL)
            return &rules[i];
    }
    return NULL;
}

/* Is `word` in the blank-separated list? */
static bool
has_word(const char *list, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = list; (p = strstr(p, word)) != NULL; p += n)
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || p[n] == 0))
            return true;
    return false;
}

/* As in the data base of time zones: Europe/Berlin, Etc/GMT+1. */
static bool
is_timezone(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz"
                         "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/");

    return n > 0 && s[n] == 0 && s[0] != '/';
}

/* These are ordinals and counts, if they are numbers at all. */
static bool
is_counted(const char *name)
{
    static const char *const names[] = {
        "index", "controller", "ports",   "vectors", "queues", "slots",
        "slot",  "id",         "heads",   "current", "bus",    "port",
        "unit",  "target",     "busNr",   "chassis", "cpus",   "chassisNr",
        "level", "iothread",   "sockets", "dies",    "cores",  "threads",
    };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* No number in it has more than `digits` digits. */
static bool
has_small_numbers(const char *s, size_t digits)
{
    while (*s != 0) {
        size_t n = strspn(s, "0123456789abcdefABCDEF");

        if (n > digits && s[0] >= '0' && s[0] <= '9')
            return false;
        s += n == 0 ? 1 : n;
    }
    return true;
}

/* The disk's place on its bus follows from its letters. */
static bool
is_disk_name(const char *s)
{
    size_t prefix = strncmp(s, "xvd", 3) == 0 ? 3 : 2;

    return strlen(s) <= prefix + 2;
}

/* `name` is let through at `path`; may it have this value? */
static bool
is_value_harmless(const char *path, const char *name, const char *value)
{
    bool is_index =
        strcmp(name, "index") == 0 || strcmp(name, "controller") == 0;

    if (is_counted(name) && !has_small_numbers(value, is_index ? 3 : 4))
        return false;
    if (strcmp(path, "devices/disk/target") == 0 && strcmp(name, "dev") == 0)
        return is_disk_name(value);
    if (strcmp(name, "timezone") == 0)
        return is_timezone(value);
    if (strcmp(path, "devices/graphics") == 0 && strcmp(name, "passwd") == 0)
        return true;
    if (strcmp(path, "devices/interface/filterref/parameter") == 0)
        return true; /* an address with its mask; libvirt checks the letters */
    return strchr(value, '/') == NULL;
}

static void
copy_attrs(const xmlNode *from, xmlNode *to, const struct rule *rule,
           const char *path, struct buf *dropped)
{
    for (const xmlAttr *a = from->properties; a != NULL; a = a->next) {
        const char *name = (const char *)a->name;
        CLEANUP(mem_free) char *value = NULL;

        if (a->ns != NULL || !has_word(rule->attrs, name)) {
            buf_printf(dropped, "%s: attribute %s\n", path, name);
            continue;
        }
        value = domxml_xml_attr(from, name);
        if (value == NULL)
            continue;
        if (is_value_harmless(path, name, value))
            domxml_xml_set(to, name, value);
        else
            buf_printf(dropped, "%s: attribute %s: \"%.80s\" is not allowed\n",
                       path, name, value);
    }
}

static bool
has_elements(const xmlNode *node)
{
    for (const xmlNode *n = node->children; n != NULL; n = n->next)
        if (n->type == XML_ELEMENT_NODE)
            return true;
    return false;
}

/* Depth is bounded by the rules' paths: what is deeper has none. */
static void
copy_children(const xmlNode *from, xmlNode *to, const char *path,
              struct buf *dropped)
{
    for (const xmlNode *n = from->children; n != NULL; n = n->next) {
        CLEANUP(mem_free) char *below = NULL;
        xmlNode *copy;

        if (n->type != XML_ELEMENT_NODE)
            continue;
        below = xasprintf("%s/%s", path, (const char *)n->name);
        copy = domxml_allow_copy(n, below, dropped);
        if (copy != NULL)
            (void)xmlAddChild(to, copy);
    }
}

xmlNode *
domxml_allow_copy(const xmlNode *node, const char *path, struct buf *dropped)
{
    const struct rule *rule = node->ns == NULL ? find_rule(path) : NULL;
    xmlNode *copy;

    if (rule == NULL) {
        buf_printf(dropped, "%s\n", path);
        return NULL;
    }
    copy = xmlNewNode(NULL, node->name);
    if (copy == NULL)
        abort();
    copy_attrs(node, copy, rule, path, dropped);
    if (has_elements(node)) {
        copy_children(node, copy, path, dropped);
    } else {
        CLEANUP(mem_free) char *text = domxml_xml_text(node);

        if (strcmp(path, "iothreads") == 0 && text != NULL &&
            !has_small_numbers(text, 3)) {
            buf_printf(dropped, "%s: \"%.80s\" is not allowed\n", path, text);
            xmlFreeNode(copy);
            return NULL;
        }
        if (text != NULL && text[0] != 0)
            xmlNodeAddContent(copy, domxml_xml_str(text));
    }
    return copy;
}
