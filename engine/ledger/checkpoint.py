"""Signed notes, the keys that sign them, the checkpoints in them, and the receipts that callers keep.

Everything is read strictly: what could be read in two ways, or was not written by this format, is refused, always with
an `IntegrityError` and before anything is believed. A line ends at U+000A and nowhere else.

Source: C2SP signed-note, tlog-checkpoint, tlog-cosignature (Ed25519, 0x04) and tlog-proof.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from engine.errors import IntegrityError
from engine.ledger.merkle import HASH_SIZE, MAX_TREE_SIZE, leaf_hash, verify_inclusion

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LOG_KEY = 0x01
WITNESS_KEY = 0x04
KEY_ID_SIZE = 4
KEY_SIZE = 32
TIME_SIZE = 8

MAX_NOTE_BYTES = 2**20
MAX_SIGNATURE_LINES = 64
MAX_RECEIPT_BYTES = 2**21
MAX_PROOF_HASHES = 64
MIN_CHECKPOINT_LINES = 3

RECEIPT_TITLE = "c2sp.org/tlog-proof@v1"
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
VKEY = re.compile(r"([^\s+]+)\+([0-9a-f]{8})\+(\S+)")
SIGNATURE_LINE = re.compile(r"— ([^\s+]+) (\S+)")

FIELD_PRIME = 2**255 - 19
ORDER_EIGHT = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
LOW_ORDER = {0, 1, FIELD_PRIME - 1, ORDER_EIGHT, FIELD_PRIME - ORDER_EIGHT}
"""The y of every point whose order divides 8. Under such a key, one signature fits any text.

Source: RFC 8032 section 5.1; https://eprint.iacr.org/2020/1244.
"""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key, known by name *and* key id. `kind` 1 signs checkpoints for a log, 4 cosigns them for a witness.

    One that came from elsewhere goes through `parse_vkey`, which refuses weak keys.
    """

    name: str
    kind: int
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that stand before each of its signatures."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public_key).digest()[:KEY_ID_SIZE]

    @property
    def vkey(self) -> str:
        """The key as one line of text."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(bytes([self.kind]) + self.public_key)}"

    def verify(self, text: str, signature: bytes) -> None:
        """Check a signature of a note's text, without the key id before it.

        Raises:
            IntegrityError: it is not this key's, or a cosignature's time is not between 1 and 2^63 - 1.

        """
        message = text.encode()
        if self.kind == WITNESS_KEY:
            time, signature = int.from_bytes(signature[:TIME_SIZE], "big"), signature[TIME_SIZE:]
            if not 1 <= time < 2**63:
                raise IntegrityError("the time of a cosignature is out of range", self.name)
            message = f"cosignature/v1\ntime {time}\n".encode() + message
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise IntegrityError("the signature does not verify", self.name) from error


def parse_vkey(text: str) -> VerifierKey:
    """Read a verifier key, `name+key id+base64(kind, key)`.

    Raises:
        IntegrityError: malformed, of another kind than 1 and 4, not the canonical encoding of a point, or of low order.

    """
    match = VKEY.fullmatch(_plain(text, "verifier key"))
    raw = _decode_base64(match[3], "verifier key") if match else b""
    if not match or len(raw) != 1 + KEY_SIZE or raw[0] not in {LOG_KEY, WITNESS_KEY}:
        raise IntegrityError("is not a name, a key id and an Ed25519 key of kind 1 or 4", "verifier key")
    key = VerifierKey(match[1], raw[0], raw[1:])
    if match[2] != key.key_id.hex():
        raise IntegrityError("the key id is not that of the key", "verifier key")
    y = int.from_bytes(key.public_key, "little") & (2**255 - 1)
    if y >= FIELD_PRIME or y in LOW_ORDER:
        raise IntegrityError("the key is weak: not canonical, or of low order", "verifier key")
    return key


def verify_note(data: bytes, keys: Iterable[VerifierKey]) -> tuple[str, tuple[str, ...]]:
    """Open a signed note: its text, and the names of the keys that signed it, each key once, in the note's order.

    Lines of unknown keys are skipped; a line of a known key has to verify, however many others do.

    Raises:
        IntegrityError: malformed, a bad signature by a known key, or none by any.

    """
    text, signers = _open(data, keys)
    return text, tuple(key.name for key in signers)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was signed of a log: `root_hash` is that of its first `tree_size` entries.

    `signers` are the names of the keys that were found to have signed it; nobody looked yet if it is empty.
    """

    origin: str
    tree_size: int
    root_hash: bytes
    extensions: tuple[str, ...] = ()
    signers: tuple[str, ...] = ()


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a checkpoint. Its grammar only: no signature is looked at.

    Raises:
        IntegrityError: malformed.

    """
    *lines, end = _plain(text, "checkpoint").split("\n")
    if len(lines) < MIN_CHECKPOINT_LINES or end or not all(lines):
        raise IntegrityError("has fewer than three lines, an empty one, or one without an end", "checkpoint")
    origin, size, root, *extensions = lines
    root_hash = _decode_base64(root, "checkpoint")
    if len(root_hash) != HASH_SIZE:
        raise IntegrityError("the root hash does not have 32 bytes", "checkpoint")
    return Checkpoint(origin, _decode_number(size, "checkpoint"), root_hash, tuple(extensions))


def open_note(
    data: bytes,
    log_key: VerifierKey | None,
    witness_keys: Sequence[VerifierKey] = (),
    origin: str | None = None,
    allow_extensions: bool = False,  # noqa: FBT001, FBT002 - read by name, and last
) -> Checkpoint:
    """Open a signed checkpoint.

    Without a `log_key` a witness's word is enough, as for a mirror. Without an `origin` the log key's name is expected,
    and without a log key either, any.

    Raises:
        IntegrityError: malformed, not signed by the log, a bad signature by a known key, another origin, or extension
            lines where none are allowed.

    """
    if (log_key and log_key.kind != LOG_KEY) or any(key.kind != WITNESS_KEY for key in witness_keys):
        raise IntegrityError("a log signs with a key of kind 1, a witness with one of kind 4", "verifier key")
    text, signers = _open(data, (log_key, *witness_keys) if log_key else witness_keys)
    if log_key and log_key not in signers:
        raise IntegrityError("is not signed by the log", "checkpoint")
    checkpoint = parse_checkpoint(text)
    if origin is None and log_key:
        origin = log_key.name
    if origin is not None and checkpoint.origin != origin:
        raise IntegrityError("is of another log: the origin is not the expected one", "checkpoint")
    if checkpoint.extensions and not allow_extensions:
        raise IntegrityError("has extension lines, which this log does not write", "checkpoint")
    return replace(checkpoint, signers=tuple(key.name for key in signers))


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a caller keeps of an entry: its header bytes, its index, an inclusion proof and the signed checkpoint."""

    extra: bytes
    index: int
    proof: tuple[bytes, ...]
    checkpoint: bytes


