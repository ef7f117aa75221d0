# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# tests/lib-guest.sh: a libvirtd of the test's own and real guests in it.
# Sourced by lib.sh.

# mounts_stay_private: the word for unshare --propagation. In a chroot "/" may
# be no mount point, and then cannot be made private; there nothing may be
# shared already.
mounts_stay_private() {
    if ! unshare -m --propagation private true 2>/dev/null && ! grep -q ' shared:' /proc/self/mountinfo; then
        echo unchanged
    else
        echo private
    fi
}

requires_libvirt() {
    [ "$(id -u)" = 0 ] || skip_all "needs root"
    requires_program libvirtd virsh qemu-img qemu-system-x86_64 unshare nsenter setpriv \
        mke2fs e2fsck debugfs dumpe2fs cpio dpkg-deb objdump cc
    unshare -m -p -f --mount-proc --propagation "$(mounts_stay_private)" true 2>/dev/null || skip_all "needs mount and pid namespaces (CAP_SYS_ADMIN)"
}

# ---- libvirtd ----

# libvirt_start: libvirtd and room for guests in namespaces of their own.
# virsh finds it by LIBVIRT_DEFAULT_URI, vmkeepd by LIBVIRT_URI (the same).
#   LIBVIRT_QEMU_USER   whom QEMU runs as (root). libvirt-qemu: what Debian's
#                       qemu.conf says; so are who owns disks, when, and
#                       QEMU's /dev
#   LIBVIRT_SWTPM_USER  whom software TPMs run as (root)
libvirt_start() {
    local d=$T/lv group user=${LIBVIRT_QEMU_USER:-root}
    mkdir -p "$d"/{rt,etc/qemu,lib,log,cache,swtpm-log,swtpm-ca}
    [ -z "${LIBVIRT_SWTPM_USER:-}" ] || chown "$LIBVIRT_SWTPM_USER" "$d/swtpm-ca"
    cat >"$d/etc/libvirtd.conf" <<CONF
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
log_outputs = "3:file:$d/libvirtd.log"
CONF
    cat >"$d/etc/qemu.conf" <<CONF
user = "$user"
group = "$user"
swtpm_user = "${LIBVIRT_SWTPM_USER:-root}"
swtpm_group = "${LIBVIRT_SWTPM_USER:-root}"
security_driver = "none"
stdio_handler = "file"
cgroup_controllers = []
CONF
    [ "$user" != root ] || echo "remember_owner = 0" >>"$d/etc/qemu.conf"
    # In a chroot / is no mount, and then libvirt cannot make QEMU one of its own.
    if [ "$user" = root ] || ! mountpoint -q /; then echo "namespaces = []" >>"$d/etc/qemu.conf"; fi
    # libvirtd wants its default user even where qemu.conf names another, and
    # only Debian's libvirt-daemon-system creates it.
    cp /etc/passwd "$d/passwd"
    cp /etc/group "$d/group"
    grep -q ^libvirt-qemu: "$d/passwd" || echo "libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin" >>"$d/passwd"
    for group in libvirt-qemu kvm; do
        grep -q "^$group:" "$d/group" || echo "$group:x:64055:" >>"$d/group"
    done
    # The QEMU capabilities of an earlier run save 4 s at the first start.
    cp -a "$VMKEEP_CACHE/libvirt/." "$d/cache/" 2>/dev/null || true
    LIBVIRT_URI="qemu+unix:///system?socket=$d/rt/libvirt-sock"
    export LIBVIRT_URI LIBVIRT_DEFAULT_URI=$LIBVIRT_URI

    rm -f "$d/up" # of an earlier one, if libvirtd ended and is started again
    # The first process of the pid namespace: bash, because it reaps.
    start_process namespace unshare -m -p -f --kill-child --mount-proc --propagation "$(mounts_stay_private)" bash -c '
        d=$1
        for pair in rt:/run/libvirt etc:/etc/libvirt lib:/var/lib/libvirt log:/var/log/libvirt cache:/var/cache/libvirt \
            swtpm-log:/var/log/swtpm swtpm-ca:/var/lib/swtpm-localca; do
            mkdir -p "${pair#*:}" && mount --bind "$d/${pair%%:*}" "${pair#*:}" || exit 1
        done
        mount --bind "$d/passwd" /etc/passwd && mount --bind "$d/group" /etc/group || exit 1
        # A /dev/kvm that root may use and QEMU may not: libvirt probes QEMU as
        # root, finds KVM, finds that it cannot be used, and probes anew, 0.7 s,
        # each time that it looks.
        if [ -c /dev/kvm ]; then
            mkdir -p "$d/dev" && mount -t tmpfs -o mode=755 tmpfs "$d/dev" && mknod -m 666 "$d/dev/kvm" c 10 232 &&
                mount --bind "$d/dev/kvm" /dev/kvm
        fi
        touch "$d/up"
        sleep "$2" &
        wait $!' bash "$d" "$TEST_LIMIT"
    cleanup_fn libvirt_end
    wait_until 10 test -e "$d/up" || { echo "no namespace for libvirtd" >&2; return 1; }
    namespace_pid=$(pgrep -P "$pid_namespace" -x bash | head -n 1)
    libvirt_restart
    mkdir -p "$VMKEEP_CACHE"
}

