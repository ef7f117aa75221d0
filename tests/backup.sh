#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=900
# Backups of a real guest: full, incremental, stopped, after a kill; each
# compared with copies that qemu-img took of the cut.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-backup.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard vmkeep-repo
libvirt_start
guest_define g1
guest_start g1
vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 5000" "target_roots = $T/targets"
reads_can_wait
vmkeepd_start PATH="$slow_path"
kubectl_start
target_default
check "the VM is there" wait_until 30 field_is vm g1 .status.printableStatus Running
check "its agent is connected" guest_wait_agent g1
home=$(guest_disk g1 vda)

# compare NAME: both disks of the backup are the copies of hold_at_cut.
compare() {
    local disk
    for disk in vda vdb; do
        backup_export "$1" $disk "$T/export.raw" || { echo "$disk cannot be read from the repository"; return 1; }
        same_image "$T/cut/$disk.raw" raw "$T/export.raw" || { echo "$disk differs"; return 1; }
    done
}
# clean NAME: and its layers are merged back: killing, stopping or starting the
# guest is no matter of luck.
clean() { backup_clean "$1" && wait_until 60 layers_merged g1; }
# backup_compared NAME [ANNOTATION VALUE]: of the running g1.
backup_compared() {
    touch "$T/hold"
    backup "$1" g1 backup "${@:2}"
    copy_cut "$1" g1 || { rm "$T/hold"; return 1; }
    rm "$T/hold"
    backup_ready "$1" || { echo "it is not ready: $(backup_field "$1" .status)"; return 1; }
    compare "$1"
}

# ---- full ----
guest_wait_acked g1 20
# More than what is written during the rest, however long that takes.
guest_exec g1 "dd if=/dev/urandom of=/data/big bs=1M count=48 2>/dev/null; sync"
seq=$(guest_acked g1)
check "a full backup of the running VM is the cut, byte for byte" backup_compared b1
check_equal "it was a full one" "$(backup_method b1 vda)" Full
check "the guest writes on" guest_is_writing g1
check_equal "its file systems were frozen" "$(backup_field b1 .status.vmkeep.quiesced)" true
frozen=$(backup_field b1 .status.vmkeep.frozenMilliseconds)
note "frozen for $frozen ms"
check_equal "Ready says so" "$(backup_condition b1 Ready)" "True: Operation complete"
check_equal "InProgress says so" "$(backup_condition b1 InProgress)" "False: Operation complete"
check_equal "MetadataReady too" "$(backup_condition b1 MetadataReady)" "True: The metadata is on the target"
check_equal "progress is 100" "$(backup_field b1 .status.progress)" 100
check_equal "the volumes are named as Harvester names them" "$(backup_field b1 '.status.volumeBackups[0].name')" b1-volume-g1-vda
check_equal "the VM is kept" "$(backup_field b1 .status.source.metadata.name)" g1
check_equal "by its UID" "$(backup_field b1 .status.sourceUID)" "$(guest_uuid g1)"
check "the layers are merged back" wait_until 60 eval '[ "$(guest_disk g1 vda)" = "$home" ]'
check "nothing is left of the cut" clean b1
check "every record up to the cut is in it" eval 'backup_export b1 vda "$T/a.raw" && backup_export b1 vdb "$T/b.raw" && verify -q "$T/a.raw" "$T/b.raw" "$seq"'

# ---- incremental ----
guest_exec g1 'dd if=/dev/urandom of=/data/blob bs=1M count=2 2>/dev/null; sync'
check "an incremental backup is the cut, byte for byte" backup_compared b2
check_equal "it was an incremental one" "$(backup_method b2 vda) $(backup_method b2 vdb)" "Incremental Incremental"
full=$(backup_field b1 .status.vmkeep.readBytes) part=$(backup_field b2 .status.vmkeep.readBytes)
note "full read $full bytes, incremental $part, dirty $(backup_field b2 .status.vmkeep.dirtyBytes), stored $(backup_field b2 .status.vmkeep.storedBytes)"
check "it read less" test "$part" -lt "$full"
check "and what was written" test "$part" -ge $((2 << 20))
check_equal "its parent is the first" "$(backup_field b2 .status.vmkeep.parentBackupID)" "$(backup_field b1 .status.vmkeep.backupID)"
check "nothing is left of the cut" clean b2

# ---- a snapshot in between ----
guest_exec g1 'dd if=/dev/urandom of=/data/more bs=1M count=2 2>/dev/null; sync'
snapshot s1 g1
check "a snapshot between backups" snapshot_ready s1
guest_exec g1 'dd if=/dev/zero of=/data/blob bs=1M count=1 conv=notrunc 2>/dev/null; rm /data/more; sync'
check "a backup over the snapshot's layers" backup_compared b3
check_equal "is incremental" "$(backup_method b3 vdb)" Incremental
check "the snapshot can go" remove vmsnapshot s1
check "nothing is left of the cut" clean b3

# ---- type snapshot ----
check "type snapshot" backup snap g1 snapshot
check "is ready" backup_ready snap
check_equal "it is a VirtualMachineSnapshot" "$(field vmsnapshot snap .status.phase)" Succeeded
check_equal "with its volumes" "$(backup_field snap '.status.volumeBackups[*].volumeName')" "vda vdb"
check "deleting it" remove_backup snap
check "deletes the snapshot" wait_until 30 is_gone vmsnapshot snap

