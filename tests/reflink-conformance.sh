#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=3600
# What every snapshot driver must do, where the snapshots are copies that share
# blocks: XFS and btrfs, qcow2 and raw, off and running; killed at its side
# effects; a disk on the admin's own base; a copy that others use; 100
# snapshots; too many extents.
#
#   VMKEEP_CHECK=full   all of it (half an hour); else the admin's base on XFS
#   REFLINK_FS="xfs btrfs"  on which   CRASH_STEP=7  every so many side effects
#   REFLINK_PARTS="cut tree crash hundred limit linked used"  what
export TEST_LIMIT=${TEST_LIMIT:-3600}
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-reflink.sh"
requires_libvirt
requires_program qemu-io
reflink_filesystems
. "$tests_dir/lib-conformance.sh"
libvirt_start
export CUT_BY_COPIES=1

# one_disk_each: the disks, and what restores left where it was.
one_disk_each() { [ "$(find "${dirs[@]}" -type f | wc -l)" = $((2 + $(t detached | wc -l))) ]; }
chain_of() { qemu-img info -U -f qcow2 --backing-chain --output=json "$1" | sed -n 's/^ *"filename": "\(.*\)",*$/\1/p'; }
the_tree() { # FORMAT POWER ORDER
    vm_define "$1"
    scribble; make_cut s1
    scribble; make_cut s2; scribble
    restore_to s1; now_is s1 || return 1
    scribble; make_cut s3; scribble
    restore_to s1 retain; now_is s1 || return 1
    t trash 99999999999
    set_power "$2"
    scribble; remember now
    kept_are s1 s2 s3 && by_copies 6 && delete_in_order "$3" && one_disk_each
}
# A disk on a base of the admin's: the copies stand on a copy of it.
linked() { # POWER
    local top base chain
    vm_define qcow2
    base="${dirs[0]}/golden.qcow2"
    mv "${dirs[0]}/disk, 0.qcow2" "$base"
    qemu-io -f qcow2 -c 'write -P 99 0 2M' "$base" >/dev/null
    qemu-img create -q -f qcow2 -F qcow2 -b "$base" "${dirs[0]}/disk, 0.qcow2"
    set_power "$1"
    scribble; make_cut s1; scribble; make_cut s2; scribble; remember now
    top=$(path_of "$(layer_of "$(cut_id s1)" vda)")
    chain=$(chain_of "$top")
    [ "$(wc -l <<<"$chain")" = 2 ] && [[ $chain != *"/disk, 0.qcow2"* ]] && [[ $chain != *"/golden.qcow2"* ]] || { echo "$chain"; return 1; }
    kept_are s1 s2 || return 1
    # What happens to the base does not reach the snapshots.
    vm_stop
    qemu-img commit -q -f qcow2 "${dirs[0]}/disk, 0.qcow2" || return 1
    kept_are s1 s2 && restore_to s1 && now_is s1 || return 1
    remember now
    drop s1 && kept_are s2 && now_is now && drop s2 && now_is now || return 1
    # The copy of the base, on which the restored disk stands.
    by_copies 1 && [[ $(chain_of "$(disk vda)") = *"/golden.vmkeep-"* ]]
}
# A copy that somebody made a linked clone of stays until the clone is gone.
used() { # POWER
    local clone
    vm_define qcow2
    scribble; make_cut s1; scribble
    set_power "$1"
    remember now
    clone="${dirs[0]}/somebody's.qcow2"
    qemu-img create -q -u -f qcow2 -F qcow2 -b "$(path_of "$(layer_of "$(cut_id s1)" vda)")" "$clone" 8M
    drop s1 && by_copies 1 && same "$clone" qcow2 s1 vda && now_is now || return 1
    [ "$(t collect)" = 1 ] && by_copies 1 && same "$clone" qcow2 s1 vda || return 1
    rm "$clone"
    [ "$(t collect)" = 0 ] && by_copies 0 && now_is now && one_file_each qcow2
}
# fragment FILE: 14000 blocks of it get extents of their own. (Copies of it that
# are as scattered take minutes to be removed: ref_options.)
fragment() {
    python3 -c 'import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
os.ftruncate(fd, 120 << 20)
for i in range(14000): os.pwrite(fd, b"x" * 4096, i * 8192)
os.fsync(fd)' "$1"
}
# Too many extents for a short pause: layers are made instead, and as long as
# the VM has those, no copies.
limit() {
    local ref_options="-o preallocation=falloc"
    vm_define raw
    fragment "$(disk vda)"
    make_cut s1 && by_copies 0 && cut_is s1 && scribble || return 1
    make_cut s2 && by_copies 0 && kept_are s1 s2 && scribble && remember now || return 1
    drop s1 && cut_is s2 && drop s2 && now_is now && one_file_each raw
}
# A VM that has copies goes over to layers when its disk gets too many.
limit_later() {
    local ref_options="-o preallocation=falloc"
    vm_define raw
    make_cut s1 && by_copies 2 || return 1
    fragment "$(disk vda)"
    make_cut s2 && by_copies 2 && kept_are s1 s2 && scribble && remember now || return 1
    drop s1 && by_copies 0 && cut_is s2 && now_is now && drop s2 && now_is now && one_file_each raw
}
crash_cut() { t cut "$(cut_id s2)" vda vdb; }
crash_drop() { t drop "$(cut_id s1)"; }
crash_restore() { t restore "$(cut_id s1)" "$(cat "$T/ref/restore.id")" retain vda vdb; }
crash_round() { # FORMAT POWER FLOW N WHEN: 2: the flow ended before
    local rc=0
    vm_define "$1"
    set_power "$2"
    scribble; make_cut s1 >/dev/null || return 1
    scribble; remember now
    uuid >"$T/ref/s2.id"; uuid >"$T/ref/restore.id"
    cp "$T/ref/now.vda" "$T/ref/s2.vda"; cp "$T/ref/now.vdb" "$T/ref/s2.vdb"
    VMKEEP_CRASH_AT=t:$4:$5 "crash_$3" >/dev/null 2>&1 || rc=$?
    recovered || return 1
    case $3 in
    cut) now_is now && tidy && cut_is s1 && crash_cut >/dev/null && cut_is s2 && drop s2 || return 1 ;;
    drop) now_is now && crash_drop >/dev/null || return 1; uuid >"$T/ref/s1.id" ;;
    restore) cut_is s1 && crash_restore >/dev/null && now_is s1 && cut_is s1 && remember now || return 1 ;;
    esac
    drop s1 && t trash 99999999999 && now_is now && tidy && one_disk_each || return 1
    [ $rc = 137 ] || return 2
}
crash_flow() { crash_at_points 1 "${CRASH_STEP:-7}" "before after" "$@"; } # FORMAT POWER FLOW
# The oldest of 100: its files go, no other is touched.
hundred() { # FORMAT
    local i oldest before
    vm_define "$1"
    set_power running
    for i in $(seq 100); do
        put vda "$i" $((i * 16))k 64k
        put vdb "$i" $((i * 16))k 64k
        t cut "$(uuid)" vda vdb >/dev/null || return 1
        [ "$i" != 50 ] || { remember s50; table | awk '$1 == "ref" {c = $3} END {print c}' >"$T/ref/s50.id"; }
    done
    remember now
    by_copies 200 || return 1
    oldest=$(table | awk '$1 == "ref" {print $3; exit}')
    before=$(find "${dirs[@]}" -name '*vmkeep*' -printf '%p %T@ %b\n' | sort)
    : >"$T/effects"
    VMKEEP_EFFECT_LOG=$T/effects t drop "$oldest" >"$T/took" || return 1
    # Two unlinks in two directories, and the table is written once.
    [ "$(awk '{print $3}' "$T/effects" | sort | uniq -c | tr -s ' \n' ' ')" = " 1 create 4 fsync 1 rename 2 unlink " ] ||
        { cat "$T/effects"; return 1; }
    [ "$(comm -13 <(echo "$before") <(find "${dirs[@]}" -name '*vmkeep*' -printf '%p %T@ %b\n' | sort) | wc -l)" = 0 ] || return 1
    by_copies 198 && now_is now && cut_is s50
}

