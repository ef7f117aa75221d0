#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: timeout=1300
# What every snapshot driver must do, seen on a real libvirtd and QEMU. The VM
# has no operating system: its writes are made through QEMU itself (off:
# qemu-io; running: the monitor's qemu-io on the guest's device), so that each
# is a known pattern. Contents are compared by qemu-img with copies that
# qemu-img made itself.
#
#   VMKEEP_CHECK=full   every crash point, every fault, every order (15 minutes)
. "$(dirname "$0")/lib.sh"
requires_libvirt
requires_program qemu-io
. "$tests_dir/lib-conformance.sh"
libvirt_start

# ---- one cut, off and running ----
for format in qcow2 raw; do
    for power in off running; do one_cut $format $power; done
done

# ---- a tree: restored twice to s1; then the snapshots go in every order ----
orders=("s1 s2 s3" "s3 s1 s2" "s2 s3 s1" "s1 s3 s2" "s2 s1 s3" "s3 s2 s1")
# Quick: each snapshot is once the first to go and once the last, running.
for power in off running; do
    i=0 most=3
    if [ $power = off ]; then most=2; fi
    for order in "${orders[@]}"; do
        i=$((i + 1))
        is_full || [ $i -le $most ] || continue
        vm_define qcow2
        check "$power: a tree of two restores to one snapshot" the_tree $power
        check "$power: all snapshots of it are right" kept_are s1 s2 s3
        check "$power: deleted as $order, the rest stays right" delete_in_order "$order"
        check "$power: $order: the original files are left" one_file_each qcow2
        vm_stop
    done
done

# ---- the tree while the guest runs on another branch ----
side_branch() {
    scribble; make_cut s1
    scribble; make_cut s2; scribble; make_cut s4
    restore_to s1 && t trash 99999999999 && set_power running
    scribble; remember now
}
vm_define qcow2
check "a side branch, and the guest runs on the other one" side_branch
check "running: a layer in the middle of the side branch is merged" drop s2
check "running: no file too many after it" tidy
check "running: what is kept is right" kept_are s1 s4
check "running: the guest's disk is right" now_is now

# ---- a full copy ----
other=c0c0c0c0-0000-4000-8000-000000000002
clone_is() {
    local d file
    for d in vda vdb; do
        file=$(virsh -q domblklist clon | sed -n "s/^ *$d  *//p")
        same "$file" qcow2 "$1" $d || return 1
        ! qemu-img info -U -f qcow2 "$file" | grep -q "^backing file" || { echo "it has a backing file"; return 1; }
        [ "$(stat -c '%a %U' "$file")" = "600 root" ] || { stat "$file"; return 1; }
    done
}
check "running: a full copy of a snapshot for another VM" t restore "$(cut_id s4)" "$(uuid)" clone=$other vda vdb
check "the copy has its content and needs nothing else" clone_is s4
virsh -q undefine clon
find "${dirs[@]}" -name 'vmkeep-*' -delete
check "no file too many after it" tidy

# ---- retained disks ----
vm_stop
remember old
restore_to s1 retain
check_equal "an old disk is retained where it was, and listed" "$(t detached | wc -l)" 2
check "the restored disks are those of the snapshot" now_is s1
check "dropping all snapshots leaves the retained disks" eval "drop s1 && drop s4"
retained_is() { local n=0 d f; while read -r f; do d=vda; [[ $f = "${dirs[1]}"* ]] && d=vdb; same "$f" qcow2 old $d || return 1; n=$((n + 1)); done < <(t detached); [ $n = 2 ]; }
check "they still read as they did" retained_is
check_fails "a file that is none of them is not deleted" t detached "$(disk vda)"
delete_retained() { t detached | while read -r f; do t detached "$f" || return 1; done; t collect; }
check "deleted on request" delete_retained
check "the original files are left" one_file_each qcow2

