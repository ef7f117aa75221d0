#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=900
# Increments in a row, the guest doing by chance this and that in between; each
# is compared with what qemu-img copied of the cut before it was read, and all
# of them once more at the end.
#   BACKUP_MANY=N  how many (8)   BACKUP_SEED=N  which chance
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-backup.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard vmkeep-repo
libvirt_start
guest_define g1
guest_start g1
vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 5000" "target_roots = $T/targets"
reads_can_wait
vmkeepd_start PATH="$slow_path"
kubectl_start
mkdir -p "$T/copies"
target_default
guest_wait_agent g1
wait_until 30 field_is vm g1 .status.printableStatus Running
RANDOM=${BACKUP_SEED:-4711}

size=1024
# change: one thing that happens to a guest; prints its name.
change() {
    local at=$((RANDOM % 400)) n=$((RANDOM % 60 + 1))
    case $((RANDOM % 8)) in
    0 | 1) echo "writes $n"; guest_exec g1 "dd if=/dev/urandom of=/data/f$((at % 5)) bs=64k seek=$((at % 40)) count=$n conv=notrunc 2>/dev/null; sync" ;;
    2) echo "zeroes $n"; guest_exec g1 "dd if=/dev/zero of=/data/f$((at % 5)) bs=64k count=$n conv=notrunc 2>/dev/null; sync" ;;
    3) echo "removes and trims"; guest_exec g1 "rm -f /data/f$((at % 5)); sync; fstrim /data 2>/dev/null || true" ;;
    4) size=$((size + 64)); echo "grows to $size MiB"; virsh -q blockresize g1 vdb ${size}M ;;
    5) echo "takes a snapshot"; snapshot "s$at$n" g1 && snapshot_ready "s$at$n" >/dev/null ;;
    6) echo "loses its oldest snapshot"; s=$(k get vmsnapshot -o name | head -n 1); [ -z "$s" ] || k delete "$s" --timeout=240s >/dev/null ;;
    7)
        if [ $((n % 2)) = 0 ]; then echo "is killed"; guest_kill g1; guest_start g1
        else echo "is stopped and started"; guest_shutdown g1; guest_start g1; fi
        guest_wait_agent g1
        ;;
    esac
}
# kept NAME DISK: is it what was copied of its cut?
kept() { backup_export "$1" "$2" "$T/export.raw" && same_image "$T/copies/$1-$2.raw" raw "$T/export.raw"; }

n=${BACKUP_MANY:-8} methods=''
for ((i = 1; i <= n; i++)); do
    change >"$T/what" 2>/dev/null # no subshell: size and RANDOM go on
    what=$(head -n 1 "$T/what")
    touch "$T/hold"
    backup "m$i" g1
    copy_cut "m$i" g1 || note "no cut was seen"
    rm "$T/hold"
    check "backup $i is made (the guest $what)" backup_ready "m$i"
    for disk in vda vdb; do
        mv "$T/cut/$disk.raw" "$T/copies/m$i-$disk.raw"
        check "$disk is the cut ($(backup_method "m$i" $disk))" kept "m$i" $disk
    done
    methods+="$(backup_method "m$i" vda) "
    wait_until 60 backup_is "m$i" .status.vmkeep.cut ''
done
note "methods: $methods"
check "some were incremental" test "$(grep -o Incremental <<<"$methods" | wc -l)" -ge $((n / 3))
bad=0
for ((i = 1; i <= n; i++)); do
    for disk in vda vdb; do kept "m$i" $disk || bad=$((bad + 1)); done
done
check_equal "all of them are still what they were" "$bad" 0
check "the guest writes" guest_is_writing g1
