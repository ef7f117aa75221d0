#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=crash timeout=1200
# The host goes down in the middle of it: vmkeepd at one of its counted side
# effects, and with it the guard, libvirtd, QEMU and whatever was started. Then
# the host boots: /run is empty, the disks' file system is on a device with
# another number, and the guest is started before vmkeepd or after it.
#
#   CRASH_EVERY=K   every K-th point (31); 1: all. CRASH_OFFSET=I: which of them
#   CRASH_FLOWS     which of: snapshot snapshot-delete backup
#   CRASH_AT=N:WHEN one point only
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-crash.sh"
. "$tests_dir/lib-backup.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard vmkeep-repo
requires_program curl mkfs.ext4 losetup
CRASH_EVERY=${CRASH_EVERY:-31} CRASH_OFFSET=${CRASH_OFFSET:-0} CRASH_WHENS=before
CRASH_FLOWS=${CRASH_FLOWS:-snapshot snapshot-delete backup}

truncate -s 2G "$T/ext4.img"
truncate -s 1M "$T/other.img"
mkfs.ext4 -q "$T/ext4.img"
mkdir "$T/g1"
mount -o loop "$T/ext4.img" "$T/g1" || skip_all "no loop mount here"
cleanup_fn umount -l "$T/g1"
libvirt_start
guest_define g1
guest_start g1
vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 5000" "target_roots = $T/targets"
mkdir -p "$T/targets/a"

# ---- the API without kubectl's start-up time ----
plural() {
    case $1 in
    snapshot) echo /apis/snapshot.kubevirt.io/v1beta1/namespaces/default/virtualmachinesnapshots ;;
    backup) echo /apis/harvesterhci.io/v1beta1/namespaces/default/virtualmachinebackups ;;
    target) echo /apis/vmkeep.io/v1alpha1/backuptargets ;;
    vm) echo /apis/kubevirt.io/v1/namespaces/default/virtualmachines ;;
    esac
}
api() { curl -sS --max-time 30 --unix-socket "$SOCKET" -H 'Content-Type: application/json' "$@"; }
get() { api "http://x$(plural "$1")/$2" | tr -d ' \n'; }
has() { get "$1" "$2" | grep -q "$3"; }
gone() { has "$1" "$2" '"code":404'; }
delete() { api -X DELETE "http://x$(plural "$1")/$2" >/dev/null; }
make() {
    local version=snapshot.kubevirt.io/v1beta1 kind=VirtualMachineSnapshot type=''
    [ "$1" = snapshot ] || version=harvesterhci.io/v1beta1 kind=VirtualMachineBackup type='"type":"backup",'
    api -X POST "http://x$(plural "$1")" -d '{"apiVersion":"'$version'","kind":"'$kind'","metadata":{"name":"'"$2"'"},
        "spec":{'$type'"source":{"apiGroup":"kubevirt.io","kind":"VirtualMachine","name":"g1"}}}' >/dev/null
}
ready() { has "$1" "$2" '"readyToUse":true' && ! has "$1" "$2" '"cut":{'; }
# A snapshot that was under way has failed, or was made of what is there now.
ended() { ready "$1" "$2" || has "$1" "$2" '"phase":"Failed"'; }
start() { vmkeepd_start "$@" && wait_until 10 eval 'api http://x/version | grep -q gitVersion'; }

start
api -X POST "http://x$(plural target)" -d '{"apiVersion":"vmkeep.io/v1alpha1","kind":"BackupTarget","metadata":{"name":"default"},
    "spec":{"directory":{"path":"'"$T/targets/a"'"}}}' >/dev/null
