#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=full timeout=7200
# Other tests, with everything that they make on XFS and on btrfs: 20 increments
# compared; vmkeepd killed at some points of a backup, of a snapshot, of its
# deletion (which is an unlink and has fewer side effects than a merge) and of
# its restores.
#
#   REFLINK_FS="xfs btrfs"  on which   REFLINK_FORMATS="qcow2 raw"
#   REFLINK_PARTS="many backup snapshot"  what
export TEST_LIMIT=${TEST_LIMIT:-7000}
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-reflink.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard vmkeep-repo
reflink_filesystems 6G
does() { [[ " ${REFLINK_PARTS:-many backup snapshot} " = *" $1 "* ]]; }

# within FS FORMAT SCRIPT [NAME=VALUE...]: a test, there; what it says of
# itself is shown.
within() {
    local rc=0
    env TMPDIR="$top/$1" GUEST_FORMAT="$2" "${@:4}" "$tests_dir/$3" >"$top/out" 2>&1 || rc=$?
    grep -E '^not ok|^# (methods|failed|got|---- )|killed at' "$top/out" | sed -E 's/^(not )?ok/# &/' >&3 || true
    [ $rc = 0 ] && ! grep -q '^not ok' "$top/out" || { tail -n 60 "$top/out"; return 1; }
}
exec 3>&1
for fs in ${REFLINK_FS:-xfs btrfs}; do
    for format in ${REFLINK_FORMATS:-qcow2 raw}; do
        if does many; then
            check "$fs, $format: 20 increments are what the disks were" within $fs $format backup-many.sh BACKUP_MANY=20
        fi
        if does backup; then
            check "$fs, $format: vmkeepd killed at points of a backup" within $fs $format crash-backup.sh CRASH_EVERY=37
        fi
        if does snapshot; then
            check "$fs, $format: vmkeepd killed at points of snapshots and restores" within $fs $format crash.sh CRASH_EVERY=37 CRASH_LEAST=8
        fi
    done
done
