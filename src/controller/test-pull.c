/* SPDX-License-Identifier: Apache-2.0 */
/* A block device of a stopped machine, by a loop device; where there is none to
 * be had (not root, a container) what needs it is left out. What a running
 * machine adds is in tests/pull.sh.
 */
#include <sys/ioctl.h>

#include <fcntl.h>
#include <linux/loop.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "controller/pull.h"
#include "disk/source.h"
#include "test.h"

#define SIZE ((uint64_t)4 << 20)
#define VM   "c0c0c0c0-0000-4000-8000-000000000002"
#define UID  "c0c0c0c0-0000-4000-8000-000000000003"

static struct err err;
static char dir[] = "/tmp/vk-test-XXXXXX";
static char *image, *device; /* device NULL: there is none */
static struct ctl ctl;

/* The image as a block device. */
static void
attach(void)
{
    CLEANUP(fd_close)
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    CLEANUP(fd_close) int loop = -1;
    CLEANUP(fd_close) int fd = -1;
    int n = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);

    if (n < 0)
        return;
    device = xasprintf("/dev/loop%d", n);
    fd = open(image, O_RDWR | O_CLOEXEC);
    loop = open(device, O_RDWR | O_CLOEXEC);
    if (loop >= 0 && ioctl(loop, LOOP_SET_FD, fd) == 0)
        return;
    free(device);
    device = NULL;
}

static void
detach(void)
{
    CLEANUP(fd_close) int fd = -1;

    if (device == NULL)
        return;
    fd = open(device, O_RDONLY | O_CLOEXEC);
    CHECK_INT(ioctl(fd, LOOP_CLR_FD), ==, 0);
    free(device);
}

static struct virt_vm *
stopped_vm(const char *disk)
{
    struct virt_vm *vm = xcalloc(1, sizeof *vm);

    (void)snprintf(vm->uuid, sizeof vm->uuid, "%s", VM);
    vm->state = VIRT_OFF;
    vm->xml_inactive = xasprintf(
        "<domain type='qemu'><name>g</name><uuid>" VM "</uuid>"
        "<memory>1024</memory><os><type>hvm</type></os><devices>"
        "<disk type='block' device='disk'><driver name='qemu' type='raw'/>"
        "<source dev='%s'/><target dev='vdb' bus='virtio'/></disk>"
        "</devices></domain>",
        disk);
    vm->inactive = domxml_parse(vm->xml_inactive, &err);
    CHECK(vm->inactive != NULL);
    return vm;
}

static int
prepare(const char *disk, const char *target, struct pull **ret)
{
    CLEANUP(virt_vm_free) struct virt_vm *vm = stopped_vm(disk);

    return pull_prepare(&ctl, vm, UID, &target, 1, ret, &err);
}

static void
what_is_no_block_device_is_refused(void)
{
    struct pull *p = NULL;

    CHECK_ERR(prepare(image, "vdb", &p), &err, ERR_CONFLICT);
    CHECK_ERR(prepare("/dev/vk-not-there", "vdb", &p), &err, ERR_NOT_FOUND);
    CHECK_ERR(prepare(image, "vdz", &p), &err, ERR_NOT_FOUND);
}

/* The record of a cut of the device, as it would stand in a status. */
static json_t *
cut(void)
{
    CLEANUP(pull_free) struct pull *p = NULL;

    CHECK_OK(prepare(device, "vdb", &p), &err);
    CHECK_OK(pull_commit(p, &err), &err);
    CHECK_OK(pull_finish(p, &err), &err);
    CHECK_INT(pull_size(p, 0), ==, SIZE);
    return pull_record(p, 0);
}

static struct pull_disk
disk_of(const json_t *record)
{
    return (struct pull_disk){ .ctl = &ctl,
                               .vm_uuid = VM,
                               .uid = UID,
                               .target = "vdb",
                               .record = record,
                               .dir = dir };
}

static void
a_device_that_stood_still_is_of_the_cut(void)
{
    CLEANUP(json_decref) json_t *record = NULL;
    CLEANUP(disk_source_close) struct disk_source *s = NULL;
    struct pull_disk d;
    char byte = 0;

    if (device == NULL)
        return;
    record = cut();
    d = disk_of(record);
    CHECK_OK(pull_check(&d, &err), &err);
    CHECK_OK(pull_open(&d, &s, &err), &err);
    CHECK_INT(disk_source_size(s), ==, SIZE);
    CHECK_OK(disk_source_read(s, SIZE - 1, &byte, 1, &err), &err);
    CHECK_INT(byte, ==, 'e');
    CHECK_OK(pull_check(&d, &err), &err);
}

static void
a_device_that_was_written_to_is_not(void)
{
    CLEANUP(json_decref) json_t *record = NULL;
    CLEANUP(fd_close) int fd = -1;
    struct disk_source *s = NULL;
    struct pull_disk d;

    if (device == NULL)
        return;
    record = cut();
    d = disk_of(record);
    fd = open(device, O_WRONLY | O_CLOEXEC);
    CHECK_INT(pwrite(fd, "x", 1, 0), ==, 1); /* not synced: it is seen too */
    CHECK_ERR(pull_check(&d, &err), &err, ERR_UNAVAILABLE);
    CHECK_ERR(pull_open(&d, &s, &err), &err, ERR_UNAVAILABLE);
}

static void
a_record_of_another_boot_is_not_believed(void)
{
    CLEANUP(json_decref) json_t *record = NULL;
    struct pull_disk d;

    if (device == NULL)
        return;
    record = cut();
    d = disk_of(record);
    jsonx_set_str(record, "bootID", "c0c0c0c0-0000-4000-8000-000000000004");
    CHECK_ERR(pull_check(&d, &err), &err, ERR_UNAVAILABLE);
}

static void
an_end_without_a_beginning_is_fine(void)
{
    CHECK_OK(pull_end(&ctl, VM, UID, &err), &err);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "what is no block device is refused",
          what_is_no_block_device_is_refused },
        { "a device that stood still is of the cut",
          a_device_that_stood_still_is_of_the_cut },
        { "a device that was written to is not",
          a_device_that_was_written_to_is_not },
        { "a record of another boot is not believed",
          a_record_of_another_boot_is_not_believed },
        { "an end without a beginning is fine",
          an_end_without_a_beginning_is_fine },
    };
    int fd, rc;

    CHECK(mkdtemp(dir) != NULL);
    ctl.config.scratch_dir = dir;
    image = xasprintf("%s/image", dir);
    fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK_INT(ftruncate(fd, SIZE), ==, 0);
    CHECK_INT(pwrite(fd, "e", 1, SIZE - 1), ==, 1);
    (void)close(fd);
    attach();
    rc = test_main(cases, ARRAY_SIZE(cases));
    detach();
    CHECK(unlink(image) == 0 && rmdir(dir) == 0);
    free(image);
    return rc;
}
