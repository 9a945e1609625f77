"""The one door to durable-rules: rulesets, and the fixed pool of sessions in which they run.

What the rest of the package may rely on: an evaluation has a session to itself; whatever went wrong in a session is
gone before another evaluation gets it; nothing here calls a part of the engine that is known to fail (its host, its
timers, facts in batches, sessions named by a caller).
"""

from __future__ import annotations

import itertools
import queue
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol

import durable_rules_engine

from engine.errors import ChainFault
from engine.evaluator.chain.panels import RULE_NAME, WARM_UP, fnv

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class RulesEngine(Protocol):
    """The part of durable-rules' C module that is used. Each call holds the interpreter's lock from start to end."""

    def create_ruleset(self, name: str, rules: str, /) -> int:
        """Build a ruleset; give its handle."""

    def delete_ruleset(self, handle: int, /) -> None:
        """Free a ruleset, but not the states that its sessions still have."""

    def delete_state(self, handle: int, sid: str, /) -> None:
        """Free a session's state. The state must have fired once, or memory is freed that was never taken."""

    def assert_fact(self, handle: int, fact: str, /) -> tuple[int, int]:
        """Match a fact; give 0 (a rule matched), 1 (none did) or 2 (a fact was left over), and the state's offset."""

    def retract_fact(self, handle: int, fact: str, /) -> tuple[int, int]:
        """Take a fact back."""

    def start_action_for_state(self, handle: int, offset: int, /) -> tuple[str, str] | None:
        """Give the state and the first firing as JSON, its first key the rule."""

    def complete_and_start_action(self, handle: int, offset: int, /) -> str | None:
        """Give the next firing."""


ENGINE: RulesEngine = durable_rules_engine

SESSIONS: Final = 1000
"""How many sessions a ruleset may ever have had; at its own limit the engine corrupts memory."""

_MATCHED, _UNMATCHED = 0, 1

_NAME_END: Final = 2 + RULE_NAME
"""Where the rule's name ends in a firing: `{"<rule>":{...}}`."""

_serial = itertools.count()


class Session:
    """A slot of state in each ruleset, used by one evaluation at a time.

    Attributes:
        sid: its name.
        end: how each of its facts ends.
        retraction: what takes its fact back.
        rulesets: those in which it is open.
    """

    __slots__ = ("end", "retraction", "rulesets", "sid")

    def __init__(self, sid: str) -> None:
        """Name a session; it is open nowhere yet."""
        self.sid = sid
        self.end = f'"id":"f","sid":"{sid}"}}'
        self.retraction = "{" + self.end
        self.rulesets: set[Ruleset] = set()


class Ruleset:
    """A ruleset that the engine has built."""

    __slots__ = ("_handle",)

    def __init__(self, name: str, rules: str) -> None:
        """Build a ruleset under a name of its own, since two chains may live in one process."""
        self._handle = ENGINE.create_ruleset(f"{name}-{next(_serial)}", rules)

    def fire(self, session: Session, properties: str) -> list[str]:
        """Match one fact, given as the inside of a JSON object that ends in a comma; give the rules that fired.

        Raises:
            ChainFault: if the engine's answer is none that it should give. Errors of the engine pass through.
        """
        engine, handle = ENGINE, self._handle
        code, offset = engine.assert_fact(handle, "{" + properties + session.end)
        if code == _UNMATCHED:
            return []
        if code != _MATCHED:
            message = "a session held a fact that no evaluation gave it"
            raise ChainFault(message)
        fired: list[str] = []
        first = engine.start_action_for_state(handle, offset)
        firing = None if first is None else first[1]
        next_firing = engine.complete_and_start_action
        while firing is not None:
            fired.append(firing[2:_NAME_END])
            firing = next_firing(handle, offset)
        engine.retract_fact(handle, session.retraction)
        return fired

    def open(self, session: Session) -> None:
        """Give a session its state here. Its first firing makes it safe to free.

        Raises:
            ChainFault: if the warm-up rule does not fire.
        """
        if self.fire(session, f'"{WARM_UP}":1,') != [WARM_UP]:
            message = "a session did not open"
            raise ChainFault(message)
        session.rulesets.add(self)

    def close(self, session: Session) -> None:
        """Free a session's state, if it has one that is safe to free."""
        if self in session.rulesets:
            session.rulesets.remove(self)
            ENGINE.delete_state(self._handle, session.sid)

    def delete(self) -> None:
        """Free the ruleset, after all of its sessions."""
        ENGINE.delete_ruleset(self._handle)


