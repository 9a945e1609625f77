"""Verifying a log where it lies: everything is computed again from the entries and compared, table by table.

A fault of what is primary means that somebody changed the log. A fault of what is derived (tiles, head, search) is
reported too, and can be mended: `rebuild` makes the derived tables again from the entries, after the primary ones were
found whole. Columns that decide nothing but how long a row is kept (`expires_at`, `epoch`) are not checked.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from engine.errors import EntryNotFoundError, IntegrityError
from engine.ledger import body as bodies
from engine.ledger import entry
from engine.ledger.checkpoint import open_note, parse_vkey
from engine.ledger.entry import ZERO_DIGEST, Header, Kind
from engine.ledger.log import open_entry
from engine.ledger.merkle import EMPTY_ROOT, HASH_SIZE, TILE_WIDTH, GrowingTree, leaf_hash, right_edge
from engine.ledger.seal import PartKind, open_part
from engine.ledger.store import SCHEMA_VERSION, Head, search_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engine.ledger.checkpoint import VerifierKey
    from engine.ledger.keys import KeyStore
    from engine.ledger.store import LogStore, SealedRow, SearchRow, Snapshot, TileId

CHUNK = 4096
MOST_FAULTS = 100
TILE_LEVELS = 8  # of a log of 2^63 entries

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is not as it was logged. `place` is `entry 7`, `tile 0/3`, `table head`; no patient data."""

    code: str
    place: str
    message: str
    is_derived: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {self.message} [{self.code}]"


