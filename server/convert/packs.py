"""Rule packs and criteria as messages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from engine.pack.model import JUDGES_COVERAGE
from server.convert.messages import enum_number
from server.pb.eligibility.v1 import explanation_pb2
from server.pb.eligibility.v1 import rule_pack_service_pb2 as packs_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    from engine.pack import model
    from engine.pack.book import Pack, RuleBook

_KINDS = packs_pb2.SourceAttributeKind
_PERSONAL: Mapping[int, tuple[str, ...]] = {
    _KINDS.SOURCE_ATTRIBUTE_KIND_RACE: ("race",),
    _KINDS.SOURCE_ATTRIBUTE_KIND_ETHNICITY: ("ethnicity",),
    _KINDS.SOURCE_ATTRIBUTE_KIND_LANGUAGE: ("language",),
    _KINDS.SOURCE_ATTRIBUTE_KIND_SEXUAL_ORIENTATION: ("sexual_orientation",),
    _KINDS.SOURCE_ATTRIBUTE_KIND_GENDER_IDENTITY: ("gender_identity",),
    _KINDS.SOURCE_ATTRIBUTE_KIND_SEX: ("sex_at_birth",),
    _KINDS.SOURCE_ATTRIBUTE_KIND_DATE_OF_BIRTH: ("age_years", "birth_date"),
    _KINDS.SOURCE_ATTRIBUTE_KIND_SOCIAL_DETERMINANTS: ("transport_arranged",),
}
"""Facts of the data dictionary that would be a use of each attribute."""

NOT_USED = "not used"


def write_pack(pack: Pack) -> packs_pb2.RulePack:
    """Describe a pack."""
    header = pack.header
    return packs_pb2.RulePack(
        id=pack.id,
        title=header.title,
        version=header.version,
        digest=pack.digest,
        status=packs_pb2.PackStatus.Value(f"PACK_STATUS_{header.status.upper()}"),
        serves=header.serves,
        payer_id=header.payer,
        standing=header.standing,
        tightens=header.tightens,
        jurisdictions=header.jurisdictions,
        extends=header.extends,
        effective_start=_day(header.effective_period.start),
        effective_end=_day(header.effective_period.end),
        approval_date=_day(header.approval_date),
        last_review_date=_day(header.last_review_date),
        review_interval_days=header.review_interval_days,
        authors=header.authors,
        reviewers=header.reviewers,
        funding=header.funding,
        limitations=header.limitations,
        criterion_count=len(pack.criteria),
        sources=[_source(key, reference) for key, reference in sorted(pack.references.items())],
    )


def write_criterion(book: RuleBook, pack: Pack, criterion: model.Criterion) -> packs_pb2.Criterion:
    """Describe a criterion as its author wrote it."""
    sources = {key: reference for other in book.packs.values() for key, reference in other.references.items()}
    return packs_pb2.Criterion(
        id=criterion.id,
        pack_id=pack.id,
        title=criterion.title,
        options=criterion.options,
        effect=explanation_pb2.Effect.ValueType(enum_number(explanation_pb2.Effect.DESCRIPTOR, criterion.effect)),
        condition=_condition(criterion.when if criterion.when is not None else criterion.given),
        exception=_condition(criterion.unless),
        explanation=criterion.explain,
        references=[_citation(citation, sources) for citation in criterion.references],
        effective_from=_day(criterion.effective.from_),
        effective_until=_day(criterion.effective.until),
        strength=criterion.strength,
        confirmed=criterion.confirmed,
        contested=criterion.contested,
        note=criterion.note,
        needs=criterion.needs,
        jurisdictions=criterion.jurisdictions,
        effective_in=[
            packs_pb2.JurisdictionDates(
                jurisdiction=name, effective_from=_day(period.from_), effective_until=_day(period.until)
            )
            for name, period in criterion.effective_in.items()
        ],
        replaces=criterion.replaces,
        explanation_unknown=criterion.explain_unknown,
        visit_level=(
            explanation_pb2.BARRIER_SCOPE_VISIT if criterion.visit_level else explanation_pb2.BARRIER_SCOPE_PATIENT
        ),
        coverage_order=_order(criterion),
    )


def source_attributes(book: RuleBook, pack: Pack) -> Iterator[packs_pb2.SourceAttribute]:
    """Give the 13 source attributes of a pack.

    Source: 45 CFR 170.315(b)(11)(iv)(A).
    """
    header = pack.header
    statements: dict[int, str] = {
        _KINDS.SOURCE_ATTRIBUTE_KIND_CITATION: "; ".join(
            ", ".join(filter(None, (r.title, r.publisher, r.date, r.identifier)))
            for _, r in sorted(pack.references.items())
        ),
        _KINDS.SOURCE_ATTRIBUTE_KIND_DEVELOPER: "; ".join(header.authors),
        _KINDS.SOURCE_ATTRIBUTE_KIND_FUNDING: header.funding,
        _KINDS.SOURCE_ATTRIBUTE_KIND_DATES: (
            f"version {header.version}, effective {_day(header.effective_period.start)}, "
            f"approved {_day(header.approval_date) or 'not yet'}, last reviewed {_day(header.last_review_date)}"
        ),
        _KINDS.SOURCE_ATTRIBUTE_KIND_HEALTH_ASSESSMENTS: _use(_assessments(book)),
    }
    for kind, names in _PERSONAL.items():
        statements[kind] = _use([name for name in names if name in book.facts])
    for number in sorted(statements):
        yield packs_pb2.SourceAttribute(kind=_KINDS.ValueType(number), statement=statements[number])


def _order(criterion: model.Criterion) -> packs_pb2.CoverageOrder.ValueType:
    if criterion.effect not in JUDGES_COVERAGE:
        return packs_pb2.COVERAGE_ORDER_UNSPECIFIED
    is_before = criterion.before_status or criterion.effect == "asks_approval"
    return packs_pb2.COVERAGE_ORDER_BEFORE_STATUS if is_before else packs_pb2.COVERAGE_ORDER_AFTER_STATUS


def _assessments(book: RuleBook) -> list[str]:
    return [f.id for f in book.dictionary.facts if f.type == "int" and not f.unit]


def _use(names: list[str]) -> str:
    return f"used: {', '.join(names)}" if names else NOT_USED


def _source(key: str, reference: model.Reference) -> packs_pb2.Source:
    return packs_pb2.Source(
        key=key,
        title=reference.title,
        publisher=reference.publisher,
        date=reference.date,
        identifier=reference.identifier,
        status=reference.status,
        grade=reference.grade,
        replaces=reference.replaces,
    )


def _citation(citation: model.Citation, sources: Mapping[str, model.Reference]) -> explanation_pb2.Citation:
    title = sources[citation.source].title if citation.source in sources else ""
    return explanation_pb2.Citation(
        source=citation.source, title=title, section=citation.section, supports=citation.supports
    )


def _condition(condition: object) -> str:
    if condition is None:
        return ""
    return condition if isinstance(condition, str) else json.dumps(condition, ensure_ascii=False, default=str)


def _day(day: date | None) -> str:
    return "" if day is None else day.isoformat()
