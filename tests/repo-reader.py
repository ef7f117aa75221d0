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
    h = data.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def crc32c_table():
    table = []
    for i in range(256):
        for _ in range(8):
            i = (i >> 1) ^ (0x82F63B78 if i & 1 else 0)
        table.append(i)
    return table


TABLE = crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def gcm_open(key, nonce, aad, data, tag, what):
    """repository.md: AEAD is AES-256-GCM, 12-byte nonce, 16-byte tag."""
    ctx = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new())
    out, n = ctypes.create_string_buffer(len(data) + 16), ctypes.c_int()
    try:
        crypto.EVP_DecryptInit_ex(ctx, ctypes.c_void_p(crypto.EVP_aes_256_gcm()), None, key, nonce)
        crypto.EVP_DecryptUpdate(ctx, None, ctypes.byref(n), aad, len(aad))
        crypto.EVP_DecryptUpdate(ctx, out, ctypes.byref(n), data, len(data))
        crypto.EVP_CIPHER_CTX_ctrl(ctx, 0x11, 16, tag)
        good = crypto.EVP_DecryptFinal_ex(ctx, ctypes.byref(out, len(data)), ctypes.byref(n))
    finally:
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


def is_signed(public, data, sign):
    return sodium.crypto_sign_verify_detached(sign, data, ctypes.c_ulonglong(len(data)), public) == 0


def no_bundle():
    """keys.md: the keys of a repository without encryption."""
    key = {label: mac(bytes(32), b"vmkeep/0/" + label) for label in (b"id", b"log", b"admin")}
    public, secret = ctypes.create_string_buffer(32), ctypes.create_string_buffer(64)
    sodium.crypto_sign_seed_keypair(public, secret, key[b"admin"])
    return key[b"id"] + key[b"log"] + public.raw + bytes(64) + bytes(176)


class Log:
    """log.md, "Rules": what the entries say, one after the other."""

    def __init__(self):
        self.backups, self.deleted, self.sessions, self.pins, self.held = {}, {}, {}, {}, set()
        self.growth = self.shrink = self.committed = 0
        self.moved = {}
        self.rotation = (0, bytes(16))

    def fold(self, kind, seq, body):
        fold = {1: self.open, 2: self.commit, 3: self.end, 4: self.delete, 5: self.end,
                6: self.redirect, 7: self.condemn, 9: self.key, 10: self.hold, 11: self.undelete, 12: self.pin}.get(kind)
        if fold is not None:
            fold(seq, body)
        return fold is not None

    def session(self, number):
        return self.sessions.setdefault(bytes(number), {"end": "", "seq": 0, "parent": b"", "resumes": b"",
                                                        "void": False, "condemned": False})

    def is_present(self, backup):
        return uuid(backup) in self.backups or uuid(backup) in self.deleted

    def open(self, seq, body):
        s = self.session(body[:16])
        if s["seq"] == 0:
            s["parent"], s["resumes"] = body[16:32].strip(b"\0") and body[16:32], body[40:56]
            resumed = self.sessions.get(s["resumes"], {"condemned": False, "end": ""})
            s["void"] = bool(s["parent"] and not self.is_present(s["parent"])
                             or resumed["condemned"] or resumed["end"] == "discarded")
        s["seq"] = seq

    def commit(self, seq, body):
        s, checked = self.session(body[:16]), struct.unpack_from("<Q", body, 56)[0]
        if s["end"] or s["seq"] == 0 or s["void"] or checked < self.shrink:
            return
        s["end"], self.growth, self.committed = "committed", seq, seq
        self.backups[uuid(body[:16])] = (body[64:96], body[96:128])

    def end(self, seq, body):
        s = self.session(body[:16])
        s["end"] = s["end"] or ("discarded" if len(body) == 17 else "ended")

    def delete(self, seq, body):
        for i in range(struct.unpack_from("<H", body)[0]):
            backup = uuid(body[2 + 16 * i:18 + 16 * i])
            if backup in self.backups and backup not in self.held:
                self.deleted[backup] = self.backups.pop(backup)

    def key(self, seq, body):
        epoch, rotation = struct.unpack("<H16s", body)
        self.rotation = max(self.rotation, (epoch, rotation), key=lambda r: r[0])

    def hold(self, seq, body):
        (self.held.add if body[0] and uuid(body[1:17]) in self.backups else self.held.discard)(uuid(body[1:17]))

    def undelete(self, seq, body):
        for i in range(struct.unpack_from("<H", body)[0]):
            backup = uuid(body[2 + 16 * i:18 + 16 * i])
            if backup in self.deleted:
                self.backups[backup] = self.deleted.pop(backup)

    def pin(self, seq, body):
        self.pins.pop(body[1:17], None)
        if body[0] == 1 and self.is_present(body[17:33]):
            self.pins[body[1:17]] = body[17:33]

    def is_protected(self, number):
        if self.session(number)["end"] == "":
            return True
        for s in list(self.sessions.values()):
            chain = s["resumes"] if s["end"] == "" and not s["void"] else b""
            while chain and chain != number:
                chain = self.session(chain)["resumes"]
            if chain:
                return True
        return False

    def redirect(self, seq, body):
        session, (covers, kind, _, count) = body[:16], struct.unpack_from("<QBBH", body, 16)
        packs, s = [(kind, body[92 + 20 * i:112 + 20 * i]) for i in range(count)], self.session(session)
        if s["end"] or s["seq"] == 0 or covers < self.committed or any(pack in self.moved for pack in packs):
            return
        s["end"], self.growth, self.shrink = "committed", seq, seq
        moves = {}
        for place, pack in enumerate(packs):
            self.moved[pack] = (session, place, body[28:60], body[60:92], moves)

    def condemn(self, seq, body):
        base, count = struct.unpack_from("<QH", body)
        drops = [body[10 + 16 * i:26 + 16 * i] for i in range(count)]
        at, groups = 12 + 16 * count, []
        while at < len(body):
            number, n = body[at + 1:at + 17], struct.unpack_from("<H", body, at + 17)[0]
            groups.append(number)
            at += 19 + 4 * n
        kept = [s["parent"] for s in self.sessions.values() if s["end"] == "" and not s["void"]]
        kept += self.pins.values()
        if (base < self.growth or any(uuid(d) not in self.deleted or d in kept for d in drops)
                or any(self.is_protected(g) for g in groups)):
            return
        for d in drops:
            del self.deleted[uuid(d)]
        for g in groups:
            self.session(g)["condemned"] = True
            self.shrink = seq


