#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What is killed under vmkeepd, when, and what is left: QEMU and libvirtd at
# the moments of a snapshot and of its deletion that hurt. After each row the
# guest is neither frozen nor paused, no record that it wrote is lost, and
# nothing is left that nobody names.
# check: suite=crash timeout=600
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
check "the virtual machine is there" wait_until 30 object vm g1

virt() { local command=$1; shift; timeout 120 "$(program virt-test)" "$command" "$uuid" "$@"; }
row() { echo "# ${SECONDS} s: $*"; row=$*; }

# snapshot NAME [DEADLINE]: ask for one; its deadline is short.
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
field() { object_field vmsnapshot "$1" ".status.$2"; }
phase_is() { [ "$(field "$1" phase)" = "$2" ]; }
is_final() { [[ $(field "$1" phase) == @(Succeeded|Failed) ]]; }
is_ready() { [ "$(field "$1" readyToUse)" = true ]; }
is_gone() { ! object vmsnapshot "$1"; }

# killer COMMAND ARGUMENT...: of virt-test, in the background, and waiting.
killer() {
    local command=$1
    shift
    rm -f "$T/killer.log"
    start_process killer "$(program virt-test)" "$command" "$uuid" "$T/effects" "$@"
    wait_until 5 grep -q waiting "$T/killer.log"
}
killed() { wait_until 70 grep -q '^ok' "$T/killer.log"; }
# libvirtd_returns: it was killed; start it again. Not in check: see start_process.
missed=0
libvirtd_returns() {
    if killed; then
        ok "$row: libvirtd was killed"
    else # the moment is milliseconds long: on a busy machine it may be missed
        missed=$((missed + 1))
        note "$row: the moment was missed, libvirtd is killed at another"
        stop_process killer KILL 1
        kill -KILL "$(libvirt_pid)" || true
    fi
    # nsenter stops with its child, and would never see its end.
    kill -CONT "$pid_libvirtd" || true
    libvirt_wait_end
    libvirt_restart
}
# libvirt's own record of the running domain.
status_file=$T/lv/rt/qemu/g1.xml

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
# defined_as TARGET FILE: that is what the next start will use.
defined_as() { virsh -q domblklist --inactive g1 | grep -q "^ *$1 *$2\$"; }
# written BASE: the file that the guest writes to, whose name begins so.
written() { virt files | sed -n "s|^rw \($1.*\)|\1|p"; }

# The guest runs on, nothing is owed.
settled() {
    check "$row: the guest is neither frozen nor paused" wait_until 60 guest_is_writing g1
    check "$row: no thaw is owed" wait_until 30 nothing_owed
    check "$row: libvirt and QEMU agree on the disks" wait_until 60 virt check
}
nothing_left() {
    check "$row: the domain names its own disks again" wait_until 90 is_single
    check "$row: no file of ours is left" wait_until 30 no_orphans
}
# gone NAME: delete it, all space comes back.
gone() {
    check "$row: $1 can be deleted" k delete vmsnapshot "$1" --timeout=120s
    nothing_left
}
# fill MIB: so much is to be merged.
fill() { guest_exec g1 "dd if=/dev/urandom of=/data/big bs=1M count=$1 2>/dev/null; sync"; }

row "libvirtd, early in the snapshot"
killer kill-on " snapshot $uuid" "$(libvirt_pid)" 0
snapshot early >/dev/null
libvirtd_returns
settled
check "$row: it is made after all" wait_until 100 is_ready early
gone early

row "libvirtd, while the guest is being frozen"
guest_wait_agent g1
guest_exec g1 'echo 2 >/run/hook-sleep'
killer kill-on " freeze $uuid" "$(libvirt_pid)" 1000000
snapshot freezing >/dev/null
libvirtd_returns
settled
guest_wait_agent g1
guest_exec g1 'rm /run/hook-sleep'
check "$row: the snapshot is made after all" wait_until 100 is_ready freezing

# libvirt has noted that there is a job, but not yet where it copies to. To
# abort such a job is libvirtd's end (libvirt 9.0).
row "libvirtd, as a merge begins"
fill 40
killer step " commit vdb" "$(libvirt_pid)" WRITES "$d/data.qcow2" HAS "$status_file" "type='active-commit' state='new'"
k delete vmsnapshot freezing --wait=false >/dev/null
libvirtd_returns
settled
check "$row: the deletion ends" wait_until 120 is_gone freezing
nothing_left
check "$row: libvirtd did not die of it" is_alive "$pid_libvirtd"

row "libvirtd, while a snapshot is merged"
guest_wait_agent g1
snapshot merging >/dev/null
check "$row: it is made" wait_until 100 is_ready merging
fill 60
killer kill-on " commit vdb" "$(libvirt_pid)" 30000
k delete vmsnapshot merging --wait=false >/dev/null
libvirtd_returns
settled
check "$row: the deletion ends" wait_until 120 is_gone merging
nothing_left

