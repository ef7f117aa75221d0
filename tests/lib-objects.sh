# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# tests/lib-objects.sh: snapshots and restores as the tests make and read them.
# Source it after lib.sh.

# snapshot NAME VM [SPEC-LINE...]: create a VirtualMachineSnapshot. A line
# "annotation KEY VALUE" adds an annotation.
snapshot() {
    local name=$1 vm=$2 line notes=''
    shift 2
    {
        printf 'apiVersion: snapshot.kubevirt.io/v1beta1\nkind: VirtualMachineSnapshot\nspec:\n'
        printf '  source: {apiGroup: kubevirt.io, kind: VirtualMachine, name: %s}\n' "$vm"
        for line; do
            if [[ $line == "annotation "* ]]; then
                read -r _ key value <<<"$line"
                notes+="    $key: \"$value\""$'\n'
            else
                printf '  %s\n' "$line"
            fi
        done
        printf 'metadata:\n  name: %s\n' "$name"
        [ -z "$notes" ] || printf '  annotations:\n%s' "$notes"
    } >"$T/object.yaml"
    k create -f "$T/object.yaml" >/dev/null
}

# restore NAME VM SNAPSHOT [SPEC-LINE...]
restore() {
    local name=$1 vm=$2 from=$3 line
    shift 3
    {
        printf 'apiVersion: snapshot.kubevirt.io/v1beta1\nkind: VirtualMachineRestore\nmetadata: {name: %s}\nspec:\n' "$name"
        printf '  target: {apiGroup: kubevirt.io, kind: VirtualMachine, name: %s}\n' "$vm"
        printf '  virtualMachineSnapshotName: %s\n' "$from"
        for line; do printf '  %s\n' "$line"; done
    } >"$T/object.yaml"
    k create -f "$T/object.yaml" >/dev/null
}

# field KIND NAME PATH: a member, "" when absent. PATH: ".status.phase"
field() { object_field "$@" 2>/dev/null; }
field_is() { [ "$(field "$1" "$2" "$3")" = "$4" ]; }
field_has() { [[ $(field "$1" "$2" "$3") == *"$4"* ]]; }
# condition KIND NAME TYPE: "True: the reason"
condition() { object_condition "$1" "$2" "$3" reason 2>/dev/null; }
condition_is() { [ "$(condition "$1" "$2" "$3")" = "$4" ]; }
exists() {
    if objects_url "$1" >/dev/null; then object "$1" "$2"; else k get "$1" "$2"; fi >/dev/null 2>&1
}
is_gone() { ! exists "$1" "$2"; }
indications() { field vmsnapshot "$1" '.status.sourceIndications[*].indication'; }

# snapshot_ready NAME [SECONDS]
snapshot_ready() { wait_until "${2:-60}" field_is vmsnapshot "$1" .status.readyToUse true; }
restore_complete() { wait_until "${2:-90}" field_is vmrestore "$1" .status.complete true; }
# remove KIND NAME: delete it and wait for its end.
remove() { k delete "$1" "$2" --timeout=240s >/dev/null && wait_until 30 is_gone "$1" "$2"; }

# is_unlocked VM: no snapshot or restore holds it.
is_unlocked() {
    field_is vm "$1" .status.snapshotInProgress '' && field_is vm "$1" .status.restoreInProgress ''
}
# overlays DIR: vmkeep's files beside disks, trash included.
overlays() { find "$1" -name '*.vmkeep-*' | sort; }
has_no_overlays() { [ -z "$(overlays "$1")" ]; }
journal_is_empty() { [ -z "$(ls -A "$T/state/frozen" 2>/dev/null)" ]; }
# agent_away VM SECONDS: its guest has no agent for so long.
agent_away() {
    guest_exec "$1" "(sleep 0.3; kill \$(cat /run/qga.pid); sleep $2
        qemu-ga -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0 -t /run -l /run/qga.log -F/etc/qemu/fsfreeze-hook &
        echo \$! >/run/qga.pid) >/dev/null 2>&1 &"
    wait_until 10 eval "! guest_ping $1"
    wait_until 10 eval "virsh -q dumpxml $1 | grep -q \"org.qemu.guest_agent.0' state='disconnected'\""
}
