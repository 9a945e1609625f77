"""A record in which everything happens once, and random changes to JSON, none of which adds content."""

from __future__ import annotations

from copy import deepcopy
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

from tests.unit import fhir_record as made

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

Json: TypeAlias = Any
Place: TypeAlias = tuple[Any, Any]
"""A container and the key or position in it."""

MUTATIONS = ("drop", "retype", "duplicate", "reorder", "truncate", "wrap", "unwrap")


def whole_record() -> Json:
    """Give a record with every kind of resource that is read, counted and not counted, readable and not."""
    sex = {"url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex", "valueCode": "F"}
    co_value = {"url": "http://hl7.org/fhir/StructureDefinition/iso21090-CO-value", "valueDecimal": 2}
    conditions = [
        made.condition("mdd", made.concept("icd F33.1", "sct 370143000"), onsetDateTime="2024-11-01"),
        made.condition("dep", made.concept(text="Depression"), category=[made.status("health-concern")]),
        made.condition("ich", made.concept("sct 274100004"), verified="refuted", recordedDate="2020-01-01"),
        made.condition("del", made.concept("icd F05"), verified="refuted", recordedDate="2005-01-01"),
        made.condition("cat", made.concept("icd F06.1"), verified="refuted", recordedDate="2025-06-01"),
        made.condition("icp", made.concept("icd G93.2"), modifierExtension=[{"url": "http://example.org/negated"}]),
        made.condition("avm", made.concept("sct 234142008"), verified="provisional"),
        made.condition("mi", made.concept("icd I21.4"), clinical="resolved", onsetDateTime="2025-03-03"),
        made.condition("stroke", made.concept("sct 230690007"), clinical="resolved", onsetDateTime="2019"),
        made.condition("bip", made.concept("icd F31.2"), verified="entered-in-error"),
        made.condition("dem", made.concept("icd G31.84"), clinical="", onsetDateTime="2025-01-01"),
        made.condition("dia", made.concept("icd Z99.2"), onsetDateTime="2025-01-01"),
        made.condition("cys", made.concept("sct 197834003"), clinical="resolved", abatementDateTime="2020-02-02"),
        made.condition("risk", made.concept("sct 225444004")),
        made.condition("drug", made.concept("sct 6525002")),
        made.condition("later", made.concept("icd F06.1"), onsetDateTime="2026-01-01"),
        made.condition("gone", made.concept("icd Z33.1"), clinical="resolved", abatementDateTime="2020-02-02"),
    ]
    observations = [
        made.pressure("bp", 131.3, 84),
        made.pressure("bp-old", 120, 70, "2024-06-02"),
        made.observation("sys", made.concept("loinc 8480-6"), valueQuantity=made.quantity(131.3)),
        made.observation("mean", made.concept("loinc 96608-5"), valueQuantity=made.quantity(150)),
        made.observation("w", made.concept("loinc 29463-7"), valueQuantity=made.quantity(81.65, "kg")),
        made.observation("spo2", made.concept("loinc 59408-5"), valueQuantity=made.quantity(97, "%")),
        made.observation("audit", made.concept("loinc 75626-2"), valueInteger=4, status="preliminary"),
        made.observation("dast", made.concept("loinc 82667-7"), valueString="3"),
        made.observation("moca", made.concept("loinc 72172-0"), valueQuantity=made.quantity(15.68, "{score}")),
        made.observation("preg", made.concept("loinc 82810-3"), valueCodeableConcept=made.concept("sct 60001007")),
        made.observation("phq", made.concept("loinc 44261-6"), "2025-05-01", valueInteger=9),
    ]
    response = made.phq9("phq9", (2, 2, 1, 1, 2, 2, 1, 1, 1), total=12)
    response["item"][0]["answer"][0]["valueCoding"]["extension"] = [co_value]
    ideation = {"93246-7": True, "93247-5": True, "93248-3": False, "93249-1": False, "93250-9": False}
    behavior = {"93267-3": True, "93269-9": False}
    contained = {"resourceType": "Medication", "id": "m", "code": made.concept("rx 4493")}
    medications = [
        made.request("sert", made.concept("rx 312938"), dosageInstruction=[made.daily(100)]),
        made.request("never", made.concept("rx 8123"), doNotPerform=True),
        made.request("told", made.concept("rx 39786"), reportedBoolean=True),
        made.request("old", made.concept("rx 32937"), "2001-03-01"),
        made.request("plan", made.concept("rx 321988"), intent="plan"),
        made.request("draft", made.concept("rx 39786"), taken="draft"),
        made.request("benzo", made.concept(text="Lorazepam 0.5 MG Oral Tablet")),
        made.request("pill", made.concept(text="Ibuprofen 200 MG")),
        made.other(
            "MedicationStatement", "flu", status="completed", contained=[contained],
            medicationReference={"reference": "#m"}, effectivePeriod={"start": "2023-01-01", "end": "2023-06-01"},
        ),
        made.other("MedicationDispense", "bup", status="completed", medicationCodeableConcept=made.concept("rx 42347")),
        made.other(
            "MedicationAdministration", "esk", status="completed", effectiveDateTime="2025-01-01",
            medicationCodeableConcept=made.concept("rx 2119365"),
        ),
    ]  # fmt: skip
    allergy = {"resourceType": "AllergyIntolerance", "patient": made.SUBJECT, "clinicalStatus": made.status("active")}
    verified = {"verificationStatus": made.status("confirmed")}
    others = [
        {**allergy, **verified, "id": "nka", "code": made.concept("sct 716186003")},
        {**allergy, **verified, "id": "pen", "code": made.concept(text="Penicillin")},
        made.other("Procedure", "ect", status="completed", code=made.concept("cpt 90870")),
        {**made.condition("hers", made.concept("icd I67.1")), "subject": {"reference": "Patient/zz"}},
        {"resourceType": "OperationOutcome", "issue": []},
        {"resourceType": "Claim", "id": "c"},
    ]
    person = made.patient(gender="male", extension=[sex], deceasedBoolean=False)
    forms = [response, made.c_ssrs("cssrs", ideation | behavior), *_panels()]
    return made.bundle(person, *conditions, *observations, *forms, *medications, *others)


