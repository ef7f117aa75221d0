#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: timeout=120
# vmkeep against the API server over a store of its own: no libvirt, no
# controllers; what they would write to a status, this test writes.
. "$(dirname "$0")/lib.sh"
requires_build api-server vmkeep
requires_program curl

start_process api "$(program api-server)" "$T/state" "$T/sock" 127.0.0.1:0 "$tests_dir/cli-seed.json"
wait_until 10 grep -q ^port "$T/api.log" || { echo "api-server does not serve" >&2; exit 1; }
export VMKEEP_SOCKET=$T/sock
v() { "$(program vmkeep)" "$@"; }
status_of() { local status=0; v "$@" >"$T/out" 2>&1 || status=$?; echo $status; }
says() { grep -qE -- "$1" "$T/out"; }

group=http://x/apis/snapshot.kubevirt.io/v1beta1/namespaces/default
# set_status RESOURCE NAME JSON: as a controller would.
set_status() {
    curl -sS --fail --unix-socket "$T/sock" -X PATCH -H 'Content-Type: application/merge-patch+json' \
        "$group/$1/$2/status" -d "{\"status\":$3}" -o "$T/patched"
}

# ---- looking ----
v vm list >"$T/out" 2>"$T/err"
check "vm list shows state, disks and snapshots" grep -qE '^web-1 +Running +vda +1 +[0-9]+d +0 +never' "$T/out"
check "vm list marks a machine without a usable snapshot" grep -qE '^db +Stopped +vda,vdb +0 +never +0 +never' "$T/out"
check "vm list counts those without protection" grep -q '^1 of 2 has neither a snapshot nor a backup' "$T/err"
check "a list that may be old says so" grep -q '^Warning: host host-a: no connection to libvirt' "$T/err"
check "there is no colour in a pipe" eval "! grep -q $'\\033' '$T/out'"
check_equal "-o name prints bare names" "$(v vm list -o name | tr '\n' ' ')" "db web-1 "
check "-A has a column for the namespace" eval "v vm list -A | grep -qE '^default +db'"
check "vm show says why a disk is left out" eval "v vm show web-1 | grep -q 'no: a CD-ROM'"
check "-o json is JSON" eval "v vm show web-1 -o json | python3 -m json.tool"
check "-o yaml quotes time stamps" eval "v snapshot show old -o yaml | grep -qE 'creationTime: \"2026-08-01T10:00:07Z\"'"
check "snapshot show tells how long the guest was frozen" eval "v snapshot show old | grep -qE '^Frozen for: +71 ms'"
check "what is proposed names the namespace that was given" eval "v snapshot show old -n default 2>&1 | grep -q 'restore create -n default old --wait'"
check "snapshot list takes a machine" eval "! v snapshot list db | grep -q '^old'"
check "restore list says why one failed" eval "v restore list | grep -qE '^r-old .*Failed .*powered off'"

# ---- snapshots ----
(
    wait_until 10 v snapshot show s1 -o json
    set_status virtualmachinesnapshots s1 '{"phase":"InProgress","conditions":[{"type":"Progressing","status":"True","reason":"Source locked and operation in progress"}]}'
    sleep 0.3
    set_status virtualmachinesnapshots s1 '{"phase":"Succeeded","readyToUse":true,"creationTime":"2026-08-01T10:00:07Z","indications":["GuestAgent","Online"],
        "snapshotVolumes":{"includedVolumes":["vda"]},"vmkeep":{"frozenMilliseconds":64}}'
) &
check_equal "snapshot create --wait ends when it is ready" \
    "$(status_of snapshot create web-1 s1 --wait --deadline 1m --exclude vdb --exclude vdc --retain --description 'a test')" 0
wait $!
check "it shows progress" says 's  Source locked and operation in progress'
check "it shows how long the guest was frozen" says '^Frozen for: +64 ms'
check "it shows the indications" says '^Indications: +GuestAgent, Online'
v snapshot show s1 -o json >"$T/s1"
check "the options became the object" python3 - "$T/s1" <<'END'
import json, sys
s = json.load(open(sys.argv[1]))
assert s["spec"] == {"source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "web-1"},
                     "failureDeadline": "1m", "deletionPolicy": "Retain"}, s["spec"]
