#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=600
# Snapshots of a real guest: every state it can be in, every way a freeze can
# go wrong, and the end of snapshots. QEMU runs as Debian has it.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard
LIBVIRT_QEMU_USER=libvirt-qemu
libvirt_start
guest_define g1
guest_start g1
root=$(guest_disk g1 vda) data=$(guest_disk g1 vdb)
vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 3000"
vmkeepd_start
kubectl_start
check "the VM is there" wait_until 30 field_is vm g1 .status.printableStatus Running

# ---- online, with agent ----
guest_wait_acked g1 20
seq=$(guest_acked g1)
snapshot s1 g1
check "a snapshot of the running VM becomes ready" snapshot_ready s1
check_equal "it was quiesced" "$(indications s1)" "GuestAgent Online"
check_equal "Progressing is over" "$(condition vmsnapshot s1 Progressing)" "False: Operation complete"
check_equal "Ready is true" "$(condition vmsnapshot s1 Ready)" "True: Ready"
check_equal "there are exactly two conditions" "$(field vmsnapshot s1 '.status.conditions[*].type')" "Progressing Ready"
check_equal "both disks are in it" "$(field vmsnapshot s1 '.status.snapshotVolumes.includedVolumes[*]')" "vda vdb"
check_equal "the agent was asked to freeze exactly once" "$(guest_freezes g1)" 1
frozen=$(field vmsnapshot s1 .status.vmkeep.frozenMilliseconds)
note "frozen for $frozen ms"
check "frozen for less than a second" test "$frozen" -gt 0 -a "$frozen" -lt 1000
check "the guest goes on" guest_is_writing g1
check "the sealed layers are a quiesced instant with every record" verify -q "$root" "$data" "$seq"
content=$(field vmsnapshot s1 .status.virtualMachineSnapshotContentName)
check_equal "the content is named after the snapshot" "$content" "vmsnapshot-content-$(field vmsnapshot s1 .metadata.uid)"
check_equal "the content has a backup of each disk" "$(field vmsnapshotcontent "$content" '.spec.volumeBackups[*].volumeName')" "vda vdb"
check_equal "the source's UID is the domain's" "$(field vmsnapshot s1 .status.sourceUID)" "$(guest_uuid g1)"
check "the VM is unlocked" is_unlocked g1
check "the freeze journal is empty" journal_is_empty
if k patch vmsnapshot s1 --subresource=status --type merge -p '{"status":null}' >/dev/null 2>&1; then
    check "a wiped status is made again" wait_until 20 condition_is vmsnapshot s1 Ready "True: Ready"
    check_equal "with its indications" "$(indications s1)" "GuestAgent Online"
    check_equal "and its frozen time" "$(field vmsnapshot s1 .status.vmkeep.frozenMilliseconds)" "$frozen"
fi

# ---- two at once ----
snapshot s2 g1
snapshot s3 g1
check "two snapshots at once: the first is ready" snapshot_ready s2
check "two snapshots at once: the second is ready" snapshot_ready s3
check "the guest still writes" guest_is_writing g1

# ---- paused ----
virsh -q suspend g1
snapshot s4 g1
check "a paused VM can be snapshotted" snapshot_ready s4
check_equal "its indications say so" "$(indications s4)" "Online Paused"
check "it is still paused" guest_is g1 paused
virsh -q resume g1
check "and goes on when resumed" guest_is_writing g1

# ---- no agent ----
agent_away g1 6
snapshot s5 g1
check "without an agent the snapshot is ready too" snapshot_ready s5
check_equal "and says that it is crash-consistent" "$(indications s5)" "NoGuestAgent Online"
guest_wait_agent g1

# ---- frozen by somebody else ----
virsh -q domfsfreeze g1 >/dev/null
files=$(guest_acked g1)
snapshot s13 g1
check "a guest that an admin has frozen is snapshotted too" snapshot_ready s13
check_equal "its indications do not promise that it was quiesced" "$(indications s13)" "GuestAgent Online QuiesceTimeout"
check "and say why" field_has vmsnapshot s13 '.status.sourceIndications[*].message' "frozen already, not by vmkeep"
check "it stays frozen: that is the admin's" guest_is_still g1
check_equal "nothing was written meanwhile" "$(guest_acked g1)" "$files"
check "nothing is owed to it" journal_is_empty
virsh -q domfsthaw g1 >/dev/null
check "when the admin thaws it, it writes" guest_is_writing g1

# ---- excluded ----
snapshot s6 g1 "annotation vmkeep.io/exclude-volumes vdb"
check "a disk can be left out" snapshot_ready s6
check_equal "it is listed" "$(field vmsnapshot s6 '.status.snapshotVolumes.excludedVolumes[*]')" vdb
check_equal "and the snapshot is partial" "$(indications s6)" "GuestAgent Online PartialSnapshot"
check "the reason is told" field_has vmsnapshot s6 '.status.vmkeep.excluded[*].reason' vmkeep.io/exclude-volumes

