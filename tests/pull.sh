#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=full timeout=900
# Backups of block devices: pulled out of a running machine, read from a stopped
# one; the guest never meets a full scratch file.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-backup.sh"
. "$tests_dir/lib-hrestore.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard vmkeep-repo
requires_program losetup mkfs.ext4

size=48 # MiB
mkdir -p "$T/g" "$T/scratch" "$T/images" "$T/targets/a"
truncate -s ${size}M "$T/device.img"
device=$(losetup --find --show "$T/device.img") || skip_all "no loop devices here"
cleanup_fn losetup -d "$device"
truncate -s 160M "$T/scratch.img"
mkfs.ext4 -q "$T/scratch.img"
mount -o loop "$T/scratch.img" "$T/scratch" || skip_all "no loop mounts here"
cleanup_fn umount -l "$T/scratch"
rmdir "$T/scratch/lost+found"

LIBVIRT_QEMU_USER=libvirt-qemu # as Debian has it
libvirt_start
qemu-img create -q -f qcow2 "$T/g/root.qcow2" 16M
cat >"$T/g.xml" <<XML
<domain type='qemu'><name>g</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$T/g/root.qcow2'/><target dev='vda' bus='virtio'/><alias name='ua-vda'/></disk>
<disk type='block' device='disk'><driver name='qemu' type='raw' cache='none'/><source dev='$device'/><target dev='vdb' bus='virtio'/><alias name='ua-vdb'/></disk>
<controller type='usb' model='none'/><memballoon model='none'/><audio id='1' type='none'/></devices></domain>
XML
virsh -q define "$T/g.xml"
virsh -q start g
# guest_put TARGET PATTERN OFFSET LENGTH: the running machine writes.
guest_put() {
    local out
    out=$(virsh -q qemu-monitor-command g --hmp "qemu-io -d /machine/peripheral/ua-$1/virtio-backend \"write -P $2 $3 $4\"")
    [[ $out != *[Ee]rror* && $out != *[Ff]ail* ]] || { echo "$out" >&2; return 1; }
}
# overwrite PATTERN: all of the device, in pieces.
overwrite() {
    local at
    for ((at = 0; at < size; at += 8)); do guest_put vdb "$1" ${at}M 8M || return 1; done
}
copy_device() { sync; dd if="$device" of="$1" bs=1M iflag=direct status=none; }
guest_is_well() { guest_is g running && [[ $(virsh -q domblkerror g) == *"No errors"* || -z $(virsh -q domblkerror g) ]]; }
no_job() { [[ $(virsh -q domjobinfo g | head -n 1) == *None* ]]; }
scratch_is_empty() { [ -z "$(ls -A "$T/scratch")" ]; }
held() { touch "$T/hold"; backup "$1" g && wait_until 60 backup_is "$1" .status.vmkeep.phase Reading; }
is_cut_of() { backup_export "$1" "$2" "$T/export.raw" && same_image "$3" raw "$T/export.raw"; }

# ---- not asked for ----
reads_can_wait
vmkeepd_configure "min_free = 16M" "target_roots = $T/targets" "restore_dir = $T/images"
vmkeepd_start PATH="$slow_path"
kubectl_start
target default "$T/targets/a"
check "a target" wait_until 20 target_ready_is default "True Ready"
wait_until 30 field_is vm g .status.printableStatus Running
guest_put vdb 1 0 48M
guest_put vda 1 0 4M
backup none g
check "without scratch_dir a backup is made" backup_ready none
check "which leaves the device out and says why" eval "[[ \$(backup_field none .status.vmkeep.excluded) == *scratch_dir* ]]"
vmkeepd_stop
vmkeepd_configure "min_free = 16M" "target_roots = $T/targets" "restore_dir = $T/images" "scratch_dir = $T/scratch"
vmkeepd_start PATH="$slow_path"
kubectl_start
check "the target is there again" wait_until 20 target_ready_is default "True Ready"

# ---- QEMU cannot reach it ----
chmod 700 "$T/scratch"
backup b0 g
check "a scratch_dir that QEMU's user cannot reach is named" wait_until 60 eval "[[ \$(backup_field b0 .status.error.message) == *'chmod o+x'* ]]"
chmod 755 "$T/scratch"
check "with the right mode the backup is made" backup_ready b0 150
wait_until 60 backup_is b0 .status.vmkeep.cut ''

# ---- a running machine ----
copy_device "$T/first.raw"
check "a backup is cut" held b1
socket=$(virsh -q backup-dumpxml g | sed -n "s/.*socket='\([^']*\)'.*/\1/p")
check "the socket is where AppArmor lets QEMU make it" eval \
    "virsh -q dumpxml g | in_namespace /usr/lib/libvirt/virt-aa-helper --dryrun --replace --uuid libvirt-$(guest_uuid g) 2>&1 | grep -F '\"${socket%/*}/*\" rw'"
