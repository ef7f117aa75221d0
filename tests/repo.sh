#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: timeout=600
# Backup repositories on image files: round trips, a reader of another make,
# kill -9 at every side effect, memory.
. "$(dirname "$0")/lib.sh"
requires_build vmkeep
requires_program python3
vmkeep=$(program vmkeep)
reader=$tests_dir/repo-reader.py
export VMKEEP_KEY_FILE=$T/repo.key
cd "$T"

repo() { "$vmkeep" repo "$@"; }
import() { repo import -q "$@" 2>>import.log; }
# The same bytes, made from a seed: data, text, zeros, 0xff, holes, an odd end.
make_image() {
    python3 - "$1" "$2" <<'PY'
import random, sys
r = random.Random(int(sys.argv[2]))
with open(sys.argv[1], "wb") as f:
    for i in range(40):
        f.seek(r.randrange(0, 60) * 700001)
        kind = r.randrange(4)
        n = r.randrange(1, 900000)
        f.write(r.randbytes(n) if kind == 0 else (b"text %d " % i) * (n // 8 + 1) if kind == 1 else bytes([255 * (kind - 2)]) * n)
    f.truncate(60 * 700001 + 1234567)
PY
}
same() { repo export -q -f "$@" out.img && cmp "$image" out.img; }
make_image base.img 1

for mode in encrypted clear passphrase; do
    rm -rf r
    options=() key=$VMKEEP_KEY_FILE
    case $mode in
    clear) repo init --no-encryption "$T/r" >init.log && key=- ;;
    passphrase) echo "correct horse" >pass && options=(-p pass) && repo init -p pass "$T/r" >init.log ;;
    *) repo init "$T/r" >init.log ;;
    esac
    image=$T/base.img
    first=$(import "${options[@]}" --metadata init.log r base.img)
    check "$mode: what was imported is exported" same "${options[@]}" r "$first"
    cp --sparse=always base.img next.img
    printf 'changed' | dd of=next.img bs=1 seek=20000000 conv=notrunc status=none
    truncate -s 50000001 next.img
    second=$(import "${options[@]}" --parent "$first" r next.img -d base.img)
    image=$T/next.img
    check "$mode: an increment, cut shorter" same "${options[@]}" r "$second"
    if [ $mode != passphrase ]; then
        check "$mode: the Python reader restores it" python3 "$reader" r "$key" "$second" base.img py.img
        check "$mode: to the same bytes" cmp next.img py.img
    fi
    check "$mode: deleting one keeps the other" repo delete "${options[@]}" r "$first"
    check "$mode: which still exports" same "${options[@]}" r "$second"
    check_fails "$mode: the deleted one is gone" repo export -q -f "${options[@]}" r "$first" out.img
    for level in 0 1 2; do check "$mode: verify level $level" repo verify -q "${options[@]}" -l $level r; done
done
check_fails "a wrong passphrase opens nothing" repo list -p /etc/hostname r
check "two disks in one backup" import -p pass r base.img next.img
check_equal "the list has the two that were not deleted" "$(repo list -p pass --json r | wc -l)" 2

# ---- kill -9 at every side effect ----
rm -rf clean r && repo init "$T/clean" >init.log
first=$(import --uid u clean base.img)
image=$T/base.img
# crash COMMAND...: run it on a copy, killed before and after each effect.
crash() {
    local flow=repo-$1 n count bad=0
    rm -rf r effects && cp -a clean r
    VMKEEP_EFFECT_LOG=$T/effects "$vmkeep" repo "$@" >/dev/null 2>&1
    count=$(grep -c "^$flow " effects)
    for n in $(seq "$count"); do
        for when in before after; do
            rm -rf r && cp -a clean r
            VMKEEP_CRASH_AT=$flow:$n:$when "$vmkeep" repo "$@" >/dev/null 2>&1 && true
            if ! after_crash "$1"; then
                bad=$((bad + 1))
                note "after a crash $when effect $n of $1"
            fi
        done
    done 2>/dev/null
    check_equal "$1: whole after a crash at each of $count side effects" "$bad" 0
    [ "$count" -ge 3 ] || not_ok "$1 counts its side effects ($count)"
}
after_crash() {
    local id ids
    repo verify -q r >verify.log 2>&1 || return 1
    ids=$(repo list --json r | sed -E 's/.*"id":"([^"]*)".*/\1/')
    for id in $ids; do
        image=$T/base.img
        [ "$id" = "$first" ] || image=$T/next.img
        same r "$id" || return 1
    done
    case $1 in import) [[ $ids == *$first* ]] || return 1 ;; esac
    # And on it goes.
    import --uid after r next.img -d base.img >/dev/null
}
crash import -q --uid u r next.img -d base.img
crash delete r "$first"

