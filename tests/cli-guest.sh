#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=400
# vmkeep on a real guest, from the first look to the last: snapshot, accident,
# restore in place, a copy beside it, delete, release.
. "$(dirname "$0")/lib.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard
libvirt_start
guest_define web-1
guest_start web-1
guest_exec web-1 'echo precious >/data/file; sync'
vmkeepd_configure "min_free = 64M"
vmkeepd_start
v() { "$(program vmkeep)" "$@"; }
run() { v "$@" >"$T/out" 2>&1; }
says() { grep -qE -- "$1" "$T/out"; }
check "the virtual machine is there" wait_until 30 v vm show web-1
check "vm list shows it running and without a snapshot" eval "v vm list | grep -qE '^web-1 +Running +vda,vdb +0 +never'"
check "vm show knows its guest agent" eval "v vm show web-1 | grep -q 'connected: snapshots are consistent'"

check "snapshot create --wait" run snapshot create web-1 s1 --wait --timeout 60s
note "$(cat "$T/out")"
check "it holds both disks" says '^Disks: +vda, vdb'
check "the guest agent froze the file systems" says '^Indications: +GuestAgent, Online'
check "it says for how many milliseconds" says '^Frozen for: +[0-9]+ ms'
check "vm list counts it" eval "v vm list | grep -qE '^web-1 +Running +vda,vdb +1 '"

guest_exec web-1 'rm /data/file; echo bad >/data/other; sync'
check_fails "a restore of a running machine is refused" run restore create s1 --wait
check "and says what to do" says 'vmkeep vm stop web-1'
check "restore create --stop --start" run restore create s1 --stop --start --timeout 120s
note "$(cat "$T/out")"
check "it is complete" says '^Status: +Complete'
check "the guest runs again" guest_wait_agent web-1
check_equal "the file is back" "$(guest_exec web-1 'cat /data/file')" precious
check_fails "what came after the snapshot is not" guest_exec web-1 'test -e /data/other'
check "snapshot show tells of the restore" eval "v snapshot show s1 | grep -q '^Restored:'"

check "restore create --to makes a copy beside it" run restore create s1 --to web-2 --wait --timeout 180s
note "$(cat "$T/out")"
check "the copy is there, and off" eval "wait_until 20 v vm show web-2 && v vm list | grep -qE '^web-2 +Stopped'"
check "vm stop --wait" run vm stop web-1 --wait --timeout 120s
note "$(cat "$T/out")"
check "libvirt says so too" guest_is web-1 "shut off"
check "vm start --wait" run vm start web-1 --wait
check "libvirt says so too" guest_is web-1 running

# Every object that vmkeep writes is known to its schema, down to the last
# field: a client that writes it back strictly is not refused.
knows() { # path of an object
    local url=http://x$1 code
    curl -sS --unix-socket "$SOCKET" "$url" -o "$T/object"
    for part in "" /status; do
        code=$(curl -sS --unix-socket "$SOCKET" -X PUT -H 'Content-Type: application/json' --data-binary "@$T/object" \
            "$url$part?dryRun=All&fieldValidation=Strict" -o "$T/answer" -w '%{http_code}')
        [ "$code" = 200 ] || { echo "$1$part: $code"; cat "$T/answer"; return 1; }
    done
}
content=$(v snapshot show s1 -o json | python3 -c 'import json, sys; print(json.load(sys.stdin)["status"]["virtualMachineSnapshotContentName"])')
restore=$(v restore list -o name | head -n 1)
for path in kubevirt.io/v1/namespaces/default/virtualmachines/web-1 kubevirt.io/v1/namespaces/default/virtualmachines/web-2 \
    kubevirt.io/v1/namespaces/default/virtualmachineinstances/web-1 snapshot.kubevirt.io/v1beta1/namespaces/default/virtualmachinesnapshots/s1 \
    "snapshot.kubevirt.io/v1beta1/namespaces/default/virtualmachinesnapshotcontents/$content" \
    "snapshot.kubevirt.io/v1beta1/namespaces/default/virtualmachinerestores/$restore"; do
    check "its schema knows all of ${path##*default/}" knows "/apis/$path"
done
check "its schema knows all of persistentvolumeclaims/web-1-vda" knows /api/v1/namespaces/default/persistentvolumeclaims/web-1-vda

check_fails "a machine with snapshots cannot be released" run vm release web-1 --timeout 30s
note "$(cat "$T/out")"
# Whoever asks the API itself is refused too.
actions=http://x/apis/vmkeep.io/v1alpha1/namespaces/default/virtualmachineactions
act() { curl -sS --max-time 10 --unix-socket "$SOCKET" -H 'Content-Type: application/json' "$@"; }
act -X POST $actions -d '{"apiVersion":"vmkeep.io/v1alpha1","kind":"VirtualMachineAction","metadata":{"name":"release-api"},
    "spec":{"virtualMachineName":"web-1","action":"release"}}' >/dev/null
check "nor through the API" wait_until 20 eval "act $actions/release-api | grep -q '\"phase\": *\"Failed\"'"
check "which says why" eval "act $actions/release-api | grep -q 'the VM has 1 snapshot; delete it first'"
check "snapshot delete --wait" run snapshot delete s1 --wait --timeout 120s
check "snapshot list is empty" eval "[ -z \"\$(v snapshot list -o name)\" ]"
check "vm release leaves nothing of vmkeep" run vm release web-1 --timeout 60s
note "$(cat "$T/out")"
check "no file of vmkeep is left beside its disks" eval "! ls $T/web-1/*.vmkeep-* 2>/dev/null"