class Repository:
    def __init__(self, path, key_file):
        self.path, self.packs = path, {}
        cfg = self.get("repo.cfg")  # repository.md, "repo.cfg"
        need(len(cfg) == 128 and cfg[:8] == b"VMKREPO\0", "repo.cfg: not one")
        need(crc32c(cfg[:124]) == struct.unpack_from("<I", cfg, 124)[0], "repo.cfg: checksum")
        version, self.cipher = struct.unpack_from("<HB", cfg, 8)
        need(version == 0 and struct.unpack_from("<Q", cfg, 32)[0] == 0, "repo.cfg: newer format")
        self.uuid = cfg[40:56]
        bundles = self.bundles(key_file) if self.cipher else [no_bundle()]
        self.id, self.log_key, self.admin = (bundles[0][32 * i:32 * i + 32] for i in range(3))
        log = self.read_log()
        self.backups, (epoch, rotation) = log.backups, log.rotation  # keys.md, "Slots and grants": which bundle counts
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
        need(word in ("vmkeep-key-0", "vmkeep-recipient-0") and len(digits) == 64, "not a key file")
        secret, opened, grants = bytes.fromhex(digits), None, []
        wrap, box = (mac(secret, b"vmkeep/0/" + label) for label in (b"slot", b"slot-box"))
        if word == "vmkeep-recipient-0":
            box = secret
        for name in os.listdir(os.path.join(self.path, "keys")):
            slot = self.get("keys/" + name)
            if len(slot) < 260 or slot[:8] != b"VMKSLOT\0" or slot[16:32] != self.uuid:
                continue
            need(crc32c(slot[:-4]) == struct.unpack("<I", slot[-4:])[0], f"keys/{name}: checksum")
            wrapped = slot[192:192 + struct.unpack_from("<I", slot, 180)[0]]
            try:
                if slot[10] == 3:
                    grants.append((slot, box_open(box, wrapped, name)))
                elif slot[10] == (0 if box != secret else 2):
                    need(uuid(slot[32:48]) == name, "slot of another name")
                    opened = slot, box_open(box, wrapped, name) if box == secret else gcm_open(
                        wrap, slot[168:180], slot[:192], wrapped[:-16], wrapped[-16:], name)
            except Damage:
                continue
        need(opened, "the key file opens no slot")
        owner = opened[1][128:160]
        return [opened[1]] + [bundle for slot, bundle in grants if slot[32:48] == opened[0][32:48]
                              and slot[12] == opened[0][12] and is_signed(owner, slot[:-68], slot[-68:-4])]

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
            need(version == 0 and seq == number and end + (96 if flags & 2 else 32) == len(entry), f"log/{name}: header")
            if kind not in (1, 2, 3, 12):
                need(flags & 2 and is_signed(self.admin, entry[:end], entry[end:-32]), f"log/{name}: not signed")
            need(entry[24:56] == previous and entry[56:72] == self.uuid, f"log/{name}: chain")
            previous = hashlib.sha256(entry).digest()
            known = log.fold(kind, seq, entry[96:end])
            need(known or not flags & 1, f"log/{name}: unknown critical type")
        self.log = log
        return log

    def where(self, kind, location):
        """pack.md, "Moved frames": where the frame is now."""
        while (kind, location[:20]) in self.log.moved:
            session, place, map_location, digest, moves = self.log.moved[kind, location[:20]]
            if not moves:
                data = self.frame(1, map_location, digest)
                need(data[:8] == b"VMKM\0\0" + bytes([kind, 0]), "map: header")
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
        need(version == 0 and k == kind and cipher == self.cipher and incompat == 0, f"{name}: header")
        need(head[24:40] == session and struct.unpack_from("<I", head, 40)[0] == n, f"{name}: another pack")
        table = self.get(name, 64, 104 * count)
        need(crc32c(head[:60] + table) == struct.unpack_from("<I", head, 60)[0], f"{name}: checksum")
        keys = []
        for i in range(count):
            entry = table[104 * i:104 * i + 104]
            epoch = self.epochs[struct.unpack_from("<H", entry, 22)[0]]
            if entry[20] == 2:
                key = box_open(epoch[112:144], entry[24:], name)
            else:
                wrapping = epoch[80:112] if kind == 0 else epoch[48:80]
                key = gcm_open(wrapping, entry[24:36], self.uuid + bytes([kind]) + entry[:24], entry[36:68], entry[68:84], name)
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
        count = struct.unpack_from("<H", data, 6)[0]
        at = 66 + struct.unpack_from("<H", data, 64)[0]
        metadata = None
        at += 1
        if data[at - 1] == 1:
            metadata = self.frame(1, data[at:at + 32], data[at + 32:at + 64])
            at += 64
        parts = [self.frame(1, data[i:i + 32], data[i + 32:i + 64])
                 for i in range(at + 1, at + 1 + 64 * data[at], 64)]
        at += 1 + 64 * data[at]
        self.summary = [{} for _ in range(count)]
        for part in parts:
            self.read_summary(part)
        disks = {}
        for _ in range(count):
            end = at + 1 + data[at]
            name = data[at + 1:end].decode("ascii")
            size, log2, top, kind = struct.unpack_from("<QBBB", data, end)
            at = end + 11
            disks[name] = (size, 1 << log2, top, data[at:at + 32] if kind == 2 else None, data[at + 32:at + 64])
            at += 64 if kind == 2 else 0
        need(at == len(data), "root: length")
        return disks, metadata

    def read_summary(self, part):
        """tree.md, "Pack summary": per disk, pack -> bytes that its tree names."""
        need(part[:8] == b"VMKP" + bytes(4), "pack summary: header")
        at = 8
        while at < len(part):
            disk, kind, session, count = struct.unpack_from("<HB16sI", part, at)
            at += 23
            for _ in range(count):
                n, size = struct.unpack_from("<IQ", part, at)
                self.summary[disk][(kind, session, n)] = size
                at += 12

    def count(self, kind, location):
        """Take one reference from the counts of the summary of the disk that is read."""
        session, (n, _, flen, _) = location[:16], struct.unpack_from("<IIII", location, 16)
        self.left[(kind, session, n)] = self.left.get((kind, session, n), 0) - flen

    def node(self, level, location, digest):
        """tree.md, "Node": yields (place, type, pattern or location, id)."""
        self.count(1, location)
        data = self.frame(1, location, digest)
        version, its_level, count, packs, _ = struct.unpack_from("<BBHHH", data, 4)
        need(data[:4] == b"VMKN" and version == 0 and its_level == level, "node: header")
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
                self.count(0, where)
                yield 256 * index + i, kind, self.frame(0, where, child)


def main():
    repo = Repository(sys.argv[1], sys.argv[2])
    disks, metadata = repo.root(sys.argv[3])
    if len(sys.argv) < 6:
        for name, disk in disks.items():
            print(name, disk[0])
        print("metadata", 0 if metadata is None else len(metadata))
        return
    size, chunk, top, location, digest = disks[sys.argv[4]]
    repo.left = dict(repo.summary[list(disks).index(sys.argv[4])])
    with open(sys.argv[5], "wb") as out:
        out.truncate(size)
        if location is None:
            return
        for number, kind, data in repo.chunks(top, 0, location, digest):
            if kind == 1:
                data = data * (chunk // 8)
            out.seek(number * chunk)
            out.write(data[:max(0, min(len(data), size - number * chunk))])
    for (kind, session, n), size in repo.left.items():
        need(size == 0 or kind == 1 and size > 0, f"pack summary: {'pm'[kind]}/{uuid(session)}/{n} is off by {size}")


if __name__ == "__main__":
    try:
        main()
    except Damage as problem:
        sys.exit(f"repo-reader: {problem}")
