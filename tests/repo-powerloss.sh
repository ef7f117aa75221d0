#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=full timeout=600
# F12: power is lost after any side effect of a backup, a repair of packs and of
# their parity, a deletion, a collection that rewrites packs. What was not synced by then is gone: all of it, all but
# the log, or a half. What is listed then is whole, and the next run succeeds.
. "$(dirname "$0")/lib.sh"
requires_build vmkeep-repo
requires_program python3
repo=$(program vmkeep-repo)
cd "$T"
repo() { "$repo" "$@"; }
now=(--undelete-window 0 --grace 0)

# lose KEEP: what the effects in the file "effects" left in r, beside the tree
# of "clean", goes or comes back as a file system may have it after a crash.
cat >lose.py <<'PY'
import os, random, shutil, sys
how, rand = sys.argv[1], random.Random(sys.argv[2])
synced, names, gone, replaced = set(), {}, set(), {}
for line in open("effects"):
    _, _, kind, what = line.rstrip("\n").split(" ", 3)
    if kind == "fdatasync":
        synced.add(what)
    elif kind in ("mkdir", "link") and not os.path.exists("clean/" + what):
        assert kind == "mkdir" or what in synced, f"{what} gets its name before its bytes are safe"
        names[what] = os.path.dirname(what) or "."
    elif kind == "rename":
        assert what in synced, f"{what} is replaced before the new bytes are safe"
        replaced[what] = os.path.dirname(what) or "."
    elif kind == "unlink":
        gone.add(what)
    elif kind == "fsync":
        gone.discard(what)  # both say the last word of the name
        names = {name: where for name, where in names.items() if where != what}
        replaced = {name: where for name, where in replaced.items() if where != what}
    else:
        assert kind in ("mkdir", "link"), f"unknown effect {kind}"
def is_lost(name):
    return how == "all" or how == "data" and not name.startswith("log/") or how == "half" and rand.random() < 0.5
for name in sorted(names):
    path = "r/" + name
    if os.path.lexists(path) and is_lost(name):
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
for name in sorted(replaced):  # as before, or anew
    if is_lost(name):
        shutil.copy2("clean/" + name, "r/" + name)
for at, _, files in os.walk("clean"):  # a removal that is not durable
    for name in files:
        back = os.path.join("r", os.path.relpath(os.path.join(at, name), "clean"))
        if name in gone and not os.path.exists(back) and os.path.isdir(os.path.dirname(back)) and is_lost(back[2:]):
            shutil.copy2(os.path.join(at, name), back)
PY

head -c 700K /dev/urandom >1.img
{ head -c 300K 1.img; head -c 500K /dev/urandom; } >2.img
{ head -c 100K /dev/urandom; tail -c 600K 2.img; } >3.img
repo init --no-encryption --chunk-size 64 clean >/dev/null
import() { repo import -q -t 1 --parent none --uid "$1" "$2" "$1.img" 2>>import.log; }
one=$(import 1 clean)
two=$(import 2 clean)
same() { repo export -q -f r "$1" out.img && cmp -s out.img "$2"; }
verified() { repo verify -q r; }
# Every backup that is listed, by its UID: is it its image?
whole() {
    local id uid
    while read -r id uid; do
        same "$id" "$uid.img" || { echo "$uid.img differs"; return 1; }
    done < <(repo list r | awk 'NR > 1 { print $1, $NF }')
    verified
}
# powerloss WHAT FLOW COMMAND...: COMMAND is one of the functions above.
powerloss() {
    local what=$1 flow=$2 n count how bad=0
    shift 2
    rm -rf r effects && cp -a clean r
    VMKEEP_EFFECT_LOG=$T/effects "$@" >run.log 2>&1
    count=$(grep -c "^$flow " effects || true)
    [ "$count" -ge 3 ] || not_ok "$what counts its side effects ($count)"
    for n in $(seq "$count"); do
        rm -rf crashed r effects && cp -a clean r
        (VMKEEP_EFFECT_LOG=$T/effects VMKEEP_CRASH_AT=$flow:$n:after "$@") >run.log 2>&1 || true
        mv r crashed
        for how in all data half; do
            rm -rf r && cp -a crashed r
            python3 lose.py $how "$n" || bad=$((bad + 1))
            whole >out.log 2>&1 || { bad=$((bad + 1)) && note "$what, $how lost after effect $n: $(tail -n 2 out.log)"; }
            must_have || { bad=$((bad + 1)) && note "$what, $how lost after effect $n: a backup is gone"; }
            { "$@" && whole && must_have; } >out.log 2>&1 || { bad=$((bad + 1)) && note "$what, $how lost after effect $n, once more: $(tail -n 2 out.log)"; }
        done
    done 2>/dev/null
    check_equal "$what: whole after a loss of power at each of $count side effects" "$bad" 0
}
has() { case $(repo list r) in *"$1"*) ;; *) return 1 ;; esac; }
must_have() { has "$one" && has "$two"; }
powerloss "a backup" repo-import import 3 r
# Damage that restores read around, by parity, until it is repaired.
flip() {
    python3 -c '
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(0, 2)
    at = f.tell() * 2 // 3
    f.seek(at)
    byte = f.read(1)[0]
    f.seek(at)
    f.write(bytes([byte ^ 16]))
' "$1"
}
cp -a clean whole
flip "clean/p/$one/0"
flip "clean/m/$one/0"
flip "clean/p/$two/0.parity"
rm "clean/m/$two/0.parity"
verified() { :; }
repair() { repo check -q r && repo verify -q r; }
powerloss "a repair" repo-check repair
rm -rf r && cp -a clean r && repair >/dev/null
check "which makes all as it was" eval 'for f in $(cd whole && find p m -type f); do cmp whole/$f r/$f || exit 1; done'
check "and leaves nothing beside it" test -z "$(find r -name ".tmp*")"
rm -rf clean && mv whole clean
verified() { repo verify -q r; }
delete() { repo delete r "$one" || ! has "$one"; }
must_have() { has "$two"; }
powerloss "a deletion" repo-delete delete
repo delete clean "$one" >/dev/null
gc() { repo gc -q "${now[@]}" --dead 1 r; }
powerloss "a collection" repo-gc gc
gc >/dev/null
check_equal "which rewrote what was half dead" "$(repo stats --json r | sed -nE 's/.*"deadPacks":([0-9]+).*/\1/p')" 0
