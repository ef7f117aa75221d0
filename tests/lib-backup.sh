# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# tests/lib-backup.sh: backup targets and backups as the tests make and read
# them. Source it after lib-objects.sh.

# target NAME PATH [SPEC-LINE...]: create a BackupTarget.
target() {
    local name=$1 path=$2 line
    shift 2
    {
        printf 'apiVersion: vmkeep.io/v1alpha1\nkind: BackupTarget\nmetadata: {name: %s}\nspec:\n' "$name"
        printf '  directory: {path: %s}\n' "$path"
        for line; do printf '  %s\n' "$line"; done
    } | k create -f - >/dev/null
}
# target_default: $T/targets/a is the target "default", and ready.
target_default() {
    mkdir -p "$T/targets/a"
    target default "$T/targets/a"
    check "a target" wait_until 20 target_ready_is default "True Ready"
}
target_ready() { object_condition backuptarget "$1" Ready reason 2>/dev/null | tr -d :; }
target_ready_is() { [ "$(target_ready "$1")" = "$2" ]; }
target_poke() { k annotate --overwrite backuptarget "$1" "vmkeep.io/test=$RANDOM" >/dev/null; }

# backup NAME VM [TYPE [ANNOTATION VALUE]]: create a VirtualMachineBackup, as
# Harvester's documentation writes it.
backup() {
    {
        printf 'apiVersion: harvesterhci.io/v1beta1\nkind: VirtualMachineBackup\nmetadata:\n  name: %s\n  namespace: default\n' "$1"
        [ -z "${4:-}" ] || printf '  annotations: {%s: "%s"}\n' "$4" "$5"
        printf 'spec:\n  source: {apiGroup: kubevirt.io, kind: VirtualMachine, name: %s}\n  type: %s\n' "$2" "${3:-backup}"
    } | k create -f - >/dev/null
}
backup_field() { object_field virtualmachinebackups.harvesterhci.io "$1" "$2" 2>/dev/null; }
backup_is() { [ "$(backup_field "$1" "$2")" = "$3" ]; }
backup_ready() { wait_until "${2:-90}" backup_is "$1" .status.readyToUse true; }
backup_failed() { wait_until "${2:-90}" backup_is "$1" .status.vmkeep.phase Failed; }
# backup_clean NAME: ready, and nothing is left of its cut.
backup_clean() { wait_until 60 backup_is "$1" .status.vmkeep.cut ''; }
# backup_method NAME VOLUME
backup_method() { backup_field "$1" ".status.vmkeep.tracking[?(@.volume==\"$2\")].method"; }
backup_condition() { object_condition virtualmachinebackups.harvesterhci.io "$1" "$2" message 2>/dev/null; }
remove_backup() { k delete virtualmachinebackups.harvesterhci.io "$1" --timeout=240s >/dev/null; }

repo_tool() { "$(program vmkeep-repo)" "$@"; }
# backup_export NAME DISK FILE: from the repository of target "default".
backup_export() {
    rm -f "$3"
    repo_tool export --quiet --key-file "$(field backuptarget default .status.keyFile)" --disk "$2" \
        "$(field backuptarget default .spec.directory.path)" "$(backup_field "$1" .status.vmkeep.backupID)" "$3"
}
# same_image IMAGE FORMAT RAW-FILE: the same bytes?
same_image() { qemu-img compare -U -f "$2" -F raw "$1" "$3" >/dev/null; }

# reads_can_wait: before vmkeepd_start: while $T/hold is there, nothing is read
# (a qemu-nbd that waits). Sets PATH for vmkeepd.
reads_can_wait() {
    mkdir -p "$T/bin"
    printf '#!/bin/sh\nwhile [ -e "%s" ]; do sleep 0.05; done\nexec "%s" "$@"\n' "$T/hold" "$(command -v qemu-nbd)" >"$T/bin/qemu-nbd"
    chmod +x "$T/bin/qemu-nbd"
    slow_path=$T/bin:$PATH
}
# layer_of_cut VM UID TARGET: the file that the cut sealed, or the copy it made.
layer_of_cut() {
    awk -v c="$2" -v d="$3" '$1 == "layer" {path[$2] = $11} $1 == "ref" && $2 == "cut" && $3 == c && $4 == d {print path[$5]}' \
        "$T/state/layers/$(guest_uuid "$1")" 2>/dev/null
}
# copy_cut BACKUP VM: wait for the cut, and copy what it sealed to
# $T/cut/TARGET.raw before anything is read. By the layers' table: that the VM
# names another file than before may also be an earlier cut's merge.
copy_cut() {
    local uid disk file
    mkdir -p "$T/cut"
    rm -f "$T"/cut/*
    wait_until 60 backup_is "$1" .status.vmkeep.phase Reading || { echo "there is no cut: $(backup_field "$1" .status)"; return 1; }
    uid=$(backup_field "$1" .metadata.uid)
    for disk in vda vdb; do
        file=$(layer_of_cut "$2" "$uid" $disk)
        qemu-img convert -U -f "${file##*.}" -O raw "$file" "$T/cut/$disk.raw" || return 1
    done
}
# layers_merged VM: no layer of it waits to be merged or removed.
layers_merged() {
    awk '$1 == "layer" && $5 == "sealed" {owed[$2]} $1 == "ref" {delete owed[$5]} $1 == "job" {owed[0]} END {exit length(owed) > 0}' \
        "$T/state/layers/$(guest_uuid "$1")"
}
