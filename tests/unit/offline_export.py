"""Logs and their exports, written by hand: an encoder, a tree and notes of their own, which share nothing with ours.

`Log` writes whatever it is told, right or wrong, and signs it, so that a test can show which rule refuses it.
"""

from __future__ import annotations

import io
import json
import struct
from base64 import b64encode
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engine.ledger import offline

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

ZERO = bytes(32)
DIGESTS = tuple(sha256(name).digest() for name in (b"pack set", b"engine", b"schema", b"reference"))
PATIENT, CALLER = sha256(b"patient's key").digest()[:16], sha256(b"caller's key").digest()[:16]


def digest(data: bytes) -> bytes:
    return sha256(data).digest()


def frame(*parts: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def u64(number: int) -> bytes:
    return struct.pack(">Q", number)


def mth(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1, as it is written there, over leaf hashes."""
    if not leaves:
        return digest(b"")
    if len(leaves) == 1:
        return leaves[0]
    half = split(len(leaves))
    return digest(b"\x01" + mth(leaves[:half]) + mth(leaves[half:]))


def split(count: int) -> int:
    half = 1
    while half * 2 < count:
        half *= 2
    return half


def path(index: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962 §2.1.1: the inclusion proof of a leaf."""
    if len(leaves) == 1:
        return []
    half = split(len(leaves))
    if index < half:
        return [*path(index, leaves[:half]), mth(leaves[half:])]
    return [*path(index - half, leaves[half:]), mth(leaves[:half])]


def file_name(level: str, number: int, width: int) -> str:
    digits = str(number)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    name = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
    return f"tile/{level}/{name}" + ("" if width == 256 else f".p/{width}")


@dataclass
class Signer:
    """A key with a name; type 1 signs as a log does, type 4 as a witness."""

    name: str = "log.example.org/decisions/test"
    seed: bytes = b"\x07" * 32
    kind: int = 1

    def __post_init__(self) -> None:
        self.key = Ed25519PrivateKey.from_private_bytes(self.seed)
        self.public = self.key.public_key().public_bytes_raw()
        typed = bytes([self.kind]) + self.public
        self.key_id = digest(self.name.encode() + b"\n" + typed)[:4]
        self.vkey = f"{self.name}+{self.key_id.hex()}+{b64encode(typed).decode()}"
        self.log_id = digest(b"CDS-LOG-ID-1\n" + self.name.encode() + b"\n" + self.public)

    def line(self, text: str, time: int = 1_767_139_200) -> str:
        stamp = b"" if self.kind == 1 else u64(time)
        message = text if self.kind == 1 else f"cosignature/v1\ntime {time}\n{text}"
        signature = b64encode(self.key_id + stamp + self.key.sign(message.encode())).decode()
        return f"\u2014 {self.name} {signature}\n"

    def note(self, size: int, root: bytes, *witnesses: Signer) -> bytes:
        text = f"{self.name}\n{size}\n{b64encode(root).decode()}\n"
        return (text + "\n" + "".join(signer.line(text) for signer in (self, *witnesses))).encode()


@dataclass
class Log:
    """Entries, with the bodies and blobs that they name. Every method appends one entry and gives its index."""

    signer: Signer = field(default_factory=Signer)
    headers: list[bytes] = field(default_factory=list)
    sealed: dict[bytes, bytes] = field(default_factory=dict)
    blobs: dict[bytes, bytes] = field(default_factory=dict)

    def add(self, kind: int, body: bytes = b"", **other: object) -> int:
        """Append a header that is right for its place, unless `other` says otherwise."""
        index = len(self.headers)
        values: dict[str, object] = {
            "magic": b"CDSLOG1\n",
            "format": 1,
            "log_id": self.signer.log_id,
            "index": index,
            "logged_at": 1_767_139_200_000_000 + index // 3,
            "flags": 0,
            "digests": (ZERO,) * 4,
            "keys": (bytes(16), bytes(16)),
            "patient": (0, ZERO, ZERO),
            "caller": (0, ZERO, ZERO),
            "length": len(body),
        }
        values |= other
        values.setdefault("seal", int(values["patient"] != (0, ZERO, ZERO) or values["caller"] != (0, ZERO, ZERO)))
        self.headers.append(pack_header(kind, body, values))
        return index

    def seal(self, what: str) -> tuple[int, bytes, bytes]:
        """Make a sealed body: noise of a length of its own."""
        body = b"".join(digest(f"{what} {len(self.headers)} {part}".encode()) for part in range(3))
        body = body[: 60 + len(self.headers) % 30]
        self.sealed[digest(body)] = body
        return len(body), digest(body), digest(b"commitment" + body)

    def call(self, kind: int = 4, body: bytes = b"", key_id: bytes = PATIENT, **other: object) -> int:
        """Append a decision, or what else has all digests and both parts."""
        parts: dict[str, object] = {"patient": self.seal("patient"), "caller": self.seal("caller")}
        return self.add(kind, body, **{"digests": DIGESTS, "keys": (key_id, CALLER)} | parts | other)

    def register(self, body: bytes, kind: int = 1) -> int:
        self.blobs[digest(body)] = body
        return self.add(2, frame(bytes([kind]), digest(body), b"label"))

    def begin(self) -> Log:
        """Append what stands before the first decision: entries 0 to 5."""
        self.add(1, frame(self.signer.name.encode(), self.signer.vkey.encode(), b""))
        for kind, body in enumerate((b"pack set", b"engine", b"schema", b"reference"), 1):
            self.register(body, kind)
        self.add(3, frame(b"label", b"1.0.0", b"2026-01-01"), digests=(DIGESTS[0], ZERO, ZERO, ZERO))
        return self

    @property
    def leaves(self) -> list[bytes]:
        return [digest(b"\x00" + header) for header in self.headers]

    @property
    def root(self) -> bytes:
        return mth(self.leaves)

    def names(self, file: str) -> int:
        """Give the index of the entry that names a sealed body or a blob."""
        name = bytes.fromhex(file.partition("/")[2]) if file.startswith(("sealed", "blob")) else file.encode()
        return next((index for index, header in enumerate(self.headers) if name in header), -1)

    def note(self, size: int | None = None) -> bytes:
        leaves = self.leaves[:size]
        return self.signer.note(len(leaves), mth(leaves))

    def receipt(self, index: int, size: int | None = None) -> bytes:
        proof = "".join(b64encode(item).decode() + "\n" for item in path(index, self.leaves[:size]))
        header = b64encode(self.headers[index]).decode()
        return f"c2sp.org/tlog-proof@v1\nextra {header}\nindex {index}\n{proof}\n".encode() + self.note(size)

    def files(self, checkpoints: Iterable[int] = ()) -> dict[str, bytes]:
        """Give the export's files by path, with released notes at these sizes and at the last."""
        size, leaves = len(self.headers), self.leaves
        files = {f"checkpoints/{each}": self.note(each) for each in {*checkpoints, size}}
        files["checkpoint"] = files[f"checkpoints/{size}"]
        for first in range(0, size, 256):
            bundle = self.headers[first : first + 256]
            name = file_name("entries", first // 256, len(bundle))
            files[name] = b"".join(struct.pack(">H", len(header)) + header for header in bundle)
        level = 0
        while leaves:
            rows = [leaves[first : first + 256] for first in range(0, len(leaves), 256)]
            files |= {file_name(str(level), number, len(row)): b"".join(row) for number, row in enumerate(rows)}
            leaves, level = [mth(row) for row in rows if len(row) == 256], level + 1
        files |= {f"sealed/{name.hex()}": body for name, body in self.sealed.items()}
        files |= {f"blob/{name.hex()}": body for name, body in self.blobs.items()}
        return files | {"manifest": b"for people\n"}


def pack_header(kind: int, body: bytes, values: dict[str, object]) -> bytes:
    """Lay out a header field by field, as the table of format 1 lists them."""

    def of(name: str) -> bytes:
        value = values[name]
        assert isinstance(value, tuple | int | bytes)
        codes = {"format": ">H", "index": ">Q", "logged_at": ">q", "flags": ">B", "seal": ">B", "length": ">I"}
        if isinstance(value, int):
            return struct.pack(codes[name], value)
        if isinstance(value, bytes):
            return value
        return b"".join(item if isinstance(item, bytes) else struct.pack(">I", item) for item in value)

    entry_id = digest(b"entry" + of("index"))[:15] + b"\x00"
    head = of("magic") + of("format") + bytes([kind]) + of("log_id") + of("index") + of("logged_at") + of("flags")
    seal = of("digests") + of("keys") + of("seal") + of("patient") + of("caller")
    return head + entry_id + bytes(4) + digest(b"batch")[:16] + seal + of("length") + body


def write(files: dict[str, bytes], folder: Path) -> Path:
    """Write an export into a folder that may hold one already."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


@dataclass
class Verdict:
    """The exit code, and the lines that led to it."""

    code: int
    lines: list[dict[str, Any]]

    @property
    def named(self) -> tuple[int, object, object]:
        """Give exit code, index and file of the last line."""
        return self.code, self.lines[-1].get("index"), self.lines[-1].get("file")


def run(*arguments: str | Path) -> Verdict:
    """Run the verifier's command line."""
    with redirect_stdout(io.StringIO()) as out:
        code = offline.main([*map(str, arguments), "--format", "json"])
    return Verdict(code, [json.loads(line) for line in out.getvalue().splitlines()])


def every_kind() -> Log:
    """Give a log with an entry of each kind; entry 6 is the first decision, and 7 is one whose key is erased."""
    log = Log().begin()
    log.call()
    log.call(key_id=b"erased patient's")
    log.call(5, frame(b"engines-disagree"))
    log.call(6, frame(u64(6), b"wrong-patient"))
    log.call(14, frame(u64(6)))
    log.call(14, frame(u64(2**64 - 1)))
    tombstone = log.add(7, frame(b"erased patient's" + b"erased caller's.", b"subject-request", b"case 17"))
    log.add(8, frame(u64(tombstone)), keys=(bytes(16), CALLER), caller=log.seal("caller"))
    log.add(9, frame(b"\x01", PATIENT, b"court"))
    log.add(10, frame(b"list", u64(0), u64(6), u64(12)), keys=(bytes(16), CALLER), caller=log.seal("caller"), flags=7)
    log.add(11, frame(b"witnesses", "text in UTF-8: \u00fc".encode()))
    log.add(12, frame(b"impact", u64(12), digest(b"candidate"), ZERO))
    log.add(13, frame(u64(3), u64(9), b"signer down"))
    return log


def many(count: int) -> Log:
    """Give a log of decisions on one patient, all of it erased by its last entry, and feedback on every fifth."""
    log = Log().begin()
    for index in range(len(log.headers), count - 1):
        if index % 5:
            log.call()
        else:
            log.call(14, frame(u64(index - index % 5 - 4 if index > 10 else 2**64 - 1)))
    log.add(7, frame(PATIENT + CALLER, b"retention", b"law"))
    log.sealed.clear()
    return log
