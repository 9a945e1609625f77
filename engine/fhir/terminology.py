"""Codes and what they say of facts: the tables under rules/reference/fhir, ready to be looked up."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from engine.errors import Diagnostic, RulePackError
from engine.fhir import shape, tables
from engine.fhir.drugs import Drugs, read_drug_tables
from engine.fhir.tables import read_table
from engine.names import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from engine.dictionary import FactDefinition

ISSUES = tuple(
    f"fhir/{name}"
    for name in (
        "malformed", "wrong-patient", "subject-unresolved", "outcome", "history-incomplete", "entered-in-error",
        "status-not-counted", "not-verified", "text-only", "needs-confirmation", "medication-unresolved",
        "dose-missing", "duration-missing", "score-not-whole", "score-out-of-range", "score-incomplete",
        "score-disagrees", "answer-conflict", "value-absent", "unit", "implausible", "conflict", "date-missing",
        "date-imprecise", "date-future", "deceased", "modifier-extension",
    )
)  # fmt: skip
"""The closed list of issue codes."""
REASONS = (
    "concern", "onset", "past", "refuted", "no_status", "when", "old", "undated", "superseded", "planned", "partial",
    "intolerance", "other_allergy", "mean", "too_old", "contradicted", "companion", "augmentation", "no_day",
    "numbered", "earlier", "other_code", "ended", "status_reason", "supply", "no_end", "lapsed",
)  # fmt: skip
POLICIES = ("ongoing", "refuted", "remission", "supply")

C = TypeVar("C", bound=tables.Coded)

_SPACES = re.compile(r"\s+")
_ANY, _SOME = "*", ".{0,60}?"
_LOOSE = re.compile(r"[\s.]+")


class Codes(Generic[C]):
    """Rows by code system and code; a row with `*` or `?` in its code stands for all codes of that form."""

    def __init__(self, rows: Iterable[C]) -> None:
        self.exact: dict[tuple[str, str], list[C]] = {}
        self.forms: dict[tuple[str, str], list[tuple[re.Pattern[str], C]]] = {}
        self.loose: dict[tuple[str, str], list[C]] = {}
        self.loose_forms: dict[tuple[str, str], list[tuple[re.Pattern[str], C]]] = {}
        for row in rows:
            if "*" in row.code or "?" in row.code:
                pattern = re.compile(fnmatch.translate(row.code))
                begins = (row.system, "" if row.code[0] in "*?" else row.code[0])
                self.forms.setdefault(begins, []).append((pattern, row))
                loose = re.compile(fnmatch.translate(_loose(row.code)))
                self.loose_forms.setdefault(begins, []).append((loose, row))
            elif row.code:
                self.exact.setdefault((row.system, row.code), []).append(row)
                self.loose.setdefault((row.system, _loose(row.code)), []).append(row)

    def find(self, coding: tuple[str, str]) -> list[C]:
        """Give the rows of a code."""
        return self.exact.get(coding, []) + _of_form(self.forms, coding)

    def find_loosely(self, coding: tuple[str, str]) -> list[C]:
        """Give the rows of a code, whatever its case, dots and spaces: such a code is not known to be meant."""
        loose = (coding[0], _loose(coding[1]))
        return self.loose.get(loose, []) + _of_form(self.loose_forms, loose)


def _of_form(forms: Mapping[tuple[str, str], Sequence[tuple[re.Pattern[str], C]]], coding: tuple[str, str]) -> list[C]:
    system, code = coding
    possible = (*forms.get((system, code[:1]), ()), *(forms.get((system, ""), ()) if code else ()))
    return [row for pattern, row in possible if pattern.match(code)]


def _loose(code: str) -> str:
    return _LOOSE.sub("", code).upper()


@dataclass(frozen=True)
class Terminology:
    """Everything coded that reading a record needs.

    `aging` says after how many days an answer, by fact and value, no longer speaks. `stated` are the facts and values
    that the tables name, with file and line, for `check`.
    """

    systems: Mapping[str, str]
    editions: tuple[tuple[re.Pattern[str], str], ...]
    units: Mapping[str, str]
    issues: Mapping[str, tables.IssueWords]
    reasons: Mapping[str, str]
    policy: Mapping[str, tables.PolicyNumber]
    patient: tuple[tables.PatientCode, ...]
    statuses: Mapping[tuple[str, str, str], str]
    conditions: Codes[tables.ConditionCode]
    phrases: tuple[tuple[re.Pattern[str], tables.Phrase], ...]
    any_phrase: re.Pattern[str]
    orders: Mapping[str, tuple[str, ...]]
    observations: Codes[tables.ObservationCode]
    panels: Codes[tables.PanelCode]
    answers: Codes[tables.AnswerCode]
    aging: Mapping[tuple[str, str], int]
    allergies: Codes[tables.AllergyCode]
    procedures: Codes[tables.ProcedureCode]
    drugs: Drugs
    classes: Codes[tables.MedicationCode]
    timing: Mapping[str, int]
    scales: Mapping[str, str]
    pressures: tuple[str, ...]
    forms: tables.Forms
    stated: tuple[tuple[str, int, str, str], ...]

    @staticmethod
    def of(reference_files: Mapping[str, bytes]) -> Terminology:
        """Make a terminology of the reference tables, by their paths inside rules/reference.

        Raises:
            RulePackError: every fault of every table, at its line.

        """
        terminology, faults = _read(reference_files)
        if terminology is None or faults:
            raise RulePackError(faults)
        return terminology

    def system(self, uri: object) -> str:
        """Give the short name of a code system; empty if it is none of ours.

        Stray spaces, a version and a slash at the end do not count.
        """
        if isinstance(uri, str) and uri in self.systems:
            return self.systems[uri]
        return self.systems.get(_SPACES.sub("", shape.text(uri)).partition("|")[0].rstrip("/"), "")

    def suggested_by(self, texts: Sequence[str], *, has_code: bool) -> list[tables.Phrase]:
        """Give the phrases with a fact that texts hold; beside a code that is known, only those that are always read.

        A phrase without a fact forbids what is not always read, and one that is always read forbids everything.
        """
        if not any(map(self.any_phrase.search, texts)):
            return []
        told = [row for pattern, row in self.phrases if any(map(pattern.search, texts))]
        forbidden = [row for row in told if not row.fact]
        if any(row.always for row in forbidden):
            return []
        is_silent = has_code or bool(forbidden)
        return [row for row in told if row.fact and (row.always or not is_silent)]

    def edition(self, uri: object) -> str:
        """Give the short name of a code system of which a uri names another edition; empty if it names none."""
        written = _SPACES.sub("", shape.text(uri)).lower()
        return next((system for pattern, system in self.editions if pattern.match(written)), "")

    def meaning(self, resource: str, element: str, code: str) -> str:
        """Give what a status code means; empty if it is none that is known."""
        return self.statuses.get((resource, element, code), "")

    @property
    def together(self) -> tuple[tuple[str, ...], ...]:
        """Facts that are read as one: what the newest reading lacks is not taken from an older one."""
        return (self.pressures,)

    def words(self, issue: str) -> str:
        """Give the words of an issue code."""
        return self.issues[issue].words

    def check(self, definitions: Mapping[str, FactDefinition]) -> list[Diagnostic]:
        """List the facts and values in the tables that the data dictionary does not have."""
        faults = []
        for file, line, fact, value in self.stated:
            definition = definitions.get(fact)
            if definition is None:
                message = f"`{fact}` is not a fact{nearest(fact, definitions)}"
                faults.append(Diagnostic(file, line, 1, "reference/unknown-fact", message))
            elif value and value not in _values(definition):
                message = f"`{value}` is not a value of `{fact}`{nearest(value, _values(definition))}"
                faults.append(Diagnostic(file, line, 1, "reference/unknown-value", message))
        return faults


def has_terminology(reference_files: Mapping[str, bytes]) -> bool:
    """Say whether reference tables hold any for FHIR; rules are whole without them."""
    return any(path.startswith(f"{tables.FOLDER}/") for path in reference_files)


def faults_of(reference_files: Mapping[str, bytes], definitions: Mapping[str, FactDefinition]) -> list[Diagnostic]:
    """List all that is wrong with the tables for FHIR; nothing if there are none."""
    if not has_terminology(reference_files):
        return []
    terminology, faults = _read(reference_files)
    return faults if terminology is None else faults + terminology.check(definitions)


def _values(definition: FactDefinition) -> tuple[str, ...]:
    return ("true", "false") if definition.type == "bool" else tuple(definition.values)


def _read(files: Mapping[str, bytes]) -> tuple[Terminology | None, list[Diagnostic]]:
    faults: list[Diagnostic] = []
    systems = read_table(files, "systems.csv", tables.SystemUri, faults)
    units = read_table(files, "units.csv", tables.Unit, faults)
    issues = read_table(files, "issues.csv", tables.IssueWords, faults)
    reasons = read_table(files, "reasons.csv", tables.Reason, faults)
    policy = read_table(files, "policy.csv", tables.PolicyNumber, faults)
    patient = read_table(files, "patient.csv", tables.PatientCode, faults)
    statuses = read_table(files, "statuses.csv", tables.Status, faults)
    conditions = read_table(files, "conditions.csv", tables.ConditionCode, faults)
    phrases = read_table(files, "phrases.csv", tables.Phrase, faults)
    orders = read_table(files, "values.csv", tables.FactOrder, faults)
    observations = read_table(files, "observations.csv", tables.ObservationCode, faults)
    panels = read_table(files, "panels.csv", tables.PanelCode, faults)
    answers = read_table(files, "answers.csv", tables.AnswerCode, faults)
    allergies = read_table(files, "allergies.csv", tables.AllergyCode, faults)
    procedures = read_table(files, "procedures.csv", tables.ProcedureCode, faults)
    medications = read_table(files, "medications.csv", tables.MedicationCode, faults)
    products = read_table(files, "products.csv", tables.Product, faults)
    rules = read_table(files, "drugs.csv", tables.DrugRule, faults)
    timing = read_table(files, "timing.csv", tables.Timing, faults)
    scales = read_table(files, "scales.csv", tables.Scale, faults)
    forms = tables.read_forms(files, faults)
    drugs = read_drug_tables(files, medications, products, rules, faults)
    coded = (conditions, observations, panels, answers, allergies, procedures, medications)
    faults += _absent(issues, (row.code for row in issues.rows), ISSUES)
    faults += _absent(reasons, (row.name for row in reasons.rows), REASONS)
    faults += _absent(policy, (row.name for row in policy.rows), POLICIES)
    faults += _unknown_systems({row.system for row in systems.rows}, coded)
    faults += _unknown_policies({row.name for row in policy.rows}, (conditions, procedures, medications, answers))
    if forms is None:
        return None, faults
    ages = {row.name: row.value for row in policy.rows}
    terminology = Terminology(
        systems={row.uri: row.system for row in systems.rows if _ANY not in row.uri},
        editions=tuple(
            (re.compile(fnmatch.translate(row.uri.lower())), row.system) for row in systems.rows if _ANY in row.uri
        ),
        units={row.written: row.ucum for row in units.rows},
        issues={row.code: row for row in issues.rows},
        reasons={row.name: row.words for row in reasons.rows},
        policy={row.name: row for row in policy.rows},
        patient=patient.rows,
        statuses={(row.resource, row.element, row.code): row.means for row in statuses.rows},
        conditions=Codes(conditions.rows),
        phrases=tuple((re.compile(_phrase(row.phrase), re.IGNORECASE), row) for row in phrases.rows),
        any_phrase=re.compile("|".join(_phrase(row.phrase) for row in phrases.rows), re.IGNORECASE),
        orders={row.fact: tuple(row.weakest_to_strongest.split()) for row in orders.rows},
        observations=Codes(observations.rows),
        panels=Codes(panels.rows),
        answers=Codes(answers.rows),
        aging={(row.fact, row.value): ages[row.within] for row in answers.rows if row.within in ages},
        allergies=Codes(allergies.rows),
        procedures=Codes(procedures.rows),
        drugs=drugs,
        classes=Codes(row for row in medications.rows if not row.ingredient),
        timing={row.code: row.times_per_day for row in timing.rows},
        scales={row.fact: row.dates for row in scales.rows},
        pressures=tuple(sorted({row.fact for row in observations.rows if row.kind == "pressure"})),
        forms=forms,
        stated=tuple(
            _stated((patient, conditions, phrases, observations, answers, allergies, procedures, medications))
        ),
    )
    return terminology, faults


def _absent(table: tables.Table[Any], given: Iterable[str], needed: Iterable[str]) -> list[Diagnostic]:
    missing = sorted(set(needed) - set(given))
    return [Diagnostic(table.file, 1, 1, "reference/missing-row", f"there is no row `{name}`") for name in missing]


def _phrase(phrase: str) -> str:
    words = _SOME.join(map(re.escape, phrase.removesuffix(_ANY).split(_ANY)))
    return rf"\b{words}" + ("" if phrase.endswith(_ANY) else r"\b")


def _unknown_systems(known: set[str], coded: Iterable[tables.Table[Any]]) -> Iterator[Diagnostic]:
    for table in coded:
        for position, row in enumerate(table.rows):
            if row.system not in known:
                message = f"`{row.system}` is not in systems.csv{nearest(row.system, known)}"
                yield table.fault(position, "reference/unknown-system", message)


def _unknown_policies(known: set[str], limited: Iterable[tables.Table[Any]]) -> Iterator[Diagnostic]:
    for table in limited:
        for position, row in enumerate(table.rows):
            for name in sorted({row.within, getattr(row, "after", "")} - {"", *known}):
                message = f"`{name}` is not in policy.csv{nearest(name, known)}"
                yield table.fault(position, "reference/unknown-policy", message)


def _stated(stating: Iterable[tables.Table[Any]]) -> Iterator[tuple[str, int, str, str]]:
    """Give every fact and value that tables state, with file and line."""
    for table in stating:
        for line, row in zip(table.lines, table.rows, strict=True):
            if row.fact:
                yield table.file, line, row.fact, getattr(row, "value", "")
                yield table.file, line, row.fact, getattr(row, "refuted", "")
            if getattr(row, "onset", ""):
                yield table.file, line, row.onset, ""
