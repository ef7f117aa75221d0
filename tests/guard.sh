#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# vmkeep-guard: a vmkeepd that dies leaves no guest frozen or suspended.
# check: suite=integration timeout=300
. "$(dirname "$0")/lib.sh"
requires_libvirt
requires_build guard-test vmkeep-guard
libvirt_start

guest_define g1
uuid=$(guest_uuid g1)
guest_start g1

# client SCENARIO: start it, wait until it has done its part; sets guard.
client() {
    rm -f "$T/client.log"
    start_process client "$(program guard-test)" "$(program vmkeep-guard)" "$uuid" "$1"
    wait_until 30 grep -qE '^(ready|failed)' "$T/client.log" || true
    guard=$(sed -n 's/^guard //p' "$T/client.log")
    cleanup_fn kill -KILL "$guard"
    grep -q ^ready "$T/client.log"
}
# end_client: SIGKILL; sets since.
end_client() {
    kill -KILL "$pid_client"
    since=$(now_ms)
}
is_gone() { ! is_alive "$1"; }

client freeze
check "the guard answers before anything is frozen" grep -q "^answer 2 for 1" "$T/client.log"
check "the guest is frozen" guest_is_still g1
end_client
check "vmkeepd killed: the guest is thawed" guest_is_writing g1
took=$(($(now_ms) - since))
check "long before its deadline of a minute ($took ms)" test $took -le 15000
check "the guard has ended" wait_until 5 is_gone "$guard"

guest_hang_agent g1 6
client hung
check "a freeze fails because the agent hangs" grep -q "^freeze: " "$T/client.log"
end_client
check "the guard waits for the agent" eval "sleep 2; is_alive $guard"
check "the guard has ended after the agent woke" wait_until 30 is_gone "$guard"
check "the late freeze was undone" guest_is_writing g1
check "and nothing is left frozen" eval '[[ $(virsh -q qemu-agent-command g1 "{\"execute\":\"guest-fsfreeze-status\"}") == *thawed* ]]'

client suspend
check "suspended" guest_is g1 paused
end_client
check "vmkeepd killed: the guest is resumed and thawed" wait_until 10 guest_is_writing g1
check "the guard has ended" wait_until 5 is_gone "$guard"

client deadline
check "the deadline passes: the guest is thawed, vmkeepd lives" wait_until 10 guest_is_writing g1
check "the guard goes on" is_alive "$guard"
end_client
check "and ends with vmkeepd" wait_until 5 is_gone "$guard"

client disarm
end_client
check "the guard has ended" wait_until 5 is_gone "$guard"
check "what was disarmed is left alone" guest_is_still g1
virsh -q domfsthaw g1

client freeze
kill -TERM "$guard"
check "SIGTERM: the guest is thawed" wait_until 10 guest_is_writing g1
check "and the guard has ended" wait_until 5 is_gone "$guard"
end_client

client nonsense
check "nonsense counts as the end: the guest is thawed" wait_until 10 guest_is_writing g1
check "and the guard has ended" wait_until 5 is_gone "$guard"
end_client

client idle
end_client
check "nothing armed: the guard ends at once" wait_until 5 is_gone "$guard"

client freeze
libvirt_kill
end_client
sleep 1
check "libvirtd is away: the guard waits" is_alive "$guard"
libvirt_restart
check "libvirtd is back: the guest is thawed" wait_until 20 guest_is_writing g1
check "and the guard has ended" wait_until 10 is_gone "$guard"
guest_wait_agent g1

client freeze
guest_kill g1
end_client
check "QEMU is dead: the guard has nothing to do" wait_until 10 is_gone "$guard"

libvirt_kill
check_fails "without libvirt the guard refuses" client freeze
check "it says so" grep -q "^answer 4 for 1" "$T/client.log"
