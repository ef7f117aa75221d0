#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# virt/ against a real libvirtd and a real guest: freeze and thaw, an agent
# that hangs, overlays, merges, the split brain, a libvirtd that dies.
# check: suite=integration timeout=400
. "$(dirname "$0")/lib.sh"
requires_libvirt
requires_build virt-test
libvirt_start

guest_define g1
uuid=$(guest_uuid g1)
d=$T/g1
virt() { local command=$1; shift; timeout 120 "$(program virt-test)" "$command" "$uuid" "$@"; }
# says WORD COMMAND...: the command fails, and names this error.
says() {
    local word=$1 output
    shift
    if output=$("$@" 2>&1); then echo "it succeeded: $output"; return 1; fi
    echo "$output"
    [[ $output == "$word: "* ]]
}
chain() { virt show | sed -n "s/^$1 //p"; }

check "a list holds the domain" eval "virt list | grep -qx $uuid"
check "a domain that is not there is NotFound" says NotFound timeout 20 "$(program virt-test)" show 11111111-2222-3333-4444-555555555555
check "no QEMU, no open files" says NotFound virt files
check "a domain that is off passes the chain check" virt check
check "it starts" virt power start
check "starting it twice is Conflict" says Conflict virt power start
guest_wait_agent g1
check "the live XML says that the agent is connected" eval 'virt show | grep -q agent=1'
check "the agent answers a ping" guest_ping g1
check "QEMU has both disks open for writing" eval '[ "$(virt files | grep -c "^rw $d/.*qcow2$")" = 2 ]'

# ---- freeze ----
check_equal "a freeze counts the file systems" "$(virt freeze | head -n 1)" count=2
check "the agent says frozen" eval "virsh -q qemu-agent-command g1 '{\"execute\":\"guest-fsfreeze-status\"}' | grep -q '\"frozen\"'"
check "the guest is still" guest_is_still g1
check "a second freeze is Conflict" says Conflict virt freeze
check_equal "a thaw counts as many" "$(virt thaw | head -n 1)" count=2
check_equal "a thaw of a thawed guest is 0" "$(virt thaw | head -n 1)" count=0
check "the guest writes again" guest_is_writing g1
check_equal "the guest was frozen once" "$(guest_freezes g1)" 1

guest_hang_agent g1 12
since=$(now_ms)
check "a freeze with a hung agent is Timeout" says Timeout virt freeze 2000
took=$(($(now_ms) - since))
check "it took the 2 s it was given ($took ms)" eval "[ $took -ge 1800 ] && [ $took -le 11000 ]"
guest_is_writing g1 || true
check "the freeze that timed out happens when the agent wakes" wait_until 60 guest_is_still g1
check "thawing until it succeeds frees the guest" virt thaw-until
check "the guest writes again" guest_is_writing g1

guest_exec g1 '(sleep 0.3; kill $(cat /run/qga.pid)) >/dev/null 2>&1 &'
sleep 1
check "without an agent a freeze is ServiceUnavailable" wait_until 60 says ServiceUnavailable virt freeze
guest_kill g1
guest_start g1