assert s["metadata"]["annotations"] == {"vmkeep.io/exclude-volumes": "vdb,vdc", "description": "a test"}
END
(
    wait_until 10 v snapshot show s2 -o json
    set_status virtualmachinesnapshots s2 '{"phase":"Failed","readyToUse":false,"error":{"message":"the guest agent did not answer"}}'
) &
check_equal "a snapshot that fails exits with 13" "$(status_of snapshot create web-1 s2 --wait --description $'\033]0;x\007')" 13
wait $!
check "and says why" says 'failed: the guest agent did not answer'
v snapshot show s2 >>"$T/out" 2>&1
check "what others wrote commands no terminal" eval "says '^Description: +.]0;x' && ! grep -q $'[\033\007]' '$T/out'"
check_equal "--timeout ends the waiting with 11" "$(status_of snapshot create web-1 s3 --wait --timeout 500ms)" 11
check_equal "a snapshot of no machine exits with 3" "$(status_of snapshot create nope)" 3
check "and says where to look" says 'vmkeep vm list'
check_equal "the same name twice exits with 4" "$(status_of snapshot create web-1 s1)" 4
check_equal "a bad deadline exits with 2" "$(status_of snapshot create web-1 s4 --deadline soon)" 2
check "and names the field" says 'spec.failureDeadline'
check_equal "so does one that is over already" "$(status_of snapshot create web-1 s4 --deadline -5s)" 2
check_equal "a bad name exits with 2" "$(status_of snapshot create web-1 Not_A_Name)" 2
check "a name is made up where none is given" eval "v snapshot create db | grep -qE '\"db-snapshot-[0-9]{8}-[0-9]{6}\"'"
for name in "" . ..; do
    check_equal "snapshot delete of \"$name\" is an error" "$(status_of snapshot delete "$name" | sed s/2/3/)" 3
    check_equal "so is snapshot show" "$(status_of snapshot show "$name" | sed s/2/3/)" 3
done
check_equal "so is a delete whose URL lacks the name" "$(curl -sS --unix-socket "$T/sock" -o "$T/out" -w '%{http_code}' -X DELETE "$group/virtualmachinesnapshots/")" 400
check_equal "and of a restore" "$(status_of restore delete snapshot/)" 2
check_equal "all are there still" "$(v snapshot list -o name | grep -cE '^(s1|s2|s3|old|broken)$')" 5
check_equal "a text that is no UTF-8 is refused and not left out" "$(status_of kubeconfig --user $'\xff')" 2
check "and named" says '"\?" is no UTF-8'
check_equal "a closed standard output is an error, too" "$(status=0; v snapshot list >&- 2>"$T/err" || status=$?; echo $status)" 1
check_equal "what could not be written is an error" "$(status=0; v snapshot list >/dev/full 2>"$T/err" || status=$?; echo $status)" 8
check "and says so" grep -q '^vmkeep: standard output' "$T/err"
check_equal "what is wrong with one name is told" "$(status_of snapshot delete nope s3 nope2 --wait)" 3
check "for each" eval 'says "\"nope\" not found" && says "\"nope2\" not found"'
check "and the others are done all the same" says 'snapshot "s3" deleted'
check_equal "-o is obeyed where there is nothing to show, too" "$(v snapshot delete s2 --wait -o name)" s2
check "version -o json is JSON" eval "v version -o json | python3 -c 'import json, sys; assert json.load(sys.stdin)[\"vmkeepd\"]'"
check_equal "then it is not there" "$(status_of snapshot show s2)" 3

# The server is killed while somebody waits, and comes back.
v snapshot create web-1 s5 --wait --timeout 60s >"$T/out" 2>&1 &
waiting=$!
wait_until 10 v snapshot show s5
stop_process api KILL
sleep 0.7
start_process api "$(program api-server)" "$T/state" "$T/sock" 127.0.0.1:0
wait_until 20 v snapshot show s5
set_status virtualmachinesnapshots s5 '{"phase":"Succeeded","readyToUse":true,"creationTime":"2026-08-01T10:00:07Z"}'
wait $waiting && waited=yes || waited=no
check_equal "a wait outlives a restart of the server" $waited yes
check "and shows the snapshot" says '^Status: +Succeeded'

