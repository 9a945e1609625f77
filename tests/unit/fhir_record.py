"""Made-up resources, as short as a test can say them."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from engine.fhir.read import read
from engine.fhir.terminology import Terminology
from tests.repository import repository_rules

if TYPE_CHECKING:
    from engine.fhir.reading import Reading
    from engine.pack.book import RuleBook

Json: TypeAlias = dict[str, Any]

ROOT = Path(__file__).parents[2]
BOOK: RuleBook = repository_rules()
TERMINOLOGY = Terminology.of(BOOK.reference_files)
AS_OF = date(2025, 6, 2)
SUBJECT: Json = {"reference": "Patient/p1"}
SYSTEMS = {
    "icd": "http://hl7.org/fhir/sid/icd-10-cm",
    "sct": "http://snomed.info/sct",
    "loinc": "http://loinc.org",
    "rx": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "cpt": "http://www.ama-assn.org/go/cpt",
    "atc": "http://www.whocc.no/atc",
    "hcpcs": "https://bluebutton.cms.gov/resources/codesystem/hcpcs",
}


def concept(*codes: str, text: str = "") -> Json:
    """Give a concept; a code is `system code`, as in `icd F33.1`."""
    codings = [{"system": SYSTEMS[s], "code": c} for s, _, c in (code.partition(" ") for code in codes)]
    return {**({"coding": codings} if codings else {}), **({"text": text} if text else {})}


def status(code: str) -> Json:
    return {"coding": [{"code": code}]}


def patient(**more: object) -> Json:
    return {"resourceType": "Patient", "id": "p1", "birthDate": "1980-06-03", **more}


def condition(name: str, code: Json, *, clinical: str = "active", verified: str = "confirmed", **more: object) -> Json:
    told: Json = {"resourceType": "Condition", "id": name, "subject": SUBJECT, "code": code}
    if clinical:
        told["clinicalStatus"] = status(clinical)
    if verified:
        told["verificationStatus"] = status(verified)
    return {**told, **more}


def observation(name: str, code: Json, when: str = "2025-06-02", **more: object) -> Json:
    dated = {"effectiveDateTime": when} if when else {}
    return {
        "resourceType": "Observation", "id": name, "status": "final", "subject": SUBJECT, "code": code, **dated, **more
    }  # fmt: skip


def quantity(value: object, unit: str = "mm[Hg]") -> Json:
    return {"value": value, "unit": unit, "code": unit, "system": "http://unitsofmeasure.org"}


def pressure(name: str, systolic: object, diastolic: object, when: str = "2025-06-02", **more: object) -> Json:
    parts = [
        {"code": concept("loinc 8480-6"), "valueQuantity": quantity(systolic)},
        {"code": concept("loinc 8462-4"), "valueQuantity": quantity(diastolic)},
    ]
    return observation(name, concept("loinc 85354-9"), when, component=parts, **more)


def request(name: str, medication: Json, when: str = "2025-03-01", taken: str = "active", **more: object) -> Json:
    return {
        "resourceType": "MedicationRequest", "id": name, "status": taken, "intent": "order", "subject": SUBJECT,
        "medicationCodeableConcept": medication, "authoredOn": when, **more
    }  # fmt: skip


def other(kind: str, name: str, **more: object) -> Json:
    return {"resourceType": kind, "id": name, "subject": SUBJECT, **more}


def daily(amount: object, unit: str = "mg", **repeat: object) -> Json:
    """Give a dosage: an amount once a day, or as `repeat` says."""
    timing = {"repeat": repeat or {"frequency": 1, "period": 1, "periodUnit": "d"}}
    return {"timing": timing, "doseAndRate": [{"doseQuantity": quantity(amount, unit)}]}


PHQ9 = ("44250-9", "44255-8", "44259-0", "44254-1", "44251-7", "44258-2", "44252-5", "44253-3", "44260-8")
SCORES = ("LA6568-5", "LA6569-3", "LA6570-1", "LA6571-9")


def coded_answer(link: str, answer: str) -> Json:
    return {"linkId": link, "answer": [{"valueCoding": {"system": SYSTEMS["loinc"], "code": answer}}]}


def phq9(name: str, scores: tuple[int, ...], when: str = "2025-06-02", total: object = None, **more: object) -> Json:
    items = [coded_answer(f"/{code}", SCORES[score]) for code, score in zip(PHQ9, scores, strict=False)]
    if total is not None:
        items.append({"linkId": "/44261-6", "answer": [{"valueDecimal": total}]})
    return other("QuestionnaireResponse", name, status="completed", authored=when, item=items, **more)


def c_ssrs(name: str, answers: dict[str, bool], when: str = "2025-06-02") -> Json:
    items = [coded_answer(f"/{code}", "LA33-6" if yes else "LA32-8") for code, yes in answers.items()]
    return other("QuestionnaireResponse", name, status="completed", authored=when, item=items)


def bundle(*resources: Json, **more: object) -> Json:
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in resources], **more}


def reading(*resources: Json, as_of: date = AS_OF, who: str | None = "p1", **more: object) -> Reading:
    return of(bundle(*resources, **more), as_of=as_of, who=who)


def of(content: object, *, as_of: date = AS_OF, who: str | None = None) -> Reading:
    return read(content, terminology=TERMINOLOGY, definitions=BOOK.facts, as_of=as_of, patient=who)


def value(read_: Reading, fact: str) -> object:
    """Give the value of a fact; None while it is none."""
    return read_.facts[fact].value if fact in read_.facts else None


def candidates(read_: Reading, fact: str) -> list[str]:
    return sorted({c.suggests for c in read_.candidates if c.fact == fact})


def issues(read_: Reading, fact: str = "") -> set[tuple[str, str]]:
    """Give codes and effects of the issues about a fact, or of all."""
    return {(i.code.removeprefix("fhir/"), i.effect) for i in read_.issues if not fact or i.fact == fact}
