"""The sentences of an answer, made from the rules' own templates and the patient's own values.

Text never tells the clinician what to do; it says what the criteria say. Clinical wording lives in the rules; the
sentences here only join, count and name.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from engine.compiler import form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from engine.evaluator.decision import FactRead

DISCLAIMER = (
    "Decision support for a licensed clinician, who can review the basis of each statement; it does not diagnose, "
    "prescribe or decide. The rules have not been confirmed by a psychiatrist."
)
NO_COPY = "No copy of this payer's policy speaks here."
"""What is said where a payer was asked for whose rules no pack holds."""

_STATUS: Mapping[str, str] = {
    "eligible": "The criteria are met and no barrier was found.",
    "eligible_with_precautions": "The criteria are met; there is something to weigh or to watch.",
    "deferred": "Not now: another step comes first, or a barrier is expected to pass.",
    "insufficient_data": "Not decided: something that decides is not known.",
    "not_indicated": "The criteria for offering it are not met.",
    "not_recommended": "A hazard speaks against it.",
    "contraindicated": "A contraindication is present.",
}
_PLACEHOLDER = re.compile(r"\{(\$?[a-z][A-Za-z0-9_]*)\}")


def summary(status: str, missing: int) -> str:
    """Give one sentence for a status, and how many missing facts could still change it."""
    text = _STATUS[status]
    if not missing:
        return text
    facts = "One missing fact" if missing == 1 else f"{missing} missing facts"
    return f"{text} {facts} could still change this."


@lru_cache(maxsize=4096)
def pieces(template: str) -> tuple[tuple[str, str], ...]:
    """Split a template into pairs of text and the name that follows it (empty after the last text)."""
    split = [*_PLACEHOLDER.split(" ".join(template.split())), ""]
    return tuple(zip(split[::2], split[1::2], strict=True))


def fill(template: str, words_of: Callable[[str], str]) -> str:
    """Put values into a template: `{name}` becomes what `words_of` gives for it. The first letter becomes a capital."""
    text = "".join(text + (words_of(name) if name else "") for text, name in pieces(template))
    return text[:1].upper() + text[1:]


def join(words: Iterable[str]) -> str:
    """Join words as a sentence does: `a`, `a and b`, `a, b and c`."""
    items = list(dict.fromkeys(words))
    if len(items) <= 1:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def recorded(facts: Iterable[FactRead]) -> str:
    """Say what is recorded of facts; empty where nothing is."""
    named = "; ".join(f"{f.label}{f' ({f.date})' if f.date else ''}: {f.value}" for f in facts if f.value is not None)
    return f" Recorded: {named}." if named else ""


def unknown(labels: Iterable[str]) -> str:
    """Say what is not known."""
    named = join(labels)
    return f"Not known: {named}." if named else "Not known from what is recorded."


def not_met(parts: Iterable[tuple[str, str]]) -> str:
    """Say which parts of a condition do not hold: pairs of label and value."""
    named = "; ".join(f"{label}: {value}" for label, value in dict.fromkeys(parts))
    return f"Does not apply ({named})." if named else "Does not apply."


def count_in_words(interval: tuple[int, int]) -> str:
    """Say an interval of counts."""
    low, high = interval
    if high >= form.OPEN:
        return f"at least {low}"
    return str(low) if low == high else f"{low} to {high}"
