#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=crash timeout=1500
# kill -9 of vmkeepd at its counted side effects of a backup and of a backup's
# deletion, before and after each: then it is started again, and everything
# must come right by itself.
#
#   CRASH_EVERY=K   every K-th point (79); 1: all. CRASH_OFFSET=I: which of them
#   CRASH_FLOWS     which of: backup backup-delete backup-cancel (deleted while it
#                   is read)
#   CRASH_AT=N:WHEN one point only
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-crash.sh"
. "$tests_dir/lib-backup.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard vmkeep-repo
requires_program curl
CRASH_EVERY=${CRASH_EVERY:-79} CRASH_OFFSET=${CRASH_OFFSET:-0}
CRASH_FLOWS=${CRASH_FLOWS:-backup backup-delete backup-cancel}
libvirt_start
guest_define g1
guest_start g1
vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 5000" "target_roots = $T/targets"
mkdir -p "$T/targets/a"
reads_can_wait

# ---- the API without kubectl's start-up time ----
group=/apis/harvesterhci.io/v1beta1/namespaces/default/virtualmachinebackups
api() { curl -sS --max-time 30 --unix-socket "$SOCKET" -H 'Content-Type: application/json' "$@"; }
get() { api "http://x$group/$1"; }
has() { get "$1" | tr -d ' \n' | grep -q "$2"; }
gone() { get "$1" | grep -q '"code": *404'; }
get_vm() { api "http://x/apis/kubevirt.io/v1/namespaces/default/virtualmachines/g1"; }
get_target() { api "http://x/apis/vmkeep.io/v1alpha1/backuptargets/default" | tr -d ' \n'; }
make_backup() {
    api -X POST "http://x$group" -d '{"apiVersion":"harvesterhci.io/v1beta1","kind":"VirtualMachineBackup","metadata":{"name":"'"$1"'"},
        "spec":{"type":"backup","source":{"apiGroup":"kubevirt.io","kind":"VirtualMachine","name":"g1"}}}' >/dev/null
}
delete() { api -X DELETE "http://x$group/$1" >/dev/null; }
# ready: and nothing is left of its cut.
ready() { has "$1" '"readyToUse":true' && ! has "$1" '"cut":{'; }
start() { vmkeepd_start PATH="$slow_path" "$@" && wait_until 10 eval 'api http://x/version | grep -q gitVersion'; }

start
api -X POST http://x/apis/vmkeep.io/v1alpha1/backuptargets -d '{"apiVersion":"vmkeep.io/v1alpha1","kind":"BackupTarget","metadata":{"name":"default"},
    "spec":{"directory":{"path":"'"$T/targets/a"'"}}}' >/dev/null
