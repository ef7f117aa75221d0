#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""repo-format.py REPOSITORY: is every byte of a repository without encryption
what docs/formats/ says? Written from those pages alone. It prints how many
objects, entries and frames of each kind it has seen."""
import ctypes
import hashlib
import hmac
import os
import re
import sys
import uuid
from struct import pack, unpack_from

TOP = sys.argv[1]
seen = {}
zstd = ctypes.CDLL("libzstd.so.1")
zstd.ZSTD_decompress.restype = ctypes.c_size_t

CRC_TABLE = []
for i in range(256):
    for _ in range(8):
        i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
    CRC_TABLE.append(i)


def crc(data):
    c = 0xFFFFFFFF
    for x in data:
        c = c >> 8 ^ CRC_TABLE[(c ^ x) & 255]
    return c ^ 0xFFFFFFFF


def want(is_true, *what):
    if not is_true:
        sys.exit("not as docs/formats/ says: " + " ".join(map(str, what)))


def note(what):
    seen[what] = seen.get(what, 0) + 1


def u16(b, at): return unpack_from("<H", b, at)[0]
def u32(b, at): return unpack_from("<I", b, at)[0]
def u64(b, at): return unpack_from("<Q", b, at)[0]
def zero(b): return not any(b)
def mac(key, data): return hmac.new(key, data, hashlib.sha256).digest()
def subkey(label): return mac(bytes(32), b"vmkeep/1/" + label)  # keys.md
def location(b, at): return (b[at:at + 16],) + unpack_from("<4I", b, at + 16)


def read(name):
    with open(os.path.join(TOP, name), "rb") as f:
        return f.read()


K_ID, K_LOG = subkey(b"id"), subkey(b"log")
names = sorted(os.path.relpath(os.path.join(d, f), TOP) for d, _, files in os.walk(TOP) for f in files)
for n in names:
    want(re.fullmatch(r"repo\.cfg|log/\d{20}|[pm]/[0-9a-f-]{36}/(0|[1-9]\d*)(\.parity)?|x/[0-9a-f-]{36}|hint/(scrub|copies|checked)/\d+", n), "name", n)

# ---- repo.cfg ----
cfg = read("repo.cfg")
UUID = cfg[40:56]
want(len(cfg) == 128 and cfg[:8] == b"VMKREPO\0" and u16(cfg, 8) == 1 and cfg[10] == 0 and 16 <= cfg[11] <= 22, "repo.cfg")
want(zero(cfg[12:16]) and u64(cfg, 16) < 2 and zero(cfg[24:40]) and zero(cfg[64:124]) and u32(cfg, 124) == crc(cfg[:124]), "repo.cfg")

# ---- packs ----
frames = {}  # (kind, session, n, off8) -> id, plaintext, flen
pack_bytes = {}


def read_frame(b, off, name):
    clen, ulen, ordinal, codec = u32(b, off), u32(b, off + 4), u32(b, off + 8), b[off + 12]
    stored = b[off + 24:off + 24 + clen]
    flen = (24 + clen + 7) & ~7
    want(b[off + 13] == 0 and u16(b, off + 14) == 0 and u32(b, off + 16) == crc(stored), name, "frame", off)
    want(u32(b, off + 20) == crc(b[off:off + 20]) and zero(b[off + 24 + clen:off + flen]), name, "frame", off)
    want(codec in (0, 2) and clen <= ulen and (codec == 2 or clen == ulen), name, "codec", off)
    if codec == 0:
        return flen, ordinal, stored
    out = ctypes.create_string_buffer(ulen + 1)
    got = zstd.ZSTD_decompress(out, ctypes.c_size_t(ulen + 1), stored, ctypes.c_size_t(clen))
    want(got == ulen, name, "zstd", off)
    return flen, ordinal, out.raw[:ulen]


def read_pack(name):
    b, kind = read(name), "pm".index(name[0])
    session, n = uuid.UUID(name.split("/")[1]).bytes, int(name.split("/")[2])
    want(b[:8] == b"VMKPACK\0" and u16(b, 8) == 1 and b[10] == kind and zero(b[11:24]), name, "header")
    want(b[24:40] == session and u32(b, 40) == n and zero(b[44:60]) and u32(b, 60) == crc(b[:60]), name, "header")
    end = b[-64:]
    body, footer_off, footer_len, stripes = unpack_from("<QQII", end, 8)
    want(end[:8] == b"VMKPEND\0" and end[32:48] == session and u32(end, 48) == n and end[52] == kind and zero(end[53:60]), name, "trailer")
    want(stripes == (body + 2**20 - 1) >> 20 and footer_off + footer_len == body, name, "trailer")
    want(len(b) == body + 4 * stripes + 64 and u32(end, 60) == crc(b[body:-4]), name, "trailer")
    for i in range(stripes):
        want(u32(b, body + 4 * i) == crc(b[i << 20:min((i + 1) << 20, body)]), name, "stripe", i)
    off, found = 64, []
    while off < footer_off:
        flen, _, plain = read_frame(b, off, name)
        found.append((off, flen, plain))
        off += flen
    flen, ordinal, footer = read_frame(b, off, name)
    want(off == footer_off and flen == footer_len and ordinal == 0xFFFFFFFF and len(footer) == 36 * len(found), name, "footer")
    for i, (off, flen, plain) in enumerate(found):
        want(footer[36 * i:36 * i + 36] == mac(K_ID, plain) + pack("<I", off // 8), name, "footer", i)
        frames[kind, session, n, off // 8] = (mac(K_ID, plain), plain, flen)
    pack_bytes[kind, session, n] = len(b)
    note("pack " + name[0])


def read_parity(name):
    """parity.md; P and Q over all bytes at once, in long integers"""
    b, pack_name = read(name), name[:-len(".parity")]
    p = read(pack_name)
    want(b[:8] == b"VMKPRTY\0" and u16(b, 8) == 1 and b[10] == "pm".index(name[0]) and b[11] == 2 and zero(b[52:60]), name)
    count, length, stripe = u32(b, 12), u64(b, 16), u32(b, 44)
    want(length == len(p) and stripe == ((length + 64 * 4096 - 1) // (64 * 4096) * 4096 if length >= 4096 else (length + 63) // 64 * 64) and count == (length + stripe - 1) // stripe, name, "lengths")
    want(b[24:44] == uuid.UUID(name.split("/")[1]).bytes + pack("<I", int(pack_name.split("/")[2])) and b[48:52] == p[-4:], name, "its pack")
    head = 64 + 32 * (count + 2)
    want(len(b) == head + 2 * stripe and u32(b, 60) == crc(b[:60] + b[64:head]), name, "checksum")
    parts, low, ones = [p[i:i + stripe] for i in range(0, length, stripe)], int.from_bytes(b"\x7f" * stripe, "big"), int.from_bytes(b"\1" * stripe, "big")
    pp = qq = 0
    for part in reversed(parts):
        d = int.from_bytes(part.ljust(stripe, b"\0"), "big")
        pp, qq = pp ^ d, (qq & low) << 1 ^ (qq >> 7 & ones) * 0x1d ^ d
    want(b[head:] == pp.to_bytes(stripe, "big") + qq.to_bytes(stripe, "big"), name, "P and Q")
    for i, part in enumerate(parts + [b[head:head + stripe], b[head + stripe:]]):
        want(b[64 + 32 * i:96 + 32 * i] == mac(bytes(32), part), name, "digest", i)
    note("parity")


for n in names:
    if n.endswith(".parity"):
        read_parity(n)
    elif n[1] == "/" and n[0] in "pm":
        read_pack(n)

# ---- the log ----
moves = {}
backups = {}  # id -> COMMIT's body


def frame(kind, loc, ident):
    session, n, off8, flen, ulen = loc
    while (kind, session, n, off8) in moves:
        session, n, off8, flen = moves[kind, session, n, off8]
    got = frames.get((kind, session, n, off8))
    want(got is not None and got[0] == ident and got[2] == flen and len(got[1]) == ulen, "a location", kind, uuid.UUID(bytes=session), n, off8)
    return got[1]


def redirect(b):
    count = u16(b, 26)
    want(len(b) == 92 + 20 * count, "REDIRECT")
    m = frame(1, location(b, 28), b[60:92])
    want(m[:4] == b"VMKM" and u16(m, 4) == 1 and m[6] == b[24] and m[7] == 0 and u32(m, 8) == count and len(m) == 16 + 20 * u32(m, 12), "map")
    before = (-1, -1)
    for i in range(u32(m, 12)):
        source, off8, n, to8, flen = unpack_from("<5I", m, 16 + 20 * i)
        want(source < count and (source, off8) > before, "map: order")
        before = (source, off8)
        old = b[92 + 20 * source:112 + 20 * source]
        moves[b[24], old[:16], u32(old, 16), off8] = (b[:16], n, to8, flen)


def condemn(b):
    drops, at = u16(b, 8), 10
    for i in range(drops):
        backups.pop(b[at:at + 16], None)
        at += 16
    count, got, at = u16(b, at), 0, at + 2
    while got < count:
        n = u16(b, at + 17)
        want(b[at] < 2 and n > 0, "CONDEMN")
        got, at = got + n, at + 19 + 4 * n
    want(got == count and at == len(b), "CONDEMN")


def entry(kind, b):
    if kind == 2:
        want(len(b) == 130 + u16(b, 128), "COMMIT")
        backups[b[:16]] = b
    elif kind == 6:
        redirect(b)
    elif kind == 7:
        condemn(b)
    else:
        lengths = {1: (40, 56), 3: (16, 17), 5: (16,), 9: (18,), 12: (33,) if b[0] else (17,)}
        if kind in (4, 11):
            lengths[kind] = (2 + 16 * u16(b, 0),)
        elif kind == 10:
            lengths[kind] = (18 + b[17],)
        elif kind == 13:
            lengths[kind] = (3 + 57 * u16(b, 1),)
        want(len(b) in lengths[kind], "body of type", kind)


before = bytes(32)
for seq, n in enumerate((n for n in names if n.startswith("log/")), 1):
    b = read(n)
    kind, flags, end = b[10], b[11], 96 + u32(b, 12)
    want(int(n[4:]) == seq == u64(b, 16) and b[:8] == b"VMKLOGE\0" and u16(b, 8) == 1 and b[24:56] == before and b[56:72] == UUID, n)
    want(flags == (1 if kind in (2, 4, 5, 6, 7, 10, 11) else 0) + (0 if kind in (1, 2, 3, 12) else 2), n, "flags")
    want(len(b) == end + (64 if flags & 2 else 0) + 32 and b[-32:] == mac(K_LOG, b[:-32]), n)
    entry(kind, b[96:end])
    before = hashlib.sha256(b).digest()
    note("log type %d" % kind)

# ---- roots, trees, summaries ----


def node(loc, ident, level, packs):
    b = frame(1, loc, ident)
    want(b[:4] == b"VMKN" and b[4] == 1 and b[5] == level and zero(b[10:12]), "node")
    count, table, at = u16(b, 6), [], 12
    for i in range(u16(b, 8)):
        table.append((b[at:at + 16], u32(b, at + 16)))
        at += 20
    types, at, used = b[at:at + count], at + count, 0
    want(1 <= count <= 256 and types[-1] != 0 and len(set(table)) == len(table), "node")
    name(packs, 1, loc)
    for kind in types:
        want(kind == 0 or kind == 2 or (kind == 1 and level == 0), "node: type", kind)
        if kind == 1:
            at += 8
            note("pattern")
        elif kind == 2:
            place = u16(b, at + 32)
            want(place <= used, "node: order of its packs")
            used += place == used
            child = table[place] + unpack_from("<3I", b, at + 34)
            if level > 0:
                node(child, b[at:at + 32], level - 1, packs)
            else:
                frame(0, child, b[at:at + 32])
                name(packs, 0, child)
                note("chunk")
            at += 46
    want(at == len(b) and used == len(table), "node: its end")


def name(packs, kind, loc):
    packs[kind, loc[0], loc[1]] = packs.get((kind, loc[0], loc[1]), 0) + loc[3]


def check_summary(parts, trees):
    said = [{} for _ in trees]
    for s in parts:
        want(s[:4] == b"VMKP" and u32(s, 4) == 1, "summary")
        at = 8
        while at < len(s):
            disk, kind, session, count = u16(s, at), s[at + 2], s[at + 3:at + 19], u32(s, at + 19)
            at += 23
            for _ in range(count):
                said[disk][kind, session, u32(s, at)] = u64(s, at + 4)
                at += 12
        want(at == len(s), "summary")
    for tree, summary in zip(trees, said):
        for k in tree.keys() | summary.keys():
            have, says = tree.get(k, 0), summary.get(k, 0)
            want(says == have or (k[0] == 1 and says > have), "summary", k, have, says)


for ident, c in backups.items():
    b = frame(1, location(c, 64), c[96:128])
    uid_end = 66 + u16(b, 64)
    want(b[:4] == b"VMKR" and u16(b, 4) == 1 and b[8:24] == UUID and b[24:40] == ident and b[40:56] == c[16:32] and b[66:uid_end] == c[130:], "root")
    at, parts, trees, size_of_all = uid_end + 1, [], [], 0
    if b[uid_end]:
        frame(1, location(b, at), b[at + 32:at + 64])
        at += 64
    for _ in range(b[at]):
        parts.append(frame(1, location(b, at + 1), b[at + 33:at + 65]))
        at += 64
    at += 1
    for _ in range(u16(b, 6)):
        at += 1 + b[at]
        size, log2, top, kind = u64(b, at), b[at + 8], b[at + 9], b[at + 10]
        chunks, level, at = (size + (1 << log2) - 1) >> log2, 0, at + 11
        while 256 ** (level + 1) < chunks:
            level += 1
        want(level == top and kind in (0, 2), "root: disk")
        trees.append({})
        size_of_all += size
        if kind == 2:
            node(location(b, at), b[at + 32:at + 64], top, trees[-1])
            at += 64
    want(at == len(b) and size_of_all == u64(c, 40), "root: its end")
    check_summary(parts, trees)
    note("backup")

# ---- the index ----
SALTS = (0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d, 0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31)


def segment(name):
    b, ident = read(name), uuid.UUID(name[2:]).bytes
    entries, packs = u32(b, 12), u32(b, 16)
    blocks = -(-entries * 10 // 256)
    first, counts = 1, []
    for items, per_page in ((entries, 146), (packs, 204), (-(-entries // 146), 1023), (blocks, 127)):
        counts.append((first, per_page))
        first += -(-items // per_page)
    want(len(b) == 4096 * first, name, "length")
    for page in range(first):
        data = b[4096 * page:4096 * page + 4092]
        want(u32(b, 4096 * page + 4092) == crc(ident + pack("<I", page) + data), name, "page", page)

    def item(part, size, i):
        at = 4096 * (counts[part][0] + i // counts[part][1]) + size * (i % counts[part][1])
        return b[at:at + size]
    all_entries = [item(0, 28, i) for i in range(entries)]
    want(b[:8] == b"VMKSEGM\0" and u16(b, 8) == 1 and b[11] == 0 and zero(b[20:32]) and b[32:48] == UUID and b[48:64] == ident, name, "header")
    want(b[96:112] == all_entries[0][:16] and b[112:128] == all_entries[-1][:16], name, "header")
    want([e[:16] for e in all_entries] == sorted(e[:16] for e in all_entries), name, "order")
    for i in range(0, entries, 146):
        want(u32(item(2, 4, i // 146), 0) == int.from_bytes(all_entries[i][:4], "big"), name, "fence")
    for e in all_entries:
        h = u64(e, 8)
        words = item(3, 32, ((h >> 32) * blocks) >> 32)
        for w in range(8):
            want(u32(words, 4 * w) >> ((h * SALTS[w] & 0xFFFFFFFF) >> 27) & 1, name, "filter")
        p = item(1, 20, u32(e, 16))
        there = frames.get((0, p[:16], u32(p, 16), u32(e, 20)))
        want(there is None or (there[0][:16] == e[:16] and there[2] == u32(e, 24)), name, "entry")
    note("segment")


for n in names:
    if n.startswith("x/"):
        segment(n)
    elif n.startswith("hint/"):
        want(n.startswith("hint/scrub") or len(read(n)) % (57 if "copies" in n else 16) == 0, n)
        note(n.split("/")[1])
for what in sorted(seen):
    print(what, seen[what])
