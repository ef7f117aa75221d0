#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What is killed under vmkeepd, when, and what is left: QEMU and libvirtd at
# the moments of a snapshot and of its deletion that hurt. After each row the
# guest is neither frozen nor paused, no file is lost that it wrote to, and
# nothing is left that nobody names.
# In ./check --full only, for now: the kills are timed, and libvirtd 9.0 was
# seen to die by itself when a block job found again after a kill is aborted.
# check: suite=full timeout=900
. "$(dirname "$0")/lib.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard virt-test
libvirt_start

guest_define g1
uuid=$(guest_uuid g1)
d=$T/g1
guest_start g1
export VMKEEP_EFFECT_LOG=$T/effects
touch "$T/effects"
vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 5000"
vmkeepd_start
kubectl_start
check "the virtual machine is there" wait_until 30 k get vm g1

virt() { local command=$1; shift; timeout 120 "$(program virt-test)" "$command" "$uuid" "$@"; }

# snapshot NAME: ask for one; its deadline is short.
snapshot() {
    k create -f - <<END
apiVersion: snapshot.kubevirt.io/v1beta1
kind: VirtualMachineSnapshot
metadata:
  name: $1
spec:
  failureDeadline: ${2:-90s}
  source:
    apiGroup: kubevirt.io
    kind: VirtualMachine
    name: g1
END
}
field() { k get vmsnapshot "$1" -o "jsonpath={.status.$2}"; }
phase_is() { [ "$(field "$1" phase)" = "$2" ]; }
is_final() { [[ $(field "$1" phase) == @(Succeeded|Failed) ]]; }
is_ready() { [ "$(field "$1" readyToUse)" = true ]; }

# kill_on TEXT PID US: SIGKILL for PID when vmkeepd begins an effect TEXT.
kill_on() {
    rm -f "$T/killer.log"
    start_process killer "$(program virt-test)" kill-on "$uuid" "$T/effects" "$1" "$2" "$3"
    wait_until 5 grep -q waiting "$T/killer.log"
}
killed() { wait_until 60 grep -q '^ok' "$T/killer.log"; }