# ---- the freeze hook fails ----
files=$(overlays "$T/g1")
guest_exec g1 'touch /run/hook-fail'
snapshot s7 g1 "failureDeadline: 60s"
check "a failing freeze hook is an error" wait_until 20 field_has vmsnapshot s7 .status.error.message "command Freeze failed"
check_equal "in the conditions too" "$(condition vmsnapshot s7 Progressing)" "False: In error state"
check_equal "nothing was cut" "$(overlays "$T/g1")" "$files"
check_equal "no creationTime" "$(field vmsnapshot s7 .status.creationTime)" ""
check "an event FreezeError is told" wait_until 5 eval "k get events 2>/dev/null | grep -q FreezeError"
guest_exec g1 'rm /run/hook-fail'
check "it is tried again, and is ready" snapshot_ready s7 30
check_equal "quiesced" "$(indications s7)" "GuestAgent Online"

files=$(overlays "$T/g1")
guest_exec g1 'touch /run/hook-fail'
snapshot s8 g1 "failureDeadline: 8s"
check "beyond its deadline it is Failed" wait_until 30 field_is vmsnapshot s8 .status.phase Failed
guest_exec g1 'rm /run/hook-fail'
check_equal "the conditions of a failed snapshot" \
    "$(condition vmsnapshot s8 Progressing), $(condition vmsnapshot s8 Ready), $(condition vmsnapshot s8 Failure)" \
    "False: Operation failed, False: Not ready, True: snapshot deadline exceeded"
check "the VM is unlocked" wait_until 10 is_unlocked g1
check_equal "everything is undone" "$(overlays "$T/g1")" "$files"
check_equal "no content" "$(k get vmsnapshotcontent 2>/dev/null | grep -c "$(field vmsnapshot s8 .metadata.uid)")" 0
check "the guest writes" guest_is_writing g1

# ---- the agent hangs: the freeze happens late ----
guest_hang_agent g1 9
snapshot s9 g1 "failureDeadline: 90s"
check "a hung agent is an error" wait_until 20 field_has vmsnapshot s9 .status.error.message "command Freeze failed"
check "it wakes, freezes late, and is thawed" wait_until 40 journal_is_empty
check "the guest writes" guest_is_writing g1
check "the snapshot is tried again, and is ready" snapshot_ready s9 80
check_equal "quiesced" "$(indications s9)" "GuestAgent Online"

# ---- a slow hook: deleted while in progress ----
guest_exec g1 'echo 2 >/run/hook-sleep'
snapshot s10 g1
wait_until 10 eval "! journal_is_empty"
check "a snapshot in progress can be deleted" remove vmsnapshot s10
guest_exec g1 'rm /run/hook-sleep'
check "the VM is unlocked" wait_until 10 is_unlocked g1
check "nothing is frozen" wait_until 10 journal_is_empty
check "the guest writes" guest_is_writing g1

# ---- a snapshot that is older than its VM ----
snapshot s11 g2 "failureDeadline: 120s"
check "a snapshot may precede its VM" wait_until 10 condition_is vmsnapshot s11 Progressing "False: Source does not exist"
GUEST_APPEND="writer=off" guest_define g2
check "it is taken when the VM is there" snapshot_ready s11 30
check_equal "offline there are no indications" "$(indications s11)" ""
check "deleting it leaves the VM as it was" remove vmsnapshot s11
check "no file is left" wait_until 20 has_no_overlays "$T/g2"
check_equal "the domain names its own disk" "$(guest_disk g2 vda)" "$T/g2/root.qcow2"

# ---- Retain ----
snapshot s12 g1 "deletionPolicy: Retain"
snapshot_ready s12
kept=$(field vmsnapshot s12 .status.virtualMachineSnapshotContentName)
check "a retained snapshot can be deleted" remove vmsnapshot s12
check "its content stays" exists vmsnapshotcontent "$kept"
check "until it is deleted itself" remove vmsnapshotcontent "$kept"

# ---- the end of them all, in an odd order, running ----
for s in s3 s1 s5 s13 s9 s2 s8 s7 s4 s6; do
    check "$s is deleted" remove vmsnapshot $s
done
check "no layer is left" wait_until 60 has_no_overlays "$T/g1"
check_equal "the domain names its own disk again" "$(guest_disk g1 vda)" "$root"
check "the guest writes" guest_is_writing g1
seq=$(guest_acked g1)
guest_shutdown g1
check "every record is there" verify "$root" "$data" "$seq"
