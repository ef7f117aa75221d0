#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=900
# Change tracking on a real guest: whatever happens to the VM between two
# backups, the ranges that the second one would read cover every byte that
# differs between copies that qemu-img made of both cuts. The guest writes all
# the time; what happens in between is chosen at random (TRACKING_SEED), each
# event at least once.
#
#   VMKEEP_CHECK=full   more rounds, and killed at each side effect
. "$(dirname "$0")/lib.sh"
requires_libvirt
requires_program python3 qemu-nbd
hands=$BUILD/tests/tracking-test volume=$BUILD/src/volume/driver-conformance
[ -x "$hands" ] && [ -x "$volume" ] || skip_all "needs $hands and $volume (ninja)"
libvirt_start

state=$T/state ref=$T/ref
repo=11111111-0000-4000-8000-000000000001
disks="vda vdb vdc"
TRACKING_SEED=${TRACKING_SEED:-$RANDOM}
RANDOM=$TRACKING_SEED
note "TRACKING_SEED=$TRACKING_SEED"
mkdir -p "$state" "$ref"
uuid() { cat /proc/sys/kernel/random/uuid; }
h() { local word=$1; shift; timeout 120 "$hands" "$state" "$LIBVIRT_URI" "$word" "$vm" "$@"; }
v() { local word=$1; shift; MIN_FREE=1 timeout 120 "$volume" "$state/layers" "$LIBVIRT_URI" "$word" "$vm" "$@"; }
is_running() { [ "$(guest_state g1)" = running ]; }
# recording: bitmaps of ours in which QEMU records on vdc, by name.
recording() {
    virsh -q qemu-monitor-command g1 '{"execute":"query-named-block-nodes"}' | python3 -c '
import json, sys
names = [b["name"] for n in json.load(sys.stdin)["return"] if not n.get("ro") and n["drv"] == "qcow2" and n["file"].find("scratch") >= 0
         for b in n.get("dirty-bitmaps", []) if b["name"].startswith("vmkeep-") and b["recording"]]
print(*sorted(set(names)))'
}
# in_files: bitmaps of ours in the headers of all files.
in_files() {
    local f
    for f in "$T"/g1/*.qcow2; do qemu-img info -U --output=json "$f"; done | grep -o '"name": "vmkeep-[^"]*"' | sort -u | cut -d'"' -f4
}

# covered OLD NEW RANGES SHRUNK: every cluster that differs is in the ranges.
# (SHRUNK: or, if it is none, reads as zeros now: controller/lostarea.c finds
# that when the backup is read.) Prints counts.
covered() {
    python3 - "$@" <<'PY'
import os, sys
C = 65536
old, new = (open(p, "rb") for p in sys.argv[1:3])
size = os.fstat(new.fileno()).st_size
dirty = set()
for line in open(sys.argv[3]):
    off, length = map(int, line.split())
    dirty.update(range(off // C, (off + length + C - 1) // C))
def data(f):
    pos, end = 0, os.fstat(f.fileno()).st_size
    while pos < end:
        try:
            pos = os.lseek(f.fileno(), pos, os.SEEK_DATA)
        except OSError:
            return
        stop = os.lseek(f.fileno(), pos, os.SEEK_HOLE)
        yield from range(pos // C, (stop + C - 1) // C)
        pos = stop
def read(f, i):
    n = min(C, size - i * C)
    return os.pread(f.fileno(), n, i * C).ljust(n, b"\0") if n > 0 else b""
differ = {i for i in set(data(old)) | set(data(new)) if read(old, i) != read(new, i)}
missed = sorted(differ - dirty)
if sys.argv[4] == "shrunk":
    missed = [i for i in missed if read(new, i).strip(b"\0")]
print("%d clusters differ, %d are read, missed: %s" % (len(differ), len(dirty), missed[:8]))
sys.exit(bool(missed))
PY
}

# ---- what the guest does ----
in_guest() { guest_exec g1 "$1" >/dev/null; }
scratch_write() { # anywhere on the whole disk vdc: data, zeros, discards
    local i text="" blocks=$(($(size_of vdc) / 4096)) at n
    for i in 1 2 3 4 5 6; do
        at=$((RANDOM * RANDOM % blocks)) n=$((RANDOM % 40 + 1))
        [ $((at + n)) -lt $blocks ] || n=1
        case $((RANDOM % 4)) in
        0) text+="dd if=/dev/zero of=/dev/vdc bs=4096 seek=$at count=$n conv=notrunc 2>/dev/null; " ;;
        1) text+="blkdiscard -o $((at * 4096)) -l $((n * 4096)) /dev/vdc; " ;;
        *) text+="dd if=/dev/urandom of=/dev/vdc bs=4096 seek=$at count=$n conv=notrunc 2>/dev/null; " ;;
        esac
    done
    in_guest "$text sync"
}
file_write() {
    in_guest "dd if=/dev/urandom of=/data/f$((RANDOM % 5)) bs=64k count=$((RANDOM % 20 + 1)) 2>/dev/null; rm -f /data/f$((RANDOM % 5)); sync; fstrim /data || true"
}
size_of() { qemu-img info -U --output=json "$(guest_disk g1 $1)" | sed -n 's/^ *"virtual-size": \([0-9]*\).*/\1/p' | head -n 1; }

# ---- what happens in between ----
snapshots=()
make_snapshot() { local s; s=$(uuid); v cut "$s" $disks >/dev/null && snapshots+=("$s"); }
drop_snapshots() {
    local s
    for s in "${snapshots[@]}"; do v delete "$s" || return 1; done
    snapshots=()
    h collect
}
power_cycle() { guest_shutdown g1 && guest_start g1; }
with_vm_off() { guest_shutdown g1 && "$@" && guest_start g1; }
redefine() { virsh -q dumpxml g1 --inactive >"$T/g1.xml" && virsh -q undefine g1 && virsh -q define "$T/g1.xml"; }
restore_to() { v restore "$1" "$(uuid)" trash $disks >/dev/null && v trash 99999999999; }
resize_off() { qemu-img resize -q --shrink -f qcow2 "$(guest_disk g1 vdc)" 24M && qemu-img resize -q -f qcow2 "$(guest_disk g1 vdc)" 40M; }
# happen EVENT: sets what the next backup should say, and whether a disk was
# made smaller and larger again.
happen() {
    expect=Dirty shrunk=no
    case $1 in
    nothing) ;;
    snapshot) make_snapshot ;;
    snapshots) make_snapshot && scratch_write && make_snapshot && scratch_write ;;
    merge) drop_snapshots ;;
    # Deleted, a snapshot that is older than the backup before.
    merge-older) make_snapshot && scratch_write && backup >/dev/null && make_snapshot && scratch_write && drop_snapshots ;;
    merge-older-off) make_snapshot && scratch_write && backup >/dev/null && make_snapshot && scratch_write && with_vm_off drop_snapshots ;;
    merge-off) make_snapshot && scratch_write && with_vm_off drop_snapshots ;;
    cut-off) with_vm_off make_snapshot ;;
    cycle) power_cycle ;;
    destroy) virsh -q destroy g1 && guest_start g1 ;;
    save) virsh -q managedsave g1 && guest_start g1 ;;
    libvirtd) libvirt_kill && libvirt_restart && guest_wait_agent g1 ;;
    redefine) with_vm_off redefine ;;
    grow) drop_snapshots && virsh -q blockresize g1 vdc $(($(size_of vdc) + 4194304))b && scratch_write ;;
    shrink) with_vm_off eval "drop_snapshots && resize_off" && scratch_write && shrunk=shrunk ;;
    restore) make_snapshot && scratch_write && with_vm_off restore_to "${snapshots[-1]}" ;;
    # Its snapshot is older than the backup before: nothing is right any more.
    restore-old)
        drop_snapshots && make_snapshot && scratch_write && backup >/dev/null && scratch_write &&
            with_vm_off restore_to "${snapshots[-1]}" && expect=Rescan ;;
    kill) guest_kill g1 && guest_start g1 && expect=Rescan ;;
    kill-snapshot) make_snapshot && scratch_write && guest_kill g1 && guest_start g1 && expect=Rescan ;;
    # Merged down after a kill: the commit itself marks what the overlay had.
    kill-merge)
        make_snapshot && scratch_write && guest_kill g1 && drop_snapshots && guest_start g1 && expect="Dirty|Rescan" ;;
    kill-merge-live)
        make_snapshot && scratch_write && guest_kill g1 && guest_start g1 && scratch_write && drop_snapshots && expect="Dirty|Rescan" ;;
    off-backup) guest_shutdown g1 && backup && guest_start g1 && [ "$committed" != "$last" ] ;;
    *) return 1 ;;
    esac
}

