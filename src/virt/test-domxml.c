/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "test.h"
#include "virt/domxml.h"

/* The corpus is shared with the fuzz target. */
#define CORPUS VMKEEP_SOURCE "/fuzz/corpus/domxml/"

static struct err err;

static char *
corpus(const char *name)
{
    struct buf b = BUF_INIT;
    char path[512];

    (void)snprintf(path, sizeof path, CORPUS "%s", name);
    CHECK_OK(file_read_all(path, 1 << 20, &b, &err), &err);
    return buf_take_str(&b);
}

static struct domxml *
parsed(const char *xml)
{
    struct domxml *d = domxml_parse(xml, &err);

    if (d == NULL)
        test_fail(__FILE__, __LINE__, "domxml_parse", err.msg);
    return d;
}

static void
check_str(const char *is, const char *want)
{
    if (is == NULL || strcmp(is, want) != 0) {
        printf("# got '%.60s', wanted '%.60s'\n", is == NULL ? "(null)" : is,
               want);
        CHECK(is == want);
    }
}

static void
a_domain_is_read(void)
{
    CLEANUP(mem_free) char *xml = corpus("plain.xml");
    CLEANUP(domxml_free) struct domxml *d = parsed(xml);

    check_str(d->name, "web-1");
    check_str(d->title, "Web & mail");
    check_str(d->ns, "prod");
    check_str(d->machine, "pc-q35-7.2");
    check_str(d->cpu_model, "host-passthrough");
    check_str(d->nvram, "/var/lib/libvirt/qemu/nvram/web-1_VARS.fd");
    CHECK_INT(d->memory_kib, ==, 2048 * 1024);
    CHECK_INT(d->vcpus, ==, 4);
    CHECK_INT(d->cores, ==, 2);
    CHECK(d->has_tpm_emulator && d->has_agent_channel && d->is_agent_connected);
    CHECK_INT(d->n_nics, ==, 3);
    check_str(d->nics[1].source, "eth0");
    check_str(d->nics[2].mac, "52:54:00:11:22:35");
}

static void
disks_are_what_they_are(void)
{
    CLEANUP(mem_free) char *xml = corpus("plain.xml");
    CLEANUP(domxml_free) struct domxml *d = parsed(xml);
    const struct domxml_disk *a = domxml_disk(d, "vda");

    CHECK_INT(d->n_disks, ==, 8);
    CHECK_INT(a->kind, ==, DOMXML_DISK_FILE);
    CHECK_INT(a->chain_len, ==, 2);
    check_str(a->chain[0].format, "qcow2");
    check_str(a->chain[1].path, "/var/lib/libvirt/images/web-1.raw");
    check_str(a->chain[1].format, "raw");
    check_str(a->serial, "root");
    CHECK(!a->is_readonly && !a->is_shareable && !a->is_encrypted);
    CHECK_INT(domxml_disk(d, "vdb")->kind, ==, DOMXML_DISK_BLOCK);
    CHECK(domxml_disk(d, "vdb")->is_shareable);
    check_str(domxml_disk(d, "sda")->device, "cdrom");
    CHECK(domxml_disk(d, "sda")->is_readonly);
    CHECK_INT(domxml_disk(d, "sdb")->chain_len, ==, 0);
    CHECK_INT(domxml_disk(d, "vdc")->kind, ==, DOMXML_DISK_NETWORK);
    CHECK_INT(domxml_disk(d, "vdd")->kind, ==, DOMXML_DISK_VOLUME);
    check_str(domxml_disk(d, "vdd")->pool, "default");
    CHECK(domxml_disk(d, "vde")->is_encrypted);
    CHECK_INT(domxml_disk(d, "vdf")->kind, ==, DOMXML_DISK_OTHER);
    CHECK(domxml_disk(d, "vdz") == NULL);
}