# ---- resume ----
size_of() { du -sb --apparent-size --exclude="*.parity" "$1" | cut -f 1; }
# Incompressible, four packs; killed when the name of the second was given.
rm -rf r && repo init "$T/r" >init.log
head -c 200M /dev/urandom >rand.img
image=$T/rand.img
cp -a r clean2
VMKEEP_EFFECT_LOG=$T/effects "$vmkeep" repo import -q clean2 rand.img >/dev/null 2>&1
at=$(grep '^repo-import ' effects | grep -n ' link .*p/.*/1$' | cut -d : -f 1)
VMKEEP_CRASH_AT=repo-import:$at:after "$vmkeep" repo import -q r rand.img >/dev/null 2>&1 && not_ok "it was killed"
rm -rf clean2
check_equal "an import killed in the middle is no backup" "$(repo list --json r | wc -l)" 0
dead=$(basename r/p/*)
left=$(size_of "r/p/$dead")
note "it left $left bytes"
id=$(import --resume "$dead" r rand.img)
new=$(size_of "r/p/$id")
[ "$new" -lt $((200 * 1048576 - left + 4000000)) ] && ok "resumed, it stores what was missing" || not_ok "resumed, it stores what was missing ($new after $left)"
check "and exports what was imported" same r "$id"
check "and verifies" repo verify -q -l 2 r
check_fails "a backup that exists is not resumed" repo import -q --resume "$id" r rand.img
# A pack without its end, another with a hole: neither gets in.
rm -rf "r/p/$id" r/m/* r/log && mkdir -m 700 r/log
truncate -s -100000 "r/p/$dead/0"
dd if=/dev/zero of="r/p/$dead/1" bs=1M seek=20 count=20 conv=notrunc status=none
id=$(import --resume "$dead" r rand.img)
check "what a torn pack claims is stored again" same r "$id"
new=$(size_of "r/p/$id")
[ "$new" -gt 150000000 ] && [ "$new" -lt 190000000 ] && ok "the rest of it is used" || not_ok "the rest of it is used ($new)"
rm -f rand.img

# ---- memory ----
rm -rf r big.img && repo init --no-encryption "$T/r" >init.log
truncate -s 1T big.img
for i in 0 100 500 900 1023; do dd if=/dev/urandom of=big.img bs=1M count=8 seek=$((i * 1024)) conv=notrunc status=none; done
# peak COMMAND...: the most memory it had, in MiB.
peak() { python3 -c 'import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)' "$@"; }
mib=$(peak "$vmkeep" repo import -q r big.img)
[ "$mib" -lt 256 ] && ok "1 TiB sparse is imported in $mib MiB" || not_ok "1 TiB sparse is imported in $mib MiB"
id=$(repo list --json r | sed -E 's/.*"id":"([^"]*)".*/\1/')
mib=$(peak "$vmkeep" repo export -q r "$id" big2.img)
[ "$mib" -lt 256 ] && ok "and exported in $mib MiB" || not_ok "and exported in $mib MiB"
check_equal "as sparse as it was" "$(($(stat -c %b big2.img) / 2048))" "$(($(stat -c %b big.img) / 2048))"
