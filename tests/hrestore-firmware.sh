#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=400
# UEFI variables and a software TPM come back from a repository: in place, to a
# VM that was lost, and, where it is asked for, to another one.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
. "$tests_dir/lib-hrestore.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard vmkeep-repo
requires_program swtpm swtpm_setup swtpm_ioctl python3
code=/usr/share/OVMF/OVMF_CODE_4M.fd vars=/usr/share/OVMF/OVMF_VARS_4M.fd
requires test -r $code -a -r $vars
requires getent passwd tss
LIBVIRT_SWTPM_USER=tss libvirt_start

nvram() { echo "$T/lv/lib/qemu/nvram/$1"; }
nvram_of() { nvram "$(basename "$(virsh -q dumpxml --inactive "$1" | sed -n 's/.*<nvram[^>]*>\(.*\)<.*/\1/p')")"; }
tpm() { echo "$T/lv/lib/swtpm/$(guest_uuid "$1")"; }
sum() { sha256sum <"$1" | cut -c1-64; }
GUEST_OS="<loader readonly='yes' type='pflash'>$code</loader><nvram template='$vars'>/var/lib/libvirt/qemu/nvram/g1_VARS.fd</nvram>" \
    GUEST_EXTRA="<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>" guest_define g1
virsh -q start g1
check "UEFI comes up with a TPM" wait_until 60 grep -aq "Shell>" "$T/g1/console.log"
mkdir "$T/restored"
VMKEEPD_INSIDE=1
vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 5000" "trash_hours = 1" "target_roots = $T" "restore_dir = $T/restored"
export VMKEEP_EFFECT_LOG=$T/effects
vmkeepd_start
kubectl_start
check "the VM is there" wait_until 30 field_is vm g1 .status.printableStatus Running
snapshot s1 g1
check "a cut" snapshot_ready s1
virsh -q destroy g1
repository_make
BACKUP_FIRMWARE=$T/state/nvram/$(field vmsnapshot s1 .metadata.uid) backup_import b1 g1 s1
target_make
check "the backup is there" backup_ready b1
k delete vmsnapshot s1 --timeout=60s >/dev/null
nvram_1=$(sum "$T/copy/b1.d/nvram")
tpm_1=$(sum "$(find "$T"/copy/b1.d -name 'tpm:*' -size +1k | head -n 1)")
printf 'changed' | dd of="$(nvram g1_VARS.fd)" bs=1 seek=540000 conv=notrunc status=none
(cd "$(tpm g1)/tpm2" && in_namespace setpriv --reuid tss --regid tss --clear-groups \
    swtpm_setup --tpm2 --tpm-state "/var/lib/libvirt/swtpm/$(guest_uuid g1)/tpm2" --createek --overwrite >/dev/null)
check "the test changed both" test "$(sum "$(nvram g1_VARS.fd)")" != "$nvram_1" -a "$(sum "$(tpm g1)/tpm2/tpm2-00.permall")" != "$tpm_1"

hrestore r1 g1 b1 "haltAfterRestore: true"
check "a replace completes" hrestore_complete r1
check_equal "the variables are the backup's" "$(sum "$(nvram_of g1)")" "$nvram_1"
check_equal "the TPM is the backup's" "$(sum "$(tpm g1)/tpm2/tpm2-00.permall")" "$tpm_1"
check "the VM starts" virsh -q start g1
check "and boots" wait_until 60 grep -aq "Shell>" "$T/g1/console.log"
virsh -q destroy g1
k delete $R r1 >/dev/null

# ---- vmkeepd is killed when the firmware is in place and the definition not ----
change_firmware() {
    printf '%s' "$1" | dd of="$(nvram_of g1)" bs=1 seek=540000 conv=notrunc status=none
    nvram_2=$(sum "$(nvram_of g1)")
}
# killed_at_define NAME: a restore that vmkeepd does not survive.
killed_at_define() {
    vmkeepd_kill
    : >"$T/effects"
    vmkeepd_start "VMKEEP_CRASH_AT=hrestore-replace:$at_define:before"
    kubectl_start
    wait_until 30 exists backuptarget default
    hrestore "$1" g1 b1 "haltAfterRestore: true" || true
    wait_until 60 eval '! vmkeepd_is_running'
}
if [ "${VMKEEP_CHECK:-full}" = full ]; then
    at_define=$(sed -n 's/^hrestore-replace \([0-9]*\) define.*/\1/p' "$T/effects" | tail -n 1)
    change_firmware again
    check "vmkeepd is killed before the definition" killed_at_define r4
    note "effect $at_define: $(tail -n 1 "$T/effects")"
    check_equal "the variables are the backup's already" "$(sum "$(nvram_of g1)")" "$nvram_1"
    vmkeepd_start
    check "started again, it completes the restore" hrestore_complete r4
    check_equal "the variables are the backup's" "$(sum "$(nvram_of g1)")" "$nvram_1"
    k delete $R r4 >/dev/null
    change_firmware once-more
    check "vmkeepd is killed there once more" killed_at_define r5
    vmkeepd_start
    check "and the restore is deleted" k delete $R r5 --timeout=240s
    note "the variables are $(if [ "$(sum "$(nvram_of g1)")" = "$nvram_1" ]; then echo "the backup's"; else echo "as before"; fi)"
    check "they are whole: as before, or the backup's if it was faster" eval '[[ "$nvram_1 $nvram_2" == *"$(sum "$(nvram_of g1)")"* ]]'
    check "the VM starts all the same" virsh -q start g1
    virsh -q destroy g1
fi
uuid=$(guest_uuid g1)
virsh -q undefine --nvram g1
check "the VM is gone" wait_until 30 eval "is_gone vm g1 || field_is vm g1 .status.printableStatus Undefined"
check_equal "with its TPM" "$(ls "$T/lv/lib/swtpm")" ""
hrestore r2 g1 b1 "newVM: true" "haltAfterRestore: true"
check "it comes back" hrestore_complete r2
check_equal "as itself" "$(guest_uuid g1)" "$uuid"
check_equal "the variables are the backup's" "$(sum "$(nvram_of g1)")" "$nvram_1"
check_equal "the TPM is the backup's" "$(sum "$(tpm g1)/tpm2/tpm2-00.permall")" "$tpm_1"
check "swtpm can use its files: the VM starts" virsh -q start g1
virsh -q destroy g1

hrestore r3 g2 b1 "newVM: true" "haltAfterRestore: true"
check "another VM is made" hrestore_complete r3
check_equal "its variables are the backup's" "$(sum "$(nvram_of g2)")" "$nvram_1"
check "its TPM is a new one" eval "! test -e '$(tpm g2)'"
check "which is said" field_has $R r3 '.status.vmkeep.dropped[*]' "TPM"
check_equal "nothing is left of the way there" "$(find "$T/state/restores" "$T/state/nvram" -type f 2>/dev/null)" ""
