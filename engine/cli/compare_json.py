"""A comparison as JSON: the shape and the order of keys that docs/compare-output.schema.json describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.compare.stretches import subjects_of

if TYPE_CHECKING:
    from engine.cli.output import JsonObject
    from engine.compare.comparison import Comparison
    from engine.compare.contrast import Contrast, Difference
    from engine.compare.stretches import Answer, Lane, Stretch


def comparison_to_json(comparison: Comparison, case_id: str) -> JsonObject:
    """Give a comparison as plain data, keys in the order in which a person reads them."""
    decision = comparison.lanes[0].cells[0].decision
    engines = decision.engines
    return {
        "id": case_id,
        "as_of": comparison.own_day.isoformat(),
        "payer_id": comparison.payer_id,
        "base": comparison.lanes[0].jurisdiction,
        "rules_of": [{"from": s.first.isoformat(), "to": s.last.isoformat()} for s in comparison.spans],
        "jurisdictions": [_lane(lane, comparison) for lane in comparison.lanes],
        "changes": [_change(contrast) for contrast in comparison.turns],
        "differences": [_difference(contrast) for contrast in comparison.contrasts],
        "engines": {"mode": engines.mode, "agree": engines.agree, "version": engines.version},
        "disclaimer": decision.disclaimer,
    }


def _lane(lane: Lane, comparison: Comparison) -> JsonObject:
    packs = lane.cells[0].decision.packs
    return {
        "jurisdiction": lane.jurisdiction,
        "packs": [{"id": p.id, "version": p.version, "digest": p.digest} for p in packs],
        "reviewed_on": lane.reviewed_on.isoformat(),
        "stretches": [_stretch(stretch, comparison) for stretch in lane.stretches()],
    }


def _stretch(stretch: Stretch, comparison: Comparison) -> JsonObject:
    answers = stretch.answers
    return {
        "from": stretch.span.first.isoformat(),
        "to": stretch.span.last.isoformat(),
        "is_own_day": stretch.span.holds(comparison.own_day),
        "answers": [_answer(subject, answers[subject]) for subject in subjects_of(stretch.cells)],
    }


def _answer(subject: str, answer: Answer) -> JsonObject:
    return {
        "subject": subject,
        "outcome": answer.outcome,
        "criteria": list(answer.criteria),
        "holding": [name for name in answer.criteria if name in answer.holding],
    }


def _change(contrast: Contrast) -> JsonObject:
    before, after = contrast.answers
    return {
        "jurisdiction": contrast.cells[0].jurisdiction,
        "day": contrast.span.first.isoformat(),
        "subject": contrast.subject,
        "before": before.outcome,
        "after": after.outcome,
        "criteria": [_criterion(contrast, d, ("before", "after")) for d in contrast.differences],
    }


def _difference(contrast: Contrast) -> JsonObject:
    names = contrast.cells[0].jurisdiction, contrast.cells[1].jurisdiction
    in_base, there = contrast.answers
    return {
        "base": names[0],
        "jurisdiction": names[1],
        "from": contrast.span.first.isoformat(),
        "to": contrast.span.last.isoformat(),
        "subject": contrast.subject,
        "in_base": in_base.outcome,
        "there": there.outcome,
        "criteria": [_criterion(contrast, d, names) for d in contrast.differences],
    }


def _criterion(contrast: Contrast, difference: Difference, places: tuple[str, str]) -> JsonObject:
    return {
        "id": difference.id,
        "title": difference.title,
        "decides": [places[place] for place in difference.decides],
        "holds_status": difference.is_holding,
        "because": difference.sentence,
        "reason": difference.reason,
        "why": contrast.why(difference),
        "truth_there": difference.truth,
        "because_there": difference.sentence_there,
        "rests_on": list(difference.through),
        "indications": [{"id": i.id, "title": i.title, "because": i.sentence} for i in difference.indications],
        "confirmed": difference.confirmed,
        "references": [
            {"source": r.source, "title": r.title, "section": r.section, "supports": r.supports}
            for r in difference.references
        ],
    }