chain() { virt show | sed -n "s/^$1 //p"; }
# Overlays beside the disks that the chain of a disk does not name.
orphans() {
    local f named
    named=" $(chain vda) $(chain vdb) "
    for f in "$d"/*.vmkeep-*.qcow2; do
        if [ -e "$f" ] && [[ $named != *" $f "* ]]; then echo "$f"; fi
    done
}
no_orphans() { [ -z "$(orphans)" ]; }
nothing_owed() { [ -z "$(ls -A "$T/state/frozen")" ]; }
is_single() { [ "$(chain vda)|$(chain vdb)" = "$d/root.qcow2|$d/data.qcow2" ]; }
not_paused() { guest_is g1 running; }

# settled WHAT: the guest runs on, nothing is owed.
settled() {
    check "$1: the guest is neither frozen nor paused" wait_until 60 guest_is_writing g1
    check "$1: no thaw is owed" wait_until 30 nothing_owed
    check "$1: libvirt and QEMU agree on the disks" wait_until 10 virt check
}
# gone NAME: delete it, all space comes back.
gone() {
    check "$1: it can be deleted" k delete vmsnapshot "$1" --timeout=120s
    check "$1: the domain names its own disks again" wait_until 60 is_single
    check "$1: no file of ours is left" wait_until 30 no_orphans
}

# ---- libvirtd, early in the snapshot ----
kill_on " snapshot $uuid" "$(libvirt_pid)" 0
snapshot early >/dev/null
check "early: libvirtd was killed" killed
libvirt_wait_end
sleep 1
libvirt_restart
settled early
check "early: the snapshot is made after all" wait_until 100 is_ready early
gone early

# ---- libvirtd, while the guest is being frozen ----
guest_wait_agent g1
guest_exec g1 'echo 2 >/run/hook-sleep'
kill_on " freeze $uuid" "$(libvirt_pid)" 1000000
snapshot freezing >/dev/null
check "freezing: libvirtd was killed" killed
libvirt_wait_end
sleep 1
libvirt_restart
settled freezing
guest_wait_agent g1
guest_exec g1 'rm /run/hook-sleep'
check "freezing: the snapshot is made after all" wait_until 100 is_ready freezing

# ---- libvirtd, while a snapshot is merged ----
guest_exec g1 'dd if=/dev/urandom of=/data/big bs=1M count=150 2>/dev/null; sync'
kill_on " commit vdb" "$(libvirt_pid)" 30000
k delete vmsnapshot freezing --wait=false >/dev/null
check "merging: libvirtd was killed" killed
libvirt_wait_end
sleep 1
libvirt_restart
settled merging
check "merging: the deletion ends" wait_until 120 eval '! k get vmsnapshot freezing'
check "merging: the domain names its own disks again" wait_until 60 is_single
check "merging: no file of ours is left" wait_until 30 no_orphans
check "merging: the guest writes on" guest_is_writing g1

# ---- QEMU, while the guest is being frozen ----
guest_wait_agent g1
guest_exec g1 'echo 2 >/run/hook-sleep'
kill_on " freeze $uuid" "$(guest_pid g1)" 1000000
seq=$(guest_acked g1)
snapshot lost >/dev/null
check "QEMU frozen: it was killed" killed
check "QEMU frozen: the domain is off" wait_until 60 guest_is g1 "shut off"
check "QEMU frozen: no thaw is owed" wait_until 60 nothing_owed
check "QEMU frozen: the snapshot ends" wait_until 120 is_final lost
note "it is $(field lost phase): $(field lost indications) $(field lost error.message)"
check "QEMU frozen: every record is there" verify "$(guest_disk g1 vda)" "$(guest_disk g1 vdb)" "$seq"
guest_start g1
settled "QEMU frozen"
gone lost

# ---- QEMU, while a snapshot is merged ----
guest_wait_agent g1
snapshot merged >/dev/null
check "QEMU merging: the snapshot is made" wait_until 100 is_ready merged
guest_exec g1 'dd if=/dev/urandom of=/data/big bs=1M count=150 2>/dev/null; sync'
kill_on " commit vdb" "$(guest_pid g1)" 30000
seq=$(guest_acked g1)
k delete vmsnapshot merged --wait=false >/dev/null
check "QEMU merging: it was killed" killed
check "QEMU merging: the domain is off" wait_until 60 guest_is g1 "shut off"
check "QEMU merging: the deletion ends" wait_until 180 eval '! k get vmsnapshot merged'
check "QEMU merging: the domain names its own disks again" wait_until 60 is_single
check "QEMU merging: no file of ours is left" wait_until 30 no_orphans
check "QEMU merging: every record is there" verify "$d/root.qcow2" "$d/data.qcow2" "$seq"
guest_start g1
settled "QEMU merging"

# ---- libvirtd, inside the snapshot: the split brain ----
# The moment is when QEMU writes to the overlay and libvirtd has not noted it.
hit=no
for ((try = 1; try <= 30; try++)); do
    guest_wait_agent g1
    rm -f "$T/killer.log"
    start_process killer "$(program virt-test)" kill-on-switch "$uuid" "$d/data.qcow2" "$(libvirt_pid)"
    wait_until 5 grep -q waiting "$T/killer.log"
    snapshot "split$try" 20s >/dev/null
    killed
    libvirt_wait_end
    libvirt_restart
    if ! virt check >"$T/check.out" 2>&1; then
        hit=yes
        break
    fi
    wait_until 100 is_final "split$try"
    k delete vmsnapshot "split$try" --timeout=120s >/dev/null
    wait_until 60 is_single
done
note "tries until libvirtd was hit inside a snapshot: $try"
check_equal "split: libvirtd was killed in the wrong moment" $hit yes
if [ $hit = yes ]; then
    check "split: the guest is not left frozen" wait_until 60 guest_is_writing g1
    check "split: the snapshot fails at its deadline" wait_until 100 phase_is "split$try" Failed
    note "$(field "split$try" error.message)"
    check "split: it says what the guest writes to" eval "field split$try error.message | grep -q 'the guest writes to'"
    check "split: a new snapshot is refused" eval 'snapshot refused 10s && wait_until 60 phase_is refused Failed'
    top_a=$(virt files | sed -n "s|^rw \($d/root.*\)|\1|p")
    top_b=$(virt files | sed -n "s|^rw \($d/data.*\)|\1|p")
    check "split: the files that the guest writes to are still there" eval "test -e '$top_a' && test -e '$top_b'"
    seq=$(guest_acked g1)
    guest_wait_agent g1
    guest_shutdown g1
    check "split: shut down, every record is in them" verify "$top_a" "$top_b" "$seq"
    check "split: vmkeepd leaves them alone also then" eval "sleep 5; test -e '$top_a' && test -e '$top_b'"
    virt retarget vda "$top_a" qcow2 >/dev/null
    virt retarget vdb "$top_b" qcow2 >/dev/null
    guest_start g1
    settled "split, repaired"
    check "split, repaired: no record is lost" test "$(guest_acked g1)" -ge "$seq"
    check "split, repaired: the failed snapshots can be deleted" k delete vmsnapshot "split$try" refused --timeout=120s
    snapshot after >/dev/null
    check "split, repaired: a snapshot is made" wait_until 100 is_ready after
    gone after
fi
