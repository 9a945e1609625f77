"""The one writer of a process: takes what waits, writes it in one commit, signs, and then answers.

INVARIANT: nobody is answered before the commit, and at level `signed` nobody before the signer has the new root on its
own disk. Signing comes after the commit: a root that was rolled back must never have been signed.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from engine.errors import IntegrityError, LedgerError, LogUnavailableError, PushbackError
from engine.ledger.checkpoint import parse_checkpoint
from engine.ledger.clock import StepWatch
from engine.ledger.merkle import consistency_proof, root_of
from engine.ledger.plan import Moment, Placed, Repeated, make_plan
from engine.ledger.store import (
    BatchRejectedError,
    CommitUnknownError,
    RetryBatchError,
    StoreBrokenError,
    UnsafeStoreError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.ledger.clock import Clock
    from engine.ledger.merkle import GrowingTree
    from engine.ledger.plan import Draft, Plan
    from engine.ledger.signer import SignReply
    from engine.ledger.store import LogStore, TileId

Ack: TypeAlias = Literal["signed", "durable"]

MAX_DRAFTS = 256
MAX_BATCH_BYTES = 4 * 1024 * 1024
RETRIES = 5
IDLE_SECONDS = 0.2
EXPIRE_SECONDS = 600.0
RECOVERY_SECONDS = 5.0
"""How often a store that failed is tried again while nobody asks to append."""
GATHER_SHARE = 0.25
GATHER_SECONDS = 0.005
"""For what share of a batch's own time, and how long at most, the next one waits for those whom it answered."""


