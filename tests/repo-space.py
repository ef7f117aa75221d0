#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""repo-space.py REPOSITORY KEYFILE|-: bytes that its backups need, that its packs have, that their parity has.

Needed is every frame that the root of a backup leads to, wherever it was moved,
once: found by walking the trees with repo-reader.py, which shares no line with
the collector. What surrounds frames in packs is not in it, nor what is dead.
"""
import importlib.util
import os
import struct
import sys

spec = importlib.util.spec_from_file_location("reader", os.path.join(os.path.dirname(__file__), "repo-reader.py"))
reader = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reader)


class Counted(reader.Repository):
    """Notes each frame that is read, or would be."""

    def __init__(self, *args):
        self.needed = set()
        super().__init__(*args)

    def note(self, kind, location):
        self.needed.add((kind, self.where(kind, location)))

    def frame(self, kind, location, digest):
        self.note(kind, location)
        return super().frame(kind, location, digest)

    def walk(self, level, location, digest):
        if (1, self.where(1, location)) in self.needed:
            return
        for _, kind, where, child in self.node(level, location, digest):
            if kind == 2 and level > 0:
                self.walk(level - 1, where, child)
            elif kind == 2:
                self.note(0, where)

    def count(self, backup):
        for _, _, top, location, digest in self.root(backup)[0].values():
            if location:
                self.walk(top, location, digest)
        root = super().frame(1, *self.backups[backup])  # tree.md: its pack summary
        at = 66 + struct.unpack_from("<H", root, 64)[0]
        at += 65 if root[at] else 1
        for i in range(root[at]):
            self.note(1, root[at + 1 + 64 * i:][:32])


def main():
    repo = Counted(sys.argv[1], sys.argv[2])
    for backup in repo.backups:
        repo.count(backup)
    files = [os.path.join(at, name) for kind in "pm" for at, _, names in os.walk(os.path.join(sys.argv[1], kind)) for name in names]
    parity = sum(os.path.getsize(name) for name in files if name.endswith(".parity"))
    print(sum(struct.unpack_from("<I", location, 24)[0] for _, location in repo.needed), sum(map(os.path.getsize, files)) - parity, parity)


if __name__ == "__main__":
    main()