# ---- disks whose content comes from elsewhere ----
# fill NAME HOW FORMAT [RESTORE]: new disks with the content remembered as NAME.
fill() { t fill "${4:-$(uuid)}" "$2" "$3" 8388608 "vda=$T/ref/$1.vda" "vdb=$T/ref/$1.vdb"; }
filled_new_is() { # NAME FORMAT: the VM "clon" has it
    local d file
    for d in vda vdb; do
        file=$(virsh -q domblklist clon | sed -n "s/^ *$d  *//p")
        same "$file" "$2" "$1" $d || return 1
        [ "$(stat -c '%a %U' "$file")" = "600 root" ] || { stat "$file"; return 1; }
    done
}
for format in qcow2 raw; do
    vm_define $format
    scribble; remember old
    [ $format = raw ] || make_cut s1
    scribble; remember now
    check "$format: new disks are made, filled and take the place of the old ones" fill old trash $format
    check "$format: the disks have that content" now_is old
    check_equal "$format: in files of their own" "$(qemu-img info -f $format "$(disk vda)" | grep -c "^backing file")" 0
    if [ $format = qcow2 ]; then
        check "$format: a snapshot from before still reads as it did" cut_is s1
        check_equal "$format: the old overlays are in the trash" "$(find "${dirs[@]}" -name '*.trash.qcow2' | wc -l)" 2
        t trash 99999999999
        check "$format: the snapshot can be deleted" drop s1
        check "$format: its layers, which vmkeep did not make, stay" eval '[ -e "${dirs[0]}/disk, 0.$format" ] && [ -e "${dirs[1]}/disk, 1.$format" ]'
    else
        check_equal "$format: the old disks are in the trash" "$(find "${dirs[@]}" -name '*.trash*' | wc -l)" 2
    fi
    scribble; remember now; make_cut s2
    check "$format: a cut of the new disks" cut_is s2
    check "$format: merged again" drop s2
    check "$format: the disks are right" now_is now
    check "$format: for another VM" fill old new=$other $format
    check "$format: it has that content" filled_new_is old $format
    check "$format: and its table no rows" eval '! grep -q ^layer "$layers/$other"'
    virsh -q undefine clon; find "${dirs[@]}" -name '*.vmkeep-*' ! -path "$(disk vda)" ! -path "$(disk vdb)" -delete
    check "$format: the guest's disks are as they were" now_is now
    before=$(find "${dirs[@]}" -type f | sort)
    check "$format: it is not finished before it is filled" eval 'out=$(fill old early $format 2>&1) && exit 1; [[ $out = *Conflict:* ]]'
    t recover
    check_equal "$format: and given up without a trace" "$(find "${dirs[@]}" -type f | sort)" "$before"
done
vm_define qcow2
scribble; remember now
rm -f "$T/stop"; mkfifo "$T/stop"
fill now stop qcow2 <"$T/stop" >"$T/held" &
exec 7>"$T/stop"
wait_until 20 grep -q filled "$T/held"
check_fails "while disks are filled the VM cannot be started" virsh -q start conf
check_fails "nor is the filled one opened before it is named" qemu-io -f qcow2 -c 'read 0 1k' "$(sed -n 's/^vda //p' "$T/held")"
echo >&7; exec 7>&-; wait $! || true
check "given up: nothing is left" one_file_each qcow2
check "and the disks are as they were" now_is now
set_power running
check "in place of a running VM: refused" eval 'out=$(fill now trash qcow2 2>&1) && exit 1; [[ $out = Busy:* ]]'
vm_stop
check "nothing is left of it" one_file_each qcow2
rm -f "$T/stop"

# ---- the trash ----
vm_define qcow2
scribble; make_cut s1; scribble; remember old
restore_to s1
check_equal "old disks are in the trash" "$(find "${dirs[@]}" -name '*.trash.qcow2' | wc -l)" 2
t trash "$(date +%s)"
check_equal "they stay there until it is time" "$(find "${dirs[@]}" -name '*.trash.qcow2' | wc -l)" 2
check_equal "what builds on a snapshot in the trash holds it: nothing is merged" "$(t delete "$(cut_id s1)" && t collect)" 4
virsh -q dumpxml conf --inactive >"$T/back.xml"; virsh -q undefine conf
t trash 99999999999
check_equal "nor do they go while libvirt does not show the domain" "$(find "${dirs[@]}" -name '*.trash.qcow2' | wc -l)" 2
virsh -q define "$T/back.xml"
t trash 99999999999
check "then they go" eval '[ "$(find "${dirs[@]}" -name "*.trash.qcow2" | wc -l)" = 0 ] && t collect'
check "the original files are left" one_file_each qcow2
check "the disk is right" now_is s1

