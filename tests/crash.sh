#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=crash timeout=1500
# kill -9 of vmkeepd at its counted side effects, before and after each, and SIGTERM at each: then it
# is started again, and everything must come right by itself.
#
#   CRASH_EVERY=K   every K-th point (35); 1: all. CRASH_OFFSET=I: which of them
#   CRASH_FLOWS     which of: snapshot snapshot-delete restore-in-place restore-new
#   CRASH_AT=N:WHEN one point only
#   CRASH_LEAST=N   so many effects at least has each flow (20)
#
# One running guest (g1) serves the snapshots, one stopped VM (g2) the restores.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-crash.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard
requires_program curl
CRASH_EVERY=${CRASH_EVERY:-35} CRASH_OFFSET=${CRASH_OFFSET:-0}
CRASH_LEAST=${CRASH_LEAST:-20}
CRASH_FLOWS=${CRASH_FLOWS:-snapshot snapshot-delete restore-in-place restore-new}
libvirt_start
guest_define g1
guest_start g1
GUEST_APPEND="writer=off" guest_define g2
vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 5000" "trash_hours = 1"

# ---- the API without kubectl's start-up time ----
group=/apis/snapshot.kubevirt.io/v1beta1/namespaces/default
api() { curl -sS --max-time 30 --unix-socket "$SOCKET" -H 'Content-Type: application/json' "$@"; }
plural() { case $1 in vm) echo /apis/kubevirt.io/v1/namespaces/default/virtualmachines ;; snapshot) echo $group/virtualmachinesnapshots ;; restore) echo $group/virtualmachinerestores ;; content) echo $group/virtualmachinesnapshotcontents ;; esac; }
get() { api "http://x$(plural "$1")/$2"; }
gone() { get "$1" "$2" | grep -q '"code": *404'; }
delete() { api -X DELETE "http://x$(plural "$1")/$2" >/dev/null; }
make_snapshot() {
    api -X POST "http://x$(plural snapshot)" -d '{"apiVersion":"snapshot.kubevirt.io/v1beta1","kind":"VirtualMachineSnapshot","metadata":{"name":"'"$1"'"},
        "spec":{"source":{"apiGroup":"kubevirt.io","kind":"VirtualMachine","name":"'"$2"'"}}}' >/dev/null
}
make_restore() { # name target policy
    api -X POST "http://x$(plural restore)" -d '{"apiVersion":"snapshot.kubevirt.io/v1beta1","kind":"VirtualMachineRestore","metadata":{"name":"'"$1"'"},
        "spec":{"target":{"apiGroup":"kubevirt.io","kind":"VirtualMachine","name":"'"$2"'"},"virtualMachineSnapshotName":"base2","volumeRestorePolicy":"'"$3"'"}}' >/dev/null
}
has() { get "$1" "$2" | tr -d ' \n' | grep -q "$3"; }
ready() { has snapshot "$1" '"readyToUse":true'; }
complete() { has restore "$1" '"complete":true'; }
start() { vmkeepd_start "$@" && wait_until 10 eval 'api http://x/version | grep -q gitVersion'; }

