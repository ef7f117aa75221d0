#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: timeout=300
# vmkeep repo gc: kill -9 at every side effect, two collectors and a writer at
# once, a reader.
. "$(dirname "$0")/lib.sh"
requires_build vmkeep
vmkeep=$(program vmkeep)
cd "$T"

repo() { "$vmkeep" repo "$@"; }
now=(--grace 0 --undelete-window 0)
same() { repo export -q -f r "$1" out.img && cmp "$2" out.img; }
packs() { find "$1/p" "$1/m" -type f ! -name "*.parity" | wc -l; }
parities() { find "$1/p" "$1/m" -type f -name "*.parity" | wc -l; }
ids() { repo list --json r | sed -E 's/.*"id":"([^"]*)".*/\1/'; }

for i in 1 2 3; do head -c 3M /dev/urandom >"$i.img"; done
repo init --no-encryption "$T/clean" >init.log
for i in 1 2 3; do id[$i]=$(repo import -q --uid "$i" clean "$i.img" 2>&1 | grep -oE '[0-9a-f-]{36}' | head -1); done
mapfile -t list < <(repo list --json clean | sed -E 's/.*"id":"([^"]*)".*/\1/')
check_equal "three backups" "${#list[@]}" 3
repo delete clean "${list[1]}" >/dev/null

cp -a clean r
check "with the default times nothing goes" repo gc -q r
check_equal "and all packs are there" "$(packs r)" 6
check "the deleted one can be taken back" repo undelete r "${list[1]}"
rm -rf r && cp -a clean r
check "a dry run" repo gc -q --dry-run "${now[@]}" r
check_equal "removes nothing" "$(packs r)" 6
check "a run" repo gc -q "${now[@]}" r
check_equal "removes the two packs of the deleted one" "$(packs r)" 4
check_equal "and their parity" "$(parities r)" 4
check_fails "it cannot be taken back" repo undelete r "${list[1]}"

after_crash() {
    repo verify -q r >verify.log 2>&1 && same "${list[0]}" 1.img && same "${list[2]}" 3.img &&
        repo gc -q "${now[@]}" r >gc.log && [ "$(packs r) $(parities r)" = "4 4" ] && repo verify -q r >verify.log 2>&1
}
rm -rf r && cp -a clean r
VMKEEP_EFFECT_LOG=$T/effects "$vmkeep" repo gc -q "${now[@]}" r >/dev/null
count=$(grep -c "^repo-gc " effects)
bad=0
for n in $(seq "$count"); do
    for when in before after; do
        rm -rf r && cp -a clean r
        VMKEEP_CRASH_AT=repo-gc:$n:$when "$vmkeep" repo gc -q "${now[@]}" r >/dev/null 2>&1 && true
        after_crash || { bad=$((bad + 1)) && note "after a crash $when effect $n"; }
    done
done 2>/dev/null
check_equal "whole after a crash at each of $count side effects" "$bad" 0
[ "$count" -ge 5 ] || not_ok "it counts its side effects ($count)"

rm -rf r && cp -a clean r
"$vmkeep" repo gc -q "${now[@]}" r >gc1.log 2>&1 &
one=$!
"$vmkeep" repo gc -q "${now[@]}" r >gc2.log 2>&1 &
two=$!
# They leave no time: what it found of the deleted one may be gone when it
# commits. Then it is refused, and once more it stores it anew.
import_again() { repo import -q --uid 4 --parent none r 2.img; }
check "a backup is made while two collect" eval 'import_again || import_again'
ended_one=0 ended_two=0 # here: a subshell cannot wait for what is not its child
wait "$one" || ended_one=$?
wait "$two" || ended_two=$?
check_equal "one collector is content" "$ended_one" 0
check_equal "the other too" "$ended_two" 0
check "all is well" repo verify -q r
check_equal "three backups are left" "$(ids | wc -l)" 3
check "the new one is whole" same "$(ids | tail -1)" 2.img
check "and an old one" same "${list[0]}" 1.img

rm r/log/00000000000000000002
check_fails "with a damaged log it refuses" repo gc -q "${now[@]}" r
check "and the backups are there" same "$(ids | tail -1)" 2.img