in_namespace() { nsenter -t "$namespace_pid" -m -p -r -- "$@"; }

# libvirt_restart: start libvirtd (again); guests that run are found by it.
libvirt_restart() {
    # Without TMPDIR: swtpm_setup, as a user of its own, cannot write there.
    start_process libvirtd nsenter -t "$namespace_pid" -m -p -r -- env -u TMPDIR \
        libvirtd -f /etc/libvirt/libvirtd.conf -p /run/libvirt/libvirtd.pid
    wait_until 60 virsh -q version || { echo "libvirtd does not answer" >&2; return 1; }
}

# libvirt_pid: libvirtd's process, as this shell counts.
libvirt_pid() { pgrep -P "$pid_libvirtd" -x libvirtd | head -n 1; }
# libvirt_kill [SIGNAL]: libvirtd alone (KILL); guests go on.
libvirt_kill() {
    kill -"${1:-KILL}" "$(libvirt_pid)"
    libvirt_wait_end
}
libvirt_wait_end() {
    wait_until 20 eval "! is_alive $pid_libvirtd"
}

libvirt_end() {
    # Other tests save the probing, if it was complete.
    if [ -d "$T/lv/cache/qemu/capabilities" ] && [ ! -d "$VMKEEP_CACHE/libvirt/qemu" ]; then
        cp -a "$T/lv/cache" "$VMKEEP_CACHE/libvirt.$$" &&
            mv -T "$VMKEEP_CACHE/libvirt.$$" "$VMKEEP_CACHE/libvirt"
    fi
    stop_process libvirtd KILL 1
    stop_process namespace KILL 5
}

# ---- guests ----

