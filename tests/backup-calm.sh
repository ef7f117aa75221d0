#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=500
# What others feel of a backup: the guest's writer is not held for longer than
# freezing takes by itself, and what happens to VMs is seen at once while a
# backup is read, also when the guest's agent comes and goes.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-backup.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard
requires_program python3
libvirt_start
guest_define g1
guest_start g1
GUEST_APPEND="writer=off" guest_define g2
guest_start g2
vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 5000" "target_roots = $T/targets"
reads_can_wait
vmkeepd_start PATH="$slow_path"
kubectl_start
target_default
check "both VMs are there" wait_until 30 eval "field_is vm g1 .status.printableStatus Running && field_is vm g2 .status.printableStatus Running"

freeze_and_thaw() { guest_freeze_and_thaw g1; }
n=0
one_backup() { backup "calm$n" g1 && backup_ready "calm$n" && backup_clean "calm$n" && guest_wait_more g1 5; }

bare=() ours=()
for n in 1 2 3; do
    bare+=("$(guest_gap g1 freeze_and_thaw)")
    ours+=("$(guest_gap g1 one_backup)")
done
note "the writer was silent for (ms): freeze and thaw by virsh ${bare[*]}, a whole backup ${ours[*]}"
check "a backup holds the writer for less than a second more than twice a bare freeze and thaw" \
    test "$(median "${ours[@]}")" -le $((2 * $(median "${bare[@]}") + 1000))

# ---- events while a backup is read ----
# seen_within MS COMMAND...: from now on. What must not be are the 30 s for which
# libvirt holds all events during a backup job of its own.
seen_within() {
    local since limit=$1
    since=$(now_ms)
    shift
    wait_until 20 "$@" && note "seen after $(($(now_ms) - since)) ms" && [ $(($(now_ms) - since)) -le "$limit" ]
}
touch "$T/hold"
backup held g1
check "a backup is being read" wait_until 30 backup_is held .status.vmkeep.phase Reading
virsh -q destroy g2
check "another VM's end is seen at once" seen_within 12000 field_is vm g2 .status.printableStatus Stopped
guest_exec g1 '(sleep 0.2; kill $(cat /run/qga.pid); sleep 6
    qemu-ga -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0 -t /run -l /run/qga.log -F/etc/qemu/fsfreeze-hook &
    echo $! >/run/qga.pid) >/dev/null 2>&1 &'
check "the agent goes" wait_until 10 eval "! guest_has_agent g1"
check "and comes back" guest_wait_agent g1 30
virsh -q start g2
check "another VM's start is seen at once" seen_within 12000 field_is vm g2 .status.printableStatus Running
check "the guest writes on" guest_is_writing g1
rm "$T/hold"
check "the backup is made" backup_ready held
