"""Criteria that take the place of others: what may not step back, because nothing as strict would stand in its place.

While a criterion is in force, the one that it `replaces` steps back, whatever either condition says. So the newer one
stands for every option of the older one, speaks nowhere without it, and has the same effect or a stricter one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.compiler.levels import LEVEL_OF_EFFECT, LEVELS, level_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from engine.errors import Diagnostic
    from engine.pack.book import Located, Pack
    from engine.pack.model import Criterion

_HAZARDS = frozenset({*LEVEL_OF_EFFECT, "excludes"}) - {"requires"}
"""Effects that act when the condition is met, and so can be held against each other; `requires` acts while unknown."""
_KEY = ("replaces",)


def wrongly_replaced(
    criteria: Mapping[str, Criterion],
    packs: Iterable[Pack],
    every_pack: Iterable[Pack],
    triage_levels: Sequence[str],
) -> Iterator[Diagnostic]:
    """Find each `replaces` that would leave less than it takes away.

    Local packs are passed over: they may replace nothing at all.

    Args:
        criteria: those that speak in one jurisdiction, by id.
        packs: the packs that answer there.
        every_pack: all packs, those of other jurisdictions too; a name that none of them has is told elsewhere.
        triage_levels: from none to worst.

    """
    for pack in packs:
        for name in pack.criteria if not pack.header.tightens else ():
            criterion = criteria.get(name)
            if criterion is not None and criterion.replaces:
                yield from _faults(criterion, criteria, pack.located["criterion", name], every_pack, triage_levels)


def _faults(
    criterion: Criterion,
    criteria: Mapping[str, Criterion],
    located: Located,
    every_pack: Iterable[Pack],
    triage_levels: Sequence[str],
) -> Iterator[Diagnostic]:
    name, older = criterion.id, criteria.get(criterion.replaces)
    ring = _ring(name, criteria)
    if ring:
        message = f"`{name}` replaces itself" + (f": {' → '.join((*ring, name))}" if len(ring) > 1 else "")
        yield located.fault("pack/replaces", f"{message}, so it would never act", "replace an older criterion", _KEY)
        return
    if older is None:
        if any(criterion.replaces in p.criteria for p in every_pack):
            message = f"`{criterion.replaces}` does not speak everywhere that `{name}` would replace it"
            hint = f"name only jurisdictions of `{criterion.replaces}` under `jurisdictions`"
            yield located.fault("pack/replaces", message, hint, _KEY)
        return
    left = [option for option in older.options if option not in criterion.options]
    if left:
        message = f"`{older.id}` would step back for {', '.join(left)} too, and `{name}` says nothing about that"
        yield located.fault("pack/replaces", message, "name every option of the criterion that is replaced", _KEY)
    if _is_weaker(criterion, older, triage_levels):
        message = f"`{name}` {_effect(criterion)}, and `{older.id}`, which would step back, {_effect(older)}"
        hint = "replace a criterion by one with the same effect, or a stricter one; else end it with `until`"
        yield located.fault("pack/replaces", message, hint, _KEY)


def _ring(name: str, criteria: Mapping[str, Criterion]) -> list[str]:
    """Give the criteria that replace each other in a ring, from `name` on; empty if it stands in none."""
    passed: list[str] = []
    current = name
    while current in criteria and current not in passed:
        passed.append(current)
        current = criteria[current].replaces
    return passed if current == name else []


def _is_weaker(criterion: Criterion, older: Criterion, triage_levels: Sequence[str]) -> bool:
    if {criterion.effect, older.effect} <= _HAZARDS:
        return LEVELS.index(level_of(criterion) or "") > LEVELS.index(level_of(older) or "")
    if criterion.effect == "triages" == older.effect and {criterion.level, older.level} <= set(triage_levels):
        return triage_levels.index(criterion.level) < triage_levels.index(older.level)
    return criterion.effect != older.effect


def _effect(criterion: Criterion) -> str:
    return f"{criterion.effect} ({criterion.level})" if criterion.level else criterion.effect
