#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: timeout=120
# Keys of a repository as an admin meets them: who may do what, rotation, the
# restore kit typed again, and salvage with the key alone.
. "$(dirname "$0")/lib.sh"
requires_build vmkeep
requires_program python3
vmkeep=$(program vmkeep)
reader=$tests_dir/repo-reader.py
salvage=$tests_dir/repo-salvage.py
export VMKEEP_KEY_FILE=$T/repo.key
cd "$T"

repo() { "$vmkeep" repo "$@"; }
import() { repo import -q "$@" 2>>import.log; }
python3 -c "
import random, sys
r = random.Random(1)
f = open('a.img', 'wb')
for i in (0, 3, 4, 9, 20): f.seek(i * 262144 + 5000); f.write(r.randbytes(200000))
f.seek(2 << 20); f.write(b'text ' * 50000); f.truncate((6 << 20) + 12345)"
cp a.img b.img && printf changed | dd of=b.img bs=1 seek=1100000 conv=notrunc status=none

repo init "$T/r" >init.log
first=$(import --uid vm --metadata init.log -d vda r a.img)
repo keys new-recipient her.key >her.pub
check "a recipient is added by its public key" repo keys add r --recipient her.pub --role restore-only --label "her laptop"
check "a host that only backs up" repo keys add r --new-key-file host.key --role backup-only --label host
check "a maintainer" repo keys add r --new-key-file keeper.key --role maintainer
check_equal "the list has four" "$(repo keys list --json r | wc -l)" 4
check_equal "with their labels" "$(repo keys list --json r | grep -c 'her laptop.*restore-only\|restore-only.*her laptop')" 1

second=$(import -k host.key --uid vm --parent "$first" -d vda r b.img)
check_fails "the host cannot read" repo export -q -f -k host.key r "$second" out.img
repo export -q -f -k host.key r "$second" out.img 2>why || true
check "and is told why" grep -q "this key is backup-only: it does not open the content of disks" why
check_fails "nor what it wrote itself is in a key of its own" python3 "$reader" r host.key "$second" vda out.img
check_fails "the host cannot delete" repo delete -k host.key r "$first"
check_fails "the maintainer cannot read" repo export -q -f -k keeper.key r "$second" out.img
check "but checks" repo check -q -k keeper.key r
check "and calls nothing damaged" eval 'repo stats --json -k keeper.key r | grep -q "\"badFrames\":0"'
check_fails "the recipient cannot delete" repo delete -k her.key r "$first"
check "the recipient reads" repo export -q -f -k her.key r "$second" out.img
check "what the host wrote" cmp b.img out.img
check "the Python reader opens what was sealed" python3 "$reader" r repo.key "$second" vda py.img
check "to the same bytes" cmp b.img py.img

check "the keys are rotated" repo keys rotate r
third=$(import --uid vm --parent "$second" -d vda r a.img)
check_equal "new packs are of the next epoch" "$(od -An -tu2 -j14 -N2 "r/m/$third/0" | tr -d ' ')" 1
check "the recipient reads the new epoch" repo export -q -f -k her.key r "$third" out.img
check "which has the same bytes" cmp a.img out.img
check "so does the Python reader" python3 "$reader" r repo.key "$third" vda py.img
check "and gets the same" cmp a.img py.img
check "verify finds nothing" repo verify -q r
check "the host backs up in the new epoch" import -k host.key --uid vm --parent "$third" -d vda r b.img
check "the maintainer deletes" repo delete -k keeper.key r "$first"