# ---- overlays and merges ----
# overlay TARGET FILE [TARGET FILE]: make the files, put them above the disks.
overlay() {
    local pair=("$@") below
    while [ $# -gt 0 ]; do
        below=$(guest_disk g1 "$1")
        qemu-img create -q -u -f qcow2 -F qcow2 -b "$below" "$2" \
            "$(qemu-img info -U -f qcow2 --output=json "$below" | sed -n 's/.*"virtual-size": \([0-9]*\).*/\1/p' | tail -n 1)"
        shift 2
    done
    virt overlay "${pair[@]}"
}
check "the chain is as libvirt says" virt check
seq0=$(guest_acked g1)
check "both disks get an overlay" overlay vda "$d/root.1.qcow2" vdb "$d/data.1.qcow2"
check_equal "the chain has two layers" "$(chain vda)" "$d/root.1.qcow2 $d/root.qcow2"
check "the sealed layers are one instant" verify "$d/root.qcow2" "$d/data.qcow2" "$seq0"
check "an overlay that is not there is NotFound" says NotFound virt overlay vda "$d/none.qcow2"
check "a disk that is not there is NotFound" says NotFound virt overlay vdx "$d/x.qcow2"
check "one disk alone can be cut" overlay vda "$d/root.2.qcow2"
check_equal "the other is not touched" "$(chain vdb)" "$d/data.1.qcow2 $d/data.qcow2"
check_equal "virsh knows no snapshot" "$(virsh -q snapshot-list g1)" ""
check "the chain check passes with layers" virt check
check_equal "there is no job" "$(virt job vda | head -n 1)" "active=0 ready=0"
check_equal "there is no domain job" "$(virt job | head -n 1)" "active=0 what="
guest_wait_more g1 20
check "a middle layer is merged down" virt commit vda "$d/root.qcow2" "$d/root.1.qcow2"
check_equal "it has left the chain" "$(chain vda)" "$d/root.2.qcow2 $d/root.qcow2"
check "an unknown layer is NotFound" says NotFound virt commit vda "$d/root.qcow2" "$d/root.1.qcow2"
check "upside down is Invalid" says Invalid virt commit vda "$d/root.2.qcow2" "$d/root.qcow2"
check "the active layer of vda is merged" virt commit vda "$d/root.qcow2" "$d/root.2.qcow2"
check "the active layer of vdb is merged" virt commit vdb "$d/data.qcow2" "$d/data.1.qcow2"
check_equal "one layer is left" "$(chain vda) $(chain vdb)" "$d/root.qcow2 $d/data.qcow2"
check "the chain check passes after merges" virt check
check "the guest writes on" guest_is_writing g1
rm -f "$d"/root.?.qcow2 "$d"/data.?.qcow2

# ---- power ----
check "suspend" virt power suspend
check "suspending twice is Conflict" says Conflict virt power suspend
check "a paused guest can be cut" overlay vda "$d/root.3.qcow2" vdb "$d/data.3.qcow2"
check "resume" virt power resume
check "the guest writes on" guest_is_writing g1
check "merged back" virt commit vda "$d/root.qcow2" "$d/root.3.qcow2"
check "merged back" virt commit vdb "$d/data.qcow2" "$d/data.3.qcow2"

# ---- libvirtd dies ----
start_process watch "$(program virt-test)" watch "$uuid" 300000 20
wait_until 60 grep -q list-good "$T/watch.log"
kill -PIPE "$pid_watch" # what libvirt's own writes to a dead libvirtd bring
libvirt_kill
check "a lost libvirtd is Unavailable" wait_until 60 grep -q Unavailable "$T/watch.log"
check "the loss is an event" wait_until 60 grep -q ^disconnected "$T/watch.log"
libvirt_restart
check "the connection comes back by itself" wait_until 60 eval '[ "$(grep -c list-good "$T/watch.log")" = 2 ]'
check "it says so" wait_until 60 eval '[ "$(grep -c ^connected "$T/watch.log")" = 2 ]'
virsh -q suspend g1
check "events come on the new connection" wait_until 60 grep -q "^changed $uuid" "$T/watch.log"
virsh -q resume g1
stop_process watch KILL
seq=$(guest_acked g1)
check "the guest is asked to shut down, and does" eval 'guest_wait_agent g1 && virt power shutdown && virt power wait-off 90000'
check "a guest that is off has all records" verify "$d/root.qcow2" "$d/data.qcow2" "$seq"
check "an overlay of a domain that is off is Conflict" says Conflict overlay vda "$d/root.4.qcow2"

# ---- a domain out of foreign XML ----
cp "$d/root.qcow2" "$d/r.qcow2"
cp "$d/data.qcow2" "$d/d.qcow2"
mkdir "$T/g2"
check "XML is rebuilt from the allow-list and defined" eval \
    "virt rebuild g2 vda '$d/r.qcow2' qcow2 vdb '$d/d.qcow2' qcow2 >'$T/rebuild.log'"
check "what was dropped is named" grep -q "devices/channel: name=test.ack.0" "$T/rebuild.log"
virsh -q dumpxml --inactive g2 >"$T/g2/x.xml"
if command -v xmllint >/dev/null; then check "libvirt's own schema finds it right" virt-xml-validate "$T/g2/x.xml" domain; fi
check "it has the namespace" grep -q "https://vmkeep.io/xmlns/domain/1.0" "$T/g2/x.xml"
check_fails "its UUID is new" grep -q "$uuid" "$T/g2/x.xml"
guest_start g2
check "it boots from its own disks" eval '[ "$(guest_disk g2 vda)" = "$d/r.qcow2" ]'
virsh -q destroy g2
check "its definition goes, its disks stay" eval 'uuid=$(guest_uuid g2) virt power undefine && test -e "$d/r.qcow2" && ! virsh -q dominfo g2'

# ---- the split brain: libvirtd killed inside a snapshot ----
virt power start >/dev/null
guest_wait_agent g1
hit=no
for ((try = 1; try <= 30; try++)); do
    rm -f "$T/killer.log"
    start_process killer "$(program virt-test)" kill-on-switch "$uuid" "$d/data.qcow2" "$(libvirt_pid)"
    wait_until 60 grep -q waiting "$T/killer.log"
    overlay vda "$d/root.s$try.qcow2" vdb "$d/data.s$try.qcow2" >>"$T/cut.log" 2>&1 || true
    libvirt_wait_end
    libvirt_restart
    if ! virt check >"$T/check.out" 2>&1; then
        hit=yes
        break
    fi
    # Early: nothing but files. Late: a cut that is complete.
    if [ "$(chain vda)" != "$d/root.qcow2" ]; then
        virt commit vda "$d/root.qcow2" "$d/root.s$try.qcow2" >/dev/null
        virt commit vdb "$d/data.qcow2" "$d/data.s$try.qcow2" >/dev/null
    fi
    rm -f "$d/root.s$try.qcow2" "$d/data.s$try.qcow2"
done
note "tries until libvirtd was hit inside a snapshot: $try"
check_equal "libvirtd was killed in the wrong moment" $hit yes
if [ $hit = yes ]; then
    note "$(cat "$T/check.out")"
    check "the split brain is Conflict" grep -q ^Conflict: "$T/check.out"
    check "the check names the file that the guest writes to" grep -q "writes to $d/root.s$try.qcow2" "$T/check.out"
    check "and the one that libvirt believes in" grep -q "believes in $d/root.qcow2" "$T/check.out"
    check "and the repair" grep -q "virsh edit" "$T/check.out"
    check "the guest goes on meanwhile" guest_is_writing g1
    seq=$(guest_acked g1)
    guest_wait_agent g1
    guest_shutdown g1
    check "done as it says, no record is lost" verify "$d/root.s$try.qcow2" "$d/data.s$try.qcow2" "$seq"
    virt retarget vda "$d/root.s$try.qcow2" qcow2 >/dev/null
    virt retarget vdb "$d/data.s$try.qcow2" qcow2 >/dev/null
    virt power start >/dev/null
    guest_wait_agent g1
    check "the chain check passes after the repair" virt check
    check "it can be merged" virt commit vda "$d/root.qcow2" "$d/root.s$try.qcow2"
    check "it can be merged" virt commit vdb "$d/data.qcow2" "$d/data.s$try.qcow2"
    check "the guest writes on" guest_is_writing g1
fi
