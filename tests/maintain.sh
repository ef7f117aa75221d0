#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=180
# What keeps a repository in order: forget, hold, undelete, check and stats of
# the tool; retention, holds and the scrub of the daemon, on a machine that is
# not running.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-guest.sh"
. "$tests_dir/lib-backup.sh"
. "$tests_dir/lib-hrestore.sh"
requires_build vmkeepd vmkeep vmkeep-repo
requires_program qemu-img qemu-nbd

# ---- the tool ----
export VMKEEP_KEY_FILE=$T/repo.key
r=$T/r
repo_tool init "$r" >/dev/null
head -c 3000000 /dev/urandom >"$T/a.img"
import() { repo_tool import -q --uid vm "$r" "$T/a.img"; }
ids() { repo_tool list --json "$@" "$r" | sed -nE 's/.*"id":"([^"]*)".*/\1/p'; }
first=$(import)
second=$(import)
third=$(import)
check "a backup is put on hold" repo_tool hold "$r" "$first" "the auditors"
check_fails "it cannot be deleted" repo_tool delete "$r" "$first"
check_equal "a dry run says what would go" "$(repo_tool forget --keep-last 1 --dry-run "$r" | grep -c '^delete')" 1
check_equal "and deletes nothing" "$(ids | wc -l)" 3
check_fails "a policy that keeps nothing is refused" repo_tool forget "$r"
check "forget" repo_tool forget -q --keep-last 1 "$r"
check_equal "keeps the newest and the one on hold" "$(ids)" "$first
$third"
check_equal "the other can be taken back" "$(ids --deleted)" "$second"
check "it is" repo_tool undelete "$r" "$second"
check_equal "and is where it was" "$(ids | sed -n 2p)" "$second"
check "released" repo_tool release "$r" "$first"
check "the first can be deleted" repo_tool delete "$r" "$first"
check "the check of a healthy repository" repo_tool check -q "$r"
pack=$(find "$r/p" -type f -size +1M | head -n 1)
chmod u+w "$pack"
cp "$pack" "$T/pack"
damage() { for at in "$@"; do printf 'damage' | dd of="$pack" bs=1 seek="$at" conv=notrunc status=none; done; }
damage 1350000 1450000
check "the check of one with a little damage" eval 'repo_tool check -q "$r" >"$T/check.log" 2>&1'
check "repairs it and says so" grep -q "repaired: p/.*made again from its parity" "$T/check.log"
check "to what it was" cmp "$T/pack" "$pack"
# In one chunk, but in more parts of the pack than parity repairs.
damage 1350000 1400000 1450000
check_fails "the check of a damaged one" repo_tool check -q "$r"
repo_tool check -q "$r" >"$T/check.log" 2>&1 || true
check "names the backups" grep -q "affected: backup $third" "$T/check.log"
# Which chunk lies there depends on which was ready first.
check "and their bytes" grep -qE "lost: backup $third: disk a.img: bytes [0-9]+ to [0-9]+" "$T/check.log"
check_fails "which cannot be read" repo_tool export -q -f "$r" "$third" "$T/out.img"
fourth=$(import)
check "the next backup is whole again" repo_tool export -q -f "$r" "$fourth" "$T/out.img"
repo_tool check -q "$r" >/dev/null || true
check "and heals the older ones" repo_tool export -q -f "$r" "$third" "$T/out.img"
check "byte for byte" cmp "$T/a.img" "$T/out.img"
check_equal "the numbers say so" "$(repo_tool stats --json "$r" | sed -nE 's/.*"badFrames":([0-9]+),"badFramesWithCopy":([0-9]+).*/\1 \2/p')" "1 1"

