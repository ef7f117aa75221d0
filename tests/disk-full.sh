#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=300
# A small file system that is full when a snapshot is to be merged, or gets full
# in the middle: the guest goes on or is resumed, no record is lost, the space
# comes back as soon as there is room, also while QEMU has paused the guest, and
# who looks at the VM is told.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard virt-test
small_filesystem
libvirt_start

guest_define g1
guest_move_data g1 "$T/small"
guest_start g1
export VMKEEP_EFFECT_LOG=$T/effects
touch "$T/effects"
vmkeepd_configure "min_free = 32M"
vmkeepd_start
kubectl_start
check "the virtual machine is there" wait_until 30 exists vm g1

has_no_overlays_left() { has_no_overlays "$T/small" && has_no_overlays "$T/g1"; }
waits_now() { k get events | grep MergeWaits | grep -qF "$(guest_disk g1 vdb)"; }
free_mib() { df --output=avail -m "$T/small" | tail -n 1 | tr -d ' '; }
# fill_up LEFT: all but so many MiB.
fill_up() { fallocate -l "$(($(free_mib) - $1))M" "$T/small/filler"; }
is_single() { [ "$(guest_disk g1 vda)|$(guest_disk g1 vdb)" = "$T/g1/root.qcow2|$T/small/data.qcow2" ]; }
write_in_guest() { guest_exec g1 "dd if=/dev/urandom of=/data/$1 bs=1M count=60 2>/dev/null; sync"; }

# ---- full before ----
snapshot s1 g1
check "a snapshot" snapshot_ready s1
write_in_guest one
fill_up 30
k delete vmsnapshot s1 --wait=false >/dev/null
check "no room for the merge: the VM has an event that says so" wait_until 60 eval "k get events | grep -q 'MergeWaits.*free some'"
note "$(k get events | grep MergeWaits | tail -n 1)"
check "the guest goes on" guest_is_writing g1
check "it is not paused" guest_is g1 running
rm "$T/small/filler"
check "with room it is merged, without anybody's doing" wait_until 90 is_single
check "no overlay is left" wait_until 20 has_no_overlays_left
check "the guest goes on" guest_is_writing g1

# ---- full in the middle ----
snapshot s2 g1
check "a second snapshot" snapshot_ready s2
write_in_guest two
begun=$(grep -c ' commit vdb' "$T/effects" || true)
k delete vmsnapshot s2 --wait=false >/dev/null
wait_until 60 eval "[ \$(grep -c ' commit vdb' $T/effects) -gt $begun ]" || true
fill_up 0 || fallocate -l "$(($(df --output=avail -k "$T/small" | tail -n 1) - 8))K" "$T/small/filler" || true
seq=$(guest_acked g1)
wait_until 5 guest_is g1 paused || true
note "full: $(free_mib) MiB free, the guest is $(guest_state g1), vdb is $(guest_disk g1 vdb)"
if guest_is g1 paused && ! is_single; then
    check "the VM has an event that says why it is not merged" wait_until 60 waits_now
fi
rm "$T/small/filler"
check "with room it is merged, whether the guest runs or not" wait_until 90 is_single
if guest_is g1 paused; then virsh -q resume g1; fi
check "and the guest goes on" wait_until 20 guest_is_writing g1
check "no overlay is left" wait_until 20 has_no_overlays_left
guest_wait_more g1 5
seq=$(guest_acked g1)
guest_wait_agent g1
guest_shutdown g1
check "every record is there" verify "$T/g1/root.qcow2" "$T/small/data.qcow2" "$seq"
