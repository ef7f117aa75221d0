#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=180
# After a reboot the file system of the disks may be on a device with another
# number (NFS, btrfs, LVM, loop devices): its files are the same ones.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard
requires_program mkfs.ext4 losetup qemu-io
truncate -s 1G "$T/ext4.img"
mkfs.ext4 -q "$T/ext4.img"
mkdir "$T/g1"
mount -o loop "$T/ext4.img" "$T/g1" || skip_all "no loop mount here"
cleanup_fn umount -l "$T/g1"
libvirt_start
guest_define g1
vmkeepd_configure "min_free = 64M"
vmkeepd_start
kubectl_start
wrote() { qemu-io -f qcow2 -c "write -P $1 64M 1M" "$(guest_disk g1 vdb)"; }
has() { qemu-io -f qcow2 -c "read -P $1 64M 1M" "$(guest_disk g1 vdb)" | grep -vq "Pattern verification failed"; }
check "the virtual machine is there" wait_until 30 exists vm g1
check "its disk has something" wrote 0x11
snapshot s1 g1
check "a snapshot" snapshot_ready s1
check "and something else since" wrote 0x22
snapshot s2 g1
check "another one" snapshot_ready s2

vmkeepd_stop
libvirt_end
number=$(stat -c %d "$T/g1")
device=$(findmnt -no SOURCE "$T/g1")
umount "$T/g1"
check "the file system is mounted nowhere" wait_until 20 eval '[ -z "$(losetup -j "$T/ext4.img")" ]'
truncate -s 1M "$T/other.img"
check "another file has its device now" wait_until 20 losetup "$device" "$T/other.img"
cleanup_fn losetup -d "$device"
mount -o loop "$T/ext4.img" "$T/g1"
check_fails "the device has another number now" [ "$(stat -c %d "$T/g1")" = "$number" ]
libvirt_start
vmkeepd_start
kubectl_start

check "what was written goes on" wrote 0x33
snapshot s3 g1
check "a third snapshot" snapshot_ready s3
restore r1 g1 s1
check "the first is restored" restore_complete r1
check "and is what it was" has 0x11
check "the second goes" remove vmsnapshot s2
restore r3 g1 s3
check "the third is restored" restore_complete r3
check "and is what it was" has 0x33
check "the others go" eval "remove vmsnapshot s1 && remove vmsnapshot s3"