# ---- the daemon: a stopped machine with a disk of 8 MiB ----
requires_libvirt
libvirt_start
mkdir -p "$T/g1" "$T/targets/a"
head -c 2000000 /dev/urandom >"$T/g1/raw"
truncate -s 8M "$T/g1/raw"
qemu-img convert -f raw -O qcow2 "$T/g1/raw" "$T/g1/root.qcow2"
virsh -q define /dev/stdin <<XML
<domain type='qemu'><name>g1</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
<source file='$T/g1/root.qcow2'/><target dev='vda' bus='virtio'/></disk>
<graphics type='vnc' autoport='yes' passwd='hunter42'/></devices></domain>
XML
mkdir -p "$T/restored"
vmkeepd_configure "min_free = 64M" "target_roots = $T/targets" "restore_dir = $T/restored"
vmkeepd_start
kubectl_start
check_fails "a retention that keeps nothing is refused" target bad "$T/targets/a" 'retention: {keepLast: 0}'
check_fails "so is a time that is none" target bad "$T/targets/a" 'retention: {keepWithin: soon}'
target default "$T/targets/a" 'retention: {keepLast: 2}' 'verifyWrites: true' 'maintenance: {scrubBytesPerSecond: 0, gcGrace: "0"}'
check "a target with a policy" wait_until 30 target_ready_is default "True Ready"
wait_until 30 exists vm g1
for n in 1 2; do
    backup "b$n" g1
    check "backup $n" backup_ready "b$n"
done
key=$(field backuptarget default .status.keyFile)
id=$(field virtualmachinebackups.harvesterhci.io b2 .status.vmkeep.backupID)
check_equal "its passwords are kept" "$(field virtualmachinebackups.harvesterhci.io b2 .status.vmkeep.secretsRedacted)" false
check "apart" repo_tool export -q -k "$key" -d domain:secrets --metadata "$T/meta" "$T/targets/a" "$id" "$T/sealed"
check "where only disks are" grep -q hunter42 "$T/sealed"
check_fails "and not in what every host can read" grep -q hunter42 "$T/meta"
k annotate virtualmachinebackups.harvesterhci.io b1 vmkeep.io/hold="the auditors" >/dev/null
held_as() { repo_tool list -k "$key" --json "$T/targets/a" | grep -q "\"hold\":\"$2\".*\"id\":\"$1\""; }
b1=$(field virtualmachinebackups.harvesterhci.io b1 .status.vmkeep.backupID)
check "the hold is in the repository" wait_until 30 held_as "$b1" "the auditors"
check_fails "where no other program deletes it" repo_tool delete -k "$key" "$T/targets/a" "$b1"
check "or forgets it" eval "repo_tool forget -k '$key' --keep-last 1 --dry-run '$T/targets/a' | grep -q '^keep .*$b1'"
has_condition() { [ "$(k get virtualmachinebackups.harvesterhci.io "$1" -o "jsonpath={range .status.conditions[?(@.type=='$2')]}{.status}{end}")" = "$3" ]; }
check "its object says so" wait_until 10 has_condition b1 Held True
check_fails "a backup on hold is not deleted by hand" k delete virtualmachinebackups.harvesterhci.io b1 --timeout=10s
for n in 3 4; do
    backup "b$n" g1
    check "backup $n" backup_ready "b$n"
