"""What was measured, for people: tables on the terminal, RESULTS.md for the README, results.json for machines."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.contenders import EXPLAINED
from benchmarks.measure import COMPARABLE, WHOLE, Figure
from benchmarks.wire import CALLERS, NO_OP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.wire import Wire

FOLDER = Path(__file__).parent
_LIKE_ZERO = 10
_METHOD = (
    "Microseconds of CPU time for one decision, single thread, everybody in turn: the median of {report.rounds} rounds "
    "over {report.patients} made-up patients, with the fastest and the slowest round."
)
_WHOLE = (
    "All that is answered for the US: three options, triage, referrals, dosing, monitoring, and what is missing; "
    "patients of whom up to eight facts are missing."
)
_COMPARABLE = (
    "{report.rules} criteria for three options as {report.conditions} comparisons over flat, fully known facts. Only "
    "engines that decide every patient as we do are timed. Ours also counts the antidepressant trials and keeps "
    "unknown apart; the others get the counts as plain numbers and cannot say unknown. Reading the facts is timed only "
    "where this engine explains."
)
_MISSING = (
    "The rule: an adult with the right diagnosis, not pregnant, without an aneurysm, is eligible. "
    "tests/conformance/test_rivals_missing_fact.py asserts each answer."
)


@dataclass(frozen=True)
class Report:
    """Everything that one run found out. `notes` say who agreed and who was left out."""

    command: str
    rounds: int
    patients: int
    rules: int
    conditions: int
    figures: tuple[Figure, ...]
    missing: tuple[tuple[str, str, str, str], ...]
    wire: Wire | None
    notes: tuple[str, ...]

    def group(self, name: str) -> list[Figure]:
        """Give the figures of one group, fastest first."""
        return sorted((f for f in self.figures if f.group == name), key=lambda f: f.median)

    def ratio(self, figure: Figure) -> str:
        """Say how a figure of the comparable rules relates to this engine with its explanation."""
        ours = next(f for f in self.figures if f.name == EXPLAINED)
        return f"{figure.median / ours.median:.2f}"


def machine() -> str:
    """Describe the machine without naming it."""
    parts = [
        f"{os.cpu_count()} cores ({platform.machine()})",
        f"Python {platform.python_version()}",
        f"durable-rules {version('durable-rules')}",
        f"grpcio {version('grpcio')}",
    ]
    return ", ".join(parts)


def micro(figure: float) -> str:
    """Write microseconds with as many digits as they are worth."""
    return f"{figure:.1f}" if figure < _LIKE_ZERO else f"{figure:,.0f}"


def show(report: Report) -> None:
    """Print the tables."""
    console = Console()
    for title, _, header, rows in _tables(report):
        table = Table(title=title)
        for position, name in enumerate(header):
            table.add_column(name, justify="left" if position == 0 else "right")
        for row in rows:
            table.add_row(*(cell.replace("**", "") for cell in row))
        console.print(table)


def write(report: Report) -> None:
    """Write results.json and RESULTS.md."""
    found = {**asdict(report), "machine": machine()}
    (FOLDER / "results.json").write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    parts = [
        "<!-- Written by `make bench`; edits are lost. -->",
        f"Measured by `{report.command}` on {machine()}. Not alone on it: trust ratios, not digits.",
        _METHOD.format(report=report),
    ]
    for title, below, header, rows in _tables(report):
        parts += [f"### {title}", below, _markdown(header, rows)]
    parts += ["Who was measured: " + "; ".join(report.notes) + "."]
    (FOLDER / "RESULTS.md").write_text("\n\n".join(p for p in parts if p) + "\n", encoding="utf-8")


Lines = list[tuple[str, ...]]


def _tables(report: Report) -> list[tuple[str, str, tuple[str, ...], Lines]]:
    tables: list[tuple[str, str, tuple[str, ...], Lines]] = [
        (
            "The whole decision",
            _WHOLE,
            ("this engine", "answers with", "µs", "rounds", "p99"),
            [(f.name, f.says_why, micro(f.median), _span(f), micro(f.p99)) for f in report.group(WHOLE)],
        ),
        (
            "The part that others can express",
            _COMPARABLE.format(report=report),
            ("engine", "answers with", "µs", "rounds", "times ours, explained"),
            [(_own(f.name), f.says_why, micro(f.median), _span(f), report.ratio(f)) for f in report.group(COMPARABLE)],
        ),
        (
            "One fact is missing",
            _MISSING,
            ("engine", "its idiom", "pregnancy missing", "aneurysm missing"),
            list(report.missing),
        ),
    ]
    if report.wire is not None:
        tables.append(_wire_table(report.wire))
    return tables


def _wire_table(wire: Wire) -> tuple[str, str, tuple[str, ...], Lines]:
    base = next(load for load in wire.loads if load.name == NO_OP)
    rows: Lines = []
    for load in wire.loads:
        start = wire.start_s.get(load.name)
        rows.append(
            (
                load.name,
                f"{load.per_second:,.0f}",
                f"{load.per_second / base.per_second:.0%}",
                f"{load.p50:.1f}",
                f"{load.p99:.1f}",
                "" if start is None else f"{start:.2f}",
            )
        )
    below = (
        f"Evaluate over gRPC on loopback, one server process, one client process (k6) with {CALLERS} callers; "
        f"{wire.request_bytes:,} bytes in, {wire.response_bytes:,} bytes out, also of the call that does nothing. "
        "Server and client share the cores."
    )
    header = ("server", "calls/s", "of a call that does nothing", "p50 ms", "p99 ms", "start to SERVING s")
    return "On the wire", below, header, rows


def _own(name: str) -> str:
    return f"**{name}**" if name.startswith("this engine") else name


def _span(figure: Figure) -> str:
    return f"{micro(figure.low)} to {micro(figure.high)}"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines)
