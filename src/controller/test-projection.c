/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "controller/ctl.h"
#include "controller/projection.h"
#include "test.h"

#define UUID "6d1f7a3e-0b1c-4a5d-9e2f-112233445566"

static const char xml[] =
    "<domain type='kvm'><name>Web Server</name><uuid>" UUID "</uuid>"
    "<memory unit='KiB'>2097152</memory><vcpu>2</vcpu>"
    "<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>"
    "<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>"
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
    "<source file='/d/web.qcow2'/><target dev='vda' bus='virtio'/></disk>"
    "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>"
    "<source file='/d/cd.iso'/><target dev='sda' bus='sata'/><readonly/></disk>"
    "<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
    "<source file='/d/data.raw'/><target dev='vdb' bus='virtio'/></disk>"
    "<interface type='network'><mac address='52:54:00:11:22:33'/>"
    "<source network='default'/><model type='virtio'/></interface>"
    "</devices></domain>";

struct fixture {
    struct virt_vm vm;
    struct projection_disk disks[3];
    struct projection p;
};

static struct domxml *
parse_xml(void)
{
    struct err err;
    struct domxml *d = domxml_parse(xml, &err);

    if (d == NULL)
        test_fail(__FILE__, __LINE__, "domxml_parse", err.msg);
    return d;
}

static void
fixture_init(struct fixture *f, enum virt_state state)
{
    *f = (struct fixture){
        .vm = { .uuid = UUID, .state = state, .is_persistent = true }
    };
    f->vm.inactive = parse_xml();
    f->vm.live = state == VIRT_OFF ? NULL : parse_xml();
    CHECK_INT(f->vm.inactive->n_disks, ==, 3);
    for (size_t i = 0; i < 3; i++)
        f->disks[i] =
            (struct projection_disk){ .xml = &f->vm.inactive->disks[i],
                                      .size = 1ull << 30 };
    f->disks[1].refusal = "CD-ROM";
    f->p = (struct projection){ .vm = &f->vm,
                                .ns = "default",
                                .name = "web-server",
                                .node = "host1",
                                .disks = f->disks,
                                .n_disks = 3 };
}

static void
fixture_fini(struct fixture *f)
{
    domxml_free(f->vm.inactive);
    domxml_free(f->vm.live);
}

static json_t *
new_object(void)
{
    return json_pack("{s:{s:s}}", "metadata", "name", "web-server");
}

static void
expect(const json_t *v, const char *path, const char *want)
{
    const char *is = jsonx_str_or(v, path, "(none)");

    if (strcmp(is, want) != 0)
        test_fail(__FILE__, __LINE__, path, is);
}

static void
a_domain_becomes_a_virtual_machine(void)
{
    CLEANUP(json_decref) json_t *v = new_object();
    struct fixture f;

    fixture_init(&f, VIRT_OFF);
    projection_vm(v, &f.p);
    expect(v, "spec.runStrategy", "Manual");
    expect(v, "status.runStrategy", "Manual");
    expect(v, "status.printableStatus", "Stopped");
    expect(v, "status.nodeName", "host1");
    expect(v, "status.vmkeep.domain", "Web Server");
    expect(v, "spec.template.spec.architecture", "amd64");
    expect(v, "spec.template.spec.domain.memory.guest", "2Gi");
    expect(v, "spec.template.spec.domain.firmware.uuid", UUID);
    CHECK_INT(jsonx_int(v, "spec.template.spec.domain.cpu.sockets", 0), ==, 2);
    expect(v, "spec.template.spec.domain.devices.disks.1.cdrom.bus", "sata");
    expect(v, "spec.template.spec.volumes.0.persistentVolumeClaim.claimName",
           "web-server-vda");
    expect(v, "spec.template.spec.volumes.1.hostDisk.path", "/d/cd.iso");
    expect(v, "spec.template.spec.networks.0.multus.networkName", "default");
    CHECK(jsonx_bool(v, "status.volumeSnapshotStatuses.0.enabled"));
    CHECK(!jsonx_bool(v, "status.volumeSnapshotStatuses.1.enabled"));
    expect(v, "status.volumeSnapshotStatuses.1.reason", "CD-ROM [sda]");
    CHECK(!jsonx_bool(v, "status.created"));
    CHECK(strcmp(ctl_condition_get(v, "Ready"), "False") == 0);
    fixture_fini(&f);
}

