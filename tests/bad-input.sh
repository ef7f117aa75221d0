#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=300
# Bad input and strange machines: a clear error that says what to do, and
# nothing changed. Nothing boots here: the domains are defined and off.
. "$(dirname "$0")/lib.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard
libvirt_start
v() { "$(program vmkeep)" "$@"; }
status_of() { local status=0; v "$@" >"$T/out" 2>&1 || status=$?; echo $status; }
says() { grep -qE -- "$1" "$T/out" || { cat "$T/out"; return 1; }; }

# post PATH JSON: the code of the answer; its text is in $T/out.
post() {
    curl -sS --unix-socket "$SOCKET" -o "$T/out" -w '%{http_code}' -H 'Content-Type: application/json' "http://x/apis/$1" -d "$2"
}

mkdir -p "$T/img"
chmod 711 "$T/img"
# domain NAME [XML of devices]: define one that is off. The name is escaped.
domain() {
    python3 - "$1" "${2:-}" >"$T/domain.xml" <<'END'
import sys
from xml.sax.saxutils import escape
name, devices = sys.argv[1:]
print(f"""<domain type='qemu'><name>{escape(name)}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>{devices}</devices></domain>""")
END
    virsh -q define "$T/domain.xml"
}
disk() { # target, file
    echo "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='$2'/><target dev='$1' bus='virtio'/></disk>"
}
image() { qemu-img create -q -f qcow2 "$T/img/$1.qcow2" 64M && qemu-io -f qcow2 -c 'write -P 7 0 1M' "$T/img/$1.qcow2" >/dev/null; }

