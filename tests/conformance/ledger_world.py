"""A small decision log of real parts in one folder, for tests that break what is around it.

The store, the key store, the signer with its state file, the writer: all are those of a server. Only time and
randomness are the tests' own.
"""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from random import Random
from typing import TYPE_CHECKING, TypeAlias

import apsw

from engine.ledger import fsck, recovery
from engine.ledger.body import BlobKind, PackSetActivated
from engine.ledger.checkpoint import SigningKey, open_note, parse_receipt, parse_vkey, verify_receipt
from engine.ledger.clock import Clock
from engine.ledger.entry import Kind, log_id
from engine.ledger.keys import KeyStore
from engine.ledger.log import Account, Blob, Digests
from engine.ledger.merkle import root_of
from engine.ledger.seal import CallerPart, Context, PatientPart
from engine.ledger.signer import Signer, StateFile
from engine.ledger.sqlite.keys import SqliteKeys
from engine.ledger.sqlite.log import SqliteLog
from engine.ledger.wrapping import FileWrappingKeys
from engine.ledger.writer import LogWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from engine.errors import LedgerError
    from engine.ledger.log import DecisionLog, Logged
    from engine.ledger.plan import Draft
    from engine.ledger.signer import SignReply
    from engine.ledger.store import LogStore
    from engine.ledger.writer import Ack, Acknowledged, CheckpointSigner, Limits

WAIT_SECONDS = 60
METHOD = "/eligibility.v1.EligibilityService/Evaluate"
KEY = SigningKey("log.example.org/tests/1", bytes(range(32)))
VKEY = parse_vkey(KEY.vkey)
LOG_ID = log_id(KEY.verifier.name, KEY.verifier.public_key)
START = 1_750_000_000_000_000
"""When the tests' time begins, µs UTC."""

BLOBS = (
    Blob(BlobKind.PACK_SET, b"pack p 1 00\n", "the packs"),
    Blob(BlobKind.ENGINE_MANIFEST, b"{}", "the engine"),
    Blob(BlobKind.SCHEMA, b"a schema", "the schema"),
    Blob(BlobKind.REFERENCE_DATA, b"a table", "the reference data"),
)
DIGESTS = Digests(*(blob.digest for blob in BLOBS))
ACTIVATION = PackSetActivated("the packs", "1", "2025-06-02")
FIRST_DECISION = 1 + len(BLOBS) + 1
"""The index of the first decision: before it come the genesis, the blobs and the activation."""

Acked: TypeAlias = dict[int, Account]
"""Accounts by the index under which they were acknowledged."""


class SteerableClock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self, now: int = START) -> None:
        self.now = now
        self.seconds = 1000.0
        self.flags = 0
        self.clock = Clock(lambda: self.now, lambda: self.seconds, lambda: self.flags)

    def go(self, seconds: float) -> None:
        """Let time go by."""
        self.seconds += seconds
        self.step(seconds)

    def step(self, seconds: float) -> None:
        """Set the time of day, as an operator does."""
        self.now += round(seconds * 1_000_000)


class World:
    """A folder with a log in it, opened and closed as a server would.

    Attributes of the class may be replaced: which store, state file and file system are used, and what stands between
    writer and signer.
    """

    def __init__(self, folder: Path, seed: int = 1, time: SteerableClock | None = None) -> None:
        self.folder = folder
        self.time = time or SteerableClock()
        self.random: Callable[[int], bytes] = Random(seed).randbytes
        self.ack: Ack = "signed"
        self.limits: Limits | None = None
        self.vfs: str | None = None
        self.make_store: Callable[..., LogStore] = SqliteLog
        self.make_signer: Callable[[], CheckpointSigner] = self._own_signer
        self.make_state: Callable[[Path, bytes], StateFile] = StateFile
        self.around_signer: Callable[[CheckpointSigner], CheckpointSigner] = lambda signer: signer
        self.alarms: list[str] = []
        self.is_alarmed = threading.Event()
        self.stops: list[LedgerError] = []
        self.log: DecisionLog | None = None

    @property
    def path(self) -> Path:
        """The log's file."""
        return self.folder / "log.db"

    @property
    def state_path(self) -> Path:
        """The file in which the signer remembers."""
        return self.folder / "signer"

    def open(self) -> DecisionLog:
        """Open the log, making what is not there."""
        wrapping_path = self.folder / "wrapping"
        if not wrapping_path.exists():
            FileWrappingKeys.create(wrapping_path, self.random)
        clock = self.time.clock
        signer = self.around_signer(self.make_signer())
        try:
            store = self.make_store(self.path, vfs=self.vfs)
        except BaseException:
            signer.close()
            raise
        keys: KeyStore | None = None
        try:
            rows = SqliteKeys(self.folder / "keys.db", vfs=self.vfs)
            keys = KeyStore(rows, FileWrappingKeys.open(wrapping_path), self.random, clock.now)
            self.log = recovery.open_log(
                store=store,
                keys=keys,
                signer=signer,
                vkey=KEY.vkey,
                origin=KEY.verifier.name,
                clock=clock,
                random=self.random,
                ack=self.ack,
                limits=self.limits,
                on_alarm=self._hear,
                on_stop=self.stops.append,
            )
        except BaseException:
            store.close()
            if keys is not None:
                keys.close()
            signer.close()
            raise
        return self.log

    def close(self) -> None:
        """Close the log, if it is open."""
        if self.log is not None:
            self.log.close()
            self.log = None

    @contextmanager
    def opened(self) -> Iterator[DecisionLog]:
        """Open the log and close it again."""
        try:
            yield self.open()
        finally:
            self.close()

    def _own_signer(self) -> CheckpointSigner:
        return Signer(KEY, LOG_ID, self.make_state(self.state_path, LOG_ID), self.time.clock.now)

    def _hear(self, alarm: str) -> None:
        self.alarms.append(alarm)
        self.is_alarmed.set()

    def copied(self, folder: Path) -> World:
        """Copy the files as they are now, which is what a killed process leaves, and give the log there."""
        copy_files(self.folder, folder)
        copy = World(folder, seed=2, time=SteerableClock(self.time.now))
        copy.ack, copy.limits = self.ack, self.limits
        return copy


