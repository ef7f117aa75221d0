#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: timeout=300
# vmkeep repo import and export as a user meets them: files that are none,
# that change while they are read, names that nobody expects, a target that is
# full, Ctrl-C. What fails leaves nothing behind and says what to do.
. "$(dirname "$0")/lib.sh"
requires_build vmkeep
requires_program python3
vmkeep=$(program vmkeep)
export VMKEEP_KEY_FILE=$T/repo.key
cd "$T"

repo() { "$vmkeep" repo "$@"; }
ids() { repo list --json "$1" | sed -E 's/.*"id":"([^"]*)".*/\1/'; }
entries() { find "$1/log" -type f | wc -l; }
status_of() { local status=0; timeout 60 "$vmkeep" repo "$@" >out 2>&1 </dev/null || status=$?; echo $status; }
says() { grep -q -E -- "$1" out || { cat out; return 1; }; }

repo init "$T/r" >init.log
head -c 3000000 /dev/urandom >a.img
truncate -s 5000000 a.img
id=$(repo import -q r a.img 2>/dev/null)
before=$(entries r)

# ---- what cannot be imported is refused before anything is written ----
mkfifo fifo
check_equal "a FIFO is refused and not waited for" "$(status_of import r fifo)" 2
check "as what it is" says 'fifo: neither a file nor a disk'
check_equal "a terminal's kin too" "$(status_of import r /dev/zero)" 2
check_equal "a directory" "$(status_of import r "$T")" 2
check_equal "a file that is not there" "$(status_of import r none.img)" 3
cp a.img $'na\xc3\xafve.img'
check_equal "a name that no disk can have" "$(status_of import r $'na\xc3\xafve.img')" 2
check "--disk is said to help" says 'na.*ve.img.*--disk'
check "and does" repo import -q --disk naive --uid other r $'na\xc3\xafve.img'
before=$((before + 2))
mkdir sub && cp a.img sub/a.img
check_equal "two files of one name" "$(status_of import r a.img sub/a.img)" 2
check "which is told" says 'two files are called a.img'
check_equal "a UID that is none" "$(status_of import --uid $'new\nline' r a.img)" 2
check_equal "metadata that is not there" "$(status_of import --metadata none r a.img)" 3
check_equal "none of that is in the log" "$(entries r)" "$before"

check "info --json is JSON" eval 'repo info --json r | python3 -c "import json, sys; assert json.load(sys.stdin)[\"backups\"] == 2"'
mkdir $'d\xe9' && cp a.img $'d\xe9/a.img'
check "a path that is no UTF-8 is imported" repo import -q r $'d\xe9/a.img'
check "and listed as JSON" eval 'repo list --json r | python3 -c "import json, sys; assert [json.loads(l) for l in sys.stdin][-1][\"objectUID\"] == \"a.img\""'

# ---- Ctrl-C where a passphrase is asked for ----
cat >ask.py <<'END'
import os, pty, signal, sys, termios, time
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
seen = b""
while b"Passphrase:" not in seen:
    seen += os.read(fd, 100)
def echoes(): return bool(termios.tcgetattr(fd)[3] & termios.ECHO)
while echoes(): time.sleep(0.05)
os.write(fd, b"\x03")
end = time.time() + 20
while not echoes() and time.time() < end: time.sleep(0.05)
status = os.waitpid(pid, 0)[1]
assert echoes() and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT, status
END
echo secret >words
repo init -p words "$T/p" >/dev/null
check "Ctrl-C at the passphrase ends it and leaves the terminal as it was" timeout 60 env VMKEEP_KEY_FILE=none python3 ask.py "$vmkeep" repo list "$T/p"

# ---- a qcow2 image without the one that it is based on ----
printf 'QFI\373\0\0\0\3\0\0\0\0\0\0\0\160' >overlay.qcow2
truncate -s 65536 overlay.qcow2
check_equal "an overlay is imported as it is" "$(status_of import r overlay.qcow2)" 0
check "with a warning" says 'warning: overlay.qcow2 is a qcow2 image that is based on another one'