check "a target" wait_until 20 has target default '"repositoryUUID"'
key=$(get target default | sed -n 's/.*"keyFile":"\([^"]*\)".*/\1/p')
wait_until 20 has vm g1 Running
make snapshot base
check "an older snapshot" wait_until 60 ready snapshot base
base_uid=$(get snapshot base | sed -n 's/.*"uid":"\([^"]*\)".*/\1/p')
make backup base
check "an older backup" wait_until 60 ready backup base
backup_id() { get backup "$1" | sed -n 's/.*"backupID":"\([^"]*\)".*/\1/p'; }
export_disk() { rm -f "$3"; repo_tool export -q -k "$key" -d "$2" "$T/targets/a" "$1" "$3"; }
is_instant() { # BACKUP SEQ
    local id
    id=$(backup_id "$1")
    export_disk "$id" vda "$T/a.raw" && export_disk "$id" vdb "$T/b.raw" && verify "$T/a.raw" "$T/b.raw" "$2" >"$T/verdict"
}

# ---- the host ----
# With vmkeepd's environment: the guard and the programs that it started.
ours() {
    local environ pid
    for environ in /proc/[0-9]*/environ; do
        pid=${environ#/proc/} pid=${pid%/environ}
        [[ $(readlink "/proc/$pid/exe") == */@(vmkeep-guard|qemu-*) ]] || continue
        if tr '\0' '\n' <"$environ" | grep -qx "VMKEEP_SOCKET=$SOCKET"; then echo "$pid"; fi
    done 2>/dev/null
}
held=''
host_down() {
    stop_process vmkeepd KILL 5
    # shellcheck disable=SC2046
    kill -KILL $(ours) 2>/dev/null || true
    libvirt_end
    wait_until 20 eval '[ -z "$(ours)" ]'
    rm -rf "$T/run" "$T"/lv/rt/*
    mkdir "$T/run"
}
# Nothing may have the file system any more when it is mounted again: two mounts
# of it would ruin it. What held the number before holds this one now.
host_up() {
    local device
    device=$(findmnt -no SOURCE "$T/g1")
    umount "$T/g1"
    wait_until 20 eval '[ -z "$(losetup -j "$T/ext4.img")" ]' || { echo "still mounted" >&2; return 1; }
    [ -z "$held" ] || losetup -d "$held"
    losetup "$device" "$T/other.img"
    held=$device
    mount -o loop "$T/ext4.img" "$T/g1"
    libvirt_start
}
cleanup_fn eval 'losetup -d "$held"'
# The guest's writer says how far it finds its records.
boots_with() { # SEQ
    guest_wait_agent g1 || return 1
    wait_until 30 grep -q "WRITER STARTS AFTER" "$T/g1/console.log" || return 1
    [ "$(sed -n 's/.*WRITER STARTS AFTER \([0-9]*\).*/\1/p' "$T/g1/console.log" | tail -n 1)" -ge "$1" ] && guest_is_writing g1
}

# What is there besides the disks, the base and what it needs.
left_behind() {
    find "$T/state/secrets" "$T/state/nvram" "$T/run/jobs" "$T/state/frozen" -mindepth 1 ! -name "$base_uid" 2>/dev/null
    grep -h '^job' "$T"/state/layers/* 2>/dev/null
    virsh -q checkpoint-list g1 --name 2>/dev/null | grep vmkeep
    ours | while read -r pid; do [[ $(readlink "/proc/$pid/exe") == */vmkeep-guard ]] || echo "still runs: $(tr '\0' ' ' <"/proc/$pid/cmdline")"; done
    find "$T/g1" -name '*.vmkeep-*' | grep -vxF -f <(awk '$1 == "layer" {print $11}' "$T"/state/layers/*) | sed 's/^/no row: /'
    [ "$(find "$T/g1" -name '*.vmkeep-*' | wc -l)" = 2 ] || echo "overlays: $(find "$T/g1" -name '*.vmkeep-*' | wc -l)"
    true
}
is_tidy() { [ -z "$(left_behind)" ]; }
check "nothing is left behind" wait_until 30 is_tidy
is_tidy || note "$(left_behind)"

# ---- the flows ----
effects_of() { echo "$1"; }
kind_of() { echo "${1%-delete}"; }
setup() { case $1 in *-delete) make "$(kind_of "$1")" "$2" && wait_until 60 ready "$(kind_of "$1")" "$2" ;; esac; }
run() { case $1 in *-delete) delete "$(kind_of "$1")" "$2" ;; *) make "$1" "$2" ;; esac; }
is_over() { case $1 in *-delete) gone "$(kind_of "$1")" "$2" ;; *) ended "$1" "$2" ;; esac; }
clean() { # FLOW NAME
    case $1 in *-delete) return 0 ;; esac
    [ "$1" != backup ] || ! ready backup "$2" || is_instant "$2" "$seq" || { why="the backup is not right: $(tail -n 3 "$T/verdict")"; return 1; }
    delete "$1" "$2"
    wait_until 60 gone "$1" "$2" || { why="$2 does not go: $(get "$1" "$2")"; return 1; }
}

# See lib-crash.sh.
point() {
    local flow=$1 name=c$RANDOM$RANDOM reached=yes
    wait_until 10 eval "[ \$(guest_acked g1) -gt 0 ]"
    setup "$flow" "$name" || { why="the way there failed"; return 1; }
    vmkeepd_stop
    seq=$(guest_acked g1)
    crash_arm "$(effects_of "$flow")" "$2" "$3"
    if start "$crash_at"; then
        wait_until 10 eval "! vmkeepd_is_running || has target default '\"status\":\"True\"'" || true
        run "$flow" "$name" || true
    fi
    wait_until 20 eval "! vmkeepd_is_running || { is_over $flow $name && sleep 0.3; }" || true
    if vmkeepd_is_running; then reached=no; fi
    host_down
    host_up || { why="the host does not boot"; return 1; }
    : >"$T/g1/console.log"
    [ $(($2 % 2)) = 0 ] || virsh -q start g1 || { why="the guest does not start before vmkeepd"; return 1; }
    start || { why="no start after the boot"; return 1; }
    if [[ $flow != *-delete ]] && gone "$flow" "$name"; then run "$flow" "$name"; fi
    [ $(($2 % 2)) = 1 ] || virsh -q start g1 || { why="the guest does not start after vmkeepd"; return 1; }
    boots_with "$seq" || { why="the guest does not boot with record $seq: $(tail -n 3 "$T/g1/console.log")"; return 1; }
    wait_until 90 is_over "$flow" "$name" || { why="it does not end: $(get "$(kind_of "$flow")" "$name" | grep -o '"status":{.*' | tail -c 1500)"; return 1; }
    clean "$flow" "$name" || return 1
    wait_until 60 is_tidy || { why="left behind: $(left_behind)"; return 1; }
    ready snapshot base && ready backup base || { why="the older ones: $(get snapshot base | tail -c 800)"; return 1; }
    [ $reached = yes ] || return 2
}

for flow in $CRASH_FLOWS; do
    name=count$RANDOM
    setup "$flow" "$name"
    vmkeepd_stop
    : >"$T/effects"
    start "VMKEEP_EFFECT_LOG=$T/effects"
    wait_until 10 has target default '"status":"True"'
    seq=$(guest_acked g1)
    run "$flow" "$name"
    if ! wait_until 60 is_over "$flow" "$name"; then not_ok "$flow ends without a crash"; bail; continue; fi
    sleep 0.5
    total=$(grep -c "^$(effects_of "$flow") " "$T/effects" || true)
    clean "$flow" "$name" || not_ok "$flow: clean up: $why"
    check "$flow has side effects ($total)" test "$total" -ge 4
    crash_points "$flow" "$(effects_of "$flow")" "$total"
done

check "the older backup is what it was" is_instant base 1
guest_shutdown g1
seq=$(guest_acked g1)
check "every record of the guest is there" wait_until 30 verify "$(guest_disk g1 vda)" "$(guest_disk g1 vdb)" "$seq"
check "the older snapshot goes" eval "delete snapshot base; wait_until 60 gone snapshot base"
check "the domain has its own disks" wait_until 60 eval '[ "$(guest_disk g1 vda)" = "$T/g1/root.qcow2" ]'
vmkeepd_stop