def _panels() -> list[Json]:
    """Give forms whose items are observations: members, one contained, items of a total, items alone; and a flag."""
    items = {"93246-7": True, "93247-5": False, "93248-3": False, "93249-1": False, "93250-9": False}
    members = [
        made.observation(f"m{code}", made.concept(f"loinc {code}"), "2025-05-20", valueBoolean=said)
        for code, said in items.items()
    ]
    inner = {**made.observation("inner", made.concept("loinc 93267-3"), "2025-05-20", valueBoolean=True)}
    references = [{"reference": f"Observation/{each['id']}"} for each in members] + [{"reference": "#inner"}]
    item = {"code": made.concept("loinc 44260-8"), "valueInteger": 1}
    return [
        *members,
        made.observation("panel", made.concept("loinc 93373-9"), "2025-05-20", contained=[inner], hasMember=references),
        made.observation("sum", made.concept("loinc 44261-6"), "2025-05-20", valueInteger=11, component=[item]),
        made.observation("loose", made.concept("loinc 93250-9"), "2025-05-10", valueString="Yes"),
        made.observation("level", made.concept("loinc 93374-7"), "2025-05-11", valueString="High"),
        made.observation("hers", made.concept("loinc 8480-6"), focus=[{"reference": "RelatedPerson/1"}]),
        made.other("Flag", "flag", status="active", code=made.concept("sct 225444004")),
    ]


def mutate(record: Json, random: random.Random, count: int) -> Json:
    """Give a copy with `count` changes at random places."""
    mutant = {"root": deepcopy(record)}
    for _ in range(count):
        places = [*_places(mutant)]
        if not places:
            return None
        container, key = random.choice(places)
        _change(container, key, random.choice(MUTATIONS), random)
    return mutant.get("root")


def _places(value: Json) -> Iterator[Place]:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        for key, child in each.items() if isinstance(each, dict) else enumerate(each):
            yield each, key
            if isinstance(child, dict | list):
                waiting.append(child)


def _change(container: Json, key: Any, how: str, random: random.Random) -> None:  # noqa: ANN401 - a key or a position
    value = container[key]
    match how:
        case "drop":
            del container[key]
        case "retype":
            container[key] = _retyped(value, random)
        case "duplicate" if isinstance(container, list):
            container.insert(random.randrange(len(container) + 1), deepcopy(value))
        case "reorder" if isinstance(value, list):
            random.shuffle(value)
        case "truncate" if isinstance(value, str):
            container[key] = value[: random.randrange(len(value) + 1)]
        case "truncate" if isinstance(value, list):
            del value[random.randrange(len(value) + 1) :]
        case "wrap":
            container[key] = [value]
        case "unwrap" if isinstance(value, list) and len(value) == 1:
            container[key] = value[0]


def _retyped(value: Json, random: random.Random) -> Json:
    kinds: list[Json] = [
        None,
        True,
        0,
        -1,
        10**30,
        Decimal("nan"),
        Decimal("1e400"),
        "",
        "\ud800",
        [],
        {},
        [[]],
        [None],
    ]
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        kinds += [str(value)] * 3
    return random.choice(kinds)


def shuffled(value: Json, random: random.Random) -> Json:
    """Give a copy in which every list and every object is in another order."""
    if isinstance(value, dict):
        items = [(key, shuffled(child, random)) for key, child in value.items()]
        random.shuffle(items)
        return dict(items)
    if isinstance(value, list):
        children = [shuffled(child, random) for child in value]
        random.shuffle(children)
        return children
    return value
