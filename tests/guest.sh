#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The test guest itself: the ground that other tests stand on.
# check: suite=integration timeout=300
. "$(dirname "$0")/lib.sh"
requires_libvirt
libvirt_start

guest_define g1
guest_start g1
ok "a guest boots and its agent answers"
check_equal "commands run in the guest" "$(guest_exec g1 'echo $((6 * 7))')" 42
check_fails "exit codes come back" guest_exec g1 'exit 3'
guest_wait_acked g1 20
ok "the writer writes"

virsh -q domfsfreeze g1 >/dev/null
check "a freeze stops the writer" guest_is_still g1
seq=$(guest_acked g1)
cp "$T/g1/root.qcow2" "$T/g1/data.qcow2" "$T/"
virsh -q domfsthaw g1 >/dev/null
check "a thaw lets it go on" guest_is_writing g1
check_equal "the agent was asked to freeze once" "$(guest_freezes g1)" 1
check "the frozen disks are a quiesced instant" verify -q "$T/root.qcow2" "$T/data.qcow2" "$seq"

libvirt_kill
check "the guest goes on without libvirtd" guest_is_writing g1
libvirt_restart
check "libvirtd finds it again" guest_is g1 running
guest_wait_agent g1

seq=$(guest_acked g1)
guest_kill g1
check "after a kill of QEMU its disks are consistent" verify "$T/g1/root.qcow2" "$T/g1/data.qcow2" "$seq"
check_fails "the oracle misses records that are not there" verify "$T/g1/root.qcow2" "$T/g1/data.qcow2" $((seq + 1000))
check_fails "the oracle sees disks of two instants" verify "$T/g1/root.qcow2" "$T/data.qcow2"
guest_start g1
check "it boots again" guest_is_writing g1
guest_shutdown g1
check "it shuts down" guest_is g1 "shut off"