# ---- what was kept before, and copies of it that qemu-img made ----
start
wait_until 20 eval "get vm g1 | grep -q Running && get vm g2 | grep -q Stopped"
make_snapshot base1 g1
make_snapshot base2 g2
check "older snapshots are there" wait_until 60 eval "ready base1 && ready base2"
# layer VM SNAPSHOT TARGET: the file that holds it now.
layer() {
    local uid table id
    uid=$(get snapshot "$2" | grep -o 'vmsnapshot-content-[0-9a-f-]*' | head -n 1)
    uid=${uid#vmsnapshot-content-}
    table=$T/state/layers/$(guest_uuid "$1")
    id=$(awk -v o="$uid" -v t="$3" '$1 == "ref" && $3 == o && $4 == t {print $5}' "$table")
    awk -v i="$id" '$1 == "layer" && $2 == i {print $11}' "$table"
}
for vm in 1 2; do
    for target in vda vdb; do qemu-img convert -U -O qcow2 "$(layer g$vm base$vm $target)" "$T/copy-$vm-$target.qcow2"; done
done
base_intact() { # 1|2
    local target
    for target in vda vdb; do qemu-img compare -U -q "$(layer "g$1" "base$1" $target)" "$T/copy-$1-$target.qcow2" || return 1; done
}
check "they are what qemu-img copied" eval "base_intact 1 && base_intact 2"
# What is there: layers that are not trash, files that no table names, secrets.
files() {
    local file
    cat "$T"/state/layers/* 2>/dev/null | awk '$1 == "layer" && $5 != "trash" {print $4, $5}' | sort | uniq -c | tr -s ' \n' ' '
    for file in "$T"/g[12]/*.qcow2* "$T"/g[12]/*vmkeep*; do
        [ ! -e "$file" ] || grep -qF " $file " "$T"/state/layers/* || echo "orphan ${file##*/}"
    done
    echo "secrets $(find "$T/state/secrets" -type f | wc -l) nvram $(find "$T/state/nvram" -type f 2>/dev/null | wc -l)"
    grep -h '^job' "$T"/state/layers/* || true
}
files_before=$(files)

# ---- one run of each flow; SETUP runs before vmkeepd may crash ----
run_snapshot() { make_snapshot "$1" g1; }
done_snapshot() { ready "$1"; }
clean_snapshot() { delete snapshot "$1"; wait_until 40 gone snapshot "$1"; }

setup_snapshot-delete() { make_snapshot "$1" g1; wait_until 60 ready "$1"; }
run_snapshot-delete() { delete snapshot "$1"; }
done_snapshot-delete() { gone snapshot "$1"; }

run_restore-in-place() { make_restore "$1" g2 InPlace; }
done_restore-in-place() { complete "$1"; }
clean_restore-in-place() {
    qemu-img compare -U -q "$(guest_disk g2 vda)" "$T/copy-2-vda.qcow2" && qemu-img compare -U -q "$(guest_disk g2 vdb)" "$T/copy-2-vdb.qcow2" || return 1
    delete restore "$1"
    wait_until 20 gone restore "$1"
}

run_restore-new() { make_restore "$1" "n-$1" PrefixTargetName; }
done_restore-new() { complete "$1"; }
clean_restore-new() {
    local a b
    a=$(guest_disk "n-$1" vda) b=$(guest_disk "n-$1" vdb)
    qemu-img compare -U -q "$a" "$T/copy-2-vda.qcow2" && qemu-img compare -U -q "$b" "$T/copy-2-vdb.qcow2" || return 1
    delete restore "$1"
    wait_until 20 gone restore "$1" || return 1
    virsh -q undefine "n-$1" && rm -f "$a" "$b"
}
run() { if declare -F "$1_$2" >/dev/null; then "$1_$2" "$3"; fi; }

guests_well() {
    guest_is g1 running && journal_is_empty &&
        has vm g1 '"name":"g1"' && ! get vm g1 | grep -q InProgress && ! get vm g2 | grep -q InProgress
}
is_tidy() { [ "$(files)" = "$files_before" ]; }

# See lib-crash.sh.
point() {
    local flow=$1 name=c$RANDOM$RANDOM reached=yes
    vmkeepd_stop
    if declare -F "setup_$flow" >/dev/null; then
        start && run setup "$flow" "$name" && vmkeepd_stop || { why="the way there failed"; return 1; }
    fi
    # The first effects of a flow may come at start, for objects that are there.
    crash_arm "$flow" "$2" "$3"
    if start "$crash_at"; then
        run run "$flow" "$name" || true
    elif vmkeepd_is_running; then
        why="no start"
        return 1
    fi
    wait_until 15 eval "! vmkeepd_is_running || { run 'done' $flow $name && sleep 0.2; }" || true
    if vmkeepd_is_running; then reached=no; fi
    stop_process vmkeepd KILL 2
    start || { why="no start after the crash"; return 1; }
    # A crash before the request was answered may have lost the request itself.
    if [ "$flow" != snapshot-delete ] && gone "$(case $flow in snapshot) echo snapshot ;; *) echo restore ;; esac)" "$name"; then
        run run "$flow" "$name"
    fi
    wait_until 60 run 'done' "$flow" "$name" || { why="it does not end: $(get snapshot "$name" | tail -c 700) $(get restore "$name" | tail -c 900)"; return 1; }
    wait_until 20 guests_well || { why="a guest or a lock is left: $(ls "$T/state/frozen") $(get vm g1 | grep InProgress) $(guest_state g1)"; return 1; }
    case $flow in snapshot*) guest_is_writing g1 || { why="the guest does not write"; return 1; } ;; esac
    run clean "$flow" "$name" || { why="what was restored or made is not right, or does not go"; return 1; }
    wait_until 30 is_tidy || { why="left behind: $(files) instead of $files_before"; return 1; }
    base_intact 1 && base_intact 2 || { why="an older snapshot was changed"; return 1; }
    [ $reached = yes ] || return 2
}

# ---- the flows ----
for flow in $CRASH_FLOWS; do
    name=count$RANDOM
    vmkeepd_stop
    if declare -F "setup_$flow" >/dev/null; then start; run setup "$flow" "$name"; vmkeepd_stop; fi
    : >"$T/effects"
    start "VMKEEP_EFFECT_LOG=$T/effects"
    run run "$flow" "$name"
    if ! wait_until 60 run 'done' "$flow" "$name"; then not_ok "$flow ends without a crash"; bail; continue; fi
    sleep 0.5
    total=$(grep -c "^$flow " "$T/effects" || true)
    run clean "$flow" "$name" || not_ok "$flow: clean up"
    sleep 1
    files_before=$(files)
    check "$flow has at least $CRASH_LEAST effects ($total)" test "$total" -ge "$CRASH_LEAST"
    crash_points "$flow" "$flow" "$total"
done
vmkeepd_stop