# ---- a linked clone that is not ours ----
foreign_is() { same "$1" qcow2 "$2" vda; }
for power in running off; do
    is_full || [ $power = running ] || continue
    vm_define qcow2
    scribble; make_cut s1; scribble; set_power $power; remember now
    clone="${dirs[0]}/somebody's.qcow2"
    qemu-img create -q -u -f qcow2 -F qcow2 -b "$(path_of "$(layer_of "$(cut_id s1)" vda)")" "$clone" 8M
    check_equal "$power: a layer under a foreign linked clone stays when its snapshot goes" "$(t delete "$(cut_id s1)" && t collect)" 1
    check "$power: the clone reads as before" foreign_is "$clone" s1
    check "$power: the disk is right" now_is now
    # In a directory that vmkeep does not know, but a domain names it.
    mkdir "$T/elsewhere"; mv "$clone" "$T/elsewhere/x.qcow2"
    sed -e "s|$vm|$other|; s|<name>conf|<name>clon|" -e "s|<source file=\".*disk, 0.qcow2\"/>|<source file=\"$T/elsewhere/x.qcow2\"/>|" \
        -e "s|<source file=\".*disk, 1.qcow2\"/>|<source file=\"$T/elsewhere/y.qcow2\"/>|" "$T/conf.xml" >"$T/clon.xml"
    virsh -q define "$T/clon.xml"
    check_equal "$power: the same elsewhere, when a domain names it" "$(t collect)" 1
    virsh -q undefine clon
    rm -r "$T/elsewhere"
    check_equal "$power: when it is gone the layer is merged" "$(t collect)" 0
    check "$power: the disk is right after it" now_is now
    check "$power: the original files are left" one_file_each qcow2
    vm_stop
done

# ---- a base that is the admin's own ----
vm_define qcow2
base="${dirs[0]}/golden.qcow2"
mv "${dirs[0]}/disk, 0.qcow2" "$base"
qemu-io -f qcow2 -c 'write -P 99 0 2M' "$base" >/dev/null
qemu-img create -q -f qcow2 -F qcow2 -b "$base" "${dirs[0]}/disk, 0.qcow2"
sum=$(sha256sum <"$base")
own_base() { scribble; make_cut s1; scribble; make_cut s2; scribble; set_power $1; remember now; drop s1 && cut_is s2 && drop s2 && now_is now; }
check "off: a disk on the admin's own base is snapshotted and merged" own_base off
if is_full; then check "running: the same" own_base running; fi
vm_stop
check_equal "the base was not touched" "$(sha256sum <"$base")" "$sum"
rm "$base"

# ---- disks that changed their size ----
resized() { # POWER FROM TO
    vm_define qcow2
    scribble; make_cut s1; scribble
    qemu-img resize -q ${3:+$([ "${3%M}" -lt "${2%M}" ] && echo --shrink)} -f qcow2 "$(disk vda)" "$3"
    set_power "$1"; remember now
    drop s1
}
if is_full; then
    check "off: a grown disk is merged" resized off 8M 12M
    check "off: the disk is right" now_is now
    check "off: the original files are left" one_file_each qcow2
fi
check "running: a grown disk is merged" resized running 8M 12M
check "running: the disk is right" now_is now
check "running: the original files are left" one_file_each qcow2
check "off: a disk made smaller is merged" resized off 8M 4M
check "off: the disk is right" now_is now
check_equal "off: and as small" "$(qemu-img info -f qcow2 --output json "${dirs[0]}/disk, 0.qcow2" | sed -n 's/.*"virtual-size": \([0-9]*\).*/\1/p' | head -n 1)" 4194304
resized running 8M 4M || true
check_equal "running: a disk made smaller waits" "$(t collect)" 1
check "running: the disk is right" now_is now
vm_stop
check_equal "and is merged when the VM is off" "$(t collect)" 0
check "the disk is right" now_is now

# ---- refusals, and nothing changed ----
vm_define qcow2
scribble; make_cut s1; scribble; remember now
before=$(table)
cut_again() { t cut "$(uuid)" vda vdb; }
refused_as() { local out; if out=$("${@:2}" 2>&1); then echo "not refused"; return 1; fi; [[ $out = "$1:"* ]] || { echo "$out"; return 1; }; }
check "no space: refused" refused_as NoSpace env MIN_FREE=99999999999999999 "$tool" "$layers" "$LIBVIRT_URI" cut $vm "$(uuid)" vda
check "an unknown disk: refused" refused_as NotFound t cut "$(uuid)" vdz
check "an unknown snapshot: refused" refused_as NotFound t restore "$(uuid)" "$(uuid)" trash vda
check_equal "nothing changed" "$(table)" "$before"
check "the same cut again is the same cut" t cut "$(cut_id s1)" vda vdb
check_equal "and changes nothing" "$(table)" "$before"
set_power running
check "a restore in place of a running VM: refused" refused_as Busy t restore "$(cut_id s1)" "$(uuid)" trash vda vdb
check "nothing is left of it" eval '[ "$(table)" = "$before" ] && now_is now'
vm_stop

