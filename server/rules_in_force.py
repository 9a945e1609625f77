"""The rule packs in force, put in force all at once and let go of when the last evaluation that reads them ends."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from engine.ledger.rulebook import RuleBlobs, blobs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

    from engine.compiler.packset import PackSet
    from engine.evaluator.decision import Decision
    from engine.facts import PatientFacts
    from engine.pack.book import RuleBook


class Outcome(Protocol):
    """What an evaluation gives; `engine.evaluator.agree.Evaluation` is one. Bytes are canonical encodings.

    A digest of 32 zero bytes stands for an engine that did not run.
    """

    @property
    def decision(self) -> Decision: ...  # noqa: D102
    @property
    def interpret_digest(self) -> bytes: ...  # noqa: D102
    @property
    def chain_digest(self) -> bytes: ...  # noqa: D102
    @property
    def facts(self) -> bytes: ...  # noqa: D102
    @property
    def parameters(self) -> bytes: ...  # noqa: D102
    @property
    def explanation(self) -> bytes: ...  # noqa: D102


class Engines(Protocol):
    """What decides; `engine.evaluator.agree.Evaluator` does. Safe to call from many threads."""

    def evaluate(
        self, facts: PatientFacts, jurisdiction: str, payer_id: str | None, as_of: date, *, is_full: bool = False
    ) -> Outcome:
        """Decide; `is_full` explains every criterion. Raises: NoRulePackError, EnginesDisagree, ChainFault."""

    def pack_set(self, jurisdiction: str, payer_id: str | None, as_of: date) -> PackSet:
        """Give the compiled packs that answer. Raises: NoRulePackError."""

    def close(self) -> None:
        """Let go of everything."""


@dataclass(frozen=True)
class LoadedRules:
    """A rule book and the engines that were built from it."""

    book: RuleBook
    engines: Engines
    digest: str

    @cached_property
    def blobs(self) -> RuleBlobs:
        """What the log keeps of the rules."""
        return blobs_of(self.book)

    def pack_digests(self) -> dict[str, str]:
        """Give the digests of the packs by id."""
        return {pack.id: pack.digest for pack in self.book.packs.values()}


def rules_digest(book: RuleBook) -> str:
    """Give the SHA-256, in hex, over every pack's id, version and digest, the data dictionary and the tables."""
    lines = [f"pack {p.id} {p.header.version} {p.digest}\n" for _, p in sorted(book.packs.items())]
    lines += [f"facts.yaml {book.facts_digest}\n", f"reference {book.reference_digest}\n"]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class _Lease:
    def __init__(self, rules: LoadedRules) -> None:
        self.rules = rules
        self.readers = 0
        self.is_current = True


class RulesInForce:
    """Holds the current rules. INVARIANT: one evaluation sees one set of rules from beginning to end."""

    def __init__(self, load: Callable[[], LoadedRules]) -> None:
        """Load the first rules. Raises: RulePackError."""
        self._load = load
        self._lock = threading.Lock()
        self._reloading = threading.Lock()
        self._current = _Lease(load())

    @contextmanager
    def reading(self) -> Iterator[LoadedRules]:
        """Give the current rules and keep them open meanwhile."""
        with self._lock:
            lease = self._current
            lease.readers += 1
        try:
            yield lease.rules
        finally:
            with self._lock:
                lease.readers -= 1
                is_last = not lease.is_current and lease.readers == 0
            if is_last:
                lease.rules.engines.close()

    def reload(self) -> tuple[str, str]:
        """Load the rules again and put them in force; give the digests before and after.

        Two reloads run one after the other.

        Raises:
            RulePackError: the new rules are refused, and the current ones stay in force.

        """
        with self._reloading:
            fresh = _Lease(self._load())
            return self._replace(fresh).rules.digest, fresh.rules.digest

    def close(self) -> None:
        """Let go of the current rules once nobody reads them."""
        with self._lock:
            lease = self._current
            is_idle = lease.is_current and lease.readers == 0
            lease.is_current = False
        if is_idle:
            lease.rules.engines.close()

    def _replace(self, fresh: _Lease) -> _Lease:
        with self._lock:
            stale, self._current = self._current, fresh
            is_idle = stale.readers == 0
            stale.is_current = False
        if is_idle:
            stale.rules.engines.close()
        return stale