# ---- restores ----
uid=$(v vm show web-1 -o json | python3 -c 'import json, sys; print(json.load(sys.stdin)["metadata"]["uid"])')
set_status virtualmachinesnapshots old "{\"sourceUID\":\"$uid\",\"virtualMachineSnapshotContentName\":\"c-old\"}"
check_equal "a restore over a running machine is refused" "$(status_of restore create old)" 5
check "and says what to do" says 'vmkeep vm stop web-1'
check_equal "a restore from a failed snapshot is refused" "$(status_of restore create broken)" 2
check_equal "a restore over another machine is refused" "$(status_of restore create old --to db)" 4
(
    wait_until 10 v restore show r1 -o json
    set_status virtualmachinerestores r1 '{"complete":false,"conditions":[{"type":"Progressing","status":"True","reason":"Creating new PVCs"}]}'
    sleep 0.3
    set_status virtualmachinerestores r1 '{"complete":true,"restoreTime":"2026-08-01T10:05:11Z","restores":[{"volumeName":"vda","persistentVolumeClaim":"copy-vda","volumeSnapshotName":"x"}]}'
) &
check_equal "restore create --to asks for what it needs first" "$(status_of restore create old r0 --to copy)" 2
check "and says what is missing" says 'VirtualMachineSnapshotContent c-old does not exist'
check_equal "restore create --stop --wait ends when it is complete" \
    "$(status_of restore create old r1 --stop --wait)" 0
wait $!
check "it shows progress" says 's  Creating new PVCs'
check "it shows the disks" says '^Disks: +vda as copy-vda'
v restore show r1 -o json >"$T/r1"
check "it restores in place unless told otherwise" python3 - "$T/r1" <<'END'
import json, sys
s = json.load(open(sys.argv[1]))["spec"]
assert s["volumeRestorePolicy"] == "InPlace" and s["targetReadinessPolicy"] == "StopTarget", s
assert s["target"]["name"] == "web-1" and s["virtualMachineSnapshotName"] == "old", s
END
check_equal "a patch that reaches too far exits with 2" \
    "$(status_of restore create old --stop --patch '{"op":"remove","path":"/spec/template/spec/volumes"}')" 2
check "and says what can be patched" says 'cannot be patched'

# ---- over HTTPS ----
v kubeconfig >"$T/kubeconfig"
check "kubeconfig prints YAML" grep -q '^current-context: vmkeep' "$T/kubeconfig"
check "with it, vmkeep speaks HTTPS" eval "v --kubeconfig '$T/kubeconfig' vm list | grep -q ^web-1"
sed 's/token: .*/token: wrong/' "$T/kubeconfig" >"$T/wrong"
check_equal "a wrong token exits with 6" "$(status_of --kubeconfig "$T/wrong" vm list)" 6
check "and the way to a new one is told" says 'vmkeep kubeconfig'
sed '/certificate-authority-data/d' "$T/kubeconfig" >"$T/noca"
check_equal "a server of an unknown authority exits with 6" "$(status_of --kubeconfig "$T/noca" vm list)" 6
check "version tells the server's" eval "v version | grep -qE '^vmkeepd [0-9]'"

# ---- machines ----
check_equal "a machine with snapshots is not released" "$(status_of vm release web-1)" 5
check "and the way there is told" says 'vmkeep snapshot list web-1 -o name'
check_equal "a machine cannot be deleted through the API" "$(curl -sS --unix-socket "$T/sock" -o "$T/out" -w '%{http_code}' -X DELETE "http://x/apis/kubevirt.io/v1/namespaces/default/virtualmachines/web-1")" 403
check "and the answer names the command for it" says "virsh undefine 'Web 1'"
check_equal "nor created" "$(curl -sS --unix-socket "$T/sock" -o "$T/out" -w '%{http_code}' -H 'Content-Type: application/json' "http://x/apis/kubevirt.io/v1/namespaces/default/virtualmachines" -d '{"apiVersion":"kubevirt.io/v1","kind":"VirtualMachine","metadata":{"name":"x"}}')" 405
check "and the answer says how" says "virsh define"