static void
the_same_domain_gives_the_same_object(void)
{
    CLEANUP(json_decref) json_t *v = new_object();
    CLEANUP(json_decref) json_t *first = NULL;
    struct fixture f;

    fixture_init(&f, VIRT_PAUSED);
    projection_vm(v, &f.p);
    first = json_deep_copy(v);
    projection_vm(v, &f.p);
    CHECK(jsonx_equal(v, first));
    fixture_fini(&f);
}

static void
what_others_own_is_kept(void)
{
    CLEANUP(json_decref) json_t *v = new_object();
    struct fixture f;

    fixture_init(&f, VIRT_RUNNING);
    projection_vm(v, &f.p);
    jsonx_set_str(v, "spec.runStrategy", "Always");
    jsonx_set_str(v, "status.snapshotInProgress", "s1");
    jsonx_set_str(v, "status.vmkeep.lastSnapshot", "s0");
    jsonx_set_str(
        v, "spec.template.spec.volumes.0.persistentVolumeClaim.claimName",
        "restored");
    jsonx_set(v, "metadata.annotations",
              json_pack("{s:s}", "vmkeep.io/exclude-volumes", "vdx, vdb"));
    projection_vm(v, &f.p);
    expect(v, "spec.runStrategy", "Always");
    expect(v, "status.runStrategy", "Manual"); /* the action's edge */
    expect(v, "status.snapshotInProgress", "s1");
    expect(v, "status.vmkeep.lastSnapshot", "s0");
    expect(v, "spec.template.spec.volumes.0.persistentVolumeClaim.claimName",
           "restored");
    CHECK(jsonx_bool(v, "status.volumeSnapshotStatuses.0.enabled"));
    CHECK(!jsonx_bool(v, "status.volumeSnapshotStatuses.2.enabled"));
    fixture_fini(&f);
}

static void
a_running_domain_has_an_instance(void)
{
    CLEANUP(json_decref) json_t *vm = new_object();
    CLEANUP(json_decref) json_t *vmi = new_object();
    struct fixture f;

    fixture_init(&f, VIRT_RUNNING);
    f.vm.live->is_agent_connected = true;
    projection_vm(vm, &f.p);
    f.p.vm_object = vm;
    projection_vmi(vmi, &f.p);
    expect(vm, "status.printableStatus", "Running");
    CHECK(strcmp(ctl_condition_get(vm, "AgentConnected"), "True") == 0);
    expect(vmi, "status.phase", "Running");
    expect(vmi, "metadata.ownerReferences.0.uid", UUID);
    expect(vmi, "status.volumeStatus.0.persistentVolumeClaimInfo.claimName",
           "web-server-vda");
    CHECK(strcmp(ctl_condition_get(vmi, "AgentConnected"), "True") == 0);
    f.vm.live->is_agent_connected = false;
    f.vm.state = VIRT_IO_ERROR;
    projection_vmi(vmi, &f.p);
    CHECK(ctl_condition_get(vmi, "AgentConnected") == NULL);
    CHECK(strcmp(ctl_condition_get(vmi, "Paused"), "True") == 0);
    fixture_fini(&f);
}

static void
an_undefined_domain_keeps_its_spec(void)
{
    CLEANUP(json_decref) json_t *v = new_object();
    struct fixture f;

    fixture_init(&f, VIRT_RUNNING);
    projection_vm(v, &f.p);
    projection_vm_absent(v, "Undefined", "gone");
    expect(v, "status.printableStatus", "Undefined");
    CHECK(!jsonx_bool(v, "status.created"));
    expect(v, "spec.template.spec.domain.memory.guest", "2Gi");
    projection_vm(v, &f.p);
    expect(v, "status.printableStatus", "Running");
    fixture_fini(&f);
}