# ---- freeze policies ----
guest_hang_agent g1 12
check "a hung agent: the backup is made without a freeze" backup hung g1
check "and is ready" backup_ready hung
check_equal "and says so" "$(backup_field hung .status.vmkeep.quiesced)" false
check "with the reason" eval '[[ "$(backup_condition hung Quiesced)" == False:* ]]'
guest_wait_agent g1
check "quiesce none" backup none g1 backup vmkeep.io/quiesce none
check "is ready" backup_ready none
check_equal "without a freeze" "$(backup_field none .status.vmkeep.quiesced)" false
check "nothing is left of the cut" clean none

# ---- QEMU is killed ----
guest_kill g1
guest_start g1
guest_wait_agent g1
check "after a kill of QEMU" backup_compared b4
check_equal "the bitmaps are not believed" "$(backup_method b4 vda)" Rescan
note "reason: $(backup_field b4 '.status.vmkeep.tracking[0].reason')"
check "little is stored all the same" test "$(backup_field b4 .status.vmkeep.storedBytes)" -lt $((64 << 20))
check "nothing is left of the cut" clean b4
check "and afterwards" backup_compared b5
check_equal "they are again" "$(backup_method b5 vda)" Incremental
check "nothing is left of the cut" clean b5

# ---- stopped ----
guest_shutdown g1
mkdir -p "$T/cut"
check "the layers are merged back" wait_until 60 eval '[ "$(guest_disk g1 vda)" = "$home" ]'
qemu-img convert -O raw "$(guest_disk g1 vda)" "$T/cut/vda.raw"
qemu-img convert -O raw "$(guest_disk g1 vdb)" "$T/cut/vdb.raw"
check "a stopped VM" backup b6 g1
check "is backed up" backup_ready b6
check "byte for byte" compare b6
check_equal "by its bitmaps" "$(backup_method b6 vda)" Incremental
check_equal "the definition is whole" "$(backup_field b6 .status.vmkeep.secretsRedacted)" false
check "nothing is left of the cut" clean b6

# ---- made smaller and larger again ----
# What it lost is marked in no bitmap.
vdb=$(guest_disk g1 vdb)
cp "$vdb" "$T/vdb.kept"
qemu-img resize -q --shrink -f qcow2 "$vdb" 9000K
qemu-img resize -q -f qcow2 "$vdb" 1G
qemu-img convert -O raw "$vdb" "$T/cut/vdb.raw"
check "a disk that was made smaller and larger again" backup lost g1
check "is backed up" backup_ready lost
check "byte for byte: what it lost is zero" compare lost
check_equal "by its bitmaps and what is a hole now" "$(backup_method lost vdb)" Incremental
check "nothing is left of the cut" clean lost
cat "$T/vdb.kept" >"$vdb"
guest_start g1
guest_wait_agent g1
check "started again" backup_compared b7
check_equal "what it wrote is known" "$(backup_method b7 vda)" Incremental
check "nothing is left of the cut" clean b7

# ---- deletion ----
id=$(backup_field b3 .status.vmkeep.backupID)
check "a backup in the middle is deleted" remove_backup b3
check_fails "and its data" eval "repo_tool list --key-file '$(field backuptarget default .status.keyFile)' '$T/targets/a' | grep -q $id"
check "the others are whole" eval 'backup_export b2 vdb "$T/export.raw" && backup_export b7 vdb "$T/export.raw" && same_image "$T/cut/vdb.raw" raw "$T/export.raw"'

# ---- the target goes away ----
mv "$T/targets/a" "$T/targets/away"
target_poke default
check "the target is not mounted?" wait_until 20 target_ready_is default "False NotMounted"
check_equal "its backups stay as they are" "$(backup_field b7 .status.readyToUse)" true
check "a backup can be deleted all the same" remove_backup b4
check_equal "its deletion waits" "$(field backuptarget default '.status.pendingDeletions[*].name')" b4
backup away g1
check "a backup says what is the matter" wait_until 20 eval '[[ "$(backup_field away .status.error.message)" == *"not mounted"* ]]'
check "and can be deleted" remove_backup away
mv "$T/targets/away" "$T/targets/a"
check "the target is back" wait_until 30 target_ready_is default "True Ready"
check "and the deletion is done" wait_until 30 field_is backuptarget default .status.pendingDeletions ''
check "the deleted backup does not come back" eval 'sleep 2; target_poke default; sleep 2; ! k get virtualmachinebackups.harvesterhci.io b4'

# ---- objects that are lost ----
check "a BackupTarget is deleted" remove backuptarget default
check "its backups are not ready" wait_until 30 backup_is b7 .status.readyToUse false
check_equal "and say why" "$(backup_condition b7 Ready)" "False: its BackupTarget was deleted; the data is where it was"
check "made again" target default "$T/targets/a"
check "they are ready again" backup_ready b7 40

# ---- a host that never saw the VM ----
vmkeepd_stop
mkdir "$T/kept"
cp -a "$T/state/keys" "$T/kept/"
mv "$T/state" "$T/state.old"
mkdir "$T/state"
cp -a "$T/kept/keys" "$T/state/"
vmkeepd_start PATH="$slow_path"
kubectl_start
check "without any object" target default "$T/targets/a"
check "the backups are found on the target" wait_until 40 backup_is b7 .status.readyToUse true
check_equal "with the VM" "$(backup_field b7 .status.source.metadata.name)" g1
check_equal "and how they were made" "$(backup_method b6 vda)" Incremental
check_equal "marked" "$(backup_field b7 .status.vmkeep.synced)" true
check "the next backup of the VM compares with them" backup b8 g1
check "and is ready" backup_ready b8
check_equal "its parent is the newest" "$(backup_field b8 .status.vmkeep.parentBackupID)" "$(backup_field b7 .status.vmkeep.backupID)"
note "method: $(backup_method b8 vda)"
