# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# tests/lib-hrestore.sh: backups in a repository, and Harvester's restores.
# Source it after lib.sh and lib-objects.sh.
#
# Backups are made by `vmkeep repo import`, of copies that qemu-img took of the
# layers of a snapshot: what a restore must give back is known from elsewhere
# than from vmkeepd.

R=virtualmachinerestores.harvesterhci.io
B=virtualmachinebackups.harvesterhci.io

# layer_of VM SNAPSHOT TARGET: the file that holds it now.
layer_of() {
    local uid table id
    uid=$(field vmsnapshot "$2" .metadata.uid)
    table=$T/state/layers/$(guest_uuid "$1")
    id=$(awk -v o="$uid" -v t="$3" '$1 == "ref" && $3 == o && $4 == t {print $5}' "$table")
    awk -v i="$id" '$1 == "layer" && $2 == i {print $11}' "$table"
}

# repository_make: $T/target with a key; before target_make.
repository_make() {
    mkdir -p "$T/target"
    "$(program vmkeep-repo)" init -q -k "$T/repo.key" "$T/target" >/dev/null
}
# target_make: the BackupTarget "default" for it.
target_make() {
    cat >"$T/object.yaml" <<YAML
apiVersion: vmkeep.io/v1alpha1
kind: BackupTarget
metadata: {name: default}
spec:
  type: directory
  directory: {path: $T/target}
  encryption: {mode: KeyFile, keyFile: $T/repo.key}
YAML
    k create -f "$T/object.yaml" >/dev/null
}
target_look() { k annotate backuptarget default --overwrite "vmkeep.io/test=$RANDOM$RANDOM" >/dev/null; }

# backup_import NAME VM SNAPSHOT [NAMESPACE]: the disks of the snapshot as a
# backup; the copies stay: $T/copy/NAME-vda. BACKUP_CHANGE: what to do first with
# the copy of vdb. BACKUP_FIRMWARE: a directory with nvram and tpm/.
backup_import() {
    local name=$1 vm=$2 snapshot=$3 ns=${4:-default} target uid disks=() files=() file n=0
    uid=$(cat /proc/sys/kernel/random/uuid)
    mkdir -p "$T/copy"
    for target in vda vdb; do
        qemu-img convert -U -O raw "$(layer_of "$vm" "$snapshot" $target)" "$T/copy/$name-$target"
        [ $target != vdb ] || ${BACKUP_CHANGE:-:} "$T/copy/$name-$target"
        disks+=("$target:${BACKUP_FORMAT:-qcow2}:$(stat -c %s "$T/copy/$name-$target")")
    done
    mkdir -p "$T/copy/$name.d"
    if [ -n "${BACKUP_FIRMWARE:-}" ]; then
        while read -r file; do
            if [ "$file" = nvram ]; then target=nvram; else target=tpm:$((n++)); fi
            disks+=("$target=$file=$(stat -c %s "$BACKUP_FIRMWARE/$file")")
            cp "$BACKUP_FIRMWARE/$file" "$T/copy/$name.d/$target"
            files+=("$T/copy/$name.d/$target")
        done < <(cd "$BACKUP_FIRMWARE" && find . -type f ! -name '.*' -printf '%P\n')
    fi
    k get vm "$vm" -o json >"$T/copy/$name.json"
    virsh -q dumpxml --inactive --security-info "$vm" >"$T/copy/$name.xml"
    python3 "$tests_dir/backup-meta.py" "$T/copy/$name.json" "$T/copy/$name.xml" "$ns" "$name" "$uid" "${disks[@]}" >"$T/copy/$name.meta"
    # The name of a disk in the repository is the name of its file.
    for target in vda vdb; do ln -f "$T/copy/$name-$target" "$T/copy/$name.d/$target"; files+=("$T/copy/$name.d/$target"); done
    "$(program vmkeep-repo)" import -q -k "$T/repo.key" --parent none --uid "$uid" --metadata "$T/copy/$name.meta" "$T/target" "${files[@]}" >/dev/null
}
backup_ready() { wait_until "${2:-60}" field_is "$B" "$1" .status.readyToUse true; }

# hrestore NAME TARGET BACKUP [SPEC-LINE...]: create a VirtualMachineRestore. A
# line "annotation KEY VALUE" adds an annotation, "namespace NS" is the
# restore's, "from NS" the backup's.
hrestore() {
    local name=$1 vm=$2 from=$3 line notes='' ns=default from_ns=default key value
    shift 3
    {
        printf 'apiVersion: harvesterhci.io/v1beta1\nkind: VirtualMachineRestore\nspec:\n'
        printf '  target: {apiGroup: kubevirt.io, kind: VirtualMachine, name: %s}\n' "$vm"
        printf '  virtualMachineBackupName: %s\n' "$from"
        for line; do
            case $line in
            annotation\ *)
                read -r _ key value <<<"$line"
                notes+="    $key: \"$value\""$'\n'
                ;;
            namespace\ *) ns=${line#* } ;;
            from\ *) from_ns=${line#* } ;;
            *) printf '  %s\n' "$line" ;;
            esac
        done
        printf '  virtualMachineBackupNamespace: %s\n' "$from_ns"
        printf 'metadata:\n  name: %s\n  namespace: %s\n' "$name" "$ns"
        [ -z "$notes" ] || printf '  annotations:\n%s' "$notes"
    } >"$T/object.yaml"
    k create -f "$T/object.yaml" >/dev/null
}
hrestore_complete() { wait_until "${2:-90}" field_is "$R" "$1" .status.complete true; }
# hcondition KIND NAME TYPE: "True: the message"
hcondition() { object_condition "$1" "$2" "$3" message 2>/dev/null; }
hcondition_has() { [[ $(hcondition "$1" "$2" "$3") == *"$4"* ]]; }
hrestore_failed() { field_is "$R" "$1" '.status.conditions[?(@.type=="InProgress")].reason' Error; }

# is_copy VM BACKUP: are its disks, byte for byte, what qemu-img copied?
is_copy() {
    local target
    for target in vda vdb; do
        qemu-img compare -U -q -F raw "$(guest_disk "$1" $target)" "$T/copy/$2-$target" || return 1
    done
}
