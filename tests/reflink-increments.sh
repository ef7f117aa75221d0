#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=full timeout=2400
# 20 backups in a row of a VM on XFS and on btrfs, qcow2 and raw, with this and
# that done to it in between: each, and all of them once more at the end, has
# what qemu-img copied before, and little was read for it. The VM has no
# operating system (tests/lib-conformance.sh): nothing is written but what the
# test writes.
#
#   REFLINK_FS="xfs btrfs"  on which   REFLINK_FORMATS="qcow2 raw"
#   BACKUP_MANY=N  how many (20)   BACKUP_SEED=N  which chance
export TEST_LIMIT=${TEST_LIMIT:-2400}
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-backup.sh"
. "$tests_dir/lib-reflink.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard vmkeep-repo
requires_program qemu-io curl jq
reflink_filesystems
. "$tests_dir/lib-conformance.sh"
disk_size=64M

# ---- the API without kubectl, whose start costs more than a backup here ----
harvester=/apis/harvesterhci.io/v1beta1/namespaces/default/virtualmachinebackups
kubevirt=/apis/snapshot.kubevirt.io/v1beta1/namespaces/default/virtualmachinesnapshots
api() { curl -sS --max-time 60 --unix-socket "$SOCKET" -H 'Content-Type: application/json' "$@"; }
get() { api "http://x$1/$2"; }
is_gone() { get "$1" "$2" | grep -q '"code": *404'; }
is_ready() { get "$1" "$2" | tr -d ' \n' | grep -q '"readyToUse":true'; }
is_clean() { ! get $harvester "$1" | tr -d ' \n' | grep -q '"cut":{'; }
# number PATH NAME WORD, word ...: the first member of that name.
number() { get "$1" "$2" | tr -d ' \n' | sed -n "s/.*\"$3\":\([0-9]*\).*/\1/p"; }
word() { get "$1" "$2" | tr -d ' \n' | sed -n "s/.*\"$3\":\"\([^\"]*\)\".*/\1/p"; }
make() { # PATH NAME KIND SPEC
    api -X POST "http://x$1" -d '{"apiVersion":"'"$(cut -d/ -f3-4 <<<"$1")"'","kind":"'"$3"'","metadata":{"name":"'"$2"'"},"spec":'"$4"'}' >/dev/null
}
source='"source":{"apiGroup":"kubevirt.io","kind":"VirtualMachine","name":"conf"}'
snapshots=()

# roll: $at, an offset, and $some, a length, by chance. (No subshell: it would
# have the same chance again.)
roll() { at=$((RANDOM % 14000 * 4))k some=$(((RANDOM % 64 + 1) * 4))k; }
# do_io TARGET COMMAND: zeroes and discards, as put writes.
do_io() {
    local file
    if is_running; then
        virsh -q qemu-monitor-command conf --hmp "qemu-io -d /machine/peripheral/ua-$1/virtio-backend \"$2\"" >/dev/null
    else
        file=$(disk "$1")
        qemu-io -d unmap -f "$(format_of "$file")" -c "$2" "$file" >/dev/null
    fi
}
killed() { kill -KILL "$(guest_pid conf)"; wait_until 30 eval '! is_running'; }
export_backup() { # NAME DISK
    rm -f "$T/export.raw"
    repo_tool export --quiet --key-file "$key" --disk "$2" "$top/targets/$fs" "$1" "$T/export.raw"
}
forget_snapshot() {
    local s=${snapshots[0]:-}
    [ -n "$s" ] || return 0
    snapshots=("${snapshots[@]:1}")
    api -X DELETE "http://x$kubevirt/$s" >/dev/null
    wait_until 60 is_gone $kubevirt "$s"
}
# change: what happens before a backup; its name is printed.
change() {
    local i s
    for ((i = RANDOM % 5; i >= 0; i--)); do
        roll; put vda $((RANDOM % 250 + 1)) $at $some
        roll; put vdb $((RANDOM % 250 + 1)) $at $some
    done
    roll
    case $((RANDOM % 8)) in
    0) echo writes ;;
    1) echo zeroes; do_io vda "write -z $at $some"; do_io vdb "write -z -u $at $some" ;;
    2) echo discards; do_io vda "discard $at $some"; do_io vdb "discard $at $some" ;;
    3) echo "is killed"; set_power running; put vda 7 $at 64k; killed; vm_start ;;
    4) echo "is turned off"; vm_stop; put vda 8 $at 64k ;;
    5) echo "is turned on"; set_power running; put vdb 9 $at 64k ;;
    6) echo "takes a snapshot"; s=s$1-$RANDOM; make $kubevirt $s VirtualMachineSnapshot "{$source}"; wait_until 60 is_ready $kubevirt $s; snapshots+=("$s") ;;
    7) echo "loses a snapshot"; forget_snapshot ;;
    esac
}
# is_incremental NAME: both disks; else it says what was done with them, and why.
is_incremental() {
    local tracking
    tracking=$(get $harvester "$1" | jq -c .status.vmkeep)
    [ "$(grep -o '"method":"Incremental"' <<<"$tracking" | wc -l)" = 2 ] || { echo "$tracking"; return 1; }
}
# kept N TARGET: backup N of this round has what was copied.
kept() { export_backup "${ids[$1]}" "$2" && qemu-img compare -q -f raw -F qcow2 "$T/export.raw" "$T/ref/$1.$2"; }

