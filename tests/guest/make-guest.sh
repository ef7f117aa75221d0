#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# make-guest.sh CACHE OUT: build the test guest: a real Linux with the real
# QEMU guest agent, two disks and a record writer (writer.c).
#
# Makes OUT/kernel OUT/initrd OUT/root.FORMAT OUT/data.FORMAT OUT/checklog.
#   FORMAT=qcow2|raw (qcow2)  ROOT_SIZE (512M)  DATA_SIZE (1G)
#
# Runs as an ordinary user: no mount, no loop device, no network once CACHE is
# filled. Two to three seconds.
#
# Modules are loaded in dependency order: virtio needs virtio_ring. ext4 is
# built into Debian's cloud kernel. The kernel is booted as an uncompressed ELF
# (PVH), which saves a second under TCG; it is the LZ4 payload of the bzImage,
# whose place is in the header at 0x248 (Linux x86 boot protocol).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
cache=$(realpath -m -- "${1:?usage: make-guest.sh CACHE OUT}")
out=$(realpath -m -- "${2:?usage: make-guest.sh CACHE OUT}")
format=${FORMAT:-qcow2}
PATH=$PATH:/usr/sbin:/sbin

"$here/fetch.sh" "$cache"
debs=$cache/root
kernel=$(find "$debs/boot" -name 'vmlinuz-*' | head -n 1)
modules=$debs/lib/modules/${kernel##*/vmlinuz-}/kernel
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ulimit -c 0

# make_root DIR: the tree of the root file system.
make_root() {
    local root=$1 applet
    mkdir -p "$root"/{bin,sbin,proc,sys,dev,run,tmp,data,root,etc/qemu,var/log,usr/sbin,usr/bin,lib/x86_64-linux-gnu,lib64}
    cp "$debs/bin/busybox" "$root/bin/"
    for applet in $("$debs/bin/busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    cp "$debs/usr/sbin/qemu-ga" "$root/usr/sbin/"
    cp -L "$(find "$debs" -name ld-linux-x86-64.so.2 | head -n 1)" "$root/lib64/"
    copy_libraries "$root" "$root/usr/sbin/qemu-ga"
    ${CC:-cc} -O2 -Wall -Wextra -static -o "$root/usr/bin/writer" "$here/writer.c"
    install -m 755 "$here/init" "$root/sbin/init"
    install -m 755 "$here/shutdown" "$root/sbin/shutdown"
    install -m 755 "$here/fsfreeze-hook" "$root/etc/qemu/fsfreeze-hook"
}

# copy_libraries ROOT BINARY: what the binary needs, and what that needs.
copy_libraries() {
    local root=$1 name source
    for name in $(objdump -p "$2" | awk '/NEEDED/ {print $2}'); do
        [ ! -e "$root/lib/x86_64-linux-gnu/$name" ] || continue
        source=$(find "$debs" -name "$name" | head -n 1)
        [ -n "$source" ] || { echo "make-guest.sh: no $name in the packages" >&2; exit 1; }
        cp -L "$source" "$root/lib/x86_64-linux-gnu/$name"
        copy_libraries "$root" "$root/lib/x86_64-linux-gnu/$name"
    done
}

# make_initrd FILE: busybox and the modules that find the root disk.
make_initrd() {
    local dir=$work/initrd module
    mkdir -p "$dir"/{bin,dev,proc,sys,mnt,modules}
    cp "$debs/bin/busybox" "$dir/bin/"
    install -m 755 "$here/initrd-init" "$dir/init"
    for module in virtio/virtio_ring virtio/virtio virtio/virtio_pci_legacy_dev \
        virtio/virtio_pci_modern_dev virtio/virtio_pci block/virtio_blk char/virtio_console; do
        cp "$modules/drivers/$module.ko" "$dir/modules/"
        echo "${module##*/}" >>"$dir/modules/order"
    done
    (cd "$dir" && find . | cpio --quiet -o -H newc) >"$1"
}

# make_kernel FILE: ELF if lz4 is there and the kernel is LZ4, else bzImage.
make_kernel() {
    local setup offset length
    setup=$(od -An -tu1 -j $((0x1f1)) -N1 "$kernel")
    read -r offset length < <(od -An -tu4 -j $((0x248)) -N8 "$kernel")
    offset=$(((setup + 1) * 512 + offset))
    tail -c +$((offset + 1)) "$kernel" | head -c $((length - 4)) >"$work/payload" || true
    if lz4 -q -d -f "$work/payload" "$1" 2>/dev/null &&
        [ "$(head -c 4 "$1" | od -An -tx1 | tr -d ' ')" = 7f454c46 ]; then
        return
    fi
    cp "$kernel" "$1"
}

# make_disk NAME SIZE [TREE]: an ext4 on the whole disk.
make_disk() {
    local raw=$work/$1.raw target=$out/$1.$format
    truncate -s "$2" "$raw"
    mke2fs -q -F -t ext4 -L "$1" ${3:+-d "$3"} \
        -E root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,nodiscard "$raw"
    rm -f "$target"
    if [ "$format" = qcow2 ]; then
        qemu-img convert -q -f raw -O qcow2 -o compat=1.1 -- "$raw" "$target"
    else
        cp --sparse=always -- "$raw" "$target"
    fi
}

make_root "$work/root"
make_disk root "${ROOT_SIZE:-512M}" "$work/root"
make_disk data "${DATA_SIZE:-1G}"
make_initrd "$out/initrd"
make_kernel "$out/kernel"
${CC:-cc} -O2 -Wall -Wextra -o "$out/checklog" "$here/checklog.c"
chmod a+r "$out"/*
