#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: timeout=120
# vmkeep target, backup and restore of backups, against the API server over a
# store of its own: what the controllers would write to a status, this test
# writes.
. "$(dirname "$0")/lib.sh"
requires_build api-server vmkeep
requires_program curl jq script

start_process api "$(program api-server)" "$T/state" "$T/sock" 127.0.0.1:0 "$tests_dir/cli-seed.json"
wait_until 10 grep -q ^port "$T/api.log" || { echo "api-server does not serve" >&2; exit 1; }
export VMKEEP_SOCKET=$T/sock
v() { "$(program vmkeep)" "$@"; }
status_of() { local status=0; v "$@" >"$T/out" 2>&1 || status=$?; echo $status; }
says() { grep -qE -- "$1" "$T/out" || { cat "$T/out"; return 1; }; }

harvester=http://x/apis/harvesterhci.io/v1beta1/namespaces/default
targets=http://x/apis/vmkeep.io/v1alpha1/backuptargets
# put URL JSON: a status, as a controller would write it.
put() {
    curl -sS --fail --unix-socket "$T/sock" -X PATCH -H 'Content-Type: application/merge-patch+json' "$1/status" -d "{\"status\":$2}" -o "$T/patched"
}
ready='[{"type":"Ready","status":"True"}]'

# ---- targets ----
check_equal "a backup without a target is refused" "$(status_of backup create db)" 2
check "and the way to one is told" says 'vmkeep target create'
check "target list says so too" eval "v target list 2>&1 | grep -q 'There is no backup target'"
(
    wait_until 10 v target show default
    put $targets/default '{"conditions":[{"type":"Ready","status":"False","message":"the directory is not there"}]}'
    sleep 0.3
    put $targets/default "{\"conditions\":$ready,\"repositoryUUID\":\"r1\",\"encrypted\":true,\"keyFile\":\"/k\",\"backups\":0,\"freeBytes\":3221225472,\"capacityBytes\":4294967296}"
) &
check_equal "target create --wait ends when it is ready" "$(status_of target create /srv/b --wait)" 0
wait $!
check "it says what was in the way" says 'the directory is not there'
check "it shows the room" says '^Free: +3\.0 GiB of 4\.0 GiB'
check "it asks to keep a copy of the key" says 'Keep a copy of the key elsewhere'
check_equal "the same name again exits with 4" "$(status_of target create /srv/c)" 4
check_equal "a path with .. exits with 2" "$(status_of target create /srv/../etc x)" 2
check "and names the field" says 'spec.directory.path'
check_equal "two ways to encrypt exit with 2" "$(status_of target create /srv/d x --no-encryption --key-file /k)" 2
v target create sub/dir rel --passphrase-file pass >"$T/out"
check_equal "paths of the shell become absolute" \
    "$(v target show rel -o json | jq -r '.spec.directory.path + " " + .spec.encryption.mode + " " + .spec.encryption.passphraseFile')" \
    "$PWD/sub/dir Passphrase $PWD/pass"
check "target list shows each" eval "v target list | grep -qE '^default +/srv/b +True +0 +3.0 GiB of 4.0 GiB +yes'"
check "one without an answer is Unknown" eval "v target list | grep -qE '^rel .*Unknown'"

# answer_test NAME STATUS [MESSAGE]: what the controller makes of vmkeep.io/test.
answer_test() {
    local asked
    wait_until 10 eval "v target show $1 -o json | jq -e '.metadata.annotations[\"vmkeep.io/test\"]'"
    asked=$(v target show "$1" -o json | jq -r '.metadata.annotations["vmkeep.io/test"]')
    put "$targets/$1" "{\"lastTest\":\"$asked\",\"lastTestTime\":\"$asked\",\"conditions\":[{\"type\":\"Ready\",\"status\":\"$2\",\"message\":\"${3:-}\"}]}"
}
answer_test default True &
check_equal "target test waits for the answer" "$(status_of target test default)" 0
wait $!
answer_test rel False "not mounted?" &
check_equal "a target that is not ready exits with 13" "$(status_of target test rel)" 13
wait $!
check "and says why" says 'is not ready: not mounted\?'
check_equal "a test of no target exits with 3" "$(status_of target test nope)" 3
check_equal "target delete" "$(status_of target delete rel --wait)" 0
check "says that the data stay" says 'What is stored there stays'

