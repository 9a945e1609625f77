"""Which names a criterion, derived fact or referral mentions, read from its conditions as they are written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from engine.pack.model import Criterion, Derived, ReferralRule

if TYPE_CHECKING:
    from collections.abc import Iterator

Item: TypeAlias = Criterion | Derived | ReferralRule

_NAME = re.compile(r"\$?[A-Za-z][A-Za-z0-9_]*(?:-[A-Z0-9]+)*")


def conditions_of(item: Item) -> list[object]:
    """Give the conditions, needs and sources of an item as they are written."""
    match item:
        case Criterion():
            parts: list[object] = [item.when, item.unless, item.given, list(item.needs), item.prior_approval_if]
        case Derived():
            contradiction = item.unknown_if.when if item.unknown_if else None
            parts = [item.when, item.unless, contradiction, list(item.first_known), item.where, item.distinct]
        case ReferralRule():
            parts = [item.when, item.unless]
    return [part for part in parts if part]


def mentions(item: Item) -> frozenset[str]:
    """Give every name in an item's conditions, values of enums included; a parameter's begins with `$`."""
    return frozenset(name for part in conditions_of(item) for text in _texts(part) for name in _NAME.findall(text))


def _texts(part: object) -> Iterator[str]:
    match part:
        case str():
            yield part
        case dict():
            for key, value in part.items():
                yield from _texts(key)
                yield from _texts(value)
        case list() | tuple():
            for value in part:
                yield from _texts(value)
        case _:
            return
