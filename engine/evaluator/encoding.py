"""Canonical bytes of what an evaluation read and answered: what a log keeps, and what a replay compares.

The decision and its explanation are two encodings. The decision holds of each criterion only its id, truth and side,
and of what a payer's criteria rest on only fact and state, so another wording is a difference of the explanation
alone. All bytes are those of `engine.canonical.encode`.
"""

from __future__ import annotations

import json
import unicodedata
from datetime import date
from decimal import Decimal
from functools import lru_cache
from json.encoder import encode_basestring as quote
from typing import TYPE_CHECKING, Any

from engine import canonical
from engine.facts import Observed, PatientFacts, TrialRecord, Unusable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from engine.dictionary import FactDefinition, Typed
    from engine.evaluator.decision import Citation, CriterionFinding, Decision, FactRead


def encode_decision(decision: Decision) -> bytes:
    """Encode a decision.

    Of each option, of triage and of coverage its criteria are triples of id, truth and side; of coverage its
    documentation is pairs of fact and state.
    """
    kept = canonical.fields_of(decision)
    kept["options"] = [_outlined(option, option.criteria) for option in decision.options]
    kept["triage"] = _outlined(decision.triage, decision.triage.criteria)
    if decision.coverage is not None:
        kept["coverage"] = {
            **_outlined(decision.coverage, decision.coverage.criteria),
            "documentation": [(item.fact, item.state) for item in decision.coverage.documentation],
        }
    return canonical.encode_typed(kept)


def encode_explanation(decision: Decision) -> bytes:
    """Encode the argument: every finding of every option, of triage and of coverage, with its words.

    Where a payer was asked for, what its criteria rest on stands beside them, whole.
    Written out by hand: options share findings and findings share facts, and each is put into words once.
    """
    made: dict[int, str] = {}

    def listed(findings: Iterable[CriterionFinding]) -> str:
        texts = []
        for finding in findings:
            text = made.get(id(finding))
            if text is None:
                text = made[id(finding)] = _finding(finding, made)
            texts.append(text)
        return f"[{','.join(texts)}]"

    options = sorted(decision.options, key=lambda option: option.option)
    kept: dict[str, object] = {
        "coverage": decision.coverage.criteria if decision.coverage else (),
        "options": {option.option: option.criteria for option in options},
        "triage": decision.triage.criteria,
    }
    documentation = ""
    if decision.coverage is not None:
        kept["documentation"] = decision.coverage.documentation
        documentation = f'"documentation":{canonical.encode_typed(decision.coverage.documentation).decode()},'
    text = (
        f'{{"coverage":{listed(decision.coverage.criteria if decision.coverage else ())},{documentation}'
        f'"options":{{{",".join(f"{quote(o.option)}:{listed(o.criteria)}" for o in options)}}},'
        f'"triage":{listed(decision.triage.criteria)}}}'
    )
    return text.encode() if unicodedata.is_normalized("NFC", text) else canonical.encode(kept)


def encode_facts(facts: PatientFacts, definitions: Mapping[str, FactDefinition]) -> bytes:
    """Encode what was read of a patient: everything but the caller's own paths to it. Decimals are text.

    `definitions` is the data dictionary that the facts were read with, by name: it says where the points stand.
    """
    fields = {name: {field.id: field for field in definitions[name].fields} for name in facts.records}
    return canonical.encode_typed(
        {
            "as_of": facts.as_of.isoformat(),
            "known": _observed(facts.known, definitions),
            "records": {
                name: [
                    {
                        "values": {f: _plain(v, fields[name][f]) for f, v in r.values.items()},
                        "has_future_date": r.has_future_date,
                        **({"source": r.source} if r.source else {}),
                    }
                    for r in records
                ]
                for name, records in facts.records.items()
            },
            "unusable": [[u.fact, u.path, u.reason] for u in facts.unusable],
            **({"stale": _observed(facts.stale, definitions)} if facts.stale else {}),
        }
    )


def _observed(
    observed: Mapping[str, Observed], definitions: Mapping[str, FactDefinition]
) -> dict[str, dict[str, object]]:
    return {
        name: {
            "value": _plain(seen.value, definitions[name]),
            "date": seen.observed_on.isoformat() if seen.observed_on else None,
            "source": seen.source,
        }
        for name, seen in observed.items()
    }


