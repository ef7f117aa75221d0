#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=120
# The first hour on a host: slips in vmkeep.conf, a state directory that cannot
# be used, no libvirtd yet, users with and without rights. Each is said once,
# with what to do; nothing is made that was not asked for.
. "$(dirname "$0")/lib.sh"
requires_libvirt
requires_build vmkeepd vmkeep
LIBVIRT_URI="qemu+unix:///system?socket=$T/lv/rt/libvirt-sock"
vmkeepd_configure
cp "$T/vmkeep.conf" "$T/good.conf"
chmod 755 "$T/run"

# refuses SENTENCE WORDS [EXIT]: vmkeepd ends at once, says WORDS, once.
refuses() {
    local status=0
    timeout 60 "$(program vmkeepd)" --config "$T/vmkeep.conf" </dev/null >"$T/out" 2>&1 || status=$?
    check_equal "$1: it does not start" $status "${3:-2}"
    check "$1: it says what to do" grep -qE -- "$2" "$T/out"
    check_equal "$1: in one line" "$(grep -c " error " "$T/out")" 1
}

# ---- slips in the configuration ----
slip() { # SENTENCE LINE WORDS
    { cat "$T/good.conf"; echo "$2"; } >"$T/vmkeep.conf"
    refuses "$1" "$3"
}
lines=$(($(wc -l <"$T/good.conf") + 1))
slip "an unknown key" "trash-hours = 3" "vmkeep.conf:$lines: unknown key 'trash-hours': see vmkeep.conf\(5\)"
slip "a key twice" "listen = 127.0.0.1:7444" "vmkeep.conf:$lines: listen is given twice"
slip "a number with a unit" "trash_hours = 24h" "vmkeep.conf:$lines: trash_hours: '24h': want a whole number above 0"
slip "no value" "min_free =" "vmkeep.conf:$lines: min_free"
slip "a relative path" "target_roots = srv" "vmkeep.conf:$lines: target_roots: 'srv': want absolute paths"
slip "no key" "[daemon]" "vmkeep.conf:$lines: want 'key = value'"
for port in 65536 99999 0x50 -1; do
    sed "s|^listen = .*|listen = 127.0.0.1:$port|" "$T/good.conf" >"$T/vmkeep.conf"
    refuses "port $port" "127.0.0.1:$port\" is not ADDRESS:PORT"
done
rm -rf "$T/state"

# ---- a state directory that cannot be used ----
state_is() { sed "s|^state_dir = .*|state_dir = $1|" "$T/good.conf" >"$T/vmkeep.conf"; }
echo x >"$T/file"
state_is "$T/file"
refuses "a file" "$T/file: Not a directory" 3
mkdir "$T/open"
chmod 777 "$T/open"
state_is "$T/open"
refuses "one that others can write to" "chmod 700" 6
check_equal "and nothing is put there" "$(ls -A "$T/open")" ""
mkdir "$T/small" && requires mount -t tmpfs -o size=2m none "$T/small"
cleanup_fn umount -l "$T/small"
state_is "$T/small/state"
vmkeepd_start
vmkeepd_stop
state=$T/small/state
mount -o remount,ro "$T/small"
refuses "a read-only file system" "$state/.*Read-only file system" 6
mount -o remount,rw "$T/small"
cp -a "$state" "$T/whole"
dd if=/dev/zero of="$T/small/fill" bs=4k 2>/dev/null || true
dd if=/dev/zero of="$T/small/fill2" bs=512 2>/dev/null || true
refuses "a full file system" "make room on the file system of $state" 8
rm "$T"/small/fill*
vmkeepd_start
check "with room it starts" vmkeepd_is_running
vmkeepd_stop
# broken SENTENCE WORDS EXIT COMMAND...: the state is whole but for what COMMAND did.
broken() {
    local sentence=$1 words=$2 status=$3
    shift 3
    rm -rf "$state"
    cp -a "$T/whole" "$state"
    (cd "$state" && "$@") >/dev/null 2>&1
    find "$state" -type f -exec sha256sum {} + | sort >"$T/before"
    refuses "$sentence" "$words" "$status"
    check "$sentence: nothing is changed" eval "find '$state' -type f -not -name '*-shm' -not -name '*-wal' -exec sha256sum {} + | sort | cmp - '$T/before'"
}
broken "a store of a newer version" "use a newer vmkeepd" 10 \
    python3 -c 'import sqlite3; c = sqlite3.connect("objects/objects.db"); c.execute("pragma journal_mode=wal"); c.execute("pragma user_version=99"); c.commit(); c.close()'
broken "a store without its head" "move it away and restore a copy, or start empty" 9 dd if=/dev/urandom of=objects/objects.db bs=100 count=1 conv=notrunc
broken "a store with a bad page" "move it away and restore a copy, or start empty" 9 dd if=/dev/urandom of=objects/objects.db bs=4096 seek=2 count=6 conv=notrunc
broken "a store that was cut off" "move it away and restore a copy, or start empty" 9 truncate -s 20000 objects/objects.db
broken "a damaged key" "restore it from a copy, or remove it" 9 truncate -s 10 seal.key
broken "a damaged authority" "restore them from a backup" 9 truncate -s 10 pki/ca.crt