static void
hostile_documents_are_refused(void)
{
    static const char *const names[] = { "laughs.xml", "external.xml",
                                         "network.xml" };
    char *big = calloc(1, (2u << 20) + 1);

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        CLEANUP(mem_free) char *xml = corpus(names[i]);

        CHECK(domxml_parse(xml, &err) == NULL);
        CHECK_INT(err.code, ==, ERR_INVALID);
    }
    memset(big, 'x', 2u << 20);
    CHECK(domxml_parse(big, &err) == NULL);
    CHECK(domxml_parse("", &err) == NULL);
    CHECK(domxml_parse("<domain><name/></domain>", &err) == NULL);
    CHECK(domxml_parse("<domain><name>x</domain>", &err) == NULL);
    for (size_t i = 0; i < 100000; i++)
        memcpy(big + i * 3, "<a>", 3);
    big[300000] = 0;
    CHECK(domxml_parse(big, &err) == NULL);
    free(big);
}

static void
odd_names_and_numbers_stay_text(void)
{
    CLEANUP(mem_free) char *xml = corpus("names.xml");
    CLEANUP(mem_free) char *numbers = corpus("numbers.xml");
    CLEANUP(domxml_free) struct domxml *d = parsed(xml);
    CLEANUP(domxml_free) struct domxml *n = parsed(numbers);

    check_str(d->name, "$(id)");
    check_str(d->disks[0].chain[0].path, "-x");
    check_str(d->disks[1].chain[0].path, "/a\"b<c");
    CHECK_INT(n->memory_kib, ==, 0);
    CHECK_INT(n->vcpus, ==, 0);
    check_str(n->nvram, "/n");
}

static void
secrets_go_and_the_rest_stays(void)
{
    static const char *const secrets[] = { "hunter2", "sesame", "t0ken",
                                           "biscuit", "-object" };
    CLEANUP(mem_free) char *xml = corpus("plain.xml");
    CLEANUP(mem_free) char *redacted = NULL;
    CLEANUP(mem_free) char *again = NULL;

    CHECK_OK(domxml_redact(xml, &redacted, &err), &err);
    for (size_t i = 0; i < ARRAY_SIZE(secrets); i++) {
        CHECK(strstr(xml, secrets[i]) != NULL);
        CHECK(strstr(redacted, secrets[i]) == NULL);
    }
    CHECK(strstr(redacted, "52:54:00:11:22:33") != NULL);
    CHECK_OK(domxml_redact(redacted, &again, &err), &err);
    check_str(again, redacted);
}

static void
a_disk_is_retargeted_and_nothing_else(void)
{
    CLEANUP(mem_free) char *xml = corpus("plain.xml");
    CLEANUP(mem_free) char *out = NULL;
    struct domxml_source s[] = { { "vda", "/new/a&b.qcow2", "qcow2" },
                                 { "vdb", "/new/b.raw", "raw" } };
    struct domxml_source bad = { "vdz", "/x", "raw" };

    CHECK_OK(domxml_retarget(xml, s, 2, &out, &err), &err);

    CLEANUP(domxml_free) struct domxml *d = parsed(out);

    CHECK_INT(domxml_disk(d, "vda")->chain_len, ==, 1);
    check_str(domxml_disk(d, "vda")->chain[0].path, "/new/a&b.qcow2");
    CHECK_INT(domxml_disk(d, "vdb")->kind, ==, DOMXML_DISK_FILE);
    check_str(domxml_disk(d, "vdb")->chain[0].format, "raw");
    check_str(domxml_disk(d, "sda")->chain[0].path, "/srv/iso/x.iso");
    CHECK(strstr(out, "hunter2") != NULL && strstr(out, "qemu:arg") != NULL);
    CHECK(strstr(out, "web-1.raw") == NULL);
    CHECK_ERR(domxml_retarget(xml, &bad, 1, &out, &err), &err, ERR_NOT_FOUND);
}

