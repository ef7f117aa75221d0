/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "controller/capture.h"
#include "test.h"

static struct err err;

#define DISK(device, target, more)                                             \
    "<disk type='file' device='" device "'><driver name='qemu' type='qcow2'/>" \
    "<source file='/d/" target ".qcow2'/><target dev='" target                 \
    "' bus='virtio'/>" more "</disk>"
#define DOMAIN(devices)                                                        \
    "<domain type='kvm'><name>a</name>"                                        \
    "<uuid>6f4c0b1e-0000-4000-8000-000000000001</uuid>"                        \
    "<memory>1024</memory><os><type>hvm</type></os><devices>" devices          \
    "</devices></domain>"

static struct virt_vm *
vm_new(const char *inactive, const char *live)
{
    struct virt_vm *vm = xcalloc(1, sizeof *vm);

    vm->xml_inactive = xstrdup(inactive);
    vm->inactive = domxml_parse(inactive, &err);
    vm->xml_live = xstrdup(live);
    vm->live = live == NULL ? NULL : domxml_parse(live, &err);
    CHECK(vm->inactive != NULL && (live == NULL || vm->live != NULL));
    return vm;
}

static void
expect(const char *inactive, const char *live, const char *exclude,
       const char *want, bool want_partial)
{
    struct virt_vm *vm = vm_new(inactive, live);
    struct capture_disks d;
    char got[200] = "";

    capture_choose(vm, exclude, false, &d);
    for (size_t i = 0; i < d.n_targets; i++) {
        (void)strcat(got, i > 0 ? " " : "");
        (void)strcat(got, d.targets[i]);
    }
    if (strcmp(got, want) != 0)
        printf("# got \"%s\", want \"%s\"\n", got, want);
    CHECK(strcmp(got, want) == 0);
    CHECK_INT(d.is_partial, ==, want_partial);
    capture_disks_fini(&d);
    virt_vm_free(vm);
}

static void
disks_are_chosen(void)
{
    static const char two[] =
        DOMAIN(DISK("disk", "vda", "") DISK("disk", "vdb", ""));
    static const char odd[] = DOMAIN(DISK("disk", "vda", "") DISK(
        "cdrom", "sda", "<readonly/>") DISK("disk", "vdb", "<shareable/>"));
    static const char one[] = DOMAIN(DISK("disk", "vda", ""));

    expect(two, NULL, NULL, "vda vdb", false);
    expect(two, NULL, "vdb", "vda", true);
    expect(two, NULL, " vda, vdb ", "", true);
    expect(two, NULL, "vd", "vda vdb", false);
    /* A shareable disk is data that is left out, a CD is not. */
    expect(odd, NULL, NULL, "vda", true);
    /* Hot-plugged and not persistent. */
    expect(one, two, NULL, "vda", true);
}

static void
names_follow_kubevirt(void)
{
    CLEANUP(mem_free) char *content = capture_content_name("u-1");
    CLEANUP(mem_free) char *volume = capture_volume_snapshot_name("u-1", "vda");

    CHECK(strcmp(content, "vmsnapshot-content-u-1") == 0);
    CHECK(strcmp(volume, "vmsnapshot-u-1-volume-vda") == 0);
}

static json_t *
parse(const char *text)
{
    json_t *v = jsonx_parse(text, strlen(text), &err);

    CHECK(v != NULL);
    return v;
}

static void
the_content_says_everything(void)
{
    struct virt_vm *vm =
        vm_new(DOMAIN(DISK("disk", "vda", "") DISK("disk", "vdb", "")), NULL);
    CLEANUP(json_decref)
    json_t *snapshot = parse("{\"metadata\":{\"name\":\"s1\",\"namespace\":"
                             "\"default\",\"uid\":\"u-1\"}}");
    CLEANUP(json_decref)
    json_t *object = parse(
        "{\"metadata\":{\"name\":\"a\",\"uid\":\"v-1\",\"resourceVersion\":"
        "\"7\"},\"status\":{\"ready\":true},\"spec\":{\"template\":{\"spec\":{"
        "\"domain\":{\"memory\":{\"guest\":\"1Gi\"}},\"volumes\":[{\"name\":"
        "\"vda\",\"persistentVolumeClaim\":{\"claimName\":\"a-vda\"}}]}}}}");
    CLEANUP(json_decref)
    json_t *instance =
        parse("{\"spec\":{\"domain\":{\"memory\":{\"guest\":\"512Mi\"}}}}");
    CLEANUP(json_decref) json_t *claims = json_object();
    struct volume_cut_disk cut[1] = { { "vda", "l-1", 4096 } };
    struct capture_cut how = { .time_s = 0,
                               .frozen_ms = 12,
                               .has_nvram = true };
    struct capture_disks disks;

    capture_choose(vm, "vdb", false, &disks);
    how.moment.is_partial = disks.is_partial;

    struct capture_input in = { snapshot,    object, instance, claims,
                                "<domain/>", &disks, cut,      &how };
    CLEANUP(json_decref) json_t *content = capture_content(&in);
    static const struct {
        const char *path, *want;
    } rows[] = {
        { "metadata.name", "vmsnapshot-content-u-1" },
        { "metadata.finalizers.0", CAPTURE_FINALIZER },
        { "spec.virtualMachineSnapshotName", "s1" },
        { "spec.source.virtualMachine.metadata.uid", "v-1" },
        { "spec.source.virtualMachine.spec.template.spec.domain.memory.guest",
          "512Mi" },
        { "spec.volumeBackups.0.persistentVolumeClaim.metadata.name", "a-vda" },
        { "spec.volumeBackups.0.volumeSnapshotName",
          "vmsnapshot-u-1-volume-vda" },
        { "spec.volumeBackups.1.volumeName", "persistent-state-for-a" },
        { "spec.vmkeep.layers.0.layerID", "l-1" },
        { "spec.vmkeep.cut.time", "1970-01-01T00:00:00Z" },
        { "spec.vmkeep.cut.indications.0.indication", "PartialSnapshot" },
        { "spec.vmkeep.cut.excluded.0.volume", "vdb" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *got = jsonx_str(content, rows[i].path);

        if (got == NULL || strcmp(got, rows[i].want) != 0)
            printf("# %s: %s\n", rows[i].path, got == NULL ? "absent" : got);
        CHECK(got != NULL && strcmp(got, rows[i].want) == 0);
    }
    CHECK(jsonx_get(content, "spec.source.virtualMachine.status.ready") ==
          NULL);
    CHECK_INT(jsonx_int(content, "spec.vmkeep.cut.frozenMilliseconds", 0), ==,
              12);
    capture_disks_fini(&disks);
    virt_vm_free(vm);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "disks are chosen", disks_are_chosen },
        { "names follow KubeVirt", names_follow_kubevirt },
        { "the content says everything", the_content_says_everything },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
