"""What other jurisdictions' packs cost those who ask about one: all packs beside those of the US and its payers alone.

    python -m benchmarks.packs [--rounds 15]

Measured in turn, processor time: loading the rules and compiling those of the US; one decision with its argument, by
both engines; and a whole run of `eligibility evaluate` from start to end, in a process of its own.
"""

from __future__ import annotations

import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmarks.patients import AS_OF, Clinic
from engine.compiler.stages import compile_packs
from engine.evaluator.agree import Evaluator
from engine.pack.digest import read_lock, write_lock
from engine.pack.load import load_rules

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.facts import PatientFacts

ROOT = Path(__file__).parents[1]
CASE = ROOT / "examples" / "patients" / "01-clear-yes.json"
JURISDICTION = "US"
EXECUTABLE = str(Path(sys.executable).with_name("eligibility"))


def only_home(folder: Path) -> Path:
    """Copy the rules without the packs that no answer for the US needs."""
    rules = folder / "rules"
    shutil.copytree(ROOT / "rules", rules)
    book = load_rules(ROOT / "rules")
    home = {p.id for payer in (None, *book.payers) for p in book.packs_for(JURISDICTION, payer)}
    home -= {p.id for p in book.packs.values() if p.header.payer and not p.header.jurisdictions}
    for pack in book.packs.values():
        if pack.id not in home:
            shutil.rmtree(rules / pack.folder)
    write_lock(rules, {key: digest for key, digest in read_lock(rules).items() if key[0] in home})
    return rules


def load_ms(rules: Path) -> float:
    """Load the rules and compile those of the US."""
    before = time.process_time()
    compile_packs(load_rules(rules), JURISDICTION, None, AS_OF)
    return (time.process_time() - before) * 1e3


def run_ms(rules: Path) -> float:
    """Run the command in a process of its own."""
    command = [EXECUTABLE, "evaluate", str(CASE), "--format", "json", "--rules", str(rules)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3


@click.command()
@click.option("--rounds", default=15, show_default=True, help="How often both take a turn.")
@click.option("--patients", default=60, show_default=True, help="How many made-up patients are decided in a turn.")
def main(*, rounds: int, patients: int) -> None:
    """Measure both in turn and say what came of it."""
    with ExitStack() as stack:
        home = only_home(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        folders = {"US alone": home, "all packs": ROOT / "rules"}
        measures: dict[str, dict[str, Callable[[], float]]] = {"load and compile": {}, "one decision": {}, "a run": {}}
        for name, rules in folders.items():
            book = load_rules(rules)
            evaluator = Evaluator(book, sessions=1)
            stack.callback(evaluator.close)
            drawn = [
                p.facts for p in Clinic(book, compile_packs(book, JURISDICTION, None, AS_OF)).partly_known(patients)
            ]

            def decide_ms(evaluator: Evaluator = evaluator, drawn: list[PatientFacts] = drawn) -> float:
                before = time.process_time()
                for facts in drawn:
                    evaluator.evaluate(facts, JURISDICTION, None, facts.as_of)
                return (time.process_time() - before) * 1e3 / len(drawn)

            measures["load and compile"][name] = partial(load_ms, rules)
            measures["one decision"][name] = decide_ms
            measures["a run"][name] = partial(run_ms, rules)
        click.echo(
            f"{'ms of processor time':20} {'US alone':>12} {'all packs':>12} {'ratio':>8}  (median; ratios in turn)"
        )
        for measure, calls in measures.items():
            spent = [[calls[name]() for name in folders] for _ in range(rounds + 1)][1:]
            alone, every = (statistics.median(column) for column in zip(*spent, strict=True))
            ratios = sorted(both / one for one, both in spent)
            shown = f"{statistics.median(ratios):.3f}"
            click.echo(f"{measure:20} {alone:12.2f} {every:12.2f} {shown:>8}  ({ratios[0]:.3f} to {ratios[-1]:.3f})")


if __name__ == "__main__":
    main()