# guest_image: build the guest once per checkout; prints its directory.
guest_image() {
    local key dir
    key=$(cat "$tests_dir"/guest/* | sha256sum | cut -c1-16)
    dir=$VMKEEP_CACHE/guest/$key-${GUEST_FORMAT:-qcow2}
    mkdir -p "$VMKEEP_CACHE/guest"
    (
        flock 9
        if [ ! -e "$dir/.complete" ]; then
            FORMAT=${GUEST_FORMAT:-qcow2} "$tests_dir/guest/make-guest.sh" "$VMKEEP_CACHE/guest" "$dir" >&2 &&
                touch "$dir/.complete"
        fi
    ) 9>"$VMKEEP_CACHE/guest/.lock"
    [ -e "$dir/.complete" ] || return 1
    echo "$dir"
}

# guest_define NAME: a new guest with its own disks in $T/NAME.
#   GUEST_FORMAT  qcow2 (default) or raw
#   GUEST_APPEND  words for its kernel command line (guest/init)
#   GUEST_EXTRA   XML for <devices>, on one line
#   GUEST_OS      XML for <os>, on one line
#   GUEST_UUID    default: random
guest_define() {
    local name=$1 dir=$T/$1 format=${GUEST_FORMAT:-qcow2} image
    image=$(guest_image) || { echo "the test guest cannot be built" >&2; return 1; }
    mkdir -p "$dir"
    [ "${LIBVIRT_QEMU_USER:-root}" = root ] || image=$(guest_boot_files "$image")
    cp --reflink=auto --sparse=always "$image/root.$format" "$image/data.$format" "$dir/"
    sed -e "s|@NAME@|$name|; s|@UUID@|${GUEST_UUID:-$(cat /proc/sys/kernel/random/uuid)}|" \
        -e "s|@GUEST@|$image|; s|@DIR@|$dir|; s|@FORMAT@|$format|" \
        -e "s|@APPEND@|${GUEST_APPEND:-}|; s|@EXTRA@|${GUEST_EXTRA:-}|; s|<kernel>|${GUEST_OS:-}&|" \
        "$tests_dir/guest/domain.xml.in" >"$dir/domain.xml"
    virsh -q define "$dir/domain.xml"
}

# guest_boot_files IMAGE-DIR: the same, where another user than root reaches
# it, and may own what it boots from, as libvirt makes it; prints its directory.
guest_boot_files() {
    if [ ! -e "$T/boot/initrd" ]; then
        mkdir -p "$T/boot"
        cp --reflink=auto "$1"/* "$T/boot/"
    fi
    echo "$T/boot"
}

# small_filesystem: ext4 of 320 MiB in $T/small, which can be filled up.
small_filesystem() {
    requires_program mkfs.ext4 losetup fallocate
    truncate -s 320M "$T/small.img"
    mkfs.ext4 -q -m 0 "$T/small.img"
    mkdir "$T/small"
    mount -o loop "$T/small.img" "$T/small" || skip_all "no loop mount here"
    cleanup_fn umount -l "$T/small"
}
# guest_move_data VM DIR: a stopped VM's data disk lies there from now on.
guest_move_data() {
    mv "$T/$1/data.qcow2" "$2/"
    "$(program virt-test)" retarget "$(guest_uuid "$1")" vdb "$2/data.qcow2" qcow2 >/dev/null
}

guest_uuid() { virsh -q domuuid "$1" | head -n 1; }
guest_state() { virsh -q domstate "$1" | head -n 1; }
guest_is() { [ "$(guest_state "$1")" = "$2" ]; }
# guest_disk NAME TARGET: the file that libvirt says is the disk.
guest_disk() { virsh -q domblklist "$1" | awk -v t="$2" '$1 == t {print $2}'; }

# guest_start NAME: start it and wait for the agent.
guest_start() {
    virsh -q start "$1"
    guest_wait_agent "$1"
}
guest_ping() { virsh -q qemu-agent-command --timeout 5 "$1" '{"execute":"guest-ping"}'; }
# guest_wait_agent NAME [SECONDS]: libvirt says connected, then it answers.
guest_wait_agent() { wait_until "${2:-120}" guest_has_agent "$1" && wait_until 60 guest_ping "$1"; }
guest_has_agent() { virsh -q dumpxml "$1" | grep -q "org.qemu.guest_agent.0' state='connected'"; }
# guest_shutdown NAME: from inside, to the end.
guest_shutdown() {
    # A guest that is off before its agent has answered is "End of file" to virsh.
    virsh -q shutdown --mode agent "$1" || true
    wait_until 90 guest_is "$1" "shut off"
}
# guest_kill NAME: SIGKILL to its QEMU, as a host crash does it.
guest_kill() {
    kill -KILL "$(guest_pid "$1")"
    wait_until 30 guest_is "$1" "shut off"
}
# guest_pid NAME: its QEMU's process, as this shell's /proc counts. By UUID: the
# name may be that of a guest of another test at the same time.
guest_pid() { pgrep -f -- "qemu-system-x86_64 .* -uuid $(guest_uuid "$1") "; }

# apparmor_allows NAME: would the profile that libvirt gives its QEMU (made here,
# loaded nowhere) let it open the images that it has open, as it has?
apparmor_allows() {
    local rules pid fd file wanted uuid
    uuid=$(guest_uuid "$1")
    pid=$(guest_pid "$1")
    rules=$(virsh -q dumpxml "$1" | in_namespace /usr/lib/libvirt/virt-aa-helper --dryrun --replace --uuid "libvirt-$uuid" 2>&1) || return 1
    for fd in /proc/"$pid"/fd/*; do
        # In a chroot a path of another mount namespace has more before it.
        file=$(readlink "$fd") && file=$T/${file##*"$T/"}
        [[ $file == *.qcow2 || $file == *.raw ]] || continue
        wanted='"'$file'" r'
        # Octal; the last digit: 0 reads, 1 and 2 write.
        grep -q '^flags:.*[12]$' "/proc/$pid/fdinfo/${fd##*/}" && wanted+=w
        grep -qF "$wanted" <<<"$rules" || { echo "no rule begins with: $wanted"; echo "$rules"; return 1; }
    done
}

