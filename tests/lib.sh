# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# tests/lib.sh: what every integration test (tests/*.sh) sources first.
#
#     . "$(dirname "$0")/lib.sh"
#     requires_libvirt
#     libvirt_start
#     guest_define g1; guest_start g1
#     check "the guest answers" guest_ping g1
#
# A test prints TAP and exits 0, 1, or 77 when it cannot run here (the reason
# is its last line). It runs as root and needs no systemd and no /dev/kvm.
#
# Nothing outlives a test: libvirtd and the guests live in a mount and a pid
# namespace whose first process dies with the shell that runs the test, however
# that ends, and at the latest after $TEST_LIMIT seconds. The machine's own
# libvirtd is neither used nor disturbed.
#
# Set from outside:
#   VMKEEP_BUILD  build directory (build)
#   VMKEEP_CACHE  what is downloaded or built once (.cache)
#   TEST_KEEP=1   keep the scratch directory
#   TEST_LIMIT    seconds (900)
#   TEST_BAIL=1   end at the first failure
#   TEST_PATIENCE times as long as its tests say may everything take (4)
set -euo pipefail

tests_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
top_dir=${tests_dir%/tests}
BUILD=$(realpath -m -- "${VMKEEP_BUILD:-$top_dir/build}")
VMKEEP_CACHE=$(realpath -m -- "${VMKEEP_CACHE:-$top_dir/.cache}")
TEST_LIMIT=${TEST_LIMIT:-900}
TEST_PATIENCE=${TEST_PATIENCE:-4}
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C.UTF-8

# Short, because the path of a UNIX socket ends at 107 bytes.
T=$(mktemp -d "${TMPDIR:-/tmp}/vk-XXXXXX")
chmod 711 "$T"

# ---- results ----

test_count=0
test_failed=0
test_ended=no
cleanup_list=()

# cleanup_fn COMMAND...: run it when the test ends; last in, first out.
cleanup_fn() { cleanup_list+=("$(printf '%q ' "$@")"); }

ok() { test_count=$((test_count + 1)); echo "ok $test_count - $*"; }
not_ok() { test_count=$((test_count + 1)); test_failed=$((test_failed + 1)); echo "not ok $test_count - $*"; }
bail() { [ -z "${TEST_BAIL:-}" ] || exit 1; }
note() { sed 's/^/# /' <<<"$*"; }

# check SENTENCE COMMAND...: ok if the command succeeds; else its output is
# shown and the test goes on.
check() {
    local sentence=$1 output
    shift
    if output=$("$@" 2>&1); then
        ok "$sentence"
    else
        not_ok "$sentence"
        note "failed: $*"
        note "$output"
        bail
        return 0
    fi
}
# check_fails SENTENCE COMMAND...: the same, for what must fail.
check_fails() {
    local sentence=$1 output
    shift
    if output=$("$@" 2>&1); then
        not_ok "$sentence"
        note "succeeded, but must not: $*"
        note "$output"
    else
        ok "$sentence"
    fi
}
# check_equal SENTENCE GOT WANTED
check_equal() {
    if [ "$2" = "$3" ]; then ok "$1"; else
        not_ok "$1"
        note "got '$2', wanted '$3'"
        bail
    fi
}

# skip_all REASON: this test cannot run here.
skip_all() {
    test_ended=yes
    echo "1..0 # SKIP $*"
    echo "skipped: $*"
    exit 77
}
# requires COMMAND...: skip unless it succeeds. requires_program NAME...
requires() { "$@" >/dev/null 2>&1 || skip_all "needs: $*"; }
requires_program() {
    local program
    for program; do command -v "$program" >/dev/null || skip_all "needs the program $program"; done
}

on_exit() {
    local status=$? i
    trap - EXIT
    set +e
    for ((i = ${#cleanup_list[@]} - 1; i >= 0; i--)); do eval "${cleanup_list[i]}" >/dev/null 2>&1; done
    if [ $test_ended = no ]; then
        if [ $status != 0 ]; then not_ok "the test runs to its end (exit status $status)"; fi
        echo "1..$test_count"
        [ $test_failed = 0 ] && status=0 || status=1
    fi
    if [ $status = 0 ] || [ $status = 77 ]; then :; else show_logs; fi
    if [ "${TEST_KEEP:-}" = 1 ]; then note "kept: $T"; else rm -rf --one-file-system "$T"; fi
    exit $status
}
trap on_exit EXIT
trap 'exit 143' TERM INT HUP

# What the daemons said, for whoever reads a failure.
show_logs() {
    local f
    for f in "$T"/*.log "$T"/lv/*.log "$T"/*/console.log; do
        [ -s "$f" ] || continue
        note "---- ${f#"$T"/}, last lines"
        note "$(tail -n 25 "$f" | tr -cd '\11\12\40-\176' | cut -c1-400)"
    done
}

# ---- time and processes ----

now_ms() { echo $(($(date +%s%N) / 1000000)); }
median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }

# wait_until SECONDS COMMAND...: true as soon as the command is. SECONDS is what
# a machine with nothing else to do surely needs; TEST_PATIENCE times as long
# is waited, because others may keep it busy, and a wait that ends well costs
# nothing. How long something took at most is never proven by it. What takes
# longer than a second is looked at five times a second: to look takes time from
# what is waited for.
wait_until() {
    local end=$((SECONDS + $1 * TEST_PATIENCE)) looks=0
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        looks=$((looks + 1))
        if [ $looks -le 15 ]; then sleep 0.05; else sleep 0.2; fi
    done
}

# is_alive PID: a zombie is not, unless a thread of it has not ended yet: that
# one still holds the files and the locks of a process that was killed.
is_alive() {
    local task line
    for task in /proc/"$1"/task/*/stat; do
        { read -r line <"$task"; } 2>/dev/null || continue
        [[ ${line##*) } == [ZX]* ]] || return 0
    done
    return 1
}

# start_process NAME COMMAND...: in the background; dies with this shell. Its
# pid is in pid_NAME, its output in $T/NAME.log. Not from a subshell, $(...) or
# check: it would die with that.
start_process() {
    local name=$1
    shift
    setpriv --pdeathsig KILL "$@" </dev/null >>"$T/$name.log" 2>&1 &
    declare -g "pid_$name=$!"
    disown $! # no word when it is killed
}
# stop_process NAME SIGNAL [SECONDS]: signal it, wait; then SIGKILL.
stop_process() {
    local var=pid_$1 pid
    pid=${!var:-}
    [ -n "$pid" ] || return 0
    kill -"$2" "$pid" 2>/dev/null || true
    wait_until "${3:-10}" eval "! is_alive $pid" || kill -KILL "$pid" 2>/dev/null || true
    declare -g "$var="
}

# program NAME: the path of one of our programs in the build directory.
program() {
    local path
    for path in "$BUILD"/src/*/"$1" "$BUILD"/tests/"$1" "$BUILD/$1"; do
        if [ -x "$path" ] && [ -f "$path" ]; then echo "$path"; return; fi
    done
    echo "no program $1 in $BUILD" >&2
    return 1
}
requires_build() {
    local name
    for name; do program "$name" >/dev/null 2>&1 || skip_all "needs $name, built in $BUILD"; done
}

# free_port: a TCP port of 127.0.0.1 that nobody listens on.
free_port() {
    local port
    for _ in {1..50}; do
        port=$((20000 + RANDOM % 10000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo $port; return; fi
    done
    return 1
}

. "$tests_dir/lib-guest.sh"
. "$tests_dir/lib-daemon.sh"
