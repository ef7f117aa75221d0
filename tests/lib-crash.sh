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

# crash_is_chosen N WHEN TOTAL: every third point of short flows.
crash_is_chosen() {
    if [ -n "${CRASH_AT:-}" ]; then
        [ "$CRASH_AT" = "$1:$2" ]
    else
        local every=$CRASH_EVERY
        [ "$3" -gt 20 ] || [ "$every" -lt 3 ] || every=3
        [ $((($1 * 2 + ${#2} % 2) % every)) = $((CRASH_OFFSET % every)) ]
    fi
}

# crash_points FLOW LOG_NAME TOTAL: LOG_NAME is what vmkeepd calls the flow.
crash_points() {
    local flow=$1 log_name=$2 total=$3 points=0 missed=0 begin=$SECONDS n when rc
    for ((n = 1; n <= total; n++)); do
        for when in before after; do
            crash_is_chosen $n $when "$total" || continue
            why='' rc=0
            point "$flow" $n $when || rc=$?
            points=$((points + 1))
            [ $rc != 2 ] || missed=$((missed + 1))
            if [ $rc = 1 ]; then
                not_ok "$flow: killed $when effect $n ($(sed -n "s/^$log_name $n //p" "$T/effects" | head -n 1))"
                note "$why"
                bail
            fi
        done
    done
    ok "$flow: killed at $points of $((total * 2)) points ($missed came after its end) in $((SECONDS - begin)) s"
}
