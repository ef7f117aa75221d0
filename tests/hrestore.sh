#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=900
# Harvester's VirtualMachineRestore on a real guest: from a repository to a new
# VM and in place of the old one, across namespaces, what is refused, dry runs,
# cancelled, without space. Every restored disk is compared with a copy that
# qemu-img took at the cut.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-hrestore.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard vmkeep-repo
requires_program python3
libvirt_start
nic="<interface type='user'><mac address='52:54:00:aa:bb:01'/><model type='virtio'/></interface>"
GUEST_EXTRA=$nic guest_define g1
guest_start g1
mkdir "$T/restored"
vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 5000" "trash_hours = 1" "target_roots = $T" "restore_dir = $T/restored"
vmkeepd_start
kubectl_start
check "the VM is there" wait_until 30 field_is vm g1 .status.printableStatus Running
file_is() { [ "$(guest_exec "$1" 'cat /data/file')" = "$2" ]; }

# ---- a backup of a running VM ----
guest_exec g1 'echo one >/data/file; sync'
guest_wait_acked g1 20
seq=$(guest_acked g1)
snapshot s1 g1
check "a cut of the running VM" snapshot_ready s1
guest_exec g1 'echo two >/data/file; sync'
repository_make
backup_import b1 g1 s1
BACKUP_FORMAT=raw backup_import b2 g1 s1
target_make
check "a host that finds a backup makes an object of it" backup_ready b1

# ---- refused at once ----
check_fails "a VM that runs is not replaced" hrestore bad g1 b1
check_fails "a new VM does not take the name of another" hrestore bad g1 b1 "newVM: true"
check_fails "nor the MAC addresses of one that is there" hrestore bad g2 b1 "newVM: true" "keepMacAddress: true"
check_fails "a backup that is not there is refused" hrestore bad g2 b9 "newVM: true"

# ---- a dry run ----
hrestore dry g2 b1 "newVM: true" "annotation vmkeep.io/dry-run true"
check "a dry run completes" hrestore_complete dry 30
check_fails "and makes nothing" exists vm g2
check_equal "no file either" "$(ls "$T/restored")" ""
lines=$(k get $R dry -o 'jsonpath={range .status.vmkeep.preflight[*]}{@}{"\n"}{end}')
for word in repository name UUID 'MAC address' space; do
    check "it says what it found: $word" grep -q "^$word: " <<<"$lines"
done
check_equal "and that it was one" "$(hcondition $R dry Ready)" "True: Dry run complete: nothing was changed"

# ---- a new VM, while the old one runs ----
hrestore r1 g2 b1 "newVM: true"
check "a new VM is made" hrestore_complete r1 120
check_equal "Ready says so" "$(hcondition $R r1 Ready)" "True: Operation complete"
check_equal "InProgress says so" "$(hcondition $R r1 InProgress)" "False: Operation complete"
check_equal "progress is 100" "$(field $R r1 .status.progress)" 100
check_equal "it is started" "$(guest_state g2)" running
check_equal "the restore names it" "$(field $R r1 .status.targetUID)" "$(guest_uuid g2)"
check "it has another UUID" test "$(guest_uuid g2)" != "$(guest_uuid g1)"
check_fails "and another MAC address" eval "virsh -q dumpxml g2 | grep -q 52:54:00:aa:bb:01"
check_equal "its claims have Harvester's names" "$(field $R r1 '.status.restores[0].persistentVolumeClaimSpec.metadata.name')" \
    "restore-b1-$(field $R r1 .metadata.uid)-vda"
check "and are there" exists pvc "restore-b1-$(field $R r1 .metadata.uid)-vda"
check_equal "its disks are where restore_dir says" "$(dirname "$(guest_disk g2 vda)")" "$T/restored"
check "its agent answers" guest_wait_agent g2
check "it has the file of the backup" file_is g2 one
check "the old VM has its own" file_is g1 two
check "and writes on" guest_is_writing g1
virsh -q destroy g2

hrestore r2 g3 b1 "newVM: true" "haltAfterRestore: true"
check "haltAfterRestore: made" hrestore_complete r2 120
check_equal "and off" "$(guest_state g3)" "shut off"
check "its disks are, byte for byte, what qemu-img copied at the cut" is_copy g3 b1
check "every record up to the cut is there" verify -q "$(guest_disk g3 vda)" "$(guest_disk g3 vdb)" "$seq"
sparse() { [ "$(stat -c '%b' "$1")" -lt $((3 * $(stat -c '%b' "$2") + 4096)) ]; }
check "sparse stays sparse" sparse "$(guest_disk g3 vda)" "$T/copy/b1-vda"
check "a completed restore can be deleted" remove $R r2
check "the VM stays" exists vm g3

# ---- another namespace ----
k create namespace prod >/dev/null
hrestore r3 g4 b1 "newVM: true" "haltAfterRestore: true" "namespace prod"
check "a VM is made in another namespace" wait_until 120 eval "[ \"\$(k get -n prod $R r3 -o 'jsonpath={.status.complete}')\" = true ]"
check "it is there" eval "k get -n prod vm g4"
check "byte for byte" is_copy g4 b1

