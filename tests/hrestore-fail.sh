#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=1200
# Harvester's restores when things go wrong: cancelled in the middle, vmkeepd
# killed, the target gone, no space, the repository away or damaged; and a host
# that never saw the VM. Every restored disk is compared with what qemu-img
# copied.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-hrestore.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard vmkeep-repo
requires_program python3 curl openssl mount
mkdir "$T/restored" "$T/small"
mount -t tmpfs -o size=64m none "$T/small" 2>/dev/null || skip_all "needs to mount a tmpfs"
cleanup_fn umount -l "$T/small"
libvirt_start
guest_define g1
guest_start g1
vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 5000" "trash_hours = 1" "target_roots = $T" "restore_dir = $T"
vmkeepd_start
kubectl_start
wait_until 30 field_is vm g1 .status.printableStatus Running
guest_exec g1 'echo one >/data/file; sync'
guest_wait_acked g1 10
seq=$(guest_acked g1)
snapshot s1 g1
check "a cut" snapshot_ready s1
guest_shutdown g1
repository_make
backup_import b1 g1 s1
# The same with 800 MiB more that no compression makes smaller.
big_data() { openssl enc -aes-128-ctr -nosalt -pass pass:x </dev/zero 2>/dev/null | head -c 800M || true; }
backup_change() { big_data >"$1" && truncate -s 900M "$1"; }
BACKUP_CHANGE=backup_change backup_import big g1 s1
target_make
check "the backups are there" eval "backup_ready b1 && backup_ready big"
k delete vmsnapshot s1 --timeout=60s >/dev/null

api() { curl -sS --max-time 30 --unix-socket "$SOCKET" "$@"; }
restores=/apis/harvesterhci.io/v1beta1/namespaces/default/virtualmachinerestores
get() { api "http://x$restores/$1"; }
is_writing() { get "$1" | tr -d ' \n' | grep -q '"phase":"Writing"'; }
wait_writing() { wait_until 60 is_writing "$1"; }
places=("$T/restored" "$T/small" "$T/g1")
new_files() { find "${places[@]}" -name '*vmkeep*' ! -name '*.trash*' | sort; }
no_new_files() { [ -z "$(new_files)" ] && [ -z "$(ls "$T/run/jobs" 2>/dev/null)" ]; }
here="annotation vmkeep.io/restore-dir $T/restored"

# ---- places ----
check_fails "a place that nobody has allowed is refused" eval "hrestore r0 g2 b1 'newVM: true' 'annotation vmkeep.io/restore-dir /etc' && hrestore_complete r0 10"
check "and why is said" wait_until 20 hcondition_has $R r0 InProgress "disks may not be restored to /etc"
check "it has failed" hrestore_failed r0
check "a failed restore can be deleted" remove $R r0

# ---- cancelled ----
hrestore r1 g2 big "newVM: true" "$here"
check "a restore writes" wait_writing r1
check "deleted in the middle it goes" remove $R r1
check "and leaves nothing" wait_until 20 no_new_files
check "no VM either" is_gone vm g2

# ---- killed ----
hrestore r2 g2 big "newVM: true" "haltAfterRestore: true" "$here"
check "a restore writes" wait_writing r2
vmkeepd_kill
check "it has made files" test -n "$(new_files)"
vmkeepd_start
check "after kill -9 it begins again and completes" hrestore_complete r2 180
check "byte for byte" is_copy g2 big
check_equal "no file is left of the first try" "$(new_files | wc -l)" 2
check "a definition that the VM has now is not foreign: it keeps its kernel" eval "virsh -q dumpxml g2 | grep -q '<kernel>'"
check "progress was in bytes" test "$(field $R r2 .status.vmkeep.totalBytes)" -gt 1000000000
k delete $R r2 >/dev/null
rm -f "$(guest_disk g2 vda)" "$(guest_disk g2 vdb)"
virsh -q undefine g2

