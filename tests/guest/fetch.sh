#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# fetch.sh CACHE: unpack the test guest's kernel, agent and shell to CACHE/root.
#
# They come out of Debian packages (apt-get download, dpkg-deb -x); nothing is
# installed, no kernel is added to the host. A filled CACHE needs no network.
set -euo pipefail
cache=$(realpath -m -- "${1:?usage: fetch.sh CACHE}")
libs=(qemu-guest-agent libc6 libglib2.0-0 libnuma1 libudev1 liburing2 libpcre2-8-0)

[ ! -e "$cache/root/.complete" ] || exit 0
mkdir -p "$cache/debs"
cd "$cache/debs"

kernel=$(find . -name 'linux-image-[0-9]*.deb' -printf '%f\n' | sort -V | tail -n 1)
if [ -z "$kernel" ]; then
    kernel=$(apt-cache depends linux-image-cloud-amd64 |
        sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    [ -n "$kernel" ] || { echo "fetch.sh: apt knows no linux-image-cloud-amd64: run apt-get update" >&2; exit 1; }
else
    kernel=${kernel%%_*}
fi

for package in "$kernel" busybox-static "${libs[@]}"; do
    compgen -G "${package}_*.deb" >/dev/null ||
        apt-get download -qq -o APT::Sandbox::User=root -- "$package" >&2 ||
        { echo "fetch.sh: cannot download $package, and $cache/debs has none" >&2; exit 1; }
done

rm -rf "$cache/root.new" "$cache/root"
mkdir "$cache/root.new"
for package in "$kernel" busybox-static "${libs[@]}"; do
    dpkg-deb -x "$(compgen -G "${package}_*.deb" | sort -V | tail -n 1)" "$cache/root.new"
done
touch "$cache/root.new/.complete"
mv "$cache/root.new" "$cache/root"
