"""A replay gives the same bytes wherever and whenever it runs: what could vary is taken from the log."""

from __future__ import annotations

import ast
import importlib
import json
import os
import pickle
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from engine.evaluator.agree import Evaluator
from engine.ledger.replay import Outcome, Replayer, Stage
from server.convert.replay import wire
from tests.repository import repository_rules
from tests.unit.memory_log import MANIFEST, Bench, MemoryLog, cases, decided, request_of, rules_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.rules_in_force import LoadedRules

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def both() -> Iterator[LoadedRules]:
    loaded = rules_of(repository_rules(), "both")
    with closing(loaded.engines):
        yield loaded


@pytest.fixture(scope="module")
def one(both: LoadedRules) -> Iterator[Bench]:
    bench = Bench(both)
    with closing(bench.replayer):
        yield bench


@pytest.mark.parametrize(
    ("moment", "time_zone", "day"),
    [
        ("2025-06-03T03:59:59.999999+00:00", "America/New_York", "2025-06-02"),
        ("2025-06-03T04:00:00+00:00", "America/New_York", "2025-06-03"),
        ("2025-03-09T06:59:59+00:00", "America/New_York", "2025-03-09"),
        ("2025-03-09T07:00:00+00:00", "America/New_York", "2025-03-09"),
        ("2025-11-02T04:30:00+00:00", "America/New_York", "2025-11-02"),
        ("2025-10-26T00:59:59+00:00", "Europe/London", "2025-10-26"),
        ("2025-03-29T23:30:00+00:00", "Europe/Berlin", "2025-03-30"),
        ("2024-02-28T23:59:59+00:00", "UTC", "2024-02-28"),
        ("2024-02-29T00:00:00+00:00", "UTC", "2024-02-29"),
        ("2024-03-01T04:59:59+00:00", "America/New_York", "2024-02-29"),
        ("2025-12-31T10:00:00+00:00", "Pacific/Kiritimati", "2026-01-01"),
    ],
)
def test_c88_the_day_is_the_logged_one_whatever_the_time_zone_says_later(
    both: LoadedRules, one: Bench, monkeypatch: pytest.MonkeyPatch, moment: str, time_zone: str, day: str
) -> None:
    request = request_of(cases()[0])
    request.as_of = ""
    request.patient_history.ClearField("fact_provenance")
    made = decided(both, request.SerializeToString(), datetime.fromisoformat(moment), time_zone)
    assert str(made.context.as_of) == json.loads(made.decision)["as_of"] == day

    def refuse(_key: str) -> None:
        raise LookupError

    monkeypatch.setattr("server.evaluation.ZoneInfo", refuse)
    assert one(made).outcome is Outcome.MATCH
    assert made.context.as_of is not None
    shifted = replace(made.context, as_of=made.context.as_of + timedelta(days=1))
    assert one(replace(made, context=shifted)).stage is Stage.FACTS


ELSEWHERE = """
import os, pickle, sys
from contextlib import closing
from engine.ledger.replay import Replayer
from server.convert.replay import wire
from tests.unit.memory_log import MANIFEST

os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
with open(sys.argv[1], "rb") as file:
    log = pickle.load(file)
log.blob_rows = dict(reversed(log.blob_rows.items()))
with closing(Replayer(log.view, wire(), MANIFEST.digest)) as replayer:
    for index in range(len(log.leaves)):
        result = replayer.replay(index)
        print(result.outcome, result.stage, result.detail)
"""


def test_c85_the_same_bytes_whatever_seed_zone_locale_and_order(both: LoadedRules, tmp_path: Path) -> None:
    log = MemoryLog()
    for case in cases():
        log.decide(decided(both, request_of(case).SerializeToString()), both.blobs)
    kept = tmp_path / "log"
    kept.write_bytes(pickle.dumps(log))
    places = [
        {"PYTHONHASHSEED": "0", "TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONUTF8": "0"},
        {"PYTHONHASHSEED": "31337", "TZ": "America/New_York", "LC_ALL": "C.UTF-8"},
        {"PYTHONHASHSEED": "random", "TZ": "Europe/Istanbul", "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"},
    ]
    for place in places:
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", ELSEWHERE, kept],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **place},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.stdout.splitlines() == ["MATCH None "] * len(log.leaves), run.stderr


class Refused:
    """Stands where something is that a replay may not touch."""

    def __getattr__(self, name: str) -> NoReturn:
        message = f"a replay touched `{name}`"
        raise AssertionError(message)

    def __call__(self, *_args: object, **_named: object) -> NoReturn:
        message = "a replay called what it may not"
        raise AssertionError(message)

    __getitem__ = __contains__ = __iter__ = __len__ = __call__


FORBIDDEN = ("time", "random", "locale", "uuid", "secrets")
PURE = {"struct_time", "__loader__"}
"""What `datetime` makes of itself, and what is no function of the module."""


def test_c86_a_replay_touches_no_clock_no_randomness_and_no_environment(
    both: LoadedRules, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = MemoryLog()
    index = log.decide(decided(both, request_of(cases()[0]).SerializeToString()), both.blobs)
    with closing(Replayer(log.view, wire(), MANIFEST.digest)) as replayer, monkeypatch.context() as sealed_off:
        for name in FORBIDDEN:
            module = importlib.import_module(name)
            for inner in {n for n, value in vars(module).items() if callable(value)} - PURE:
                sealed_off.setattr(module, inner, Refused())
        for inner in ("environ", "environb", "getenv", "urandom", "getpid", "uname"):
            sealed_off.setattr(os, inner, Refused())
        sealed_off.setattr("server.evaluation.ZoneInfo", Refused())
        result = replayer.replay(index)

    assert (result.outcome, result.detail) == (Outcome.MATCH, "")


def test_c86_what_touches_the_clock_is_caught(both: LoadedRules, one: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    content = decided(both, request_of(cases()[0]).SerializeToString())
    monkeypatch.setattr(Evaluator, "evaluate", lambda *_args, **_named: time.time())
    monkeypatch.setattr(time, "time", Refused())
    result = one(content)

    assert (result.outcome, result.detail) == (Outcome.MISMATCH, "this build fails here: AssertionError")


def test_c86_no_module_that_decides_asks_what_day_it_is() -> None:
    rooms = ("compiler", "evaluator", "pack")
    files = [file for room in rooms for file in (ROOT / "engine" / room).rglob("*.py")]
    asked = [
        f"{file.name}:{node.lineno}"
        for file in [*files, ROOT / "engine" / "facts.py", ROOT / "engine" / "ledger" / "replay.py"]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"now", "today", "utcnow"}
    ]

    assert not asked
