"""Measuring side by side: single thread, CPU time, in turn.

On a shared machine the same work takes longer in one minute than in the next. So every contender answers for all
patients in every round, round after round, and medians are compared: of the calls of a round, then of the rounds.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WHOLE, COMPARABLE = "whole", "comparable"


@dataclass(frozen=True)
class Contender:
    """What is measured: `times` answers for every patient once and gives the CPU time of each call in nanoseconds."""

    name: str
    group: str
    says_why: str
    times: Callable[[], Sequence[int]]


@dataclass(frozen=True)
class Figure:
    """What came of it, in microseconds of CPU for one decision; `low` and `high` are medians of rounds."""

    name: str
    group: str
    says_why: str
    median: float
    low: float
    high: float
    p99: float
    calls: int


def timed(call: Callable[[Any], object], patients: Sequence[Any]) -> Callable[[], list[int]]:
    """Make the `times` of a contender that runs in this process."""

    def times() -> list[int]:
        clock = time.process_time_ns
        spent = []
        for patient in patients:
            before = clock()
            call(patient)
            spent.append(clock() - before)
        return spent

    return times


def side_by_side(contenders: Sequence[Contender], rounds: int) -> list[Figure]:
    """Measure in turn: A B C, A B C, ...; one round more goes first and is not counted."""
    spent: list[list[Sequence[int]]] = [[] for _ in contenders]
    for number in range(rounds + 1):
        for contender, seen in zip(contenders, spent, strict=True):
            times = contender.times()
            if number:
                seen.append(times)
    return [_figure(c, seen) for c, seen in zip(contenders, spent, strict=True)]


def _figure(contender: Contender, rounds: Sequence[Sequence[int]]) -> Figure:
    medians = [statistics.median(times) / 1000 for times in rounds]
    calls = sorted(t for times in rounds for t in times)
    return Figure(
        contender.name,
        contender.group,
        contender.says_why,
        statistics.median(medians),
        min(medians),
        max(medians),
        calls[min(len(calls) - 1, len(calls) * 99 // 100)] / 1000,
        len(calls),
    )
