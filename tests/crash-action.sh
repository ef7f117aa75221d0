#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=crash timeout=600
# kill -9 of vmkeepd at every side effect of a start, a restart and a stop, before and after each: when it is back, the
# request is done, and done once: a restart never starts the guest twice.
. "$(dirname "$0")/lib.sh"
requires_libvirt
requires_build vmkeepd vmkeep-guard
requires_program curl
libvirt_start
GUEST_APPEND="writer=off" guest_define web
vmkeepd_configure "min_free = 64M"

api() { curl -sS --max-time 10 --unix-socket "$SOCKET" -H 'Content-Type: application/json' "$@"; }
actions=http://x/apis/vmkeep.io/v1alpha1/namespaces/default/virtualmachineactions
make_action() {
    api -X POST $actions -d '{"apiVersion":"vmkeep.io/v1alpha1","kind":"VirtualMachineAction","metadata":{"name":"'"$1"'"},
        "spec":{"virtualMachineName":"web","action":"'"$2"'","gracePeriodSeconds":0}}' >/dev/null
}
phase() { api "$actions/$1" | sed -n 's/.*"phase": *"\([A-Za-z]*\)".*/\1/p' | head -n 1; }
is_final() { case $(phase "$1") in Succeeded | Failed) ;; *) return 1 ;; esac; }
vm_is() { api http://x/apis/kubevirt.io/v1/namespaces/default/virtualmachines/web | grep -q "\"printableStatus\":\"$1\""; }
domid() { virsh -q domid web | head -n 1; }

# prepare ACTION: the state it begins from.
prepare() {
    case $1 in
    start) if guest_is web running; then virsh -q destroy web; fi ;;
    *) if ! guest_is web running; then virsh -q start web; fi ;;
    esac
}
# done_once ACTION ID-BEFORE
done_once() {
    case $1 in
    start | restart) guest_is web running && [ "$(domid)" = $(($2 + 1)) ] ;;
    stop) guest_is web "shut off" ;;
    esac
}
last_id=0

points=0
for action in start restart stop; do
    for ((n = 1; n <= 40; n++)); do
        ended=no
        for when in before after; do
            prepare $action
            if guest_is web running; then last_id=$(domid); fi
            name=$action-$n-$when
            rm -f "$T/effects"
            vmkeepd_start VMKEEP_CRASH_AT=action:$n:$when VMKEEP_EFFECT_LOG="$T/effects"
            if [ $action = start ]; then wait_until 10 vm_is Stopped; else wait_until 10 vm_is Running; fi
            make_action "$name" $action || true # it may die before it answers
            wait_until 10 eval "! is_alive $pid_vmkeepd || is_final $name" || true
            if is_alive "$pid_vmkeepd"; then
                ended=yes # fewer effects than that
                vmkeepd_kill
                if guest_is web running; then last_id=$(domid); fi
                break
            fi
            points=$((points + 1))
            vmkeepd_start
            if ! wait_until 20 is_final "$name" || [ "$(phase "$name")" != Succeeded ] || ! done_once $action "$last_id"; then
                not_ok "$action, killed $when effect $n: it is done once"
                note "phase '$(phase "$name")', $(guest_state web), id $(domid), before $last_id"
                note "$(api "$actions/$name")"
                note "$(cat "$T/effects")"
            fi
            if guest_is web running; then last_id=$(domid); fi
            vmkeepd_kill
        done
        [ $ended = no ] || break
    done
    check "$action: it has side effects, and an end" test "$n" -gt 3 -a "$n" -lt 40
done
check_equal "every kill ($points) left a request that was then done once" "$test_failed" 0