class Pool:
    """Rulesets, and a fixed number of sessions that are each open in all of them.

    Thread-safe. Not safe over a fork while an evaluation runs: fork before the pool is made, or between evaluations.
    """

    def __init__(self, name: str, rulesets: Sequence[str], sessions: int, wait_seconds: float) -> None:
        """Build the rulesets and open the sessions; on any failure, free what was built.

        Raises:
            ChainFault: if the engine fails.
        """
        self.rulesets: list[Ruleset] = []
        self._wait_seconds = wait_seconds
        self._unused_sids = (f"s{number}" for number in range(SESSIONS))
        self._hashes: set[int] = set()
        self._free: queue.LifoQueue[Session] = queue.LifoQueue()  # the last one used is still in the cache
        self._open = 0
        self._is_closed = False
        self._lock = threading.Lock()
        self._closing = threading.Lock()
        try:
            for rules in rulesets:
                self.rulesets.append(Ruleset(name, rules))
            for _ in range(sessions):
                self._add_session()
        except BaseException as error:
            with suppress(Exception):
                self.close()
            if not isinstance(error, Exception):
                raise
            message = "durable-rules could not build the rulesets or open its sessions"
            raise ChainFault(message) from error

    def _add_session(self) -> None:
        """Open a session under a name that was never used and whose hash no other has."""
        with self._lock:
            sid = next((sid for sid in self._unused_sids if fnv(sid) not in self._hashes), None)
            if sid is None:
                message = f"all {SESSIONS} session names are used up; build a new chain"
                raise ChainFault(message)
            self._hashes.add(fnv(sid))
        session = Session(sid)
        try:
            for ruleset in self.rulesets:
                ruleset.open(session)
        except BaseException:
            self._abandon(session)
            raise
        with self._lock:
            self._open += 1
        self._free.put(session)

    def _abandon(self, session: Session) -> None:
        """Free what can be freed of a session that nobody will get again."""
        for ruleset in list(session.rulesets):
            # What cannot be freed stays as it is: its name is never used again.
            with suppress(Exception):
                ruleset.close(session)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Lend a session; after any exception, heal or replace it before another evaluation can get it.

        Raises:
            ChainFault: if no session comes free in time, if the pool is closed, or from any error within.
        """
        session = self._take()
        try:
            yield session
        except BaseException as error:
            self._heal(session)
            if isinstance(error, ChainFault) or not isinstance(error, Exception):
                raise
            message = f"durable-rules failed during an evaluation ({type(error).__name__}); its session was healed"
            raise ChainFault(message) from error
        self._free.put(session)

    def _take(self) -> Session:
        if not self._open and not self._is_closed:
            self._replace_all()
        try:
            session = None if self._is_closed else self._free.get(timeout=self._wait_seconds)
        except queue.Empty:
            message = f"no session came free within {self._wait_seconds} seconds; configure more sessions"
            raise ChainFault(message) from None
        if session is not None and self._is_closed:
            self._free.put(session)
            session = None
        if session is None:
            message = "the chain is closed"
            raise ChainFault(message)
        return session

    def _replace_all(self) -> None:
        """Open a session where faults have left none, so that an engine that recovers is used again.

        Raises:
            ChainFault: the engine still fails.
        """
        try:
            self._add_session()
        except ChainFault:
            raise
        except Exception as error:
            message = "durable-rules fails, and no session is left; reload the rules"
            raise ChainFault(message) from error

    def _heal(self, session: Session) -> None:
        """Make a session as new; where that fails, open another in its place; where that fails too, do without."""
        try:
            for ruleset in self.rulesets:
                ruleset.close(session)
                ruleset.open(session)
        except BaseException as error:
            self._abandon(session)
            with self._lock:
                self._open -= 1
            # The error that is being handled must not be hidden by another; an empty pool says so to the next caller.
            with suppress(Exception):
                self._add_session()
            if not isinstance(error, Exception):
                raise
        else:
            self._free.put(session)

    def close(self) -> None:
        """Wait until every session is back, free their states, then the rulesets. Closing twice does nothing.

        Raises:
            ChainFault: if an evaluation does not end in time. No new one can begin; the pool can be closed again.
        """
        self._is_closed = True
        with self._closing:
            while self._open:
                try:
                    session = self._free.get(timeout=self._wait_seconds)
                except queue.Empty:
                    message = f"an evaluation did not end within {self._wait_seconds} seconds; close again later"
                    raise ChainFault(message) from None
                with self._lock:
                    self._open -= 1
                self._abandon(session)
            while self.rulesets:
                self.rulesets.pop().delete()
