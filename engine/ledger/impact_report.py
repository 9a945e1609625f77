"""What an impact analysis found, in counts: plain data, without a patient and without an index.

Every count of a breakdown that lies under the floor is merged with others until what is shown does not; nothing is
dropped, so each breakdown still has its sum. The buckets are exact: they are the proof that every entry was looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from engine.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

K = TypeVar("K")
Json: TypeAlias = dict[str, object]

FLOOR = 11


class Bucket(StrEnum):
    """Where an entry counts; each of them counts in exactly one.

    `changed` and `unchanged` are about what every option comes to, triage, coverage and who else must see the patient.
    """

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    NOT_EVALUABLE = "not_evaluable"
    ERROR = "error"
    SHREDDED = "shredded"
    UNREADABLE = "unreadable"
    LOGGED_ERROR = "logged_error"
    NOT_A_DECISION = "not_a_decision"


@dataclass(frozen=True, slots=True)
class Floored(Generic[K]):
    """Counts by key, largest first, and what was merged: how many keys, and their sum."""

    shown: tuple[tuple[K, int], ...]
    merged_keys: int = 0
    merged_count: int = 0


def floored(counts: Mapping[K, int], floor: int) -> Floored[K]:
    """Merge the counts under the floor, and then the smallest others, until what is merged does not lie under it."""
    ordered = sorted((item for item in counts.items() if item[1]), key=lambda item: (-item[1], str(item[0])))
    kept = [item for item in ordered if item[1] >= floor]
    merged = [item for item in ordered if item[1] < floor]
    while merged and kept and sum(count for _, count in merged) < floor:
        merged.append(kept.pop())
    return Floored(tuple(kept), len(merged), sum(count for _, count in merged))


class Turn(NamedTuple):
    """What something was and what it would be; equal where it stays."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class MergedTurns:
    """Turns that were merged: whether `none`, `all` or `some` of them are changes, how many they are, and their sum."""

    changes: Literal["none", "all", "some"]
    keys: int
    count: int


@dataclass(frozen=True, slots=True)
class Turns:
    """What became of one subject, over all decisions that were compared."""

    shown: tuple[tuple[Turn, int], ...]
    merged: tuple[MergedTurns, ...] = ()

    @property
    def total(self) -> int:
        """How many decisions that is."""
        return sum(count for _, count in self.shown) + sum(merged.count for merged in self.merged)


def floored_turns(counts: Mapping[Turn, int], floor: int) -> Turns:
    """Merge turns under the floor: changes with changes and the rest with the rest, as far as that is enough.

    Where it is not, a few hide behind the smallest of what stays, and only then behind the smallest change.
    """
    moved = _split(((turn, n) for turn, n in counts.items() if turn.old != turn.new), floor)
    still = _split(((turn, n) for turn, n in counts.items() if turn.old == turn.new), floor)
    if any(0 < sum(side.small) < floor for side in (moved, still)):
        pool, changes = [*moved.small, *still.small], len(moved.small)
        while sum(pool) < floor and still.kept:
            pool.append(still.kept.pop()[1])
        while sum(pool) < floor and moved.kept:
            pool.append(moved.kept.pop()[1])
            changes += 1
        if 0 < changes < len(pool):
            return Turns((*moved.kept, *still.kept), (MergedTurns("some", len(pool), sum(pool)),))
        side = moved if changes else still
        side.small[:] = pool
    merged = []
    if moved.small:
        merged.append(MergedTurns("all", len(moved.small), sum(moved.small)))
    if still.small:
        merged.append(MergedTurns("none", len(still.small), sum(still.small)))
    return Turns((*moved.kept, *still.kept), tuple(merged))


class _Split(NamedTuple):
    kept: list[tuple[Turn, int]]
    small: list[int]


def _split(counts: Iterable[tuple[Turn, int]], floor: int) -> _Split:
    ordered = sorted(((turn, n) for turn, n in counts if n), key=lambda item: (-item[1], item[0]))
    return _Split([item for item in ordered if item[1] >= floor], [n for _, n in ordered if n < floor])


@dataclass(frozen=True, slots=True)
class CriterionCounts:
    """In how many decisions each criterion holds a status down, and where it alone makes the difference.

    Attributes:
        then: decisions that it held down.
        now: decisions that it would hold down.
        lost: decisions in which an option gets worse, and this criterion alone is new among those that hold it down.
        gained: decisions in which an option gets better, and this criterion alone is gone from those that held it down.

    """

    then: Floored[str]
    now: Floored[str]
    lost: Floored[str]
    gained: Floored[str]


@dataclass(frozen=True, slots=True)
class Run:
    """One pass over the log. `turns` are those of the decisions that could be compared, by what they are about."""

    buckets: Mapping[Bucket, int]
    turns: Mapping[str, Turns]
    criteria: CriterionCounts
    reasons: Mapping[Bucket, Floored[str]]

    @property
    def compared(self) -> int:
        """How many decisions could be compared."""
        return self.buckets[Bucket.UNCHANGED] + self.buckets[Bucket.CHANGED]

    def check(self, tree_size: int) -> None:
        """Make sure that every entry was counted once, and that every breakdown has its sum.

        Raises:
            LedgerError: it was not so.

        """
        total = sum(self.buckets.values())
        if total != tree_size:
            message = f"the buckets sum to {total} and not to the {tree_size} entries that were looked at"
            raise LedgerError(message)
        for subject, turns in self.turns.items():
            if turns.total != self.compared:
                message = f"the changes of `{subject}` do not sum to the {self.compared} decisions that were compared"
                raise LedgerError(message)

    def to_json(self) -> Json:
        """Give it as plain data; keys stand in the order in which they are read."""
        return {
            "buckets": {str(bucket): self.buckets[bucket] for bucket in Bucket},
            "turns": [
                {
                    "subject": subject,
                    "shown": [{"old": t.old, "new": t.new, "count": n} for t, n in turns.shown],
                    "merged": [{"changes": m.changes, "keys": m.keys, "count": m.count} for m in turns.merged],
                }
                for subject, turns in self.turns.items()
            ],
            "criteria": {
                name: _named(getattr(self.criteria, name), "criterion") for name in ("then", "now", "lost", "gained")
            },
            "reasons": {str(bucket): _named(found, "reason") for bucket, found in self.reasons.items()},
        }


@dataclass(frozen=True, slots=True)
class ImpactReport:
    """What other rules would have changed among the first entries of a log.

    Attributes:
        tree_size: how many entries were looked at.
        floor: the smallest count that a breakdown shows.
        candidate: digest and packs of the rules that were tried; `candidate_digest` names the pack set,
            `reference_digest` its tables.
        stored: over the facts as they were logged.
        requests: over the requests, read anew with the candidate's data dictionary; None if that was not asked for.

    """

    tree_size: int
    floor: int
    candidate_digest: str
    reference_digest: str
    candidate: Sequence[str]
    stored: Run
    requests: Run | None

    def to_json(self) -> Json:
        """Give it as plain data."""
        return {
            "tree_size": self.tree_size,
            "floor": self.floor,
            "candidate": {
                "pack_digest": self.candidate_digest,
                "reference_digest": self.reference_digest,
                "packs": list(self.candidate),
            },
            "stored": self.stored.to_json(),
            "requests": self.requests.to_json() if self.requests else None,
        }


def _merged(counts: Floored[K]) -> Json:
    return {"merged": {"keys": counts.merged_keys, "count": counts.merged_count}}


def _named(counts: Floored[str], name: str) -> Json:
    return {"shown": [{name: key, "count": count} for key, count in counts.shown], **_merged(counts)}
