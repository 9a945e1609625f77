"""What takes long: logged decisions made again, and what other rules would have decided."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from engine import canonical
from engine.errors import Violation
from engine.ledger.body import BlobKind, Report
from engine.ledger.decisions import LogView
from engine.ledger.impact import impact
from engine.ledger.log import Blob
from engine.ledger.replay import Outcome, Replayer, ReplayResult
from engine.ledger.workers import replay_range
from engine.pack import digest as packing
from engine.pack.load import FACTS_FILE, REFERENCE_FOLDER, book_from_bytes
from server.convert.messages import enum_number
from server.convert.replay import wire
from server.faults import invalid
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2
from server.rpc.log_reading import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from engine.ledger import log as ledger
    from engine.ledger.impact_report import Run
    from engine.ledger.seal import CallerPart
    from engine.ledger.store import Snapshot
    from engine.ledger.workers import Recipe
    from engine.pack.book import RuleBook

MAX_RANGE = 10_000
"""Entries of one ReplayDecisions call."""

TAMPERED = frozenset({Outcome.UNDECRYPTABLE, Outcome.BAD_COMMITMENT})
"""Outcomes that say that something is not what was logged."""


class Replays:
    """Replays over one log; close it to free the engines.

    `engine_digest` is that of this build. Ranges are replayed by `parallel` processes of their own, made by `recipe`;
    by this one if that is 0.
    """

    def __init__(
        self, log: ledger.DecisionLog, engine_digest: bytes, recipe: Recipe | None = None, parallel: int = 0
    ) -> None:
        self._log = log
        self._recipe = recipe
        self._parallel = parallel
        self._view = LogView(log.reading, log.keys.open_key)
        self._replayer = Replayer(self._view, wire(), engine_digest)

    def range_scope(self, snapshot: Snapshot, request: log_pb2.ReplayDecisionsRequest) -> Scope:
        """Settle which entries a request is about. Raises: Fault."""
        size = snapshot.head().size
        first, end = request.first_index, request.end_index or min(size, request.first_index + MAX_RANGE)
        violations = []
        if first >= size:
            violations.append(Violation("first_index", "request/out-of-range", f"the log has {size} entries"))
        elif not first < end <= size:
            message = f"lies behind the first index, and at most at {size}, the end of the log"
            violations.append(Violation("end_index", "request/out-of-range", message))
        elif end - first > MAX_RANGE:
            message = f"lies at most {MAX_RANGE} behind the first index; ask for the rest in another call"
            violations.append(Violation("end_index", "request/too-large", message))
        if violations:
            raise invalid(violations)
        return Scope(first, end - 1, size)

    def replay(self, index: int) -> log_pb2.Replay:
        """Replay one entry. Raises: LedgerError."""
        return self._told(self._replayer.replay(index))

    def range(self, scope: Scope) -> Iterator[log_pb2.Replay]:
        """Replay the entries of a scope in order. Raises: LedgerError."""
        entries = range(scope.first, scope.last + 1)
        if self._recipe is None or not self._parallel:
            yield from map(self.replay, entries)
            return
        monotonic = self._log.clock.monotonic
        yield from map(self._told, replay_range(self._recipe, entries, monotonic, parallel=self._parallel))

    def analyze_impact(
        self, candidate: RuleBook, tree_size: int, caller: CallerPart, check: Callable[[], None]
    ) -> log_pb2.AnalyzeImpactResponse:
        """Try other rules on the first entries of the log, and log the report.

        Args:
            candidate: the rules.
            tree_size: how many entries.
            caller: who asked.
            check: called for every entry; raises when the caller no longer waits.

        Raises:
            RulePackError: the rules do not compile.
            LedgerError: the log cannot be read or written.

        """
        found = impact(self._view, tree_size, candidate, wire=wire(), heard=lambda *_: check())
        report = Blob(BlobKind.REPORT, canonical.encode(found.to_json()), "impact")
        self._log.register([report])
        digest = bytes.fromhex(found.candidate_digest)
        logged = self._log.tell(Report("impact", tree_size, digest, report.digest), caller)
        return log_pb2.AnalyzeImpactResponse(
            tree_size=tree_size,
            counts=_counts(found.stored),
            counts_anew=_counts(found.requests) if found.requests else None,
            report=report.body,
            report_index=logged.index,
            candidate_digest=found.candidate_digest,
            report_digest=hashlib.sha256(report.body).hexdigest(),
        )

    def close(self) -> None:
        """Free the engines."""
        self._replayer.close()

    def _told(self, result: ReplayResult) -> log_pb2.Replay:
        if result.outcome in TAMPERED:
            self._log.raise_alarm("integrity")
        return write_replay(result, self._replayer.engine_digest)


def read_rule_files(files: Mapping[str, bytes]) -> RuleBook:
    """Make a rule book of the files of a rules folder, by their paths in it; nothing on disk is looked at.

    Raises:
        Fault: there is no data dictionary among them.
        RulePackError: a path leaves the folder, or the rules have faults.

    """
    parts = packing.decode(packing.encode({path: data for path, data in files.items() if packing.is_part(path)}))
    if FACTS_FILE not in parts:
        message = f"holds no `{FACTS_FILE}`; send the files of a whole rules folder"
        raise invalid([Violation("rule_files", "request/missing", message)])
    folders = sorted(path.removesuffix("pack.yaml") for path in parts if PurePosixPath(path).name == "pack.yaml")

    def under(folder: str) -> bytes:
        return packing.encode({p.removeprefix(folder): data for p, data in parts.items() if p.startswith(folder)})

    facts = packing.encode({FACTS_FILE: parts[FACTS_FILE]})
    return book_from_bytes(facts, under(f"{REFERENCE_FOLDER}/"), map(under, folders))


def _counts(run: Run) -> log_pb2.ImpactCounts:
    return log_pb2.ImpactCounts(**{bucket.value: count for bucket, count in run.buckets.items()})


def write_replay(result: ReplayResult, engine_digest: bytes) -> log_pb2.Replay:
    """Write what came of a replay."""
    return log_pb2.Replay(
        index=result.index,
        outcome=log_pb2.ReplayOutcome.ValueType(enum_number(log_pb2.ReplayOutcome.DESCRIPTOR, result.outcome)),
        stage=log_pb2.ReplayStage.ValueType(enum_number(log_pb2.ReplayStage.DESCRIPTOR, result.stage or "unspecified")),
        detail=result.detail,
        differences=result.differences,
        tombstone_index=result.tombstone_index or 0,
        missing_digest=result.missing_digest.hex(),
        logged_engine_digest=result.logged_engine.hex(),
        engine_digest=engine_digest.hex() if result.logged_engine else "",
    )