# ---- a backup ----
declare -A sizes
committed=-
# backup: cut, copies, verdicts, commit, merged back. Fails where a byte that
# differs would not be read. $verdicts has what was said.
backup() {
    local uid d how line path size n was_running=no
    uid=$(uuid)
    last=$uid
    ! is_running || was_running=yes
    how=$(h cut "$uid" $repo $disks) || { echo "cut: $how"; return 1; }
    verdicts="" counts=""
    mkdir -p "$ref/$uid"
    for d in $disks; do
        h judge "$uid" $d $repo "$committed" "${sizes[$committed.$d]:-0}" >"$ref/$uid/judged" || return 1
        { read -r level n _; read -r _ path size; } < <(sed 2q "$ref/$uid/judged" | sed 's/^\(qcow2\|raw\) \(.*\) \([0-9]*\)$/\1 \2 \3/')
        verdicts+="$level "
        sizes[$uid.$d]=$size
        qemu-img convert -U -f qcow2 -O raw "$path" "$ref/$uid/$d" || return 1
        if [ $level = Dirty ]; then
            sed 1,2d "$ref/$uid/judged" >"$ref/$uid/ranges"
            line=$(covered "$ref/$committed/$d" "$ref/$uid/$d" "$ref/$uid/ranges" ${shrunk:-no}) || { echo "$d: $line"; return 1; }
            counts+="$d: $line; "
        fi
    done
    h commit "$uid" "$uid" || return 1
    if [ $was_running = yes ]; then
        [ "$committed" = - ] || rm -r "${ref:?}/$committed"
        committed=$uid
    else
        rm -r "${ref:?}/$uid"
    fi
    v delete "$uid" && h collect
}
# round EVENT: it happens, the guest writes, a backup is made, and was as it
# should be.
round() {
    local level
    scratch_write && file_write || { echo "the guest does not write"; return 1; }
    happen "$1" || { echo "it did not happen"; return 1; }
    scratch_write || return 1
    backup || return 1
    echo "$verdicts$counts"
    for level in $verdicts; do [[ $level =~ ^($expect)$ ]] || { echo "expected $expect"; return 1; }; done
    [ "$(recording)" = "vmkeep-$committed" ] || { echo "recording: $(recording), committed $committed"; return 1; }
    [ -z "$(virsh -q checkpoint-list g1 --name)" ] || { echo "libvirt knows a checkpoint"; return 1; }
}
# say SENTENCE COMMAND...: check, but in this shell: what it sets counts.
say() {
    local sentence=$1 rc=0
    shift
    "$@" >"$T/said" 2>&1 || rc=$?
    check "$sentence" eval 'cat "$T/said"; [ $rc = 0 ]'
    note "$(tail -n 1 "$T/said")"
}

