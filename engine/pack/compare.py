"""Two versions of the rules side by side: what came, what went, what changed, and what rests on a change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from engine.pack.mentions import conditions_of, mentions
from engine.pack.model import Criterion, Derived, Parameter, ReferralRule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.pack.book import RuleBook

Item: TypeAlias = Criterion | Derived | Parameter | ReferralRule

NO_OPTION: Mapping[str, str] = {"triages": "suicide triage", "discounts": "antidepressant trials"}
"""Under which heading criteria stand that belong to no option."""

_PARTS: Mapping[str, tuple[str, ...]] = {
    "condition": (
        "when", "unless", "needs", "given", "repeats", "prior_approval_if", "unknown_if", "first_known", "otherwise",
        "count", "where", "distinct", "of",
    ),
    "effect": (
        "effect", "level", "gives", "plan", "as_", "shown_if", "at", "beside", "option", "statuses", "kind", "urgency",
        "criteria", "before_status",
    ),
    "numbers": ("values", "unit"),
    "dates": ("effective", "effective_in", "still_valid_on"),
    "where it applies": ("options", "jurisdictions", "replaces"),
    "sources": ("references", "strength", "confirmed", "contested"),
    "words": ("title", "label", "explain", "explain_unknown", "note", "visit_level", "defined_by"),
}  # fmt: skip
_SHOWN = ("condition", "effect", "numbers", "dates", "where it applies")
"""Parts whose old and new text is shown: those that can change an answer."""


@dataclass(frozen=True)
class Change:
    """What happened to one item.

    Attributes:
        kind: `added`, `removed`, `changed`, or `affected` where only something that it rests on changed.
        name: its id.
        title: what it is about.
        parts: what changed, in words; for `affected` the names that changed.
        texts: old and new text of each part that can change an answer.

    """

    kind: str
    name: str
    title: str
    parts: tuple[str, ...] = ()
    texts: tuple[tuple[str, str, str], ...] = ()


def compare(old: RuleBook, new: RuleBook) -> dict[str, list[Change]]:
    """Give the changes from one book to another, by heading: each option, then what stands beside the options."""
    before, after = _items(old), _items(new)
    moved = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    rests_on = _rests_on(after, moved)
    result: dict[str, list[Change]] = {}
    for name in sorted(before.keys() | after.keys()):
        change = _change(name, before.get(name), after.get(name), rests_on.get(name, ()))
        if change is not None:
            for heading in _headings(after.get(name) or before[name]):
                result.setdefault(heading, []).append(change)
    return result


def _items(book: RuleBook) -> dict[str, Item]:
    """Every item by a name that is its own; a parameter's begins with `$`."""
    found: dict[str, Item] = {}
    for pack in book.packs.values():
        found |= pack.criteria
        found |= {d.id: d for d in pack.derived}
        found |= {f"${name}": p for name, p in pack.parameters.items()}
        found |= {r.id: r for r in pack.referrals}
    return found


def _rests_on(items: Mapping[str, Item], moved: set[str]) -> dict[str, tuple[str, ...]]:
    """For each item the changed names that it rests on, at any depth."""
    read = {n: mentions(i) & items.keys() for n, i in items.items() if not isinstance(i, Parameter)}
    reached: dict[str, set[str]] = {}

    def behind(name: str) -> set[str]:
        if name not in reached:
            reached[name] = set()
            for other in read.get(name, frozenset()):
                reached[name] |= behind(other) | ({other} & moved)
        return reached[name]

    return {name: tuple(sorted(behind(name))) for name in items}


def _change(name: str, old: Item | None, new: Item | None, behind: tuple[str, ...]) -> Change | None:
    if old is None or new is None:
        item = new if old is None else old
        return None if item is None else Change("added" if old is None else "removed", name, _title(item))
    if old == new:
        return Change("affected", name, _title(new), behind) if behind else None
    parts = [part for part, keys in _PARTS.items() if _picked(old, keys) != _picked(new, keys)]
    texts = ((part, _text(old, part), _text(new, part)) for part in parts if part in _SHOWN)
    return Change("changed", name, _title(new), tuple(parts), tuple(texts))


def _headings(item: Item) -> Iterator[str]:
    match item:
        case Criterion() if item.options:
            yield from item.options
        case Criterion():
            yield NO_OPTION.get(item.effect, "other criteria")
        case Derived():
            yield "derived facts"
        case Parameter():
            yield "numbers"
        case ReferralRule():
            yield "referrals"


def _title(item: Item) -> str:
    return item.title if isinstance(item, Criterion) else item.explain if isinstance(item, ReferralRule) else item.label


def _picked(item: Item, keys: tuple[str, ...]) -> list[object]:
    return [getattr(item, key) if key in type(item).model_fields else None for key in keys]


def _text(item: Item, part: str) -> str:
    if part == "condition" and not isinstance(item, Parameter):
        return "; ".join(map(flat, conditions_of(item))) or "none"
    values = item.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    keys = [key.rstrip("_") for key in _PARTS[part]]
    return "; ".join(f"{key} {flat(values[key])}" for key in keys if key in values) or "none"


def flat(part: object) -> str:
    """Write a condition, or any plain value, on one line."""
    match part:
        case {"at_least": {"n": n, "of": list(parts)}}:
            return f"at least {n} of ({'; '.join(map(flat, parts))})"
        case {"all": list(parts)}:
            return f"all of ({'; '.join(map(flat, parts))})"
        case {"any": list(parts)}:
            return f"any of ({'; '.join(map(flat, parts))})"
        case Mapping():
            return ", ".join(f"{key}: {flat(value)}" for key, value in part.items())
        case list() | tuple():
            return "; ".join(map(flat, part))
        case _:
            return str(part)
