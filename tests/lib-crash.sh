# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# lib-crash.sh: kill -9 at the counted side effects of a flow (base/effect.h). The
# script that sources it defines
#   point FLOW N WHEN    kill before or after effect N, start again, look:
#                        0 fine, 1 not (and $why says what), 2 the flow ended
#                        before that effect
# and $T/effects is the effect log of one whole run.
#   CRASH_EVERY=K        every K-th point; 1: all. CRASH_OFFSET=I: which of them
#   CRASH_AT=N:WHEN      one point only
#   CRASH_WHENS="..."    which ends (all): before, after, term: it is stopped at
#                        the effect, gets SIGTERM with all programs that it has
#                        started (as systemd does to the whole unit), and goes on

CRASH_WHENS=${CRASH_WHENS:-before after term}
# What the longest end by SIGTERM took, in ms.
echo 0 >"$T/term-ms"

# crash_is_chosen N WHEN INDEX COUNT TOTAL: every third point of short flows.
crash_is_chosen() {
    if [ -n "${CRASH_AT:-}" ]; then
        [ "$CRASH_AT" = "$1:$2" ]
    else
        local every=$CRASH_EVERY
        [ "$5" -gt 20 ] || [ "$every" -lt 3 ] || every=3
        [ $((($1 * $4 + $3) % every)) = $((CRASH_OFFSET % every)) ]
    fi
}

# crash_arm FLOW N WHEN: sets crash_at, for vmkeepd_start.
crash_arm() {
    crash_at=VMKEEP_CRASH_AT=$1:$2:${3/term/stop}
    rm -f "$T/vmkeepd.pid"
    if [ "$3" = term ]; then
        crash_term &
        disown $!
    fi
}
# crash_term: wait until vmkeepd has stopped itself, then end it with all that it
# has started. Ends with the process that it waits for.
crash_term() {
    local pid='' state begin
    until pid=$(cat "$T/vmkeepd.pid" 2>/dev/null) && [ -n "$pid" ]; do sleep 0.02; done
    until [ "${state:-}" = T ]; do
        state=$(sed 's/.*) //; s/ .*//' "/proc/$pid/stat" 2>/dev/null) || return 0
        [ -n "$state" ] || return 0
        sleep 0.02
    done
    begin=$(now_ms)
    # shellcheck disable=SC2046
    kill -TERM "$pid" $(pgrep -P "$pid") 2>/dev/null || true
    kill -CONT "$pid"
    while is_alive "$pid"; do sleep 0.02; done
    begin=$(($(now_ms) - begin))
    echo "$begin $crash_at" >>"$T/terms"
    [ "$begin" -le "$(cat "$T/term-ms")" ] || echo $begin >"$T/term-ms"
}

# crash_points FLOW LOG_NAME TOTAL: LOG_NAME is what vmkeepd calls the flow.
crash_points() {
    local flow=$1 log_name=$2 total=$3 points=0 missed=0 begin=$SECONDS n i when rc whens
    read -ra whens <<<"$CRASH_WHENS"
    for ((n = 1; n <= total; n++)); do
        for ((i = 0; i < ${#whens[@]}; i++)); do
            when=${whens[i]}
            crash_is_chosen $n $when $i ${#whens[@]} "$total" || continue
            why='' rc=0
            point "$flow" $n $when || rc=$?
            points=$((points + 1))
            [ $rc != 2 ] || missed=$((missed + 1))
            if [ $rc = 1 ]; then
                not_ok "$flow: ended $when effect $n ($(sed -n "s/^$log_name $n //p" "$T/effects" | head -n 1))"
                note "$why"
                bail
            fi
        done
    done
    ok "$flow: killed at $points of $((total * ${#whens[@]})) points ($missed came after its end) in $((SECONDS - begin)) s"
    note "the slowest end by SIGTERM: $(cat "$T/term-ms") ms"
}
