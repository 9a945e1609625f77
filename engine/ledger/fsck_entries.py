"""One pass over the entries: header, tree, notes, what is sealed, search rows and tiles, side by side.

A decision like those before it, as most entries are, is looked at by `_is_plain`, which is many times faster; whatever
that does not vouch for is looked at in full.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from engine.errors import IntegrityError
from engine.ledger import body as bodies
from engine.ledger import entry
from engine.ledger.checkpoint import open_note
from engine.ledger.entry import ZERO_DIGEST, Header, Kind
from engine.ledger.findings import Ended
from engine.ledger.fsck_rows import Cursor, PairCursor
from engine.ledger.log import Opened, read_content
from engine.ledger.merkle import HASH_SIZE, TILE_WIDTH, GrowingTree, leaf_hash
from engine.ledger.seal import PartKind, open_part
from engine.ledger.store import search_row
from engine.ledger.subjects import OwnerCheck

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from engine.ledger.checkpoint import VerifierKey
    from engine.ledger.findings import Findings
    from engine.ledger.keys import KeyStore
    from engine.ledger.store import Snapshot
    from engine.ledger.subjects import SubjectOf

CHUNK = 4096


class Claim(NamedTuple):
    """What was said of a tree: by a note, or (`is_signed` false) by what the signer remembers, at `place`."""

    size: int
    root: bytes
    place: str
    is_signed: bool


@dataclass(slots=True)
class Told:
    """What the entries told, for what stands beside them.

    Attributes:
        registered: the kinds of blobs, by digest.
        tombstones: the key ids that tombstones name, by the index of the tombstone.
        done: the indexes of the tombstones whose erasure was ended.
        decisions: for each entry whether it is a decision.
        lacking: index and key id of sealed parts that are not there.
        batches: first index and count, by batch id.
        named_keys: the key ids that headers name; only complete where keys are checked.
        last_time: the time of the last entry.

    """

    registered: dict[bytes, set[int]] = field(default_factory=dict)
    tombstones: dict[int, tuple[bytes, ...]] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    decisions: bytearray = field(default_factory=bytearray)
    lacking: list[tuple[int, bytes]] = field(default_factory=list)
    batches: dict[bytes, list[int]] = field(default_factory=dict)
    named_keys: set[bytes] = field(default_factory=set)
    last_time: int = 0

    def erased_keys(self) -> set[bytes]:
        """Give the key ids that tombstones name."""
        return {key_id for key_ids in self.tombstones.values() for key_id in key_ids}

    def half_done(self) -> list[int]:
        """Give the tombstones whose erasure was not ended, in order."""
        return sorted(self.tombstones.keys() - self.done)


class EntryCheck:
    """The pass. `told` is filled while it runs."""

    def __init__(  # noqa: PLR0913 - what is looked at, by name
        self,
        snapshot: Snapshot,
        key: VerifierKey,
        findings: Findings,
        *,
        keys: KeyStore | None,
        subject_of: SubjectOf | None,
        claims: Sequence[Claim],
        is_deep: bool,
    ) -> None:
        self.told = Told()
        self._snapshot = snapshot
        self._key = key
        self._log_id = entry.log_id(key.name, key.public_key)
        self._findings = findings
        self._fault = findings.add
        self._keys = keys
        self._owners = OwnerCheck(snapshot, keys, subject_of, findings) if keys and subject_of else None
        self._claims = sorted(claims)
        self._is_deep = is_deep
        self._checkpoints = Cursor(self._checked_checkpoints())
        self._sealed = PairCursor(snapshot.sealed_rows(0, 2**62 if is_deep else 0))
        self._searched = Cursor(snapshot.search_rows())
        self._registered_together: set[bytes] = set()
        self._odd: list[int] = []
        self._damaged: set[bytes] = set()  # keys that do not open

    def run(self, progress: Callable[[int, int], None]) -> GrowingTree:
        """Look at every entry; give the tree. Raises: Ended."""
        tree, total = GrowingTree(0, b"", {}), self._total()
        for index, leaf_data in self._snapshot.leaves(0, 2**62):
            if index != tree.size:
                self._findings.tree_size, self._findings.root_hash = tree.size, tree.root()
                self._fault("gap", f"entry {tree.size}", f"is missing; the next one there is entry {index}")
                raise Ended  # of what comes after a gap nothing can be said
            if not self._is_plain(index, leaf_data):
                self._entry(index, leaf_data)
            tree.add(leaf_hash(leaf_data))
            while self._checkpoints.row is not None and self._checkpoints.row.size <= tree.size:
                self._claim(tree, self._checkpoints.take())
            if tree.size % CHUNK == 0:
                self._tiles(tree)
                tree = continued(tree)
                progress(tree.size, total)
        if not tree.size:
            self._fault("genesis", "entry 0", "is missing: a log begins with its genesis")
        self._tiles(tree)
        for index in self._odd:
            message, is_signed = "is not the one of which the tiles have the hash", index < self._findings.signed_size
            self._fault("leaf", f"entry {index}", message, is_derived=is_signed)
        progress(tree.size, total)
        self._leftovers(tree.size)
        self._findings.tree_size, self._findings.root_hash = tree.size, tree.root()
        return tree

    def _total(self) -> int:
        try:
            return self._snapshot.head().size
        except IntegrityError as error:
            self._fault("head", "table head", str(error), is_derived=True)
            return 0

    def _checked_checkpoints(self) -> Iterator[Claim]:
        others = list(self._claims)
        for size, note in self._snapshot.checkpoints():
            try:
                found = open_note(note, self._key)
            except IntegrityError as error:
                self._fault("note", f"checkpoint {size}", str(error))
                continue
            if found.tree_size != size:
                self._fault("note", f"checkpoint {size}", f"the note is of size {found.tree_size}")
                continue
            while others and others[0].size <= size:
                yield others.pop(0)
            self._findings.checkpoints += 1
            yield Claim(size, found.root_hash, f"checkpoint {size}", is_signed=True)
        yield from others

    def _claim(self, tree: GrowingTree, claim: Claim) -> None:
        signed_size = self._findings.signed_size
        if (claim.size, claim.root) != (tree.size, tree.root()):
            message = f"another root was signed; the entries agree up to entry {signed_size - 1}"
            if not claim.is_signed:
                message = f"remembers another root of the tree of {claim.size} entries"
            self._fault("checkpoint" if claim.is_signed else "signer", claim.place, message)
        elif claim.is_signed:
            self._findings.signed_size = claim.size

    def _is_plain(self, index: int, leaf_data: bytes) -> bool:
        """Take in a decision like those before it, and its rows; False, with nothing taken, where it is none."""
        plain = entry.read_plain(leaf_data) if self._keys is None else None
        if plain is None:
            return False
        told, searched = self.told, self._searched
        (
            log_id,
            place,
            time,
            entry_id,
            tenant,
            batch_id,
            digests,
            key_id,
            length,
            digest,
            caller_length,
            caller_digest,
        ) = plain
        if (
            digests not in self._registered_together
            or log_id != self._log_id
            or place != index
            or time < told.last_time
            or searched.row != (index, Kind.DECISION, time, tenant, digests[:32], key_id, entry_id)
            or (self._is_deep and not self._are_sound(index, length, digest, caller_length, caller_digest))
        ):
            return False
        searched.take()
        told.last_time = time
        told.decisions.append(1)
        batch = told.batches.get(batch_id)
        if batch is None:
            batch = told.batches[batch_id] = [index, 0]
        batch[1] += 1
        return True

    def _are_sound(self, index: int, length: int, digest: bytes, caller_length: int, caller_digest: bytes) -> bool:
        """Take in both sealed rows of an entry if they are there and are those of its header."""
        sealed = self._sealed
        patient, caller = sealed.row, sealed.following
        if not patient or not caller or patient[:2] != (index, 1) or caller[:2] != (index, 2):
            return False
        body, caller_body = patient[2], caller[2]
        if (
            body is None
            or caller_body is None
            or len(body) != length
            or len(caller_body) != caller_length
            or _sha256(body).digest() != digest
            or _sha256(caller_body).digest() != caller_digest
        ):
            return False
        sealed.skip_two()
        self._findings.sealed += 2
        return True

    def _entry(self, index: int, leaf_data: bytes) -> None:
        place, told, searched = f"entry {index}", self.told, self._searched
        sound = self._sealed_parts(index, leaf_data) if self._is_deep else {}
        while searched.row is not None and searched.row.entry_index < index:
            self._fault("search", f"table search, row {searched.take().entry_index}", "of no entry", is_derived=True)
        if searched.row is not None and searched.row.entry_index == index:
            row = searched.take()
            if len(leaf_data) >= entry.FIXED_LENGTH and row != search_row(index, leaf_data):
                self._fault("search", f"table search, row {index}", "differs from the entry", is_derived=True)
        else:
            self._fault("search", f"table search, row {index}", "is missing", is_derived=True)
        try:
            header = entry.decode(leaf_data)
            body = entry.read_body(header) if header.kind is not Kind.DECISION else None
        except IntegrityError as error:
            told.decisions.append(0)
            self._fault("header", place, str(error))
            return
        told.decisions.append(header.kind is Kind.DECISION)
        if header.index != index or header.log_id != self._log_id:
            self._fault("header", place, "belongs to another place or another log")
        if header.logged_at < told.last_time:
            self._fault("time", place, "is older than the entry before it")
        told.last_time = max(told.last_time, header.logged_at)
        if (index == 0) != (header.kind is Kind.GENESIS):
            self._fault("genesis", place, "a log begins with its genesis and has no other")
        told.batches.setdefault(header.batch_id, [index, 0])[1] += 1
        self._named(header, place)
        if body is not None:
            self._body(index, body, place)
        self._opened(header, sound, place)

    def _sealed_parts(self, index: int, leaf_data: bytes) -> dict[int, bytes]:
        """Hold an entry's sealed rows against its header; give the bodies that are those of the header, by part."""
        sound: dict[int, bytes] = {}
        told, sealed = _told_parts(leaf_data), self._sealed
        while sealed.row is not None and sealed.row[0] <= index:
            owner, part, found = sealed.take()
            if owner < index:
                self._fault("sealed", f"table sealed, entry {owner}", "belongs to no entry")
                continue
            length, digest, key_id = told.pop(part, _NOTHING)
            if not length:
                self._fault("sealed", f"entry {index}", f"has a sealed part {part} that its header does not know")
            elif found is None:
                self.told.lacking.append((index, key_id))
                self._findings.erased += 1
            elif len(found) != length or _sha256(found).digest() != digest:
                self._fault("sealed", f"entry {index}", f"the sealed part {part} is not the one that was logged")
            else:
                sound[part] = found
            self._findings.sealed += 1
        for part in told:
            self._fault("sealed", f"entry {index}", f"the sealed part {part} is missing")
        return sound

    def _opened(self, header: Header, found: dict[int, bytes], place: str) -> None:
        """Open what is sealed, where the keys are given: that it is the ciphertext which was logged is not enough."""
        for part, sealed_body in found.items():
            key_id = header.key_id if part == PartKind.PATIENT else header.caller_key_id
            key = self._data_key(key_id)
            if key is not None:
                try:
                    content = open_part(sealed_body, part=PartKind(part), data_key=key, header=header)
                except IntegrityError as error:
                    self._fault("sealed", place, str(error))
                else:
                    self._owned(header, part, content, place)

    def _owned(self, header: Header, part: int, content: bytes, place: str) -> None:
        """Hold the patient of a request against the owner of the key that it is sealed under."""
        if self._owners is None or part != PartKind.PATIENT:
            return
        try:
            opened = Opened(header.index, header, b"", read_content(header, content), None)
        except IntegrityError as error:
            self._fault("sealed", place, str(error))
        else:
            self._owners.look(opened)

    def _data_key(self, key_id: bytes) -> bytes | None:
        """Give a data key; None, and a fault for each such key, where it is not the one that was kept."""
        if self._keys is None or key_id in self._damaged:
            return None
        try:
            return self._keys.open_key(key_id)
        except IntegrityError as error:
            self._damaged.add(key_id)
            self._fault("key", f"key {key_id.hex()}", str(error))
            return None

    def _named(self, header: Header, place: str) -> None:
        named = (header.pack_digest, header.engine_digest, header.schema_digest, header.reference_digest)
        for digest in named:
            if digest != ZERO_DIGEST and digest not in self.told.registered:
                self._fault("unregistered", place, "names a blob that no earlier entry registered")
        self.told.named_keys.update((header.key_id, header.caller_key_id))
        if self.told.registered.keys() >= set(named):
            self._registered_together.add(b"".join(named))

    def _body(self, index: int, body: bodies.Body, place: str) -> None:
        told = self.told
        match body:
            case bodies.Genesis() if (body.origin, body.vkey) != (self._key.name, self._key.vkey):
                self._fault("genesis", place, "names another origin or key")
            case bodies.BlobRegistered():
                told.registered.setdefault(body.digest, set()).add(body.kind)
            case bodies.Tombstone():
                told.tombstones[index] = body.key_ids
            case bodies.ErasureDone():
                if body.tombstone_index not in told.tombstones:
                    self._fault("erasure", place, "ends an erasure that no earlier tombstone began")
                told.done.add(body.tombstone_index)
            case bodies.Correction() if not told.decisions[body.index]:
                self._fault("pointer", place, f"corrects entry {body.index}, which is no decision")
            case bodies.Feedback() if body.decision_index != bodies.UNKNOWN_DECISION:
                if not told.decisions[body.decision_index]:
                    self._fault("pointer", place, f"is about entry {body.decision_index}, which is no decision")

    def _tiles(self, tree: GrowingTree) -> None:
        for (level, number), hashes in tree.changed.items():
            stored = self._snapshot.tile(level, number)
            if stored[: len(hashes)] != hashes:
                place = f"tile {level}/{number}"
                self._fault("tile", place, "differs from what the entries give", is_derived=True)
                if level == 0:
                    self._leaves(number, stored, hashes)

    def _leaves(self, number: int, stored: bytes, hashes: bytes) -> None:
        """Note the entries that are not those of which a tile has the hashes: unless signed, they may be at fault."""
        for at in range(0, min(len(stored), len(hashes)), HASH_SIZE):
            if stored[at : at + HASH_SIZE] != hashes[at : at + HASH_SIZE]:
                self._odd.append(number * TILE_WIDTH + at // HASH_SIZE)

    def _leftovers(self, size: int) -> None:
        for claim in self._checkpoints.rest():
            if claim.is_signed:
                self._fault("behind", claim.place, f"was signed, but the log has only {size} entries")
            else:
                message = (
                    f"has signed {claim.size} entries, but the log has only {size}: it was rolled back or lost data"
                )
                self._fault("signer", claim.place, message)
        for row in self._sealed.rest():
            self._fault("sealed", f"table sealed, entry {row.entry_index}", "belongs to no entry")
        for found in self._searched.rest():
            self._fault("search", f"table search, row {found.entry_index}", "of no entry", is_derived=True)


def continued(tree: GrowingTree) -> GrowingTree:
    """Go on with a fresh tree, which holds only the right edge."""
    return GrowingTree(tree.size, tree.state, tree.edge())


def _told_parts(leaf_data: bytes) -> dict[int, tuple[int, bytes, bytes]]:
    """Read of each sealed part that a header tells of: length, SHA-256 and key id."""
    if len(leaf_data) < entry.FIXED_LENGTH:
        return {}
    key_id, caller_key_id, length, digest, caller_length, caller_digest = _PARTS.unpack_from(leaf_data)
    told = {}
    if length:
        told[1] = (length, digest, key_id)
    if caller_length:
        told[2] = (caller_length, caller_digest, caller_key_id)
    return told


_PARTS = struct.Struct(">224x16s16sxI32s32xI32s")
_NOTHING = (0, b"", b"")
_sha256 = hashlib.sha256
