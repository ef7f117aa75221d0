#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=180
# Nothing is frozen without an armed guard: where vmkeep-guard cannot run, the
# guest is not touched, and the snapshot says why.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
requires_libvirt
requires_build vmkeepd vmkeep
libvirt_start
guest_define g1
guest_start g1
vmkeepd_configure "min_free = 64M"
sed -i 's|^guard = .*|guard = /bin/false|' "$T/vmkeep.conf"
grep -q '^guard' "$T/vmkeep.conf" || echo "guard = /bin/false" >>"$T/vmkeep.conf"
vmkeepd_start
kubectl_start
check "the VM is there" wait_until 30 field_is vm g1 .status.printableStatus Running
guest_wait_acked g1 5
snapshot s1 g1 "failureDeadline: 15s"
check "without a guard a snapshot is in error" wait_until 20 field_has vmsnapshot s1 .status.error.message guard
check "and Failed at its deadline" wait_until 40 field_is vmsnapshot s1 .status.phase Failed
check_equal "the agent was never asked to freeze" "$(guest_freezes g1)" 0
check "the journal is empty" journal_is_empty
check "no file was made" has_no_overlays "$T/g1"
check "the VM is unlocked" wait_until 10 is_unlocked g1
check "the guest writes" guest_is_writing g1
