#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""repo-reader.py REPOSITORY KEYFILE|- BACKUP [DISK OUTPUT]: restore a disk.

A reader of the backup repository written from docs/formats/ alone: it shares
no line with the C code, so that both agreeing says that the pages are right
and complete. Prints the disks without DISK. Needs libcrypto, libsodium and libzstd.
"""
import ctypes
import ctypes.util
import hashlib
import hmac
import os
import struct
import sys
from uuid import UUID

crypto = ctypes.CDLL(ctypes.util.find_library("crypto"))
zstd = ctypes.CDLL(ctypes.util.find_library("zstd"))
sodium = ctypes.CDLL(ctypes.util.find_library("sodium"))
for function in ("EVP_CIPHER_CTX_new", "EVP_aes_256_gcm"):
    getattr(crypto, function).restype = ctypes.c_void_p
zstd.ZSTD_decompress.restype = ctypes.c_size_t


class Damage(Exception):
    """What was read is not what was written."""


def need(condition, message):
    if not condition:
        raise Damage(message)


def uuid(data):
    return str(UUID(bytes=data))


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def ids(body):
    """The backups that an entry of the log names."""
    return [uuid(body[2 + 16 * i:18 + 16 * i]) for i in range(struct.unpack_from("<H", body)[0])]


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def gcm_open(key, nonce, aad, data, tag, what):
    """repository.md: AEAD is AES-256-GCM, 12-byte nonce, 16-byte tag."""
    ctx = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new())
    out, n = ctypes.create_string_buffer(len(data) + 16), ctypes.c_int()
    crypto.EVP_DecryptInit_ex(ctx, ctypes.c_void_p(crypto.EVP_aes_256_gcm()), None, key, nonce)
    crypto.EVP_DecryptUpdate(ctx, None, ctypes.byref(n), aad, len(aad))
    crypto.EVP_DecryptUpdate(ctx, out, ctypes.byref(n), data, len(data))
    crypto.EVP_CIPHER_CTX_ctrl(ctx, 0x11, 16, tag)
    good = crypto.EVP_DecryptFinal_ex(ctx, ctypes.byref(out, len(data)), ctypes.byref(n))
    crypto.EVP_CIPHER_CTX_free(ctx)
    need(good == 1, f"{what}: does not decrypt")
    return out.raw[:len(data)]


def box_open(secret, data, what):
    """repository.md: a sealed box of libsodium."""
    public, out = ctypes.create_string_buffer(32), ctypes.create_string_buffer(max(1, len(data) - 48))
    sodium.crypto_scalarmult_base(public, secret)
    good = sodium.crypto_box_seal_open(out, data, ctypes.c_ulonglong(len(data)), public, secret)
    need(good == 0, f"{what}: does not open")
    return out.raw[:len(data) - 48]


class Log:
    """log.md: which backups there are, and where moved frames are. What is only
    about who may collect garbage when (pins, condemned packs) is not folded."""

    def __init__(self):
        self.backups, self.deleted, self.held, self.ended, self.moved = {}, {}, set(), set(), {}
        self.committed, self.rotation = 0, (0, bytes(16))

    def fold(self, kind, seq, body):
        session, backups, deleted = body[:16], self.backups, self.deleted
        if kind == 2 and session not in self.ended:  # COMMIT
            self.committed, backups[uuid(session)] = seq, (body[64:96], body[96:128])
        elif kind == 4:  # DELETE
            deleted.update((i, backups.pop(i)) for i in ids(body) if i in backups and i not in self.held)
        elif kind == 11:  # UNDELETE
            backups.update((i, deleted.pop(i)) for i in ids(body) if i in deleted)
        elif kind == 10:  # HOLD
            (self.held.add if body[0] and uuid(body[1:17]) in backups else self.held.discard)(uuid(body[1:17]))
        elif kind == 9:  # KEY
            self.rotation = max(self.rotation, struct.unpack("<H16s", body), key=lambda r: r[0])
        elif kind == 6 and session not in self.ended:  # REDIRECT
            covers, of, _, count = struct.unpack_from("<QBBH", body, 16)
            packs, moves = [(of, body[92 + 20 * i:112 + 20 * i]) for i in range(count)], {}
            if covers < self.committed or any(pack in self.moved for pack in packs):
                return True
            for place, pack in enumerate(packs):
                self.moved[pack] = (session, place, body[28:60], body[60:92], moves)
        if kind in (2, 3, 5, 6):
            self.ended.add(session)
        return kind in range(1, 14)


class Repository:
    def __init__(self, path, key_file):
        self.path, self.packs = path, {}
        cfg = self.get("repo.cfg")  # repository.md, "repo.cfg"
        need(len(cfg) == 128 and cfg[:8] == b"VMKREPO\0", "repo.cfg: not one")
        need(crc32c(cfg[:124]) == struct.unpack_from("<I", cfg, 124)[0], "repo.cfg: checksum")
        version, self.cipher = struct.unpack_from("<HB", cfg, 8)
        need(version == 1 and struct.unpack_from("<Q", cfg, 32)[0] == 0, "repo.cfg: newer format")
        self.uuid = cfg[40:56]
        bundles = self.bundles(key_file) if self.cipher else [  # keys.md: the keys of a repository without encryption
            b"".join(mac(bytes(32), b"vmkeep/1/" + label) for label in (b"id", b"log")) + bytes(272)]
        self.id, self.log_key = bundles[0][:32], bundles[0][32:64]
        self.log = self.read_log()
        self.backups, (epoch, rotation) = self.log.backups, self.log.rotation  # keys.md, "Slots and grants": which bundle counts
        bundle = max(bundles, key=lambda b: (b[160 + 176 * epoch:][:16] == rotation, len(b)))
        self.epochs = [bundle[i:i + 176] for i in range(160, len(bundle), 176)]

    def get(self, name, offset=0, length=-1):
        with open(os.path.join(self.path, name), "rb") as f:
            f.seek(offset)
            return f.read(length)

    def bundles(self, key_file):
        """keys.md: what the slot that our key file opens gives, and its grants."""
        with open(key_file, encoding="ascii") as f:
            word, digits = f.read().split()
        need(word == "vmkeep-key-1" and len(digits) == 64, "not a key file")
        secret, opened, grants = bytes.fromhex(digits), None, []
        wrap, box = (mac(secret, b"vmkeep/1/" + label) for label in (b"slot", b"slot-box"))
        for name in os.listdir(os.path.join(self.path, "keys")):
            slot = self.get("keys/" + name)
            if len(slot) < 260 or slot[:8] != b"VMKSLOT\0" or slot[16:32] != self.uuid:
                continue
            need(crc32c(slot[:-4]) == struct.unpack("<I", slot[-4:])[0], f"keys/{name}: checksum")
            wrapped = slot[192:192 + struct.unpack_from("<I", slot, 180)[0]]
            try:
                if slot[10] == 3:
                    grants.append((slot, box_open(box, wrapped, name)))
                elif slot[10] == 0:
                    opened = slot, gcm_open(wrap, slot[168:180], slot[:192], wrapped[:-16], wrapped[-16:], name)
            except Damage:
                continue
        need(opened, "the key file opens no slot")
        return [opened[1]] + [bundle for slot, bundle in grants if slot[32:48] + slot[12:13] == opened[0][32:48] + opened[0][12:13]]

    def read_log(self):
        """log.md: check the chain, fold the entries in order."""
        log, previous = Log(), bytes(32)
        for number, name in enumerate(sorted(os.listdir(os.path.join(self.path, "log"))), 1):
            need(name == f"{number:020d}", f"log/{name}: a number is missing before it")
            entry = self.get("log/" + name)
            need(entry[:8] == b"VMKLOGE\0", f"log/{name}: magic")
            need(mac(self.log_key, entry[:-32]) == entry[-32:], f"log/{name}: MAC")
            version, kind, flags, length, seq = struct.unpack_from("<HBBIQ", entry, 8)
            end = 96 + length
            need(version == 1 and seq == number and end + (96 if flags & 2 else 32) == len(entry), f"log/{name}: header")
            need(entry[24:56] == previous and entry[56:72] == self.uuid, f"log/{name}: chain")
            previous = hashlib.sha256(entry).digest()
            need(log.fold(kind, seq, entry[96:end]) or not flags & 1, f"log/{name}: unknown critical type")
        return log

    def where(self, kind, location):
        """pack.md, "Moved frames": where the frame is now."""
        while (kind, location[:20]) in self.log.moved:
            session, place, map_location, digest, moves = self.log.moved[kind, location[:20]]
            if not moves:
                data = self.frame(1, map_location, digest)
                need(data[:8] == b"VMKM\1\0" + bytes([kind, 0]), "map: header")
                for at in range(16, len(data), 20):
                    old = struct.unpack_from("<II", data, at)
                    moves[old] = session + data[at + 8:at + 20]
            found = moves.get((place, struct.unpack_from("<I", location, 20)[0]))
            if found is None:
                break
            location = found + location[28:]
        return location

    def origins(self, kind, session, n):
        """pack.md, "Header" and "Key table"."""
        name = f"{'pm'[kind]}/{uuid(session)}/{n}"
        if name in self.packs:
            return self.packs[name]
        head = self.get(name, 0, 64)
        need(head[:8] == b"VMKPACK\0", f"{name}: magic")
        version, k, cipher, count, _, incompat = struct.unpack_from("<HBBHHQ", head, 8)
        need(version == 1 and k == kind and cipher == self.cipher and incompat == 0, f"{name}: header")
        need(head[24:40] == session and struct.unpack_from("<I", head, 40)[0] == n, f"{name}: another pack")
        table = self.get(name, 64, 104 * count)
        need(crc32c(head[:60] + table) == struct.unpack_from("<I", head, 60)[0], f"{name}: checksum")
        keys = []
        for i in range(count):
            entry, epoch = table[104 * i:104 * i + 104], self.epochs[struct.unpack_from("<H", table, 104 * i + 22)[0]]
            if entry[20] == 2:
                key = box_open(epoch[112:144], entry[24:], name)
            else:
                aad = self.uuid + bytes([kind]) + entry[:24]
                key = gcm_open(epoch[80 - 32 * kind:112 - 32 * kind], entry[24:36], aad, entry[36:68], entry[68:84], name)
            keys.append((entry[:20], key))
        self.packs[name] = keys
        return keys

    def frame(self, kind, location, digest):
        """pack.md, "Frame": the plaintext at a location, checked."""
        location = self.where(kind, location)
        session, (n, off8, flen, ulen) = location[:16], struct.unpack_from("<IIII", location, 16)
        what = f"{'pm'[kind]}/{uuid(session)}/{n} at {off8 * 8}"
        keys = self.origins(kind, session, n)
        data = self.get(f"{'pm'[kind]}/{uuid(session)}/{n}", off8 * 8, flen)
        need(len(data) == flen and crc32c(data[:20]) == struct.unpack_from("<I", data, 20)[0], f"{what}: header")
        clen, ulen2, ordinal, codec, slot = struct.unpack_from("<IIIBB", data)
        need(ulen2 == ulen and clen <= ulen, f"{what}: lengths")
        stored = data[24:24 + clen]
        if self.cipher:
            origin, key = keys[slot]
            aad = origin + bytes([kind, codec, 0, 0]) + struct.pack("<II", ordinal, ulen)
            stored = gcm_open(key, struct.pack("<I", ordinal) + bytes(8), aad, stored, data[24 + clen:40 + clen], what)
        if codec == 2:
            out = ctypes.create_string_buffer(ulen)
            need(zstd.ZSTD_decompress(out, ctypes.c_size_t(ulen), stored, ctypes.c_size_t(clen)) == ulen, f"{what}: zstd")
            stored = out.raw
        need(len(stored) == ulen and mac(self.id, stored) == digest, f"{what}: digest mismatch")
        return stored

    def root(self, backup):
        """tree.md, "Root": name -> (size, chunk size, top level, location or None, id)."""
        data = self.frame(1, *self.backups[backup])
        need(data[:4] == b"VMKR" and data[8:24] == self.uuid and uuid(data[24:40]) == backup, "root: another backup")
        count, at, metadata, disks = struct.unpack_from("<H", data, 6)[0], 67 + struct.unpack_from("<H", data, 64)[0], None, {}
        if data[at - 1] == 1:
            metadata = self.frame(1, data[at:at + 32], data[at + 32:at + 64])
            at += 64
        at += 1 + 64 * data[at]  # the pack summary is for collectors
        for _ in range(count):
            end = at + 1 + data[at]
            name = data[at + 1:end].decode("ascii")
            size, log2, top, kind = struct.unpack_from("<QBBB", data, end)
            at = end + 11
            disks[name] = (size, 1 << log2, top, data[at:at + 32] if kind == 2 else None, data[at + 32:at + 64])
            at += 64 if kind == 2 else 0
        need(at == len(data), "root: length")
        return disks, metadata

    def node(self, level, location, digest):
        """tree.md, "Node": yields (place, type, pattern or location, id)."""
        data = self.frame(1, location, digest)
        version, its_level, count, packs, _ = struct.unpack_from("<BBHHH", data, 4)
        need(data[:4] == b"VMKN" and version == 1 and its_level == level, "node: header")
        types, at = 12 + 20 * packs, 12 + 20 * packs + count
        for i in range(count):
            if data[types + i] == 1:
                yield i, 1, data[at:at + 8], None
                at += 8
            elif data[types + i] == 2:
                place = struct.unpack_from("<H", data, at + 32)[0]
                pack = data[12 + 20 * place:32 + 20 * place]
                yield i, 2, pack + data[at + 34:at + 46], data[at:at + 32]
                at += 46
        need(at == len(data), "node: length")

    def chunks(self, level, index, location, digest):
        """Every chunk that is not zero: (number, bytes or pattern)."""
        for i, kind, where, child in self.node(level, location, digest):
            if level > 0:
                yield from self.chunks(level - 1, 256 * index + i, where, child)
            elif kind == 1:
                yield 256 * index + i, kind, where
            else:
                yield 256 * index + i, kind, self.frame(0, where, child)


def main():
    repo = Repository(sys.argv[1], sys.argv[2])
    disks, metadata = repo.root(sys.argv[3])
    if len(sys.argv) < 6:
        return print(*(f"{name} {disk[0]}" for name, disk in disks.items()), f"metadata {len(metadata or b'')}", sep="\n")
    size, chunk, top, location, digest = disks[sys.argv[4]]
    with open(sys.argv[5], "wb") as out:
        out.truncate(size)
        for number, kind, data in repo.chunks(top, 0, location, digest) if location else ():
            data = data * (chunk // 8) if kind == 1 else data
            out.seek(number * chunk)
            out.write(data[:max(0, size - number * chunk)])


if __name__ == "__main__":
    try:
        main()
    except Damage as problem:
        sys.exit(f"repo-reader: {problem}")
