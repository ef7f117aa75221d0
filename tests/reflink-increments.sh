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
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-backup.sh"
. "$tests_dir/lib-reflink.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard vmkeep-repo
requires_program qemu-io
reflink_filesystems
. "$tests_dir/lib-conformance.sh"
disk_size=64M

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
newest() { k get vmsnapshot --sort-by=.metadata.creationTimestamp -o name | tail -n 1 | cut -d/ -f2; }
# change: what happens before a backup; its name is printed.
change() {
    local i s
    for ((i = RANDOM % 12; i >= 0; i--)); do
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
    6) echo "takes a snapshot"; s=s$1-$RANDOM; snapshot $s conf; snapshot_ready $s ;;
    7) echo "loses its newest snapshot"; s=$(newest); [ -z "$s" ] || remove vmsnapshot "$s" ;;
    esac
}
# kept N TARGET: backup N of this round has what was copied.
kept() {
    backup_export "$round-$1" "$2" "$T/export.raw" && qemu-img compare -q -f raw -F qcow2 "$T/export.raw" "$T/ref/$1.$2"
}

on() {
    local i target bad=0 methods='' what read=0 n=${BACKUP_MANY:-20}
    round=$1-$2
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
        backup "$round-$i" conf
        check "$round: backup $i is made (the VM $what)" backup_ready "$round-$i"
        for target in vda vdb; do
            check "$round: $target is what it was ($(backup_method "$round-$i" $target))" kept $i $target
        done
        methods+="$(backup_method "$round-$i" vda) "
        [ $i = 1 ] || read=$((read + $(backup_field "$round-$i" .status.vmkeep.readBytes)))
        check "$round: and nothing is left of its cut" backup_clean "$round-$i"
    done
    note "methods: $methods; on average $((read / (n - 1) >> 10)) KiB read of 131072"
    check_equal "$round: all but the first were incremental" "$(grep -o Incremental <<<"$methods" | wc -l)" $((n - 1))
    check "$round: and read less than a quarter" test $((read / (n - 1))) -lt $((32 << 20))
    for ((i = 1; i <= n; i++)); do
        for target in vda vdb; do kept $i $target || bad=$((bad + 1)); done
    done
    check_equal "$round: all of them are still what they were" "$bad" 0
    k delete vmsnapshot --all --timeout=240s >/dev/null
    k delete virtualmachinebackups.harvesterhci.io --all --timeout=240s >/dev/null
    check "$round: no copy is left" wait_until 60 eval "[ -z \"\$(overlays '$T/disks')\" ]"
    vm_stop
}
reflink_begin() {
    mkdir -p "$top/targets/$fs"
    target default "$top/targets/$fs"
    check "a target" wait_until 20 target_ready_is default "True Ready"
}
for one in ${REFLINK_FS:-xfs btrfs}; do
    # shellcheck disable=SC2086
    reflink_within "$one" ${REFLINK_FORMATS:-qcow2 raw}
done
