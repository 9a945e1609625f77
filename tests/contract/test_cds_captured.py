"""Requests of real clients, from data beside the repository: each gets a valid answer."""

from __future__ import annotations

import copy
import json
import os
import random
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.cds_checks import check_answer, check_card
from tests.contract.cds_world import Site, World, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

ARCHIVE = (
    Path(os.environ.get("ELIGIBILITY_FHIR_DATA", Path(__file__).parents[3] / "shared" / "fhir"))
    / "third-party-fhir.tar.xz"
)
SERVICES = {"patient-view": "view", "order-select": "select", "order-sign": "sign"}
ESKETAMINE = {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "2119365"}]}

pytestmark = pytest.mark.skipif(not ARCHIVE.exists(), reason="the third-party data is not at ../shared/fhir")


def member(name: str) -> Any:  # noqa: ANN401 - any JSON
    """Give one JSON file of the archive."""
    with tarfile.open(ARCHIVE) as archive:
        found = archive.extractfile(f"third-party-fhir/cds-hooks/{name}")
        assert found is not None
        return json.load(found)


@pytest.fixture(scope="module")
def sandbox() -> list[dict[str, Any]]:
    """Give the captured requests of a browser client."""
    names = ["00-cds-services_trd-order-select", "01-cds-services_trd-order-select", "02-cds-services_trd-order-sign"]
    return [member(f"sandbox-captured/{name}.json") for name in names]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Serve as the client expects: http, and an origin of its own."""
    site = Site("https://sandbox.cds-hooks.org")
    client = {"jku": "https://sandbox.cds-hooks.org/.well-known/jwks.json"}
    folder = tmp_path_factory.mktemp("captured")
    with serving(folder, site=site, client=client, cds_quiet=0.0, cds_origins=("http://127.0.0.1:9080",)) as made:
        yield made


def send(world: World, request: dict[str, Any], body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - any JSON
    """Send a captured request with its headers and claims, made anew in time."""
    sent = request["body"] if body is None else body
    service = f"treatment-eligibility-{SERVICES[sent['hook']]}"
    kept = {
        k: v
        for k, v in request.get("headers", {}).items()
        if k in {"Accept", "Origin", "User-Agent", "Accept-Language"}
    }
    header = {"jku": request["jwt_header"]["jku"], "typ": "JWT"} if "jwt_header" in request else {}
    token = world.site.token(f"http://127.0.0.1:9082/te/cds-services/{service}", header=header)
    answer = world.post(f"/cds-services/{service}", sent, token=token, **kept)
    assert answer.status_code == 200, answer.text
    check_answer(answer.json())
    return answer.json()


def with_esketamine(body: dict[str, Any]) -> dict[str, Any]:
    """Replace the drug of every draft."""
    changed = copy.deepcopy(body)
    for entry in changed["context"]["draftOrders"]["entry"]:
        if entry["resource"]["resourceType"] == "MedicationRequest":
            entry["resource"]["medicationCodeableConcept"] = ESKETAMINE
            entry["resource"].pop("medicationReference", None)
    return changed


def test_a_draft_without_a_drug_or_with_another_gets_no_card(world: World, sandbox: list[dict[str, Any]]) -> None:
    for request in sandbox:
        assert send(world, request) == {"cards": []}


@pytest.mark.parametrize("name", ["01", "02", "03", "04", "05", "06", "08", "09", "10"])
def test_the_same_with_esketamine_gets_a_card(world: World, sandbox: list[dict[str, Any]], name: str) -> None:
    world.desk.name = name
    for request in sandbox:
        cards = send(world, request, with_esketamine(request["body"]))["cards"]

        assert cards
        assert world.desk.asked[-1]["patient"] == request["body"]["context"]["patientId"]
        assert json.loads(world.desk.asked[-1]["content"]) == request["body"]["prefetch"]


def test_the_captured_feedback_is_stored_once(world: World) -> None:
    request = member("sandbox-captured/04-cds-services_trd-order-select_feedback.json")
    before = len(world.desk.told)
    for _ in range(2):
        answer = world.post("/cds-services/treatment-eligibility-select/feedback", request["body"])
        assert (answer.status_code, answer.json()) == (200, {})

    assert len(world.desk.told) == before + 1
    assert list(world.desk.told.values())[-1].reason == "patient-refuses"


def test_a_view_of_a_vendor_gets_a_card(tmp_path: Path) -> None:
    body, token = member("epic-doc/patient-view-request.json"), member("epic-doc/jwt.json")
    site = Site(token["payload"]["iss"], algorithm="RS384")
    life = token["payload"]["exp"] - token["payload"]["iat"]
    early = token["payload"]["iat"] - token["payload"]["nbf"]
    with serving(tmp_path, site=site, client={"jku": "https://ehr.example.org/PublicKeys/530013"}) as made:
        audience = "http://127.0.0.1:9082/te/cds-services/treatment-eligibility-view"
        now = int(time.time())
        signed = site.token(audience, iat=now, exp=now + life, nbf=now - early, sub=token["payload"]["sub"])
        answer = made.call("view", body, token=signed)

        assert answer.status_code == 200
        check_answer(answer.json())
        assert len(answer.json()["cards"]) == 1
        assert made.desk.asked[0]["caller"].name == "ehr PractitionerRole/e-QokEGUJIzyynNdkCFrs9w3"
        kept = json.loads(made.desk.asked[0]["content"])
        assert kept == body["prefetch"]


@pytest.mark.parametrize("name", ["order_select_hook_request", "order_sign_hook_request"])
def test_requests_of_a_test_kit_get_a_valid_answer(world: World, name: str) -> None:
    body = member(f"inferno-crd-fixtures/{name}.json")
    patient = {"resourceType": "Patient", "id": body["context"]["patientId"]}
    world.desk.name = "04"

    assert send(world, {}, {**body, "prefetch": {"patient": patient}}) == {"cards": []}
    assert send(world, {}, with_esketamine({**body, "prefetch": {"patient": patient}}))["cards"]


def test_a_hook_that_is_not_listed_is_refused(world: World) -> None:
    for name in ("encounter_start_hook_request", "fancy_structure_hook_request"):
        assert world.call("view", member(f"inferno-crd-fixtures/{name}.json")).status_code == 400


def test_the_checks_accept_the_test_kits_own_valid_cards() -> None:
    for card in member("inferno-crd-fixtures/valid_cards.json"):
        check_card(card)


def mutants(body: dict[str, Any], count: int) -> Iterator[dict[str, Any]]:
    """Drop, retype, wrap and double parts of a request, by chance of a fixed seed."""
    chance = random.Random(4)
    values: list[Any] = [None, "", [], {}, 0, -1, True, "x" * 5000, [[]], {"resourceType": 5}, "Patient/1", 1e300]
    for _ in range(count):
        made = copy.deepcopy(body)
        for _ in range(chance.randint(1, 4)):
            roots = [made, *made.values(), *(v for r in made.values() if isinstance(r, dict) for v in r.values())]
            holder: Any = chance.choice([root for root in roots if isinstance(root, dict) and root])
            while True:
                key = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
                inner = holder[key]
                if not isinstance(inner, dict | list) or not inner or chance.random() < 0.15:
                    break
                holder = inner
            match chance.randint(0, 3):
                case 0:
                    holder.pop(key)
                case 1:
                    holder[key] = copy.deepcopy(chance.choice(values))
                case 2:
                    holder[key] = [inner]
                case _:
                    holder[key] = {"resource": inner}
            if not made:
                break
        yield made


@pytest.mark.parametrize("seeded", [0, 2])
def test_a_mangled_request_is_answered_or_refused_and_never_fails(
    world: World, sandbox: list[dict[str, Any]], seeded: int
) -> None:
    statuses = set()
    world.desk.name = "03"
    hook = sandbox[seeded]["body"]["hook"]
    for body in mutants(with_esketamine(sandbox[seeded]["body"]), 150):
        answer = world.call(SERVICES[hook], body)
        statuses.add(answer.status_code)
        if answer.status_code == 200:
            check_answer(answer.json())

    assert statuses <= {200, 400, 412}
    assert 200 in statuses
    assert not [line for line in world.lines() if line["event"] == "unexpected"]