@dataclass(slots=True)
class Findings:
    """What a verification found: the first hundred faults, in the order of the log, and what was looked at."""

    tree_size: int = 0
    root_hash: bytes = EMPTY_ROOT
    checkpoints: int = 0
    sealed: int = 0
    erased: int = 0
    faults: list[Fault] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong at all."""
        return not self.faults

    @property
    def is_mendable(self) -> bool:
        """Whether all that is wrong is derived."""
        return all(fault.is_derived for fault in self.faults)


def verify(
    snapshot: Snapshot,
    vkey: str,
    *,
    keys: KeyStore | None = None,
    since: bytes = b"",
    is_deep: bool = True,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Findings:
    """Verify a log.

    Args:
        snapshot: the log at one moment.
        vkey: the pinned verifier key; what the log says of its key is not trusted.
        keys: where given, all that is sealed is opened, and keys are held against tombstones.
        since: an older note that has to be consistent with the log.
        is_deep: hash what is sealed too; without, only headers, tree, notes and tables are verified.
        progress: hears how many entries of how many are done.

    Raises:
        IntegrityError: the verifier key or the older note cannot be read.

    """
    return _Verification(snapshot, parse_vkey(vkey), keys, since, is_deep=is_deep).run(progress)


def rebuild(store: LogStore, vkey: str) -> Findings:
    """Make tile, head and search again from the entries, if nothing primary is at fault; give what was found before."""
    with store.reading() as snapshot:
        findings = verify(snapshot, vkey)
        if not findings.is_mendable:
            return findings
        tree, last_time = GrowingTree(0, b"", {}), 0
        rows: list[SearchRow] = []
        tiles: dict[TileId, bytes] = {}
        for index, leaf_data in snapshot.leaves(0, 2**62):
            tree.add(leaf_hash(leaf_data))
            rows.append(search_row(index, leaf_data))
            last_time = rows[-1].logged_at
            if tree.size % CHUNK == 0:
                tiles |= tree.changed
                tree = _continued(tree)
        tiles |= tree.changed
        try:
            epoch = snapshot.head().epoch
        except IntegrityError:
            epoch = 0
    store.rebuild(Head(tree.size, tree.state, last_time, epoch), tiles, rows)
    return findings


def _continued(tree: GrowingTree) -> GrowingTree:
    """Go on with a fresh tree, which holds only the right edge."""
    return GrowingTree(tree.size, tree.state, {tile: tree.tile(*tile) for tile in right_edge(tree.size)})


class _Ended(Exception):  # noqa: N818 - not an error: it ends the search
    """There are more faults than anybody would read, or what follows cannot be judged."""


class _Verification:
    """One run. `registered` maps the digests of blobs to their kinds, as the entries so far registered them."""

    def __init__(
        self, snapshot: Snapshot, key: VerifierKey, keys: KeyStore | None, since: bytes, *, is_deep: bool
    ) -> None:
        self._snapshot = snapshot
        self._key = key
        self._keys = keys
        self._is_deep = is_deep
        self._since = open_note(since, key) if since else None
        self._log_id = entry.log_id(key.name, key.public_key)
        self._findings = Findings()
        self._registered: dict[bytes, set[int]] = {}
        self._tombstones: dict[int, tuple[bytes, ...]] = {}
        self._done: set[int] = set()
        self._decisions = bytearray()
        self._lacking: list[tuple[int, bytes]] = []
        self._batches: dict[bytes, list[int]] = {}
        self._named_keys: set[bytes] = set()
        self._last_time = 0
        self._registered_together: set[bytes] = set()
        self._agreed = 0  # the size of the last checkpoint that the entries agree with
        self._odd: list[int] = []

    def run(self, progress: Callable[[int, int], None]) -> Findings:
        try:
            for message in self._snapshot.damage():
                self._fault("store", "store", message)
            self._meta()
            tree = self._entries(progress)
            self._head(tree)
            self._blobs()
            self._erasures()
            self._hints()
            if self._keys is not None:
                self._kept_keys(self._keys)
                self._seen_requests(self._keys)
        except _Ended:
            pass
        return self._findings

    def _fault(self, code: str, place: str, message: str, *, is_derived: bool = False) -> None:
        self._findings.faults.append(Fault(code, place, message, is_derived))
        if len(self._findings.faults) >= MOST_FAULTS:
            raise _Ended

    def _meta(self) -> None:
        wanted = {
            "schema": SCHEMA_VERSION.encode(),
            "origin": self._key.name.encode(),
            "log_id": self._log_id,
            "vkey": self._key.vkey.encode(),
        }
        found = self._snapshot.meta()
        for name in sorted(found.keys() | wanted.keys()):
            if found.get(name) != wanted.get(name):
                self._fault("meta", "table meta", f"`{name}` is not that of the verifier key")

    def _entries(self, progress: Callable[[int, int], None]) -> GrowingTree:
        tree = GrowingTree(0, b"", {})
        checkpoints = _Cursor(self._checked_checkpoints())
        sealed = _Cursor(self._snapshot.sealed_rows(0, 2**62 if self._is_deep else 0))
        searched = _Cursor(self._snapshot.search_rows())
        total = 0
        try:
            total = self._snapshot.head().size
        except IntegrityError as error:
            self._fault("head", "table head", str(error), is_derived=True)
        for index, leaf_data in self._snapshot.leaves(0, 2**62):
            if index != tree.size:
                self._findings.tree_size, self._findings.root_hash = tree.size, tree.root()
                self._fault("gap", f"entry {tree.size}", f"is missing; the next one there is entry {index}")
                raise _Ended  # of what comes after a gap nothing can be said
            self._entry(index, leaf_data, sealed, searched)
            tree.add(leaf_hash(leaf_data))
            while checkpoints.row is not None and checkpoints.row[0] <= tree.size:
                size, root = checkpoints.take()
                if size == tree.size and root == tree.root():
                    self._agreed = size
                else:
                    message = f"another root was signed; the entries agree up to entry {self._agreed - 1}"
                    self._fault("checkpoint", f"checkpoint {size}", message)
            if tree.size % CHUNK == 0:
                self._tiles(tree)
                tree = _continued(tree)
                progress(tree.size, total)
        if not tree.size:
            self._fault("genesis", "entry 0", "is missing: a log begins with its genesis")
        self._tiles(tree)
        for index in self._odd:
            message, is_signed = "is not the one of which the tiles have the hash", index < self._agreed
            self._fault("leaf", f"entry {index}", message, is_derived=is_signed)
        progress(tree.size, total)
        self._leftovers(tree.size, checkpoints, sealed, searched)
        self._findings.tree_size, self._findings.root_hash = tree.size, tree.root()
        return tree

    def _checked_checkpoints(self) -> Iterator[tuple[int, bytes]]:
        since = self._since
        older = [(since.tree_size, since.root_hash)] if since and since.tree_size else []
        for size, note in self._snapshot.checkpoints():
            try:
                found = open_note(note, self._key)
            except IntegrityError as error:
                self._fault("note", f"checkpoint {size}", str(error))
                continue
            if found.tree_size != size:
                self._fault("note", f"checkpoint {size}", f"the note is of size {found.tree_size}")
                continue
            while older and older[0][0] <= size:
                yield older.pop()
            self._findings.checkpoints += 1
            yield size, found.root_hash
        yield from older

    def _entry(self, index: int, leaf_data: bytes, sealed: _Cursor[SealedRow], searched: _Cursor[SearchRow]) -> None:
        place = f"entry {index}"
        sound = self._sealed(index, leaf_data, sealed) if self._is_deep else {}
        while searched.row is not None and searched.row.entry_index < index:
            self._fault("search", f"table search, row {searched.take().entry_index}", "of no entry", is_derived=True)
        if searched.row is not None and searched.row.entry_index == index:
            row = searched.take()
            if len(leaf_data) >= entry.FIXED_LENGTH and row != search_row(index, leaf_data):
                self._fault("search", f"table search, row {index}", "differs from the entry", is_derived=True)
        else:
            self._fault("search", f"table search, row {index}", "is missing", is_derived=True)
        if self._keys is None and self._is_plain(index, leaf_data):
            return
        try:
            header = entry.decode(leaf_data)
            body = entry.read_body(header) if header.kind is not Kind.DECISION else None
        except IntegrityError as error:
            self._decisions.append(0)
            self._fault("header", place, str(error))
            return
        self._decisions.append(header.kind is Kind.DECISION)
        if header.index != index or header.log_id != self._log_id:
            self._fault("header", place, "belongs to another place or another log")
        if header.logged_at < self._last_time:
            self._fault("time", place, "is older than the entry before it")
        self._last_time = max(self._last_time, header.logged_at)
        if (index == 0) != (header.kind is Kind.GENESIS):
            self._fault("genesis", place, "a log begins with its genesis and has no other")
        self._batches.setdefault(header.batch_id, [index, 0])[1] += 1
        self._named(header, place)
        if body is not None:
            self._body(index, body, place)
        self._opened(header, sound, place)

    def _is_plain(self, index: int, leaf_data: bytes) -> bool:
        """Take in, much faster, a decision like those before it; False where it has to be looked at in full."""
        time = int.from_bytes(leaf_data[51:59], "big", signed=True)
        if (
            leaf_data[96:224] not in self._registered_together
            or leaf_data[11:51] != self._log_id + index.to_bytes(8, "big")
            or time < self._last_time
            or not entry.is_plain_decision(leaf_data)
        ):
            return False
        self._last_time = time
        self._decisions.append(1)
        self._batches.setdefault(leaf_data[80:96], [index, 0])[1] += 1
        return True

    def _opened(self, header: Header, found: dict[int, bytes], place: str) -> None:
        """Open what is sealed, where the keys are given: that it is the ciphertext which was logged is not enough."""
        for part, sealed_body in found.items():
            key_id = header.key_id if part == PartKind.PATIENT else header.caller_key_id
            key = self._keys.open_key(key_id) if self._keys is not None else None
            if key is not None:
                try:
                    open_part(sealed_body, part=PartKind(part), data_key=key, header=header)
                except IntegrityError as error:
                    self._fault("sealed", place, str(error))

    def _named(self, header: Header, place: str) -> None:
        named = (header.pack_digest, header.engine_digest, header.schema_digest, header.reference_digest)
        for digest in named:
            if digest != ZERO_DIGEST and digest not in self._registered:
                self._fault("unregistered", place, "names a blob that no earlier entry registered")
        self._named_keys.update((header.key_id, header.caller_key_id))
        if self._registered.keys() >= set(named):
            self._registered_together.add(b"".join(named))

    def _body(self, index: int, body: bodies.Body, place: str) -> None:
        match body:
            case bodies.Genesis() if (body.origin, body.vkey) != (self._key.name, self._key.vkey):
                self._fault("genesis", place, "names another origin or key")
            case bodies.BlobRegistered():
                self._registered.setdefault(body.digest, set()).add(body.kind)
            case bodies.Tombstone():
                self._tombstones[index] = body.key_ids
            case bodies.ErasureDone():
                if body.tombstone_index not in self._tombstones:
                    self._fault("erasure", place, "ends an erasure that no earlier tombstone began")
                self._done.add(body.tombstone_index)
            case bodies.Correction() if not self._decisions[body.index]:
                self._fault("pointer", place, f"corrects entry {body.index}, which is no decision")
            case bodies.Feedback() if body.decision_index != bodies.UNKNOWN_DECISION:
                if not self._decisions[body.decision_index]:
                    self._fault("pointer", place, f"is about entry {body.decision_index}, which is no decision")

    def _sealed(self, index: int, leaf_data: bytes, sealed: _Cursor[SealedRow]) -> dict[int, bytes]:
        """Hold an entry's sealed rows against its header; give the bodies that are those of the header, by part."""
        sound: dict[int, bytes] = {}
        told = _told_parts(leaf_data)
        while sealed.row is not None and sealed.row[0] <= index:
            owner, part, found = sealed.take()
            if owner < index:
                self._fault("sealed", f"table sealed, entry {owner}", "belongs to no entry")
                continue
            length, digest, key_id = told.pop(part, _NOTHING)
            if not length:
                self._fault("sealed", f"entry {index}", f"has a sealed part {part} that its header does not know")
            elif found is None:
                self._lacking.append((index, key_id))
                self._findings.erased += 1
            elif len(found) != length or hashlib.sha256(found).digest() != digest:
                self._fault("sealed", f"entry {index}", f"the sealed part {part} is not the one that was logged")
            else:
                sound[part] = found
            self._findings.sealed += 1
        for part in told:
            self._fault("sealed", f"entry {index}", f"the sealed part {part} is missing")
        return sound

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

    def _leftovers(
        self,
        size: int,
        checkpoints: _Cursor[tuple[int, bytes]],
        sealed: _Cursor[SealedRow],
        searched: _Cursor[SearchRow],
    ) -> None:
        for claimed, _ in checkpoints.rest():
            self._fault("behind", f"checkpoint {claimed}", f"was signed, but the log has only {size} entries")
        for row in sealed.rest():
            self._fault("sealed", f"table sealed, entry {row.entry_index}", "belongs to no entry")
        for found in searched.rest():
            self._fault("search", f"table search, row {found.entry_index}", "of no entry", is_derived=True)

    def _head(self, tree: GrowingTree) -> None:
        widths = {(level, number): len(hashes) // HASH_SIZE for level, number, hashes in self._snapshot.tiles()}
        for (level, number), width in widths.items():
            is_tile = 0 <= level < TILE_LEVELS and number >= 0
            right = max(0, min(TILE_WIDTH, (tree.size >> 8 * level) - TILE_WIDTH * number)) if is_tile else 0
            if width != right:
                message = f"has {width} hashes where the log gives {right}"
                self._fault("tile", f"tile {level}/{number}", message, is_derived=True)
        try:
            head = self._snapshot.head()
        except IntegrityError:
            return
        if (head.size, head.state, head.last_time) != (tree.size, tree.state, self._last_time):
            self._fault("head", "table head", "is not what the entries give", is_derived=True)

    def _blobs(self) -> None:
        found: set[bytes] = set()
        for row in self._snapshot.blobs():
            found.add(row.digest)
            place = f"blob {row.digest.hex()}"
            if hashlib.sha256(row.body).digest() != row.digest:
                self._fault("blob", place, "is not what its digest says")
            if row.kind not in self._registered.get(row.digest, ()):
                self._fault("blob", place, "was never registered as this kind")
        for digest in sorted(self._registered.keys() - found):
            self._fault("blob", f"blob {digest.hex()}", "was registered but is missing")

    def _erasures(self) -> None:
        erased = {key_id for key_ids in self._tombstones.values() for key_id in key_ids}
        for index, key_id in self._lacking:
            if key_id not in erased:
                self._fault("sealed", f"entry {index}", "a sealed part was erased without a tombstone")
        for index in sorted(self._tombstones.keys() - self._done):
            self._fault("erasure", f"entry {index}", "the erasure has not been ended", is_derived=True)

    def _hints(self) -> None:
        size = self._findings.tree_size
        for row in self._snapshot.idempotency_rows():
            if not 0 <= row.entry_index < size:
                self._fault("idempotency", "table idempotency", f"names entry {row.entry_index}, which is not there")
        for batch in self._snapshot.batch_rows():
            if self._batches.get(batch.batch_id) != [batch.first_index, batch.entry_count]:
                self._fault("batch", "table batch", f"does not fit the entries from {batch.first_index} on")
        for claimed in self._snapshot.cosigned():
            self._fault("cosignature", f"checkpoint {claimed}", "has a cosignature, and this build takes none")

    def _kept_keys(self, keys: KeyStore) -> None:
        erased = {key_id for key_ids in self._tombstones.values() for key_id in key_ids}
        for key_id in sorted(self._named_keys - {entry.ZERO_ID}):
            is_kept = keys.open_key(key_id) is not None
            if not is_kept and key_id not in erased:
                self._fault("key", f"key {key_id.hex()}", "is gone without a tombstone")
            if is_kept and key_id in erased:
                self._fault("key", f"key {key_id.hex()}", "is still there after its tombstone", is_derived=True)

    def _seen_requests(self, keys: KeyStore) -> None:
        """Compute the MACs of repeated requests again from what is sealed."""
        half_erased = {key_id for index in self._tombstones.keys() - self._done for key_id in self._tombstones[index]}
        for row in self._snapshot.idempotency_rows():
            place = f"table idempotency, entry {row.entry_index}"
            try:
                opened = open_entry(self._snapshot, keys, row.entry_index)
            except (EntryNotFoundError, IntegrityError) as error:
                self._fault("idempotency", place, f"its entry cannot be opened: {error}")
                continue
            if row.tenant != opened.header.tenant:
                self._fault("idempotency", place, "is of another tenant")
                continue
            if opened.content is None and row.request_mac and opened.header.key_id not in half_erased:
                self._fault("idempotency", place, "still knows a request that was erased")
            asked = opened.caller
            if asked is None:
                continue
            request = opened.content.request if opened.content else b""
            macs = keys.request_macs(row.tenant, asked.method, asked.request_id, request)
            if macs[0] != row.key_mac or (opened.content and macs[1] != row.request_mac):
                self._fault("idempotency", place, "is of another request")


class _Cursor(Generic[T]):
    """Rows in their order, the next of them in view."""

    def __init__(self, rows: Iterator[T]) -> None:
        self._rows = rows
        self.row: T | None = next(rows, None)

    def take(self) -> T:
        """Give the row in view and go on to the next."""
        row = self.row
        if row is None:
            raise StopIteration
        self.row = next(self._rows, None)
        return row

    def rest(self) -> Iterator[T]:
        """Give what is left."""
        while self.row is not None:
            yield self.take()


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
