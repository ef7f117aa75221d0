#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=400
# Domains as objects: what virsh does shows up, what vanishes takes nothing with it, and power through the API.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard
requires_program qemu-img
libvirt_start
guest_define web
vmkeepd_configure "min_free = 64M"
vmkeepd_start
kubectl_start

put() { k replace --raw "/apis/subresources.kubevirt.io/v1/namespaces/default/$1/$2" -f - <<<"${3:-{\}}"; }

# ---- what is there ----
check "a defined domain is a VirtualMachine" wait_until 60 field_is vm web .status.printableStatus Stopped
uuid=$(guest_uuid web)
check_equal "its uid is the domain's UUID" "$(field vm web .metadata.uid)" "$uuid"
check_equal "its runStrategy is Manual" "$(field vm web .spec.runStrategy)" Manual
check_equal "its volumes are named by target" "$(field vm web '.spec.template.spec.volumes[*].name')" "vda vdb"
check_equal "a disk is a claim" "$(field vm web '.spec.template.spec.volumes[0].persistentVolumeClaim.claimName')" web-vda
check_equal "the claim says which file" "$(field pvc web-vda '.metadata.annotations.vmkeep\.io/path')" "$T/web/root.qcow2"
check_equal "the claim has the virtual size" "$(field pvc web-vda .status.capacity.storage)" 512Mi
check "both disks can be snapshotted" field_is vm web '.status.volumeSnapshotStatuses[*].enabled' "true true"
check "there is no instance" is_gone vmi web

# ---- the host ----
node=$(field vm web .status.nodeName)
check_equal "the VM's host is a node, and ready" "$(field node "$node" '.status.conditions[?(@.type=="Ready")].status')" True
check "kubectl lists it" eval "k get nodes --no-headers | grep -q '^$node  *Ready  *hypervisor'"
check_equal "typed clients find in it what they insist on" "$(k get nodes -o json | python3 -c 'import json, sys
print(len(json.load(sys.stdin)["items"][0]["status"]["nodeInfo"]))')" 10
check "kubectl describes it" eval "k describe node $node | grep -q LibvirtConnected"
check_fails "it cannot be deleted" k delete node "$node"
check_equal "the claim's class is one that is there" "$(field storageclass "$(field pvc web-vda .spec.storageClassName)" .provisioner)" vmkeep.io/overlay
check "it is no custom resource" is_gone crd storageclasses.storage.k8s.io

# ---- it runs ----
guest_start web
check "virsh start is seen" wait_until 60 field_is vm web .status.printableStatus Running
check "there is an instance" wait_until 60 field_is vmi web .status.phase Running
check "the agent is seen" wait_until 60 field_is vmi web '.status.conditions[?(@.type=="AgentConnected")].status' True
before=$(field vm web .metadata.resourceVersion)
virsh -q domstats web >/dev/null
sleep 2
check_equal "what does not change is not written" "$(field vm web .metadata.resourceVersion)" "$before"

# ---- freeze ----
check "freeze" put virtualmachineinstances web/freeze '{"unfreezeTimeout":"5s"}'
check "the guest is still" guest_is_still web
check "fsFreezeStatus says so" field_is vmi web .status.fsFreezeStatus frozen
check "a second freeze does nothing" put virtualmachineinstances web/freeze '{"unfreezeTimeout":"1h"}'
check "it thaws when its time is over" wait_until 60 guest_is_writing web
check "fsFreezeStatus is gone" wait_until 60 field_is vmi web .status.fsFreezeStatus ""
check "freeze again" put virtualmachineinstances web/freeze '{"unfreezeTimeout":"1h"}'
check "unfreeze" put virtualmachineinstances web/unfreeze
check "the guest writes" guest_is_writing web
check_fails "a freeze without a timeout is refused" put virtualmachineinstances web/freeze
check "freeze a third time" put virtualmachineinstances web/freeze '{"unfreezeTimeout":"1h"}'
vmkeepd_kill
check "when vmkeepd is killed the guard thaws" wait_until 60 guest_is_writing web
vmkeepd_start

# ---- power ----
check "pause" put virtualmachineinstances web/pause
check "the guest is paused" guest_is web paused
check "Paused is shown" wait_until 60 field_is vm web .status.printableStatus Paused
check_fails "a second pause is refused" put virtualmachineinstances web/pause
check "unpause" put virtualmachineinstances web/unpause
check "the guest runs" guest_is web running
check_fails "start of what runs is refused" put virtualmachines web/start
check "runStrategy Halted shuts it down" k patch vm web --type merge -p '{"spec":{"runStrategy":"Halted"}}'
check "it is off" wait_until 120 guest_is web "shut off"
check "Stopped is shown" wait_until 60 field_is vm web .status.printableStatus Stopped
check "its instance is gone" wait_until 60 is_gone vmi web
check "virsh may start it all the same" virsh -q start web
sleep 3
check "and vmkeepd leaves it alone" guest_is web running
check "stop at once" put virtualmachines web/stop '{"gracePeriodSeconds":0}'
check "it is off" wait_until 60 guest_is web "shut off"
check "start of a halted VM" put virtualmachines web/start
check "makes it Always" wait_until 60 field_is vm web .spec.runStrategy Always
check "and starts it" guest_is web running

