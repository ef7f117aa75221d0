#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=full timeout=7200
# Other tests, with everything that they make on XFS and on btrfs: 20 increments
# compared, and vmkeepd killed at some points of a backup.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-reflink.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard vmkeep-repo
reflink_filesystems 6G

# within FS FORMAT SCRIPT [NAME=VALUE...]: a test, there; its notes are shown.
within() {
    local rc=0
    env TMPDIR="$top/$1" GUEST_FORMAT="$2" "${@:4}" "$tests_dir/$3" >"$top/out" 2>&1 || rc=$?
    grep -E '^not ok|^# (methods|failed)' "$top/out" | sed 's/^not ok/# not ok/' || true
    [ $rc = 0 ] && ! grep -q '^not ok' "$top/out"
}
for fs in xfs btrfs; do
    for format in qcow2 raw; do
        check "$fs, $format: 20 increments are what the disks were" within $fs $format backup-many.sh BACKUP_MANY=20
        check "$fs, $format: vmkeepd killed at points of a backup" within $fs $format crash-backup.sh CRASH_EVERY=37
    done
done