# ---- replace ----
guest_shutdown g1
old=$(guest_disk g1 vda)
uuid=$(guest_uuid g1)
hrestore r4 g1 b1 "deletionPolicy: retain" "haltAfterRestore: true"
check "the VM is replaced" hrestore_complete r4 120
check_equal "it is the same VM" "$(guest_uuid g1)" "$uuid"
check "byte for byte" is_copy g1 b1
check "the old disk is retained" test -e "$old"
check_equal "the new one is beside it" "$(dirname "$(guest_disk g1 vda)")" "$(dirname "$old")"
check "and is unlocked" is_unlocked g1
check "a claim of the old disk is there" wait_until 20 eval "k get pvc -l vmkeep.io/detached=true -o name | grep -q ."
before=$(guest_disk g1 vda)
hrestore r5 g1 b1
check "replaced again, with the default policy" hrestore_complete r5 120
check_equal "deletedVolumes says which claims go" "$(field $R r5 '.status.deletedVolumes[0]')" "restore-b1-$(field $R r4 .metadata.uid)-vda"
check_fails "the replaced disk is not in its place" test -e "$before"
check "but in the trash" eval "ls \"\$(dirname '$before')\" | grep -q trash"
check_equal "the VM is started" "$(guest_state g1)" running
check "its agent answers" guest_wait_agent g1
check "with the file of the backup" file_is g1 one
guest_shutdown g1

restore k1 g1 s1 "volumeRestorePolicy: InPlace"
check "the snapshot from before the replaces still restores" restore_complete k1
check "byte for byte" is_copy g1 b1

# ---- another VM than the one that was backed up ----
other=$(guest_uuid g3)
check_fails "another VM is not replaced by this backup" hrestore bad g3 b2
check_fails "nor when the wrong one is named" hrestore bad g3 b2 "annotation vmkeep.io/replace-uid $uuid"
hrestore r7 g3 b2 "haltAfterRestore: true" "annotation vmkeep.io/replace-uid $other"
check "but when it is named by its UID" hrestore_complete r7 120
check_equal "it keeps its UUID" "$(guest_uuid g3)" "$other"
check_fails "and has no MAC address of the other" eval "virsh -q dumpxml g3 | grep -q 52:54:00:aa:bb:01"
check_equal "a raw disk is a raw disk again" "$(virsh -q domblklist g3 --details | awk '$3 == "vda" {print $4}' | sed 's/.*\.//')" raw
check "byte for byte" is_copy g3 b2
check "sparse stays sparse" sparse "$(guest_disk g3 vda)" "$T/copy/b2-vda"

# ---- the command line ----
check "vmkeep restores a backup" eval "'$(program vmkeep)' --socket '$SOCKET' restore create backup/b2 --to g5 --halted --wait >'$T/cli'"
check "byte for byte" is_copy g5 b2
check "vmkeep says what a dry run found" eval "'$(program vmkeep)' --socket '$SOCKET' restore create backup/b2 --to g6 --dry-run --wait | grep -q 'space: disk vda'"
check_fails "and makes nothing" exists vm g6

# ---- the old one is gone: it comes back as itself ----
k delete virtualmachinerestores.snapshot.kubevirt.io k1 >/dev/null
k delete vmsnapshot s1 --timeout=60s >/dev/null
for r in r1 r4 r5; do k delete $R $r --ignore-not-found --timeout=30s >/dev/null; done
k delete -n prod $R r3 --timeout=30s >/dev/null
virsh -q undefine g1
check "the VM is gone" wait_until 40 eval "is_gone vm g1 || field_is vm g1 .status.printableStatus Undefined"
hrestore r6 g1 b1 "newVM: true" "haltAfterRestore: true"
check "it is restored" hrestore_complete r6 120
check_equal "as itself" "$(guest_uuid g1)" "$uuid"
check_equal "which is said" "$(field $R r6 .status.vmkeep.identityKept)" true
check "with its MAC address" eval "virsh -q dumpxml g1 | grep -q 52:54:00:aa:bb:01"
check "byte for byte" is_copy g1 b1

# ---- keepMacAddress ----
# Refused while somebody has that address.
check_fails "the VM is there again, so its MAC address is not kept" hrestore bad g8 b1 "newVM: true" "keepMacAddress: true"
virsh -q undefine g1
check "it is gone again" wait_until 40 eval "is_gone vm g1 || field_is vm g1 .status.printableStatus Undefined"
hrestore r8 g8 b1 "newVM: true" "keepMacAddress: true" "haltAfterRestore: true"
check "a new VM of another name is made" hrestore_complete r8 120
check "with the MAC address of the backup" eval "virsh -q dumpxml g8 | grep -q 52:54:00:aa:bb:01"
check_fails "no second one gets it" hrestore bad g9 b1 "newVM: true" "keepMacAddress: true"

# ---- one disk to a file ----
id=$(field $B b1 .status.vmkeep.backupID)
check "one disk goes to a file" "$(program vmkeep-repo)" export -q -k "$T/repo.key" -d vdb "$T/target" "$id" "$T/vdb.raw"
check "byte for byte" cmp "$T/vdb.raw" "$T/copy/b1-vdb"
