#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=600
# Backups of disks on XFS and btrfs: what is read are copies that share blocks;
# the copies stay until the next backup, which moves only what has changed,
# also of raw disks and after QEMU was killed.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-backup.sh"
. "$tests_dir/lib-reflink.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard vmkeep-repo
reflink_filesystems

# kept_of VM [TARGET]: the copies that are kept, newest last.
kept_of() { awk -v t="${2:-}" '$1 == "layer" && $5 == "kept" && (t == "" || $4 == t) {print $11}' "$T/state/layers/$(guest_uuid "$1")" | xargs -r ls -tr; }
has_copies() { [ "$(kept_of "$1" | wc -l)" = "$2" ]; }
moved() { backup_field "$1" .status.vmkeep.readBytes; }
chain_length() { qemu-img info -U --backing-chain --output=json "$1" | grep -c '"filename": "/'; }
# kept BACKUP VM FORMAT: the backup has what the copies have.
kept() {
    local d
    for d in vda vdb; do
        backup_export "$1" $d "$T/export.raw" && same_image "$(kept_of "$2" $d | tail -n 1)" "$3" "$T/export.raw" || return 1
    done
}
# incremental BACKUP WHAT: both disks, and little of them.
incremental() {
    check_equal "$1 ($2) is incremental" "$(backup_method "$1" vda) $(backup_method "$1" vdb)" "Incremental Incremental"
    note "$(($(moved "$1") >> 10)) KiB read of $(($(backup_field "$1" .status.vmkeep.totalBytes) >> 10)), paused for $(backup_field "$1" .status.vmkeep.pausedMilliseconds) ms"
    check "and moves little" test "$(moved "$1")" -lt $((48 << 20))
}
# made BACKUP VM FORMAT
made() {
    backup "$1" "$2"
    check "$1 is made" backup_ready "$1"
    check_equal "of copies" "$(backup_field "$1" .status.vmkeep.driver)" reflink
    wait_until 60 backup_clean "$1"
    check "$1: one copy of each disk stays" wait_until 20 has_copies "$2" "${4:-2}"
    check "$1 is what they are" kept "$1" "$2" "$3"
}

# on FS FORMAT: the life of a VM whose disks are there.
on() {
    local vm=$1-$2 format=$2 root
    note "$1, $format"
    GUEST_FORMAT=$format guest_define "$vm"
    guest_start "$vm"
    check "$vm is there" wait_until 30 field_is vm "$vm" .status.printableStatus Running
    root=$(guest_disk "$vm" vda)
    made "$vm-b1" "$vm" "$format"
    check_equal "the first is full" "$(backup_method "$vm-b1" vda)" Full
    check_equal "the disk is the file that it was" "$(guest_disk "$vm" vda)" "$root"
    check_equal "with nothing below it" "$(chain_length "$root")" 1

    guest_exec "$vm" 'dd if=/dev/urandom of=/data/file bs=64k count=32 2>/dev/null; sync'
    made "$vm-b2" "$vm" "$format"
    incremental "$vm-b2" "2 MiB written"

    guest_exec "$vm" 'dd if=/dev/urandom of=/data/file bs=64k count=16 conv=notrunc 2>/dev/null; sync'
    guest_kill "$vm"
    guest_start "$vm"
    made "$vm-b3" "$vm" "$format"
    incremental "$vm-b3" "QEMU was killed"
    check "the guest goes on" guest_is_writing "$vm"

    guest_shutdown "$vm"
    made "$vm-b4" "$vm" "$format"
    incremental "$vm-b4" "the VM is off"

    snapshot "$vm-s" "$vm"
    check "a snapshot beside it" snapshot_ready "$vm-s"
    guest_start "$vm"
    guest_exec "$vm" 'dd if=/dev/urandom of=/data/file bs=64k count=24 conv=notrunc 2>/dev/null; sync'
    guest_shutdown "$vm"
    restore "$vm-r" "$vm" "$vm-s" "volumeRestorePolicy: InPlace"
    check "the VM goes back to it" restore_complete "$vm-r"
    remove vmsnapshot "$vm-s"
    made "$vm-b5" "$vm" "$format"
    incremental "$vm-b5" "after a restore in place"

    remove_backup "$vm-b5"
    check "without the backup its copies go" wait_until 60 has_copies "$vm" 0
    made "$vm-b6" "$vm" "$format"
    check_equal "and the next one compares" "$(backup_method "$vm-b6" vda)" Rescan
    for n in 1 2 3 4 6; do remove_backup "$vm-b$n"; done
    check "nothing is left of all" wait_until 60 has_copies "$vm" 0
}

reflink_begin() {
    mkdir -p "$top/targets/$fs"
    target default "$top/targets/$fs"
    check "a target" wait_until 20 target_ready_is default "True Ready"
}
if [ "${VMKEEP_CHECK:-}" = full ]; then
    reflink_within xfs qcow2 raw
    reflink_within btrfs raw qcow2
else
    reflink_within xfs raw
fi
