# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# tests/lib-reflink.sh: tests on file systems that can share blocks. Source it
# after lib-objects.sh.

# reflink_filesystems [SIZE]: one of each kind, mounted at $top/xfs and
# $top/btrfs. Skips the test where that cannot be done.
reflink_filesystems() {
    local fs
    requires_program mkfs.xfs mkfs.btrfs losetup
    top=$T
    for fs in xfs btrfs; do
        truncate -s "${1:-3G}" "$T/$fs.img"
        "mkfs.$fs" -q "$T/$fs.img" 2>/dev/null
        mkdir "$T/$fs"
        mount -o loop "$T/$fs.img" "$T/$fs" || skip_all "no loop mount of $fs here"
        cleanup_fn umount -l "$top/$fs"
    done
    cleanup_fn eval "T=$top"
}
reflink_begin() { :; }
# reflink_within FS FORMAT...: libvirtd, vmkeepd and all disks are there; calls
# on FS FORMAT for each, after reflink_begin.
reflink_within() {
    local format
    fs=$1
    shift
    T=$top/$fs
    libvirt_start
    vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 5000" "target_roots = $top/targets"
    vmkeepd_start
    kubectl_start
    reflink_begin
    for format; do on "$fs" "$format"; done
    vmkeepd_stop
    libvirt_end
    T=$top
}
