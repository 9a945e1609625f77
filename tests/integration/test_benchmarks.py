"""Every benchmark runs from start to end, at a size that measures nothing, so that figures can be measured anew."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks import wire

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = {
    "benchmarks --rounds 1 --patients 3 --no-wire": "this engine",
    "benchmarks.packs --rounds 1 --patients 2": "one decision",
    "benchmarks.ledger --rounds 1 --seconds 0.1 --entries 50": "verify and every sealed body",
    "benchmarks.corpus corpus --decisions 10": "entries in corpus",
    "benchmarks.soak 40": "memory grew by",
}
WITH_K6 = {
    "benchmarks.cds --rounds 1 --calls 8": "a depression",
    "benchmarks.logged --rounds 1 --seconds 1 --callers 2": "p50 with the log is",
    "benchmarks.replicas --seconds 1 --callers 1": "no gap, and every root and signature is right",
}


@pytest.mark.parametrize("program", [*PROGRAMS, *WITH_K6])
def test_a_benchmark_runs(program: str, tmp_path: Path, environment: dict[str, str]) -> None:
    if program in WITH_K6 and wire.k6() is None:
        pytest.skip("k6 is not installed; `make setup` installs it")
    ran = subprocess.run(
        [sys.executable, "-m", *program.split()],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert (PROGRAMS | WITH_K6)[program] in ran.stdout


def test_the_wire_is_measured(rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if wire.k6() is None:
        pytest.skip("k6 is not installed; `make setup` installs it")
    monkeypatch.setattr(wire, "STARTS", 1)
    measured = wire.measure(rules, 1, 1)
    assert [load.name for load in measured.loads] == [wire.NO_OP, wire.BOTH, wire.INTERPRET]
    assert all(load.per_second > 0 and not load.refused for load in measured.loads)
    assert all(seconds > 0 for seconds in measured.start_s.values())
