#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=400
# UEFI variables and a software TPM belong to a VM: snapshots keep them,
# restores bring them back, and swtpm can use what came back.
. "$(dirname "$0")/lib.sh"
. "$tests_dir/lib-objects.sh"
requires_libvirt
requires_build vmkeepd vmkeep vmkeep-guard
requires_program swtpm swtpm_setup swtpm_ioctl
code=/usr/share/OVMF/OVMF_CODE_4M.fd vars=/usr/share/OVMF/OVMF_VARS_4M.fd
requires test -r $code -a -r $vars
requires getent passwd tss
# As on a real host: vmkeepd as root, swtpm as a user of its own; and QEMU too, in the whole suite.
LIBVIRT_SWTPM_USER=tss
LIBVIRT_QEMU_USER=libvirt-qemu
libvirt_start

nvram() { echo "$T/lv/lib/qemu/nvram/$1"; }
tpm() { echo "$T/lv/lib/swtpm/$(guest_uuid "$1")"; }
# tree DIRECTORY: owner, mode, name and content of each file.
tree() {
    (cd "$1" && find . -type d -printf '%u:%g %m %p\n' -o -type f ! -name .lock -printf '%u:%g %m %p ' -exec sh -c 'sha256sum <"$1"' sh {} \;) | sort -k 3
}
sum() { sha256sum <"$1" | cut -c1-64; }
# write_variables NAME TEXT: bytes in a part of the variable store that the firmware leaves alone.
write_variables() { printf '%s' "$2" | dd of="$(nvram "$1")" bs=1 seek=540000 conv=notrunc status=none; }

GUEST_OS="<loader readonly='yes' type='pflash'>$code</loader><nvram template='$vars'>/var/lib/libvirt/qemu/nvram/g1_VARS.fd</nvram>" \
    GUEST_EXTRA="<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>" guest_define g1
virsh -q start g1
# The firmware finds nothing to boot and shows its shell: it has written its
# boot entries by then.
check "UEFI comes up with a TPM" wait_until 60 grep -aq "Shell>" "$T/g1/console.log"

VMKEEPD_INSIDE=1
vmkeepd_configure "min_free = 64M" "agent_timeout_ms = 5000"
vmkeepd_start
kubectl_start
check "the VM is there" wait_until 30 field_is vm g1 .status.printableStatus Running

# ---- running ----
kept() { echo "$T/state/nvram/$(field vmsnapshot "$1" .metadata.uid)"; }
snapshot s1 g1
check "a snapshot of the running VM is ready" snapshot_ready s1
check "the UEFI variables are in it" cmp "$(nvram g1_VARS.fd)" "$(kept s1)/nvram"
check "the TPM state is in it" cmp "$(tpm g1)/tpm2/tpm2-00.permall" "$(kept s1)/tpm/tpm2/tpm2-00.permall"
check_equal "and listed as a volume" "$(field vmsnapshotcontent "$(field vmsnapshot s1 .status.virtualMachineSnapshotContentName)" \
    '.spec.volumeBackups[?(@.volumeName=="persistent-state-for-g1")].volumeName')" persistent-state-for-g1
check "nobody else can read them" eval "[ \"\$(stat -c '%u %a' '$T/state/nvram')\" = '0 700' ]"
virsh -q destroy g1

# ---- off ----
nvram_1=$(sum "$(kept s1)/nvram")
tpm_1=$(sum "$(kept s1)/tpm/tpm2/tpm2-00.permall")
change() { # NAME: other variables, another TPM
    write_variables "$1" "$RANDOM-$RANDOM"
    (cd "$(tpm "$2")/tpm2" && in_namespace setpriv --reuid tss --regid tss --clear-groups \
        swtpm_setup --tpm2 --tpm-state "/var/lib/libvirt/swtpm/$(guest_uuid "$2")/tpm2" --createek --overwrite >/dev/null)
}
change g1_VARS.fd g1
nvram_2=$(sum "$(nvram g1_VARS.fd)")
tpm_2=$(sum "$(tpm g1)/tpm2/tpm2-00.permall")
check "the test changed both" test "$nvram_1" != "$nvram_2" -a "$tpm_1" != "$tpm_2"
snapshot s2 g1
check "a snapshot of the stopped VM is ready" snapshot_ready s2
check_equal "with its variables" "$(sum "$(kept s2)/nvram")" "$nvram_2"
check_equal "with its TPM" "$(sum "$(kept s2)/tpm/tpm2/tpm2-00.permall")" "$tpm_2"

