#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=600
# Restores on a real guest: in place, into a new VM, again and again, while
# the target runs, and after libvirt lost its memory. QEMU runs as Debian has it.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard
LIBVIRT_QEMU_USER=libvirt-qemu
libvirt_start
guest_define g1
guest_start g1
vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 5000"
vmkeepd_start
kubectl_start
check "the VM is there" wait_until 30 field_is vm g1 .status.printableStatus Running

# file_is VM TEXT: what the guest says is in its marked file.
file_is() { [ "$(guest_exec "$1" 'cat /data/file')" = "$2" ]; }
waiting="False: Waiting for target VM to be powered off. Please stop the restore target to proceed with restore"

guest_exec g1 'echo one >/data/file; sync'
guest_wait_acked g1 20
seq=$(guest_acked g1)
snapshot s1 g1
check "a snapshot of the running VM is ready" snapshot_ready s1
guest_exec g1 'echo two >/data/file; sync'

# ---- bad requests change nothing ----
check_fails "a patch outside the list is refused" \
    restore bad g9 s1 "patches: ['{\"op\": \"add\", \"path\": \"/spec/template/spec/domain/devices/disks/0\", \"value\": {}}']"
GUEST_APPEND="writer=off" guest_define g3
wait_until 20 exists vm g3
restore other g3 s1
check "another VM that exists is never overwritten" wait_until 20 condition_is vmrestore other Progressing \
    "False: restore source and restore target are different but restore target already exists"
check_equal "it has its own disk still" "$(guest_disk g3 vda)" "$T/g3/root.qcow2"
check "such a restore can be deleted" remove vmrestore other

# ---- the target runs ----
restore r1 g1 s1 "targetReadinessPolicy: FailImmediate"
check "FailImmediate fails at once" wait_until 20 condition_is vmrestore r1 Failure \
    "True: Restore target VMI must be powered off before restore operation"
check "the VM runs on" guest_is_writing g1
restore r2 g1 s1 "targetReadinessPolicy: WaitEventually"
check "a failed restore does not block another; WaitEventually waits" wait_until 20 condition_is vmrestore r2 Progressing "$waiting"
check "a waiting restore can be deleted" remove vmrestore r2
restore r3 g1 s1
check "WaitGracePeriod waits" wait_until 20 condition_is vmrestore r3 Progressing "$waiting or the operation will fail after 5m0s"
check "the VM runs on" guest_is_writing g1
guest_shutdown g1
check "it completes when the target is off" restore_complete r3
check_equal "Ready says so" "$(condition vmrestore r3 Ready)" "True: Operation complete"
check_equal "Progressing says so" "$(condition vmrestore r3 Progressing)" "False: Operation complete"
check "the disks are the snapshot's instant, every record" verify -q "$(guest_disk g1 vda)" "$(guest_disk g1 vdb)" "$seq"
check "the VM stays off" guest_is g1 "shut off"
check "and is unlocked" is_unlocked g1
check_equal "the claims have the names of the restore" "$(field vmrestore r3 '.status.restores[0].persistentVolumeClaim')" \
    "restore-$(field vmrestore r3 .metadata.uid)-vda"
check_equal "the VM says who restored it last" "$(field vm g1 '.metadata.annotations.restore\.kubevirt\.io/lastRestoreUID')" \
    "r3-$(field vmrestore r3 .metadata.uid)"
check_equal "the restore is the VM's" "$(field vmrestore r3 '.metadata.ownerReferences[0].uid')" "$(guest_uuid g1)"
check "the VM boots" guest_start g1
check "with the file of the snapshot" file_is g1 one
guest_exec g1 'echo three >/data/file; sync'

# ---- StopTarget, InPlace, twice ----
restore r4 g1 s1 "targetReadinessPolicy: StopTarget" "volumeRestorePolicy: InPlace"
check "StopTarget stops the VM and restores it" restore_complete r4 120
check "it stays off" guest_is g1 "shut off"
check_equal "in place the claim keeps its name" "$(field vmrestore r4 '.status.restores[0].persistentVolumeClaim')" g1-vda
restore r5 g1 s1 "volumeRestorePolicy: InPlace" "patches:" "- '{\"op\": \"add\", \"path\": \"/metadata/labels/tier\", \"value\": \"copy\"}'"
check "the same snapshot is restored again" restore_complete r5
check "patches for a VM that is there are not applied, which is told" eval 'field vmrestore r5 .status.vmkeep.dropped | grep -q "patches: not applied"'
check "the disks are the snapshot's instant" verify -q "$(guest_disk g1 vda)" "$(guest_disk g1 vdb)" "$seq"

# ---- a new VM ----
restore r6 g2 s1 "volumeRestorePolicy: PrefixTargetName" "patches:" \
    "- '{\"op\": \"replace\", \"path\": \"/spec/template/spec/domain/memory/guest\", \"value\": \"192Mi\"}'" \
    "- '{\"op\": \"add\", \"path\": \"/metadata/labels/tier\", \"value\": \"copy\"}'"
