#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=600
# The whole way with VirtualMachineBackups, as a user goes it: a full backup, an
# incremental one, the guest and its disks lost, restored as itself; and
# backups of type snapshot.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-backup.sh"
. "$tests_dir/lib-hrestore.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard vmkeep-repo
libvirt_start
guest_define g1
guest_start g1
mkdir -p "$T/restored" "$T/target" "$T/copy"
vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 5000" "trash_hours = 1" "target_roots = $T" "restore_dir = $T/restored"
reads_can_wait
vmkeepd_start "PATH=$slow_path"
kubectl_start
wait_until 30 field_is vm g1 .status.printableStatus Running
target default "$T/target"
check "the target is ready" wait_until 30 target_ready_is default "True Ready"
file_is() { [ "$(guest_exec "$1" 'cat /data/file')" = "$2" ]; }

# backed_up NAME: back g1 up; $T/copy/NAME-vda is what qemu-img copies of the cut
# before anything is read.
backed_up() {
    touch "$T/hold"
    backup "$1" g1 && copy_cut "$1" g1
    rm -f "$T/hold"
    mv "$T/cut/vda.raw" "$T/copy/$1-vda" && mv "$T/cut/vdb.raw" "$T/copy/$1-vdb" && backup_ready "$1"
}
guest_exec g1 'echo one >/data/file; sync'
guest_wait_acked g1 10
check "a full backup" backed_up b1
check "its overlays go" backup_clean b1
guest_exec g1 'echo two >/data/file; sync'
guest_wait_more g1 20
seq=$(guest_acked g1)
check "an incremental backup" backed_up b2
check_equal "it is one" "$(backup_method b2 vdb)" Incremental
check "its overlays go" backup_clean b2
guest_exec g1 'echo three >/data/file; sync'

# ---- the guest and its disks are lost ----
uuid=$(guest_uuid g1)
virsh -q destroy g1
virsh -q undefine g1
rm -f "$T"/g1/*.qcow2*
check "the VM is gone" wait_until 60 eval "is_gone vm g1 || field_is vm g1 .status.printableStatus Undefined"
hrestore r1 g1 b2 "newVM: true" "haltAfterRestore: true"
check "it is restored" hrestore_complete r1 120
check_equal "as itself" "$(guest_uuid g1)" "$uuid"
check "byte for byte what qemu-img copied at the cut" is_copy g1 b2
check "every record up to the cut is there" verify -q "$(guest_disk g1 vda)" "$(guest_disk g1 vdb)" "$seq"
check "it boots: its definition is known to be of this host" guest_start g1
check "with the file of the backup" file_is g1 two
check "a backup of the restored VM" backed_up b3
check "its overlays go" backup_clean b3
guest_shutdown g1

# ---- in place, to an older one ----
hrestore r2 g1 b1 "haltAfterRestore: true"
check "the older backup is restored in place" hrestore_complete r2 120
check "byte for byte" is_copy g1 b1
hrestore r3 g2 b3 "newVM: true" "haltAfterRestore: true"
check "another VM from the newest one" hrestore_complete r3 120
check "byte for byte" is_copy g2 b3
check "it boots" guest_start g2
check "with its file" file_is g2 two
virsh -q destroy g2

# ---- type snapshot ----
for target in vda vdb; do qemu-img convert -U -O raw "$(guest_disk g1 $target)" "$T/copy/sn-$target"; done
backup sn g1 snapshot
check "a backup of type snapshot is ready" backup_ready sn
check "guests write on" guest_start g1
check "with the file of the backup" file_is g1 one
guest_exec g1 'echo four >/data/file; sync'
hrestore r4 g3 sn "newVM: true" "haltAfterRestore: true"
check "a new VM from it" hrestore_complete r4 120
check "byte for byte" is_copy g3 sn
check "its claims have Harvester's names" exists pvc "restore-sn-$(field $R r4 .metadata.uid)-vda"
guest_shutdown g1
check_fails "a replace that would delete is refused" hrestore bad g1 sn
check_fails "another namespace too" eval "k create namespace other >/dev/null; hrestore bad g4 sn 'newVM: true' 'namespace other'"
hrestore r5 g1 sn "deletionPolicy: retain"
check "a replace that retains" hrestore_complete r5 120
check_equal "starts the VM" "$(guest_state g1)" running
check "its agent answers" guest_wait_agent g1
check "with the file of the snapshot" file_is g1 one
for r in r1 r2 r3 r4 r5; do check "$r is deleted" remove $R $r; done
check "nobody is locked" eval "is_unlocked g1 && is_unlocked g2 && is_unlocked g3"
