"""Drafts tell which options they are orders of, however they name their drug; and never by silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.cds_hooks.drafts import Ordered, read_orders
from server.cds_hooks.hook import read_call
from server.cds_hooks.outcome import Refusal
from server.cds_hooks.words import load_words

WORDS = load_words(Path(__file__).parents[2] / "rules")
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
NDC = "http://hl7.org/fhir/sid/ndc"
HCPCS = "https://bluebutton.cms.gov/resources/codesystem/hcpcs"


def body(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    made = {
        "hook": "order-select",
        "hookInstance": "i-1",
        "context": {"userId": "Practitioner/1", "patientId": "p-1"},
    }
    return {**made, **changes}


def drafts(*found: dict[str, Any], **context: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    bundle = {"entry": [{"resource": r} for r in found]}
    return body(context={"userId": "u", "patientId": "p-1", "draftOrders": bundle, **context})


def request(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    return {"resourceType": "MedicationRequest", "id": "d-1", "status": "draft", **fields}


def coded(code: str, system: str = RXNORM, text: str = "") -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}], "text": text}


def options(given: dict[str, Any]) -> tuple[str, ...]:
    return read_orders(read_call(given, "order-select"), WORDS).options


MIXTURE = {
    "resourceType": "Medication",
    "id": "m",
    "ingredient": [{"itemCodeableConcept": {"text": "sterile water"}}, {"itemCodeableConcept": coded("6130")}],
}
OUTER = {"resourceType": "Medication", "id": "o", "ingredient": [{"itemReference": {"reference": "#m"}}]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (request(medicationCodeableConcept=coded("2119365")), ("esketamine",)),
        (request(medicationCodeableConcept=coded("6130")), ("ketamine_iv",)),
        (request(medicationCodeableConcept=coded("6130", "urn:oid:2.16.840.1.113883.6.88")), ("ketamine_iv",)),
        (request(medicationCodeableConcept=coded("6130", "http://example.org/other", "other")), ()),
        (request(medicationCodeableConcept={"text": "Esketamine 28 MG Nasal Spray"}), ("esketamine",)),
        (request(medicationCodeableConcept={"text": "SPRAVATO kit"}), ("esketamine",)),
        (request(medicationCodeableConcept={"text": "ketamine 50 mg/mL IV"}), ("ketamine_iv",)),
        (request(medicationCodeableConcept={"coding": {"display": "Ketamine"}}), ("ketamine_iv",)),
        (request(medicationReference={"reference": "Medication/9", "display": "ESKETAMINE NASL"}), ("esketamine",)),
        (
            request(
                medicationReference={"reference": "#m"},
                contained=[{"resourceType": "Medication", "id": "m", "code": coded("2119365")}],
            ),
            ("esketamine",),
        ),
        (request(medication={"concept": coded("2119365")}), ("esketamine",)),
        (request(medicationCodeableConcept=[coded("2119365")]), ("esketamine",)),
        (request(medicationCodeableConcept=coded("6130", f"{RXNORM}|2024")), ("ketamine_iv",)),
        (request(medicationCodeableConcept=coded("6130", f"{RXNORM}/")), ("ketamine_iv",)),
        (request(medicationCodeableConcept=coded("373464007", "http://snomed.info/sct")), ("ketamine_iv",)),
        (request(medicationCodeableConcept=coded("50458-028-03", NDC)), ("esketamine",)),
        (request(medicationCodeableConcept=coded("50458-0028-03", NDC)), ("esketamine",)),
        (request(medicationCodeableConcept=coded("50458002803", NDC)), ("esketamine",)),
        (request(medicationCodeableConcept={"text": "Ketalar 50 mg/mL injection"}), ("ketamine_iv",)),
        (request(medicationCodeableConcept={"text": "S-ketamine 28 mg nasal spray"}), ("esketamine",)),
        (request(medicationCodeableConcept={"text": "(S)-Ketamine"}), ("esketamine",)),
        (request(medicationCodeableConcept={"text": "S\u2011ketamine"}), ("esketamine",)),
        (request(medicationReference={"reference": "#m"}, contained=[MIXTURE]), ("ketamine_iv",)),
        (request(medicationReference={"reference": "#o"}, contained=[OUTER, MIXTURE]), ("ketamine_iv",)),
        (request(medication={"reference": {"reference": "#m"}}, contained=[MIXTURE]), ("ketamine_iv",)),
        (request(), ()),
        (request(medicationCodeableConcept=None), ()),
        (request(medicationCodeableConcept={}), ()),
        (request(medicationCodeableConcept={"extension": [{"url": "absent", "valueCode": "unknown"}]}), ()),
        (request(medicationCodeableConcept={"text": "Escitalopram 20 MG"}), ()),
        (request(medicationCodeableConcept={"text": "norketamine"}), ()),
        (request(status="entered-in-error", medicationCodeableConcept=coded("2119365")), ()),
        (request(status=["odd"], medicationCodeableConcept=coded("2119365")), ("esketamine",)),
        (request(id={"odd": 1}, medicationCodeableConcept=coded("2119365")), ("esketamine",)),
        ({"resourceType": "ServiceRequest", "id": "s", "code": {"text": "ketamine infusion"}}, ("ketamine_iv",)),
        ({"resourceType": "ServiceRequest", "id": "s", "code": coded("G2082", HCPCS)}, ("esketamine",)),
        ({"resourceType": "ServiceRequest", "id": "s", "code": coded("1", "http://example.org/local")}, ()),
    ],
)
def test_a_draft_names_its_drug(given: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert options(drafts(given)) == expected


def test_esketamine_is_not_ketamine() -> None:
    assert options(drafts(request(medicationCodeableConcept={"text": "esketamine"}))) == ("esketamine",)


def test_a_medication_of_the_bundle_names_the_drug() -> None:
    medication = {"resourceType": "Medication", "id": "m-1", "code": coded("2119365")}
    given = request(medicationReference={"reference": "https://ehr.example.org/fhir/Medication/m-1"})

    assert options(drafts(given, medication)) == ("esketamine",)
    assert options(drafts(medication)) == ()


def test_a_medication_is_found_by_its_full_url() -> None:
    medication = {"resourceType": "Medication", "id": "m-1", "code": coded("2119365")}
    given = request(medicationReference={"reference": "urn:uuid:0c4ad6e1-9d0e-4c61-8f39-5d8d1d3a9b0e"})
    entries = [
        {"resource": given},
        {"fullUrl": "urn:uuid:0c4ad6e1-9d0e-4c61-8f39-5d8d1d3a9b0e", "resource": medication},
    ]
    context = {"userId": "u", "patientId": "p-1", "draftOrders": {"resourceType": "Bundle", "entry": entries}}

    assert options(body(context=context)) == ("esketamine",)


@pytest.mark.parametrize(
    "reference",
    ["Medication/m", "Medication/m/_history/1", "https://ehr.example.org/fhir/Medication/m/_history/1", "urn:uuid:m"],
)
@pytest.mark.parametrize("is_prefetched", [False, True])
def test_a_medication_is_found_wherever_it_came(reference: str, *, is_prefetched: bool) -> None:
    given = drafts(request(medicationReference={"reference": reference}))
    entry = {"fullUrl": "urn:uuid:m", "resource": MIXTURE}
    if is_prefetched:
        given["prefetch"] = {"meds": {"resourceType": "Bundle", "entry": [entry]}}
    else:
        given["context"]["draftOrders"]["entry"].append(entry)

    assert options(given) == ("ketamine_iv",)


UNTOLD = [
    request(medicationReference={"reference": "Medication/elsewhere"}),
    request(medicationReference={"identifier": {"value": "7"}}),
    request(medicationCodeableConcept=coded("9999999")),
    request(medicationCodeableConcept=coded("6130", "http://example.org/local")),
    request(medicationCodeableConcept="ketamine"),
    request(medicationReference={"reference": "#m"}, contained=[{"resourceType": "Medication", "id": "m"}]),
]


@pytest.mark.parametrize("given", UNTOLD)
def test_a_drug_that_cannot_be_told_is_never_none_of_ours(given: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as refused:
        options(drafts(given))

    assert refused.value.status == 412
    assert refused.value.places == ("context.draftOrders",)
    ours = request(id="d-2", medicationCodeableConcept=coded("2119365"))
    found = read_orders(read_call(drafts(given, ours), "order-select"), WORDS)
    assert found == Ordered(("esketamine",), has_untold=True)


def test_an_order_not_to_give_a_drug_is_no_order_of_it() -> None:
    assert options(drafts(request(doNotPerform=True, medicationCodeableConcept=coded("2119365")))) == ()


def test_only_selected_drafts_count_where_the_call_selects() -> None:
    other = request(id="d-2", medicationCodeableConcept=coded("197361", text="Amlodipine"))
    ours = request(medicationCodeableConcept=coded("2119365"))

    assert options(drafts(ours, other, selections=["MedicationRequest/d-2"])) == ()
    assert options(drafts(ours, other, selections=["MedicationRequest/d-1"])) == ("esketamine",)
    assert options(drafts(ours, other, selections=["MedicationRequest/gone"])) == ("esketamine",)
    assert options(drafts(ours, other, selections=[])) == ("esketamine",)