# ---- backups ----
reading() {
    put $harvester/virtualmachinebackups/"$1" "{\"progress\":$2,\"vmkeep\":{\"phase\":\"Reading\",\"target\":\"default\",\"totalBytes\":1073741824,\"doneBytes\":$((1073741824 * $2 / 100)),\"bytesPerSecond\":268435456,\"secondsLeft\":2}}"
}
uid=$(v vm show db -o json | jq -r .metadata.uid)
done_backup() {
    put $harvester/virtualmachinebackups/"$1" "{\"readyToUse\":true,\"sourceUID\":\"$uid\",\"creationTime\":\"2026-08-01T10:00:07Z\",\"conditions\":$ready,\"progress\":100,
        \"volumeBackups\":[{\"volumeName\":\"vda\",\"volumeSize\":1073741824,\"progress\":100}],
        \"vmkeep\":{\"phase\":\"Ready\",\"target\":\"default\",\"repositoryUUID\":\"r1\",\"cutTime\":\"2026-08-01T10:00:01Z\",\"quiesced\":true,\"frozenMilliseconds\":64,
            \"parentBackupID\":\"p1\",\"dirtyBytes\":2097152,\"readBytes\":2359296,\"storedBytes\":524288,\"milliseconds\":1500,
            \"tracking\":[{\"volume\":\"vda\",\"method\":\"Rescan\",\"reason\":\"the bitmap was lost\",\"readBytes\":2359296}]}}"
}
(
    wait_until 10 v backup show b1
    reading b1 25; sleep 0.3; reading b1 75; sleep 0.3
    done_backup b1
) &
check_equal "backup create --wait ends when it is complete" \
    "$(status_of backup create db b1 --wait --quiesce required --exclude vdb --description 'a test')" 0
wait $!
check "it tells how far it is" says 's  Reading  75 %  768 MiB of 1\.0 GiB  256 MiB/s  2s left'
check "it shows how long the guest was frozen" says '^Frozen for: +64 ms'
check "no value touches its label" says '^Compared with: p1'
check "it shows what was changed, read and stored" eval "says '^Changed: +2\.0 MiB' && says '^Read: +2\.2 MiB' && says '^Stored: +512 KiB'"
check "it shows how each disk was read, and why" says '^vda +1\.0 GiB +100 % +Rescan .*the bitmap was lost'
v backup show b1 -o json >"$T/b1"
check_equal "the options became the object" "$(jq -c '[.spec, (.metadata.annotations | del(.["vmkeep.io/verify"]))]' "$T/b1")" \
    '[{"source":{"apiGroup":"kubevirt.io","kind":"VirtualMachine","name":"db"},"type":"backup"},{"description":"a test","vmkeep.io/exclude-volumes":"vdb","vmkeep.io/quiesce":"required"}]'
check "backup list" eval "v backup list db | grep -qE '^b1 +db +Ready +[0-9]+d +1\.0 GiB +512 KiB +Rescan +default'"
check "backup list takes a machine" eval "! v backup list web-1 2>/dev/null | grep -q '^b1'"
check "vm list shows the last backup" eval "v vm list | grep -qE '^db +Stopped +vda,vdb +0 +never +1 +[0-9]+d'"
check "vm show too" eval "v vm show db | grep -qE '^Backups: +1, the newest .*: b1'"
(
    wait_until 10 v backup show b2
    put $harvester/virtualmachinebackups/b2 '{"readyToUse":false,"error":{"message":"the target is full"},"vmkeep":{"phase":"Failed"}}'
) &
check_equal "a backup that fails exits with 13" "$(status_of backup create db b2 --wait)" 13
wait $!
check "and says why" says 'failed: the target is full'
check "on a terminal there is a bar" eval '
    (wait_until 10 v backup show b3; reading b3 50; sleep 0.4; done_backup b3) &
    COLUMNS=100 script -qec "$(program vmkeep) backup create db b3 --wait" /dev/null >"$T/out" 2>&1; grep -q "Reading  \[#####*-----*\] 50 %" "$T/out"'