# ---- QEMU's image locks during a restore ----
mkfifo "$T/stop"
t restore "$(cut_id s1)" "$(uuid)" stop vda vdb <"$T/stop" >"$T/held" &
exec 7>"$T/stop"
wait_until 20 grep -q vdb "$T/held"
check_fails "while a restore is made, the VM cannot be started" virsh -q start conf
check_fails "nor does qemu-io open the old disk" qemu-io -f qcow2 -c 'read 0 1k' "$(disk vda)"
check_fails "nor the new one" qemu-io -f qcow2 -c 'read 0 1k' "$(sed -n 's/^vda //p' "$T/held")"
echo >&7; exec 7>&-; wait $! || true
check "after it was given up nothing is left of it" tidy
check "and the disks are as they were" now_is now
check "the VM starts" set_power running
vm_stop

# ---- a libvirtd that was killed in its snapshot names the old file ----
set_power running
VMKEEP_CRASH_AT=t:5:before t cut "$(uuid)" vda >/dev/null 2>&1 || true
overlay=$(path_of "$(table | awk '$1 == "layer" && $5 == "planned" {print $2}')")
vm_stop # (its data can be written by qemu-io only then)
qemu-img create -q -u -f qcow2 -F qcow2 -b "$(disk vda)" "$overlay" 8M
qemu-io -f qcow2 -c 'write -P 3 0 64k' "$overlay" >/dev/null
check "a new layer that has data but is not named: recovery refuses" refused_as Conflict t recover
check "nor is anything else done" refused_as Conflict cut_again
check "the file is kept" qemu-img check -q -f qcow2 "$overlay"
rm "$overlay"
check "after the admin's decision it goes on" t recover
check "nothing is left" tidy
vm_stop

# ---- managed save, lost files, a vanished domain ----
set_power running
virsh -q managedsave conf
t delete "$(cut_id s1)"
check_equal "with a managed save nothing is merged" "$(t collect)" 2
check "nor cut" refused_as Conflict cut_again
virsh -q managedsave-remove conf
virsh -q dumpxml conf --inactive >"$T/back.xml"
virsh -q undefine conf
check_equal "a domain that vanished takes nothing with it" "$(t collect)" 2
virsh -q define "$T/back.xml"
root="${dirs[0]}/disk, 0.qcow2"
cp "$root" "$T/copy" && mv "$root" "$T/kept" && cp "$T/copy" "$root"
check_equal "a file that is not the recorded one is not written to" "$(t collect)" 1
check_equal "not a byte" "$(sha256sum <"$root")" "$(sha256sum <"$T/copy")"
mv "$T/kept" "$root"
check_equal "with the recorded one it goes on" "$(t collect)" 0
check "the disk is right" now_is now
check "the original files are left" one_file_each qcow2

# ---- the admin's own snapshot on top of ours ----
admin_snapshot() {
    scribble; make_cut s1; scribble; set_power running
    virsh -q snapshot-create-as conf --disk-only --no-metadata --diskspec "vda,file=${dirs[0]//,/,,}/admin.qcow2" --diskspec "vdb,snapshot=no" &&
        scribble && remember now && t delete "$(cut_id s1)"
}
check "the admin puts a snapshot of his own on top" admin_snapshot
check_equal "what is below it stays, the other disk is merged" "$(t collect)" 1
check "the disk is right" now_is now
check "our next cut takes his file up" make_cut s2
scribble; remember now
check "deleted again" drop s2
check "the disk is right" now_is now
check_equal "his file is still the disk" "$(disk vda)" "${dirs[0]}/admin.qcow2"
vm_stop