static void
foreign_xml_is_rebuilt_from_the_list(void)
{
    /* what must not come through, wherever it stood */
    static const char *const evil[] = {
        "/etc/shadow",
        "/tmp/evil",
        "evil.sh",
        "cron.d",
        "authorized_keys",
        "hostdev",
        "filesystem",
        "qemu:",
        "sesame",
        "0.0.0.0",
        "/dev/sda",
        "macvtap",
        "eth0",
        "OVMF_CODE",
        "template",
        "seclabel",
        "cpuset",
        "vnet0",
        "alias",
        "other:thing",
        "/srv/iso",
        "luks",
        "portid",
        "S-1",
        "0123456789abcdef",
        "type=\"direct\"",
        "port=\"5900\"",
    };
    static const char *const said[] = {
        "devices/hostdev",
        "devices/filesystem",
        "devices/interface/script",
        "devices/disk: sda",
        "devices/interface: type=direct",
        "commandline",
        "os/kernel",
        "seclabel",
        "sysinfo",
        "devices/channel: name=x",
    };
    CLEANUP(mem_free) char *xml = corpus("plain.xml");
    CLEANUP(mem_free) char *out = NULL;
    CLEANUP(mem_free) char *dropped = NULL;
    struct domxml_source disk = { "vda", "/ours/a.qcow2", "qcow2" };
    const char *const macs[] = { "52:54:00:aa:aa:aa", NULL, NULL };
    struct domxml_rebuild how = {
        .name = "copy<1>",
        .ns = "test",
        .emulator = "/usr/bin/qemu-system-x86_64",
        .nvram = "/ours/VARS.fd",
        .disks = &disk,
        .n_disks = 1,
        .macs = macs,
        .memory_kib = 4096,
        .vcpus = 3,
    };

    CHECK_OK(domxml_rebuild(xml, &how, &out, &dropped, &err), &err);
    for (size_t i = 0; i < ARRAY_SIZE(evil); i++)
        if (strstr(out, evil[i]) != NULL)
            test_fail(__FILE__, __LINE__, evil[i], out);
    for (size_t i = 0; i < ARRAY_SIZE(said); i++)
        if (strstr(dropped, said[i]) == NULL)
            test_fail(__FILE__, __LINE__, said[i], dropped);

    CLEANUP(domxml_free) struct domxml *d = parsed(out);

    check_str(d->name, "copy<1>");
    CHECK(strcmp(d->uuid, "3f1c7a52-0f3e-4f64-9e0b-0d8f3a1b2c3d") != 0);
    check_str(d->ns, "test");
    check_str(d->emulator, how.emulator);
    check_str(d->nvram, "/ours/VARS.fd");
    CHECK_INT(d->memory_kib, ==, 4096);
    CHECK_INT(d->vcpus, ==, 3);
    CHECK_INT(d->n_disks, ==, 1);
    check_str(d->disks[0].chain[0].path, "/ours/a.qcow2");
    CHECK_INT(d->n_nics, ==, 2);
    check_str(d->nics[0].mac, "52:54:00:aa:aa:aa");
    check_str(d->nics[1].mac, "52:54:00:11:22:35");
    CHECK(d->has_agent_channel && d->has_tpm_emulator);
}

static void
identity_is_kept_when_asked_for(void)
{
    CLEANUP(mem_free) char *xml = corpus("plain.xml");
    CLEANUP(mem_free) char *lxc = corpus("lxc.xml");
    CLEANUP(mem_free) char *out = NULL;
    CLEANUP(mem_free) char *dropped = NULL;
    struct domxml_source disk = { "vdz", "/ours/a.qcow2", "qcow2" };
    struct domxml_rebuild how = { .keep_identity = true, .keep_kernel = true };

    CHECK_OK(domxml_rebuild(xml, &how, &out, &dropped, &err), &err);

    CLEANUP(domxml_free) struct domxml *d = parsed(out);

    check_str(d->uuid, "3f1c7a52-0f3e-4f64-9e0b-0d8f3a1b2c3d");
    CHECK(strstr(out, "S-1") != NULL && strstr(out, "<kernel>") != NULL);
    CHECK(strstr(dropped, "os/kernel") == NULL);
    CHECK(strstr(dropped, "devices/disk/source") == NULL);
    check_str(d->nics[0].mac, "52:54:00:11:22:33");
    CHECK_INT(d->n_disks, ==, 0);
    CHECK_ERR(domxml_rebuild(lxc, &how, &out, &dropped, &err), &err,
              ERR_UNSUPPORTED);
    how.disks = &disk;
    how.n_disks = 1;
    CHECK_ERR(domxml_rebuild(xml, &how, &out, &dropped, &err), &err,
              ERR_NOT_FOUND);
}

