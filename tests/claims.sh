#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=300
# Claims are disk files: what a restore does to them, and what deleting one does.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard
libvirt_start
guest_define web
vmkeepd_configure "min_free = 64M"
vmkeepd_start
kubectl_start

claim_path() { field pvc "$1" '.metadata.annotations.vmkeep\.io/path'; }
claim_of() { field vm web ".spec.template.spec.volumes[?(@.name==\"$1\")].persistentVolumeClaim.claimName"; }
detached() { k get pvc -l vmkeep.io/detached=true -o 'jsonpath={.items[*].metadata.name}'; }
check "the claims are there" wait_until 60 k get pvc web-vda web-vdb
check "a snapshot" snapshot s1 web
check "is ready" wait_until 60 field_is vmsnapshot s1 .status.readyToUse true
check_equal "the claim's name stays" "$(claim_of vda)" web-vda
check "its file is the overlay" wait_until 60 eval '[ "$(claim_path web-vda)" = "$(guest_disk web vda)" ]'
old=$(guest_disk web vda)

# ---- the default policy: new names ----
check "a restore" restore r1 web s1
check "is complete" wait_until 60 field_is vmrestore r1 .status.complete true
new=$(claim_of vda)
uid=$(field vmrestore r1 .metadata.uid)
check_equal "the VM uses a claim of the restore's" "$new" "restore-$uid-vda"
check "the new claim is the new file" wait_until 60 eval '[ "$(claim_path "$new")" = "$(guest_disk web vda)" ]'
check_equal "the old claim is the old file" "$(claim_path web-vda)" "$old"
check "and is detached" wait_until 60 field_is pvc web-vda '.metadata.labels.vmkeep\.io/detached' true
check "the old file is there" test -e "$old"
check_fails "a claim in use is not deleted" k delete pvc "$new" --timeout=5s
check "deleting a detached claim" k delete pvc web-vda --timeout=30s
check "removes its file" test ! -e "$old"
check "and nothing else" test -e "$(guest_disk web vda)"
check "the other detached claim stays" k get pvc web-vdb

# ---- in place ----
check "a restore in place" restore r2 web s1 "volumeRestorePolicy: InPlace"
check "is complete" wait_until 60 field_is vmrestore r2 .status.complete true
check_equal "gives the claims the names that they had in the snapshot" "$(claim_of vda) $(claim_of vdb)" "web-vda web-vdb"
check "the claim is the new file" wait_until 60 eval '[ "$(claim_path web-vdb)" = "$(guest_disk web vdb)" ]'
check "the detached file of that name got another one" wait_until 60 eval '[ "$(detached | wc -w)" = 1 ]'

# ---- what was restored runs ----
guest_start web
check "the guest boots" guest_is_writing web
virsh -q destroy web
k delete vmrestore r1 r2 --timeout=30s >/dev/null
k delete vmsnapshot s1 --timeout=30s >/dev/null
virsh -q undefine web
sleep 1
check "a VM with detached disks stays, Undefined" wait_until 60 field_is vm web .status.printableStatus Undefined
check_equal "its only claim is that of the detached disk" "$(k get pvc -o 'jsonpath={.items[*].metadata.name}')" "$(detached)"
check "which can be deleted" k delete pvc "$(detached)" --timeout=30s
check "then it goes" wait_until 60 is_gone vm web