def parse_receipt(data: bytes) -> Receipt:
    """Read a receipt. Its grammar only: nothing in it is verified.

    Raises:
        IntegrityError: malformed.

    """
    head, gap, checkpoint = data.partition(b"\n\n")
    if len(data) > MAX_RECEIPT_BYTES or not gap or not checkpoint or not head.isascii():
        raise IntegrityError("is not a tlog-proof of at most 2 MiB", "receipt")
    title, *lines = head.decode("ascii").split("\n")
    has_extra = bool(lines) and lines[0].startswith("extra ")
    extra = _decode_base64(lines.pop(0)[6:], "receipt") if has_extra else b""
    if title != RECEIPT_TITLE or has_extra != bool(extra) or not lines or not lines[0].startswith("index "):
        raise IntegrityError("does not begin with title, header bytes and index", "receipt")
    index = _decode_number(lines[0][6:], "receipt")
    proof = tuple(_decode_base64(line, "receipt") for line in lines[1:])
    if len(proof) > MAX_PROOF_HASHES or any(len(each) != HASH_SIZE for each in proof):
        raise IntegrityError("has more than 64 hashes, or one that does not have 32 bytes", "receipt")
    return Receipt(extra, index, proof, checkpoint)


def format_receipt(receipt: Receipt) -> bytes:
    """Write a receipt, as `parse_receipt` reads it."""
    lines = [RECEIPT_TITLE]
    if receipt.extra:
        lines.append(f"extra {_base64(receipt.extra)}")
    lines += [f"index {receipt.index}", *map(_base64, receipt.proof), "", ""]
    return "\n".join(lines).encode() + receipt.checkpoint