qemu-img create -q -f qcow2 "$T/scratch.qcow2" 32M
mkdir -p "$T/g1"; mv "$T/scratch.qcow2" "$T/g1/scratch.qcow2"
GUEST_EXTRA="<disk type='file' device='disk'><driver name='qemu' type='qcow2' discard='unmap'/><source file='$T/g1/scratch.qcow2'/><target dev='vdc' bus='virtio'/></disk>" guest_define g1
vm=$(guest_uuid g1)
guest_start g1

first() { scratch_write && backup && [ "$verdicts" = "Full Full Full " ]; }
say "the first backup reads everything" first
check_equal "and the guest's writes are recorded from it on" "$(recording)" "vmkeep-$committed"

events="nothing snapshots merge cut-off merge-older merge-older-off merge-off cycle destroy save libvirtd redefine grow shrink restore restore-old kill kill-snapshot kill-merge kill-merge-live off-backup"
rounds=1 some=8 # of the events, at random
[ "${VMKEEP_CHECK:-}" != full ] || { rounds=3 some=99; }
for ((i = 0; i < rounds; i++)); do
    # shellcheck disable=SC2086
    for event in ${TRACKING_EVENTS:-$(shuf -n $some -e --random-source=<(yes "$RANDOM") $events)}; do
        say "$event: what is read covers what changed" round $event
    done