if is_full; then
    : "${REFLINK_FS:=xfs btrfs}" "${REFLINK_PARTS:=cut tree crash hundred limit linked used}"
else
    : "${REFLINK_FS:=xfs}" "${REFLINK_PARTS:=linked}"
fi
does() { [[ " $REFLINK_PARTS " = *" $1 "* ]]; }
on() { # FS FORMAT
    local power flow
    for power in off running; do
        does cut || break
        one_cut "$2" $power
    done
    if does tree; then
        check "$1 $2 off: a tree of restores, deleted from the oldest" the_tree "$2" off "s1 s2 s3"
        check "$1 $2 running: a tree of restores, deleted from the middle" the_tree "$2" running "s2 s3 s1"
        check "$1 $2 running: deleted from the newest" the_tree "$2" running "s3 s1 s2"
        vm_stop
    fi
    for flow in cut drop restore; do
        does crash || break
        check "$1 $2 off: $flow killed at its side effects, recovered" crash_flow "$2" off $flow
        note "$(cat "$T/crash.points") side effects or a few less"
    done
    if does crash; then
        check "$1 $2 running: cut killed at its side effects, recovered" crash_flow "$2" running cut
        vm_stop
    fi
    if does hundred; then
        check "$1 $2: the oldest of 100 snapshots goes, and no other file is touched" hundred "$2"
        note "deleting it took $(cat "$T/took"), with 4 syncs; load $(cut -d' ' -f1 /proc/loadavg)"
        vm_stop
    fi
}
for fs in $REFLINK_FS; do
    dirs=("$top/$fs/a dir, 100%" "$top/$fs/b;'dir")
    for format in qcow2 raw; do on $fs $format; done
    if does limit; then
        check "$fs: a disk of 14000 extents gets layers, and keeps to them" limit
        check "$fs: one that got them later, too" limit_later
    fi
    for power in off running; do
        does linked || break
        check "$fs $power: a disk on the admin's own base" linked $power
    done
    for power in off running; do
        does used || break
        check "$fs $power: a copy under somebody's linked clone stays" used $power
    done
    vm_stop
done