# ---- who left with a full key, and comes back to the store ----
cp -a r w
repo keys add w --new-key-file leaver.key >added
slot=$(grep -oE '[0-9a-f-]{36}' added | head -n 1)
cp "w/keys/$slot" leaver.slot
check "a key is taken away" repo keys remove w "$slot"
check_fails "the maintainer cannot encrypt anew" repo keys rewrite -q -k keeper.key w
check "the keys are rotated, and all is encrypted anew" repo keys rotate -q --rewrite w
for _ in 1 2; do repo gc -q --undelete-window 0 --grace 0 w >gc.log; done
# With its slot, which it had kept.
cp leaver.slot "w/keys/$slot"
maps=0 old=0 # packs of maps are numbered from 2^20 on
for pack in w/p/*/*[0-9] w/m/*/*[0-9]; do
    if [ "$(od -An -tu2 -j14 -N2 "$pack" | tr -d ' ')" = 2 ] && [ "$(od -An -tu2 -j12 -N2 "$pack" | tr -d ' ')" = 1 ]; then continue; fi
    if [ "${pack##*/}" -ge 1048576 ]; then maps=$((maps + 1)); else old=$((old + 1)); fi
done
check_equal "no pack has a key of an older epoch" "$old $maps" "0 0"
check_fails "the leaver opens it no more" repo export -q -f -k leaver.key w "$third" out.img
for id in $(repo list --json w | sed -E 's/.*"id":"([^"]*)".*/\1/'); do
    check "a backup restores" repo export -q -f w "$id" new.img
    check "to what it was" eval "repo export -q -f r $id out.img && cmp out.img new.img"
    check "so does the Python reader" eval "python3 '$reader' w repo.key $id vda py.img && cmp py.img new.img"
done
check "verify finds nothing" repo verify -q w
check "the host backs up on top" import -k host.key --uid vm --parent "$third" -d vda w b.img
check_equal "a second time there is nothing to do" "$(repo keys rewrite -q w)" "Nothing to do: no older key opens what backups need."
rm -rf w

check_fails "the host cannot compact" repo compact -q -k host.key r

check "the restore kit is printed" repo export-kit r kit
check_equal "readable for its owner only" "$(stat -c %a kit)" 600
grep -E '^ +[1-4]:' kit | tr 'a-f' 'A-F' | tr -d ' ' >typed
check "and typed again, without blanks, in capitals" repo keys import-kit typed -k again.key
check "opens the repository" repo export -q -f -k again.key r "$third" out.img
sed '2s/:\(.\)\(.\)/:\2\1/' typed >slip
cmp -s slip typed || check_fails "two digits exchanged are found" repo keys import-kit slip -k slip.key
id=$(repo keys list --json r | grep 'restore kit' | sed -E 's/.*"id":"([^"]*)".*/\1/')
check "the kit is taken away" repo keys remove r "$id"
check_fails "and opens no more" repo list -k again.key r
for id in $(repo keys list --json r | grep '"role":"full"' | sed -E 's/.*"id":"([^"]*)".*/\1/'); do
    check_fails "the last full key stays" repo keys remove r "$id"
done

# ---- salvage: without repo.cfg and log, then without roots, nodes, all m/ ----
cp -a r s && rm -rf s/log s/repo.cfg
check "without a log the backups are found" grep -q "^$second vda" <(python3 "$salvage" s repo.key)
check "and restored" python3 "$salvage" s repo.key "$second" vda out.img
check "to the same bytes" cmp b.img out.img
rm -rf s/m/"$second" s/m/"$third"
top=$(python3 "$salvage" s repo.key 2>/dev/null | awk -v t="$first" '$1 == t' | wc -l)
check_equal "without its metadata a backup is gone, another is not" "$top" 1
check "and that one is whole" python3 "$salvage" s repo.key "$first" vda out.img
check "the same bytes again" cmp a.img out.img
printf XXXX | dd of="s/p/$first/0" bs=1 seek=300000 conv=notrunc status=none
check_fails "a damaged chunk is said" python3 "$salvage" s repo.key "$first" vda out.img
check_equal "and costs one chunk" "$(cmp -l a.img out.img | awk '{ print int(($1 - 1) / 262144) }' | sort -u | wc -l)" 1
rm -rf s/m
python3 "$salvage" s repo.key --chunks chunks 2>/dev/null
check "without any metadata the content of chunks is there" grep -rq "text text text" chunks