# ---- no guard; libvirtd is not up yet, and then it is ----
cp "$T/good.conf" "$T/vmkeep.conf"
sed -i '/^guard/d' "$T/vmkeep.conf"
echo "guard = /nope" >>"$T/vmkeep.conf"
: >"$T/vmkeepd.log"
rm -rf "$T/run"
vmkeepd_start
v() { "$(program vmkeep)" "$@"; }
check "a guard that is not there is told" grep -q 'warn  /nope: No such file or directory: .*vmkeep-guard' "$T/vmkeepd.log"
check "so is libvirt that is not there" wait_until 20 grep -q 'warn  libvirt .*no connection: .*No such file or directory' "$T/vmkeepd.log"
check "and shown with the list" wait_until 30 eval "v vm list 2>&1 | grep -q 'Warning: .*libvirt'"
libvirt_start
check "when it is up, that is told" wait_until 30 grep -q 'info  libvirt .*: connected' "$T/vmkeepd.log"
virsh -q define <(echo "<domain type='qemu'><name>web</name><memory unit='MiB'>64</memory><os><type arch='x86_64'>hvm</type></os></domain>")
check "and the machines are there" wait_until 30 v vm show web
libvirt_kill
check "when it ends, that is told" wait_until 30 grep -q 'warn  libvirt .*: the connection ended' "$T/vmkeepd.log"
check_equal "once each" "$(grep -c ' warn  libvirt' "$T/vmkeepd.log")" 3
vmkeepd_stop

# ---- the objects are lost; it starts empty ----
libvirt_restart
mkdir -p "$T/img"
qemu-img create -q -f qcow2 "$T/img/a.qcow2" 16M
qemu-io -f qcow2 -c 'write -P 7 0 1M' "$T/img/a.qcow2" >/dev/null
virsh -q define <(echo "<domain type='qemu'><name>web</name><uuid>$(virsh -q domuuid web | head -n 1)</uuid><memory unit='MiB'>64</memory><os><type arch='x86_64'>hvm</type></os><devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$T/img/a.qcow2'/><target dev='vda' bus='virtio'/></disk></devices></domain>")
rm -rf "$T/state"
sed -i "s|^guard = .*|min_free = 1M|" "$T/vmkeep.conf"
vmkeepd_start
check "a machine with a disk" wait_until 30 v vm show web
check "is snapshotted" v snapshot create web s1 --wait
check "released under a snapshot it is not" eval "! v vm release web"
vmkeepd_stop
rm -r "$T/state/objects"
vmkeepd_start
check "its objects are lost, the machine is there" wait_until 30 v vm show web
check "it can be released" v vm release web
check_equal "its disk is its own again" "$(guest_disk web vda)" "$T/img/a.qcow2"
check_equal "and nothing else is there" "$(ls "$T/img" "$T/state/layers")" "$(printf '%s:\na.qcow2\n\n%s:' "$T/img" "$T/state/layers")"
check "with what was written" qemu-io -f qcow2 -c 'read -P 7 0 1M' "$T/img/a.qcow2"
vmkeepd_stop

# ---- rights ----
# As systemd makes the run directory at a start after a stop: root's, closed.
rm -rf "$T/run"
mkdir -m 710 "$T/run"
grep -v ^vmkeep: /etc/group >"$T/group"
echo "vmkeep:x:64999:" >>"$T/group"
start_process vmkeepd unshare -m --propagation "$(mounts_stay_private)" sh -c 'mount --bind "$1" /etc/group && exec "$2" --config "$3"' sh "$T/group" "$(program vmkeepd)" "$T/vmkeep.conf"
wait_until 60 vmkeepd_listens
# The program, where everybody may execute it.
cp "$(program vmkeep)" "$T/vmkeep"
as() { # GROUPS COMMAND...
    local groups=$1
    shift
    setpriv --reuid=65534 --regid=65534 "$groups" "$@"
}
list_as() { as "$1" "$T/vmkeep" --socket "$SOCKET" vm list >"$T/out" 2>&1; }
check "the group vmkeep is served" list_as --groups=64999
check_fails "nobody else is" list_as --clear-groups
check "who is not is told how to be" grep -q 'adduser YOU vmkeep' "$T/out"
check_fails "nobody but root looks into the directory" as --groups=64999 ls "$T/run"
vmkeepd_stop
check_fails "without a daemon" v vm list
v vm list >"$T/out" 2>&1 || true
check "it is told how to start it" grep -q 'systemctl status vmkeepd' "$T/out"

# ---- the package is purged ----
purge() { sed -e '/#DEBHELPER#/d' -e "s|/var/lib/vmkeep|$T/v|g" "$top_dir/debian/vmkeep.postrm" | sh -s purge; }
for what in layers/vm keys/k targets/a; do
    mkdir -p "$T/v/objects" "$T/v/$what"
    check "a purge" purge
    check "keeps ${what%/*}, and all that belongs to it" test -d "$T/v/$what" -a -d "$T/v/objects"
    rm -r "${T:?}/v/${what%/*}"
done
mkdir -p "$T/v/keys" "$T/v/layers"
check "a purge without them" purge
check "leaves nothing" test ! -e "$T/v"