# ---- 32 files in a chain ----
vm_define qcow2
many() {
    local i
    for i in $(seq 31); do
        put vda "$i" $((i * 128))k 64k
        t cut "$(uuid)" vda >/dev/null || return 1
    done
}
check "31 cuts of one disk" many
check "a 32nd file is the last: refused with the reason" refused_as Unsupported t cut "$(uuid)" vda
remember now
set_power running
check "32 layers run" now_is now
space_of() { t usage "$1" | { read -r own total; [ "$own" -gt 0 ] && [ "$total" -gt "$own" ] && [ "$own" -le 600000 ]; }; }
one=$(table | awk '$1 == "ref" {print $3}' | sed -n 5p)
check "a snapshot says what space it takes" space_of "$one"
all_gone() { table | awk '$1 == "ref" {print $3}' | while read -r c; do t delete "$c" || return 1; done; t collect; }
vm_stop
check "all deleted at once" all_gone
check "the disk is right" now_is now
check "the original files are left" one_file_each qcow2
check "the VM is released" t release
check_equal "no table is left" "$(ls "$layers")" ""

# ---- two disks, one instant: under a real guest that writes to both ----
guest_layers() { # CUT: the oracle says that both layers are one instant
    verify "$(path_of "$(layer_of "$1" vda)")" "$(path_of "$(layer_of "$1" vdb)")" "$2"
}
under_a_guest() {
    local acked first second
    vm=$(guest_uuid g1)
    first=$(uuid) second=$(uuid)
    guest_wait_acked g1 20 || return 1
    acked=$(guest_acked g1)
    t cut "$first" vda vdb && guest_layers "$first" "$acked" || return 1
    guest_wait_more g1 20 || return 1
    acked=$(guest_acked g1)
    t cut "$second" vda vdb && guest_layers "$second" "$acked" && guest_layers "$first" 1 || return 1
    guest_wait_more g1 10 && t delete "$first" && t collect && guest_layers "$second" "$acked" || return 1
    guest_is_writing g1 && t delete "$second" && t collect && guest_is_writing g1 || return 1
    acked=$(guest_acked g1)
    virsh -q destroy g1
    verify "$(guest_disk g1 vda)" "$(guest_disk g1 vdb)" "$acked" && [ "$(find "$T/g1" -name '*.qcow2' | wc -l)" = 2 ]
}
conf_vm=$vm
guest_define g1
guest_start g1
check "a guest that writes: each cut is one instant of both disks, and it goes on writing through merges" under_a_guest
vm=$conf_vm

# ---- a driver that fails, at each of its steps ----
# After it, with the fault gone: everything reads as it did, and the deletion
# of all snapshots leaves the original files.
fault_round() { # POWER FAULT
    local s2=0
    vm_define qcow2
    scribble; make_cut s1; scribble; set_power "$1"; remember now
    uuid >"$T/ref/s2.id"; cp "$T/ref/now.vda" "$T/ref/s2.vda"; cp "$T/ref/now.vdb" "$T/ref/s2.vdb"
    FAULT=$2 t cut "$(cut_id s2)" vda vdb >/dev/null 2>&1 && s2=1
    recovered && now_is now && cut_is s1 || return 1
    [ $s2 = 0 ] || cut_is s2 || return 1
    t delete "$(cut_id s1)"
    FAULT=$2 t collect >/dev/null 2>&1 || true
    now_is now && recovered && now_is now || return 1
    [ $s2 = 0 ] || cut_is s2 || return 1
    vm_stop
    if [ $s2 = 1 ]; then
        FAULT=$2 t restore "$(cut_id s2)" "$(uuid)" trash vda vdb >/dev/null 2>&1 || true
        recovered && cut_is s2 || return 1
        now_is now || now_is s2 || return 1
        t trash 99999999999 && drop s2 || return 1
    fi
    t collect >/dev/null && now_is now && one_file_each qcow2
}
faults="half:2"
! is_full || faults="error:1 error:2 error:3 error:4 error:5 error:6 half:1 half:2 half:3 half:4 half:5 half:6 kill:1 kill:2 kill:3 kill:4 kill:5 kill:6 slow:1:1000"
for power in off running; do
    for fault in $faults; do check "$power: a driver with $fault" fault_round $power $fault; done
done

