"""Faults, repeated requests, steps of the clock and restarts in any order: the log keeps its first four promises.

The log is real, files, keys and signer included; time, faults and the order of events are drawn. After every event it
is verified. With ELIGIBILITY_FAULTS=full thousands of lives are tried.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine.errors import LedgerError, LogUnavailableError, RequestConflictError, ResponseErasedError
from engine.ledger import entry, erasure, fsck
from engine.ledger.body import SettingChanged
from engine.ledger.merkle import root_of
from engine.ledger.seal import CallerPart
from engine.ledger.store import StoreBrokenError
from tests.conformance.history import entries_by_request
from tests.conformance.ledger_world import HeldSigner, SteerableClock, World, account, check_receipt, register
from tests.conformance.power_cut import Disk, RecordedFiles

if TYPE_CHECKING:
    from engine.ledger.log import Account, DecisionLog, Logged
    from engine.ledger.signer import SignReply
    from engine.ledger.writer import CheckpointSigner

FULL = os.environ.get("ELIGIBILITY_FAULTS") == "full"
LIVES, EVENTS = (3000, 40) if FULL else (12, 25)
DAY = 24 * 3600
PATIENTS = 3
OFFICER = CallerPart("officer", "key_officer", "", "", "", "", 0, "OK")
HALF_ERASED = {"erasure", "key"}
"""Codes of faults that stand while an erasure waits for the next start to be ended."""


class FaultySigner(HeldSigner):
    """A signer that may fail before it has remembered a tree, or after."""

    fails = ""
    signed: dict[int, bytes]

    def sign(self, old_size: int, proof: list[bytes], size: int, root: bytes) -> SignReply:
        """Sign."""
        if self.fails == "before":
            raise LogUnavailableError("the signer failed before it remembered")
        reply = super().sign(old_size, proof, size, root)
        if reply.note:
            self.signed[reply.tree_size] = reply.root_hash
        if self.fails == "after":
            raise LogUnavailableError("the signer failed after it had remembered")
        return reply


class LogLife(RuleBasedStateMachine):
    """One life of a log, and what was promised in it."""

    def __init__(self) -> None:
        super().__init__()
        place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - the folder in it is made safely
        self.home = Path(tempfile.mkdtemp(dir=place))
        self.time = SteerableClock()
        self.disk = Disk()
        self.files = RecordedFiles("simulated", self.disk)
        self.signer: FaultySigner
        self.signed: dict[int, bytes] = {}
        self.acked: dict[int, Account] = {}
        self.answers: dict[str, int] = {}
        self.erased: set[int] = set()
        self.half_erased: set[int] = set()
        self.day = 0
        self.starts = 0

    @initialize()
    def begin(self) -> None:
        """Make the log."""
        self.start(self.home / "0")
        register(self.log)

    @property
    def log(self) -> DecisionLog:
        """The log that is open."""
        assert self.world.log is not None
        return self.world.log

    def start(self, folder: Path) -> None:
        """Start a process over a folder; what was broken is well again."""
        folder.mkdir(exist_ok=True)
        self.starts += 1
        self.world = World(folder, seed=self.starts, time=self.time)
        self.world.vfs, self.world.around_signer = "simulated", self.around
        self.disk.fault = lambda _what, _name: None
        self.world.open()
        self.half_erased.clear()

    def around(self, signer: CheckpointSigner) -> CheckpointSigner:
        """Put a signer that can fail before the real one."""
        self.signer = FaultySigner(signer)
        self.signer.signed = self.signed
        return self.signer

    def keep(self, logged: Logged, told: Account, patient: int) -> None:
        """Note what was acknowledged."""
        size, root = check_receipt(logged)
        assert self.signed[size] == root
        assert self.acked.setdefault(logged.index, told).content.request == told.content.request
        if patient in self.half_erased:
            self.erased.add(logged.index)

    @rule(number=st.integers(0, 5), patient=st.integers(0, PATIENTS - 1), has_id=st.booleans())
    def append(self, number: int, patient: int, *, has_id: bool) -> None:
        """Ask for something new, or for what was asked before: the number makes the request."""
        request_id = f"day {self.day} request {number} of {patient}" if has_id else ""
        told = account(10 * number + patient, request_id, b"patient %d" % patient)
        try:
            logged = self.log.append(told)
        except ResponseErasedError:
            assert self.answers[request_id] in self.erased
            return
        except LogUnavailableError:
            return
        before = self.answers.get(request_id) if has_id else None
        if before is not None and before not in self.erased:
            assert (logged.index, logged.response) == (before, told.content.response)
        self.keep(logged, told, patient)
        if has_id:
            self.answers[request_id] = logged.index

    @rule(number=st.integers(0, 5), patient=st.integers(0, PATIENTS - 1))
    def use_an_id_for_something_else(self, number: int, patient: int) -> None:
        """Ask something else under a request id that was answered."""
        request_id = f"day {self.day} request {number} of {patient}"
        index = self.answers.get(request_id)
        if index is None or index in self.erased:
            return
        with pytest.raises((RequestConflictError, LogUnavailableError)):
            self.log.append(account(99, request_id, b"patient %d" % patient))

    @rule(count=st.integers(1, 4))
    def tell(self, count: int) -> None:
        """Let several things happen to the log at once."""
        try:
            logged = self.log.tell_all([(SettingChanged("clock", str(n)), OFFICER, ()) for n in range(count)])
        except LogUnavailableError:
            return
        assert [one.index for one in logged] == list(range(logged[0].index, logged[0].index + count))

    @rule(patient=st.integers(0, PATIENTS - 1))
    def erase(self, patient: int) -> None:
        """Erase a patient."""
        of_patient = {i for i, told in self.acked.items() if told.patient == b"patient %d" % patient}
        try:
            key_ids = self.log.keys.key_ids_of(0, b"patient %d" % patient)
            if key_ids:
                erasure.erase(self.log, key_ids, "request", "case 1", OFFICER)
        except LedgerError:
            self.half_erased.add(patient)
        self.erased |= of_patient

    @rule(fails=st.sampled_from(["", "before", "after"]))
    def break_signer(self, fails: str) -> None:
        """Let the signer fail, or be well again."""
        self.signer.fails = fails

    @rule(
        what=st.sampled_from(["write", "sync"]),
        file=st.sampled_from(["log.db-wal", "keys.db-wal"]),
        is_full=st.booleans(),
    )
    def break_disk(self, what: str, file: str, *, is_full: bool) -> None:
        """Let the next write or sync of a file fail."""
        faults = [apsw.FullError("once") if is_full and what == "write" else apsw.IOError("once")]
        self.disk.fault = lambda is_what, is_name: (
            faults.pop() if faults and (is_what, is_name) == (what, file) else None
        )

    @rule(seconds=st.sampled_from([1, 59, 3600]))
    def pass_time(self, seconds: float) -> None:
        """Let time go by."""
        self.time.go(seconds)

    @rule()
    def pass_a_day(self) -> None:
        """Let a day go by, after which the request ids are free again."""
        self.time.go(DAY + 1)
        self.day += 1

    @rule(seconds=st.sampled_from([-3600, -30, 30, 3600]))
    def step_clock(self, seconds: float) -> None:
        """Set the clock."""
        self.time.step(seconds)

    @rule()
    def restart(self) -> None:
        """Stop the process in order, and start another."""
        self.world.close()
        self.start(self.world.folder)

    @rule()
    def crash(self) -> None:
        """Kill the process, and start another."""
        folder = self.home / str(self.starts)
        dead = self.world
        dead.copied(folder)
        self.disk.fault = lambda _what, _name: None
        dead.close()
        shutil.rmtree(dead.folder)
        self.start(folder)

    @invariant()
    def promises_are_kept(self) -> None:
        """G1 acknowledged is there, G2 no gap and no double, G3 one tree, G4 times do not fall."""
        with suppress(StoreBrokenError):  # then nothing that this process says counts any more
            self.check()

    def check(self) -> None:
        """Check all that was promised."""
        with self.log.reading() as snapshot:
            findings = fsck.verify(snapshot, self.log.vkey, keys=self.log.keys)
            faults = [fault for fault in findings.faults if not (self.half_erased and fault.code in HALF_ERASED)]
            assert not faults, [str(fault) for fault in faults]
            size = snapshot.head().size
            times = [entry.decode(leaf_data).logged_at for _, leaf_data in snapshot.leaves(0, size)]
            assert len(times) == size
            assert times == sorted(times)
            for index, told in self.acked.items():
                opened = self.log.open_entry(snapshot, index)
                if index not in self.erased:
                    assert opened.content is not None
                    assert opened.content == told.content
                    assert opened.caller == told.caller
            for tree_size, root in self.signed.items():
                assert root_of(snapshot.tile, tree_size) == root
        for request_id, indexes in entries_by_request(self.log).items():
            of_living = [index for index in indexes if index not in self.erased]
            assert len(of_living) <= 1 or not request_id

    def teardown(self) -> None:
        """End this life."""
        self.disk.fault = lambda _what, _name: None
        self.world.close()
        self.files.unregister()
        shutil.rmtree(self.home)


TestLogLife = LogLife.TestCase
TestLogLife.settings = settings(max_examples=LIVES, stateful_step_count=EVENTS)
TestLogLife = pytest.mark.timeout(8 * 3600 if FULL else 120)(TestLogLife)
