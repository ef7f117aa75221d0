#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=180
# While a snapshot is copied for another VM, its own VM is started and stopped:
# a copy of hundreds of gigabytes keeps nobody from his machine.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard
libvirt_start
guest_define g1
# The copy takes as long as there is no file $T/go.
mkdir "$T/bin"
cat >"$T/bin/qemu-img" <<END
#!/bin/sh
if [ "\$1" = convert ]; then
    touch "$T/copying"
    while [ ! -e "$T/go" ]; do sleep 0.1; done
fi
exec $(command -v qemu-img) "\$@"
END
chmod +x "$T/bin/qemu-img"
vmkeepd_configure "min_free = 64M"
vmkeepd_start "PATH=$T/bin:$PATH"
kubectl_start
v() { "$(program vmkeep)" "$@"; }
check "the virtual machine is there" wait_until 30 exists vm g1
mkdir "$T/was"
cp --sparse=always "$T"/g1/*.qcow2 "$T/was/"
snapshot s1 g1
check "a snapshot" snapshot_ready s1
restore copy g2 s1
check "the copy begins" wait_until 30 test -e "$T/copying"

check "the VM is started meanwhile" v vm start g1 --wait --timeout 30s
check "it runs" guest_is g1 running
check "and boots" guest_wait_agent g1
check "it is stopped meanwhile" v vm stop g1 --wait --timeout 60s
check "it is off" guest_is g1 "shut off"
check "and started again" v vm start g1 --wait --timeout 30s
check "the copy still goes on" field_is vmrestore copy .status.complete false
touch "$T/go"
check "then it is complete" restore_complete copy 60
check "its disks are the snapshot's instant" eval "qemu-img compare -q $T/was/root.qcow2 $(guest_disk g2 vda) && qemu-img compare -q $T/was/data.qcow2 $(guest_disk g2 vdb)"
guest_wait_agent g1
seq=$(guest_acked g1)
snapshot s2 g1
check "the VM can be snapshotted again" snapshot_ready s2
check "it writes on" guest_is_writing g1
check "both snapshots go" eval "remove vmsnapshot s1 && remove vmsnapshot s2"
guest_shutdown g1
check "every record is there" wait_until 30 verify "$T/g1/root.qcow2" "$T/g1/data.qcow2" "$seq"
