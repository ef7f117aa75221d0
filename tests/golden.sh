#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check: timeout=120
# Repositories of every released format version (tests/golden/vN, made once by
# tests/golden/make): they open, verify, give back every disk, and take more.
. "$(dirname "$0")/lib.sh"
requires_build vmkeep
requires_program python3
vmkeep=$(program vmkeep)
repo() { "$vmkeep" repo "$@"; }

for golden in "$tests_dir"/golden/v*; do
    version=${golden##*/}
    for kind in plain encrypted; do
        copy=$T/$version-$kind
        cp -r "$golden/$kind" "$copy"
        cp "$golden/key" "$T/key"
        chmod 600 "$T/key"
        key=(-k "$T/key")
        if [ $kind = plain ]; then key=(); fi
        check_equal "$version $kind: the backups that were not deleted" "$(repo list --json "${key[@]}" "$copy" | wc -l)" 2
        check "$version $kind: everything is whole" repo verify -q "${key[@]}" "$copy"
        while read -r of id disk digest; do
            [ "$of" = $kind ] || continue
            check "$version $kind: $disk of ${id%%-*}" repo export -q -f "${key[@]}" -d "$disk" "$copy" "$id" "$T/disk"
            check_equal "is what it was" "$(sha256sum <"$T/disk" | cut -d' ' -f1)" "$digest"
            check "the Python reader has it" python3 "$tests_dir/repo-reader.py" "$copy" "$(if [ $kind = plain ]; then echo -; else echo "$T/key"; fi)" "$id" "$disk" "$T/py"
            check "to the same bytes" cmp "$T/disk" "$T/py"
            last=$id
        done <"$golden/EXPECTED"
        check_equal "$version $kind: the metadata" "$(repo export -q -f "${key[@]}" --metadata "$T/metadata" -d vda "$copy" "$last" "$T/disk" && cat "$T/metadata")" "what the engine keeps and does not read"
        cp "$T/disk" "$T/vda"
        printf new | dd of="$T/vda" bs=1 seek=70000 conv=notrunc status=none
        more=$(repo import -q "${key[@]}" --uid golden "$copy" "$T/vda" 2>"$T/import.log")
        check "$version $kind: another backup on top" test -n "$more"
        check "is read back" eval 'repo export -q -f "${key[@]}" "$copy" "$more" "$T/disk" && cmp "$T/disk" "$T/vda"'
        check "$version $kind: and all is whole again" repo verify -q "${key[@]}" "$copy"
    done
    check "$version encrypted: the passphrase opens it too" repo list -p "$golden/passphrase" "$T/$version-encrypted"
done
