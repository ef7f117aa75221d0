#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=300
# The first seed document, "Backup and restore by using VM snapshots": its commands in its order, kubectl in the place of oc.
. "$(dirname "$0")/lib.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard
libvirt_start
guest_define my-vm
guest_start my-vm
guest_exec my-vm 'echo precious >/data/file; sync'
vmkeepd_configure "min_free = 64M"
vmkeepd_start
kubectl_start

status_is() { # kind name path value
    [ "$(k get "$1" "$2" -o "jsonpath={.status.$3}")" = "$4" ]
}
check "the virtual machine is there" wait_until 30 k get vm my-vm

# ---- Creating a snapshot by using the command line (online) ----
cat >"$T/snapshot.yaml" <<'END'
apiVersion: snapshot.kubevirt.io/v1beta1
kind: VirtualMachineSnapshot
metadata:
  name: my-vmsnapshot
spec:
  source:
    apiGroup: kubevirt.io
    kind: VirtualMachine
    name: my-vm
END
before=$(guest_acked my-vm)
check "create -f makes the VirtualMachineSnapshot" k create -f "$T/snapshot.yaml"
check "wait --for condition=Ready ends" k wait vmsnapshot my-vmsnapshot --for condition=Ready --timeout=120s
k describe vmsnapshot my-vmsnapshot >"$T/describe"
check "describe says that it is ready to use" grep -Eiq 'Ready ?To ?Use: +true' "$T/describe"
content=$(k get vmsnapshot my-vmsnapshot -o 'jsonpath={.status.virtualMachineSnapshotContentName}')
check "describe names its content" grep -q "Virtual Machine Snapshot Content Name:  *$content" "$T/describe"
check "the phase is Succeeded" status_is vmsnapshot my-vmsnapshot phase Succeeded

k get vmsnapshotcontent "$content" -o yaml >"$T/content.yaml"
check "volumeBackups names the expected claims" eval \
    "grep -q volumeBackups '$T/content.yaml' && grep -q 'my-vm-vda' '$T/content.yaml' && grep -q 'my-vm-vdb' '$T/content.yaml'"
check_equal "the content is bound to its snapshot" \
    "$(k get vmsnapshotcontent "$content" -o 'jsonpath={.spec.virtualMachineSnapshotName}')" my-vmsnapshot

# ---- Verifying online snapshots by using snapshot indications ----
indications=$(k get vmsnapshot my-vmsnapshot -o 'jsonpath={.status.indications}')
check "the indications say Online" grep -q Online <<<"$indications"
check "the indications say GuestAgent" grep -q GuestAgent <<<"$indications"

# ---- the accident ----
guest_exec my-vm 'rm /data/file; echo bad >/data/other; sync'

# ---- Restoring: power down, restore, verify ----
check "the virtual machine is powered down" k patch vm my-vm --type merge -p '{"spec":{"runStrategy":"Halted"}}'
check "the guest is off" wait_until 120 guest_is my-vm "shut off"
cat >"$T/restore.yaml" <<'END'
apiVersion: snapshot.kubevirt.io/v1beta1
kind: VirtualMachineRestore
metadata:
  name: my-vmrestore
spec:
  target:
    apiGroup: kubevirt.io
    kind: VirtualMachine
    name: my-vm
  virtualMachineSnapshotName: my-vmsnapshot
END
check "create -f makes the VirtualMachineRestore" k create -f "$T/restore.yaml"
check "the restore becomes ready" k wait vmrestore my-vmrestore --for condition=Ready --timeout=120s
check "get vmrestore shows complete true" status_is vmrestore my-vmrestore complete true
check "the disks hold every record up to the cut" verify -q "$(guest_disk my-vm vda)" "$(guest_disk my-vm vdb)" "$before"
check "the virtual machine is started" k patch vm my-vm --type merge -p '{"spec":{"runStrategy":"Always"}}'
check "it boots" guest_wait_agent my-vm
check_equal "the file is back" "$(guest_exec my-vm 'cat /data/file')" precious
check_fails "what came after the snapshot is gone" guest_exec my-vm 'test -e /data/other'

# ---- Deleting a virtual machine snapshot in the CLI ----
check "delete vmsnapshot ends" k delete vmsnapshot my-vmsnapshot --timeout=120s
check_equal "get vmsnapshot shows none" "$(k get vmsnapshot -o name)" ""
check_equal "no content is left" "$(k get vmsnapshotcontent -o name)" ""
check "the guest went on" guest_is_writing my-vm