done

# ---- killed at a side effect of a backup's tracking ----
# What is recorded afterwards is one bitmap, the committed backup's, and libvirt
# knows of none; the next backup is right.
one_bitmap() {
    [ "$(recording)" = "vmkeep-$committed" ] || { echo "recording: $(recording), committed $committed"; return 1; }
    [ -z "$(virsh -q checkpoint-list g1 --name)" ] || { echo "libvirt knows a checkpoint"; return 1; }
}
# crash_cut N WHEN: 2: not reached
crash_cut() {
    local uid rc=0
    uid=$(uuid)
    VMKEEP_CRASH_AT=t:$1:$2 h cut "$uid" $repo $disks >/dev/null 2>&1 || rc=$?
    h settle no && { v delete "$uid"; h collect; } && one_bitmap || return 1
    [ $rc = 137 ] || return 2
}
# crash_commit N WHEN: the controller does it again.
crash_commit() {
    local uid rc=0
    uid=$(uuid)
    h cut "$uid" $repo $disks >/dev/null || return 1
    VMKEEP_CRASH_AT=t:$1:$2 h commit "$uid" "$uid" >/dev/null 2>&1 || rc=$?
    h settle yes && h commit "$uid" "$uid" && h settle yes || return 1
    committed=$uid
    v delete "$uid" && h collect && one_bitmap || return 1
    [ $rc = 137 ] || return 2
}
crash_all() { # cut|commit
    local n when rc step=6
    [ "${VMKEEP_CHECK:-}" != full ] || step=1
    for ((n = 1 + RANDOM % step; n < 200; n += step)); do
        for when in before after; do
            [ $step = 1 ] || [ $when = after ] || continue
            rc=0
            crash_$1 $n $when || rc=$?
            [ $rc != 2 ] || { echo "$n side effects or a few less"; return 0; }
            [ $rc = 0 ] || { echo "$1 $n $when"; cat "$state/tracking/"*; return 1; }
        done
    done
    return 1
}
say "a cut killed at its side effects leaves the committed bitmap alone" crash_all cut
expect=Dirty shrunk=no
say "and the next backup is right" round nothing
say "a commit killed at its side effects leaves one bitmap" crash_all commit

# ---- nothing of it is left when it is dropped ----
check "while it runs every bitmap of ours can be dropped" h drop
check_equal "none records" "$(recording)" ""
guest_shutdown g1
check "nor when it is off is one in any file" eval '[ -z "$(in_files)" ] || h drop'
check_equal "in none" "$(in_files)" ""
check_equal "no file is left" "$(ls "$state/tracking")" ""
check "the VM can be undefined" virsh -q undefine g1
