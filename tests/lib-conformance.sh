# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# tests/lib-conformance.sh: a VM without operating system, whose writes are
# known patterns, and the driver's operations on it. Source it after lib.sh.
tool=$BUILD/src/volume/driver-conformance
[ -x "$tool" ] || skip_all "needs $tool (ninja)"

is_full() { [ "${VMKEEP_CHECK:-}" = full ]; }
# Its own in every test: two may run at the same time, and QEMU's processes
# are found by it.
vm=$(cat /proc/sys/kernel/random/uuid)
layers=$T/layers
# Two directories, names that need quoting everywhere.
dirs=("$T/a dir, 100%" "$T/b;'dir")
export MIN_FREE=1

t() { local word=$1; shift; timeout 120 "$tool" "$layers" "$LIBVIRT_URI" "$word" "$vm" "$@"; }
uuid() { cat /proc/sys/kernel/random/uuid; }
table() { cat "$layers/$vm" 2>/dev/null; }
escape() { sed -e 's/&/\&amp;/g; s/</\&lt;/g; s/"/\&quot;/g; s/'\''/\&apos;/g' <<<"$1"; }

# vm_define FORMAT: new disks, empty table.
vm_define() {
    local format=$1 i d xml="" path
    virsh -q destroy conf >/dev/null 2>&1 || true
    virsh -q undefine conf >/dev/null 2>&1 || true
    rm -rf "$layers" "${dirs[@]}" "$T/ref"
    mkdir -p "${dirs[@]}" "$T/ref"
    for i in 0 1; do
        path="${dirs[i]}/disk, $i.$format"
        qemu-img create -q -f "$format" "$path" "${disk_size:-8M}"
        d=vd$(tr 01 ab <<<$i)
        xml+="<disk type='file' device='disk'><driver name='qemu' type='$format' cache='writeback'/>
            <source file=\"$(escape "$path")\"/><target dev='$d' bus='virtio'/><alias name='ua-$d'/></disk>"
    done
    cat >"$T/conf.xml" <<XML
<domain type='qemu'><name>conf</name><uuid>$vm</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>$xml
<controller type='usb' model='none'/><memballoon model='none'/><audio id='1' type='none'/></devices></domain>
XML
    virsh -q define "$T/conf.xml"
}
is_running() { [ "$(guest_state conf)" = running ]; }
disk() { virsh -q domblklist conf | sed -n "s/^ *$1  *//p"; }
format_of() { case $1 in *.raw) echo raw ;; *) echo qcow2 ;; esac; }

