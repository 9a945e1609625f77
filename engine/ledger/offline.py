"""Verify an export of the decision log, or receipts, with this one file, Python and `cryptography`.

    python offline.py [EXPORT] --vkey KEY [--witness-vkey KEY]... [--since NOTE]... [--receipt FILE]...

Trusted are the keys given, and nothing that the export says of itself. It is read once, a bundle of 256 entries at a
time: headers, tile, notes and receipts, then the files that they name; the first fault ends the run. A note of a larger
tree shows that an export is older, not that it was altered. In memory stay a byte an entry, the digests of blobs, the
ids of erased keys, the sizes of notes. POSIX only. Exit: 0 good, 1 incomplete or unreadable, 2 usage, 3 tampered.

INVARIANT: imports nothing of this project and shares no code with it, so that one fault cannot hide in both.
Source: RFC 6962 §2.1; C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-tiles, tlog-proof.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import stat
import struct
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Entry: TypeAlias = tuple[int, int, list[bytes], list[bytes], tuple[tuple[bytes, int, bytes, bytes], ...]]
GOOD, INCOMPLETE, USAGE, TAMPERED = range(4)
COLORS = {"good": 32, "warning": 33, "incomplete": 33, "tampered": 31}
TILE, HEIGHTS, MAX_SIZE, PROGRESS = 256, range(9), 2**63, 2**14
MAX_HEADER, MAX_TILE, MAX_NOTE, MAX_BLOB, CHUNK = 65535, 8192, 2**20, 2**28, 2**20
MAX_BUNDLE, MAX_RECEIPT = TILE * (MAX_HEADER + 2), MAX_NOTE + 2 * MAX_HEADER
PLAIN_FILE = os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe in the place of a file must not block
DIGIT, DECIMAL = "[+/0-9A-Za-z]", "0|[1-9][0-9]{0,18}"
B64 = f"(?:{DIGIT}{{4}})*(?:{DIGIT}{{2}}==|{DIGIT}{{3}}=)?"
VKEY = re.compile(rf"([^\s+]+)\+([0-9a-f]{{8}})\+({DIGIT}{{44}})")
NOTE = re.compile(rf"(([^\n]+)\n({DECIMAL})\n({DIGIT}{{43}}=)\n)\n((?:\u2014 [^\s+\0-\x1f\x7f]+ {B64}\n){{1,64}})")
PROOF = rf"index ({DECIMAL})\n((?:{DIGIT}{{43}}=\n){{0,63}})"
RECEIPT = re.compile(rf"(?s)c2sp\.org/tlog-proof@v1\nextra ({B64})\n{PROOF}\n(.+)")
P = 2**255 - 19  # the curve of Ed25519: -x² + y² = 1 + D·x²·y² modulo P
D = -121665 * pow(121666, -1, P) % P

LAYOUT = struct.Struct(">10sB32sQqB36x32s32s32s32s16s16sBI32s32sI32s32sI")
PREFIX, NO_HASH, NO_PART = b"CDSLOG1\n\x00\x01", bytes(32), (bytes(16), 0, bytes(32), bytes(32))
ZEROS, GENESIS, BLOB, DECISION, TOMBSTONE, FEEDBACK = set(NO_PART), 1, 2, 4, 7, 14
# By kind: the fields of the body, in the letters of FIELDS; how many digests are set; whether each sealed part is.
BODIES = dict(enumerate(("ttt", "bdt", "ttt", "", "t", "qt", "ktt", "q", "okt", "tqqq", "tt", "tqdd", "qqt", "q"), 1))
FIELDS = {"t": b".*", "q": b".{8}", "d": b".{32}", "k": b"(.{16})+", "b": b"[\x01-\x07]", "o": b"[\x00\x01]"}
DIGESTS = {3: 1, 4: 4, 5: 4, 6: 4, 14: 4}
NO_PARTS, MAYBE_CALLER, BOTH_PARTS = {(False, False)}, {(False, False), (False, True)}, {(True, True)}
PARTS = dict.fromkeys((4, 5, 6, 14), BOTH_PARTS) | dict.fromkeys(range(7, 14), MAYBE_CALLER)
POINTS_TO, UNKNOWN_CARD = {6: DECISION, 8: TOMBSTONE, FEEDBACK: DECISION}, (FEEDBACK, 2**64 - 1)


class FaultError(argparse.ArgumentTypeError):
    """Something is not what was logged or signed. Of that type so that argparse says why it refuses a key."""


def _require(holds: object, message: str) -> None:
    if not holds:
        raise FaultError(message)


def _match(form: re.Pattern[str], text: str, what: str) -> tuple[str, ...]:
    if found := form.fullmatch(text):
        return found.groups()
    raise FaultError(f"not in the form of a {what}")


def _from_base64(text: str) -> bytes:
    data = base64.b64decode(text)
    _require(base64.b64encode(data).decode() == text, "base64 that is not canonical")
    return data


class Key:
    """A verifier key of type 1 (log) or 4 (witness). Weak ones are refused: y of P or more, order 1, 2, 4 or 8."""

    def __init__(self, text: str, types: bytes = b"\x01") -> None:
        self.name, key_id, encoded = _match(VKEY, text if text.isprintable() else "", "verifier key")
        self.text, raw, named = text, _from_base64(encoded), self.name.encode() + b"\n"
        self.key_id = sha256(named + raw).digest()[:4]
        self.log_id = sha256(b"CDS-LOG-ID-1\n" + named + raw[1:]).digest()
        _require(self.key_id.hex() == key_id and raw[0] in types, "a wrong key id, or not of the type that is needed")
        y = int.from_bytes(raw[1:], "little") % 2**255
        # Twice a point of order 8 has y = 0, which means that x² = -y²; the curve then reads D·y⁴ + 2·y² = 1.
        _require(y < P and y not in {0, 1, P - 1} and (D * y**4 + 2 * y**2 - 1) % P, "a public key that is weak")
        self.public = Ed25519PublicKey.from_public_bytes(raw[1:])


class Note:
    """A checkpoint that the log signed; from a receipt, also index and leaf hash. Lines of unknown keys are skipped."""

    def __init__(self, file: str, data: bytes, log: Key, witnesses: Sequence[Key] = ()) -> None:
        self.file, self.index, self.leaf, self.signers = file, -1, b"", set[str]()
        note = data.decode(errors="replace")
        _require(len(data) <= MAX_NOTE and note.encode() == data, "a note of more than 1 MiB, or not in UTF-8")
        text, origin, size, root, lines = _match(NOTE, note, "signed checkpoint")
        self.size, self.root = int(size), _from_base64(root)
        keys = {(key.name, key.key_id): key for key in (log, *witnesses)}
        for name, encoded in re.findall("\u2014 (\\S+) (\\S*)\n", lines):
            signature, signed = _from_base64(encoded), text.encode()
            key, signature = keys.get((name, signature[:4])), signature[4:]
            _require(signature, "a signature of no bytes")
            if not key:
                continue
            if key is not log:
                time, signature = int.from_bytes(signature[:8], "big"), signature[8:]
                _require(0 < time < MAX_SIZE, "a cosignature of no possible time")
                signed = b"cosignature/v1\ntime %d\n%b" % (time, signed)
            try:
                key.public.verify(signature, signed)
            except InvalidSignature:
                raise FaultError(f"the signature of {name} does not verify") from None
            self.signers.add(name)
        _require(log.name in self.signers and origin == log.name, "of another origin, or not signed by its key")
        _require(self.size < MAX_SIZE and (self.size or self.root == sha256().digest()), "an impossible tree_size")
        self.place: dict[str, int | str] = {"file": file, "tree_size": self.size, "root_hash": self.root.hex()}


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def check_inclusion(index: int, tree_size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Refuse a proof that does not lead from this leaf at this index to this root, by the recursion of RFC 6962."""
    _require(0 <= index < tree_size < MAX_SIZE and {*map(len, (leaf, root, *proof))} == {32}, "bad index or hash")
    turns = []  # from the root down: whether the leaf is in the right half
    while tree_size > 1:
        half = 1 << ((tree_size - 1).bit_length() - 1)
        turns.append(index >= half)
        index, tree_size = (index - half, tree_size - half) if turns[-1] else (index, half)
    _require(len(proof) == len(turns), "an inclusion proof of wrong length")
    for sibling in proof:
        leaf = _node(sibling, leaf) if turns.pop() else _node(leaf, sibling)
    _require(leaf == root, "the inclusion proof does not lead to the root_hash")


