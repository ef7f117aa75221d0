#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: timeout=600
# Backup repositories under attack: a full disk at every put, a target that
# vanishes or is cleaned up in the middle, writers and deletions at once, a
# writer that was stopped for so long that another one took over.
. "$(dirname "$0")/lib.sh"
requires_build vmkeep
vmkeep=$(program vmkeep)
export VMKEEP_KEY_FILE=$T/repo.key
cd "$T"

repo() { "$vmkeep" repo "$@"; }
ids() { repo list --json "$1" | sed -E 's/.*"id":"([^"]*)".*/\1/'; }
same() { repo export -q -f "$1" "$2" out.img && cmp "$3" out.img; }
used_kib() { df -k --output=used "$1" | tail -n 1 | tr -d ' '; }

# ---- a full disk ----
mkdir full && requires mount -t tmpfs -o size=600m none "$T/full"
cleanup_fn umount -l "$T/full"
head -c 3000000 /dev/urandom >base.img
head -c 150M /dev/urandom >big.img
repo init --no-parity "$T/full/r" >init.log # parity is left out before anything fails: test-parity.c
base=$(repo import -q full/r base.img 2>/dev/null)
before=$(used_kib full)
cp -a full/r/x index-before
cp -a full/r/log log-before
big=$(repo import -q full/r big.img 2>/dev/null)
needed=$(($(used_kib full) - before))
check "with room it is imported" same full/r "$big" big.img
rm -rf "full/r/p/$big" "full/r/m/$big" # as if it had never been
rm -rf full/r/log && cp -a log-before full/r/log # the reader's pin too
rm -rf full/r/x && cp -a index-before full/r/x
check_equal "the space is as before" "$(used_kib full)" "$before"
bad=0
entries=$(find full/r/log -type f | wc -l)
# At every put of a smaller one: src/repo/test-full.c.
for room in 0 16 1000 60000 65600 131100 $((needed - 1200)) $((needed - 32)) $((needed - 12)) $((needed - 4)); do
    rm -rf aside && cp -a full/r aside
    mount -o remount,size=$((before + room))k "$T/full"
    if repo import -q full/r big.img >out.log 2>&1; then
        note "$room KiB of $needed were enough"
        bad=$((bad + 1))
    fi
    grep -q -i 'no space' out.log || { note "$room KiB: $(cat out.log)"; bad=$((bad + 1)); }
    left=$(($(used_kib full) - before))
    [ $room -ge 1024 ] || [ "$(find full/r/log -type f | wc -l)" = "$entries" ] || { note "$room KiB: tries fill the log"; bad=$((bad + 1)); }
    [ $left -le 24 ] || { note "$room KiB: $left KiB are left behind"; bad=$((bad + 1)); }
    [ "$(ids full/r)" = "$base" ] || { note "$room KiB: the list is wrong"; bad=$((bad + 1)); }
    repo verify -q full/r >out.log 2>&1 || { note "$room KiB: $(cat out.log)"; bad=$((bad + 1)); }
    same full/r "$base" base.img || { note "$room KiB: base differs"; bad=$((bad + 1)); }
    mount -o remount,size=600m "$T/full"
    rm -rf full/r && cp -a aside full/r
done
check_equal "a disk that is full at any put: said, the space given back, the rest unharmed" "$bad" 0
# The last MiB is kept for those; a few KiB of it are enough.
mount -o remount,size=$((before + 100))k "$T/full"
check_fails "with 100 KiB left nothing is imported" repo import -q full/r big.img
check "a deletion still does" repo delete full/r "$base"
check "and so does a collection" repo gc -q --undelete-window 0 --grace 0 full/r
[ $((before - $(used_kib full))) -ge 2900 ] && ok "which gives the space back" || not_ok "only $((before - $(used_kib full))) KiB are back"
check "and all is well" repo verify -q full/r
mount -o remount,size=600m "$T/full"
big=$(repo import -q full/r big.img 2>/dev/null)
check "and with more room the backup" same full/r "$big" big.img

# ---- a target that vanishes ----
rm -rf r aside && repo init --no-encryption "$T/r" >init.log
base=$(repo import -q r base.img 2>/dev/null)
# stopped_import ARGUMENT...: an import as $import, stopped in the middle.
stopped_import() {
    "$vmkeep" repo import "$@" >stopped.out 2>stopped.err &
    import=$!
    until [ "$(find r/p -name '0' -newer mark | wc -l)" -ge 1 ]; do
        kill -0 $import 2>/dev/null || break
    done
    kill -STOP $import 2>/dev/null || true
}
cp -a r keep
touch mark && sleep 0.01
stopped_import -q r big.img
rm -rf r/p
kill -CONT $import 2>/dev/null
if wait $import; then not_ok "packs that were cleaned up are missed before the commit"; else ok "packs that were cleaned up are missed before the commit"; fi
check "and said to be" grep -q -E 'gone|No such file' stopped.err
check_equal "there is no such backup" "$(ids r)" "$base"
rm -rf r && cp -a keep r && touch mark && sleep 0.01
stopped_import -q r big.img
rm -rf r
kill -CONT $import 2>/dev/null
if wait $import; then not_ok "a target that vanished is an error"; else ok "a target that vanished is an error"; fi
check "that names the target's object" grep -q -E 'p/|m/|log/' stopped.err
[ ! -e r ] && ok "and is not made anew" || not_ok "and is not made anew"

# ---- a writer that was stopped for so long that another took over ----
cp -a keep r && touch mark && sleep 0.01
stopped_import -q --uid vm r big.img
dead=$(basename "$(find r/p -mindepth 1 -newer mark -type d | head -n 1)")
id=$(repo import -q --uid vm --resume "$dead" r big.img 2>/dev/null)
check "a stopped writer's packs are used" test -n "$id"
check "by a backup that is whole" same r "$id" big.img
kill -CONT $import
if wait $import; then not_ok "the stopped writer commits nothing behind it"; else ok "the stopped writer commits nothing behind it"; fi
check "and says why" grep -q 'ended by somebody else' stopped.err
check_equal "there is one backup of it" "$(repo list --json r | grep -c '"objectUID":"vm"')" 1
check "which is whole still" same r "$id" big.img
check "verify" repo verify -q r

# ---- writers and deletions at once ----
rm -rf r && cp -a keep r
head -c 20M big.img >w1.img
head -c 30M big.img | tail -c 25M >w2.img
writer() { # image
    for i in 1 2 3 4; do repo import -q --uid "$1" r "$1" 2>>"$1.log" || echo failed; done
}
deleter() {
    local id n=0
    while [ ! -e done ]; do
        for id in $(ids r | head -n -2); do
            repo delete r "$id" >/dev/null 2>>delete.log && n=$((n + 1))
        done
    done
    echo $n
}
rm -f done
writer w1.img >w1.out &
first=$!
writer w2.img >w2.out &
second=$!
deleter >deleted &
third=$!
wait $first $second
touch done
wait $third
note "$(cat deleted) were deleted meanwhile"
# A parent may be deleted between being found and being opened.
check_equal "the writers' errors are those of a parent that was deleted" \
    "$(grep -h '^vmkeep repo:' w1.img.log w2.img.log | grep -v -c -E 'parent|no such backup' || true)" 0
bad=0
for id in $(ids r); do
    name=$(repo list --json r | grep "$id" | sed -E 's/.*"objectUID":"([^"]*)".*/\1/')
    case $name in w1.img | w2.img) same r "$id" "$name" || bad=$((bad + 1)) ;; esac
done
check_equal "what is listed is whole" "$bad" 0
check "and verifies" repo verify -q r