def verify_receipt(receipt: Receipt, log_key: VerifierKey, witness_keys: Sequence[VerifierKey] = ()) -> Checkpoint:
    """Check that the log signed a tree which holds the receipt's entry at its index.

    Raises:
        IntegrityError: it did not, or the receipt does not show it.

    """
    checkpoint = open_note(receipt.checkpoint, log_key, witness_keys)
    leaf = leaf_hash(receipt.extra)
    verify_inclusion(receipt.index, checkpoint.tree_size, leaf, receipt.proof, checkpoint.root_hash)
    return checkpoint


class SigningKey:
    """A log's Ed25519 key, from its 32-byte seed; `name` is the log's origin. Shows nothing of the seed.

    Raises:
        IntegrityError: the seed does not have 32 bytes, or the name has a space, a plus or a control character.

    """

    __slots__ = ("_private_key", "verifier", "vkey")

    def __init__(self, name: str, seed: bytes) -> None:
        if len(seed) != KEY_SIZE:
            raise IntegrityError("the seed does not have 32 bytes", "signing key")
        self._private_key = Ed25519PrivateKey.from_private_bytes(seed)
        public_key = self._private_key.public_key().public_bytes_raw()
        self.vkey = VerifierKey(_plain(name, "signing key"), LOG_KEY, public_key).vkey
        self.verifier = parse_vkey(self.vkey)

    def sign_checkpoint(self, tree_size: int, root_hash: bytes) -> bytes:
        """Sign the checkpoint of a tree: the whole note. The same tree gives the same bytes.

        Raises:
            IntegrityError: there can be no such tree.

        """
        if not 0 <= tree_size <= MAX_TREE_SIZE or len(root_hash) != HASH_SIZE:
            raise IntegrityError("a tree has fewer than 2^63 entries and a root hash of 32 bytes", "checkpoint")
        name = self.verifier.name
        text = f"{name}\n{tree_size}\n{_base64(root_hash)}\n"
        signature = self._private_key.sign(text.encode())
        return f"{text}\n— {name} {_base64(self.verifier.key_id + signature)}\n".encode()


def _open(data: bytes, keys: Iterable[VerifierKey]) -> tuple[str, tuple[VerifierKey, ...]]:
    note = _plain(data, "note")
    text, gap, signatures = note.rpartition("\n\n")
    *lines, end = signatures.split("\n")
    if not gap or end or not 1 <= len(lines) <= MAX_SIGNATURE_LINES:
        raise IntegrityError("is not a text, an empty line and 1 to 64 signature lines", "note")
    text += "\n"
    known = {(key.name, key.key_id): key for key in keys}
    signers: dict[VerifierKey, None] = {}
    for line in lines:
        match = SIGNATURE_LINE.fullmatch(line)
        signature = _decode_base64(match[2], "note") if match else b""
        if not match or len(signature) <= KEY_ID_SIZE:
            raise IntegrityError("a signature line is an em dash, a name and a signature", "note")
        key = known.get((match[1], signature[:KEY_ID_SIZE]))
        if key is not None:
            key.verify(text, signature[KEY_ID_SIZE:])
            signers[key] = None
    if not signers:
        raise IntegrityError("is not signed by any known key", "note")
    return text, tuple(signers)


def _plain(data: bytes | str, place: str) -> str:
    try:
        encoded = data.encode() if isinstance(data, str) else data
        if len(encoded) > MAX_NOTE_BYTES:
            raise IntegrityError("is longer than 1 MiB", place)
        text = encoded.decode()
    except UnicodeError as error:
        raise IntegrityError("is not UTF-8", place) from error
    if CONTROL.search(text):
        raise IntegrityError("has a control character", place)
    return text


def _decode_number(text: str, place: str) -> int:
    number = int(text) if NUMBER.fullmatch(text) else -1
    if not 0 <= number <= MAX_TREE_SIZE:
        raise IntegrityError("a size or an index is not a plain decimal below 2^63", place)
    return number


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def _decode_base64(text: str, place: str) -> bytes:
    """Decode base64 that encodes back to the same text: `b64decode` alone takes set bits that are not used."""
    try:
        data = b64decode(text, validate=True)
    except ValueError as error:
        raise IntegrityError("is not base64", place) from error
    if _base64(data) != text:
        raise IntegrityError("is not canonical base64", place)
    return data
