#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=stress timeout=200
# Many at once: snapshots of three VMs come and go from four sides while watchers look on and domains are defined and undefined. In
# ./check the daemon is built with ThreadSanitizer, which ends it at the first race.
. "$(dirname "$0")/lib.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard
libvirt_start
for name in a b c; do guest_define $name; done
vmkeepd_configure "min_free = 1M" "trash_hours = 1"
vmkeepd_start
kubectl_start
check "all virtual machines are there" wait_until 60 eval '[ "$(k get vm -o name | wc -l)" = 3 ]'

for _ in 1 2 3 4 5; do start_process "watcher$_" "$kubectl_path" get vm,vmsnapshot -w; done
start_process events "$kubectl_path" get events -w

snapshots() { # prefix count
    local i vm
    for ((i = 0; i < $2; i++)); do
        vm=$(printf 'abc' | cut -c $((i % 3 + 1)))
        cat <<END
---
apiVersion: snapshot.kubevirt.io/v1beta1
kind: VirtualMachineSnapshot
metadata: {name: $1-$i, labels: {side: $1}}
spec:
  failureDeadline: 10m
  source: {apiGroup: kubevirt.io, kind: VirtualMachine, name: $vm}
END
    done
}
side() { # prefix: create, wait, delete half of them while they are made
    snapshots "$1" 6 >"$T/$1.yaml"
    k create -f "$T/$1.yaml" >"$T/$1.log" 2>&1
    k delete vmsnapshot "$1-1" "$1-4" --wait=false >>"$T/$1.log" 2>&1
    k label vmsnapshot -l "side=$1" seen=yes >>"$T/$1.log" 2>&1 || true # what is being deleted may be gone
    k wait vmsnapshot "$1-0" "$1-2" "$1-3" "$1-5" --for condition=Ready --timeout=150s >>"$T/$1.log" 2>&1
}
define_and_undefine() {
    local i
    for i in $(seq 15); do
        sed "s|<name>a<|<name>x$i<|; s|<uuid>.*</uuid>||" "$T/a/domain.xml" >"$T/x.xml"
        virsh -q define "$T/x.xml"
        virsh -q undefine "x$i"
    done
}
sides=()
for name in p q r s; do
    side $name &
    sides+=($!)
done
define_and_undefine &
sides+=($!)
bad=0
for pid in "${sides[@]}"; do wait "$pid" || bad=$((bad + 1)); done
check_equal "every side gets what it asked for" "$bad" 0
[ $bad = 0 ] || for name in p q r s; do note "$(tail -n 5 "$T/$name.log")"; done
check_equal "16 snapshots are left" "$(k get vmsnapshot -o name | wc -l)" 16
check "all of them are ready" eval \
    '[ "$(k get vmsnapshot -o "jsonpath={.items[*].status.readyToUse}" | tr " " "\n" | sort | uniq -c | tr -d " ")" = 16true ]'
check "vmkeepd lives" vmkeepd_is_running
check "they can all be deleted at once" k delete vmsnapshot --all --timeout=120s
check "no content is left" wait_until 60 eval '[ -z "$(k get vmsnapshotcontent -o name)" ]'
check "no file too many is left" wait_until 60 eval '[ "$(ls "$T"/[abc]/*.qcow2 | wc -l)" = 6 ]'
for name in a b c; do
    check "$name: its disks are whole" eval "qemu-img check -q -f qcow2 $T/$name/root.qcow2 && qemu-img check -q -f qcow2 $T/$name/data.qcow2"
done
vmkeepd_stop
check "no race was seen" eval '! grep -q "ThreadSanitizer\|AddressSanitizer\|runtime error" "$T/vmkeepd.log"'
