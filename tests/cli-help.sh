#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: timeout=60
# Do vmkeep's --help, its man page and its completion say the same?
. "$(dirname "$0")/lib.sh"
requires_build vmkeep
vmkeep=$(program vmkeep)
man_page=$top_dir/docs/man/vmkeep.1

# The options of a text, one a line.
options_in() { grep -oE -- '--[a-z][a-z-]+' | sort -u; }
# The part of the man page under a heading, with its dashes plain.
section() { awk -v want="$1" '/^\.S[HS] / { on = substr($0, 5) == want; next } on' "$man_page" | sed 's/\\-/-/g'; }
# The options that a command has itself, from its help.
own_options() { "$vmkeep" "$@" --help | awk '/^Options:/ { on = 1; next } /^[^ ]/ { on = 0 } on' | sed -nE 's/^ +(-[a-z], )?(--[a-z-]+).*/\2/p' | sort -u; }
# Those that a section of the man page explains: the lines after .TP.
explained() { awk '/^\.TP/ { getline; print }' | options_in; }

mapfile -t commands < <("$vmkeep" --help | sed -nE 's/^  vmkeep ((vm|snapshot|backup|restore|target|kubeconfig|version)( [a-z]+)?)( .*)?$/\1/p' | grep -vE ' (before|create) .*--' | sort -u)
[ ${#commands[@]} -ge 25 ] && ok "--help lists ${#commands[@]} commands" || not_ok "--help lists the commands: ${commands[*]}"

check_equal "the man page explains the options of every command" \
    "$(section 'OPTIONS OF EVERY COMMAND' | explained | tr '\n' ' ')" \
    "$("$vmkeep" --help | awk '/^Options of every/ { on = 1; next } /^$/ { on = 0 } on' | sed -nE 's/^ +(-[a-zA-Z], )?(--[a-z-]+).*/\2/p' | sort -u | tr '\n' ' ')"
for command in "${commands[@]}"; do
    # shellcheck disable=SC2086 # noun and verb
    usage=$("$vmkeep" $command --help | head -n 1 | sed -E 's/ *\[options\]$//')
    if ! grep -qxF ".SS $usage" "$man_page"; then
        not_ok "the man page has a section \"$usage\""
        continue
    fi
    # shellcheck disable=SC2086
    check_equal "vmkeep $command: help and man page agree on its options" \
        "$(section "$usage" | explained | tr '\n' ' ')" "$(own_options $command | tr '\n' ' ')"
done
# Examples may be longer: they are there to be copied.
check_equal "the help fits a terminal of 80 columns" "$(for command in "" "${commands[@]}"; do
    # shellcheck disable=SC2086
    "$vmkeep" $command --help | awk '/^Examples:/ { on = 1 } /^$/ { on = 0 } !on && length($0) > 80'
done)" ""
check_equal "the man page has no command that is not there" "$(grep -c '^\.SS vmkeep' "$man_page")" "${#commands[@]}"
check_equal "the man page lists every exit status" \
    "$(section 'EXIT STATUS' | sed -nE 's/^([0-9]+)\t.*/\1/p' | sort -n | tr '\n' ' ')" "$(seq 0 14 | tr '\n' ' ')"
if command -v mandoc >/dev/null; then
    check_equal "mandoc finds nothing wrong" "$(mandoc -Tlint -Wwarning "$man_page")" ""
fi

# Exit statuses that need no daemon.
status_of() { local status=0; "$vmkeep" "$@" >/dev/null 2>&1 || status=$?; echo $status; }
check_equal "a slip of the pen exits with 2" "$(status_of vm list --nope)" 2
check_equal "no such command exits with 2" "$(status_of nope)" 2
check_equal "no daemon exits with 12" "$(status_of vm list --socket "$T/none")" 12
check_equal "no such kubeconfig exits with 3" "$(status_of vm list --kubeconfig "$T/none")" 3
check_equal "--help exits with 0" "$(status_of --help)" 0

# The completion offers each noun and verb.
completion=$top_dir/install/vmkeep.bash-completion
for command in "${commands[@]}"; do
    for word in $command; do
        grep -qw -- "$word" "$completion" || not_ok "the completion does not know $word"
    done
done
# And those of the tool for repositories.
if repo=$(program vmkeep-repo 2>/dev/null); then
    check_equal "the completion offers the commands of vmkeep repo" \
        "$(sed -nE 's/.*repo\) COMPREPLY=.*-W "([^"]*)".*/\1/p' "$completion" | tr ' ' '\n' | grep -v -- --help | sort | tr '\n' ' ')" \
        "$("$repo" --help | sed -nE 's/^  ([a-z-]+) .*/\1/p' | sort -u | tr '\n' ' ')"
fi