# put TARGET PATTERN OFFSET LENGTH: the guest writes.
put() {
    local file out
    if is_running; then
        out=$(virsh -q qemu-monitor-command conf --hmp "qemu-io -d /machine/peripheral/ua-$1/virtio-backend \"write -P $2 $3 $4\"")
        [[ $out != *[Ee]rror* && $out != *[Ff]ail* ]] || { echo "$out" >&2; return 1; }
    else
        file=$(disk "$1")
        qemu-io -f "$(format_of "$file")" -c "write -P $2 $3 $4" "$file" >/dev/null
    fi
}
pattern=0
# scribble: a new write at a place of its own on both disks, one over all.
scribble() {
    local d
    pattern=$((pattern % 250 + 1))
    for d in vda vdb; do
        put $d $pattern $(((pattern * 7 + ${#d}) % 100 * 65536)) 192k
        put $d $pattern $(((pattern * 3) % 16 * 512))k 4k
    done
}
# remember NAME: copies of both disks as the guest sees them now, made with
# $ref_options.
remember() {
    local d file
    for d in vda vdb; do
        file=$(disk $d)
        if is_running; then virsh -q qemu-monitor-command conf --hmp "qemu-io -d /machine/peripheral/ua-$d/virtio-backend flush" >/dev/null; fi
        # shellcheck disable=SC2086
        qemu-img convert -U ${ref_options:-} -f "$(format_of "$file")" -O qcow2 "$file" "$T/ref/$1.$d"
    done
}
same() { # FILE FORMAT NAME TARGET
    qemu-img compare -U -q -f "$2" -F qcow2 "$1" "$T/ref/$3.$4"
}
# row CUT TARGET FIELD: of the layer that the cut refers to.
layer_of() { table | awk -v c="$1" -v d="$2" '$1 == "ref" && $2 == "cut" && $3 == c && $4 == d {print $5}'; }
path_of() { printf '%b' "$(table | awk -v l="$1" '$1 == "layer" && $2 == l {print $11}' | sed 's/%\(..\)/\\x\1/g')"; }
# cut_is NAME: the cut reads as remembered.
cut_is() {
    local d path
    for d in vda vdb; do
        path=$(path_of "$(layer_of "$(cut_id "$1")" $d)")
        [ -n "$path" ] && same "$path" "$(format_of "$path")" "$1" $d || { echo "$1 $d: $path"; return 1; }
    done
}
now_is() {
    local d file
    for d in vda vdb; do
        if is_running; then virsh -q qemu-monitor-command conf --hmp "qemu-io -d /machine/peripheral/ua-$d/virtio-backend flush" >/dev/null; fi
        file=$(disk $d)
        same "$file" "$(format_of "$file")" "$1" $d || { echo "now is not $1 on $d: $file"; return 1; }
    done
}
cut_id() { cat "$T/ref/$1.id"; }
make_cut() { # NAME: cut and remember
    remember "$1"
    uuid >"$T/ref/$1.id"
    t cut "$(cut_id "$1")" vda vdb
}
drop() { t drop "$(cut_id "$1")" >/dev/null; }
# tidy: no job; each file in the directories is a row, each row a file.
tidy() {
    local rows files
    if table | grep -q ^job; then echo "a job is left"; table; return 1; fi
    rows=$(table | awk '$1 == "layer" {print $11}' | sed 's/%\(..\)/\\x\1/g' | while read -r p; do printf '%b\n' "$p"; done | sort)
    files=$(find "${dirs[@]}" -type f | sort)
    [ -z "$rows" ] || [ "$rows" = "$files" ] || { echo "rows:"; echo "$rows"; echo "files:"; echo "$files"; return 1; }
}
one_file_each() { [ "$(find "${dirs[@]}" -type f | wc -l)" = 2 ] && [ "$(disk vda)" = "${dirs[0]}/disk, 0.$1" ] && [ "$(disk vdb)" = "${dirs[1]}/disk, 1.$1" ]; }
vm_start() { virsh -q start conf; }
vm_stop() { if is_running; then virsh -q destroy conf; fi; }
set_power() { if [ "$1" = running ]; then is_running || vm_start; else vm_stop; fi; }
restore_to() { t restore "$(cut_id "$1")" "$(uuid)" "${2:-trash}" vda vdb >"$T/restore.out"; }

# ---- what holds for every driver; CUT_BY_COPIES says which one cuts ----
kept_are() { local s; for s; do cut_is "$s" || return 1; done; }
without() { local s; for s in $2; do [ "$s" = "$1" ] || printf '%s ' "$s"; done; }
by_copies() { [ "$(table | grep -c '^layer .* kept ')" = "$1" ]; }
# delete_in_order "s1 s2 s3": after each, the others and the disk are right.
delete_in_order() {
    local left=$1 s
    for s in $1; do
        drop "$s" || { echo "drop $s"; table; return 1; }
        left=$(without "$s" "$left")
        # shellcheck disable=SC2086
        kept_are $left && now_is now && tidy || { echo "after $s of $1"; table; return 1; }
    done
}
# recovered: after a kill; a child of the killed process may still hold its
# files. A guest that is suspended is the guard's business; here we do it.
recovered() {
    [ "$(guest_state conf)" != paused ] || virsh -q resume conf
    wait_until 10 t recover || t recover
}
# one_cut FORMAT POWER: its life.
one_cut() {
    local as="${fs:+$fs }$1 $2:" by=${CUT_BY_COPIES:+copies}
    vm_define "$1"
    set_power "$2"
    scribble
    check "$as a cut of two disks" make_cut s1
    check "$as by ${by:-layers}" by_copies $((${CUT_BY_COPIES:-0} * 2))
    scribble; remember now
    check_fails "$as (the guest's writes change the disks)" now_is s1
    check "$as the snapshot has the disks as they were" cut_is s1
    check "$as no file too many" tidy
    check "$as deleted" drop s1
    check "$as the disk has what was written since" now_is now
    check "$as the domain names the original files, nothing else is left" one_file_each "$1"
    vm_stop
    check "$as the same after power off" now_is now
}
# crash_at_points FIRST STEP WHENS ARGUMENT...: crash_round ARGUMENT... N WHEN
# for every STEP-th side effect, until one answers 2: the flow ended before.
crash_at_points() {
    local n when rc first=$1 step=$2 whens=$3
    shift 3
    for ((n = first; n < 500; n += step)); do
        for when in $whens; do
            rc=0
            crash_round "$@" $n "$when" || rc=$?
            [ $rc != 2 ] || { echo "$((n - 1))" >"$T/crash.points"; return 0; }
            [ $rc = 0 ] || { echo "$* $n $when"; table; find "${dirs[@]}" -type f; return 1; }
        done
    done
    return 1
}

# the_tree POWER: s1 <- restored twice, s2 and s3 on its branches, and on.
the_tree() {
    vm_stop
    scribble; make_cut s1
    scribble; make_cut s2; scribble
    restore_to s1; scribble; make_cut s3; scribble
    restore_to s1
    t trash 99999999999
    set_power "$1"
    scribble; remember now
}