# ---- in place ----
before=$(tree "$(tpm g1)" | grep -v permall)
touch "$(tpm g1)/tpm2/tpm2-00.volatilestate"
restore r1 g1 s1 "volumeRestorePolicy: InPlace"
check "a restore in place completes" restore_complete r1
check_equal "the variables are the snapshot's" "$(sum "$(nvram g1_VARS.fd)")" "$nvram_1"
check_equal "the TPM is the snapshot's" "$(sum "$(tpm g1)/tpm2/tpm2-00.permall")" "$tpm_1"
check_equal "owners and modes are what they were, and nothing else is there" "$(tree "$(tpm g1)" | grep -v permall)" "$before"
check_equal "what was put aside for it is gone" "$(find "$T/state/nvram" -mindepth 1 -maxdepth 1 | wc -l)" 2
check "the VM starts" virsh -q start g1
check "with its TPM" grep -aq . "$(tpm g1)/tpm2/tpm2-00.permall"
check "and boots" wait_until 60 grep -aq "Shell>" "$T/g1/console.log"
virsh -q destroy g1
restore r2 g1 s2 "volumeRestorePolicy: InPlace"
check "another snapshot is restored" restore_complete r2
check_equal "with its variables" "$(sum "$(nvram g1_VARS.fd)")" "$nvram_2"
check_equal "with its TPM" "$(sum "$(tpm g1)/tpm2/tpm2-00.permall")" "$tpm_2"

# ---- the VM is gone, with its firmware: it comes back as itself ----
uuid=$(guest_uuid g1)
virsh -q undefine --nvram g1
check "libvirt removed its TPM" eval "! test -e '$T/lv/lib/swtpm/$uuid'"
check "its object stays" wait_until 20 field_is vm g1 .status.printableStatus Undefined
restore r3 g1 s1
check "the restore completes" restore_complete r3
check_equal "as itself" "$(guest_uuid g1)" "$uuid"
file=$(virsh -q dumpxml --inactive g1 | sed -n 's/.*<nvram[^>]*>\(.*\)<.*/\1/p')
check_equal "the variables are the snapshot's" "$(sum "$(nvram "$(basename "$file")")")" "$nvram_1"
check_equal "the TPM is the snapshot's" "$(sum "$(tpm g1)/tpm2/tpm2-00.permall")" "$tpm_1"
check_equal "the firmware is the same" "$(virsh -q dumpxml --inactive g1 | sed -n 's/.*<loader.*>\(.*\)<.*/\1/p')" "$code"
check "swtpm can use its files: the VM starts" virsh -q start g1
check_equal "owners and modes are as libvirt makes them" "$(tree "$(tpm g1)" | grep -v permall)" "$before"
virsh -q destroy g1
# The snapshot's own definition names the file of then.
restore r6 g1 s2 "volumeRestorePolicy: InPlace"
check "it is restored in place again" restore_complete r6
file=$(virsh -q dumpxml --inactive g1 | sed -n 's/.*<nvram[^>]*>\(.*\)<.*/\1/p')
check_equal "the file that its definition names has the variables" "$(sum "$(nvram "$(basename "$file")")")" "$nvram_2"

# ---- somebody else ----
# restore_tpm NAME VM Copy|New
restore_tpm() {
    restore "$1" "$2" s2 >/dev/null 2>&1 || true
    sed -i "s|metadata: {name: $1}|metadata: {name: $1, annotations: {vmkeep.io/tpm: $3}}|" "$T/object.yaml"
    k create -f "$T/object.yaml" >/dev/null
}
check_fails "another VM with the same TPM is no accident: it is refused" eval "restore r4 g4 s2 2>'$T/said'"
check "and said how to ask for it" grep -q "backend storage.*vmkeep.io/tpm" "$T/said"
check_fails "what becomes of the TPM is Copy or New" restore_tpm r4 g4 Maybe
restore_tpm r4 g4 Copy
check "a new VM with a copy is made" restore_complete r4
check "it is another one" test "$(guest_uuid g4)" != "$uuid"
check_equal "its variables are the snapshot's" "$(sum "$(nvram "vmkeep-$(guest_uuid g4)_VARS.fd")")" "$nvram_2"
check_equal "its TPM is the snapshot's" "$(sum "$(tpm g4)/tpm2/tpm2-00.permall")" "$tpm_2"
virsh -q dumpxml --inactive g4 | sed "s|<serial type='pty'>|<serial type='file'><source path='$T/g4.console'/>|" >"$T/g4.xml"
virsh -q define "$T/g4.xml"
check "it starts" virsh -q start g4
check "and boots" wait_until 60 grep -aq "Shell>" "$T/g4.console"
virsh -q destroy g4
restore_tpm r5 g5 New
check "a new VM with a new TPM is made" restore_complete r5
check_equal "its variables are the snapshot's" "$(sum "$(nvram "vmkeep-$(guest_uuid g5)_VARS.fd")")" "$nvram_2"
check "it has no TPM state yet" eval "! test -e '$(tpm g5)'"
check "the status says so" field_has vmrestore r5 .status.vmkeep.dropped "TPM: a new one"

# ---- deleted ----
remove vmsnapshot s1
remove vmsnapshot s2
check_equal "with the snapshots their copies go" "$(ls -A "$T/state/nvram")" ""