static char *
find(void *arg, const char *pool, const char *volume, bool *ret_is_block)
{
    (void)arg;
    *ret_is_block = strcmp(pool, "lvm") == 0;
    return strcmp(pool, "away") == 0 ? NULL : xasprintf("/%s/%s", pool, volume);
}

static void
volumes_have_paths(void)
{
#define DISK(target, rest)                                                     \
    "<disk type='volume'><driver type='qcow2'/><target dev='" target "'/>"     \
    "<source pool=" rest "</disk>"
#define BACKING "<backingStore type='volume'><format type='raw'/><source pool="
    static const char xml[] = "<domain type='kvm'><name>a</name><devices>" DISK(
        "vda", "'p' volume='v'/>" BACKING
               "'p' volume='w'/><backingStore/></backingStore>")
        DISK("vdb", "'lvm' volume='v'/>") DISK("vdc", "'away' volume='v'/>")
            DISK("vdd",
                 "'p' volume='v'/>" BACKING
                 "'away' volume='w'/></backingStore>") "</devices></domain>";
    CLEANUP(domxml_free)
    struct domxml *d = domxml_parse_with(xml, find, NULL, &err);
    CLEANUP(domxml_free) struct domxml *plain = parsed(xml);

    CHECK(d != NULL);
    CHECK_INT(d->disks[0].kind, ==, DOMXML_DISK_VOLUME);
    CHECK_INT(d->disks[0].chain_len, ==, 2);
    check_str(d->disks[0].chain[0].path, "/p/v");
    check_str(d->disks[0].chain[1].path, "/p/w");
    check_str(d->disks[0].chain[1].format, "raw");
    CHECK_INT(d->disks[1].kind, ==, DOMXML_DISK_BLOCK);
    CHECK_INT(d->disks[2].kind, ==, DOMXML_DISK_VOLUME);
    CHECK_INT(d->disks[2].chain_len, ==, 0);
    CHECK_INT(d->disks[3].kind, ==, DOMXML_DISK_OTHER);
    CHECK_INT(plain->disks[0].chain_len, ==, 0);
}

/* A flash image is kept only if it is one that a package brought; the guest
 * reads it. */
