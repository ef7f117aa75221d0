#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=integration timeout=120
# Two vmkeepds want one state directory: one gets it, the other says so and
# changes nothing; and a daemon that was killed leaves nothing that a human must
# clear.
. "$(dirname "$0")/lib.sh"
requires_build vmkeepd
requires_program curl
vmkeepd_configure

# second [WORD...]: another daemon, with sockets of its own and this state.
sed -e "s|^socket = .*|socket = $T/run2/vmkeepd.sock|; s|^run_dir = .*|run_dir = $T/run2|" \
    -e "s|^listen = .*|listen = 127.0.0.1:$(free_port)|" "$T/vmkeep.conf" >"$T/second.conf"
mkdir -p "$T/run2"
second() { timeout 20 "$(program vmkeepd)" --config "$T/second.conf"; }
count() { curl -sS --max-time 10 --unix-socket "$SOCKET" http://x/api/v1/namespaces | grep -o '"name": *"n[0-9]*"' | sort -u | wc -l; }
make() {
    curl -sS --max-time 10 --unix-socket "$SOCKET" -H 'Content-Type: application/json' -X POST \
        http://x/api/v1/namespaces -d '{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"'"$1"'"}}' | grep -q '"uid"'
}

vmkeepd_start
check "an object is made" make n0
check_fails "a second daemon does not start" second
check "it says why" eval "(second 2>&1 || true) | grep -q 'another vmkeepd uses this state directory'"
check "the first one serves on" make n1

# At once, from nothing: exactly one of two wins, whichever.
vmkeepd_stop
for round in 1 2 3 4 5; do
    rm -f "$SOCKET" "$T/run2/vmkeepd.sock"
    start_process one "$(program vmkeepd)" --config "$T/vmkeep.conf"
    start_process two "$(program vmkeepd)" --config "$T/second.conf"
    wait_until 20 eval "! is_alive $pid_one || ! is_alive $pid_two" || true
    alive=0
    if is_alive "$pid_one"; then alive=$((alive + 1)); fi
    if is_alive "$pid_two"; then alive=$((alive + 1)); fi
    check_equal "round $round: one of two goes on" $alive 1
    stop_process one TERM
    stop_process two TERM
done
check "they say why" grep -q 'another vmkeepd uses this state directory' "$T/one.log" "$T/two.log"

# Killed in the midst of writes, and started as soon as it is dead.
n=2
for round in 1 2 3 4 5 6 7 8; do
    vmkeepd_start
    (for ((i = 0; i < 200; i++)); do make "n$((n + i))" || break; done) >/dev/null 2>&1 &
    writer=$!
    sleep 0.$((RANDOM % 5 + 1))
    vmkeepd_kill
    wait $writer || true
    n=$((n + 200))
done
vmkeepd_start
check "killed at any time, it starts again, and has what was there" test "$(count)" -ge 2
