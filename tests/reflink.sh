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

# on FS FORMAT: the life of a VM whose disks are there.
on() {
    local vm=$1-$2 format=$2 seq root data paused
    note "$1, $format"
    GUEST_FORMAT=$format guest_define "$vm"
    guest_start "$vm"
    check "$vm is there" wait_until 30 field_is vm "$vm" .status.printableStatus Running
    root=$(guest_disk "$vm" vda) data=$(guest_disk "$vm" vdb)
    guest_exec "$vm" 'echo one >/data/file; sync'
    guest_wait_acked "$vm" 20
    seq=$(guest_acked "$vm")
    snapshot "$vm-1" "$vm"
    check "a snapshot of the running VM is ready" snapshot_ready "$vm-1"
    check_equal "it was made by copies" "$(driver "$vm-1")" reflink
    check_equal "and is quiesced" "$(indications "$vm-1")" "GuestAgent Online"
    paused=$(field vmsnapshot "$vm-1" .status.vmkeep.pausedMilliseconds)
    note "paused for $paused ms, frozen for $(field vmsnapshot "$vm-1" .status.vmkeep.frozenMilliseconds) ms"
    check "the VM stood still, and not for long" test "$paused" -gt 0 -a "$paused" -lt 2000
    check "the guest goes on" guest_is_writing "$vm"
    check_equal "its disk is the file that it was" "$(guest_disk "$vm" vda)" "$root"
    check_equal "and has nothing below it" "$(chain_length "$root")" 1
    check "the journal is empty" journal_is_empty
    check "a copy of each disk is kept" has_copies "$T/$vm" 2
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
