"""Every error of the engine.

EngineError
├ RulePackError        the author's: carries diagnostics, all at once, sorted by place
├ FactError            the caller's: carries violations, all at once. A missing fact is never an error
├ NoRulePackError      nobody's: no pack answers for the jurisdiction that was asked
├ EvaluationError      ours
│ ├ EnginesDisagree    the two engines differ: no decision may be shown
│ └ ChainFault         durable-rules failed while it evaluated
└ LedgerError          the decision log's
  ├ PushbackError      its queue is full: try again
  ├ LogUnavailableError   it cannot be written now, so nothing may be shown
  ├ RequestConflictError  a request id that was used for another request
  ├ ResponseErasedError   a repeated request whose first answer was erased
  ├ EntryNotFoundError    no such entry
  ├ ErasureRefusedError   a legal hold, or one person where two are needed
  └ IntegrityError     something is not what was logged: never swallowed

Messages are one line, lower case, without patient data.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class EngineError(Exception):
    """Base of all errors that the engine raises on purpose."""


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """One thing wrong in a rule pack: where, what, and what to write instead. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    code: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: [{self.code}] {self.message}{hint}"


class RulePackError(EngineError):
    """Rule packs cannot be used. `diagnostics` holds every fault found, sorted by place."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(sorted(set(diagnostics)))
        super().__init__("\n".join(map(str, self.diagnostics)))


@dataclass(frozen=True, slots=True, order=True)
class Violation:
    """One thing wrong in what a caller sent: the path as the caller wrote it, a stable code, what to do."""

    path: str
    code: str
    message: str


class FactError(EngineError):
    """The caller's facts are malformed. `violations` holds every fault found; messages hold no patient data."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(sorted(set(violations)))
        super().__init__("; ".join(f"{v.path}: {v.message}" for v in self.violations))


class NoRulePackError(EngineError):
    """No loaded rule pack serves the jurisdiction."""

    def __init__(self, jurisdiction: str, served: Iterable[str]) -> None:
        self.jurisdiction = jurisdiction
        self.served = tuple(sorted(served))
        super().__init__(f"no pack for jurisdiction `{jurisdiction}`; packs are loaded for {', '.join(self.served)}")


class EvaluationError(EngineError):
    """The evaluation itself failed. `parameters` are the canonical bytes of the dated numbers it used, if known."""

    parameters: bytes = b""


class EnginesDisagree(EvaluationError):
    """The two engines concluded different values for `nodes`; no decision may be shown.

    `interpreted` and `chained` are the canonical bytes of all that each concluded, which is patient data, and the
    digests their SHA-256.
    """

    def __init__(self, nodes: Iterable[str], interpreted: bytes = b"", chained: bytes = b"") -> None:
        self.nodes = tuple(sorted(nodes))
        self.interpreted = interpreted
        self.chained = chained
        self.interpret_digest = hashlib.sha256(interpreted).digest()
        self.chain_digest = hashlib.sha256(chained).digest()
        super().__init__(f"the engines disagree on {len(self.nodes)} propositions: {', '.join(self.nodes[:8])}")


class ChainFault(EvaluationError):
    """The forward-chaining engine failed; its session was healed and no decision was made."""


class LedgerError(EngineError):
    """Base of what goes wrong with the decision log."""


class PushbackError(LedgerError):
    """The log has as much to write as it takes; nothing was written. `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class LogUnavailableError(LedgerError):
    """The log, its signer, its keys or its clock cannot be used now, so nothing may be shown.

    `retry_after` is in seconds. Whether the entry was written may be unknown: retry with the same request id.
    """

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class RequestConflictError(LedgerError):
    """The request id was used before, for another request."""


class ResponseErasedError(LedgerError):
    """The request was answered before, and that answer was erased. `receipt` still proves that there was one."""

    def __init__(self, message: str, receipt: bytes) -> None:
        self.receipt = receipt
        super().__init__(message)


class EntryNotFoundError(LedgerError):
    """The log has no entry of this index or id."""


class ErasureRefusedError(LedgerError):
    """Nothing was erased: a legal hold stands, or a second person has to approve."""


class IntegrityError(LedgerError):
    """What is there is not what was logged, signed or promised. `place` names the entry, tile or table, if known.

    INVARIANT: nobody swallows it; whoever serves stops serving.
    """

    def __init__(self, message: str, place: str = "") -> None:
        self.place = place
        super().__init__(f"{place}: {message}" if place else message)
