"""What a reviewer of the rules has to know about unknowns: what is assumed, and which hazard stays unasked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.compiler import form
from engine.compiler.levels import LEVELS, level_of
from engine.compiler.packset import PackSet, in_force
from engine.evaluator.domain import ALWAYS_KNOWN
from engine.evaluator.support import Support

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from engine.pack.book import RuleBook

_BLOCKING = LEVELS[: LEVELS.index("insufficient_data")]
INDICATION = "indication"
"""Stands for an option's indications where they keep an unknown from passing."""


@dataclass(frozen=True, order=True)
class Assumption:
    """A concept that is never unknown: what holds when no source speaks, and where that is written."""

    file: str
    line: int
    concept: str
    default: str


@dataclass(frozen=True)
class Blocking:
    """A criterion that rules an option out, and what keeps it from staying unknown behind a positive answer.

    Attributes:
        option: the option.
        criterion: the criterion.
        covered_by: the `requires` criteria that withhold the answer while this one is unknown, `indication` where the
            option's indications do; empty if nothing does.
        unasked: the facts that may then stay unknown.

    """

    option: str
    criterion: str
    covered_by: tuple[str, ...]
    unasked: tuple[str, ...]


def assumptions(book: RuleBook) -> list[Assumption]:
    """List every `otherwise`."""
    found = []
    for pack in book.packs.values():
        for derived in pack.derived:
            if derived.otherwise is not None:
                located = pack.located["derived", derived.id]
                line, _ = located.source.place((*located.path, "otherwise"))
                default = str(derived.otherwise).lower() if isinstance(derived.otherwise, bool) else derived.otherwise
                found.append(Assumption(located.source.file, line, derived.id, default))
    return sorted(found)


def support_of(book: RuleBook, packs: PackSet) -> Support:
    """Give what decides the reach of the patient's nodes."""
    dates = [(node, fact) for node, (fact, _) in packs.dates.items()]
    return Support(packs.compiled.graph, book.facts, book.dictionary.constraints, dates)


def blocking(book: RuleBook, packs: PackSet, today: date) -> Iterator[Blocking]:
    """Give every blocking criterion in force on a day, with what covers it."""
    support = support_of(book, packs)
    fixed: dict[str, form.Value] = {in_force(n): p.holds(today) for n, p in packs.periods.items()}
    for option in packs.options:
        mine = {n: c for n, c in packs.criteria.items() if option.id in c.options and n in packs.nodes}
        asks = [n for n, c in mine.items() if c.effect == "requires"]
        for name, criterion in mine.items():
            if level_of(criterion) in _BLOCKING and fixed.get(in_force(name), True):
                covered = _covered_by(support, option.id, name, asks, fixed)
                unasked = () if covered else _unasked(support, name, asks, fixed)
                yield Blocking(option.id, name, covered, unasked)


def _covered_by(
    support: Support, option: str, name: str, asks: list[str], fixed: dict[str, form.Value]
) -> tuple[str, ...]:
    unknown = form.Is(name, truth=None)
    facts = set(support.facts(name))
    near = [a for a in asks if facts & set(support.facts(a))]
    groups = [(a,) for a in near] + ([tuple(near)] if len(near) > 1 else [])
    for group in groups:
        if support.can_hold(form.All((unknown, *(form.Is(a, truth=True) for a in group))), fixed) is False:
            return group
    is_indicated = form.AnyOf(tuple(form.Is(f"{kind}:{option}", truth=True) for kind in ("indicated", "prepared")))
    every = form.All((unknown, is_indicated, *(form.Is(a, truth=True) for a in near)))
    return (*near, INDICATION) if support.can_hold(every, fixed) is False else ()


def _unasked(support: Support, name: str, asks: list[str], fixed: dict[str, form.Value]) -> tuple[str, ...]:
    """Give facts that can all be unknown behind an answer, and without any of which the criterion would be known."""
    facts = [f for f in support.facts(name) if not f.startswith(ALWAYS_KNOWN)]
    behind = set(facts)
    asked = (form.Is(a, truth=True) for a in asks if behind & set(support.facts(a)))
    parts: list[form.Expression] = [form.Is(name, truth=None), *asked]
    unknown = []
    for fact in facts:
        known = form.Known(fact)
        if support.can_hold(form.All((*parts, known)), fixed) is False:
            unknown.append(fact)
        else:
            parts.append(known)
    return tuple(unknown)