check "the scratch file has its room" test "$(du -m "$T/scratch/$(backup_field b1 .metadata.uid)/vdb" | cut -f1)" -ge $size
dd if=/dev/zero of="$T/scratch/others" bs=1M status=none 2>/dev/null || true
check "others fill that file system" test "$(df --output=avail -m "$T/scratch" | tail -n 1)" -lt 2
check "the guest overwrites all of its disk" overwrite 2
check "and is well" guest_is_well
check "so it does on the other one" guest_put vda 2 0 4M
rm "$T/hold"
check "the backup is made" backup_ready b1
check "it has the device as it was at the cut" is_cut_of b1 vdb "$T/first.raw"
check_equal "compared with the one before" "$(backup_method b1 vdb)" Rescan
check "nothing is left of the job" wait_until 60 no_job
rm -f "$T/scratch/others"
check "nor of the scratch files" wait_until 60 scratch_is_empty
wait_until 60 backup_is b1 .status.vmkeep.cut ''

# ---- the next ----
guest_put vdb 3 20M 1M
copy_device "$T/second.raw"
backup b2 g
check "the next backup is made" backup_ready b2
check_equal "compared with the last" "$(backup_method b2 vdb)" Rescan
check "it is the device" is_cut_of b2 vdb "$T/second.raw"
wait_until 60 backup_is b2 .status.vmkeep.cut ''

# ---- no room ----
dd if=/dev/zero of="$T/scratch/others" bs=1M count=100 status=none
backup b3 g
check "a backup without room for its scratch file waits" wait_until 60 eval "[[ \$(backup_field b3 .status.error.message) == *'make room'* ]]"
check "and the guest is well" guest_is_well
rm "$T/scratch/others"
check "with room it is made" backup_ready b3 150
wait_until 60 backup_is b3 .status.vmkeep.cut ''

# ---- a snapshot meanwhile ----
check "a backup is cut" held b4
snapshot s1 g
sleep 2
check_equal "a snapshot waits for it" "$(field vmsnapshot s1 .status.readyToUse)" false
rm "$T/hold"
check "both are made" eval "backup_ready b4 && snapshot_ready s1"
remove vmsnapshot s1

# ---- vmkeepd is killed ----
copy_device "$T/third.raw"
check "a backup is cut" held b5
vmkeepd_kill
check "the guest overwrites all of its disk without vmkeepd" overwrite 5
check "and is well" guest_is_well
rm "$T/hold"
vmkeepd_start PATH="$slow_path"
check "the same cut is read by the next vmkeepd" backup_ready b5
check "it is the device as it was" is_cut_of b5 vdb "$T/third.raw"
check "nothing is left" wait_until 60 eval "no_job && scratch_is_empty"

# ---- the machine is killed ----
check "a backup is cut" held b6
kill -KILL "$(guest_pid g)"
wait_until 30 guest_is g "shut off"
rm "$T/hold"
check "it is cut anew and made" backup_ready b6 150
copy_device "$T/fourth.raw"
check "it is the device of the stopped machine" is_cut_of b6 vdb "$T/fourth.raw"
wait_until 60 backup_is b6 .status.vmkeep.cut ''

# ---- a stopped machine ----
backup b7 g
check "a backup of the stopped machine" backup_ready b7
check "is the device" is_cut_of b7 vdb "$T/fourth.raw"
wait_until 60 backup_is b7 .status.vmkeep.cut ''
check "a backup of it is cut" held b8
virsh -q start g
check "the machine is started and writes" guest_put vdb 8 0 1M
rm "$T/hold"
copy_device "$T/fifth.raw"
check "that backup is cut anew" backup_ready b8 150
check "and has what was written" is_cut_of b8 vdb "$T/fifth.raw"
wait_until 60 backup_is b8 .status.vmkeep.cut ''

# ---- restores ----
hrestore r1 copy b1 "newVM: true" "haltAfterRestore: true"
check "a new machine is made of it" hrestore_complete r1
check "its disk is a file" eval "[[ \$(virsh -q dumpxml copy) == *\"<source file='$T/images/\"* ]]"
file=$(guest_disk copy vdb)
check "with the device's bytes" same_image "$file" raw "$T/first.raw"
virsh -q destroy g
hrestore r2 g b2 "newVM: false" "deletionPolicy: retain" "haltAfterRestore: true"
check "the machine itself is restored" hrestore_complete r2
file=$(guest_disk g vdb)
check "its disk is a new file" test -f "$file"
check "with the bytes of that backup" same_image "$file" raw "$T/second.raw"
copy_device "$T/after.raw"
check "the device is as it was" same_image "$T/fifth.raw" raw "$T/after.raw"
