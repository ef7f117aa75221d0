#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# check: timeout=120
# tests/api-hostile.sh: broken requests get an answer that says so, and the
# server goes on. SECONDS_EACH (10) sets how long.
. "$(dirname "$0")/lib.sh"
requires_build api-server
requires_program curl python3

mkdir "$T/s"
ulimit -n 8192 || true
start_process server "$(program api-server)" "$T/s" "$T/sock" 127.0.0.1:0 "$tests_dir/api-seed.json"
wait_until 20 grep -q '^port' "$T/server.log"
for seed in 1 2; do
    check "broken requests, seed $seed: no 500, nobody hung up on" \
        python3 "$tests_dir/api-hostile.py" "$T/sock" "${SECONDS_EACH:-10}" $seed
done
# Strangers: those who reach the TLS port and have no token.
port=$(sed -n 's/^port //p' "$T/server.log")
slow=280
[ "${VMKEEP_CHECK:-}" != full ] || slow=2100
check "strangers send no bodies, and $slow slow ones are in nobody's way" \
    python3 "$tests_dir/api-strangers.py" "$port" "$T/sock" $slow
check "the server still answers" curl -sf --unix-socket "$T/sock" http://x/api/v1/namespaces/default
before=$(ls "/proc/$pid_server/fd" | wc -l)
check "and keeps no descriptor" test "$before" -lt 60
stop_process server TERM 20
check_fails "no sanitizer complained" grep -E "Sanitizer|runtime error" "$T/server.log"
