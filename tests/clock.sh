#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=240
# The wall clock is set while snapshots are made: forward it ends no deadline
# and empties no trash, backward it puts no deadline off; and the guest is thawed
# as if nothing had happened.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard
libvirt_start
guest_define g1
GUEST_APPEND="writer=off" guest_define g2
guest_start g1
export VMKEEP_EFFECT_LOG=$T/effects
touch "$T/effects"
echo 0 >"$T/shift"
vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 5000" "trash_hours = 24"
vmkeepd_start "VMKEEP_CLOCK_SHIFT=$T/shift"
kubectl_start
check "the virtual machines are there" wait_until 30 eval "exists vm g1 && exists vm g2"
# on EFFECT SECONDS: set the clock when vmkeepd begins that effect.
on() {
    local seen
    seen=$(grep -c " $1" "$T/effects" || true)
    wait_until 30 eval "[ \$(grep -c ' $1' $T/effects) -gt $seen ]" || return 1
    echo "$2" >"$T/shift"
}

# ---- two hours forward, while the guest is being frozen ----
guest_exec g1 'echo 2 >/run/hook-sleep'
on freeze 7200 &
snapshot forward g1 'failureDeadline: 60s'
wait $! || not_ok "the clock was set"
check "forward: the snapshot is made" snapshot_ready forward 60
check "forward: with a frozen guest" eval "indications forward | grep -q GuestAgent"
check "forward: the guest goes on" guest_is_writing g1
guest_exec g1 'rm /run/hook-sleep'

# ---- four hours backward, while it waits for an agent that hangs ----
guest_hang_agent g1 45
on freeze -7200 &
snapshot backward g1 'failureDeadline: 12s'
wait $! || not_ok "the clock was set"
check "backward: it fails at its deadline" wait_until 40 field_is vmsnapshot backward .status.phase Failed
check "backward: the guest goes on, when its agent wakes" wait_until 90 guest_is_writing g1
check "backward: nothing is owed" wait_until 90 journal_is_empty

# ---- three days forward: the trash ----
snapshot s2 g2
check "trash: a snapshot" snapshot_ready s2
restore r2 g2 s2 'volumeRestorePolicy: InPlace'
check "trash: restored in place" restore_complete r2
check "trash: the old disks are there" eval "ls $T/g2/*.trash.qcow2"
echo 260000 >"$T/shift"
check "trash: the snapshot goes" remove vmsnapshot s2
sleep 3
check "trash: they are there for their 24 hours" eval "ls $T/g2/*.trash.qcow2"
