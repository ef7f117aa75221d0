#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=200
# A domain's XML never names a file that is not on stable storage: whatever
# vmkeep makes libvirt define, the files that it names were synced before, and
# so were their directories. Read off the log of counted side effects; no guest
# has to run for it.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
requires_libvirt
requires_build vmkeepd vmkeep-guard
libvirt_start
guest_define g1
vmkeepd_configure "min_free = 64M"
vmkeepd_start VMKEEP_EFFECT_LOG="$T/effects"
kubectl_start
check "the VM is there" wait_until 30 field_is vm g1 .status.printableStatus Stopped

# synced_before FLOW VM: each disk of VM, and its directory, has an fsync in
# FLOW's effects before the first definition there.
synced_before() {
    local flow=$1 vm=$2 target path what
    for target in vda vdb; do
        path=$(guest_disk "$vm" "$target")
        for what in "$path" "$(dirname "$path")"; do
            awk -v flow="$flow" -v what="$what" '
                $1 != flow { next }
                $3 == "fsync" && ($4 == what || index(what, $4) > 1 && substr(what, length(what) - length($4)) == "/" $4) { synced = 1 }
                $3 == "define" { exit synced ? 0 : 1 }
                END { exit synced ? 0 : 1 }' "$T/effects" || { echo "$flow defines $vm before $what is synced"; return 1; }
        done
    done
    grep -q "^$flow [0-9]* define" "$T/effects" || { echo "$flow defines nothing?"; return 1; }
}

before=$(guest_disk g1 vda)
snapshot s1 g1
check "a stopped VM is snapshotted" snapshot_ready s1
check "its XML names another file now" test "$(guest_disk g1 vda)" != "$before"
check "a cut of a stopped VM: files first, then the XML" synced_before snapshot g1
restore r1 g1 s1 "volumeRestorePolicy: InPlace"
check "it is restored in place" restore_complete r1
check "a restore in place: files first, then the XML" synced_before restore-in-place g1
restore r2 g2 s1
check "it is restored as a new VM" restore_complete r2
check "a new VM: files first, then the XML" synced_before restore-new g2
