"""The one line of a card, below 140 characters, in our own words: never a text of the record."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from engine.dictionary import FactDefinition
    from engine.evaluator.decision import CriterionFinding, Decision, OptionAnswer
    from server.cds_hooks.words import Words

LONGEST = 139


def write_summary(
    answer: OptionAnswer, decision: Decision, words: Words, definitions: Mapping[str, FactDefinition]
) -> str:
    """Write option, authorization and status, then as many of its reasons, or of the questions to ask, as fit."""
    said = words.statuses[answer.status].words
    authorization = words.authorizations[answer.authorization]
    named = answer.title if authorization in answer.title else f"{answer.title} ({authorization})"
    opening = f"{named}: {said}"
    if answer.status == "insufficient_data":
        labels = [definitions[q.fact].label for q in decision.missing if q.fact in answer.missing]
        return _joined(f"{opening}. Ask first", labels)
    return _joined(opening, [finding.title for finding in deciding(answer)])


def deciding(answer: OptionAnswer) -> Iterator[CriterionFinding]:
    """Give the criteria that hold the status down."""
    held = set(answer.why_not)
    return (finding for finding in answer.criteria if finding.id in held)


def _joined(opening: str, items: Sequence[str]) -> str:
    """Write `opening: item; item; and N more.`, with the first items for which there is room, in their order."""
    shown: list[str] = []
    for item in items:
        if len(_sentence(opening, [*shown, item], len(items))) <= LONGEST:
            shown.append(item)
        elif shown:
            break
    text = _sentence(opening, shown, len(items)) if shown else f"{opening}."
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rstrip() + "…"


def _sentence(opening: str, shown: Sequence[str], total: int) -> str:
    rest = total - len(shown)
    return f"{opening}: {'; '.join(shown)}{f'; and {rest} more' if rest else ''}."
