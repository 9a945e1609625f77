"""The whole check of a rules folder: everything that is wrong with it at once, and what its reviewers have to know."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from engine.compiler.stages import compile_packs
from engine.errors import Diagnostic, RulePackError
from engine.evaluator.audit import Assumption, Blocking, assumptions, blocking
from engine.evaluator.chain import Chain, Plan
from engine.evaluator.gaps import gaps, shown_by
from engine.evaluator.rehearse import Rehearsal
from engine.pack.cases import read_cases
from engine.pack.digest import read_lock
from engine.pack.lint import lint
from engine.pack.load import check_lock, read_rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date
    from pathlib import Path

    from engine.compiler.packset import PackSet
    from engine.pack.book import RuleBook
    from engine.pack.cases import Case

_STRUCTURE = frozenset({"pack/missing-file", "pack/unknown-pack", "pack/cycle"})
_FOLLOWS = frozenset(
    {
        "cases/no-pack", "cases/none", "cases/side", "cases/subject", "lint/no-pack", "lint/placeholder",
        "lint/referral-words", "lint/unknown-id", "pack/condition-too-deep", "pack/missing-file",
        "pack/missing-parameter", "pack/unknown-name",
    }
)  # fmt: skip
"""What may be wrong only because something else could not be read."""
_HARMLESS = frozenset({"pack/unknown-source"})
"""Faults of loading after which every item is there all the same."""


@dataclass
class Inspection:
    """What a check found.

    Attributes:
        book: the packs, as far as they could be read.
        faults: why the folder is refused; empty if it is not.
        warnings: what to look at.
        cases: how many cases stand beside the rules.
        assumptions: every `otherwise`.
        blocking: every criterion that rules an option out, by jurisdiction.
        plans: what the forward-chaining engine makes of each pack set, by jurisdiction and payer.

    """

    book: RuleBook | None = None
    faults: list[Diagnostic] = field(default_factory=list)
    warnings: list[Diagnostic] = field(default_factory=list)
    cases: int = 0
    assumptions: list[Assumption] = field(default_factory=list)
    blocking: dict[str, list[Blocking]] = field(default_factory=dict)
    plans: dict[tuple[str, str], Plan] = field(default_factory=dict)


def inspect_rules(rules: Path, today: date, overlays: Sequence[Path] = (), *, is_locked: bool = True) -> Inspection:
    """Check a rules folder.

    Names that lead nowhere are told only once every file can be read, since an item that cannot be read has no name.

    Args:
        rules: the folder.
        today: the day on which reviews are due and whose rules are laid out.
        overlays: folders of local packs, which may only tighten.
        is_locked: refuse an active pack whose content is not the one in packs.lock.

    """
    book, faults = read_rules(rules, overlays)
    result = Inspection(book)
    if book is not None:
        cases, case_faults = read_cases(rules, book, overlays)
        result.cases = len(cases)
        can_compile = not any(f.code in _STRUCTURE for f in faults)
        later = [*case_faults, *_checks(book, today, [] if case_faults else cases, result, can_compile=can_compile)]
        is_complete = all(f.code in _HARMLESS for f in faults)
        faults += [f for f in later if is_complete or f.code not in _FOLLOWS]
        if is_locked and not faults:
            try:
                faults += check_lock(book, read_lock(rules))
            except RulePackError as error:
                faults += error.diagnostics
    result.faults = sorted(set(faults))
    result.warnings = sorted(set(result.warnings))
    return result


def _checks(
    book: RuleBook, today: date, cases: Sequence[Case], result: Inspection, *, can_compile: bool
) -> list[Diagnostic]:
    found = lint(book, today)
    result.warnings = found.warnings
    result.assumptions = assumptions(book)
    faults = list(found.faults)
    if not book.jurisdictions:
        faults.append(Diagnostic(".", 1, 1, "lint/no-pack", "no active pack serves a jurisdiction"))
    if not can_compile:
        return faults
    sets = list(_compiled(book, today, faults))
    if any(f.code.startswith(("pack/", "local/")) for f in faults):
        return faults
    if cases:
        with Rehearsal(book, "interpret") as rehearsal:
            shown = shown_by(outcome for case in cases for outcome in rehearsal.run(case))
        faults += gaps(book, sets, shown)
    for packs in sets:
        if packs.payer_id is None:
            result.blocking[packs.jurisdiction] = list(blocking(book, packs, today))
        try:
            plan = _plan(compile_packs(book, packs.jurisdiction, packs.payer_id, today))
        except RulePackError as error:
            faults += (_located(f, packs) for f in error.diagnostics)
        else:
            result.plans[packs.jurisdiction, packs.payer_id or ""] = plan
    return faults


def _compiled(book: RuleBook, today: date, faults: list[Diagnostic]) -> Iterable[PackSet]:
    for jurisdiction, payer in book.pack_sets:
        try:
            yield compile_packs(book, jurisdiction, payer, today, is_whole=True)
        except RulePackError as error:
            faults += error.diagnostics


def _plan(packs: PackSet) -> Plan:
    chain = Chain(packs.compiled, 1, "check")
    try:
        return chain.plan
    finally:
        chain.close()


def _located(fault: Diagnostic, packs: PackSet) -> Diagnostic:
    """Give a fault about a node the place of the item from which the node comes."""
    name = fault.message.split("`")[1].split("?")[0]
    for pack in packs.packs:
        for (kind, key), located in pack.located.items():
            if name in {key, f"{kind}:{key}"}:
                line, column = located.source.place(located.path)
                return replace(fault, file=located.source.file, line=line, column=column)
    return replace(fault, file=packs.packs[-1].place.source.file, line=1, column=1)
