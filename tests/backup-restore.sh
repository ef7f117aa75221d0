#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=600
# The main job, whole, with QEMU as Debian has it, a user of its own: a running
# guest is backed up, writes, is backed up again, and lost with its disks; both
# backups give it back.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-hrestore.sh"
. "$tests_dir/lib-backup.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard vmkeep-repo
LIBVIRT_QEMU_USER=libvirt-qemu
libvirt_start
guest_define g1
guest_start g1
vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 5000" "target_roots = $T/targets"
reads_can_wait
vmkeepd_start PATH="$slow_path"
kubectl_start
target_default
guest_wait_agent g1
wait_until 30 field_is vm g1 .status.printableStatus Running
uuid=$(guest_uuid g1)

# backup_kept NAME: a backup of g1, and copies of its cut in $T/copies.
backup_kept() {
    touch "$T/hold"
    backup "$1" g1
    copy_cut "$1" g1
    apparmor_allows g1 >"$T/apparmor" 2>&1 || touch "$T/apparmor-denies"
    rm "$T/hold"
    mkdir -p "$T/copies"
    mv "$T/cut/vda.raw" "$T/copies/$1-vda.raw" && mv "$T/cut/vdb.raw" "$T/copies/$1-vdb.raw"
    backup_ready "$1"
}
# is_kept VM NAME: are its disks what was copied?
is_kept() {
    local disk
    for disk in vda vdb; do same_image "$(guest_disk "$1" $disk)" qcow2 "$T/copies/$2-$disk.raw" || return 1; done
}
guest_exec g1 'echo one >/data/file; sync'
check_fails "its QEMU is not root's" test "$(stat -c %u "/proc/$(guest_pid g1)")" = 0
check "a full backup" backup_kept b1
guest_exec g1 'echo two >/data/file; sync'
guest_wait_more g1 20
seq=$(guest_acked g1)
check "an incremental one" backup_kept b2
check_equal "by its bitmaps" "$(backup_method b2 vda)" Incremental
wait_until 60 backup_is b2 .status.vmkeep.cut ''

hrestore r1 g2 b1 "newVM: true" "haltAfterRestore: true"
check "the first becomes a new VM beside the running one" hrestore_complete r1 120
check "byte for byte" is_kept g2 b1
check "the old one writes on" guest_is_writing g1

virsh -q dumpxml --inactive g1 >"$T/g1-before.xml"
check "it is lost" eval 'virsh -q destroy g1 && wait_until 30 guest_is g1 "shut off" && virsh -q undefine g1 && rm -f "$T"/g1/*.qcow2'
check "and gone" wait_until 40 eval "is_gone vm g1 || field_is vm g1 .status.printableStatus Undefined"
hrestore r2 g1 b2 "newVM: true" "haltAfterRestore: true"
check "the second brings it back" hrestore_complete r2 120
check_equal "as itself" "$(guest_uuid g1)" "$uuid"
check "byte for byte" is_kept g1 b2
check "every record up to the cut is there" verify -q "$(guest_disk g1 vda)" "$(guest_disk g1 vdb)" "$seq"
# The test guest's kernel is a file of the host: a definition from a backup may
# not name it.
{
    virsh -q dumpxml --inactive g1 | sed '/<\/os>/,$d'
    grep -E '<(kernel|initrd|cmdline)>' "$T/g1-before.xml"
    virsh -q dumpxml --inactive g1 | sed -n '/<\/os>/,$p'
} >"$T/g1-again.xml"
virsh -q define "$T/g1-again.xml" >/dev/null
check "it boots" guest_start g1
guest_wait_agent g1
check_equal "with what it had written" "$(guest_exec g1 'cat /data/file')" two
check "and is backed up again" backup_kept b3
note "method: $(backup_method b3 vda), $(backup_field b3 '.status.vmkeep.tracking[0].reason')"

check_fails "AppArmor had a rule for every layer" eval 'cat "$T/apparmor"; test -e "$T/apparmor-denies"'

guest_shutdown g1
hrestore r3 g1 b1 "newVM: false" "haltAfterRestore: true"
check "in place, to the first backup" hrestore_complete r3 120
check "byte for byte" is_kept g1 b1
check "a backup with completed restores can be deleted" remove_backup b1
check "the VM keeps its disks" is_kept g1 b1