static void
a_namespace_that_is_not_taken_is_told(void)
{
    CLEANUP(json_decref) json_t *v = new_object();
    struct fixture f;
    const char *said;

    fixture_init(&f, VIRT_OFF);
    projection_vm(v, &f.p);
    CHECK(ctl_condition_get(v, PROJECTION_NAMESPACE) == NULL);

    free(f.vm.inactive->ns);
    f.vm.inactive->ns = xstrdup("Prod_\xc3\xbc\n1");
    projection_vm(v, &f.p);
    said = ctl_condition_message(v, PROJECTION_NAMESPACE);
    CHECK(strstr(said, "\"Prod_\xc3\xbc?1\"") != NULL);
    CHECK(strstr(said, "is in default") != NULL);
    CHECK(strstr(said, "virsh edit") != NULL);

    free(f.vm.inactive->ns);
    f.vm.inactive->ns = xstrdup("prod");
    projection_vm(v, &f.p);
    said = ctl_condition_message(v, PROJECTION_NAMESPACE);
    CHECK(strstr(said, "\"prod\", but") != NULL);
    CHECK(strstr(said, "was in default before") != NULL);

    f.p.ns = "prod";
    projection_vm(v, &f.p);
    CHECK(ctl_condition_get(v, PROJECTION_NAMESPACE) == NULL);
    fixture_fini(&f);
}

static void
names_become_dns_labels(void)
{
    static const struct {
        const char *domain, *uuid, *want;
    } cases[] = {
        { "web-1", NULL, "web-1" },
        { "a--b", NULL, "a--b" },
        { "Web Server (old)", NULL, "web-server-old" },
        { "$(id)", NULL, "id" },
        { "-x", NULL, "x" },
        { "\xc3\xbc", NULL, "vm" },
        { "web-1", UUID, "web-1-6d1f7" },
        { "0123456789012345678901234567890123456789012345678901234567890123456",
          UUID,
          "012345678901234567890123456789012345678901234567890123456-6d1f7" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char name[PROJECTION_NAME_SIZE];

        projection_name(cases[i].domain, cases[i].uuid, name);
        if (strcmp(name, cases[i].want) != 0)
            test_fail(__FILE__, __LINE__, cases[i].domain, name);
    }
}

static void
a_claim_says_which_file_it_is(void)
{
    CLEANUP(json_decref) json_t *v = new_object();
    CLEANUP(json_decref) json_t *before = NULL;
    struct projection_claim c = { .vm = "web",
                                  .volume = "vda",
                                  .path = "/d/web.qcow2",
                                  .format = "qcow2",
                                  .size = 1500 };
    const json_t *notes;

    projection_claim(v, &c);
    expect(v, "status.phase", "Bound");
    expect(v, "status.capacity.storage", "1500");
    expect(v, "spec.volumeName", "web.qcow2");
    notes = jsonx_get(v, "metadata.annotations");
    CHECK(strcmp(json_string_value(json_object_get(notes, "vmkeep.io/path")),
                 "/d/web.qcow2") == 0);
    before = json_deep_copy(v);
    projection_claim(v, &c);
    CHECK(jsonx_equal(v, before));
    c.is_missing = true;
    c.size = 0;
    projection_claim(v, &c);
    expect(v, "status.phase", "Lost");
    expect(v, "status.capacity.storage", "1500");
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a domain becomes a virtual machine",
          a_domain_becomes_a_virtual_machine },
        { "the same domain gives the same object",
          the_same_domain_gives_the_same_object },
        { "what others own is kept", what_others_own_is_kept },
        { "a running domain has an instance",
          a_running_domain_has_an_instance },
        { "an undefined domain keeps its spec",
          an_undefined_domain_keeps_its_spec },
        { "a namespace that is not taken is told",
          a_namespace_that_is_not_taken_is_told },
        { "names become DNS labels", names_become_dns_labels },
        { "a claim says which file it is", a_claim_says_which_file_it_is },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