# guest_exec NAME SHELL-TEXT: run it in the guest; its output and exit code.
guest_exec() {
    local text pid status
    text=$(base64 -w 0 <<<"$2")
    pid=$(virsh -q qemu-agent-command --timeout 20 "$1" \
        '{"execute":"guest-exec","arguments":{"path":"/bin/sh","arg":["-c","echo '"$text"' | base64 -d | sh"],"capture-output":true}}' |
        sed -n 's/.*"pid":\([0-9]*\).*/\1/p')
    [ -n "$pid" ] || return 99
    while :; do
        status=$(virsh -q qemu-agent-command --timeout 20 "$1" \
            '{"execute":"guest-exec-status","arguments":{"pid":'"$pid"'}}')
        [[ $status == *'"exited":true'* ]] && break
        sleep 0.05
    done
    sed -n 's/.*"out-data":"\([^"]*\)".*/\1/p' <<<"$status" | base64 -d
    sed -n 's/.*"err-data":"\([^"]*\)".*/\1/p' <<<"$status" | base64 -d >&2
    return "$(sed -n 's/.*"exitcode":\([0-9]*\).*/\1/p' <<<"$status" | grep . || echo 98)"
}

# guest_hang_agent NAME SECONDS: the agent stops answering, for so long
# (SIGSTOP); what was asked of it meanwhile it does when it wakes.
guest_hang_agent() {
    local mark="AGENT STOPS $RANDOM$RANDOM"
    guest_exec "$1" "(sleep 1; kill -STOP \$(cat /run/qga.pid); echo GUEST: $mark >/dev/console; sleep $2; kill -CONT \$(cat /run/qga.pid)) >/dev/null 2>&1 &"
    wait_until 20 grep -q "$mark" "$T/$1/console.log"
}

# guest_acked NAME: the last record that the guest says is on both disks.
guest_acked() { tail -n 2 "$T/$1/ack.log" | sed -n 's/^\([0-9][0-9]*\)$/\1/p' | tail -n 1; }
# guest_is_writing NAME: does its writer make progress within 5 s?
guest_is_writing() {
    local before
    before=$(guest_acked "$1")
    wait_until 5 eval "[ \"\$(guest_acked $1)\" != \"$before\" ]"
}
# guest_is_still NAME: not one record in 2 s.
guest_is_still() {
    local before
    before=$(guest_acked "$1")
    sleep 2
    [ "$(guest_acked "$1")" = "$before" ]
}
# guest_wait_acked NAME SEQ
guest_wait_acked() { wait_until 60 eval "[ \"\$(guest_acked $1)\" -ge $2 ]"; }
# guest_wait_more NAME N: N more records.
guest_wait_more() { guest_wait_acked "$1" $(($(guest_acked "$1") + $2)); }
# guest_freezes NAME: how often the agent was asked to freeze since boot.
guest_freezes() { guest_exec "$1" 'cat /run/freezes 2>/dev/null | wc -l'; }

# guest_gap NAME COMMAND...: how long, in ms, the guest's writer was silent at most while
# the command ran.
guest_gap() {
    local vm=$1
    shift
    python3 -c '
import os, sys, time
path, stop = sys.argv[1:]
last, at, most = os.stat(path).st_size, time.monotonic(), 0
while not os.path.exists(stop):
    size = os.stat(path).st_size
    if size != last:
        most, last, at = max(most, time.monotonic() - at), size, time.monotonic()
    time.sleep(0.001)
print(int(max(most, time.monotonic() - at) * 1000))' "$T/$vm/ack.log" "$T/stop" >"$T/gap" &
    local meter=$!
    "$@" || echo "failed: $*" >&2
    touch "$T/stop"
    wait $meter
    rm "$T/stop"
    cat "$T/gap"
}
# guest_freeze_and_thaw NAME: bare, and a few records more.
guest_freeze_and_thaw() {
    virsh -q domfsfreeze "$1" >/dev/null && virsh -q domfsthaw "$1" >/dev/null && guest_wait_more "$1" 5
}

# verify [-q] ROOT DATA [MIN]: the oracle, guest/verify.sh.
verify() { CHECKLOG=$(guest_image)/checklog "$tests_dir/guest/verify.sh" "$@"; }
# verified_last [-q] ROOT DATA [MIN]: the last record in both images.
verified_last() { verify "$@" | sed -n 's/^VERDICT .*last=\([0-9]*\).*/\1/p'; }
