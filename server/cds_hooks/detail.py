"""The detail of a card, in Markdown: what was read, what is missing, what else was computed, most decisive first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.cds_hooks.markdown import escaped, listed, paragraphs, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from engine.dictionary import FactDefinition
    from engine.evaluator.decision import CriterionFinding, Decision, FactRead, OptionAnswer
    from server.cds_hooks.desk import Shown
    from server.cds_hooks.words import Words

MOST_ROWS = 8
MOST_FACTS = 4
_SIDES = {"against": 0, "cautioning": 1, "unresolved": 2, "for": 3}
_GO_AHEAD = frozenset({"eligible", "eligible_with_precautions"})
_SHOWN = {"plan": "Plan", "dosing": "Dosing", "monitoring": "Monitoring and warnings"}


@dataclass(frozen=True, slots=True)
class Came:
    """What of a call could not be looked at.

    `absent` are the keys of the prefetch templates whose data neither came nor could be read; `has_untold_draft` says
    that a draft beside those answered names a drug that cannot be told.
    """

    absent: tuple[str, ...]
    has_untold_draft: bool


def write_detail(
    answer: OptionAnswer,
    shown: Shown,
    came: Came,
    words: Words,
    definitions: Mapping[str, FactDefinition],
) -> str:
    """Write the detail about one option.

    Args:
        answer: the option.
        shown: the decision.
        came: what of the call could not be looked at.
        words: what the face says.
        definitions: the data dictionary, by name.

    """
    decision = shown.decision
    criteria, questions = _criteria(answer), _questions(answer, decision, definitions)
    said = [
        _could_be(answer, words),
        *((questions, criteria) if answer.status == "insufficient_data" else (criteria, questions)),
        _others(answer, decision, words),
        *(_lines(heading, getattr(answer, place)) for place, heading in _SHOWN.items() if answer.status in _GO_AHEAD),
        _referrals(decision),
        _unusable(decision),
        _candidates(shown, definitions),
        _incomplete(shown, came),
        "Another draft names a drug that cannot be told from what came." if came.has_untold_draft else "",
        _change(decision, words),
    ]
    return paragraphs([*said, _foot(decision, words)])


def write_emergency(shown: Shown, words: Words) -> str:
    """Write the detail of the emergency card: which criteria read what."""
    decision = shown.decision
    held = [finding for finding in decision.triage.criteria if finding.truth == "met"]
    read = table(["criterion", "read"], ([_named(finding), _facts(finding.facts)] for finding in held[:MOST_ROWS]))
    urgent = [escaped(f"{r.title}: {r.because}") for r in decision.referrals if _is_emergency(r.urgency, r.state)]
    return paragraphs([read, listed(urgent), escaped(words.emergency.detail), _foot(decision, words)])


def _could_be(answer: OptionAnswer, words: Words) -> str:
    others = [words.statuses[status].words for status in answer.could_be if status != answer.status]
    return f"Could still become: {escaped(', '.join(others))}." if others else ""


def _criteria(answer: OptionAnswer) -> str:
    held = set(answer.why_not)
    told = [f for f in answer.criteria if f.side in _SIDES and (f.is_reported or f.id in held)]
    told.sort(key=lambda f: (f.id not in held, _SIDES[f.side]))
    rows = ([_named(f), _facts(f.facts), f"**{_truth(f)}**" if f.id in held else _truth(f)] for f in told[:MOST_ROWS])
    return paragraphs([table(["criterion", "read", "truth"], rows), _more(len(told))])


def _questions(answer: OptionAnswer, decision: Decision, definitions: Mapping[str, FactDefinition]) -> str:
    asked = [q for q in decision.missing if q.fact in answer.missing]
    rows = (
        [escaped(definitions[q.fact].label if q.fact in definitions else q.fact), escaped(q.question)]
        for q in asked[:MOST_ROWS]
    )
    return paragraphs([table(["missing, most decisive first", "ask"], rows), _more(len(asked))])


def _lines(heading: str, items: Sequence[object]) -> str:
    texts = [_shown(item) for item in items[:MOST_ROWS]]
    return f"**{heading}**\n\n{listed(texts)}" if texts else ""


def _shown(item: object) -> str:
    text, confirmed = str(getattr(item, "text", "")), getattr(item, "confirmed", "")
    return escaped(text) + (" (unconfirmed)" if confirmed == "unconfirmed" else "")


def _referrals(decision: Decision) -> str:
    named = [f"{r.title} ({r.urgency.replace('_', ' ')})" for r in decision.referrals if r.state == "required"]
    return f"Referrals required: {escaped(', '.join(named))}." if named else ""


def _others(answer: OptionAnswer, decision: Decision, words: Words) -> str:
    by_name = {o.option: o for o in decision.options}
    ordered = [by_name[name] for name in decision.option_order if name in by_name]
    said = [f"{o.title}, {words.statuses[o.status].words}" for o in ordered if o.option != answer.option]
    return f"Also computed: {escaped('; '.join(said))}." if said else ""


def _unusable(decision: Decision) -> str:
    said = [f"{u.label}: {u.reason}" for u in decision.unusable[:MOST_ROWS]]
    return f"Unusable: {escaped('; '.join(said), 600)}." if said else ""


def _candidates(shown: Shown, definitions: Mapping[str, FactDefinition]) -> str:
    said = []
    for candidate in shown.reading.candidates[:MOST_ROWS]:
        definition = definitions.get(candidate.fact)
        label = definition.label if definition else candidate.fact
        said.append(f"{label}{_suggested(candidate.suggests, definition)} ({candidate.why})")
    return f"To confirm: {escaped('; '.join(said), 600)}." if said else ""


def _suggested(value: object, definition: FactDefinition | None) -> str:
    """Say what a value may be; nothing where the record suggests none."""
    text = str(value)
    return f" may be {definition.values.get(text, text) if definition else text}" if text else ""


def _incomplete(shown: Shown, came: Came) -> str:
    is_partial = any(issue.code == "fhir/history-incomplete" for issue in shown.reading.issues)
    if not came.absent and not is_partial:
        return ""
    named = f" (absent: {escaped(', '.join(came.absent))})" if came.absent else ""
    return f"The record came in part only{named}; what did not come is treated as unknown."


def _change(decision: Decision, words: Words) -> str:
    change = decision.changes_on
    if change is None:
        return ""
    cause = f" ({change.label})" if change.label else ""
    title = next((o.title for o in decision.options if o.option == change.option), change.option)
    return escaped(f"Changes by itself on {change.date}{cause}: {title}, {words.statuses[change.to].words}.")


def _foot(decision: Decision, words: Words) -> str:
    packs = ", ".join(f"{pack.id} {pack.version}" for pack in decision.packs)
    return (
        f"{escaped(words.closing)} {escaped(decision.disclaimer, 600)} As of {decision.as_of}, rules {escaped(packs)}."
    )


def _named(finding: CriterionFinding) -> str:
    mark = ", unconfirmed" if finding.confirmed == "unconfirmed" else ""
    return escaped(f"{finding.title} ({finding.id}{mark})")


def _truth(finding: CriterionFinding) -> str:
    if finding.side == "cautioning" and finding.truth == "met":
        return "precaution"
    return finding.truth.replace("_", " ")


def _facts(facts: Sequence[FactRead]) -> str:
    known = [fact for fact in facts if fact.value is not None]
    absent = [fact.label for fact in facts if fact.value is None]
    said = [*_read(known[:MOST_FACTS])]
    if absent:
        said.append(escaped(f"not known: {', '.join(absent[:MOST_FACTS])}"))
    return "; ".join(said) or "-"


def _read(facts: Iterable[FactRead]) -> Iterator[str]:
    for fact in facts:
        when = f", {fact.date}" if fact.date else ""
        yield escaped(f"{fact.label}: {fact.value}{when}", 160)


def _more(total: int) -> str:
    return f"And {total - MOST_ROWS} more on the linked page." if total > MOST_ROWS else ""


def _is_emergency(urgency: str, state: str) -> bool:
    return urgency == "emergency" and state == "required"
