"""The decision as JSON: the shape and the order of keys that docs/case-output.schema.json describes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.evaluator.decision import (
        CoverageAnswer,
        CriterionFinding,
        Decision,
        DocumentationItem,
        FactRead,
        OptionAnswer,
        Question,
        ShownItem,
    )

JsonObject: TypeAlias = dict[str, object]


def decision_to_json(decision: Decision, case_id: str) -> JsonObject:
    """Give a decision as plain data, keys in the order in which a person reads them."""
    coverage, change = decision.coverage, decision.changes_on
    return {
        "id": case_id,
        "as_of": decision.as_of,
        "jurisdiction": decision.jurisdiction,
        "options": [_option(option) for option in decision.options],
        "triage": {
            "level": decision.triage.level,
            "provisional": decision.triage.provisional,
            "criteria": _criteria(decision.triage.criteria),
        },
        "referrals": [
            {"kind": r.kind, "urgency": r.urgency, "state": r.state, "criteria": list(r.criteria)}
            for r in decision.referrals
        ],
        "coverage": coverage and _coverage(coverage),
        "missing": _questions(decision.missing),
        "also_ask": _questions(decision.also_ask),
        "unusable": [{"fact": u.fact, "reason": u.reason} for u in decision.unusable],
        "changes_on": change and {"date": change.date, "fact": change.fact, "option": change.option, "to": change.to},
        "option_order": list(decision.option_order),
        "packs": [{"id": p.id, "version": p.version, "digest": p.digest} for p in decision.packs],
        "engines": {
            "mode": decision.engines.mode,
            "agree": decision.engines.agree,
            "version": decision.engines.version,
        },
    }


def as_line(value: JsonObject) -> str:
    """Write plain data as one line of JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _option(option: OptionAnswer) -> JsonObject:
    return {
        "option": option.option,
        "authorization": option.authorization,
        "status": option.status,
        "could_be": list(option.could_be),
        "criteria": _criteria(option.criteria),
        "missing": list(option.missing),
        "why_not": list(option.why_not),
        "plan": _items(option.plan),
        "dosing": _items(option.dosing),
        "monitoring": _items(option.monitoring),
        "notes": _items(option.notes),
    }


def _coverage(coverage: CoverageAnswer) -> JsonObject:
    return {
        "payer_id": coverage.payer_id,
        "status": coverage.status,
        "standing": coverage.standing,
        "criteria": _criteria(coverage.criteria),
        "notes": _items(coverage.notes),
        "dates": [
            {"criterion": d.criterion, "from": d.effective_from or None, "until": d.effective_until or None}
            for d in coverage.dates
        ],
        "documentation": [_documented(item) for item in coverage.documentation],
    }


def _documented(item: DocumentationItem) -> JsonObject:
    told = {
        "question": item.question,
        "reason": item.reason,
        "lacking": list(item.lacking),
        "path": item.path,
        "date": item.date,
        "source": item.source,
    }
    return {
        "fact": item.fact,
        "label": item.label,
        "criteria": list(item.criteria),
        "state": item.state,
        "value": item.value,
        **{key: value for key, value in told.items() if value},
    }


def _criteria(findings: Iterable[CriterionFinding]) -> list[JsonObject]:
    return [
        {
            "id": finding.id,
            "title": finding.title,
            "effect": finding.effect,
            "truth": finding.truth,
            "because": finding.because,
            "facts": [_fact(fact) for fact in finding.facts],
            "references": [
                {"source": r.source, "title": r.title, "section": r.section, "supports": r.supports}
                for r in finding.references
            ],
            "contested": finding.contested,
            "confirmed": finding.confirmed,
            "visit_level": finding.visit_level,
            "side": finding.side,
            "is_reported": finding.is_reported,
            "strength": finding.strength,
            "note": finding.note,
        }
        for finding in findings
    ]


def _fact(fact: FactRead) -> JsonObject:
    known = {"path": fact.path, "date": fact.date, "source": fact.source}
    return {"fact": fact.fact, "value": fact.value, **{key: value for key, value in known.items() if value}}


def _items(items: Iterable[ShownItem]) -> list[JsonObject]:
    return [{"id": item.id, "text": item.text, "confirmed": item.confirmed} for item in items]


def _questions(questions: Iterable[Question]) -> list[JsonObject]:
    return [{"fact": q.fact, "question": q.question, "for": list(q.purposes)} for q in questions]