# ---- files that change while they are read ----
# changes COMMAND: import big.img and b.img; the command runs before b.img is
# read, whose size is known by then.
head -c 150M /dev/urandom >big.img
changes() {
    local pid
    cp --sparse=always a.img b.img
    rm -f err.log && mkfifo err.log
    "$vmkeep" repo import --parent none r big.img b.img >changed.id 2>err.log &
    pid=$!
    { read -r _; eval "$1"; cat >out; } <err.log
    wait $pid
}
check_fails "a file that becomes shorter is no backup" changes 'truncate -s 3200000 b.img'
check "it is named" says 'b.img: became shorter'
check "one that grows is read up to where it ended" changes 'truncate -s 6000000 b.img; head -c 1000000 /dev/urandom >>b.img'
check "with a warning" says 'warning: b.img changed while it was read'
check "nothing of it is missing" repo export -q -f --disk b.img r "$(cat changed.id)" out.img
check "and nothing is added" cmp a.img out.img

# ---- the backup before is damaged ----
rm -rf dam && repo init "$T/dam" >init.log
before_id=$(repo import -q dam a.img 2>/dev/null)
meta=dam/m/$before_id/0
rm "$meta.parity" # which would do instead
cp "$meta" meta.held
: >"$meta"
check_equal "a backup before that cannot be read is no reason to make none" "$(status_of import dam a.img)" 0
check "it is said" says 'warning: not compared with the backup before, which cannot be read: .*'"$before_id"
check_equal "one that is asked for is" "$(status_of import --parent "$before_id" dam a.img)" 9
check "the new one is whole" repo export -q -f dam "$(ids dam | tail -n 1)" out.img
check "in every byte" cmp a.img out.img

# ---- parity that is added later ----
repo init --no-parity "$T/later" >init.log
later=$(repo import -q later a.img 2>/dev/null)
check_equal "a repository without parity" "$(find later -name "*.parity" | wc -l)" 0
check_equal "gets it by a check" "$(status_of check -q --level 0 --add-parity later)" 0
check "which says so" says 'Parity of 2 packs was made'
check_equal "there it is" "$(find later -name "*.parity" | wc -l)" 2
check_equal "once more" "$(status_of check -q --add-parity later)" 0
check_fails "does nothing" says 'made'
check_equal "info tells" "$(status_of info later)" 0
check "of it" says 'Parity: .*for each pack'
printf 'xyz' | dd of="later/p/$later/0" bs=1 seek=300000 conv=notrunc status=none
check_equal "now a damaged pack" "$(status_of check -q later)" 0
check "is repaired" says '^repaired: p/'
check "and whole" repo verify -q later