done
backups_are() { [ "$(k get virtualmachinebackups.harvesterhci.io -o name | sed 's|.*/||' | sort | tr '\n' ' ')" = "$1" ]; }
check "the last two stay, and the one on hold" wait_until 60 backups_are "b1 b3 b4 "
check "the target tells" wait_until 20 field_is backuptarget default .status.maintenance.retention.lastDeleted default/b2
has_event() { k get events -A >"$T/events" && grep -q "$1" "$T/events"; }
check "by an event too" wait_until 10 has_event BackupExpired
check "its data is deleted too" wait_until 30 eval "[ \$(repo_tool list -k '$key' --json '$T/targets/a' | wc -l) = 3 ]"
k annotate virtualmachinebackups.harvesterhci.io b1 vmkeep.io/hold- >/dev/null
check "released it goes" wait_until 60 backups_are "b3 b4 "
b4=$(field virtualmachinebackups.harvesterhci.io b4 .status.vmkeep.backupID)
check "a hold of the tool" repo_tool hold -k "$key" "$T/targets/a" "$b4" lawsuit
k annotate virtualmachinebackups.harvesterhci.io b4 vmkeep.io/hold=audit >/dev/null
check "an annotation adds nothing to it" wait_until 30 has_condition b4 Held True
k annotate virtualmachinebackups.harvesterhci.io b4 vmkeep.io/hold- >/dev/null
check "and when it goes" wait_until 30 has_condition b4 Held ""
check "the tool's stays" held_as "$b4" lawsuit
repo_tool release -k "$key" "$T/targets/a" "$b4" >/dev/null
b3=$(field virtualmachinebackups.harvesterhci.io b3 .status.vmkeep.backupID)
k annotate virtualmachinebackups.harvesterhci.io b3 vmkeep.io/hold=audit >/dev/null
check "one on hold" wait_until 30 held_as "$b3" audit
k annotate virtualmachinebackups.harvesterhci.io b3 vmkeep.io/hold- >/dev/null
check "that is deleted as soon as its annotation is gone" k delete virtualmachinebackups.harvesterhci.io b3 --timeout=30s
check "leaves no data behind" wait_until 30 eval "! repo_tool list -k '$key' --json '$T/targets/a' | grep -q '\"id\":\"$b3\"'"

# ---- the scrub ----
scrub() { k annotate --overwrite backuptarget default "vmkeep.io/scrub=$1" >/dev/null && wait_until 60 field_is backuptarget default .status.maintenance.scrub.lastRequest "$1"; }
healthy() { k get backuptarget default -o "jsonpath={range .status.conditions[?(@.type=='Healthy')]}{.status}{end}"; }
check "a scrub that is asked for" scrub one
check_equal "finds all well" "$(healthy)" True
# The largest: what only deleted backups had in theirs, nobody would miss.
pack=$(find "$T/targets/a/p" -type f -printf '%s %p\n' | sort -rn | sed -n '1s/^[0-9]* //p')
mv "$pack" "$T/away"
check "without a pack" scrub two
check_equal "it finds the damage" "$(healthy)" False
check "the events name the backups" wait_until 10 has_event BackupDamaged
backup b5 g1
check "the next backup" backup_ready b5
rm -f "$T/out.img"
check "is whole: what was lost is stored again" backup_export b5 vda "$T/out.img"
check "byte for byte" same_image "$T/g1/root.qcow2" qcow2 "$T/out.img"
check "the next scrub" scrub three
check_equal "has healed the others" "$(healthy)" True

# ---- garbage ----
gc() { k annotate --overwrite backuptarget default "vmkeep.io/gc=$1" >/dev/null && wait_until 60 field_is backuptarget default .status.maintenance.gc.lastRequest "$1"; }
deleted() { repo_tool list -k "$key" --deleted --json "$T/targets/a" | wc -l; }
check "deleted backups can be taken back" test "$(deleted)" -ge 2
check "a collection that is asked for" gc one
check_equal "ends well" "$(field backuptarget default .status.maintenance.gc.message)" ""
check_equal "and what was deleted is gone for good" "$(deleted)" 0
repo_tool gc -k "$key" --grace 0 --json "$T/targets/a" >"$T/gc.json"
check_fails "its packs were condemned and can be removed" grep -q '"removedPacks": 0,' "$T/gc.json"
rm -f "$T/out.img"
check "what is left is whole" backup_export b5 vda "$T/out.img"
check "byte for byte" same_image "$T/g1/root.qcow2" qcow2 "$T/out.img"

# ---- with its passwords ----
virsh -q undefine g1
rm -f "$T/g1/root.qcow2"
check "the VM is gone" wait_until 60 eval "is_gone vm g1 || field_is vm g1 .status.printableStatus Undefined"
hrestore r1 g1 b5 "newVM: true" "haltAfterRestore: true"
check "it is restored" hrestore_complete r1 120
check "with its password" eval 'virsh dumpxml --security-info g1 | grep -q "passwd=.hunter42"'
