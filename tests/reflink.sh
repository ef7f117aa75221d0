#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=600
# Snapshots by copies that share blocks, on XFS and btrfs: what the guest had,
# restored in place and as a new VM; many of them; killed at every step.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-reflink.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard test-volume-reflink test-disk-clonediff
reflink_filesystems
for fs in xfs btrfs; do
    check "$fs: copies of files" env VMKEEP_TEST_REFLINK_DIR="$T/$fs" "$(program test-volume-reflink)"
    check "$fs: what two copies differ in" env VMKEEP_TEST_REFLINK_DIR="$T/$fs" "$(program test-disk-clonediff)"
done

driver() { field vmsnapshot "$1" .status.vmkeep.driver; }
chain_length() { qemu-img info -U --backing-chain --output=json "$1" | grep -c '"filename": "/'; }
# copies DIR: how many copies of snapshots are kept there.
copies() { overlays "$1" | wc -l; }
has_copies() { [ "$(copies "$1")" = "$2" ]; }

# fragment FILE: 20000 blocks of zeros become extents of their own.
fragment() {
    python3 - "$1" <<'END'
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
n, at, size = 20000, 0, os.fstat(fd).st_size
while n and at < size:
    if not any(os.pread(fd, 4096, at)):
        os.pwrite(fd, bytes(4096), at)
        n -= 1
    at += 8192
os.fsync(fd)
sys.exit(n)
END
}
# too_many VM: a disk of so many extents that copying it would hold the VM up.
too_many() {
    check "the disk gets 20000 extents" fragment "$(guest_disk "$1" vdb)"
    snapshot "$1-4" "$1"
    check "a snapshot of it is ready" snapshot_ready "$1-4"
    check_equal "it was made by layers" "$(driver "$1-4")" overlay
    snapshot "$1-5" "$1"
    check "the next one, too" snapshot_ready "$1-5"
    check_equal "as long as the VM has some" "$(driver "$1-5")" overlay
    check "deleting the first" remove vmsnapshot "$1-4"
    check "deleting the second" remove vmsnapshot "$1-5"
    check "only the copies are left" wait_until 30 has_copies "$T/$1" 6
}

# on FS FORMAT: the life of a VM whose disks are there.
on() {
    local vm=$1-$2 format=$2 seq root paused
    note "$1, $format"
    # Disk images on btrfs are often made like this.
    mkdir -p "$T/$vm"
    if [ "$vm" = btrfs-raw ]; then chattr +C "$T/$vm"; fi
    GUEST_FORMAT=$format guest_define "$vm"
    guest_start "$vm"
    check "$vm is there" wait_until 30 field_is vm "$vm" .status.printableStatus Running
    root=$(guest_disk "$vm" vda)
    guest_exec "$vm" 'echo one >/data/file; sync'
    guest_wait_acked "$vm" 20
    seq=$(guest_acked "$vm")
    snapshot "$vm-1" "$vm"
    check "a snapshot of the running VM is ready" snapshot_ready "$vm-1"
    check_equal "it was made by copies" "$(driver "$vm-1")" reflink
    check_equal "and is quiesced" "$(indications "$vm-1")" "GuestAgent Online"
    paused=$(field vmsnapshot "$vm-1" .status.vmkeep.pausedMilliseconds)
    note "paused for $paused ms, frozen for $(field vmsnapshot "$vm-1" .status.vmkeep.frozenMilliseconds) ms"
    check "the VM stood still, and not for long" test "$paused" -gt 0 -a "$paused" -lt 10000
    check "the guest goes on" guest_is_writing "$vm"
    check_equal "its disk is the file that it was" "$(guest_disk "$vm" vda)" "$root"
    check_equal "and has nothing below it" "$(chain_length "$root")" 1
    check "the journal is empty" journal_is_empty
    check "a copy of each disk is kept" has_copies "$T/$vm" 2
    if [ "$vm" = btrfs-raw ]; then
        check_equal "without copy-on-write, as the disks are" "$(lsattr "$T/$vm"/*.raw | cut -d' ' -f1 | grep -c C)" 4
    fi
    check "they are a quiesced instant with every record" verify -q "$(overlays "$T/$vm" | grep root)" \
        "$(overlays "$T/$vm" | grep data)" "$seq"

    guest_exec "$vm" 'echo two >/data/file; sync'
    agent_away "$vm" 5
    snapshot "$vm-2" "$vm"
    check "without the agent the VM is suspended only" snapshot_ready "$vm-2"
    check_equal "which the snapshot says" "$(indications "$vm-2")" "NoGuestAgent Online"
    check "the guest goes on" guest_is_writing "$vm"
    wait_until 20 guest_ping "$vm"

    guest_shutdown "$vm"
    snapshot "$vm-3" "$vm"
    check "a stopped VM is copied too" snapshot_ready "$vm-3"
    check_equal "by copies" "$(driver "$vm-3")" reflink
    check "three snapshots, six files" has_copies "$T/$vm" 6
    if [ "${VMKEEP_CHECK:-}" = full ] && [ $format = raw ]; then too_many "$vm"; fi

    restore "$vm-r" "$vm" "$vm-1" "volumeRestorePolicy: InPlace"
    check "a restore in place" restore_complete "$vm-r"
    check "brings the instant back" verify -q "$(guest_disk "$vm" vda)" "$(guest_disk "$vm" vdb)" "$seq"
    check_equal "in the same format" "$(virsh -q dumpxml --inactive "$vm" | grep -c "<driver name='qemu' type='$format'")" 2
    check_equal "with nothing below it" "$(chain_length "$(guest_disk "$vm" vda)")" 1
    restore "$vm-n" "$vm-new" "$vm-1"
    check "a new VM" restore_complete "$vm-n"
    check "has the instant too" verify -q "$(guest_disk "$vm-new" vda)" "$(guest_disk "$vm-new" vdb)" "$seq"
    guest_start "$vm"
    check_equal "the guest has the file of the snapshot" "$(guest_exec "$vm" 'cat /data/file')" one

    check "deleting the first snapshot" remove vmsnapshot "$vm-1"
    check "deleting the last snapshot" remove vmsnapshot "$vm-3"
    check "leaves the other one's files" wait_until 20 eval "[ -z \"\$(field vmsnapshotcontent vmsnapshot-content-x .x)\" ] && snapshot_ready $vm-2 2"
    restore "$vm-r2" "$vm" "$vm-2" "targetReadinessPolicy: StopTarget" "volumeRestorePolicy: InPlace"
    check "which can be restored" restore_complete "$vm-r2" 120
    check "and is a consistent instant" verify "$(guest_disk "$vm" vda)" "$(guest_disk "$vm" vdb)" "$seq"
    virsh -q undefine "$vm-new" && rm -f "$T/$vm"/vmkeep-*
}

if [ "${VMKEEP_CHECK:-}" = full ]; then
    reflink_within xfs qcow2 raw
    reflink_within btrfs raw qcow2
else
    reflink_within xfs qcow2
    reflink_within btrfs raw
fi
