"""Strong three-valued logic: True, False, and None for unknown.

Source: Kleene 1952.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

Truth: TypeAlias = bool | None
TruthWord: TypeAlias = Literal["met", "not_met", "unknown"]


def negate(truth: Truth) -> Truth:
    """Turn true and false round; unknown stays unknown."""
    return None if truth is None else not truth


def conjoin(truths: Iterable[Truth]) -> Truth:
    """Give false if one is false, true if all are true, else unknown."""
    result: Truth = True
    for truth in truths:
        if truth is False:
            return False
        if truth is None:
            result = None
    return result


def disjoin(truths: Iterable[Truth]) -> Truth:
    """Give true if one is true, false if all are false, else unknown."""
    result: Truth = False
    for truth in truths:
        if truth is True:
            return True
        if truth is None:
            result = None
    return result


def at_least(n: int, truths: Iterable[Truth]) -> Truth:
    """Give true if `n` are true, false if fewer than `n` are true or unknown, else unknown."""
    sure = possible = 0
    for truth in truths:
        sure += truth is True
        possible += truth is not False
    if sure >= n:
        return True
    return False if possible < n else None


def word(truth: Truth) -> TruthWord:
    """Name a truth as the answers name it."""
    return "unknown" if truth is None else "met" if truth else "not_met"
