#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=120
# BackupTargets: what is made in a directory, what is never taken for one.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-backup.sh"
requires_build vmkeepd vmkeep vmkeep-repo
roots=$T/roots
mkdir -p "$roots/empty" "$roots/used" "$T/elsewhere"
echo hello >"$roots/used/letter"
vmkeepd_configure "target_roots = $T/state/targets $roots"
vmkeepd_start
kubectl_start

check "a target in an empty directory" target default "$roots/empty"
check "becomes ready" wait_until 20 target_ready_is default "True Ready"
uuid=$(field backuptarget default .status.repositoryUUID)
check "a repository is there" test -f "$roots/empty/repo.cfg"
check_equal "it is encrypted" "$(field backuptarget default .status.encrypted)" true
key=$(field backuptarget default .status.keyFile)
check_equal "with a key of its own" "$key" "$T/state/keys/$uuid.key"
check_equal "which only root can read" "$(stat -c %a "$key")" 600
check "that opens it" repo_tool list "$roots/empty" --key-file "$key"
check "an event says to keep it" wait_until 10 eval "k get events -A | grep -q KeepTheKey"
check "it has room" test "$(field backuptarget default .status.freeBytes)" -gt 0

check "a directory with other files" target used "$roots/used"
check "is refused" wait_until 20 target_ready_is used "False NotEmpty"
check_equal "and left as it is" "$(ls "$roots/used")" letter
check "a path beneath no root" target outside "$T/elsewhere"
check "is refused" wait_until 20 target_ready_is outside "False Forbidden"
check_equal "and left as it is" "$(ls -A "$T/elsewhere")" ""
ln -s "$T/elsewhere" "$roots/link"
check "a link" target link "$roots/link"
check "is not followed" wait_until 20 target_ready_is link "False Invalid"
check_equal "nothing was written there" "$(ls -A "$T/elsewhere")" ""
check "a directory that is not there" target missing "$roots/nothing/here"
check "is said to be missing" wait_until 20 target_ready_is missing "False NoDirectory"
check "in vmkeepd's own root it is made" target own "$T/state/targets/a"
check "and ready" wait_until 20 target_ready_is own "True Ready"

# ---- not mounted? ----
mv "$roots/empty" "$roots/away"
target_poke default
check "a directory that went away" wait_until 20 target_ready_is default "False NotMounted"
mkdir "$roots/empty"
target_poke default
sleep 1
check "an empty one in its place is not taken for it" wait_until 20 target_ready_is default "False NotMounted"
check_equal "and stays empty" "$(ls -A "$roots/empty")" ""
check_equal "its repository is remembered" "$(field backuptarget default .status.repositoryUUID)" "$uuid"
cp -a "$T/state/targets/a/." "$roots/empty/"
target_poke default
check "nor is another repository" wait_until 20 target_ready_is default "False OtherRepository"
rm -rf "$roots/empty"
mv "$roots/away" "$roots/empty"
check "back again it is ready" wait_until 30 target_ready_is default "True Ready"
check_equal "the same one" "$(field backuptarget default .status.repositoryUUID)" "$uuid"

# ---- deleted and made again; restarts ----
check "a target is deleted" remove backuptarget default
check "its directory stays" test -f "$roots/empty/repo.cfg"
check "made again" target default "$roots/empty"
check "it takes up its repository" wait_until 20 target_ready_is default "True Ready"
check_equal "the same one" "$(field backuptarget default .status.repositoryUUID)" "$uuid"
vmkeepd_kill
vmkeepd_start
target_poke default
check "after a crash it is ready" wait_until 20 eval "[ -n \"\$(field backuptarget default .status.lastTest)\" ]"
check_equal "as before" "$(target_ready default)" "True Ready"

# ---- keys ----
mv "$key" "$T/key"
vmkeepd_stop
vmkeepd_start
check "without its key a repository is not ready" wait_until 20 target_ready_is default "False Forbidden"
mv "$T/key" "$key"
check "with it, it is" wait_until 30 target_ready_is default "True Ready"
check "no encryption on request" target plain "$T/state/targets/plain" "encryption: {mode: None}"
check "is ready" wait_until 20 target_ready_is plain "True Ready"
check_equal "and not encrypted" "$(field backuptarget plain .status.encrypted)" false
echo secret words >"$T/passphrase"
check "a passphrase" target pass "$T/state/targets/pass" "encryption: {mode: Passphrase, passphraseFile: $T/passphrase}"
check "is ready" wait_until 30 target_ready_is pass "True Ready"
check "the passphrase opens it" repo_tool list "$T/state/targets/pass" --passphrase-file "$T/passphrase"

# ---- a target whose name changes keeps its backups ----
uid=$(cat /proc/sys/kernel/random/uuid)
echo '{"metadata":{"name":"v","namespace":"default","uid":"3f1c7a52-0f3e-4f64-9e0b-0d8f3a1b2c3d"},"spec":{"template":{"spec":{}}}}' >"$T/v.json"
echo "<domain type='kvm'><name>v</name></domain>" >"$T/v.xml"
head -c 65536 /dev/urandom >"$T/vda"
# made NAME UID: a backup, made by nobody here.
made() {
    python3 "$tests_dir/backup-meta.py" "$T/v.json" "$T/v.xml" default "$1" "$2" vda:raw:65536 >"$T/v.meta"
    repo_tool import -q --parent none --uid "$2" --metadata "$T/v.meta" "$T/state/targets/plain" "$T/vda" >/dev/null
}
made found "$uid"
k annotate backuptarget plain vmkeep.io/test=1 >/dev/null
backup=virtualmachinebackups.harvesterhci.io
check "a backup that is there is found" wait_until 30 field_is $backup found .status.readyToUse true
check "its target is deleted" remove backuptarget plain
check "then it is not ready" wait_until 30 field_is $backup found .status.readyToUse false
check "the directory is a target again, by another name" target again "$T/state/targets/plain"
check "the backup is ready again" wait_until 30 field_is $backup found .status.readyToUse true
check_equal "and that target's" "$(field $backup found .status.vmkeep.target)" again

# ---- yesterday's copy is put in its place ----
cp -a "$T/state/targets/plain" "$T/yesterday"
made today "$(cat /proc/sys/kernel/random/uuid)"
target_poke again
check "another backup is found" wait_until 30 field_is $backup today .status.readyToUse true
rm -rf "$T"/state/targets/plain/*
cp -a "$T/yesterday/." "$T/state/targets/plain/"
target_poke again
check "a repository that went back is told" wait_until 30 eval "k get events -A | grep -q RepositoryWentBack"
check "what it lacks is not ready" wait_until 30 field_is $backup today .status.readyToUse false
check "and why" eval "backup_condition today Ready | grep -q 'not on its target any more'"
check "what it has is" field_is $backup found .status.readyToUse true
check "the target is ready" target_ready_is again "True Ready"
made later "$(cat /proc/sys/kernel/random/uuid)"
target_poke again
check "it goes on from there" wait_until 30 field_is $backup later .status.readyToUse true
check "undamaged" repo_tool verify -q "$T/state/targets/plain"