on() {
    local i target bad=0 all=0 what bytes read=0 n=${BACKUP_MANY:-20}
    round=$1-$2 ids=()
    dirs=("$T/disks" "$T/disks")
    layers=$T/no-layers
    vm_define "$2"
    rm -f "$T/state/layers/$vm" "$T/state/tracking/$vm" # of disks that are gone
    set_power running
    check "$round: the VM is there" wait_until 30 field_is vm conf .status.printableStatus Running
    RANDOM=${BACKUP_SEED:-4711}
    for ((i = 1; i <= n; i++)); do
        change $i >"$T/what"
        what=$(head -n 1 "$T/what")
        remember $i
        make $harvester "$round-$i" VirtualMachineBackup "{$source,\"type\":\"backup\"}"
        check "$round: backup $i is made (the VM $what)" wait_until 90 is_ready $harvester "$round-$i"
        ids[i]=$(word $harvester "$round-$i" backupID)
        for target in vda vdb; do check "$round: $target is what it was" kept $i $target; done
        check "$round: and nothing is left of its cut" wait_until 60 is_clean "$round-$i"
        bytes=$(number $harvester "$round-$i" readBytes)
        if [ $i != 1 ]; then
            read=$((read + bytes)) all=$((all + 1))
            check "$round: it was incremental" is_incremental "$round-$i"
        fi
    done
    note "$round: on average $((read / all >> 10)) KiB read of 131072"
    check "$round: and read less than a quarter" test $((read / all)) -lt $((32 << 20))
    for ((i = 1; i <= n; i++)); do
        for target in vda vdb; do kept $i $target || bad=$((bad + 1)); done
    done
    check_equal "$round: all of them are still what they were" "$bad" 0
    while [ ${#snapshots[@]} -gt 0 ]; do forget_snapshot; done
    for ((i = 1; i <= n; i++)); do api -X DELETE "http://x$harvester/$round-$i" >/dev/null; done
    check "$round: no copy is left" wait_until 60 has_no_overlays "$T/disks"
    vm_stop
}
reflink_begin() {
    mkdir -p "$top/targets/$fs"
    target default "$top/targets/$fs"
    check "a target" wait_until 20 target_ready_is default "True Ready"
    key=$(field backuptarget default .status.keyFile)
}
for one in ${REFLINK_FS:-xfs btrfs}; do
    # shellcheck disable=SC2086
    reflink_within "$one" ${REFLINK_FORMATS:-qcow2 raw}
done
