#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=300
# Disks that are no plain files in the XML: a volume of a directory pool is a
# disk like any other; a block device is left out, untouched, and that is said.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard
requires_program losetup
truncate -s 64M "$T/block.img"
loop=$(losetup -f --show "$T/block.img") || skip_all "needs loop devices"
cleanup_fn losetup -d "$loop"
libvirt_start
mkdir "$T/pool"
virsh -q pool-create-as p1 dir --target "$T/pool"
virsh -q vol-create-as p1 data.qcow2 64M --format qcow2
volume="<disk type='volume' device='disk'><driver name='qemu' type='qcow2'/><source pool='p1' volume='data.qcow2'/><target dev='vdc' bus='virtio'/></disk>"
block="<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='$loop'/><target dev='vdd' bus='virtio'/></disk>"
GUEST_EXTRA="$volume$block" guest_define g1
guest_start g1
vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 5000"
vmkeepd_start
kubectl_start
check "the VM is there" wait_until 30 field_is vm g1 .status.printableStatus Running
vmkeep() { "$(program vmkeep)" --socket "$SOCKET" "$@"; }

# put DISK TEXT, get DISK: the first bytes of a disk, written by the guest.
put() { guest_exec g1 "printf %-16s '$2' >/dev/$1 && sync"; }
get() { guest_exec g1 "dd if=/dev/$1 bs=16 count=1 2>/dev/null" | tr -d ' \0'; }

put vdc zero
snapshot s0 g1
check "a snapshot of the running VM is ready" snapshot_ready s0
put vdc one
put vdd one
check_equal "what the VM starts from next is what it writes to now" "$(virsh -q domblklist --inactive g1 | awk '$1 == "vdc" {print $2}')" "$(guest_disk g1 vdc)"
remove vmsnapshot s0
check "when it is deleted its files go" wait_until 60 eval "has_no_overlays '$T/pool'"
check_equal "the VM has its own volume again" "$(guest_disk g1 vdc)" data.qcow2
check_equal "with what the guest sees" "$(get vdc)" one
snapshot s1 g1
check "another one is made" snapshot_ready s1
check_equal "the volume is in it" "$(field vmsnapshot s1 '.status.snapshotVolumes.includedVolumes[*]')" "vda vdb vdc"
check_equal "the block device is not" "$(field vmsnapshot s1 '.status.snapshotVolumes.excludedVolumes[*]')" vdd
check "and the status says why" field_has vmsnapshot s1 '.status.vmkeep.excluded[?(@.volume=="vdd")].reason' "block devices cannot be snapshotted"
check "so does vmkeep" eval "vmkeep snapshot show s1 | grep -q 'vdd.*block devices cannot be snapshotted'"
check_equal "it is of a part of the VM" "$(indications s1)" "GuestAgent Online PartialSnapshot"
put vdc two
put vdd two
guest_shutdown g1
restore r1 g1 s1 "volumeRestorePolicy: InPlace"
check "it is restored in place" restore_complete r1
check_equal "the block device is still the VM's" "$(guest_disk g1 vdd)" "$loop"
guest_start g1
check_equal "the volume is the snapshot's" "$(get vdc)" one
check_equal "the block device is as it was left" "$(get vdd)" two

# ---- another VM: two VMs never write one disk ----
restore r2 g2 s1
check "a new VM is made" restore_complete r2 120
check_equal "without the block device" "$(guest_disk g2 vdd)" ""
check "with a copy of the volume" test -f "$(guest_disk g2 vdc)" -a "$(guest_disk g2 vdc)" != "$(guest_disk g1 vdc)"

remove vmrestore r1
check "the snapshot can be deleted" remove vmsnapshot s1

# ---- nothing but a block device; a pool that is away ----
domain() { # NAME DISK
    printf "<domain type='qemu'><name>%s</name><memory unit='MiB'>64</memory><os><type arch='x86_64'>hvm</type></os><devices>%s</devices></domain>" "$1" "$2" >"$T/d.xml"
    virsh -q define "$T/d.xml"
}
domain b1 "$block"
domain v1 "${volume/p1/gone}"
wait_until 20 exists vm b1
wait_until 20 exists vm v1
snapshot s2 b1
check "a VM that has only a block device gets its definition kept, and is told so" \
    wait_until 20 field_has vmsnapshot s2 '.status.vmkeep.excluded[0].reason' "block devices cannot be snapshotted"
snapshot s3 v1
check "a volume whose pool is away is named" \
    wait_until 20 field_has vmsnapshot s3 '.status.vmkeep.excluded[0].reason' "storage pool is not active"