# what_is: everything that a refused request must not change.
what_is() { (cd "$T/img" && sha256sum ./*); for d in $(virsh -q list --all --uuid); do virsh -q dumpxml --inactive "$d"; done; }

image plain
domain plain "$(disk vda "$T/img/plain.qcow2")"
domain diskless
domain ghost "$(disk vda "$T/img/ghost.qcow2")"
qemu-img create -q -f raw "$T/img/shared.raw" 1M
domain odd "$(disk vda "$T/img/shared.raw" | sed 's|qcow2|raw|; s|</disk>|<shareable/></disk>|')
    <disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='x'><host name='localhost' port='10809'/></source><target dev='vdb' bus='virtio'/></disk>
    <disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>"
for name in '$(id)' '-x' "it's a <b>&amp;" '..' 'UPPER' 'name.with.dots' '--help'; do
    image "strange-$RANDOM"
    domain "$name" "$(disk vda "$(ls -t "$T"/img/strange-* | head -n 1)")" || note "libvirt refuses the name $name"
done
vmkeepd_configure "min_free = 1M"
vmkeepd_start
wait_until 30 v vm show plain || { echo "vmkeepd shows nothing" >&2; exit 1; }
what_is >"$T/before"

# ---- what is not there, what is wrong ----
check_equal "a snapshot of an unknown machine: 3" "$(status_of snapshot create nope)" 3
check "where to look is told" says 'there is no virtual machine "nope".*vmkeep vm list'
snapshots=snapshot.kubevirt.io/v1beta1/namespaces/default/virtualmachinesnapshots
snapshot_of() { echo "{\"metadata\":{\"name\":\"s\"},\"spec\":{\"source\":{\"apiGroup\":\"${2:-kubevirt.io}\",\"kind\":\"VirtualMachine\",\"name\":\"$1\"}${3:-}}}"; }
check_equal "a snapshot of something else: 422" "$(post $snapshots "$(snapshot_of plain v1)")" 422
check "what is wanted is told" says 'spec.source.apiGroup.*want .*kubevirt.io'
check_equal "a policy that is a slip: 422" "$(post $snapshots "$(snapshot_of plain '' ',"deletionPolicy":"keep"')")" 422
check "what is known is told" says 'spec.deletionPolicy.*Delete.*Retain'
check_equal "a snapshot of an unknown machine waits for it" "$(post $snapshots "$(snapshot_of nope '' ',"failureDeadline":"2s"')")" 201
wait_until 20 eval "v snapshot show s | grep -q '^Status: *Failed'"
check "until its deadline; then it says what was missing" eval "v snapshot show s >'$T/out' && says 'there is no virtual machine .nope. in the namespace .default.'"
check_equal "and it can be deleted" "$(status_of snapshot delete s --wait)" 0
check_equal "a snapshot name that is none: 2" "$(status_of snapshot create plain 'Bad Name')" 2
check "the field is told" says 'metadata.name'
check_equal "a snapshot name that goes up: 2" "$(status_of snapshot create plain ../../etc)" 2
check_equal "a snapshot name of 300 letters: 2" "$(status_of snapshot create plain "$(printf 'a%.0s' {1..300})")" 2
check_equal "a name that looks like an option: 2" "$(status_of snapshot create plain -- --help)" 2
check_equal "an unknown snapshot: 3" "$(status_of snapshot show nope)" 3
check "and where to look is told" says 'vmkeep snapshot list -A'
check_equal "the libvirt name of a machine that has another one here: 3" "$(status_of vm show name.with.dots)" 3
check "and where to look is told" says 'vmkeep vm list -A -o wide'
check_equal "a restore of an unknown snapshot: 3" "$(status_of restore create nope)" 3
check_equal "an unknown namespace: 3" "$(status_of -n nowhere snapshot create plain)" 3
big=$(head -c 4000000 /dev/zero | tr '\0' x)
check_equal "a body of 4 MB: 413" "$(printf '{"metadata":{"name":"x"},"spec":{"x":"%s"}}' "$big" |
    curl -sS --unix-socket "$SOCKET" -o "$T/out" -w '%{http_code}' -H 'Content-Type: application/json' --data-binary @- \
        http://x/apis/snapshot.kubevirt.io/v1beta1/namespaces/default/virtualmachinesnapshots)" 413
check "nothing has changed" eval 'what_is | cmp - "$T/before"'

# ---- backups, their targets and restores ----
harvester=harvesterhci.io/v1beta1/namespaces/default
backup_of() { echo "{\"metadata\":{\"name\":\"${2:-b}\"},\"spec\":{\"source\":{\"apiGroup\":\"kubevirt.io\",\"kind\":\"VirtualMachine\",\"name\":\"$1\"}${3:-}}${4:-}}"; }
restore_of() { echo "{\"metadata\":{\"name\":\"r\"},\"spec\":{\"target\":{\"apiGroup\":\"kubevirt.io\",\"kind\":\"VirtualMachine\",\"name\":\"$2\"},\"virtualMachineBackupName\":\"$1\",\"virtualMachineBackupNamespace\":\"default\"${3:-}}}"; }
check_equal "a backup without a target: 2" "$(status_of backup create plain)" 2
check "and the way to one is told" says 'vmkeep target create'
check_equal "a backup of an unknown machine: 3" "$(status_of backup create nope)" 3
for path in / /srv/../etc /srv//b /srv/b/ "/$(printf 'a%.0s' {1..5000})"; do
    check_equal "a target at ${path:0:20}: 2" "$(status_of target create "$path" bad)" 2
    check "and the field is named" says 'spec.directory.path'
done
check_equal "a target at a relative path: 422" "$(post vmkeep.io/v1alpha1/backuptargets '{"metadata":{"name":"bad"},"spec":{"directory":{"path":"srv/b"}}}')" 422
check_equal "a target with a key for no mode: 422" "$(post vmkeep.io/v1alpha1/backuptargets '{"metadata":{"name":"bad"},"spec":{"directory":{"path":"/srv/b"},"encryption":{"keyFile":"/k"}}}')" 422
check "and the field is named" says 'spec.encryption.keyFile'
check_equal "a target of an unknown type: 422" "$(post vmkeep.io/v1alpha1/backuptargets '{"metadata":{"name":"bad"},"spec":{"type":"tape","directory":{"path":"/srv/b"}}}')" 422
check_equal "there is no target" "$(v target list -o name | grep -c . || true)" 0
check_equal "a target that cannot be there is taken as a wish" "$(post vmkeep.io/v1alpha1/backuptargets '{"metadata":{"name":"default"},"spec":{"directory":{"path":"/nowhere/at/all"}}}')" 201
check_equal "a backup of an unknown type: 422" "$(post $harvester/virtualmachinebackups "$(backup_of plain b ',"type":"copy"')")" 422
check "and what is known is told" says 'supported values: .*backup.*snapshot'
check_equal "a backup that names no machine: 422" "$(post $harvester/virtualmachinebackups "$(backup_of '')")" 422
check "in Harvester's words" says 'spec.source.name: .*source VM name is empty'
check_equal "one that names one that is not there: 422" "$(post $harvester/virtualmachinebackups "$(backup_of nope)")" 422
check_equal "a deadline before now: 422" "$(post $harvester/virtualmachinebackups "$(backup_of plain b ',"fsFreezeDeadline":"-5s"')")" 422
check "in Harvester's words" says 'must not be negative'
check_equal "a status that somebody brings along is dropped" "$(post $harvester/virtualmachinebackups "$(backup_of plain forged '' ',"status":{"readyToUse":true}')")" 201
check_equal "so it cannot be restored: 422" "$(post $harvester/virtualmachinerestores "$(restore_of forged copy ',"newVM":true')")" 422
check "in Harvester's words" says 'VMBackup default/forged is not ready'
check_equal "it can be deleted, though its target is not there" "$(status_of backup delete forged --wait --timeout 240s)" 0
check_equal "a restore of an unknown backup: 422" "$(post $harvester/virtualmachinerestores "$(restore_of nope copy ',"newVM":true')")" 422
check "in Harvester's words" says "can't get vmbackup default/nope"
check_equal "a restore to a name that is none: 422" "$(post $harvester/virtualmachinerestores "$(restore_of nope 'No Name' ',"newVM":true')")" 422
check "in Harvester's words" says 'Target VM name is invalid, err: '
check_equal "a policy that is a slip: 422" "$(post $harvester/virtualmachinerestores "$(restore_of nope copy ',"deletionPolicy":"retian"')")" 422
check_equal "a target that is not there can be deleted" "$(status_of target delete default --wait --timeout 240s)" 0
check "nothing has changed" eval 'what_is | cmp - "$T/before"'

# ---- a machine without disks, and one without disks that can be kept ----
check_equal "a machine without disks can be snapshotted" "$(status_of snapshot create diskless d1 --wait --timeout 240s)" 0
check "vm show says why each disk is left out" eval "v vm show odd >'$T/out' && says '^vda .*no: ' && says '^vdb .*no: ' && says '^sda .*no: '"
check_equal "so can one whose disks are all left out" "$(status_of snapshot create odd o1 --wait --timeout 240s)" 0
check "and the reasons are kept" says '^Left out: +vda: .+'
check_equal "a disk that is to be left out but is not there is no error" "$(status_of snapshot create plain p0 --exclude vdz --wait --timeout 240s)" 0
check "but a warning" says 'Warning: .*"plain" has no disk "vdz"'
check_equal "and goes" "$(status_of snapshot delete p0 --wait --timeout 240s)" 0

# ---- a disk file that is missing ----
check_equal "a snapshot of a missing file is given up" "$(status_of snapshot create ghost g1 --deadline 3s --wait --timeout 240s)" 13
check "and what is missing is told" says 'failed: .*volume doesnt exist: ghost-vda: there is no file .*/ghost.qcow2'
check "nothing has changed" eval 'what_is | cmp - "$T/before"'

# ---- names ----
check_equal "each domain has a name that is a DNS label" \
    "$(v vm list -o name | grep -cvE '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$' || true)" 0
check_equal "and none is missing" "$(v vm list -o name | wc -l)" "$(virsh -q list --all --uuid | grep -c .)"
n=0
for vm in $(v vm list -o name | grep -vE '^(plain|diskless|ghost|odd)$'); do
    n=$((n + 1))
    domain_name=$(v vm show "$vm" -o json | python3 -c 'import json, sys; print(json.load(sys.stdin)["metadata"]["annotations"]["vmkeep.io/domain"])')
    check_equal "\"$domain_name\" is snapshotted" "$(status_of snapshot create "$vm" "n$n" --wait --timeout 240s)" 0
    check_equal "\"$domain_name\" is restored" "$(status_of restore create "n$n" --wait --timeout 240s)" 0
    check_equal "\"$domain_name\": its snapshot is deleted" "$(status_of snapshot delete "n$n" --wait --timeout 240s)" 0
done

# ---- two at once ----
(status_of snapshot create plain a1 --wait --timeout 240s >"$T/a1") &
(status_of snapshot create plain a2 --wait --timeout 240s >"$T/a2") &
wait
check_equal "two snapshots at once are made one after the other" "$(cat "$T/a1") $(cat "$T/a2")" "0 0"
kept() { # the files that the contents name
    curl -sS --unix-socket "$SOCKET" http://x/apis/snapshot.kubevirt.io/v1beta1/virtualmachinesnapshotcontents |
        python3 -c 'import json, sys
for c in json.load(sys.stdin)["items"]:
    for b in c["spec"]["volumeBackups"]:
        notes = b["persistentVolumeClaim"]["metadata"]["annotations"]
        if c["spec"]["source"]["virtualMachine"]["metadata"]["name"] == "plain":
            print(notes["vmkeep.io/path"])' | sort
}
now=$(virsh -q domblklist plain | sed -n 's/^ *vda  *//p')
check "their contents name the files that hold the data, not the one that is written now" \
    eval "kept | grep -qx '$T/img/plain.qcow2' && [ \$(kept | uniq | wc -l) = 2 ] && ! kept | grep -qxF '$now'"
check_equal "the same name again: 4" "$(status_of snapshot create plain a1)" 4
# A restore may be made before its snapshot; it waits, and holds its target.
restores=http://x/apis/snapshot.kubevirt.io/v1beta1/namespaces/default/virtualmachinerestores
curl -sS --fail --unix-socket "$SOCKET" -o /dev/null -H 'Content-Type: application/json' "$restores" -d '{"metadata":{"name":"early"},
    "spec":{"target":{"apiGroup":"kubevirt.io","kind":"VirtualMachine","name":"plain"},"virtualMachineSnapshotName":"to-come"}}'
check_equal "a second restore of the same machine meanwhile: 2" "$(status_of restore create a2 twice)" 2
check "and the first is named" says 'VirtualMachineRestore "early" in progress'
curl -sS --fail --unix-socket "$SOCKET" -o /dev/null -X DELETE "$restores/early"
wait_until 30 eval "! v restore show early"
v restore create a1 once >/dev/null 2>&1
wait_until 60 eval "v restore show once -o json | grep -q '\"complete\": true'"
check_equal "a second restore of the same name: 4" "$(status_of restore create a2 once)" 4
check_equal "a restore over a machine that is another: 4" "$(status_of restore create a1 --to diskless)" 4
restore_as() { echo "{\"metadata\":{\"name\":\"named\"},\"spec\":{\"target\":{\"apiGroup\":\"kubevirt.io\",\"kind\":\"VirtualMachine\",\"name\":\"copy\"},\"virtualMachineSnapshotName\":\"a1\",\"volumeRestoreOverrides\":[{\"volumeName\":\"vda\",$1}]}}"; }
check_equal "a claim with a name that is none: 422" "$(post ${restores#*apis/} "$(restore_as '"restoreName":"../x"')")" 422
check "and the field is named" says 'volumeRestoreOverrides\[0\].restoreName'
check_equal "or a label that is none: 422" "$(post ${restores#*apis/} "$(restore_as '"labels":{"a":"no label"}')")" 422
check_equal "a claim with the name of another machine's" "$(post ${restores#*apis/} "$(restore_as '"restoreName":"ghost-vda"')")" 201
wait_until 30 eval "v restore show named | grep -q '^Status: *Failed'"
check "fails, and says whose it is" eval "v restore show named >'$T/out' && says 'claim ghost-vda: that is a disk of the virtual machine ghost'"
check_fails "no machine is made of it" v vm show copy
content=$(v snapshot show a1 -o json | python3 -c 'import json, sys; print(json.load(sys.stdin)["status"]["virtualMachineSnapshotContentName"])')
curl -sS --fail --unix-socket "$SOCKET" -o /dev/null -X PATCH -H 'Content-Type: application/merge-patch+json' "http://x/apis/${snapshots%s}contents/$content" -d '{"metadata":{"finalizers":null}}'
check "a content gets its finalizer back when somebody takes it away" wait_until 30 eval \
    "curl -sS --unix-socket '$SOCKET' 'http://x/apis/${snapshots%s}contents/$content' | grep -q vmsnapshotcontent-protection"
check_equal "a restore to a name that is none: 2" "$(status_of restore create a1 --to 'No Name')" 2
check "and the field is named" says 'spec.target.name'
check_equal "snapshots are deleted in one command" "$(status_of snapshot delete a1 a2 --wait --timeout 240s)" 0

# ---- no space ----
mkdir "$T/small"
if mount -t tmpfs -o size=5M small "$T/small" 2>/dev/null; then
    cleanup_fn umount -l "$T/small"
    qemu-img create -q -f qcow2 "$T/small/disk.qcow2" 64M
    qemu-io -f qcow2 -c 'write -P 7 0 3M' "$T/small/disk.qcow2" >/dev/null
    domain small "$(disk vda "$T/small/disk.qcow2")"
    wait_until 30 v vm show small
    check_equal "a small place: a snapshot" "$(status_of snapshot create small few --wait --timeout 240s)" 0
    ls -R "$T/small" >"$T/small.before"
    check_equal "a copy that has no room is begun" "$(status_of restore create few big --to big)" 0
    check "and says what it waits for" wait_until 30 eval "v restore show big | grep -q 'MiB free, a full copy may need'"
    check_equal "it can be deleted" "$(status_of restore delete big --wait --timeout 240s)" 0
    check "nothing of it is left" eval 'ls -R "$T/small" | cmp - "$T/small.before"'
    check_fails "no machine is made of it" v vm show big
    check_equal "in place there is room" "$(status_of restore create few --wait --timeout 240s)" 0
    check_equal "the snapshot goes" "$(status_of snapshot delete few --wait --timeout 240s)" 0
    virsh -q undefine small
else
    note "no tmpfs can be mounted here: nothing about a restore without room"
fi
vmkeepd_stop
sed -i 's/^min_free = .*/min_free = 900T/' "$T/vmkeep.conf"
vmkeepd_start
what_is >"$T/before"
check_equal "a snapshot without space is given up" "$(status_of snapshot create plain full --deadline 3s --wait --timeout 240s)" 13
check "and says what is missing" says '[Ss]pace|free'
check "nothing has changed" eval 'what_is | cmp - "$T/before"'
