"""What callers of a log saw, each on its own, and whether all that fits one order."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.ledger.entry import Kind, decode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.ledger.log import DecisionLog


@dataclass
class Call:
    """One request of a caller, tried until it was answered. Times are of one monotonic clock."""

    request_id: str
    began: float
    ended: float | None = None
    index: int | None = None
    unknown: int = 0
    """How often it failed, so that nobody knew whether it was logged."""


@dataclass
class History:
    """All calls of all callers."""

    calls: list[Call] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def begin(self, request_id: str) -> Call:
        """Note that a request is made."""
        with self.changed:
            self.calls.append(call := Call(request_id, time.monotonic()))
        return call

    def answered(self, call: Call, index: int) -> None:
        """Note that it was answered."""
        with self.changed:
            call.ended, call.index = time.monotonic(), index
            self.changed.notify_all()

    def count_answered(self) -> int:
        """Count the calls that were answered."""
        return sum(call.index is not None for call in self.calls)

    def wait_for_more(self, count: int, seconds: float) -> None:
        """Wait until so many more calls were answered."""
        with self.changed:
            wanted = self.count_answered() + count
            assert self.changed.wait_for(lambda: self.count_answered() >= wanted, seconds), "nothing is answered"

    def check(self, logged: Mapping[str, list[int]]) -> None:
        """Check the history against the entries of each request id.

        What was answered is there, under its index, and nothing is there twice. If a call was answered before another
        began, its entry comes before the other's. Of a call that was never answered, an entry may be there or not.
        """
        answered = [call for call in self.calls if call.index is not None]
        assert len({call.index for call in answered}) == len(answered), "two calls got one entry"
        for call in answered:
            assert logged.get(call.request_id) == [call.index], f"{call} is logged as {logged.get(call.request_id)}"
        twice = {name: indexes for name, indexes in logged.items() if len(indexes) > 1}
        assert not twice
        latest_begin = 0.0
        for call in sorted(answered, key=lambda call: call.index or 0):
            assert (call.ended or 0.0) >= latest_begin, f"{call} was answered before an earlier entry was asked for"
            latest_begin = max(latest_begin, call.began)


def entries_by_request(log: DecisionLog) -> dict[str, list[int]]:
    """Open every decision and give the entries of each request id, after checking that no index is missing."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    with log.reading() as snapshot:
        size = snapshot.head().size
        leaves = list(snapshot.leaves(0, size))
        assert [index for index, _ in leaves] == list(range(size))
        for index, leaf_data in leaves:
            if decode(leaf_data).kind is Kind.DECISION:
                opened = log.open_entry(snapshot, index)
                assert opened.caller is not None
                found[opened.caller.request_id].append(index)
    return found
