"""The cases beside the rules: which facts make a criterion, a derived fact or a referral what.

A case gives the facts it needs; everything else is missing. docs/rule-format.md, section 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from engine.errors import Diagnostic
from engine.names import nearest
from engine.pack import model
from engine.pack.book import Located, Pack, RuleBook
from engine.pack.load import validated
from engine.pack.source import read_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date
    from pathlib import Path

    from engine.pack.source import Path as Place
    from engine.pack.source import Source

Kind: TypeAlias = Literal["criterion", "derived", "referral"]

CASES = ".cases.yaml"
TRUTHS = ("met", "not_met", "unknown")


@dataclass(frozen=True)
class Case:
    """One patient and what must hold of one subject.

    Attributes:
        kind: what the subject is.
        subject: its id.
        expected: `met`, `not_met` or `unknown`; for concepts with values, the value as text.
        facts: what is known, as a caller would send it; of a subject about single records, the fields of one record.
        around: for such a subject, what is known of the whole patient.
        as_of: the day of the evaluation.
        payer_id: whose coverage rules, or None.
        jurisdictions: where alone it is run; empty for everywhere that the pack speaks.
        pack: the pack beside whose rules the case stands.
        located: where it stands.

    """

    kind: Kind
    subject: str
    expected: str
    facts: Mapping[str, Any]
    around: Mapping[str, Any]
    as_of: date
    payer_id: str | None
    jurisdictions: tuple[str, ...]
    pack: str
    located: Located


def read_cases(rules: Path, book: RuleBook, overlays: Iterable[Path] = ()) -> tuple[list[Case], list[Diagnostic]]:
    """Read every cases file of a rules folder and of local packs, by file, and list what is wrong with them."""
    cases: list[Case] = []
    faults: list[Diagnostic] = []
    folders = {pack.folder: pack for pack in book.packs.values()}
    named = [(path, path.relative_to(rules)) for path in sorted(rules.rglob(f"*{CASES}"))]
    named += [(path, path) for folder in overlays for path in sorted(folder.absolute().rglob(f"*{CASES}"))]
    for path, name in named:
        file = name.as_posix()
        pack = next((folders[str(p)] for p in name.parents if str(p) in folders), None)
        if pack is None:
            faults.append(Diagnostic(file, 1, 1, "cases/no-pack", "no pack.yaml stands in the folders above"))
            continue
        source = read_source(file, path.read_bytes().decode(errors="replace"))
        faults += source.faults
        for group, place, as_of in _groups(source, faults):
            cases += _cases(_Group(book, pack, Located(source, place), group, as_of), faults)
    return cases, faults


def subjects(book: RuleBook, pack: Pack) -> Mapping[Kind, frozenset[str]]:
    """Give the ids that a case beside a pack's rules may name."""
    family = book.family(pack)
    return {
        "criterion": frozenset(c for p in family for c in p.criteria),
        "derived": frozenset(d.id for p in family for d in p.derived),
        "referral": frozenset(f"{r.kind}/{r.urgency}" for p in family for r in p.referrals),
    }


@dataclass(frozen=True)
class _Group:
    book: RuleBook
    pack: Pack
    located: Located
    cases: model.CriterionCases
    as_of: date | None


def _groups(source: Source, faults: list[Diagnostic]) -> Iterator[tuple[model.CriterionCases, Place, date | None]]:
    as_of: date | None = None
    entries: object = source.data
    place: Place = ()
    if isinstance(source.data, dict):
        file = validated(model.CaseFile, source, (), source.data, faults)
        if file is None:
            return
        as_of, entries, place = file.as_of, source.data["cases"], ("cases",)
    if entries is None:
        return
    if not isinstance(entries, list):
        faults.append(source.fault(place, "pack/shape", "expected a list of cases: each begins with `- criterion: `"))
        return
    for position, entry in enumerate(entries):
        group = validated(model.CriterionCases, source, (*place, position), entry, faults)
        if group is not None:
            yield group, (*place, position), as_of


def _cases(group: _Group, faults: list[Diagnostic]) -> Iterator[Case]:
    given = group.cases
    every: list[tuple[Kind, str]] = [
        ("criterion", given.criterion),
        ("derived", given.derived),
        ("referral", given.referral),
    ]
    named = [(kind, name) for kind, name in every if name]
    fault = group.located.fault
    if len(named) != 1:
        message = "name one subject: `criterion`, `derived` or `referral`"
        faults.append(fault("cases/subject", message))
        return
    ((kind, subject),) = named
    known = subjects(group.book, group.pack)[kind]
    if subject not in known:
        message = f"`{subject}` is no {kind} of this pack{nearest(subject, known)}"
        faults.append(fault("cases/subject", message, "", (kind,)))
        return
    as_of = given.as_of or group.as_of
    if as_of is None:
        faults.append(fault("cases/no-date", f"the cases of `{subject}` lack a day", "add `as_of: 2025-06-02`"))
        return
    unserved = [j for j in given.jurisdictions if j not in group.book.jurisdictions]
    if unserved and group.pack.is_active:
        message = f"no active pack serves {', '.join(unserved)}"
        faults.append(fault("cases/subject", message, "", ("jurisdictions",)))
        return
    payer = given.payer_id or group.pack.header.payer or None
    faults += _value_faults(group, kind, subject)
    listed: list[tuple[str, tuple[Mapping[str, Any], ...], Place]] = [
        (truth, getattr(given, truth), (truth,)) for truth in TRUTHS
    ]
    listed += [(value, facts, ("value", value)) for value, facts in given.value.items()]
    for expected, entries, place in listed:
        for position, facts in enumerate(entries):
            where = Located(group.located.source, (*group.located.path, *place, position))
            yield Case(
                kind, subject, expected, facts, given.with_, as_of, payer, given.jurisdictions, group.pack.id, where
            )


def _value_faults(group: _Group, kind: Kind, subject: str) -> Iterator[Diagnostic]:
    given = group.cases
    derived = group.book.derived(subject) if kind == "derived" else None
    has_values = derived is not None and bool(derived.values or derived.count)
    fault = group.located.fault
    if has_values:
        for truth in ("met", "not_met"):
            if getattr(given, truth):
                message = f"`{subject}` is neither met nor not met; it has values"
                yield fault("cases/value", message, "write `value: {VALUE: [facts]}`", (truth,))
    elif given.value:
        message = f"`{subject}` has no values; it is met, not met or unknown"
        yield fault("cases/value", message, "write `met`, `not_met` and `unknown`", ("value",))
    if derived is not None and derived.values:
        for value in given.value:
            if value not in {*derived.values, "unknown"}:
                message = f"`{value}` is not a value of `{subject}`{nearest(value, derived.values)}"
                yield fault("cases/value", message, "", ("value", value))
