#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: timeout=600
# F23 to F26: hosts that write, collect and compact one repository at once, and
# are killed; afterwards every backup that is listed restores, and the space of
# the others is free. VMKEEP_CHECK=full: more of each.
. "$(dirname "$0")/lib.sh"
requires_build vmkeep
requires_program python3
vmkeep=$(program vmkeep)
export VMKEEP_KEY_FILE=$T/repo.key
cd "$T"
writers=8 rounds=4 beside=2
if [ "${VMKEEP_CHECK:-}" = full ]; then writers=50 rounds=40 beside=8; fi

case $("$vmkeep" repo --help) in *"  gc DIR"*) ;; *) skip_all "vmkeep repo has no gc" ;; esac
repo() { "$vmkeep" repo "$@"; }
# Images of 2 MiB, made of the same few blocks in another order.
python3 - "$((writers + rounds))" <<'PY'
import random, sys
r = random.Random(4)
blocks = [r.randbytes(65536) for _ in range(80)]
for i in range(int(sys.argv[1])):
    with open(f"{i}.img", "wb") as f:
        for _ in range(32):
            f.write(r.choice(blocks))
PY
# import UID IMAGE: prints "BACKUP IMAGE" when it is committed.
import() { id=$(repo import -q -t 1 --uid "$1" -d d r "$2" 2>>import.log) && echo "$id $2" >>kept.list; }
same() { repo export -q -f r "$1" out.img && cmp "$2" out.img; }
listed() { repo list --json r | python3 -c 'import json, sys; print(*(json.loads(line)["id"] for line in sys.stdin))'; }
# Every backup in the list that we know is what was imported.
all_restore() {
    local ids id image n=0
    ids=$(listed)
    while read -r id image; do
        case " $ids " in *" $id "*) same "$id" "$image" && n=$((n + 1)) || return 1 ;; esac
    done <kept.list
    [ $n -gt 0 ]
}
repo init --chunk-size 64 r >init.log

# F23
import vm 0.img & one=$!
import vm 1.img & two=$!
failed=0
wait $one || failed=1
wait $two || failed=1
check_equal "F23: two hosts back up one VM at once: both commit" $failed 0
check "F23: both restore" all_restore

# F24
pids=()
for ((i = 0; i < writers; i++)); do
    import "vm-$i" "$i.img" & pids+=($!)
done
failed=0
for pid in "${pids[@]}"; do wait "$pid" || failed=$((failed + 1)); done
check_equal "F24: $writers writers commit at once: all succeed" $failed 0
check_equal "F24: and are listed" "$(listed | wc -w)" $((writers + 2))
check "F24: and restore" all_restore

# F25, F26: those that do not write are killed at any of their side effects.
killed=0
# victim FLOW ARGUMENT...
victim() {
    local flow=$1
    shift
    if [ $((RANDOM % 3)) = 0 ]; then
        repo "$@" >>gc.log 2>&1 & victims+=($!)
    else
        VMKEEP_CRASH_AT=$flow:$((1 + RANDOM % 5)):$([ $((RANDOM % 2)) = 0 ] && echo before || echo after) \
            "$vmkeep" repo "$@" >>gc.log 2>&1 & victims+=($!)
    fi
}
for ((round = 0; round < rounds; round++)); do
    victims=()
    repo delete r "$(listed | cut -d' ' -f1)" >>gc.log 2>&1 || true
    victim repo-gc gc -q --undelete-window 0 r
    victim repo-gc gc -q --undelete-window 0 r
    victim compact compact -q --dead 2 r
    pids=()
    for ((i = 0; i < beside; i++)); do # half of them of a VM that is known
        import "$([ $((i % 2)) = 0 ] && echo new || echo vm)-$((round + i / 2))" $(((writers + round + i / 2) % (writers + rounds))).img & pids+=($!)
    done
    failed=0
    for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
    for pid in "${victims[@]}"; do
        ended=0
        wait "$pid" 2>/dev/null || ended=$?
        [ $ended -ne 137 ] || killed=$((killed + 1))
    done
    [ $failed = 0 ] || break
done 2>/dev/null
note "of $((3 * rounds)) collectors and compactors $killed were killed"
[ $killed -ge $((rounds / 10)) ] || not_ok "F26: too few are killed"
check_equal "F25: none of $beside writers fails while others collect, compact and die" $failed 0
check "F25: and every backup restores" all_restore
# What was deleted last is only dead for a compactor once a collector dropped it.
check "F26: the next collector comes through" repo gc -q --undelete-window 0 --grace 0 --kill-after 0 r
check "F26: and the next compactor" repo compact -q --dead 2 r
check "F26: a collector condemns what was rewritten" repo gc -q --undelete-window 0 --grace 0 --kill-after 0 r
check "F26: it removes what was condemned" repo gc -q --undelete-window 0 --grace 0 --kill-after 0 r
check "F26: every backup restores" all_restore
check "F26: and is sound" repo verify -q r
repo compact -q --dead 5 --dry-run r >dry.log
check "F26: the space of what nobody needs is free" grep -q '^0 packs' dry.log
ids=$(listed)
# shellcheck disable=SC2086 # words
check "all are deleted" repo delete r $ids
check "and collected" repo gc -q --undelete-window 0 --grace 0 --kill-after 0 r
repo gc -q --undelete-window 0 --grace 0 --kill-after 0 r >>gc.log
check_equal "nothing is left" "$(find r/p r/m -type f | wc -l)" 0
