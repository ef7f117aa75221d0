#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: timeout=600
# F27: a writer, a collector and a compactor are stopped (SIGSTOP) between any
# two side effects, for a month by the clock that all of them have; others kill
# their sessions, collect, compact and write meanwhile. Then they go on.
# VMKEEP_CHECK=full: at every side effect, not at a few.
. "$(dirname "$0")/lib.sh"
requires_build vmkeep-repo
repo=$(program vmkeep-repo)
cd "$T"
export VMKEEP_CLOCK_SHIFT=$T/clock
repo() { "$repo" "$@"; }
days() { echo $(($1 * 86400)) >"$T/clock"; }
days 0
points=3
if [ "${VMKEEP_CHECK:-}" = full ]; then points=1000; fi

for i in 1 2 3 4; do head -c 2M /dev/urandom >"$i.img"; done
cat 1.img 2.img >12.img
repo init --no-encryption clean >/dev/null
import() { repo import -q -t 1 --parent none --uid "$2" "$1" "$3"; }
one=$(import clean one 12.img)
two=$(import clean two 2.img)
import clean three 3.img >/dev/null
same() { repo export -q -f r "$1" out.img && cmp -s out.img "$2"; }

# stop_at FLOW N COMMAND...: run it in the background until it stops before that.
stop_at() {
    local flow=$1 n=$2
    shift 2
    VMKEEP_CRASH_AT=$flow:$n:stop "$repo" "$@" >stopped.log 2>&1 &
    pid=$!
    # It ends by itself if there is no such effect.
    wait_until 60 eval '[ ! -d /proc/$pid ] || grep -q "^State:.[TZ]" /proc/$pid/status'
    grep -q "^State:.T" "/proc/$pid/status" 2>/dev/null
}
# What others do in a month.
a_month_goes_by() {
    days 15
    repo gc -q r >>gc.log 2>&1 && four=$(import r four 4.img) || return 1
    repo delete r "$one" >>gc.log 2>&1 || true
    days 25
    repo gc -q --dead 2 r >>gc.log 2>&1 || return 1
    days 30
    repo gc -q --dead 2 r >>gc.log 2>&1
}
whole() {
    local id
    repo verify -q r >verify.log 2>&1 && same "$two" 2.img && same "$four" 4.img || return 1
    for id in $(repo list --json r | sed -nE 's/.*"id":"([^"]*)".*/\1/p'); do
        repo export -q -f r "$id" out.img || return 1
    done
}
# A collector, when everything is over: nothing is left of what nobody needs.
cleaned_up() {
    days 60
    repo gc -q --dead 2 r >>gc.log 2>&1 || return 1
    days 70
    repo gc -q --dead 2 r >>gc.log 2>&1 && repo gc -q --dead 2 r >>gc.log 2>&1 && repo verify -q r >verify.log 2>&1 &&
        repo gc --dry-run r | grep -q "^0 packs of 0 bytes would be removed"
}
# points_of COUNT: a few numbers up to it.
points_of() { seq 1 $(($1 > points ? ($1 + points - 1) / points : 1)) "$1"; }

# stopped WHAT FLOW COMMAND...: at a few of its effects; *committed* counts the
# times that it did what it was about to after all.
stopped() {
    local what=$1 flow=$2 count n bad=0 committed=0
    shift 2
    rm -rf r effects && cp -a clean r && days 0
    VMKEEP_EFFECT_LOG=$T/effects "$repo" "$@" >effects.log 2>&1
    count=$(grep -c "^$flow " effects || true)
    for n in $(points_of "$count"); do
        rm -rf r && cp -a clean r && days 0
        stop_at "$flow" "$n" "$@" || { bad=$((bad + 1)) && note "$what $n: did not stop"; continue; }
        a_month_goes_by || { bad=$((bad + 1)) && note "$what $n: the others: $(tail -n 1 gc.log)"; }
        kill -CONT "$pid"
        if wait "$pid"; then committed=$((committed + 1)); fi
        whole || { bad=$((bad + 1)) && note "$what $n: not whole: $(tail -n 1 verify.log stopped.log)"; }
        cleaned_up || { bad=$((bad + 1)) && note "$what $n: something is left"; }
    done
    check_equal "F27: a $what stopped for a month at $(points_of "$count" | wc -l) of $count side effects harms nobody" $bad 0
    check "its effects are counted ($count)" test "$count" -ge 4
    did=$committed
}
stopped writer repo-import import -q -t 1 --parent none --uid late r 3.img
note "writers that committed although they were stopped: $did"
repo delete clean "$one" >/dev/null
stopped collector repo-gc gc -q --grace 0 --undelete-window 0 --kill-after 0 r
