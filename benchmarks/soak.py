"""Memory stays flat: half a million evaluations of random patients by both engines, resident memory read on the way.

Run with `python -m benchmarks.soak [EVALUATIONS]`. Exits with 1 if memory grew by more than `MOST_GROWTH_MB` after the
first tenth, in which caches fill.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from pathlib import Path
from random import Random

from engine.evaluator.agree import Evaluator
from engine.pack.load import load_rules
from tests.property.patients import JURISDICTION, REGIMES, Patients

EVALUATIONS = 500_000
READINGS = 20
KEPT_PATIENTS = 5_000
MOST_GROWTH_MB = 32.0


def resident_mb() -> float:
    """Give the memory of this process that is held in RAM, in MB. Linux only."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def soak(evaluations: int) -> float:
    """Evaluate so many times; give by how many MB memory grew after the first tenth."""
    patients = Patients(load_rules(Path(__file__).parents[1] / "rules", is_locked=False))
    rng = Random("soak")  # noqa: S311 - no secret
    payers = patients.payers[:3]
    drawn = [patients.draw(rng, rng.choice(REGIMES[:4]), rng.choice(payers)) for _ in range(KEPT_PATIENTS)]
    settled = now = 0.0
    began = time.monotonic()
    with closing(Evaluator(patients.book, "both", sessions=1)) as evaluator:
        for done in range(1, evaluations + 1):
            patient = drawn[done % len(drawn)]
            evaluator.evaluate(patients.read(patient), JURISDICTION, patient.payer, patient.as_of)
            if done % max(evaluations // READINGS, 1) == 0:
                now = resident_mb()
                settled = now if done <= evaluations // 10 else settled
                rate = done / (time.monotonic() - began)
                print(f"{done:>8} evaluations  {now:8.1f} MB  {rate:6.0f} a second", flush=True)
    return now - settled


def main() -> int:
    """Soak, and say whether memory stayed flat."""
    evaluations = int(sys.argv[1]) if len(sys.argv) > 1 else EVALUATIONS
    grown = soak(evaluations)
    print(f"memory grew by {grown:.1f} MB over the last nine tenths of {evaluations} evaluations")
    return 1 if grown > MOST_GROWTH_MB else 0


if __name__ == "__main__":
    sys.exit(main())
