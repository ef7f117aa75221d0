#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=full timeout=1500
# Backups in a world that does not stand still: the guest goes, libvirtd goes,
# others snapshot, commit, copy and roll back its disks, the file system of its
# disks runs full. After each the backup is the cut, byte for byte, or has
# failed cleanly, the guest was not touched, and nothing is left.
# docs/faults.md says which scenario is tested where.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-backup.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard vmkeep-repo virt-test
small_filesystem
libvirt_start

mkdir -p "$T/g1"
qemu-img create -q -f qcow2 "$T/g1/scratch.qcow2" 32M
GUEST_EXTRA="<disk type='file' device='disk'><driver name='qemu' type='qcow2' discard='unmap'/><source file='$T/g1/scratch.qcow2'/><target dev='vdc' bus='virtio'/></disk>" guest_define g1
guest_move_data g1 "$T/small"
guest_start g1
vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 5000" "target_roots = $T/targets"
reads_can_wait
vmkeepd_start PATH="$slow_path"
kubectl_start
target_default
check "the VM is there" wait_until 30 field_is vm g1 .status.printableStatus Running
guest_wait_agent g1

# begin NAME: a backup is cut, the cut is copied, and nothing is read yet.
begin() {
    local disk
    local -A was=()
    for disk in vda vdb vdc; do was[$disk]=$(guest_disk g1 $disk); done
    touch "$T/hold"
    backup "$1" g1
    check "$1: it is cut" eval 'copy_cut g1 "${was[vda]}" "${was[vdb]}" && qemu-img convert -U -O raw "${was[vdc]}" "$T/cut/vdc.raw"'
    check "$1: and about to be read" wait_until 60 backup_is "$1" .status.vmkeep.phase Reading
}
is_cut() {
    local disk
    for disk in vda vdb vdc; do
        backup_export "$1" $disk "$T/export.raw" && same_image "$T/cut/$disk.raw" raw "$T/export.raw" || { echo "$disk differs"; return 1; }
    done
}
# The disks are whole again, libvirt remembers nothing of ours.
is_home() {
    [ -z "$(find "$T/g1" "$T/small" -name '*vmkeep-*')" ] && [ -z "$(virsh -q checkpoint-list g1 --name)" ] &&
        ! virsh -q domblklist g1 | grep -q vmkeep-
}
# end NAME: it is read.
end() {
    rm -f "$T/hold"
    check "$1: it is made" backup_ready "$1" 180
    check "$1: and is the cut ($(backup_method "$1" vda) $(backup_method "$1" vdb) $(backup_method "$1" vdc))" is_cut "$1"
    check "$1: nothing is left of it" eval "backup_clean $1 && wait_until 90 is_home"
}
methods() { echo "$(backup_method "$1" vda) $(backup_method "$1" vdb) $(backup_method "$1" vdc)"; }
scribble() {
    guest_exec g1 'dd if=/dev/urandom of=/dev/vdc bs=4096 seek='$((RANDOM % 8000))' count=20 conv=notrunc 2>/dev/null
        dd if=/dev/urandom of=/data/f bs=64k seek='$((RANDOM % 20))' count=4 conv=notrunc 2>/dev/null; sync'
}
begin first
end first

# ---- F5: the guest goes while its disks are read ----
scribble
begin destroyed
virsh -q destroy g1
end destroyed
guest_start g1
scribble
begin after-destroy
seq=$(guest_acked g1)
guest_shutdown g1
end after-destroy
check_equal "a stop in the read costs no tracking" "$(methods after-destroy)" "Incremental Incremental Incremental"
check "every record is there" verify "$T/g1/root.qcow2" "$T/small/data.qcow2" "$seq"
guest_start g1

# ---- F6: libvirtd goes while they are read ----
scribble
begin libvirtd
libvirt_kill
guest_wait_more g1 5
libvirt_restart
end libvirtd
check "the guest writes on" guest_is_writing g1
guest_wait_agent g1
scribble
begin after-libvirtd
end after-libvirtd
check_equal "that costs no tracking" "$(methods after-libvirtd)" "Incremental Incremental Incremental"