# ---- the daemon dies, the libvirtd dies ----
vmkeepd_kill
virsh -q destroy web
vmkeepd_start
check "what happened meanwhile is seen" wait_until 60 field_is vm web .status.printableStatus Stopped
sleep 3
check "an old runStrategy is not acted on again" guest_is web "shut off"
libvirt_kill
check "without libvirtd the state is Unknown" wait_until 60 field_is vm web .status.printableStatus Unknown
check "nor is the node ready" eval "k get nodes --no-headers | grep -q '^$node  *NotReady'"
libvirt_restart
check "with it it is known again" wait_until 60 field_is vm web .status.printableStatus Stopped

# ---- a hot-plugged disk ----
virsh -q start web
qemu-img create -q -f qcow2 "$T/web/hot.qcow2" 64M
virsh -q attach-disk web "$T/web/hot.qcow2" vdc --driver qemu --subdriver qcow2 --live
check "a hot-plugged disk is listed" wait_until 60 field_is vm web '.status.volumeSnapshotStatuses[2].name' vdc
check "and is in no snapshot" field_is vm web '.status.volumeSnapshotStatuses[2].enabled' false
virsh -q destroy web

# ---- names and namespaces ----
sed -e "s|<name>web<|<name>Web Server<|; s|<uuid>.*</uuid>|<uuid>$(cat /proc/sys/kernel/random/uuid)</uuid>|" "$T/web/domain.xml" >"$T/two.xml"
virsh -q define "$T/two.xml"
check "a name that is no DNS label becomes one" wait_until 60 field_is vm web-server '.metadata.annotations.vmkeep\.io/domain' "Web Server"
check_fails "creating a VM is refused" k create -f - <<'END'
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: other}
spec: {template: {spec: {domain: {}}}}
END
check_fails "deleting one is refused" k delete vm web-server
sed -i "s|<name>Web Server<|<name>web-prod<|; s|<uuid>.*</uuid>|<uuid>$(cat /proc/sys/kernel/random/uuid)</uuid><metadata><v:namespace xmlns:v='https://vmkeep.io/xmlns/domain/1.0'>prod</v:namespace></metadata>|" "$T/two.xml"
virsh -q define "$T/two.xml"
check "a domain's metadata says its namespace" wait_until 60 k get vm web-prod -n prod
check_fails "deleting that is refused" eval "k delete ns prod >'$T/out' 2>&1"
check "with a list of what it holds" grep -q 'still holds virtualmachine/web-prod' "$T/out"
virsh -q undefine web-prod
check "once it is empty it can go" wait_until 60 eval "k delete ns prod --timeout=10s"
sed "s|>prod</v:namespace>|>Prod_1</v:namespace>|; s|<name>web-prod<|<name>web-slip<|" "$T/two.xml" >"$T/slip.xml"
virsh -q define "$T/slip.xml"
check "a namespace that cannot be one is the default one" wait_until 60 k get vm web-slip
check "and the VM says so" eval 'condition vm web-slip NamespaceAccepted | grep -q "^False: InvalidNamespace"'
check "and an event, which names it" wait_until 20 eval 'k describe vm web-slip | grep -q "NamespaceNotAccepted.*Prod_1"'
sed -i "s|>Prod_1</v:namespace>|>default</v:namespace>|" "$T/slip.xml"
virsh -q define "$T/slip.xml"
check "until it is mended" wait_until 60 eval '[ -z "$(condition vm web-slip NamespaceAccepted)" ]'
virsh -q undefine web-slip
check_fails "the default one never" k delete ns default

# ---- it vanishes ----
cat >"$T/snapshot.yaml" <<'END'
apiVersion: snapshot.kubevirt.io/v1beta1
kind: VirtualMachineSnapshot
metadata: {name: s1}
spec: {source: {apiGroup: kubevirt.io, kind: VirtualMachine, name: web}}
END
check "a snapshot" k create -f "$T/snapshot.yaml"
check "is ready" wait_until 60 field_is vmsnapshot s1 .status.readyToUse true
virsh dumpxml --inactive web >"$T/web.xml"
virsh -q undefine "Web Server"
check "an undefined domain's VM goes" wait_until 60 is_gone vm web-server
virsh -q undefine web
check "a VM with snapshots stays, Undefined" wait_until 60 field_is vm web .status.printableStatus Undefined
check "its snapshot stays" field_is vmsnapshot s1 .status.phase Succeeded
vmkeepd_kill
vmkeepd_start
sleep 2
check "also over a restart" k get vm web
virsh -q define "$T/web.xml"
check "defined again it takes up its object" wait_until 60 field_is vm web .status.printableStatus Stopped
check_equal "with its uid" "$(field vm web .metadata.uid)" "$uuid"
