#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=crash timeout=1500
# kill -9 of vmkeepd at the side effects of Harvester's restores from a
# repository, before and after each: then it is started again, and everything
# must come right by itself.
#
#   CRASH_EVERY=K   every K-th point (35); 1: all. CRASH_OFFSET=I: which of them
#   CRASH_FLOWS     which of: hrestore-new hrestore-replace
#   CRASH_AT=N:WHEN one point only
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-crash.sh"
. "$tests_dir/lib-hrestore.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard vmkeep-repo
requires_program curl python3
CRASH_EVERY=${CRASH_EVERY:-35} CRASH_OFFSET=${CRASH_OFFSET:-0}
CRASH_FLOWS=${CRASH_FLOWS:-hrestore-new hrestore-replace}
libvirt_start
GUEST_APPEND="writer=off" guest_define g2
mkdir "$T/restored"
vmkeepd_configure "min_free = 64M" "trash_hours = 1" "target_roots = $T" "restore_dir = $T/restored"
vmkeepd_start
kubectl_start
wait_until 20 field_is vm g2 .status.printableStatus Stopped
snapshot base g2
check "a cut of the stopped VM" snapshot_ready base
repository_make
backup_import b1 g2 base
target_make
check "the backup is there" backup_ready b1
check "the snapshot goes" remove vmsnapshot base

# ---- the API without kubectl's start-up time ----
api() { curl -sS --max-time 30 --unix-socket "$SOCKET" -H 'Content-Type: application/json' "$@"; }
restores=/apis/harvesterhci.io/v1beta1/namespaces/default/virtualmachinerestores
get() { api "http://x$restores/$1"; }
get_vm() { api "http://x/apis/kubevirt.io/v1/namespaces/default/virtualmachines/$1"; }
gone() { get "$1" | grep -q '"code": *404'; }
make() { # NAME TARGET IS-NEW POLICY
    api -X POST "http://x$restores" -d '{"apiVersion":"harvesterhci.io/v1beta1","kind":"VirtualMachineRestore","metadata":{"name":"'"$1"'"},
        "spec":{"target":{"apiGroup":"kubevirt.io","kind":"VirtualMachine","name":"'"$2"'"},"virtualMachineBackupName":"b1",
        "virtualMachineBackupNamespace":"default","newVM":'"$3"',"deletionPolicy":"'"$4"'","haltAfterRestore":true}}' >/dev/null
}
complete() { get "$1" | tr -d ' \n' | grep -q '"complete":true'; }
start() { vmkeepd_start "$@" && wait_until 10 eval 'api http://x/version | grep -q gitVersion' && wait_until 20 eval "get_vm g2 | grep -q Stopped"; }

# ---- the flows ----
run_hrestore-new() { make "$1" "n-$1" true ''; }
clean_hrestore-new() {
    local a b
    a=$(guest_disk "n-$1" vda) b=$(guest_disk "n-$1" vdb)
    is_copy "n-$1" b1 || return 1
    virsh -q undefine "n-$1" && rm -f "$a" "$b"
}
run_hrestore-replace() { make "$1" g2 false delete; }
clean_hrestore-replace() { is_copy g2 b1; }

files() {
    local file
    cat "$T"/state/layers/* 2>/dev/null | awk '$1 == "layer" && $5 != "trash" {print $4, $5}' | sort | uniq -c | tr -s ' \n' ' '
    for file in "$T"/g2/*vmkeep* "$T"/restored/*; do
        [ ! -e "$file" ] || grep -qF " $file " "$T"/state/layers/* || echo "orphan ${file##*/}"
    done
    echo "firmware $(find "$T/state/restores" "$T/state/nvram" -type f 2>/dev/null | wc -l) jobs $(find "$T/run/jobs" -mindepth 1 2>/dev/null | wc -l)"
    grep -h '^job' "$T"/state/layers/* || true
}
is_tidy() { [ "$(files)" = "$files_before" ]; }
is_well() { ! get_vm g2 | grep -q InProgress && guest_is g2 "shut off"; }

# See lib-crash.sh.
point() {
    local flow=$1 name=c$RANDOM$RANDOM reached=yes
    vmkeepd_stop
    # The first effects of a flow may come at start, for objects that are there.
    crash_arm "$flow" "$2" "$3"
    if start "$crash_at"; then
        "run_$flow" "$name" || true
    elif vmkeepd_is_running; then
        why="no start"
        return 1
    fi
    wait_until 20 eval "! vmkeepd_is_running || { complete $name && sleep 0.2; }" || true
    if vmkeepd_is_running; then reached=no; fi
    stop_process vmkeepd KILL 2
    start || { why="no start after the crash"; return 1; }
    # A crash before the request was answered may have lost the request itself.
    if gone "$name"; then "run_$flow" "$name"; fi
    wait_until 60 complete "$name" || { why="it does not end: $(get "$name" | tail -c 1500)"; return 1; }
    wait_until 20 is_well || { why="a lock is left: $(get_vm g2 | grep InProgress)"; return 1; }
    "clean_$flow" "$name" || { why="what was restored is not right"; return 1; }
    api -X DELETE "http://x$restores/$name" >/dev/null
    wait_until 20 gone "$name" || { why="it cannot be deleted: $(get "$name" | tail -c 900)"; return 1; }
    wait_until 30 is_tidy || { why="left behind: $(files) instead of $files_before"; return 1; }
    [ $reached = yes ] || return 2
}

for flow in $CRASH_FLOWS; do
    name=count$RANDOM
    # Twice: the first one may leave the disks of an administrator in the trash.
    "run_$flow" "first$name"
    check "$flow ends without a crash" wait_until 60 complete "first$name"
    "clean_$flow" "first$name" || not_ok "$flow: what was restored is not right"
    k delete $R "first$name" >/dev/null
    vmkeepd_stop
    : >"$T/effects"
    start "VMKEEP_EFFECT_LOG=$T/effects"
    "run_$flow" "$name"
    if ! wait_until 60 complete "$name"; then not_ok "$flow ends without a crash"; bail; continue; fi
    sleep 0.5
    total=$(grep -c "^$flow " "$T/effects" || true)
    "clean_$flow" "$name" || not_ok "$flow: what was restored is not right"
    k delete $R "$name" >/dev/null
    sleep 1
    files_before=$(files)
    note "$files_before"
    check "$flow has at least 20 effects ($total)" test "$total" -ge 20
    crash_points "$flow" "$flow" "$total"
done
vmkeepd_stop