# ---- F8: others snapshot, commit and copy ----
scribble
virsh -q snapshot-create-as g1 --disk-only --atomic --no-metadata \
    --diskspec vda,file="$T/g1/x.vda" --diskspec vdb,file="$T/small/x.vdb" --diskspec vdc,file="$T/g1/x.vdc" >/dev/null
scribble
begin over-snapshot
end over-snapshot
scribble
for disk in vda vdb vdc; do virsh -q blockcommit g1 $disk --active --pivot --wait >/dev/null; done
rm -f "$T"/g1/x.* "$T"/small/x.*
scribble
begin after-commit
end after-commit
scribble
virsh -q blockcopy g1 vdc --dest "$T/g1/copy.qcow2" --format qcow2 --pivot --wait --transient-job >/dev/null
rm "$T/g1/scratch.qcow2"
scribble
begin after-copy
end after-copy
note "methods: over a snapshot: $(methods over-snapshot); after its commit: $(methods after-commit); after a copy: $(methods after-copy)"

# ---- F21: zeros, discards, another file system ----
guest_exec g1 'dd if=/dev/zero of=/dev/vdc bs=4096 seek=100 count=500 conv=notrunc 2>/dev/null; blkdiscard -o 8388608 -l 4194304 /dev/vdc; sync'
begin zeroed
end zeroed
guest_exec g1 'blkdiscard /dev/vdc; mke2fs /dev/vdc >/dev/null 2>&1 || mkfs.ext2 /dev/vdc >/dev/null 2>&1 || mkfs.vfat /dev/vdc; sync; fstrim /data || true'
begin mkfs
end mkfs
check_equal "by the bitmaps" "$(methods mkfs)" "Incremental Incremental Incremental"

# ---- F9: an image is rolled back, with the bitmap that it had then ----
guest_shutdown g1
cp "$T/g1/copy.qcow2" "$T/older.qcow2"
guest_start g1
scribble
begin newer
end newer
guest_shutdown g1
cat "$T/older.qcow2" >"$T/g1/copy.qcow2" # the same inode
guest_start g1
scribble
begin rolled-back
end rolled-back
check_fails "a rolled back image is not believed" eval '[ "$(backup_method rolled-back vdc)" = Incremental ]'
# Internal snapshots: no bitmaps while there is one, so that a revert works.
guest_shutdown g1
check "an internal snapshot by virsh" virsh -q snapshot-create-as g1 inside
guest_start g1
scribble
begin with-inside
end with-inside
guest_shutdown g1
check "it can be reverted to" virsh -q snapshot-revert g1 inside
guest_start g1
scribble
begin reverted
end reverted
guest_shutdown g1
virsh -q snapshot-delete g1 inside
guest_start g1

# ---- F10: the file system of the disks runs full while they are read ----
free_mib() { df --output=avail -m "$T/small" | tail -n 1 | tr -d ' '; }
scribble
begin full
fallocate -l "$(($(free_mib) - 100))M" "$T/small/filler"
guest_exec g1 'dd if=/dev/urandom of=/data/big bs=1M count=42 2>/dev/null; sync'
check "the backup is given up before the guest has no room" backup_failed full 60
note "$(backup_field full .status.error.message)"
rm "$T/hold"
check "the layers are merged back, with the file system as full as it is" wait_until 90 is_home
check "the guest was not stopped" guest_is g1 running
check "it writes" guest_is_writing g1
check "the backup says why" eval '[[ "$(backup_field full .status.error.message)" == *"MiB left"* ]]'
rm "$T/small/filler"
begin roomy
end roomy
seq=$(guest_acked g1)
guest_shutdown g1
check "at the end every record is there" verify "$T/g1/root.qcow2" "$T/small/data.qcow2" "$seq"
check "and the repository is whole" repo_tool verify --quiet --key-file "$(field backuptarget default .status.keyFile)" "$T/targets/a"