check "a target" wait_until 20 eval "get_target | grep -q repositoryUUID"
key=$(get_target | sed -n 's/.*"keyFile":"\([^"]*\)".*/\1/p')
guest_wait_agent g1
wait_until 20 eval "get_vm | grep -q Running"
make_backup base
check "an older backup" wait_until 60 ready base
backup_id() { get "$1" | tr -d ' \n' | sed -n 's/.*"backupID":"\([^"]*\)".*/\1/p'; }
export_disk() { rm -f "$3"; repo_tool export -q -k "$key" -d "$2" "$T/targets/a" "$1" "$3"; }
base=$(backup_id base)
for disk in vda vdb; do export_disk "$base" $disk "$T/base-$disk.raw"; done
check "is the guest's disks" verify -q "$T/base-vda.raw" "$T/base-vdb.raw"
base_intact() {
    local disk
    for disk in vda vdb; do export_disk "$base" $disk "$T/now.raw" && cmp -s "$T/now.raw" "$T/base-$disk.raw" || return 1; done
}
bitmaps() { qemu-img info -U --output=json "$1" | tr -d ' \n' | grep -o '"name":"vmkeep-[0-9a-f-]*"' | sort -u | wc -l; }
# On XFS and btrfs: the copies that the last backup keeps, one of each disk.
rows_kept() { awk '$1 == "layer" && $5 == "kept" {print $11}' "$T"/state/layers/* 2>/dev/null; }
kept_rightly() {
    if grep -qs '"copies":true' "$T"/state/tracking/* && [ "$(rows_kept | wc -l)" = 2 ]; then rows_kept; fi
}
# What is there besides the disks: nothing, but for the secrets of nobody.
left_behind() {
    find "$T/g1" -name '*vmkeep-*' | grep -vxF -f <(kept_rightly)
    find "$T/state/secrets" "$T/state/nvram" "$T/run/jobs" "$T/state/frozen" -mindepth 1 2>/dev/null
    grep -h '^job' "$T"/state/layers/* 2>/dev/null
    virsh -q checkpoint-list g1 --name 2>/dev/null | grep vmkeep
    pgrep -f "qemu-nbd.*$T" | sed 's/^/qemu-nbd /'
    get_vm | grep backupInProgress
    grep -l '"pending": *{' "$T"/state/tracking/* 2>/dev/null
    get_target | grep -o pendingDeletions
    true
}
is_tidy() { [ -z "$(left_behind)" ]; }
check "nothing is left behind" wait_until 30 is_tidy

setup_backup() { :; }
run_backup() { make_backup "$1"; }
done_backup() { ready "$1"; }
# The backup is a quiesced instant that is not older than its request.
clean_backup() {
    local id
    id=$(backup_id "$1")
    export_disk "$id" vda "$T/a.raw" && export_disk "$id" vdb "$T/b.raw" && verify "$T/a.raw" "$T/b.raw" "$seq" >"$T/verdict" || return 1
    delete "$1"
    wait_until 40 gone "$1"
}
setup_backup-delete() { make_backup "$1"; wait_until 60 ready "$1"; }
run_backup-delete() { delete "$1"; }
done_backup-delete() { gone "$1"; }
clean_backup-delete() { [ "$(repo_tool list -k "$key" --json "$T/targets/a" | grep -c objectUID)" = 1 ]; }

setup_backup-cancel() {
    touch "$T/hold"
    make_backup "$1"
    wait_until 60 has "$1" '"phase":"Reading"'
}
run_backup-cancel() { delete "$1"; rm -f "$T/hold"; }
done_backup-cancel() { gone "$1"; }
clean_backup-cancel() { clean_backup-delete; }
# effects_of FLOW: how vmkeepd calls it.
effects_of() { case $1 in backup) echo backup ;; *) echo backup-delete ;; esac; }

# See lib-crash.sh.
point() {
    local flow=$1 name=c$RANDOM$RANDOM reached=yes
    vmkeepd_stop
    if [ "$flow" != backup ]; then
        start && "setup_$flow" "$name" && vmkeepd_stop || { why="the way there failed"; return 1; }
    fi
    seq=$(guest_acked g1)
    crash_arm "$(effects_of "$flow")" "$2" "$3"
    if start "$crash_at"; then
        wait_until 10 eval "! vmkeepd_is_running || get_target | grep -q '\"status\":\"True\"'" || true
        "run_$flow" "$name" || true
    elif vmkeepd_is_running; then
        why="no start"
        return 1
    fi
    wait_until 20 eval "! vmkeepd_is_running || { done_$flow $name && sleep 0.3; }" || true
    if vmkeepd_is_running; then reached=no; fi
    stop_process vmkeepd KILL 2
    start || { why="no start after the crash"; return 1; }
    # A crash before the request was answered may have lost the request itself.
    if [ "$flow" = backup ] && gone "$name"; then make_backup "$name"; fi
    wait_until 90 "done_$flow" "$name" || { why="it does not end: $(get "$name" | tr -d ' \n' | grep -o '"status":{.*' | tail -c 1500)"; return 1; }
    guest_is g1 running && guest_is_writing g1 || { why="the guest does not write: $(guest_state g1)"; return 1; }
    "clean_$flow" "$name" || { why="what was made is not right, or does not go: $(tail -n 3 "$T/verdict" 2>/dev/null)"; return 1; }
    wait_until 40 is_tidy || { why="left behind: $(left_behind)"; return 1; }
    [ "$(bitmaps "$T/g1/root.qcow2")" -le 2 ] || { why="bitmaps: $(bitmaps "$T/g1/root.qcow2")"; return 1; }
    base_intact || { why="an older backup was changed"; return 1; }
    [ $reached = yes ] || return 2
}

for flow in $CRASH_FLOWS; do
    name=count$RANDOM seq=$(guest_acked g1)
    "setup_$flow" "$name"
    vmkeepd_stop
    : >"$T/effects"
    start "VMKEEP_EFFECT_LOG=$T/effects"
    wait_until 10 eval "get_target | grep -q '\"status\":\"True\"'"
    "run_$flow" "$name"
    if ! wait_until 60 "done_$flow" "$name"; then not_ok "$flow ends without a crash"; bail; continue; fi
    sleep 0.5
    total=$(grep -c "^$(effects_of "$flow") " "$T/effects" || true)
    "clean_$flow" "$name" || not_ok "$flow: clean up"
    check "$flow has side effects ($total)" test "$total" -ge 4
    crash_points "$flow" "$(effects_of "$flow")" "$total"
done
vmkeepd_stop