def open_receipt(file: str, data: bytes, log: Key, witnesses: Sequence[Key] = ()) -> Note:
    """Read a receipt whose header, index, inclusion proof and checkpoint agree."""
    extra, index, proof, tail = _match(RECEIPT, data.decode(errors="surrogateescape"), "receipt")
    header, note = _from_base64(extra), Note(file, tail.encode(errors="surrogateescape"), log, witnesses)
    note.index = note.place["index"] = int(index)
    note.leaf = sha256(b"\x00" + header).digest()
    decode(header, log.log_id, note.index)
    check_inclusion(note.index, note.size, note.leaf, [_from_base64(line) for line in proof.split()], note.root)
    return note


def decode(header: bytes, log_id: bytes, index: int) -> Entry:
    """Give kind, logged_at, digests, body fields, sealed parts; refuse what format 1 does not allow at this index."""
    _require(LAYOUT.size <= len(header) <= MAX_HEADER, "a header that is too short or too long")
    prefix, kind, of_log, place, logged_at, flags, *rest = LAYOUT.unpack_from(header)
    _require(prefix == PREFIX and kind in BODIES and not flags >> 3, "unknown format, kind or clock flags")
    _require(of_log == log_id, "a log_id that is not that of this origin and key")
    _require(place == index, "a header that says another index")
    _require(rest[-1] == len(header) - LAYOUT.size, "a body of another length than the header says")
    digests, patient, caller = rest[:4], (rest[4], *rest[7:10]), (rest[5], *rest[10:13])
    count, has = DIGESTS.get(kind, 0), (patient != NO_PART, caller != NO_PART)
    is_right = digests.count(NO_HASH) == len(digests) - count and (digests[0] == NO_HASH) == (not count)
    _require(is_right, "digests against the rule for this kind")
    _require(has == (ZEROS.isdisjoint(patient), ZEROS.isdisjoint(caller)), "a sealed part that is set in part only")
    _require(has in PARTS.get(kind, NO_PARTS) and rest[6] == any(has), "sealed parts against the rule for this kind")
    fields, end = [], LAYOUT.size
    for letter in BODIES[kind]:
        start, end = end + 4, end + 4 + int.from_bytes(header[end : end + 4], "big")
        fields.append(header[start:end])
        _require(end <= len(header) and re.fullmatch(FIELDS[letter], fields[-1], re.DOTALL), "a malformed body")
    _require(end == len(header), "bytes after the last field of the body")
    return kind, logged_at, digests[:count], fields, (patient, caller)


