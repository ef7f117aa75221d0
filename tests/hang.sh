#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=full timeout=900
# A BackupTarget whose file server is away: every call on its mount hangs, for
# as long as it is away, and cannot be interrupted. Nobody else may wait.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-backup.sh"
. "$tests_dir/lib-hrestore.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard vmkeep-repo hangfs
[ -c /dev/fuse ] || skip_all "needs /dev/fuse"

# ---- machines without a system in them ----
vm_bare() {
    mkdir -p "$T/$1"
    qemu-img create -q -f qcow2 "$T/$1/disk.qcow2" 64M
    qemu-io -c "write -P ${2:-17} 0 16M" "$T/$1/disk.qcow2" >/dev/null
    cat >"$T/$1/domain.xml" <<XML
<domain type='qemu'><name>$1</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$T/$1/disk.qcow2'/><target dev='vda' bus='virtio'/></disk>
<controller type='usb' model='none'/><memballoon model='none'/><audio id='1' type='none'/></devices></domain>
XML
    virsh -q define "$T/$1/domain.xml"
    virsh -q start "$1"
}

# ---- a mount that can hang ----
mount_is_there() { grep -q " $T/targets/far " /proc/self/mountinfo; }
far_end() {
    kill -KILL "$pid_hangfs" # who hangs goes on, with an error
    umount -l "$T/targets/far"
}
far_hangs() { kill -STOP "$pid_hangfs"; }
far_is_back() { kill -CONT "$pid_hangfs"; }
# within SECONDS COMMAND...: for what must not wait for the file server; the
# bound is far below its absence, and far above what the work takes.
within() {
    local limit=$(($1 * TEST_PATIENCE))
    shift
    timeout "$limit" "$@"
}
far() { backup "$1" "$2" backup vmkeep.io/backup-target far; }
delete_within() { within 45 "$kubectl_path" delete "$1" "$2" --timeout=600s >/dev/null; }
in_far() { repo_tool list --key-file "$(field backuptarget far .status.keyFile)" "$T/store" --json | grep -c "$1"; }

mkdir -p "$T/store" "$T/targets/far" "$T/targets/near"
start_process hangfs "$(program hangfs)" "$T/store" "$T/targets/far"
cleanup_fn far_end
wait_until 10 mount_is_there || skip_all "no FUSE mounts here"
libvirt_start
for v in v1 v2 v3; do vm_bare $v; done
vmkeepd_configure "min_free = 64M" "target_roots = $T/targets"
reads_can_wait
vmkeepd_start PATH="$slow_path"
kubectl_start
target far "$T/targets/far"
target near "$T/targets/near"
for t in far near; do check "the target $t is ready" wait_until 20 target_ready_is $t "True Ready"; done
for v in v1 v2 v3; do wait_until 30 field_is vm $v .status.printableStatus Running; done
far old v1
check "a backup over the mount" backup_ready old
far gone v1
check "and another" backup_ready gone
old=$(backup_field old .metadata.uid) gone=$(backup_field gone .metadata.uid)
check_equal "which is in the repository" "$(in_far "$gone")" 1

# ---- it hangs ----
touch "$T/hold"
far s1 v1
far s2 v2
check "two backups begin" wait_until 30 eval "backup_is s1 .status.vmkeep.phase Reading && backup_is s2 .status.vmkeep.phase Reading"
far_hangs
rm "$T/hold"
far late v3
check "one more says why it does not begin" wait_until 60 eval "[[ \$(backup_field late .status.error.message) == *'does not answer'* ]]"
check "and is deleted" delete_within "$B" late
backup b1 v3 backup vmkeep.io/backup-target near
check "one of a third machine, to another target, does not wait for them" backup_ready b1 150
check "targets can be listed" within 10 "$(program vmkeep)" target list
check "the target says that it does not answer" wait_until 60 target_ready_is far "False NotAnswering"
check "an event says so" wait_until 10 eval "k get events -A | grep -q 'does not answer'"
check "so does the backup that waits" wait_until 20 eval "[[ \$(backup_field s2 .status.error.message) == *'does not answer'* ]]"
check "the other target is ready" target_ready_is near "True Ready"
snapshot during v1
check "a snapshot of a machine whose backup hangs" snapshot_ready during
check "a finished backup on the target is deleted" delete_within "$B" gone
check "an event says that its data stay until then" wait_until 10 eval "k get events -A | grep -q DeletionQueued"
check "so does the target" eval "[[ \$(field backuptarget far .status.pendingDeletions) == *$gone* ]]"
check "a backup that hangs is deleted" delete_within "$B" s1
check "its machine gets another one" eval "backup b2 v1 backup vmkeep.io/backup-target near; backup_ready b2"
hrestore r1 copy old "newVM: true" || true
check "a restore of the target waits" wait_until 30 eval "[[ \$(k get $R r1 -o jsonpath={.status}) == *'does not answer'* ]]"
check "and is deleted" delete_within "$R" r1
backup b3 v3 backup vmkeep.io/backup-target near
check "after all that, the next backup of the third machine" backup_ready b3

# ---- it is back ----
far_is_back
check "the target is ready again" wait_until 60 target_ready_is far "True Ready"
check "the backup that had hung is made" backup_ready s2 150
check "what was to be deleted is" wait_until 60 eval "[ \$(in_far $gone) = 0 ]"
check "and no longer noted" wait_until 30 eval "[ -z \"\$(field backuptarget far .status.pendingDeletions)\" ]"
target_poke far
sleep 2
check "nothing that was deleted comes back" eval "is_gone $B gone && is_gone $B s1"
check "the one that stayed is there" backup_is old .status.readyToUse true
check_equal "in the repository too" "$(in_far "$old")" 1
hrestore r2 again old "newVM: true"
check "it can be restored" hrestore_complete r2
check "all layers of the backups are merged" wait_until 60 eval "layers_merged v1 && layers_merged v2"

# ---- it hangs, and vmkeepd starts again ----
vmkeepd_stop
far_hangs
vmkeepd_start PATH="$slow_path"
check "a vmkeepd that starts meanwhile makes backups to the other target" eval "backup b4 v3 backup vmkeep.io/backup-target near; backup_ready b4"
check "and deletes" delete_within "$B" old
far_is_back
check "and works it off later" wait_until 60 eval "[ \$(in_far $old) = 0 ]"