check "a new VM is made" restore_complete r6 120
check "it has another UUID" test "$(guest_uuid g2)" != "$(guest_uuid g1)"
check_equal "the patched memory" "$(virsh -q dumpxml --inactive g2 | sed -n "s/.*<memory unit='KiB'>\(.*\)<.*/\1/p")" 196608
check_equal "the patched label" "$(field vm g2 .metadata.labels.tier)" copy
check_equal "claims named after it" "$(field vmrestore r6 '.status.restores[*].persistentVolumeClaim')" "g2-vda g2-vdb"
check "its disks are the snapshot's instant" verify -q "$(guest_disk g2 vda)" "$(guest_disk g2 vdb)" "$seq"
check "and not the source's files" test "$(guest_disk g2 vda)" != "$(guest_disk g1 vda)"
check_fails "its disks have no backing file of the source" eval "qemu-img info '$(guest_disk g2 vda)' | grep -q '^backing file:'"

# ---- a UUID that another has ----
restore r12 g5 s1 "patches:" \
    "- '{\"op\": \"replace\", \"path\": \"/spec/template/spec/domain/firmware/uuid\", \"value\": \"$(guest_uuid g3)\"}'"
check "a UUID that another has is refused, and told" wait_until 20 condition_is vmrestore r12 Progressing \
    "False: the UUID $(guest_uuid g3) is that of domain g3: choose another one, or undefine that domain, or the operation will fail after 5m0s"
check "by an event, too" wait_until 20 eval 'k describe vmrestore r12 | grep -q "VirtualMachineRestoreError.*is that of domain g3"'
check "nothing was made" test -z "$(virsh -q list --all --name | grep g5)"
check "such a restore can be deleted" remove vmrestore r12
restore r13 g5 s1 "volumeRestoreOverrides:" "- {volumeName: vdz, restoreName: mine}"
check "an override of a volume that the snapshot lacks is no success" wait_until 20 condition_is vmrestore r13 Failure \
    'True: volumeRestoreOverrides: the snapshot holds no volume "vdz"; it holds vda, vdb'
check "such a restore can be deleted" remove vmrestore r13

# ---- libvirt loses its memory ----
uuid=$(guest_uuid g1)
virsh -q dumpxml --inactive --security-info g1 >"$T/g1.xml"
virsh -q undefine g1
virsh -q define "$T/g1.xml"
check_equal "undefine and define leave the object" "$(field vm g1 .metadata.uid)" "$uuid"
# The domain has another name, too.
without_disks() { sed -E '/<name>|<source file=|<backingStore|<driver name=/d'; }
virsh -q domrename g1 renamed
restore r7 g1 s1 "volumeRestorePolicy: InPlace"
check "after undefine and define the snapshot still restores" restore_complete r7
check "a domain that was renamed keeps its name, and nothing of its definition is lost" \
    eval 'virsh -q dumpxml --inactive --security-info renamed | without_disks | diff - <(without_disks <"$T/g1.xml")'
virsh -q domrename renamed g1
virsh -q undefine g1
check "a VM without domain is kept as Undefined" wait_until 20 field_is vm g1 .status.printableStatus Undefined
check "its snapshot stays ready" field_is vmsnapshot s1 .status.readyToUse true
restore r11 g4 s1
check "under another name it becomes another VM" restore_complete r11 120
check "with another UUID" test "$(guest_uuid g4)" != "$uuid"
restore r8 g1 s1
check "and brings it back" restore_complete r8 120
check_equal "as itself" "$(guest_uuid g1)" "$uuid"
check "with the snapshot's instant" verify -q "$(guest_disk g1 vda)" "$(guest_disk g1 vdb)" "$seq"

# ---- libvirtd away: 3 s, in ./check --full a minute ----
away_s=${AWAY_S:-$([ "${VMKEEP_CHECK:-}" = full ] && echo 60 || echo 3)}
libvirt_kill
restore r9 g1 s1 "volumeRestorePolicy: InPlace"
sleep "$away_s"
check "without libvirtd nothing is lost" field_is vmsnapshot s1 .status.phase Succeeded
check "the VM object stays" exists vm g1
mkdir "$T/aside"
mv "$T"/lv/etc/qemu/*.xml "$T/aside/"
libvirt_restart
sleep "$away_s"
check "a libvirtd without domains deletes nothing" eval "exists vm g1 && exists vmsnapshot s1"
libvirt_kill
mv "$T"/aside/*.xml "$T/lv/etc/qemu/"
libvirt_restart
check "when they are back the restore completes" restore_complete r9 120
check "with the snapshot's instant" verify -q "$(guest_disk g1 vda)" "$(guest_disk g1 vdb)" "$seq"
check "the VM boots" guest_start g1
check "with the file of the snapshot" file_is g1 one

# ---- a restore that is older than its snapshot ----
guest_shutdown g1
restore r10 g1 s2
check "a restore may precede its snapshot" wait_until 20 condition_is vmrestore r10 Progressing "False: VMSnapshot default/s2 does not exist"
snapshot s2 g1
check "it completes when the snapshot is ready" restore_complete r10 60

# ---- the end ----
for r in r1 r3 r4 r5 r6 r7 r8 r9 r10 r11; do
    check "$r is deleted" remove vmrestore $r
done
check "s1 is deleted" remove vmsnapshot s1
check "s2 is deleted" remove vmsnapshot s2
check "the VM boots" guest_start g1
check "with the file of the snapshot" file_is g1 one
check "nobody is locked" eval "is_unlocked g1 && is_unlocked g2"
