#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: suite=full timeout=300
# After deleting 50 of 100 backups and one collection the space of what nobody
# needs is back within 5 %, and every backup that is left is whole.
. "$(dirname "$0")/lib.sh"
requires_build vmkeep-repo
requires_program python3
export VMKEEP_KEY_FILE=$T/repo.key
cd "$T"
repo() { "$(program vmkeep-repo)" "$@"; }

# A disk of 8 MiB, of which each backup changes a tenth: some of it always the
# same, as a data base does, some anywhere.
python3 - <<'PY'
import hashlib, random
r, disk = random.Random(6), bytearray(random.Random(7).randbytes(8 << 20))
with open("sums", "w") as sums:
    for i in range(100):
        for chunk in [*range(20, 28), *(r.randrange(128) for _ in range(5))]:
            disk[chunk << 16:chunk + 1 << 16] = r.randbytes(65536)
        open(f"{i}.img", "wb").write(disk)
        print(hashlib.sha256(disk).hexdigest(), file=sums)
PY
repo init --chunk-size 64 r >/dev/null
for i in {0..99}; do
    repo import -q --uid vm -d d r "$i.img" >>ids 2>>import.log || not_ok "import $i"
    rm "$i.img"
done
check_equal "100 backups" "$(wc -l <ids)" 100
mapfile -t id <ids
mapfile -t sum <sums
mapfile -t gone < <(python3 -c 'import random; print(*sorted(random.Random(8).sample(range(100), 50)), sep="\n")')
for i in "${gone[@]}"; do echo "${id[i]}"; done >delete
xargs "$(program vmkeep-repo)" delete r <delete >/dev/null
read -r needed before _ < <(python3 "$tests_dir/repo-space.py" r "$VMKEEP_KEY_FILE")
[ $((before - needed)) -gt $((20 << 20)) ] && ok "much is dead: $((before - needed)) of $before bytes" || not_ok "too little is dead: $needed of $before"
check "one collection" repo gc -q --undelete-window 0 --grace 0 r
read -r still after parity < <(python3 "$tests_dir/repo-space.py" r "$VMKEEP_KEY_FILE")
note "needed $needed before and $still after, stored $before and $after"
[ $((100 * (before - after))) -ge $((95 * (before - needed))) ] &&
    ok "95 % of what was dead is back" || not_ok "only $((before - after)) of $((before - needed)) bytes are back"
[ $((100 * after)) -le $((105 * still)) ] &&
    ok "and what is stored is at most 5 % more than what is needed" || not_ok "$after bytes are stored for $still"
# Two stripes of 64 are what the parity of just that takes.
[ $((100 * (after + parity))) -le $((105 * (still + still / 32))) ] &&
    ok "with its parity too: $((after + parity)) bytes" || not_ok "$after bytes and $parity of parity are stored for $still"
alone=0
for name in $(find r/p r/m -name '*.parity'); do [ -f "${name%.parity}" ] || alone=$((alone + 1)); done
check_equal "no parity is left of a pack that went" "$alone" 0
check_equal "each pack has its own" "$(find r/p r/m -type f -name '*.parity' | wc -l)" "$(find r/p r/m -type f ! -name '*.parity' | wc -l)"
check_equal "fifty are left" "$(repo list --json r | wc -l)" 50
check "all of them verify" repo verify -q r
bad=0
for i in {0..99}; do
    case " ${gone[*]} " in *" $i "*) continue ;; esac
    [ "$(repo export -q r "${id[i]}" - | sha256sum | cut -d' ' -f1)" = "${sum[i]}" ] || bad=$((bad + 1))
done
check_equal "and each reads as it was stored" "$bad" 0