def decode_facts(data: bytes, definitions: Mapping[str, FactDefinition]) -> PatientFacts:
    """Read back what `encode_facts` wrote; paths of known facts are empty.

    Args:
        data: canonical bytes.
        definitions: the data dictionary that the facts were read with, by name.

    Raises:
        ValueError: they are not what `encode_facts` gives for facts of this dictionary.

    """
    try:
        facts = _facts_of(json.loads(data), definitions)
        is_canonical = encode_facts(facts, definitions) == data
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError):
        is_canonical = False
    if not is_canonical:
        message = "these are not the canonical bytes of facts of this dictionary"
        raise ValueError(message)
    return facts


def _outlined(answer: object, criteria: Iterable[CriterionFinding]) -> dict[str, object]:
    return {**canonical.fields_of(answer), "criteria": [(c.id, c.truth, c.side) for c in criteria]}


def _finding(finding: CriterionFinding, made: dict[int, str]) -> str:
    facts = []
    for fact in finding.facts:
        text = made.get(id(fact))
        if text is None:
            text = made[id(fact)] = _fact_read(fact)
        facts.append(text)
    return (
        f'{{"because":{quote(finding.because)},"confirmed":{quote(finding.confirmed)},'
        f'"contested":{quote(finding.contested)},"effect":{quote(finding.effect)},"facts":[{",".join(facts)}],'
        f'"id":{quote(finding.id)},"is_reported":{_truth(finding.is_reported)},"note":{quote(finding.note)},'
        f'"references":{_references(finding.references)},"side":{quote(finding.side)},'
        f'"strength":{quote(finding.strength)},"title":{quote(finding.title)},"truth":{quote(finding.truth)},'
        f'"visit_level":{_truth(finding.visit_level)}}}'
    )


def _fact_read(fact: FactRead) -> str:
    return (
        f'{{"date":{quote(fact.date)},"fact":{quote(fact.fact)},"label":{quote(fact.label)},"path":{quote(fact.path)},'
        f'"source":{quote(fact.source)},"value":{"null" if fact.value is None else quote(fact.value)}}}'
    )


@lru_cache(maxsize=8192)
def _references(references: tuple[Citation, ...]) -> str:
    """Sources come from the rules and are the same for everyone."""
    return f"[{','.join(map(_citation, references))}]"


def _citation(citation: Citation) -> str:
    return (
        f'{{"section":{quote(citation.section)},"source":{quote(citation.source)},'
        f'"supports":{quote(citation.supports)},"title":{quote(citation.title)}}}'
    )


def _truth(value: bool) -> str:  # noqa: FBT001 - it is written, not switched on
    return "true" if value else "false"


def _plain(value: Typed, definition: FactDefinition) -> object:
    match value:
        case date():
            return value.isoformat()
        case tuple():
            return list(value)
        case int() if definition.type == "decimal":
            return f"{Decimal(value).scaleb(-definition.scale).normalize():f}"
    return value


def _facts_of(data: Any, definitions: Mapping[str, FactDefinition]) -> PatientFacts:  # noqa: ANN401 - JSON from outside
    known, stale = (
        {
            name: Observed(
                _typed(seen["value"], definitions[name]),
                "",
                date.fromisoformat(seen["date"]) if seen["date"] is not None else None,
                seen["source"],
            )
            for name, seen in observed.items()
        }
        for observed in (data["known"], data.get("stale", {}))
    )
    records = {}
    for name, items in data["records"].items():
        fields = {field.id: field for field in definitions[name].fields}
        records[name] = tuple(
            TrialRecord(
                {field: _typed(value, fields[field]) for field, value in item["values"].items()},
                "",
                item["has_future_date"],
                item.get("source", ""),
            )
            for item in items
        )
    unusable = tuple(Unusable(fact, path, reason) for fact, path, reason in data["unusable"])
    return PatientFacts(date.fromisoformat(data["as_of"]), known, records, unusable, stale)


def _typed(value: Typed | list[str], definition: FactDefinition) -> Typed:
    match definition.type:
        case "date" if isinstance(value, str):
            return date.fromisoformat(value)
        case "set" if isinstance(value, list):
            return tuple(value)
        case "bool" if isinstance(value, bool):
            return value
        case "int" if isinstance(value, int) and not isinstance(value, bool):
            return value
        case "decimal" if isinstance(value, str):
            scaled = definition.scaled(Decimal(value))
            if scaled is not None:
                return scaled
        case "enum" | "code" if isinstance(value, str):
            return value
    message = "a value is not of its fact's type"
    raise TypeError(message)
