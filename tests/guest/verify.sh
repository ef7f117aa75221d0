#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# verify.sh [-q] ROOT DATA [MIN]: the oracle: are these two images one instant
# of the test guest, with every record up to MIN?
#
#   -q  it must be a quiesced instant: file systems clean as they are, both
#       logs equally long, the last record marked
#
# No mount: qemu-img check and convert (with the whole chain), e2fsck with
# journal replay on a copy, debugfs, checklog. Prints what it saw, then
# "VERDICT consistent|quiesced|bad last=N"; exit code 0 unless bad.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
quiesced=no
if [ "${1:-}" = -q ]; then quiesced=yes; shift; fi
root=${1:?usage: verify.sh [-q] ROOT DATA [MIN]} data=${2:?} min=${3:-1}
checklog=${CHECKLOG:-$here/checklog}
PATH=$PATH:/usr/sbin:/sbin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=no clean=yes
complain() { echo "$*"; bad=yes; }

format_of() { qemu-img info -U --output=json -- "$1" | sed -n 's/^    "format": "\(.*\)",*$/\1/p' | head -n 1; }

# check NAME IMAGE: leaves the replayed file system in work/NAME.raw
check() {
    local name=$1 image=$2 format rc=0
    format=$(format_of "$image")
    if [ "$format" = qcow2 ]; then
        qemu-img check -q -U -f qcow2 -- "$image" >"$work/check" 2>&1 || rc=$?
        # 3: leaked clusters, space and no data: what a killed QEMU leaves.
        [ $rc = 0 ] || { [ $rc = 3 ] && [ $quiesced = no ]; } ||
            complain "$name: qemu-img check: $(tail -n 2 "$work/check" | tr '\n' ' ')"
        rc=0
    fi
    qemu-img convert -U -f "$format" -O raw -- "$image" "$work/$name.raw" || { complain "$name: cannot be read"; return; }
    e2fsck -fn "$work/$name.raw" >/dev/null 2>&1 || clean=no
    ! dumpe2fs -h "$work/$name.raw" 2>/dev/null | grep -q needs_recovery || clean=no
    e2fsck -fy "$work/$name.raw" >"$work/fsck" 2>&1 || rc=$?
    [ $rc -le 1 ] || complain "$name: e2fsck after replay: exit $rc: $(head -n 4 "$work/fsck" | tr '\n' ' ')"
    e2fsck -fn "$work/$name.raw" >/dev/null 2>&1 || complain "$name: not clean after e2fsck"
}

check root "$root"
check data "$data"
debugfs -R "dump /var/log/log.a $work/a" "$work/root.raw" >/dev/null 2>&1 || true
debugfs -R "dump /log.b $work/b" "$work/data.raw" >/dev/null 2>&1 || true
a=$("$checklog" "$work/a" "$min") || bad=yes
b=$("$checklog" "$work/b" "$min") || bad=yes
echo "vda: $a"
echo "vdb: $b"
echo "file systems clean as they are: $clean; records wanted: $min"
last_a=$(sed -n 's/.* last=\([0-9]*\).*/\1/p' <<<"$a")
last_b=$(sed -n 's/.* last=\([0-9]*\).*/\1/p' <<<"$b")
ahead=$((${last_a:-0} - ${last_b:-0}))
[ $ahead = 0 ] || [ $ahead = 1 ] || complain "disks are not of one instant: vda has $ahead records more"

is_quiesced=no
if [ $clean = yes ] && [ $ahead = 0 ] && [[ $a$b == *quiesced=yes*quiesced=yes* ]]; then is_quiesced=yes; fi
if [ $bad = yes ] || { [ $quiesced = yes ] && [ $is_quiesced = no ]; }; then
    echo "VERDICT bad last=${last_a:-0} (quiesced=$is_quiesced)"
    exit 1
fi
if [ $is_quiesced = yes ]; then echo "VERDICT quiesced last=$last_a"; else echo "VERDICT consistent last=$last_b"; fi