# ---- the target goes ----
disk=$(guest_disk g1 vda)
cp --sparse=always "$disk" "$T/g1-before"
virsh -q dumpxml --inactive --security-info g1 >"$T/g1.xml"
hrestore r3 g1 big "deletionPolicy: delete" "haltAfterRestore: true"
check "a replace writes" wait_writing r3
check_fails "meanwhile the VM cannot be started" virsh -q start g1
virsh -q undefine g1
check "when the target vanishes it fails" wait_until 90 hrestore_failed r3
check "and leaves nothing" wait_until 30 no_new_files
check "the old disk is what it was" cmp "$disk" "$T/g1-before"
virsh -q define "$T/g1.xml"
check "the VM is back and free" wait_until 30 eval "field_is vm g1 .status.printableStatus Stopped && is_unlocked g1"
hrestore r4 g1 b1 "deletionPolicy: delete" "haltAfterRestore: true"
check "a failed restore blocks no other" hrestore_complete r4 120
check "byte for byte" is_copy g1 b1
check_fails "delete: the old disk is not in its place" test -e "$disk"
check "it is in the trash" eval "ls '$T/g1' | grep -q trash"
check "as it was" qemu-img compare -q "$(find "$T/g1" -name '*root*trash*' | head -n 1)" "$T/g1-before"
k delete $R r3 r4 >/dev/null
places=("$T/restored" "$T/small") # g1 has such disks from now on

# ---- no space ----
hrestore r5 g2 big "newVM: true" "haltAfterRestore: true" "annotation vmkeep.io/restore-dir $T/small"
check "too little space is seen before" wait_until 30 hcondition_has $R r5 InProgress "the restore needs"
check "nothing was made" no_new_files
check "it can be deleted" remove $R r5
mount -o remount,size=1500m "$T/small"
hrestore r6 g2 big "newVM: true" "haltAfterRestore: true" "annotation vmkeep.io/restore-dir $T/small"
check "with enough it writes" wait_writing r6
head -c 1400M /dev/zero >"$T/small/filler" 2>/dev/null || true
check "the space is taken meanwhile: it says so, or was faster" wait_until 60 eval \
    "hrestore_complete r6 0 || hcondition_has $R r6 InProgress 'pace'"
rm -f "$T/small/filler"
check "when there is space again it completes by itself" hrestore_complete r6 180
check "byte for byte" is_copy g2 big
k delete $R r6 >/dev/null
rm -f "$(guest_disk g2 vda)" "$(guest_disk g2 vdb)"
virsh -q undefine g2

# ---- a damaged repository ----
cp -a "$T/target" "$T/target.good"
pack=$(find "$T/target" -type f -size +1M -printf '%s %p\n' | sort -n | tail -n 1 | cut -d' ' -f2)
chmod u+w "$pack"
for at in 5 15 25 35 45; do printf 'damage' | dd of="$pack" bs=1 seek=$((at * 1000000)) conv=notrunc status=none; done
wait_until 20 is_gone vm g2
hrestore r7 g2 big "newVM: true" "$here"
check "damage ends a restore" wait_until 90 hrestore_failed r7
check "it leaves nothing" wait_until 20 no_new_files
check "no VM either" is_gone vm g2
rm -rf "$T/target"
mv "$T/target.good" "$T/target"
k delete $R r7 >/dev/null

# ---- another host ----
vmkeepd_stop
libvirt_end
one=$T uuid=$(sed -n "s|.*<uuid>\(.*\)</uuid>.*|\1|p" "$T/g1.xml")
T=$T/two
cleanup_fn eval "T=$one"
mkdir -p "$T/restored" "$T/copy"
ln "$one"/copy/b1-* "$T/copy/"
mv "$one/target" "$T/target"
cp "$one/repo.key" "$T/repo.key"
libvirt_start
vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 5000" "target_roots = $T" "restore_dir = $T/restored"
vmkeepd_start
kubectl_start
target_make
check "a host that never saw the VM shows its backups" backup_ready b1
hrestore r1 g1 b1 "newVM: true" "haltAfterRestore: true"
check "and restores it" hrestore_complete r1 120
check_equal "as itself" "$(guest_uuid g1)" "$uuid"
check "byte for byte" is_copy g1 b1
check "every record up to the cut is there" verify -q "$(guest_disk g1 vda)" "$(guest_disk g1 vdb)" "$seq"
check "what was dropped of the foreign definition is said" field_has $R r1 '.status.vmkeep.dropped[*]' kernel
# The test guest has no boot loader; an administrator gives it its kernel again.
virsh -q dumpxml --inactive g1 >"$T/g1.xml"
sed -n '/<kernel>/p; /<initrd>/p; /<cmdline>/p' "$one/g1.xml" >"$T/boot"
sed -i "/<type arch/r $T/boot" "$T/g1.xml"
mkdir -p "$one/g1"
virsh -q define "$T/g1.xml"
check "it boots" guest_start g1
check_equal "with the file of the backup" "$(guest_exec g1 'cat /data/file')" one
hrestore r2 g3 b1 "newVM: true" "haltAfterRestore: true"
check "a second one is another machine" hrestore_complete r2 120
check "with another UUID" test "$(guest_uuid g3)" != "$uuid"
check "byte for byte" is_copy g3 b1
