#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=900
# Backups where things end early or change: cancelled, vmkeepd killed in the
# read, the VM killed, grown, raw disks, a target that is full.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-backup.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard vmkeep-repo
libvirt_start
guest_define g1
guest_start g1
GUEST_FORMAT=raw guest_define g2
vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 5000" "target_roots = $T/targets"
reads_can_wait
vmkeepd_start PATH="$slow_path"
kubectl_start
mkdir -p "$T/targets/small"
target_default
guest_wait_agent g1
wait_until 30 field_is vm g1 .status.printableStatus Running

compare() {
    local disk
    for disk in vda vdb; do
        backup_export "$1" $disk "$T/export.raw" && same_image "$T/cut/$disk.raw" raw "$T/export.raw" || return 1
    done
}
is_reading() { backup_is "$1" .status.vmkeep.phase Reading; }
# no_traces VM: the disks are the domain's own again, nothing lies beside them.
no_traces() { [ -z "$(find "$T/$1" -name '*vmkeep-*')" ] && [ -z "$(find "$T/state/secrets" "$T/run/jobs" -mindepth 1 2>/dev/null)" ]; }

# ---- cancelled ----
touch "$T/hold"
backup c1 g1
check "a backup is being read" wait_until 30 is_reading c1
check "a snapshot of the same VM meanwhile" eval 'snapshot s1 g1 && snapshot_ready s1'
k delete virtualmachinebackups.harvesterhci.io c1 --wait=false >/dev/null
rm "$T/hold"
check "its deletion cancels it" wait_until 60 eval '! k get virtualmachinebackups.harvesterhci.io c1'
check "the snapshot goes" remove vmsnapshot s1
check "nothing is left" wait_until 60 no_traces g1
check_equal "nothing is on the target" "$(repo_tool list --json --key-file "$(field backuptarget default .status.keyFile)" "$T/targets/a")" ""

# ---- vmkeepd is killed in the read; the guest writes and is killed too ----
touch "$T/hold"
backup k1 g1
check "the cut is copied" copy_cut k1 g1
vmkeepd_kill
guest_exec g1 'echo later >/data/file; sync'
guest_kill g1
rm "$T/hold"
vmkeepd_start PATH="$slow_path"
check "after a crash the backup is made all the same" backup_ready k1
check "of the same cut" compare k1
check "nothing is left" wait_until 60 no_traces g1
guest_start g1
guest_wait_agent g1

# ---- increments with writes, zeroes and discards; the disk grows ----
for n in 1 2 3 4; do
    case $n in
    1) guest_exec g1 'dd if=/dev/urandom of=/data/x bs=64k count=40 2>/dev/null; sync' ;;
    2) guest_exec g1 'dd if=/dev/zero of=/data/x bs=64k count=20 conv=notrunc 2>/dev/null; sync' ;;
    3) guest_exec g1 'rm /data/x; sync; fstrim /data 2>/dev/null || true' ;;
    4) virsh -q blockresize g1 vdb 1200M ;;
    esac
    touch "$T/hold"
    backup i$n g1
    copy_cut i$n g1
    rm "$T/hold"
    check "increment $n" backup_ready i$n
    check "is the cut ($(backup_method i$n vda) $(backup_method i$n vdb))" compare i$n
    wait_until 60 backup_is i$n .status.vmkeep.cut ''
    wait_until 60 no_traces g1
done
check_equal "the last ones were incremental" "$(backup_method i3 vda) $(backup_method i4 vda)" "Incremental Incremental"

# ---- raw disks of a stopped VM ----
mkdir -p "$T/cut"
qemu-img convert -O raw -f raw "$(guest_disk g2 vda)" "$T/cut/vda.raw"
qemu-img convert -O raw -f raw "$(guest_disk g2 vdb)" "$T/cut/vdb.raw"
wait_until 20 exists vm g2
backup r1 g2
check "raw disks of a stopped VM" backup_ready r1
check "are kept byte for byte" compare r1
backup r2 g2
check "and again" backup_ready r2
check_equal "by comparison" "$(backup_method r2 vda)" Rescan
check "which stores nothing new" test "$(backup_field r2 .status.vmkeep.storedBytes)" -lt $((1 << 20))
check_equal "the disks are where they were" "$(guest_disk g2 vda)" "$T/g2/root.raw"

# ---- the VM is undefined in the read ----
GUEST_APPEND="writer=off" guest_define g3
wait_until 20 exists vm g3
touch "$T/hold"
backup u1 g3
check "a stopped VM is cut" copy_cut u1 g3
virsh -q undefine g3
rm "$T/hold"
check "undefined in the read: the backup is made all the same" backup_ready u1
check "and is the cut" compare u1
check "it holds nothing any more" backup_clean u1
check "and can be deleted" remove_backup u1

# ---- the target is full ----
mount -t tmpfs -o size=2m tmpfs "$T/targets/small" || skip_all "cannot mount a tmpfs"
cleanup_fn umount -l "$T/targets/small"
target small "$T/targets/small"
check "a small target" wait_until 20 target_ready_is small "True Ready"
backup f1 g1 backup vmkeep.io/backup-target small
check "a backup that does not fit says so" wait_until 60 eval '[ -n "$(backup_field f1 .status.error.message)" ]'
note "$(backup_field f1 .status.error.message)"
check "the guest writes on" guest_is_writing g1
check "it can be deleted" remove_backup f1
check "nothing is left" wait_until 60 no_traces g1


# ---- verify ----
k annotate virtualmachinebackups.harvesterhci.io i4 vmkeep.io/verify=once >/dev/null
check "verify on request" wait_until 30 backup_is i4 .status.vmkeep.lastVerify once
check_equal "says that it is whole" "$(backup_condition i4 Verified)" "True: Everything was read and checked"