def _tile_path(level: str, tile: int, width: int) -> str:
    name = f"{tile % 1000:03d}"
    while tile := tile // 1000:
        name = f"x{tile % 1000:03d}/{name}"
    return f"tile/{level}/{name}" if width == TILE else f"tile/{level}/{name}.p/{width}"


def _grow(tile: list[list[bytes]], hashes: list[bytes]) -> None:
    for row in tile:
        start = len(row) & ~1  # the pair that is still open, if there is one
        row.extend(hashes)
        hashes = [_node(*pair) for pair in zip(row[start::2], row[start + 1 :: 2], strict=False)]


class Verification:
    """One reading of an export, which must agree with the notes `kept` elsewhere; `place` is what is being looked at.

    A tile is held as its hashes by height: `[0]` is what its file holds, `[8]` the root of a full one.
    """

    def __init__(self, root: str, log: Key, witnesses: Sequence[Key]) -> None:
        self.root, self.log, self.witnesses = root, log, witnesses
        self.place, self.kept, self.warnings = dict[str, int | str](), list[Note](), list[str]()
        self.kinds, self.logged_at, self.agreed = bytearray(), -MAX_SIZE, 0
        self.blobs, self.erased, self.seen = set[bytes](), set[bytes](), {"": 0}
        self.bodies = list[tuple[int, str, bytes, int, bytes]]()  # that the headers of this bundle name
        self.unexcused = dict[bytes, tuple[int, str]]()  # by key id: the first lacking body, while no tombstone is seen
        self.tiles: list[list[list[bytes]]] = [[[] for _ in HEIGHTS] for _ in HEIGHTS]  # that fill now, by level

    def run(self) -> Note:
        """Read the export and give its checkpoint, or raise OSError where something lacks."""
        latest = self._note("checkpoint")
        _require(latest.size, "a log without a genesis")
        self.place = {"file": "checkpoints"}
        names = (path.name for path in Path(self.root, "checkpoints").iterdir())
        released = sorted((int(name) for name in names if re.fullmatch(DECIMAL, name)), reverse=True)
        for first in range(0, latest.size, TILE):
            end = min(first + TILE, latest.size)
            self._bundle(first, end)
            for note in self.kept:
                if first <= note.index < end:
                    self.place = {"index": note.index, "file": note.file}
                    _require(self.tiles[0][0][note.index - first] == note.leaf, "the receipt has another entry: a fork")
            due = [note for note in (latest, *self.kept) if first < note.size <= end]
            while released and released[-1] <= end:
                due.append(self._note(f"checkpoints/{released.pop()}"))
            for note in sorted(due, key=lambda note: note.size):
                self._check_root(note, first)
            self._check_bodies()
            self._carry(end, is_last=end == latest.size)
            if end % PROGRESS == 0 and sys.stderr.isatty():
                sys.stderr.write(f"{end:,} of {latest.size:,} entries\r")
        self._warn_of_strangers()
        ahead = (*self.kept, *(self._note(f"checkpoints/{size}") for size in released))
        lacks = [(latest.size, note.file, "is later than the export") for note in ahead if note.size > latest.size]
        lacks += [(*lack, "lacks, and no tombstone tells of it") for lack in self.unexcused.values()]
        if lacks:
            index, file, message = min(lacks)
            self.place = {"index": index, "file": file}
            raise FileNotFoundError(0, f"{message}; the first of {len(lacks)}")
        return latest

    def _warn_of_strangers(self) -> None:
        for folder, count in self.seen.items():
            with os.scandir(f"{self.root}/{folder}") as items:
                names = (f"{folder}{item.name}/" for item in items if item.name != "manifest")
                extra = sum(name not in self.seen for name in names) - count
            if extra > 0:
                self.warnings.append(f"{extra} files or folders in `{folder}` that nothing names")

    def _read(self, path: str, limit: int) -> Iterator[bytes]:
        above = folder = path[: path.rfind("/") + 1]
        while folder not in self.seen:
            _require(stat.S_ISDIR(Path(self.root, folder).lstat().st_mode), f"{folder} is a link, or no folder")
            self.seen[folder], folder = 0, folder[: folder.rfind("/", 0, -1) + 1]
        file = os.open(f"{self.root}/{path}", PLAIN_FILE)
        self.seen[above] += 1
        try:
            left = os.fstat(file).st_size
            _require(left <= limit, f"a file of more than {limit} bytes")
            while left > 0 and (chunk := os.read(file, min(left, CHUNK))):
                left -= len(chunk)
                yield chunk
        finally:
            os.close(file)

    def _note(self, path: str) -> Note:
        self.place = {"file": path}
        note = Note(path, b"".join(self._read(path, MAX_NOTE)), self.log, self.witnesses)
        _require(path in {"checkpoint", f"checkpoints/{note.size}"}, "a checkpoint under the name of another")
        return note

    def _bundle(self, first: int, end: int) -> None:
        path, tile = (_tile_path(level, first // TILE, end - first) for level in ("entries", "0"))
        self.place, leaves, stop = {"index": first, "file": tile}, list[bytes](), 0
        hashes, self.place = b"".join(self._read(tile, MAX_TILE)), {"index": first, "file": path}
        data, message = b"".join(self._read(path, MAX_BUNDLE)), f"not the entry that {tile} has the hash of"
        for index in range(first, end):
            start, stop = stop + 2, stop + 2 + int.from_bytes(data[stop : stop + 2], "big")
            self.place = {"index": index, "file": path, "offset": start - 2}
            self._add(index, data[start:stop])
            leaf, row = sha256(b"\x00" + data[start:stop]).digest(), 32 * len(leaves)
            _require(leaf == hashes[row : row + 32], message)
            leaves.append(leaf)
        _require((stop, 32 * len(leaves)) == (len(data), len(hashes)), f"bytes after the last entry, or in {tile}")
        _grow(self.tiles[0], leaves)

    def _add(self, index: int, header: bytes) -> None:
        kind, logged_at, digests, fields, parts = decode(header, self.log.log_id, index)
        _require(logged_at >= self.logged_at, "logged_at is before that of the entry before")
        _require((kind == GENESIS) == (index == 0), "entry 0 is the genesis, and no other is")
        _require(self.blobs.issuperset(digests), "names a digest that no earlier entry registers")
        if kind == GENESIS:
            _require(fields[:2] == [self.log.name.encode(), self.log.text.encode()], "the genesis has another key")
        elif kind == BLOB and fields[1] not in self.blobs:
            self.blobs.add(fields[1])
            self.bodies.append((index, f"blob/{fields[1].hex()}", fields[1], 0, fields[1]))
        elif kind == TOMBSTONE:
            for (key_id,) in struct.iter_unpack("16s", fields[0]):
                self.erased.add(key_id)
                self.unexcused.pop(key_id, None)
        elif kind in POINTS_TO:
            target = int.from_bytes(fields[0], "big")
            earlier = target < index and self.kinds[target] == POINTS_TO[kind]
            _require(earlier or (kind, target) == UNKNOWN_CARD, "points to no earlier entry of the kind that it needs")
        for key_id, length, digest, _ in parts:
            if length:
                self.bodies.append((index, f"sealed/{digest.hex()}", digest, length, key_id))
        self.logged_at = logged_at
        self.kinds.append(kind)

    def _check_bodies(self) -> None:
        for index, path, digest, length, key_id in self.bodies:
            self.place, found, size = {"index": index, "file": path}, sha256(), 0
            try:
                for chunk in self._read(path, length or MAX_BLOB):
                    found.update(chunk)
                    size += len(chunk)
                _require(found.digest() == digest and size == (length or size), "not the bytes that the entry names")
            except FileNotFoundError:
                if key_id not in self.erased:
                    self.unexcused.setdefault(key_id, (index, path))
        self.bodies.clear()

    def _compare(self, level: int, index: int) -> None:
        hashes, tile = b"".join(self.tiles[level][0]), index // TILE ** (level + 1)
        path, first = _tile_path(str(level), tile, len(self.tiles[level][0])), tile * TILE ** (level + 1)
        self.place = {"index": first, "file": path}
        found = b"".join(self._read(path, MAX_TILE))
        if found != hashes:
            row = next(row for row in range(TILE) if found[32 * row :][:32] != hashes[32 * row :][:32])
            self.place = {"index": first + row * TILE**level, "file": path, "offset": 32 * row}
            raise FaultError("the tile has not the hashes of the entries")

    def _carry(self, end: int, *, is_last: bool) -> None:
        for level, tile in enumerate(self.tiles):
            if level and tile[0] and (is_last or tile[-1]):
                self._compare(level, end - 1)
            if tile[-1]:
                self.tiles[level] = [[] for _ in HEIGHTS]
                _grow(self.tiles[level + 1], tile[-1])
            elif not is_last:
                break

    def _check_root(self, note: Note, first: int) -> None:
        root = b""  # grows from the right edge, which is lowest, to the left
        for level, tile in enumerate(self.tiles):
            width = len(tile[0]) if level else note.size - first
            for left in [row[(width >> height) - 1] for height, row in enumerate(tile) if width >> height & 1]:
                root = _node(left, root) if root else left
        self.place = {"index": min(self.agreed, note.size - 1), "file": note.file}
        _require(note.root == root or not note.size, f"another root_hash at tree_size {note.size} than the entries")
        self.agreed = note.size


def main(argv: Sequence[str]) -> int:
    """Verify what the command line names and give the exit code; the last line has the verdict and the first fault."""
    parser = argparse.ArgumentParser("offline.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("export", nargs="?", metavar="EXPORT")
    keys = parser.add_mutually_exclusive_group(required=True)
    keys.add_argument("--vkey", type=Key, metavar="KEY")
    keys.add_argument("--vkey-file", type=lambda path: Key(Path(path).read_text().strip()), dest="vkey", metavar="FILE")
    parser.add_argument("--witness-vkey", type=lambda text: Key(text, b"\x04"), action="append", default=[])
    parser.add_argument("--since", action="append", default=[], metavar="NOTE")
    parser.add_argument("--receipt", action="append", default=[], metavar="FILE")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    try:
        options = parser.parse_args(argv)
        if not options.export and (options.since or not options.receipt):
            parser.error("give EXPORT, or --receipt alone")
    except SystemExit as stop:
        return USAGE if stop.code else GOOD
    except OSError as error:
        sys.stdout.write(f"incomplete: --vkey-file: {str(error.strerror).lower()}\n")
        return INCOMPLETE
    reading = Verification(options.export, options.vkey, options.witness_vkey)
    try:
        for file in (*options.since, *options.receipt):
            reading.place = {"file": file}
            form = Note if file in options.since else open_receipt
            with Path(file).open("rb") as stream:
                reading.kept.append(form(file, stream.read(MAX_RECEIPT), options.vkey, options.witness_vkey))
        notes = [reading.run()] if options.export else reading.kept
        code, lines = GOOD, [("good", f"signed by {', '.join(sorted(note.signers))}", note.place) for note in notes]
    except FaultError as fault:
        code, lines = TAMPERED, [("tampered", str(fault), reading.place)]
    except OSError as error:
        code, lines = INCOMPLETE, [("incomplete", str(error.strerror).lower(), reading.place)]
    for word, message, place in [*(("warning", text, {}) for text in reading.warnings), *lines]:
        line = f"{word}: {''.join(f'{name} {value}: ' for name, value in place.items())}{message}"
        line = (line if line.isprintable() else ascii(line)).encode("ascii", "backslashreplace").decode()
        if sys.stdout.isatty():
            line = f"\x1b[{COLORS[word]}m{line}\x1b[0m"
        as_json = json.dumps({"verdict": word, **place, "message": message})
        sys.stdout.write(f"{as_json if options.format == 'json' else line}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
