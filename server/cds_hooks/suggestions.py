"""Suggestions: measurements and questionnaires as draft requests, never a drug order."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.evaluator.decision import Decision, OptionAnswer
    from server.cds_hooks.hook import HookCall
    from server.cds_hooks.words import Measurement, Words


def suggestions(
    words: Words, answers: Sequence[OptionAnswer], decision: Decision, call: HookCall
) -> list[dict[str, object]]:
    """Suggest what settles a fact that is missing, or that a precaution of the visit read."""
    wanted = set(_unsettled(answers, decision))
    return [_suggestion(m, words.systems.loinc, call) for m in words.suggestions if wanted & set(m.facts)]


def _unsettled(answers: Sequence[OptionAnswer], decision: Decision) -> Iterator[str]:
    for answer in answers:
        yield from answer.missing
        for finding in answer.criteria:
            if finding.side == "cautioning" and finding.truth == "met" and finding.visit_level:
                yield from (fact.fact for fact in finding.facts)
    yield from (q.fact for q in decision.also_ask)


def _suggestion(measurement: Measurement, system: str, call: HookCall) -> dict[str, object]:
    resource: dict[str, object] = {
        "resourceType": "ServiceRequest",
        "status": "draft",
        "intent": "order",
        "code": {
            "coding": [{"system": system, "code": measurement.code, "display": measurement.display}],
            "text": measurement.display,
        },
        "subject": {"reference": f"Patient/{call.patient}"},
    }
    if "encounterId" in call.context:
        resource["encounter"] = {"reference": f"Encounter/{call.context['encounterId']}"}
    action = {"type": "create", "description": measurement.description, "resource": resource}
    return {"label": measurement.label, "actions": [action]}