# ---- killed at each side effect ----
# One VM for all rounds: a round begins and ends with two files.
crash_cut() {
    remember now
    uuid >"$T/ref/s2.id"; cp "$T/ref/now.vda" "$T/ref/s2.vda"; cp "$T/ref/now.vdb" "$T/ref/s2.vdb"
    t cut "$(cut_id s2)" vda vdb
}
crash_delete() { t delete "$(cut_id s1)"; }
crash_collect() { t collect; }
crash_clone() { t restore "$(cut_id s1)" "$(cat "$T/ref/restore.id")" clone=$other vda vdb; }
crash_fill() { fill s1 "$how" qcow2 "$(cat "$T/ref/restore.id")"; }
crash_fillnew() { fill s1 new=$other qcow2 "$(cat "$T/ref/restore.id")"; }
crash_restore() { t restore "$(cut_id s1)" "$(cat "$T/ref/restore.id")" "$how" vda vdb; }
# crash_round POWER FLOW N before|after: 0 killed and right, 2 not reached
crash_round() {
    local power=$1 flow=$2 rc=0
    [ $flow = restore ] || [ $flow = fill ] && vm_stop || set_power $power
    scribble; make_cut s1 >/dev/null || return 1
    scribble
    [ $flow != delete ] && [ $flow != collect ] || { make_cut s2 >/dev/null && scribble; } || return 1
    [ $flow != collect ] || t delete "$(cut_id s1)" || return 1
    remember now; uuid >"$T/ref/restore.id"; how=$([ $(($3 % 2)) = 0 ] && echo trash || echo retain)
    VMKEEP_CRASH_AT=t:$3:$4 crash_$flow >/dev/null 2>&1 || rc=$?
    crash_check "$power" $flow $rc || return 1
    # A filled restore leaves the original disks, which vmkeep did not make.
    if [ $flow = fill ] || [ $flow = fillnew ]; then vm_define qcow2; else crash_clean || return 1; fi
    [ $rc = 137 ] || return 2
}
crash_check() {
    local power=$1 flow=$2
    recovered && vm=$other recovered || return 1
    virsh -q domuuid clon >/dev/null 2>&1 || tidy || return 1
    case $flow in
    cut)
        now_is now && cut_is s1 || return 1
        if table | grep -q "ref cut $(cut_id s2)"; then cut_is s2; else [ $3 = 137 ]; fi ;;
    delete) now_is now && cut_is s2 && { ! table | grep -q "ref cut $(cut_id s1)" || cut_is s1; } ;;
    collect) now_is now && cut_is s2 ;;
    clone)
        now_is now && cut_is s1 && crash_clone >/dev/null && clone_is s1 || return 1
        virsh -q undefine clon
        [ "$(find "${dirs[@]}" -name 'vmkeep-*' | wc -l)" = 2 ] && find "${dirs[@]}" -name 'vmkeep-*' -delete ;;
    fillnew)
        now_is now && cut_is s1 && crash_fillnew >/dev/null && filled_new_is s1 qcow2 || return 1
        virsh -q domblklist clon | sed -n 's/^ *vd[ab]  *//p' | while read -r f; do rm -f -- "$f"; done
        virsh -q undefine clon; rm -f "$layers/$other"; tidy ;;
    fill)
        crash_fill >/dev/null && now_is s1 && cut_is s1 && tidy && remember now ;;
    restore)
        # The caller tries again with the same id: done once, not twice.
        crash_restore >/dev/null && now_is s1 && cut_is s1 && tidy &&
            if [ $how = retain ]; then [ "$(t detached | wc -l)" = 2 ]; else [ "$(find "${dirs[@]}" -name '*.trash.qcow2' | wc -l)" = 2 ]; fi &&
            remember now ;;
    esac
}
crash_clean() {
    local c
    for c in s1 s2; do [ ! -e "$T/ref/$c.id" ] || t delete "$(cut_id $c)" || return 1; done
    t trash 99999999999 && t detached | while read -r f; do t detached "$f"; done
    [ "$(t collect)" = 0 ] && now_is now && one_file_each qcow2 && tidy && rm -f "$T"/ref/*.id
}
crash_flow() { # POWER FLOW
    if is_full; then crash_at_points 1 1 "before after" "$@"; else crash_at_points $((RANDOM % 37 + 1)) 37 after "$@"; fi
}
# The quick run takes every 37th side effect, from a random one on.
vm_define qcow2
for flow in cut delete collect restore clone fill fillnew; do
    for power in off running; do
        [[ $power = off || $flow = cut || $flow = collect ]] || continue
        check "$power: $flow killed at its side effects, recovered" crash_flow $power $flow
        note "$flow $power: $(cat "$T/crash.points") side effects or a few less"
    done
done