static void
firmware_is_this_hosts(void)
{
    static const struct {
        const char *os, *want, *unwanted;
    } rows[] = {
        { "<loader readonly='no' type='pflash'>/etc/shadow</loader>",
          "firmware=\"efi\"", "shadow" },
        { "<loader type='pflash'>/usr/share/OVMF/../../../etc/passwd</loader>",
          "firmware=\"efi\"", "passwd" },
        { "<loader type='pflash'>/usr/share/OVMF/none.fd</loader>",
          "firmware=\"efi\"", "none.fd" },
        { "<loader type='rom'>/usr/share/OVMF/x</loader>", "<os", "loader" },
        { "<loader type='pflash' secure='yes'>/usr/share/qemu/</loader>",
          ">/usr/share/qemu/</loader>", "firmware=\"efi\"" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        CLEANUP(mem_free)
        char *xml =
            xasprintf("<domain type='kvm'><name>a</name><memory>1024</memory>"
                      "<os><type>hvm</type>%s</os></domain>",
                      rows[i].os);
        CLEANUP(mem_free) char *out = NULL;
        CLEANUP(mem_free) char *dropped = NULL;
        struct domxml_rebuild how = { .nvram = "/n" };

        if (i == 4 && access("/usr/share/qemu", R_OK) != 0)
            continue;
        CHECK_OK(domxml_rebuild(xml, &how, &out, &dropped, &err), &err);
        if (strstr(out, rows[i].want) == NULL ||
            strstr(out, rows[i].unwanted) != NULL)
            test_fail(__FILE__, __LINE__, rows[i].os, out);
        CHECK(strstr(out, "<nvram>/n</nvram>") != NULL);
    }
}

/* Whoever makes one of these a path has libvirt or QEMU, as root, open, remove
 * or give away that file. */
static void
no_value_is_a_path_or_too_many(void)
{
    static const struct {
        const char *xml, *wanted, *unwanted;
    } rows[] = {
        { "<devices><channel type='unix'><target type='virtio' "
          "name='../../../../../etc/shadow'/></channel></devices>",
          "<channel", "shadow" },
        { "<devices><channel type='unix'><target type='virtio' "
          "name='org.qemu.guest_agent.0'/></channel></devices>",
          "name=\"org.qemu.guest_agent.0\"", "/org" },
        { "<devices><graphics type='vnc' keymap='/etc/shadow'/></devices>",
          "<graphics", "shadow" },
        { "<devices><graphics type='vnc' keymap='en-us' passwd='a/b'/>"
          "</devices>",
          "keymap=\"en-us\" passwd=\"a/b\"", "shadow" },
        { "<clock offset='timezone' timezone=':/etc/shadow'/>", "timezone",
          "shadow" },
        { "<clock offset='timezone' timezone='../../../etc/shadow'/>",
          "timezone", "shadow" },
        { "<clock offset='timezone' timezone='Europe/Berlin'/>",
          "timezone=\"Europe/Berlin\"", "shadow" },
        /* How many of something libvirt is to make. */
        { "<iothreads>200000000</iothreads>", "memory", "200000000" },
        { "<iothreads>4</iothreads>", "<iothreads>4", "200000000" },
        { "<devices><controller type='pci' index='60000'/></devices>",
          "<controller", "60000" },
        { "<devices><controller type='pci' index='31'><address type='pci' "
          "domain='0x0000' bus='0x00' slot='0x1f' function='0x0'/>"
          "</controller></devices>",
          "slot=\"0x1f\"", "60000" },
        { "<devices><controller type='scsi' index='0'><address type='drive' "
          "controller='4000000'/></controller></devices>",
          "index=\"0\"", "4000000" },
        { "<cpu><numa><cell id='0' cpus='0-4000000000'/></numa></cpu>",
          "id=\"0\"", "4000000000" },
        { "<cpu><numa><cell id='0' cpus='0-3,^2'/></numa></cpu>", "0-3,^2",
          "4000000000" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        CLEANUP(mem_free)
        char *xml =
            xasprintf("<domain type='kvm'><name>a</name><memory>1024</memory>"
                      "<os><type>hvm</type></os>%s</domain>",
                      rows[i].xml);
        CLEANUP(mem_free) char *out = NULL;
        CLEANUP(mem_free) char *dropped = NULL;
        struct domxml_rebuild how = { .name = "b" };

        CHECK_OK(domxml_rebuild(xml, &how, &out, &dropped, &err), &err);
        if (strstr(out, rows[i].wanted) == NULL ||
            strstr(out, rows[i].unwanted) != NULL)
            test_fail(__FILE__, __LINE__, rows[i].xml, out);
        CHECK((strstr(xml, rows[i].unwanted) != NULL) ==
              (strstr(dropped, rows[i].unwanted) != NULL));
    }
}

static void
a_domain_is_renamed_and_nothing_else(void)
{
    CLEANUP(mem_free) char *xml = corpus("plain.xml");
    CLEANUP(mem_free) char *there = NULL, *back = NULL, *as_it_was = NULL;

    CHECK_OK(domxml_rename(xml, "a<b", &there, &err), &err);
    CHECK(strstr(there, "<name>a&lt;b</name>") != NULL);
    CHECK_OK(domxml_rename(there, "web-1", &back, &err), &err);
    CHECK_OK(domxml_rename(xml, "web-1", &as_it_was, &err), &err);
    CHECK(strcmp(back, as_it_was) == 0);
}

static void
hosts_are_not_asked_for_millions_of_cpus(void)
{
    static const char *const counts[] = { "4000000000", "5000", "0", "" };
    CLEANUP(mem_free) char *dropped = NULL;
    CLEANUP(mem_free) char *out = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        CLEANUP(mem_free)
        char *xml = xasprintf("<domain type='kvm'><name>a</name><vcpu>%s</vcpu>"
                              "<os><type>hvm</type></os></domain>",
                              counts[i]);
        struct domxml_rebuild how = { .name = "b" };

        CHECK_ERR(domxml_rebuild(xml, &how, &out, &dropped, &err), &err,
                  ERR_INVALID);
    }
}

static void
a_disk_has_a_name_that_is_one(void)
{
    static const char xml[] =
        "<domain type='kvm'><name>a</name><devices><disk type='file'>"
        "<source file='/x'/><target dev='sdzzzzzz'/></disk></devices></domain>";
    struct domxml_source disk = { "sdzzzzzz", "/ours", "raw" };
    struct domxml_rebuild how = { .disks = &disk, .n_disks = 1 };
    CLEANUP(mem_free) char *out = NULL;
    CLEANUP(mem_free) char *dropped = NULL;

    CHECK_OK(domxml_rebuild(xml, &how, &out, &dropped, &err), &err);
    CHECK(strstr(out, "sdzz") == NULL);
}

static void
a_serial_number_can_be_given(void)
{
    static const char xml[] =
        "<domain type='kvm'><name>a</name><memory>1024</memory>"
        "<os><type>hvm</type></os></domain>";
    struct domxml_rebuild how = { .serial = "s&9" };
    CLEANUP(mem_free) char *out = NULL;
    CLEANUP(mem_free) char *dropped = NULL;

    CHECK_OK(domxml_rebuild(xml, &how, &out, &dropped, &err), &err);
    CHECK(strstr(out, "<entry name=\"serial\">s&amp;9</entry>") != NULL);
    CHECK(strstr(out, "<smbios mode=\"sysinfo\"/>") != NULL);
}

static void
a_block_job_has_a_destination(void)
{
    static const char xml[] =
        "<domain type='kvm'><name>a</name><devices>"
        "<disk type='file' device='disk'><source file='/d/top'/>"
        "<mirror type='file' job='active-commit' ready='yes'>"
        "<source file='/d/base' index='1'/></mirror>"
        "<target dev='vda'/></disk>"
        "<disk type='file' device='disk'><source file='/d/other'/>"
        "<target dev='vdb'/></disk></devices></domain>";
    CLEANUP(domxml_free) struct domxml *d = parsed(xml);

    check_str(domxml_disk(d, "vda")->mirror, "/d/base");
    CHECK(domxml_disk(d, "vdb")->mirror == NULL);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a domain is read", a_domain_is_read },
        { "disks are what they are", disks_are_what_they_are },
        { "hostile documents are refused", hostile_documents_are_refused },
        { "odd names and numbers stay text", odd_names_and_numbers_stay_text },
        { "secrets go out and come back", secrets_go_and_the_rest_stays },
        { "a disk is retargeted, and nothing else",
          a_disk_is_retargeted_and_nothing_else },
        { "foreign XML is rebuilt from the list",
          foreign_xml_is_rebuilt_from_the_list },
        { "identity is kept when asked for", identity_is_kept_when_asked_for },
        { "volumes have paths", volumes_have_paths },
        { "firmware is this host's", firmware_is_this_hosts },
        { "a block job has a destination", a_block_job_has_a_destination },
        { "no value is a path, or too many", no_value_is_a_path_or_too_many },
        { "a domain is renamed, and nothing else",
          a_domain_is_renamed_and_nothing_else },
        { "hosts are not asked for millions of CPUs",
          hosts_are_not_asked_for_millions_of_cpus },
        { "a disk has a name that is one", a_disk_has_a_name_that_is_one },
        { "a serial number can be given", a_serial_number_can_be_given },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
