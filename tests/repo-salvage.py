#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""repo-salvage.py REPOSITORY KEYFILE [TREE DISK OUTPUT | --chunks DIRECTORY]

docs/salvage.md, carried out: what a repository still holds that lost its log,
its repo.cfg or parts of its packs. Lists the trees that are found; restores a
disk of one (areas that are lost read as zeros and are named); or writes every
chunk to a file of its own. Without a tree, DISK is "-".
"""
import importlib.util
import os
import struct
import sys

spec = importlib.util.spec_from_file_location("reader", os.path.join(os.path.dirname(__file__), "repo-reader.py"))
reader = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reader)


class AnyDigest:
    """Equal to every digest: what the frame is is not known before it is read."""

    def __eq__(self, other):
        return True


def clear_bundle():
    """keys.md: the keys of a repository without encryption."""
    return reader.mac(bytes(32), b"vmkeep/0/id") + bytes(128 + 176)


class Salvage(reader.Repository):
    def __init__(self, path, key_file):
        self.path, self.packs, self.cipher, self.frames = path, {}, int(key_file != "-"), {}
        bundles = [clear_bundle()] if key_file == "-" else self.any_bundles(key_file)
        bundle = max(bundles, key=len)
        self.id, self.epochs = bundle[:32], [bundle[i:i + 176] for i in range(160, len(bundle), 176)]
        for kind, prefix in enumerate("pm"):
            for session in sorted(os.listdir(os.path.join(path, prefix))) if os.path.isdir(os.path.join(path, prefix)) else ():
                for n in os.listdir(os.path.join(path, prefix, session)):
                    if n.isdigit():  # not its parity
                        self.scan(kind, session, n)

    def any_bundles(self, key_file):
        """Salvage, step 1: a slot says which repository it is of."""
        for name in os.listdir(os.path.join(self.path, "keys")):
            self.uuid = self.get("keys/" + name)[16:32]
            try:
                return self.bundles(key_file)
            except reader.Damage:
                continue
        raise reader.Damage("the key file opens no slot")

    def scan(self, kind, session, n):
        """Step 2: every frame that still opens, by its id."""
        name, number = f"{'pm'[kind]}/{session}/{n}", bytes.fromhex(session.replace("-", ""))
        try:
            self.origins(kind, number, int(n))
        except (reader.Damage, struct.error, IndexError, ValueError) as problem:
            print(f"{name}: lost: {problem}", file=sys.stderr)
            return
        data = self.get(name)
        at = 64 + 104 * struct.unpack_from("<H", data, 12)[0]
        while at + 24 <= len(data):
            clen, ulen, ordinal = struct.unpack_from("<III", data, at)
            is_frame = reader.crc32c(data[at:at + 20]) == struct.unpack_from("<I", data, at + 20)[0]
            if is_frame and ordinal == 0xFFFFFFFF:
                break
            flen = (24 + clen + 16 * self.cipher + 7) // 8 * 8
            location = number + struct.pack("<IIII", int(n), at // 8, flen, ulen)
            plain = self.open_frame(kind, location) if is_frame else None
            if plain is None:
                at += 8  # the next one begins at some multiple of 8
                continue
            digest = reader.mac(self.id, plain)
            self.frames.setdefault((kind, digest), location)
            if kind == 1:
                self.meta_frame(plain, digest)
            at += flen

    def open_frame(self, kind, location):
        try:
            return super().frame(kind, location, AnyDigest())
        except reader.Damage as problem:
            print(problem, file=sys.stderr)
            return None

    def frame(self, kind, location, digest):
        """A place is where its id was found, whatever a tree or the log says."""
        reader.need((kind, digest) in self.frames, f"a frame is lost ({location[:16].hex()})")
        return super().frame(kind, self.frames[kind, digest], digest)

    def where(self, kind, location):
        return location

    def count(self, kind, location):
        """The pack summary is nothing to compare with here."""

    trees, nodes, children = {}, {}, set()

    def meta_frame(self, plain, digest):
        """Step 3: roots, and nodes that no other node names."""
        if plain[:4] == b"VMKR":
            self.trees[reader.uuid(plain[24:40])] = (bytes(32), digest)
            self.uuid = plain[8:24]
        elif plain[:4] == b"VMKN":
            self.nodes[digest] = plain[5]
            count, packs = struct.unpack_from("<HH", plain, 6)
            at = 12 + 20 * packs + count
            for kind in plain[12 + 20 * packs:at]:
                if kind == 2 and plain[5] > 0:
                    self.children.add(plain[at:at + 32])
                at += (0, 8, 46)[kind]

    def disks_of(self, tree):
        if tree in self.trees:
            self.backups = {tree: self.trees[tree]}
            return self.root(tree)[0]
        digest = bytes.fromhex(tree)
        return {"-": (None, 1 << 18, self.nodes[digest], bytes(32), digest)}

    def restore(self, disk, path):
        size, chunk, top, location, digest = disk
        with open(path, "wb") as out:
            self.lost, end = 0, 0
            for number, kind, data in self.walk(top, 0, digest) if location is not None else ():
                data = data * (chunk // 8) if kind == 1 else data
                out.seek(number * chunk)
                out.write(data if size is None else data[:max(0, size - number * chunk)])
                end = max(end, number * chunk + len(data))
            out.truncate(end if size is None else size)
        return self.lost

    def walk(self, level, index, digest):
        try:
            entries = list(self.node(level, bytes(32), digest))
        except reader.Damage:
            print(f"lost: node of level {level}: chunks from {index << 8 * level + 8} on", file=sys.stderr)
            self.lost += 1
            return
        for i, kind, where, child in entries:
            number = 256 * index + i
            if level > 0:
                yield from self.walk(level - 1, number, child)
            elif kind == 1:
                yield number, kind, where
            elif (0, child) in self.frames:
                yield number, kind, self.frame(0, where, child)
            else:
                print(f"lost: chunk {number}", file=sys.stderr)
                self.lost += 1


def main():
    repo = Salvage(sys.argv[1], sys.argv[2])
    if len(sys.argv) == 5 and sys.argv[3] == "--chunks":
        os.makedirs(sys.argv[4], exist_ok=True)
        for (kind, digest), location in repo.frames.items():
            if kind == 0:
                session, (n, off8) = reader.uuid(location[:16]), struct.unpack_from("<II", location, 16)
                with open(os.path.join(sys.argv[4], f"{session}-{n:06d}-{off8:09d}"), "wb") as out:
                    out.write(repo.frame(0, location, digest))
    elif len(sys.argv) == 6:
        lost = repo.restore(repo.disks_of(sys.argv[3])[sys.argv[4]], sys.argv[5])
        sys.exit(f"{lost} areas are lost" if lost else 0)
    else:
        for tree in repo.trees:
            for name, disk in repo.disks_of(tree).items():
                print(tree, name, disk[0])
        named = {disk[4] for tree in repo.trees for disk in repo.disks_of(tree).values()}
        for digest in repo.nodes:
            if digest not in repo.children and digest not in named:
                print(digest.hex(), "-", "unknown size")


if __name__ == "__main__":
    try:
        main()
    except reader.Damage as problem:
        sys.exit(f"repo-salvage: {problem}")