# ---- export ----
truncate -s 200M sparse.img
printf 'x' | dd of=sparse.img bs=1 seek=150000000 conv=notrunc status=none
holes=$(repo import -q r sparse.img 2>/dev/null)
check "what is sparse" repo export -q r "$holes" sparse.out
check "stays what it is" cmp sparse.img sparse.out
check "and sparse, [ $(($(stat -c %b sparse.out) / 2)) KiB ]" test "$(stat -c %b sparse.out)" -lt 4096
cp a.img mine.img
check_equal "a file that exists is kept" "$(status_of export r "$id" mine.img)" 4
check "and --force told" says 'mine.img: exists already; --force'
check_equal "a FIFO is no target" "$(status_of export -f r "$id" fifo)" 2
check_equal "standard output that is full" "$("$vmkeep" repo export r "$id" - >/dev/full 2>&1; echo $?)" 8
mkdir small && requires mount -t tmpfs -o size=1m none "$T/small"
cleanup_fn umount -l "$T/small"
check_equal "no space for it" "$(status_of export r "$id" small/out.img)" 8
check "the file is named" says 'small/out.img: write at .*No space'
check_equal "nothing is left of it" "$(ls small)" ""
head -c 1000 /dev/urandom >small/old.img
check_equal "no space, over a file" "$(status_of export -f r "$id" small/old.img)" 8
check "that is incomplete, and said to be" says 'small/old.img: is incomplete'
mount -o remount,size=7m "$T/small" && rm -f small/*
repo init "$T/small/r" >init.log
little=$(repo import -q small/r sub/../mine.img --disk x 2>/dev/null)
head -c "$(($(df -k --output=avail small | tail -n 1) - 500))k" /dev/urandom >most.img # it would fit
check_equal "the last of the space is not for packs" "$(status_of import small/r most.img)" 8
check "but for the log" repo delete small/r "$little"
umount "$T/small" && mount -t tmpfs -o size=1m none "$T/small"
cp a.img x:y.img
odd=$(repo import -q r x:y.img 2>/dev/null)
check "the only disk needs no name" repo export -q r "$odd" out2.img
check_equal "of two one must be chosen" "$(status_of export -f r "$(cat changed.id)" out.img)" 2
check "their names are told" says 'choose one with --disk: big.img, b.img'

# ---- Ctrl-C ----
"$vmkeep" repo export r "$(cat changed.id)" --disk big.img gone.img >out 2>&1 &
pid=$!
until [ -s gone.img ] || ! kill -0 $pid 2>/dev/null; do :; done
status=0
kill -TERM $pid 2>/dev/null || true
wait $pid || status=$?
if [ $status != 0 ]; then
    check "an export that was ended leaves no file" test ! -e gone.img
else
    note "it was faster"
fi
head -c 300M /dev/urandom >big.img
rm -f err.log && mkfifo err.log
"$vmkeep" repo import --parent none r big.img >/dev/null 2>err.log &
pid=$!
status=0
{
    read -r _ session
    until [ -e "r/p/$session/1" ] || ! kill -0 $pid 2>/dev/null; do :; done
    kill -TERM $pid 2>/dev/null || true
    cat >out
} <err.log
wait $pid || status=$?
if [ $status != 0 ]; then
    check "an import that was ended says how to go on" says "--resume $session"
    rm -f effects && export VMKEEP_EFFECT_LOG=$T/effects
    check "which works" repo import -q --resume "$session" --parent none r big.img
    unset VMKEEP_EFFECT_LOG
    check "the names that it takes over are synced before the COMMIT" \
        awk -v dir="p/$session" '$3 == "fsync" && $4 == dir { synced = 1 } $3 == "link" && $4 ~ "^log/" && objects { exit !synced } $3 == "link" && $4 ~ "^m/" { objects++ }' effects
else
    note "it was faster"
fi

# ---- what is named is durable first ----
# in_order FLOW: in its side effects no object gets its name before its bytes
# are synced, no COMMIT is written before all names are, and in the end all
# names are.
in_order() {
    awk -v flow="repo-$1" '
        function parent(x) { return x ~ "/" ? substr(x, 1, match(x, "/[^/]*$") - 1) : "." }
        function bad(text) { print NR ": " text; failed = 1 }
        $1 != flow { next }
        $3 == "fdatasync" && $4 ~ "^log/" && objects { for (d in dirty) bad($4 " before " d " is synced") }
        $3 == "fdatasync" { synced[$4] = 1 }
        $3 == "mkdir" { dirty[parent($4)] = 1 }
        $3 == "link" { if (!synced[$4]) bad($4 " has a name and is not synced"); dirty[parent($4)] = 1; objects += $4 !~ "^log/"; links++ }
        $3 == "fsync" { delete dirty[$4] }
        END { for (d in dirty) bad(d " is not synced in the end"); exit failed || !links }' effects
}
export VMKEEP_EFFECT_LOG=$T/effects
rm -f effects && repo init "$T/order/r" >init.log
check "a repository is durable when it is made" in_order init
check "with the directories that were made for it" grep -q "fsync $T\$" effects
rm -f effects && id=$(repo import -q order/r a.img 2>/dev/null)
check "an import: bytes, names, then the COMMIT" in_order import
rm -f effects && repo delete order/r "$id" >/dev/null
check "a deletion is durable" in_order delete
unset VMKEEP_EFFECT_LOG

# ---- every byte is what docs/formats/ says ----
repo init --no-encryption "$T/clear" >init.log
python3 - d.img 1 <<'END'
import random, sys
r = random.Random(int(sys.argv[2]))
with open(sys.argv[1], "wb") as f:
    for i in range(12):
        f.write([r.randbytes(65536), b"\xaa" * 65536, (b"text %d " % i) * 9362][i % 3])
    f.truncate(70 * 65536 + 777)
END
cp d.img e.img
first=$(repo import -q --chunk-size 64 --metadata init.log clear d.img e.img 2>/dev/null)
id=$first
for i in 0 2 4; do
    head -c 200000 /dev/urandom | dd of=d.img bs=65536 seek=$i conv=notrunc status=none
    id=$(repo import -q --chunk-size 64 --parent "$id" clear d.img 2>/dev/null)
done
clear() { repo "$@" >>clear.log 2>&1; }
clear hold clear "$id" because
clear release clear "$id"
check_equal "one that is named twice is deleted once" "$(repo delete clear "$first" "$first")" "Deleted 1 backup."
check_equal "and taken back once" "$(repo undelete clear "$first" "$first")" "Took back 1 backup."
check "the format is that of the pages" python3 "$tests_dir/repo-format.py" clear
clear delete clear "$first"
clear check -q clear
if unshare -m true 2>err; then # as a medium that cannot be written to
    mkdir seal
    sealed() { unshare -m sh -c 'mount --bind clear seal && mount -o remount,ro,bind seal && exec "$@"' - "$vmkeep" repo "$@"; }
    sealed check -q seal 2>err && status=0 || status=$?
    check "a check of what is read-only names verify" grep -q "vmkeep repo verify" err
    check "which works" sealed verify -q seal
fi
clear gc --undelete-window 0 --grace 0 --dead 1 clear
check "so it is after a collection" python3 "$tests_dir/repo-format.py" clear
bad=0
for object in repo.cfg log/00000000000000000002 "$(cd clear && find p -name "*[0-9]" -type f | head -n 1)" "$(cd clear && find p -name "*.parity" | head -n 1)" "$(cd clear && find m -name "*[0-9]" -type f | head -n 1)" "$(cd clear && find x -type f | head -n 1)"; do
    cp "clear/$object" held
    printf '\377' | dd of="clear/$object" bs=1 seek=44 conv=notrunc status=none
    ! python3 "$tests_dir/repo-format.py" clear >/dev/null 2>&1 || { note "$object: not seen"; bad=$((bad + 1)); }
    cp held "clear/$object"
done
check_equal "who checks that sees a changed byte" "$bad" 0

# ---- init ----
check_equal "init over a file" "$(status_of init "$T/a.img")" 3
mv r/repo.cfg kept.cfg
check_equal "init where a repository has lost its repo.cfg" "$(status_of init "$T/r")" 4
check "it says so" says 'repo.cfg'
mv kept.cfg r/repo.cfg
check_equal "a key for no encryption" "$(status_of init --no-encryption -k k "$T/r2")" 2
repo init -k "$T/other.key" "$T/r3" >init.log
check_equal "another repository's key opens nothing" "$(VMKEEP_KEY_FILE=$T/other.key status_of list r)" 6
check_equal "and is in nobody's way where none is needed" "$(VMKEEP_KEY_FILE=$T/other.key status_of verify -l 0 r)" 0
rm -r r3/keys
check_equal "without its slots a repository cannot be opened" "$(status_of list -k other.key r3)" 6
check "it is said what to do" says 'no key slot .* put a copy of them back'
check "everything is whole in the end" repo verify -q r