class CheckpointSigner(Protocol):
    """What signs: in this process, or `server.remote_signer` for a process of its own."""

    def latest(self) -> SignReply | None:
        """Give the last note; None before the first. Raises: LogUnavailableError."""

    def sign(self, old_size: int, proof: list[bytes], size: int, root: bytes) -> SignReply:
        """Sign a tree that extends the last one. Raises: LogUnavailableError, IntegrityError."""

    def close(self) -> None:
        """Let go of what it remembers, or of the connection to it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait, how far the clock may step, how long `durable` goes on without a signer (seconds)."""

    queued: int = 1024
    queued_bytes: int = 256 * 1024 * 1024
    clock_step: float = 60.0
    unsigned: float = 60.0


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A draft that is in the log: its entry, the tree after its batch, and the note that covers it, if it is signed."""

    outcome: Placed | Repeated
    tree: GrowingTree
    note_size: int
    note: bytes


_Waiting: TypeAlias = "tuple[Draft, Future[Acknowledged]]"


class LogWriter:
    """Runs one thread.

    `on_alarm` hears when something begins to be wrong (`store`, `signer`, `clock`, `integrity`), `on_stop` why nothing
    more is written by this process, which then has to exit.
    """

    def __init__(  # noqa: PLR0913 - its collaborators, by name
        self,
        *,
        store: LogStore,
        signer: CheckpointSigner,
        clock: Clock,
        random: Callable[[int], bytes],
        ack: Ack = "signed",
        limits: Limits | None = None,
        on_alarm: Callable[[str], None] = lambda _: None,
        on_stop: Callable[[LedgerError], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._signer = signer
        self._clock = clock
        self._random = random
        self._ack = ack
        self._limits = limits or Limits()
        self._on_alarm = on_alarm
        self._on_stop = on_stop
        self._watch = StepWatch(clock, self._limits.clock_step)
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._awaited = 1
        self._last_count, self._last_seconds = 1, 0.0
        self._changed = threading.Condition()
        self._is_closing = False
        self._alarms: set[str] = set()
        self._stopped: LedgerError | None = None
        self._known_blobs: set[bytes] = set()
        self._edge: dict[TileId, bytes] | None = None
        self._notes: list[tuple[int, bytes]] = []
        self._signed_size = 0
        self._unsigned: tuple[GrowingTree, float] | None = None
        self._rested_at = clock.monotonic()
        self._tried_at = clock.monotonic()
        self.acknowledged = 0
        self.written = 0
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    def start(self, signed_size: int, signer_time: int | None = None) -> None:
        """Begin; `signed_size` is the size that the signer has, `signer_time` its clock just now, if it was asked."""
        self._signed_size = signed_size
        if signer_time is not None:
            self._watch.compare(signer_time)
        self._thread.start()

    def submit(self, draft: Draft) -> Future[Acknowledged]:
        """Take in a draft; the future gives its place or the LedgerError that kept it out.

        Raises:
            PushbackError: as much waits as may wait.
            LogUnavailableError: the writer has stopped.

        """
        future: Future[Acknowledged] = Future()
        with self._changed:
            if self._stopped is not None:
                raise LogUnavailableError(str(self._stopped))
            if self._is_closing:
                message = "the log is being closed; ask again elsewhere"
                raise LogUnavailableError(message)
            if len(self._waiting) >= self._limits.queued or self._waiting_bytes > self._limits.queued_bytes:
                message = "the decision log has as much to write as it takes; try again a little later"
                raise PushbackError(message, 1.0)
            self._waiting.append((draft, future))
            self._waiting_bytes += draft.size
            if len(self._waiting) >= self._awaited:
                self._changed.notify()
        return future

    def alarms(self) -> tuple[str, ...]:
        """Name what is wrong now; empty while all is well."""
        return tuple(sorted(self._alarms | set(self._store.alarms())))

    def raise_alarm(self, name: str) -> None:
        """Record that something is wrong, such as `integrity` found by a reader."""
        if name not in self._alarms:
            self._alarms.add(name)
            with suppress(Exception):  # who cannot hear it must not keep the writer from refusing and stopping
                self._on_alarm(name)

    def clear_alarm(self, name: str) -> None:
        """Record that something is well again."""
        self._alarms.discard(name)

    def close(self) -> None:
        """Write everything that waits, then end. Every waiter is answered or refused."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()
        self._signer.close()

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            live = [(d, f) for d, f in taken if self._is_wanted(d, f)]
            begun = self._clock.monotonic()
            try:
                if live:
                    self._append(live)
                if not live or self._clock.monotonic() - self._rested_at > EXPIRE_SECONDS:
                    self._rest()
            except LedgerError as error:
                _refuse(live, error)
            except Exception as error:  # noqa: BLE001 - whatever it was, every waiter is told and nothing goes on
                self._stop("store", LogUnavailableError(f"the writer failed: {type(error).__name__}"), live)
            self._last_count, self._last_seconds = len(live), self._clock.monotonic() - begun

    def _take(self) -> list[_Waiting] | None:
        """Take everything that waits, up to a batch; nothing after a while of rest; None when there is nothing more."""
        with self._changed:
            if not self._waiting and not self._is_closing:
                self._changed.wait(IDLE_SECONDS)
            if len(self._waiting) < self._last_count:
                self._gather()
            if not self._waiting:
                return None if self._is_closing and not self._notes else []
            taken: list[_Waiting] = []
            size = 0
            while self._waiting and len(taken) < MAX_DRAFTS:
                size += self._waiting[0][0].size
                if taken and size > MAX_BATCH_BYTES:
                    break
                taken.append(self._waiting.popleft())
                self._waiting_bytes -= taken[-1][0].size
            return taken

    def _gather(self) -> None:
        """Wait a moment for as many as the last batch answered: most ask again at once, and can share a commit."""
        self._awaited = self._last_count
        end = min(GATHER_SHARE * self._last_seconds, GATHER_SECONDS)
        self._changed.wait_for(lambda: len(self._waiting) >= self._awaited or self._is_closing, end)
        self._awaited = 1

    def _is_wanted(self, draft: Draft, future: Future[Acknowledged]) -> bool:
        if draft.deadline is not None and draft.deadline <= self._clock.monotonic():
            future.set_exception(LogUnavailableError("the caller's deadline passed before the entry was written"))
            return False
        return True

    def _append(self, live: list[_Waiting]) -> None:
        if self._stopped is not None:
            raise LogUnavailableError(str(self._stopped))
        try:
            now = self._ready()
            plan = self._commit([draft for draft, _ in live], now)
        except BatchRejectedError:
            if len(live) == 1:
                raise
            for one in live:
                self._append_alone(one)
            return
        except (StoreBrokenError, UnsafeStoreError, IntegrityError) as error:
            self._stop("integrity" if isinstance(error, IntegrityError) else "store", error, live)
            return
        self._acknowledge(live, plan)

    def _append_alone(self, one: _Waiting) -> None:
        try:
            self._append([one])
        except LedgerError as error:
            _refuse([one], error)

    def _ready(self) -> int:
        """Look at clock and signer before a batch begins; give the time."""
        now = self._watch.read()
        if self._watch.has_stepped:
            self.raise_alarm("clock")
            message = "the clock has stepped; nothing is logged until an operator has looked at it and restarted"
            raise LogUnavailableError(message)
        if "signer" in self._alarms:
            self._sign_again()
        return now

    def _sign_again(self) -> None:
        """Try to sign what is not signed yet; without a signer, `durable` goes on up to its limit."""
        try:
            if self._unsigned is not None:
                self._sign(self._unsigned[0])
            else:
                self._signer.latest()
        except LogUnavailableError:
            since = self._unsigned[1] if self._unsigned else self._clock.monotonic()
            if self._ack == "signed" or self._clock.monotonic() - since > self._limits.unsigned:
                raise
        else:
            self._alarms.discard("signer")

    def _commit(self, drafts: list[Draft], now: int) -> Plan:
        try:
            plan = self._try_commit(drafts, now)
        except LogUnavailableError:
            self.raise_alarm("store")
            raise
        self._alarms.discard("store")
        return plan

    def _try_commit(self, drafts: list[Draft], now: int) -> Plan:
        batch_id = self._random(16)
        moment = Moment(now, self._clock.flags(), batch_id)
        notes = list(self._notes)
        for _ in range(RETRIES):
            plan: Plan | None = None
            try:
                with self._store.appending() as appending:
                    plan = make_plan(appending, drafts, moment, self._known_blobs, notes, self._edge)
                    if plan.batch is not None:
                        appending.write(plan.batch)
            except RetryBatchError:
                continue
            except CommitUnknownError:
                if plan is None or not self._was_committed(plan):
                    continue
            self._edge = plan.tree.edge()
            if plan.batch is not None:
                self._known_blobs |= plan.batch.named_blobs | {blob.digest for blob in plan.batch.blobs}
                del self._notes[: len(notes)]
                self.written += len(plan.batch.leaves)
            return plan
        message = "the log is too busy to take the entry; try again"
        raise LogUnavailableError(message)

    def _was_committed(self, plan: Plan) -> bool:
        if plan.batch is None:
            return True
        row = self._store.find_batch(plan.batch.batch_id)
        return row is not None and row.first_index == plan.batch.first_index

    def _acknowledge(self, live: list[_Waiting], plan: Plan) -> None:
        size, note, failure = 0, b"", None
        try:
            size, note = self._sign(plan.tree)
        except IntegrityError as error:
            self._stop("integrity", error, live)
            return
        except LogUnavailableError as error:
            self.raise_alarm("signer")
            self._unsigned = (plan.tree, self._unsigned[1] if self._unsigned else self._clock.monotonic())
            failure = error if self._ack == "signed" else None
        for (_, future), outcome in zip(live, plan.outcomes, strict=True):
            if isinstance(outcome, LedgerError):
                future.set_exception(outcome)
            elif failure is not None:
                future.set_exception(failure)
            else:
                self.acknowledged += isinstance(outcome, Placed)
                future.set_result(Acknowledged(outcome, plan.tree, size, note))

    def _sign(self, tree: GrowingTree) -> tuple[int, bytes]:
        """Have the tree signed; give the note and its size, which is larger where another server was faster."""
        size, root, old = tree.size, tree.root(), self._signed_size
        for _ in range(RETRIES):
            proof = self._consistency(tree, old) if 0 < old < size else []
            reply = self._signer.sign(old, proof, size, root)
            if reply.tree_size < self._signed_size:
                message = f"the signer remembers {reply.tree_size} entries, and has signed {self._signed_size}"
                raise IntegrityError(message, "signer")
            if not reply.note:
                old = reply.tree_size
                continue
            if reply.tree_size > size:
                self._check_ahead(reply)
            self._watch.compare(reply.signed_at)
            self._signed_size = max(self._signed_size, reply.tree_size)
            self._unsigned = None
            if reply.tree_size == size:
                self._notes.append((size, reply.note))
            return reply.tree_size, reply.note
        message = "the signer did not take the tree; try again"
        raise LogUnavailableError(message)

    def _consistency(self, tree: GrowingTree, old: int) -> list[bytes]:
        try:
            return tree.consistency_proof(old)
        except IntegrityError:  # a tile that is not held: others appended since this writer's last note
            with self._store.reading() as snapshot:
                return consistency_proof(snapshot.tile, old, tree.size)

    def _check_ahead(self, reply: SignReply) -> None:
        """Check a note of a larger tree, which another server had signed, against the log itself."""
        found = parse_checkpoint(reply.note.partition(b"\n\n")[0].decode() + "\n")
        with self._store.reading() as snapshot:
            if snapshot.head().size < found.tree_size or root_of(snapshot.tile, found.tree_size) != found.root_hash:
                message = "the signer has signed a tree that is not this log's"
                raise IntegrityError(message, f"checkpoint {found.tree_size}")

    def _rest(self) -> None:
        """Do what can wait: store released notes, sign what is unsigned, drop what has expired, look at the clock."""
        if self._stopped is not None:
            self._notes.clear()
            return
        notes = list(self._notes)
        now = self._watch.read()
        if self._watch.has_stepped:
            self.raise_alarm("clock")
        try:
            if "store" in self._alarms:
                self._try_again()
            if self._unsigned is not None:
                self._sign_again()
            if notes:
                self._store.add_checkpoints(notes)
                del self._notes[: len(notes)]
            if self._clock.monotonic() - self._rested_at > EXPIRE_SECONDS and not self._watch.has_stepped:
                self._rested_at = self._clock.monotonic()
                self._store.expire(now)  # by a clock that leapt ahead, what still answers a repeated request would go
        except (StoreBrokenError, UnsafeStoreError, IntegrityError) as error:
            self._stop("integrity" if isinstance(error, IntegrityError) else "store", error, [])
        except LedgerError:
            if self._is_closing:
                self._notes.clear()

    def _try_again(self) -> None:
        """Let a store that can be written again be well: whoever waits for health to ask would wait forever."""
        if self._clock.monotonic() - self._tried_at >= RECOVERY_SECONDS:
            self._tried_at = self._clock.monotonic()
            self._store.probe()
            self.clear_alarm("store")

    def stop(self, alarm: str, error: LedgerError) -> None:
        """Write nothing more in this process, because something under it failed in a way that does not heal."""
        self._stop(alarm, error, [])

    def _stop(self, alarm: str, error: LedgerError, live: list[_Waiting]) -> None:
        """Write nothing more in this process, and say so to all who wait."""
        with self._changed:
            is_first = self._stopped is None
            self._stopped = self._stopped or error
            waiting, self._waiting, self._waiting_bytes = list(self._waiting), deque(), 0
        with ExitStack() as last:  # each happens whatever becomes of those before, the one named last first
            last.callback(_refuse, waiting, LogUnavailableError(str(error)))
            last.callback(
                _refuse, live, error if isinstance(error, IntegrityError) else LogUnavailableError(str(error))
            )
            if is_first:
                last.callback(self._on_stop, error)
            self.raise_alarm(alarm)


def _refuse(waiting: list[_Waiting], error: LedgerError) -> None:
    for _, future in waiting:
        if not future.done():
            future.set_exception(error)