# QEMU writes to the base, and libvirt has not noted it.
row "libvirtd, in a pivot"
guest_wait_agent g1
snapshot pivot >/dev/null
check "$row: it is made" wait_until 100 is_ready pivot
killer step " pivot vdb" "$(libvirt_pid)" HAS "$status_file" "newstate='completed'"
k delete vmsnapshot pivot --wait=false >/dev/null
libvirtd_returns
note "libvirt says: $(guest_state g1), vdb is $(guest_disk g1 vdb)"
check "$row: the definition names what the guest writes to" wait_until 90 defined_as vdb "$d/data.qcow2"
check "$row: the guest writes on" guest_is_writing g1
seq=$(guest_acked g1)
if guest_is g1 running; then
    guest_wait_agent g1
    guest_shutdown g1
else
    kill -TERM "$(guest_pid g1)"
    wait_until 20 eval '! guest_pid g1'
fi
check "$row: the deletion ends" wait_until 120 is_gone pivot
nothing_left
check "$row: every record is there" verify "$d/root.qcow2" "$d/data.qcow2" "$seq"
guest_start g1
settled
check "$row: the guest goes on from there" test "$(guest_acked g1)" -ge "$seq"

row "QEMU, while the guest is being frozen"
guest_wait_agent g1
guest_exec g1 'echo 2 >/run/hook-sleep'
killer kill-on " freeze $uuid" "$(guest_pid g1)" 1000000
seq=$(guest_acked g1)
snapshot lost >/dev/null
check "$row: it was killed" killed
check "$row: the domain is off" wait_until 60 guest_is g1 "shut off"
check "$row: no thaw is owed" wait_until 60 nothing_owed
check "$row: the snapshot ends" wait_until 120 is_final lost
note "it is $(field lost phase): $(field lost indications) $(field lost error.message)"
check "$row: every record is there" verify "$(guest_disk g1 vda)" "$(guest_disk g1 vdb)" "$seq"
guest_start g1
settled
gone lost

row "QEMU, while a snapshot is merged"
guest_wait_agent g1
snapshot merged >/dev/null
check "$row: it is made" wait_until 100 is_ready merged
fill 60
killer kill-on " commit vdb" "$(guest_pid g1)" 30000
seq=$(guest_acked g1)
k delete vmsnapshot merged --wait=false >/dev/null
check "$row: it was killed" killed
check "$row: the domain is off" wait_until 60 guest_is g1 "shut off"
check "$row: the deletion ends" wait_until 180 is_gone merged
nothing_left
check "$row: every record is there" verify "$d/root.qcow2" "$d/data.qcow2" "$seq"
guest_start g1
settled

# QEMU writes to the overlays, and libvirtd has not noted it.
row "libvirtd, inside the snapshot"
# The moment is over before it can be seen when this machine is slow to stop
# libvirtd: then it has noted them, and another snapshot is asked for.
for try in 1 2 3 4 5; do
    guest_wait_agent g1
    killer step " snapshot $uuid" "$(libvirt_pid)" LEAVES "$d/root.qcow2" LEAVES "$d/data.qcow2"
    snapshot split 20s >/dev/null
    libvirtd_returns
    if ! wait_until 1 virt check || [ $try = 5 ]; then break; fi
    note "$row: too late, once more"
    settled
    check "$row: the snapshot ends" wait_until 60 is_final split
    gone split
done
check_fails "$row: libvirt believes in the old files" virt check
check "$row: the guest is not left frozen" wait_until 60 guest_is_writing g1
top_a=$(written "$d/root") top_b=$(written "$d/data")
check "$row: the definition names what the guest writes to" wait_until 60 eval "defined_as vda '$top_a' && defined_as vdb '$top_b'"
check "$row: the snapshot fails at its deadline" wait_until 100 phase_is split Failed
note "$(field split error.message)"
check "$row: it says what to do" eval "field split error.message | grep -q 'the guest writes to .*shut the guest down and start it'"
check "$row: a new snapshot is refused" eval 'snapshot refused 5s && wait_until 60 phase_is refused Failed'
check "$row: the files that the guest writes to are still there" test -e "$top_a" -a -e "$top_b"
guest_wait_agent g1
seq=$(guest_acked g1)
guest_shutdown g1
# A merge that has just begun holds the disks' locks: then it is told, and the next try starts it.
check "$row: the guest can be started again" wait_until 30 virsh -q start g1
guest_wait_agent g1
settled
check "$row: no record is lost" test "$(guest_acked g1)" -ge "$seq"
check "$row: the failed snapshots can be deleted" k delete vmsnapshot split refused --timeout=120s
nothing_left
snapshot after >/dev/null
check "$row: a snapshot is made" wait_until 100 is_ready after
gone after
seq=$(guest_acked g1)
guest_shutdown g1
check "at the end every record is there" verify "$d/root.qcow2" "$d/data.qcow2" "$seq"
check "hardly a moment was missed ($missed)" test $missed -le 2
