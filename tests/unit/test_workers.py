"""Workers replay a range in order, whatever one entry does to one of them."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

import pytest

from engine.errors import IntegrityError, LedgerError, LogUnavailableError
from engine.ledger.decisions import LogView
from engine.ledger.entry import Kind
from engine.ledger.replay import Outcome
from engine.ledger.seal import Context, PatientPart
from engine.ledger.workers import AHEAD, Recipe, replay_range
from server.convert.ledger import EVALUATE
from server.convert.replay import wire
from tests.repository import repository_rules
from tests.unit.memory_log import MANIFEST, MemoryLog, cases, decided, request_of, rules_of

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.long

LOST = (bytes([9] * 32), MANIFEST.digest, bytes([8] * 32), bytes([7] * 32))


def without_rules(patients: str) -> MemoryLog:
    """Give a log of one decision for each letter, whose pack set is lost: that much is told without any engine."""
    log = MemoryLog()
    log.put(MANIFEST)
    content = PatientPart(EVALUATE, b"", b"", Context(date(2025, 6, 2), "UTC"), b"", b"", bytes(64), b"", b"")
    for patient in patients:
        log.seal(Kind.DECISION, content, LOST, patient)
    return log


@dataclass(frozen=True)
class Hostile:
    """A log whose key store does something else for one patient."""

    log: MemoryLog
    patient: str
    deed: Callable[[], object]

    def open(self) -> LogView:
        return LogView(self.log.reading, self._key)

    def _key(self, key_id: bytes) -> bytes | None:
        if key_id == self.log.key(self.patient):
            self.deed()
        return self.log.keys.get(key_id)


def hang() -> None:
    threading.Event().wait()


def down() -> None:
    message = "the key store is down"
    raise LogUnavailableError(message)


def tampered() -> None:
    message = "a key was swapped"
    raise IntegrityError(message)


def outcomes(recipe: Recipe, entries: range, **given: object) -> list[tuple[int, str, str]]:
    results = replay_range(recipe, entries, time.monotonic, **given)  # type: ignore[arg-type]
    return [(r.index, str(r.outcome), r.detail) for r in results]


def lost(index: int) -> tuple[int, str, str]:
    return index, "MISSING_BLOB", f"blob {LOST[0].hex()} is not in the log"


def test_workers_give_what_this_process_gives_in_the_order_of_the_entries() -> None:
    rules = rules_of(repository_rules())
    log = MemoryLog()
    with closing(rules.engines):
        for case in cases()[:4]:
            log.decide(decided(rules, request_of(case).SerializeToString()), rules.blobs)
    log.decide(replace(decided(rules, request_of(cases()[0]).SerializeToString()), parameters=b"{}"), rules.blobs)
    log.shred("p")
    log.decide(decided(rules, request_of(cases()[5]).SerializeToString()), rules.blobs, patient="q")
    recipe, entries = Recipe(log.own_view, wire, MANIFEST.digest), range(len(log.leaves))
    heard: list[tuple[int, int]] = []
    here = list(replay_range(recipe, entries, time.monotonic, parallel=0))
    there = list(
        replay_range(recipe, entries, time.monotonic, parallel=2, progress=lambda done, of: heard.append((done, of)))
    )

    assert there == here
    assert [r.outcome for r in here] == [Outcome.SHREDDED] * 5 + [Outcome.NOT_A_DECISION, Outcome.MATCH]
    assert heard == [(n, len(entries)) for n in range(1, len(entries) + 1)]
    assert not multiprocessing.active_children()


def test_an_entry_that_takes_too_long_is_given_up_and_the_others_are_not() -> None:
    log = without_rules("aaabaaa" + "a" * 3 * AHEAD)
    recipe = Recipe(Hostile(log, "b", hang).open, wire, MANIFEST.digest)
    told = outcomes(recipe, range(len(log.leaves)), parallel=2, timeout=3.0)

    assert told[3] == (3, "TIMEOUT", "it was given up after 3 seconds")
    assert [t for t in told if t[0] != 3] == [lost(index) for index in range(len(log.leaves)) if index != 3]


def test_an_entry_that_ends_its_worker_is_no_match_and_the_others_are_told() -> None:
    log = without_rules("abaaba")
    recipe = Recipe(Hostile(log, "b", partial(os._exit, 7)).open, wire, MANIFEST.digest)
    died = "its worker ended with exit code 7"

    assert outcomes(recipe, range(6)) == [(i, "ENGINE_UNAVAILABLE", died) if i in {1, 4} else lost(i) for i in range(6)]


@pytest.mark.parametrize(("deed", "kind"), [(down, LedgerError), (tampered, IntegrityError)])
@pytest.mark.parametrize("parallel", [0, 1])
def test_what_stops_a_worker_stops_the_range(deed: Callable[[], None], kind: type[Exception], parallel: int) -> None:
    log = without_rules("aab")
    recipe = Recipe(Hostile(log, "b", deed).open, wire, MANIFEST.digest)
    results = replay_range(recipe, range(3), time.monotonic, parallel=parallel)

    assert [next(results).index, next(results).index] == [0, 1]
    with pytest.raises(kind, match="key"):
        next(results)


@pytest.mark.parametrize("open_view", [down, partial(os._exit, 3)])
def test_workers_that_cannot_open_the_log_are_no_endless_loop(open_view: Callable[[], LogView]) -> None:
    recipe = Recipe(open_view, wire, MANIFEST.digest)

    with pytest.raises(LedgerError, match=r"key store is down|ended with exit code 3 while it opened the log"):
        next(replay_range(recipe, range(3), time.monotonic, parallel=2))
    assert not multiprocessing.active_children()


def test_whoever_stops_listening_leaves_no_worker_behind() -> None:
    log = without_rules("a" * 50)
    results = replay_range(Recipe(log.own_view, wire, MANIFEST.digest), range(50), time.monotonic, parallel=2)
    assert next(results).index == 0
    results.close()  # type: ignore[attr-defined]

    assert not multiprocessing.active_children()


def test_an_empty_range_starts_nothing() -> None:
    recipe = Recipe(partial(os._exit, 3), wire, MANIFEST.digest)

    assert list(replay_range(recipe, range(5, 5), time.monotonic, parallel=4)) == []
