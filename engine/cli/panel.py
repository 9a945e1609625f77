"""Many cases decided one after the other; one that cannot be decided never stops the others."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from engine.cli.case_file import Case, UnreadableCase, read_cases
from engine.cli.invocation import FAULT, GOOD, INTEGRITY, PROVISIONAL
from engine.errors import EnginesDisagree, EvaluationError, NoRulePackError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from engine.evaluator.agree import Evaluator
    from engine.evaluator.decision import Decision
    from engine.pack.book import RuleBook

T = TypeVar("T")

STANDARD_INPUT = "-"
_SUFFIXES = {".json", ".jsonl"}


@dataclass(frozen=True, slots=True)
class Decided:
    """A case and its decision."""

    case: Case
    decision: Decision

    @property
    def exit_code(self) -> int:
        """Whether the answer is final."""
        return PROVISIONAL if is_provisional(self.decision) else GOOD


@dataclass(frozen=True, slots=True)
class Undecided:
    """A case without a decision, and why. `case` is None if it could not be read."""

    file: str
    id: str
    reasons: tuple[str, ...]
    exit_code: int
    case: Case | None = None
    is_without_pack: bool = False

    def __str__(self) -> str:
        return "\n".join(f"{self.file}: case `{self.id}`: {reason}" for reason in self.reasons)


Outcome: TypeAlias = Decided | Undecided


def is_provisional(decision: Decision) -> bool:
    """Say whether a missing fact leaves triage, an option or coverage undecided."""
    answers = [option.status for option in decision.options]
    coverage = decision.coverage
    return decision.triage.provisional or "insufficient_data" in {*answers, coverage.status if coverage else ""}


def named(text: str) -> Path:
    """Give the path that an argument names.

    Raises:
        click.UsageError: it names none; taken as it stands, an empty text would be the working folder.

    """
    if not text:
        raise click.UsageError("a FILE is empty; `.` names the working folder, `-` reads standard input")
    return Path(text)


def expand(paths: Iterable[str]) -> list[str]:
    """Give the files that are meant: of a folder, its .json and .jsonl files by name.

    Raises:
        click.UsageError: a file does not exist or has no name, or a folder holds no case file.

    """
    files: list[str] = []
    for text in paths:
        path = named(text)
        if text == STANDARD_INPUT or (path.exists() and not path.is_dir()):
            files.append(text)
        elif path.is_dir():
            found = sorted(str(p) for p in path.iterdir() if p.suffix in _SUFFIXES)
            if not found:
                raise click.UsageError(f"folder `{text}` holds no .json or .jsonl file")
            files += found
        else:
            raise click.UsageError(f"file `{text}` does not exist; `-` reads standard input")
    return files


def decide(files: Iterable[str], evaluator: Evaluator, *, is_full: bool = False) -> Iterator[Outcome]:
    """Read cases and decide them, in their order.

    Args:
        files: paths, or `-` for standard input.
        evaluator: its rule book says how facts are read.
        is_full: explain every criterion in force.

    """
    for file, case in read_files(files, evaluator.rules):
        yield decide_case(file, case, evaluator, is_full=is_full)


def read_files(files: Iterable[str], book: RuleBook) -> Iterator[tuple[str, Case | UnreadableCase]]:
    """Read the cases of files, each with the name of its file; `-` is standard input."""
    for file in files:
        with ExitStack() as opened:
            stream = sys.stdin.buffer if file == STANDARD_INPUT else opened.enter_context(Path(file).open("rb"))
            for case in read_cases(stream, book):
                yield file, case


def decide_case(file: str, case: Case | UnreadableCase, evaluator: Evaluator, *, is_full: bool) -> Outcome:
    """Decide one case that was read from a file."""
    if isinstance(case, UnreadableCase):
        return unreadable(file, case)
    try:
        outcome = evaluator.evaluate(case.facts, case.jurisdiction, case.payer_id, case.as_of, is_full=is_full)
    except (NoRulePackError, EvaluationError) as error:
        return failed(file, case, error)
    return Decided(case, outcome.decision)


def unreadable(file: str, case: UnreadableCase) -> Undecided:
    """Say that a case could not be read."""
    reasons = tuple(f"{v.path}: {v.message}" if v.path else v.message for v in case.violations)
    return Undecided(file, case.id, reasons, FAULT)


def failed(file: str, case: Case, error: NoRulePackError | EvaluationError) -> Undecided:
    """Say that no decision was made of a case that could be read."""
    exit_code = INTEGRITY if isinstance(error, EnginesDisagree) else FAULT
    return Undecided(file, case.id, (str(error),), exit_code, case, is_without_pack=isinstance(error, NoRulePackError))


def watched(items: Iterable[T], what: str, *, total: int | None = None, is_printed: bool = False) -> Iterator[T]:
    """Pass items on and, on a terminal, count them as they come; `total` is how many there will be, if known.

    Where each is printed as it comes (`is_printed`) and the terminal shows that, nothing is counted.
    """
    console = Console(stderr=True)
    if not console.is_terminal or (is_printed and sys.stdout.isatty()):
        yield from items
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield from progress.track(items, description=what, total=total)
