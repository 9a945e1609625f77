"""Rules as blobs of the log: what is registered before rules decide, and the rule book that is made of it again.

A pack set is a text, one line a pack, `pack <id> <version> <SHA-256>`, sorted by id, and then `facts.yaml <SHA-256>`.
Its own SHA-256 stands in every header; the tables of rules/reference have a field of their own there. Packs are found
by their digests, never by their ids.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from engine.errors import IntegrityError, LedgerError
from engine.ledger.body import BlobKind
from engine.ledger.log import Blob
from engine.pack import digest as canonical
from engine.pack.load import book_from_bytes

if TYPE_CHECKING:
    from engine.ledger.store import Snapshot
    from engine.pack.book import RuleBook

_PACK_LINE = re.compile(r"pack (\S+) (\S+) ([0-9a-f]{64})")
_FACTS_LINE = re.compile(r"facts\.yaml ([0-9a-f]{64})")


class MissingBlobError(LedgerError):
    """What an entry names is not in the log, or not with the bytes that its digest promises."""

    def __init__(self, digest: bytes, problem: str = "is not in the log") -> None:
        self.digest = digest
        super().__init__(f"blob {digest.hex()} {problem}")


@dataclass(frozen=True, slots=True)
class RuleBlobs:
    """The blobs of one rule book."""

    pack_set: Blob
    packs: tuple[Blob, ...]
    facts: Blob
    reference: Blob

    def all(self) -> tuple[Blob, ...]:
        """Give every blob, each after those that it names."""
        return (*self.packs, self.facts, self.reference, self.pack_set)


class PackLine(NamedTuple):
    """A pack as the text of a pack set names it."""

    id: str
    version: str
    digest: bytes


class PackSetText(NamedTuple):
    """The text of a pack set, read."""

    packs: tuple[PackLine, ...]
    facts_digest: bytes


def blobs_of(book: RuleBook) -> RuleBlobs:
    """Give what has to be registered before a rule book decides."""
    packs = [pack for _, pack in sorted(book.packs.items())]
    lines = [f"pack {pack.id} {pack.header.version} {pack.digest}\n" for pack in packs]
    text = "".join([*lines, f"facts.yaml {book.facts_digest}\n"])
    label = ", ".join(f"{pack.id} {pack.header.version}" for pack in packs if pack.is_active)
    return RuleBlobs(
        Blob(BlobKind.PACK_SET, text.encode(), label),
        tuple(Blob(BlobKind.PACK, canonical.encode(p.files), f"{p.id} {p.header.version}") for p in packs),
        Blob(BlobKind.FACTS, canonical.encode(book.facts_files), f"facts.yaml {book.dictionary.version}"),
        Blob(BlobKind.REFERENCE_DATA, canonical.encode(book.reference_files), "reference"),
    )


def book_of(snapshot: Snapshot, pack_digest: bytes, reference_digest: bytes) -> RuleBook:
    """Make the rule book of an entry from the bytes in the log; nothing on disk is looked at.

    Raises:
        MissingBlobError: the log lacks a blob.
        IntegrityError: a blob is not what the one that names it says.
        RulePackError: this build no longer reads the packs.

    """
    read = read_pack_set(body_of(snapshot, pack_digest), pack_digest)
    facts = body_of(snapshot, read.facts_digest)
    reference = body_of(snapshot, reference_digest)
    book = book_from_bytes(facts, reference, [body_of(snapshot, line.digest) for line in read.packs])
    found = tuple(PackLine(p.id, p.header.version, bytes.fromhex(p.digest)) for p in book.packs.values())
    if found != read.packs:
        raise IntegrityError("the packs are not those that the text names", f"pack set {pack_digest.hex()}")
    return book


def read_pack_set(text: bytes, digest: bytes) -> PackSetText:
    """Read the text of a pack set.

    Raises:
        IntegrityError: it is not the text of a pack set.

    """
    place = f"pack set {digest.hex()}"
    try:
        *lines, last, end = text.decode().split("\n")
    except ValueError as fault:
        raise IntegrityError("it is not the text of a pack set", place) from fault
    packs = [_PACK_LINE.fullmatch(line) for line in lines]
    facts = _FACTS_LINE.fullmatch(last)
    if end or facts is None or None in packs:
        raise IntegrityError("it is not the text of a pack set", place)
    read = tuple(PackLine(p[1], p[2], bytes.fromhex(p[3])) for p in packs if p)
    if [p.id for p in read] != sorted({p.id for p in read}):
        raise IntegrityError("its packs are not in order", place)
    return PackSetText(read, bytes.fromhex(facts[1]))


def body_of(snapshot: Snapshot, digest: bytes) -> bytes:
    """Give the body of a blob, whose bytes are those that its digest promises. Raises: MissingBlobError."""
    row = snapshot.blob(digest)
    if row is None:
        raise MissingBlobError(digest)
    if hashlib.sha256(row.body).digest() != digest:
        raise MissingBlobError(digest, "is in the log with other bytes")
    return row.body