check "-o name is one word" eval "
    (wait_until 10 v backup show b4; done_backup b4) &
    [ \"\$(v backup create db b4 --wait -o name)\" = b4 ]"
check_equal "a backup of no machine exits with 3" "$(status_of backup create nope)" 3
check_equal "to no target exits with 2" "$(status_of backup create db b9 --target usb)" 2
check "and names it" says 'backup target "usb" is not set'
check_equal "a bad way to freeze exits with 2" "$(status_of backup create db b9 --quiesce maybe)" 2
check "backup delete --wait ends" v backup delete b2 b3 b4 --wait
answer_verify() {
    local asked
    wait_until 10 eval "v backup show b1 -o json | jq -e '.metadata.annotations[\"vmkeep.io/verify\"] != \"${2:-}\"'"
    asked=$(v backup show b1 -o json | jq -r '.metadata.annotations["vmkeep.io/verify"]')
    put $harvester/virtualmachinebackups/b1 "{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"},{\"type\":\"Verified\",\"status\":\"$1\",\"message\":\"pack p1 is damaged\"}],\"vmkeep\":{\"lastVerify\":\"$asked\"}}"
}
(wait_until 10 eval "v backup show b1 -o json | jq -e '.metadata.annotations[\"vmkeep.io/verify\"]'"; answer_verify True) &
check_equal "backup verify waits for the answer" "$(status_of backup verify b1)" 0
wait $!
check "and says it" says 'backup "b1" is whole'
old=$(v backup show b1 -o json | jq -r '.metadata.annotations["vmkeep.io/verify"]')
sleep 1
answer_verify False "$old" &
check_equal "one that is damaged exits with 9" "$(status_of backup verify b1)" 9
wait $!
check "and says what is damaged" says 'is damaged: pack p1 is damaged'

# ---- restores ----
end_restore() { # NAME JSON
    wait_until 10 v restore show "$1"
    put $harvester/virtualmachinerestores/"$1" "$2"
}
(
    wait_until 10 v restore show dry
    put $harvester/virtualmachinerestores/dry '{"complete":true,"vmkeep":{"phase":"Complete","dryRun":true,"preflight":["vda: 1.0 GiB fit into /srv","network default is there"]}}'
) &
check_equal "restore create --dry-run ends" "$(status_of restore create b1 dry --dry-run)" 0
wait $!
check "and says what was found" eval "says '^vda: 1.0 GiB fit into /srv' && says 'Nothing was touched'"
check_equal "and leaves nothing" "$(status_of restore show dry)" 3
end_restore dry2 '{"complete":false,"conditions":[{"type":"InProgress","status":"False","reason":"Error","message":"no space in /srv"}],"vmkeep":{"preflight":["vda: no"]}}' &
check_equal "a dry run that finds an obstacle exits with 13" "$(status_of restore create b1 dry2 --dry-run)" 13
wait $!
check "and says it" says 'would fail: no space in /srv'
(
    wait_until 10 v restore show r1
    put $harvester/virtualmachinerestores/r1 '{"complete":false,"conditions":[{"type":"InProgress","status":"True","message":"Creating new PVCs"}],"vmkeep":{"phase":"Writing","totalBytes":1048576,"doneBytes":524288}}'
    sleep 0.3
    put $harvester/virtualmachinerestores/r1 '{"complete":true,"restoreTime":"2026-08-01T10:05:11Z","vmkeep":{"phase":"Complete","trash":["/img/db.qcow2"]},
        "restores":[{"volumeName":"vda","volumeSize":1073741824,"persistentVolumeClaimSpec":{"metadata":{"name":"restore-vda"}}}]}'
) &
check_equal "restore create --wait of a backup ends when it is complete" "$(status_of restore create b1 r1 --retain --halted --wait)" 0
wait $!
check "it tells how far it is" says 's  Writing  50 %  512 KiB of 1\.0 MiB'
check "it shows the disks and the old ones" eval "says '^Disks: +vda as restore-vda, 1.0 GiB' && says '^Old disks: +/img/db.qcow2'"
check_equal "what is there is replaced" "$(v restore show r1 -o json | jq -c .spec)" \
    "$(jq -nc '{deletionPolicy:"retain",haltAfterRestore:true,newVM:false,target:{apiGroup:"kubevirt.io",kind:"VirtualMachine",name:"db"},virtualMachineBackupName:"b1",virtualMachineBackupNamespace:"default"}')"
check_equal "--to makes a new one" "$(v restore create b1 r2 --to db-2 >"$T/out" && v restore show r2 -o json | jq -c '[.spec.newVM, .spec.target.name, .spec.deletionPolicy]')" '[true,"db-2",null]'
check_equal "another machine is not replaced by mistake" "$(status_of restore create b1 r3 --to web-1)" 4
check "and the option for it is named" says '--replace'
check_equal "nor one that runs" "$(status_of restore create b1 r3 --to web-1 --replace)" 5
check "and what to do is said" says 'vmkeep vm stop web-1'
check_equal "--replace wants something to replace" "$(status_of restore create b1 r3 --to nobody --replace)" 3
check_equal "keep-mac beside the living exits with 2" "$(status_of restore create b1 r3 --to db-3 --keep-mac)" 2
check "and names the field" says 'spec.keepMacAddress'
check_equal "options of snapshots are refused" "$(status_of restore create b1 r3 --policy InPlace)" 2
check_equal "and those of backups for snapshots" "$(status_of restore create old r3 --dry-run)" 2
check_equal "a restore of nothing exits with 3" "$(status_of restore create nope r3)" 3
v backup create web-1 young >/dev/null
check_equal "nothing is stopped or replaced for a backup that is not ready: 5" "$(status_of restore create young r3 --stop)" 5
check "but where to look is said" says 'is not ready: vmkeep backup show young'
check_equal "a backup that is being read is not deleted: 5" "$(status_of backup delete b1)" 5
check "and the restore is named" says 'vmrestore default/r2 is in progress'
check "restore list shows both kinds and says which" eval "v restore list >'$T/out' && says '^r1 +backup/b1 +db +Complete' && says '^r-old +snapshot/'"
check "restore list -o json has both" eval "v restore list -o json | jq -e '[.items[].apiVersion] | unique | length == 2'"
check "restore delete takes both kinds" v restore delete r1 backup/r2 snapshot/r-old --wait
check_equal "then none is there" "$(v restore list -o name 2>/dev/null | grep -c . || true)" 0
