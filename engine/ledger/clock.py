"""The time of entries: read through a clock that comes in, and watched for steps that would poison the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MICROSECONDS = 1_000_000
REGRESSED, UNSYNCHRONIZED, LEAP = 1, 2, 4
"""Flags of an entry's time: it was held at the entry before; the clock follows no source; a leap second is near."""

_ANCHOR_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Clock:
    """What tells the time: µs UTC, seconds that never step, and flags of the system's clock."""

    now: Callable[[], int]
    monotonic: Callable[[], float]
    flags: Callable[[], int] = lambda: 0


class StepWatch:
    """Compares the clock with the monotonic one. Once a step was seen it stays seen: an operator has to look.

    A clock that stands still is a step too. Slow adjustment (slewing) is none: the comparison starts anew every ten
    minutes.
    """

    def __init__(self, clock: Clock, max_step_seconds: float) -> None:
        self._clock = clock
        self._max_step = max_step_seconds
        self._anchor = (clock.now(), clock.monotonic())
        self.has_stepped = False

    def read(self) -> int:
        """Give the time in µs UTC, after looking for a step."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        wall = (now - self._anchor[0]) / MICROSECONDS
        passed = monotonic - self._anchor[1]
        if abs(wall - passed) > self._max_step:
            self.has_stepped = True
        elif passed > _ANCHOR_SECONDS:
            self._anchor = (now, monotonic)
        return now

    def compare(self, other: int) -> None:
        """Look at the time of somebody else's clock, µs UTC, taken just now."""
        if abs(other - self._clock.now()) / MICROSECONDS > self._max_step:
            self.has_stepped = True
