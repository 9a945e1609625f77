"""Measures this engine beside others and on the wire, and writes down what came of it.

    python -m benchmarks
    python -m benchmarks --rounds 5 --no-wire        a quick look that writes nothing

Writes benchmarks/results.json, benchmarks/RESULTS.md and docs/images/benchmark.svg. The packages of the extra `bench`
are measured where they are installed; k6 drives the load on the wire.
"""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks import chart, missing_fact, report, wire
from benchmarks.comparable import leaves
from benchmarks.contenders import against_rivals, whole
from benchmarks.measure import side_by_side
from engine.pack.load import load_rules

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "benchmark.svg"
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option("--rules", type=_FOLDER, default=ROOT / "rules", help="Folder of the rule packs.")
@click.option("--rounds", default=30, show_default=True, help="How often everybody takes a turn.")
@click.option("--patients", default=60, show_default=True, help="How many made-up patients are decided in a turn.")
@click.option("--wire/--no-wire", "is_wired", default=True, help="Measure the server too; without, nothing is written.")
@click.option("--wire-rounds", default=3, show_default=True, help="How often each server takes a turn.")
@click.option("--wire-seconds", default=10, show_default=True, help="How long a turn of a server is.")
def main(*, rules: Path, rounds: int, patients: int, is_wired: bool, wire_rounds: int, wire_seconds: int) -> None:
    """Measure everybody in turn and say what came of it."""
    logging.disable(logging.WARNING)  # other engines talk while they run
    book = load_rules(rules, is_locked=False)
    notes: list[str] = []

    def tell(line: str) -> None:
        notes.append(line)
        click.echo(line)

    with ExitStack() as stack:
        ours = whole(book, patients, stack)
        rule_set, others = against_rivals(book, patients, stack, tell)
        click.echo(f"measuring {len(ours) + len(others)} contenders in {rounds} rounds")
        figures = side_by_side([*ours, *others], rounds)
    missing = missing_fact.table(book)
    measured = None
    if is_wired:
        try:
            measured = wire.measure(rules, wire_rounds, wire_seconds)
        except (FileNotFoundError, RuntimeError) as error:
            sys.exit(f"the wire cannot be measured, nothing is written: {error}")
    found = report.Report(
        command=" ".join(["python -m benchmarks", *sys.argv[1:]]),
        rounds=rounds,
        patients=patients,
        rules=len(rule_set.rules),
        conditions=sum(len(list(leaves(r.condition))) for r in rule_set.rules),
        figures=tuple(figures),
        missing=tuple(missing),
        wire=measured,
        notes=tuple(notes),
    )
    report.show(found)
    if is_wired:
        report.write(found)
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        PICTURE.write_text(chart.draw(found), encoding="utf-8")
        click.echo(f"written: benchmarks/RESULTS.md, benchmarks/results.json, {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