def copy_files(source: Path, target: Path) -> None:
    """Copy the files of a log, without what only processes that run have: locks and shared memory."""
    target.mkdir()
    for file in source.iterdir():
        if not file.name.endswith(("-shm", ".lock")):
            shutil.copy(file, target / file.name)


def account(number: int, request_id: str = "", patient: bytes = b"", kind: Kind = Kind.DECISION) -> Account:
    """Make up what a decision tells."""
    content = PatientPart(
        METHOD,
        b"request %d" % number,
        b"{}",
        Context(date(2025, 6, 2), "UTC"),
        b"{}",
        b"{}",
        bytes(64),
        b"",
        b"response %d" % number,
    )
    caller = CallerPart("ehr", "evaluator", "treatment", "ipv4:127.0.0.1", request_id, METHOD, 0, "OK")
    return Account(kind, content, caller, DIGESTS, patient or b"patient %d" % (number % 3))


def register(log: DecisionLog) -> None:
    """Register what the accounts name."""
    log.register(BLOBS, ACTIVATION)


@dataclass
class HeldSigner:
    """A signer that waits while it is held, so that drafts gather behind the batch before."""

    signer: CheckpointSigner
    may_go: threading.Event = field(default_factory=threading.Event)
    is_reached: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_go.set()

    def hold(self) -> None:
        """Let nobody through from now on."""
        self.is_reached.clear()
        self.may_go.clear()

    def latest(self) -> SignReply | None:
        return self.signer.latest()

    def sign(self, old_size: int, proof: list[bytes], size: int, root: bytes) -> SignReply:
        self.is_reached.set()
        assert self.may_go.wait(WAIT_SECONDS)
        return self.signer.sign(old_size, proof, size, root)

    def close(self) -> None:
        self.signer.close()


class CountingWriter(LogWriter):
    """The writer; tells of each draft that it has taken in."""

    submitted = threading.Semaphore(0)

    def submit(self, draft: Draft) -> Future[Acknowledged]:
        """Take in a draft."""
        future = super().submit(draft)
        self.submitted.release()
        return future


def append_together(log: DecisionLog, held: HeldSigner, accounts: Sequence[Account]) -> list[Future[Logged]]:
    """Append accounts so that all but the first are one batch, in this order; `CountingWriter` has to be the writer.

    Returns once the first is committed and the others wait behind it, and the signer is still held.
    """
    held.hold()
    CountingWriter.submitted = threading.Semaphore(0)
    pool = ThreadPoolExecutor(len(accounts))
    futures = []
    for number, one in enumerate(accounts):
        futures.append(pool.submit(log.append, one))
        assert CountingWriter.submitted.acquire(timeout=WAIT_SECONDS)
        if not number:
            assert held.is_reached.wait(WAIT_SECONDS)
    pool.shutdown(wait=False)
    return futures


def check_receipt(logged: Logged) -> tuple[int, bytes]:
    """Verify a receipt with nothing but the log's public key; give the size and root that were signed."""
    receipt = parse_receipt(logged.receipt)
    checkpoint = verify_receipt(receipt, VKEY)
    assert receipt.index == logged.index
    return checkpoint.tree_size, checkpoint.root_hash


def check_whole(
    log: DecisionLog, acked: Mapping[int, Account] | None = None, signed: Mapping[int, bytes] | None = None
) -> int:
    """Check that the log is whole, holds what was acknowledged and extends what was signed; give its size.

    `signed` are roots by tree size. An acknowledged decision of an erased patient need not open any more.
    """
    path = log.store.path if isinstance(log.store, SqliteLog) else None
    if path is not None:
        check_file(path)
    with log.reading() as snapshot:
        findings = fsck.verify(snapshot, log.vkey, keys=log.keys)
        assert findings.is_whole, [str(fault) for fault in findings.faults]
        assert findings.tree_size == snapshot.head().size
        for index, told in (acked or {}).items():
            opened = log.open_entry(snapshot, index)
            assert opened.header.entry_id == (told.entry_id or opened.header.entry_id)
            if opened.content is not None:
                assert opened.content.request == told.content.request, f"entry {index} is another request"
        for size, root in (signed or {}).items():
            assert root_of(snapshot.tile, size) == root, f"the signed tree of {size} entries is not this log's"
        for size, note in snapshot.checkpoints():
            assert open_note(note, VKEY).tree_size == size
    return findings.tree_size


def check_file(path: Path) -> None:
    """Check a SQLite file's own structure."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        assert connection.pragma("integrity_check") == "ok"
    finally:
        connection.close()
