"""Calls of hooks against a real HTTP server: what is answered, what is refused, and what is kept out of logs."""

from __future__ import annotations

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from engine.errors import (
    EnginesDisagree,
    EntryNotFoundError,
    LogUnavailableError,
    NoRulePackError,
    PushbackError,
    ResponseErasedError,
    Violation,
)
from server.config import SettingsError
from server.faults import deceased, expired, invalid
from tests.contract.cds_world import PATIENT, PUBLIC, Candidate, Desk, Reading, World, draft, order, serving, view

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

DEPRESSED = Reading(candidates=(Candidate("dx_primary", "mdd_single"),))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Serve for all tests of this file that change nothing."""
    folder = tmp_path_factory.mktemp("calls")
    with serving(folder, cds_quiet=0.0, cds_max_body_bytes=100_000) as made:
        yield made


def outcome(answer: httpx.Response) -> dict[str, Any]:
    """Give the issue of an OperationOutcome."""
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert told["resourceType"] == "OperationOutcome"
    issue: dict[str, Any] = told["issue"][0]
    return issue


def test_a_view_gives_one_card_that_informs(world: World) -> None:
    cards = world.call("view", view()).json()["cards"]

    assert [card["indicator"] for card in cards] == ["info"]
    assert world.desk.asked[-1]["patient"] == PATIENT
    assert world.desk.asked[-1]["jurisdiction"] == "US"
    assert world.desk.asked[-1]["purpose"] == "care"
    assert world.desk.asked[-1]["caller"].name == "ehr Practitioner/1"


@pytest.mark.parametrize("hook", ["order-select", "order-sign"])
def test_an_order_without_a_drug_of_ours_gives_no_card_and_no_decision(world: World, hook: str) -> None:
    asked = len(world.desk.asked)
    nothing = {"resourceType": "MedicationRequest", "id": "x"}
    for drafts in ([], [nothing], [draft("197361", "Amlodipine")], [{"resourceType": "NutritionOrder"}]):
        answer = world.call(hook.removeprefix("order-"), order(*drafts, hook=hook))

        assert answer.status_code == 200
        assert answer.json() == {"cards": []}
    assert len(world.desk.asked) == asked


def test_a_drug_that_cannot_be_told_is_no_empty_answer(world: World) -> None:
    asked = len(world.desk.asked)
    untold = {**draft(""), "medicationCodeableConcept": None, "medicationReference": {"reference": "Medication/gone"}}

    answer = world.call("sign", order(untold))

    assert answer.status_code == 412
    assert outcome(answer)["expression"] == ["context.draftOrders"]
    assert len(world.desk.asked) == asked
    both = world.call("sign", order(untold, draft(id="draft-2"))).json()["cards"]
    assert "Another draft names a drug that cannot be told" in both[0]["detail"]


def test_an_entry_in_place_of_a_resource_is_decided_on_as_the_resource(world: World) -> None:
    patient = {"resourceType": "Patient", "id": PATIENT}
    wrapped = {"patient": {"response": {"status": "200"}, "resource": patient}, "c": {"entry": [{"resource": patient}]}}

    assert world.call("view", view(prefetch=wrapped)).status_code == 200
    content = json.loads(world.desk.asked[-1]["content"])
    assert content["patient"] == patient
    assert content["c"]["resourceType"] == "Bundle"


@pytest.mark.parametrize("place", ["hookInstance", "context.userId"])
def test_half_of_a_character_is_refused_by_the_name_of_its_field(world: World, place: str) -> None:
    body = view()
    (body if place == "hookInstance" else body["context"])[place.rpartition(".")[2]] = "cut off \ud83d"

    answer = world.call("view", body)

    assert answer.status_code == 400
    assert outcome(answer)["expression"] == [place]


def test_the_token_of_the_record_reaches_neither_the_desk_nor_the_log(world: World) -> None:
    access = {"access_token": "VERY-SECRET", "token_type": "Bearer", "expires_in": 300, "scope": "x", "subject": "y"}

    world.call("view", view(fhirServer="https://unlisted.example", fhirAuthorization=access))

    assert b"VERY-SECRET" not in world.desk.asked[-1]["content"]
    assert "VERY-SECRET" not in world.log.getvalue()


def test_nothing_of_the_patient_is_logged(world: World) -> None:
    patient = {"resourceType": "Patient", "id": "MARK-ID", "name": [{"family": "MARK-NAME"}]}
    body = view(context={"userId": "Practitioner/MARK-USER", "patientId": "MARK-ID"}, prefetch={"patient": patient})

    world.call("view", body)
    world.call("view", {**body, "hook": "MARK-HOOK"})
    world.call("view", {**body, "prefetch": {"patient": {"resourceType": "Patient", "id": "MARK-OTHER"}}})
    world.http.get("/te/MARK-PATH")

    assert "MARK" not in world.log.getvalue()


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"hook": "order-sign"}, 400, "invalid"),
        ({"hookInstance": None}, 400, "invalid"),
        ({"context": {"patientId": PATIENT}}, 400, "invalid"),
        ({"context": {"userId": "u"}}, 400, "invalid"),
        ({"prefetch": {"patient": {"resourceType": "Patient", "id": "somebody-else"}}}, 400, "invalid"),
        ({"prefetch": {}}, 412, "required"),
        ({"prefetch": None}, 412, "required"),
        ({"prefetch": {"patient": None}}, 412, "required"),
        ({"prefetch": {"patient": {"resourceType": "OperationOutcome", "issue": []}}}, 412, "required"),
    ],
)
def test_what_is_required_is_required(world: World, change: dict[str, Any], status: int, code: str) -> None:
    """SHALL 54, SHOULD 52."""
    answer = world.call("view", view(**change))

    assert answer.status_code == status
    assert outcome(answer)["code"] == code
    assert "cards" not in answer.json()


def test_only_the_patient_is_required(world: World) -> None:
    failed = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}
    prefetch = {"-me": {"resourceType": "Patient", "id": PATIENT}, "conditions": failed, "vitals": None}

    assert world.call("view", view(prefetch=prefetch)).status_code == 200
    assert json.loads(world.desk.asked[-1]["content"]) == prefetch


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"not json", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"hook":"patient-view","hook":"order-sign"}', "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "application/x-www-form-urlencoded", 415),
        (b"x" * 100_001, "application/json", 413),
        (b'{"a":1e999}', "application/json", 400),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(world: World, content: bytes, kind: str, status: int) -> None:
    """SHALL 1."""
    answer = world.post("/cds-services/treatment-eligibility-view", content, **{"content-type": kind})

    assert answer.status_code == status
    assert outcome(answer)["severity"] == "error"


def test_a_record_is_decided_on_to_the_byte_as_it_came(world: World) -> None:
    """A number that no computer can hold costs nothing but itself."""
    record = f'{{ "patient" : {{"resourceType":"Patient", "id":"{PATIENT}", "x": [1e999, 80.20,\n "\u00e9"]}} }}'
    content = json.dumps(view(prefetch="RECORD")).replace('"RECORD"', record)

    answer = world.call("view", content.encode())

    assert answer.status_code == 200
    assert world.desk.asked[-1]["content"] == record.encode()


def test_a_body_of_unknown_length_is_limited_too(world: World) -> None:
    token = world.site.token(f"{PUBLIC}/cds-services/treatment-eligibility-view")
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    parts = (b"x" * 1000 for _ in range(200))

    answer = world.http.post("/te/cds-services/treatment-eligibility-view", content=parts, headers=headers)

    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/te/nowhere", 404),
        ("POST", "/te/cds-services", 405),
        ("GET", "/te/cds-services/treatment-eligibility-view", 405),
        ("POST", "/te/cds-services/unknown", 404),
        ("POST", "/te/cds-services/unknown/feedback", 404),
        ("GET", "/te/cds-services/", 404),
        ("GET", "/cds-services", 404),
    ],
)
def test_what_is_not_there_is_not_there(world: World, method: str, path: str, status: int) -> None:
    answer = world.http.request(method, path)

    assert answer.status_code == status
    assert outcome(answer)["code"] in {"not-found", "not-supported"}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (LogUnavailableError("down"), 503, "transient"),
        (ResponseErasedError("gone", b""), 404, "not-found"),
        (EntryNotFoundError("none"), 404, "not-found"),
        (expired(), 503, "transient"),
        (invalid([Violation("as_of", "x/y", "z")]), 400, "invalid"),
        (PushbackError("full", 1.0), 503, "transient"),
        (EnginesDisagree(["n"]), 503, "transient"),
        (NoRulePackError("US", ["EU"]), 500, "exception"),
        (RuntimeError("MARK the patient's name"), 500, "exception"),
    ],
)
def test_a_failure_is_never_an_empty_answer(tmp_path: Path, error: Exception, status: int, code: str) -> None:
    with serving(tmp_path, desk=Desk(error=error)) as made:
        for body, service in ((view(), "view"), (order(draft()), "sign")):
            answer = made.call(service, body)

            assert answer.status_code == status
            assert outcome(answer)["code"] == code
            assert "cards" not in answer.json()
        assert "MARK" not in made.log.getvalue() + answer.text
        is_ours = status == 500 and isinstance(error, RuntimeError)
        assert any(line["event"] == "unexpected" for line in made.lines()) is is_ours


def test_a_patient_who_has_died_gets_no_card(tmp_path: Path) -> None:
    with serving(tmp_path, desk=Desk(error=deceased())) as made:
        answer = made.call("sign", order(draft()))

        assert (answer.status_code, answer.json()) == (200, {"cards": []})


def test_an_answer_that_comes_too_late_is_503(tmp_path: Path) -> None:
    """SHOULD 27."""
    with serving(tmp_path, cds_deadline_ms=100) as made:
        made.desk.may_go.clear()
        start = time.monotonic()
        answer = made.call("view", view())
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert made.desk.asked[0]["deadline"] - start < 20
        made.desk.may_go.set()
        assert made.lines()[-1]["reason"] == "late"


def test_more_calls_than_there_is_room_for_are_pushed_back(tmp_path: Path) -> None:
    with serving(tmp_path, cds_max_concurrent=3, workers=2) as made:
        made.desk.may_go.clear()
        with ThreadPoolExecutor(12) as pool:
            futures = [pool.submit(made.call, "view", view()) for _ in range(12)]
            while sum(future.done() for future in futures) < 9:
                time.sleep(0.01)
            made.desk.may_go.set()
            statuses = sorted(future.result().status_code for future in futures)

        assert statuses == [200] * 3 + [503] * 9
        assert made.call("view", view()).status_code == 200


def test_a_repeated_call_has_the_same_request_id_and_a_changed_one_another(world: World) -> None:
    body = view()
    world.call("view", body)
    world.call("view", body)
    world.call("view", {**body, "prefetch": {**body["prefetch"], "conditions": None}})
    first, second, third = (asked["request_id"] for asked in world.desk.asked[-3:])

    assert first == second
    assert first != third


def test_news_are_shown_once_and_conflicts_always(tmp_path: Path) -> None:
    with serving(tmp_path) as made:
        assert len(made.call("view", view()).json()["cards"]) == 1
        assert made.call("view", view()).json() == {"cards": []}
        other = view(context={"userId": "Practitioner/2", "patientId": PATIENT})
        assert len(made.call("view", other).json()["cards"]) == 1
        made.desk.name = "05"
        assert len(made.call("view", view()).json()["cards"]) == 1, "something is new"
        made.desk.name = "04"
        for _ in range(2):
            assert [c["indicator"] for c in made.call("sign", order(draft())).json()["cards"]] == ["critical"]
        made.desk.name = "02"
        for _ in range(2):
            assert [c["indicator"] for c in made.call("view", view()).json()["cards"]] == ["critical"]


def test_a_view_speaks_for_adults_with_a_possible_depression_only(tmp_path: Path) -> None:
    with serving(tmp_path, cds_quiet=0.0) as made:

        def cards(reading: Reading | None = None, **changes: object) -> int:
            made.desk.changes, made.desk.reading = changes, reading or Reading()
            return len(made.call("view", view()).json()["cards"])

        assert cards(age_years=17) == 0
        assert cards(age_years=None) == 1
        assert cards(dx_primary="adjustment") == 0
        assert cards(dx_primary=None) == 0
        assert cards(DEPRESSED, dx_primary=None) == 1
        assert cards(age_years=17, imminent_risk_judgement=True) == 1, "an emergency always"


def test_calls_are_counted_by_what_they_were_not_by_whom(world: World) -> None:
    world.call("view", view())
    registry = world.metrics.registry

    assert registry.get_sample_value("eligibility_calls_total", {"method": "cds-hooks/call", "code": "200"})
    assert registry.get_sample_value("eligibility_cards_total", {"topic": "trdEligibility"})
    line = world.lines()[-1]
    assert line["method"] == "cds-hooks/call"
    assert line["code"] == 200
    assert line["service"] == "treatment-eligibility-view"
    assert line["cards"] == 1
    assert line["proof"] == "token"


def test_health_and_about_say_how_it_is(world: World) -> None:
    assert world.http.get("/te/health").json() == {"serving": True}
    assert world.http.get("/te/about").json()["packs"]["us"]
    assert "trdEligibility" in world.http.get("/te/topics").json()


def test_a_basic_password_is_not_echoed(world: World) -> None:
    secret = base64.b64encode(b"user:MARK").decode()
    answer = world.http.get("/te/cds-services", headers={"authorization": f"Basic {secret}"})

    assert answer.status_code == 200, "discovery needs no token"
    assert secret not in world.log.getvalue()


def test_a_face_that_cannot_serve_says_why(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("[]")
    with serving(tmp_path) as made:
        taken = f"127.0.0.1:{made.face.port}"
        for changes, says in (
            ({"cds_listen": taken}, "--cds-listen"),
            ({"cds_clients": tmp_path / "broken"}, "--cds-clients"),
            ({"cds_clients": None}, "--cds-clients"),
            ({"client": {"certificate": "name"}}, "--client-ca"),
            ({"client": {"jurisdiction": "FR"}}, "no pack serves `FR`; packs serve CA, EU, UK, US, VA"),
            ({"tls_cert": tmp_path / "broken", "tls_key": tmp_path / "broken"}, "--tls-cert"),
        ):
            with pytest.raises(SettingsError, match=says), serving(tmp_path, **changes):
                pass  # it is never reached
