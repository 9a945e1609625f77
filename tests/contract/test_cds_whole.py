"""From a hook to the log with nothing in place of anything: record, card, page, answers, feedback, replay."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from engine.evaluator.agree import Evaluator
from engine.ledger import erasure
from engine.ledger.entry import Kind, entry_uuid
from engine.ledger.seal import CallerPart, MessagePart, PatientPart
from engine.ledger.store import Wanted
from server.desk import LocalDesk
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from server.rules_in_force import LoadedRules, rules_digest
from tests.contract.cds_world import ISSUER, PATIENT, PUBLIC, RULES, Site, draft, order, view
from tests.repository import repository_rules

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engine.ledger.log import Opened
    from engine.pack.book import RuleBook
    from server.config import Settings
    from tests.contract.conftest import Running, Serve

SUBJECT = {"reference": f"Patient/{PATIENT}"}
TODAY = datetime.now(UTC).date()
RECENT, LATELY = (TODAY - timedelta(days=3)).isoformat(), (TODAY - timedelta(days=200)).isoformat()
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def rulebook() -> RuleBook:
    """Give the real rules."""
    return repository_rules()


@pytest.fixture
def loader(rulebook: RuleBook) -> object:
    """Load the real rules, with both engines."""

    def load(_settings: Settings) -> LoadedRules:
        return LoadedRules(rulebook, Evaluator(rulebook, "both", sessions=1), rules_digest(rulebook))

    return load


OTHER = Site("https://south.example.org/fhir")


class Ehr:
    """An EHR: a server, a client that may call it, and a browser."""

    def __init__(self, running: Running, site: Site) -> None:
        self.running = running
        face = running.server._face  # noqa: SLF001 - its port was picked when it was bound
        assert face is not None
        self._site = site
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{face.port}", timeout=30)

    def call(self, service: str, body: object) -> list[dict[str, Any]]:
        """Call a service; give the cards."""
        answer = self.post(f"/cds-services/treatment-eligibility-{service}", body)
        assert answer.status_code == 200, answer.text
        cards: list[dict[str, Any]] = answer.json()["cards"]
        return cards

    def post(self, path: str, body: object, site: Site | None = None) -> httpx.Response:
        """Post JSON with a fresh token, of another client where one is given."""
        token = (site or self._site).token(f"{PUBLIC}{path}")
        return self.http.post(f"/te{path}", json=body, headers={"authorization": f"Bearer {token}"})

    def logged(self, *kinds: Kind) -> list[Opened]:
        """Open the entries of these kinds."""
        log = self.running.server.ledger
        with log.reading() as snapshot:
            rows = snapshot.find(Wanted(0, 10**9, 10**9, kinds=kinds))
            return [log.open_entry(snapshot, row.entry_index) for row in rows]


@pytest.fixture
def ehr(serve: Serve, tmp_path: Path) -> Iterator[Ehr]:
    """Serve with a face."""
    site = Site()
    (tmp_path / "keys.json").write_text(json.dumps(site.keys()))
    client = {"name": "ehr", "issuer": site.issuer, "jwks": "keys.json", "jurisdiction": "US"}
    (tmp_path / "other.json").write_text(json.dumps(OTHER.keys()))
    other = {"name": "other", "issuer": OTHER.issuer, "jwks": "other.json", "jurisdiction": "US"}
    (tmp_path / "clients.json").write_text(json.dumps({"clients": [client, other]}))
    running = serve(
        rules=RULES,
        insecure=True,
        cds_listen="127.0.0.1:0",
        cds_url=PUBLIC,
        cds_clients=tmp_path / "clients.json",
        cds_deadline_ms=20_000,
        cds_quiet=0.0,
    )
    made = Ehr(running, site)
    yield made
    made.http.close()


def coded(resource: str, number: int, system: str, code: str, **fields: object) -> dict[str, Any]:
    """Make up a resource with a code."""
    concept = {"coding": [{"system": system, "code": code}]}
    return {"resourceType": resource, "id": f"{resource}-{number}", "subject": SUBJECT, "code": concept, **fields}


def record() -> dict[str, Any]:
    """Make up what is prefetched: a recurrent depression, a PHQ-9, a blood pressure, one antidepressant."""
    loinc, active = "http://loinc.org", {"clinicalStatus": {"coding": [{"code": "active"}]}}
    pressure = [
        {"code": {"coding": [{"system": loinc, "code": code}]}, "valueQuantity": {"value": value, "unit": "mmHg"}}
        for code, value in (("8462-4", 84), ("8480-6", 128))
    ]
    observed = {"status": "final", "effectiveDateTime": f"{RECENT}T09:00:00+00:00"}
    sertraline = {
        "resourceType": "MedicationRequest",
        "id": "m1",
        "status": "active",
        "intent": "order",
        "subject": SUBJECT,
        "authoredOn": LATELY,
        "medicationCodeableConcept": {
            "coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "36437"}]
        },
    }
    resources: dict[str, list[dict[str, Any]]] = {
        "conditions": [
            coded("Condition", 1, "http://hl7.org/fhir/sid/icd-10-cm", "F33.2", onsetDateTime=LATELY, **active)
        ],
        "vitals": [coded("Observation", 1, loinc, "85354-9", component=pressure, **observed)],
        "scores": [coded("Observation", 2, loinc, "44261-6", valueInteger=22, **observed)],
        "medications": [sertraline],
    }
    bundles = {
        key: {
            "resourceType": "Bundle",
            "type": "searchset",
            "total": len(found),
            "entry": [{"resource": r} for r in found],
        }
        for key, found in resources.items()
    }
    return {"patient": {"resourceType": "Patient", "id": PATIENT, "birthDate": "1980-02-03"}, **bundles}


def test_a_record_becomes_a_card_a_page_an_answer_and_entries_that_replay(ehr: Ehr) -> None:
    came = record()
    (card,) = ehr.call("sign", {**order(draft()), "prefetch": came})
    assert card["indicator"] == "warning"
    assert card["source"]["topic"]["code"] == "trdMissingData"
    link = card["links"][0]["url"].removeprefix(PUBLIC)

    opened = ehr.http.get(f"/te{link}")
    page_path = opened.headers["location"]
    page = ehr.http.get(page_path)
    assert page.status_code == 200
    assert "128" in page.text
    assert "sertraline" in page.text.lower()
    token = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert token is not None
    before = len(ehr.logged(Kind.DECISION))

    answers = {
        "csrf": token[1],
        "fact.aneurysmal_vascular_disease": "yes",
        "fact.arteriovenous_malformation": "no",
    }
    answered = ehr.http.post(f"{page_path}/answers", data=answers, headers=FORM)
    assert answered.status_code == 303, html.unescape(answered.text)[:500]
    second = ehr.http.get(answered.headers["location"])
    assert "contraindicated" in second.text.lower()
    decisions = ehr.logged(Kind.DECISION)
    assert len(decisions) == before + 1
    first, last = decisions[0], decisions[-1]
    assert isinstance(first.content, PatientPart)
    assert json.loads(service_pb2.EvaluateFhirRequest.FromString(first.content.request).content) == came
    assert isinstance(last.content, PatientPart)
    assert last.caller is not None
    assert last.caller.purpose == "what_if"

    accesses = ehr.logged(Kind.ACCESS)
    assert {access.caller.caller for access in accesses if access.caller} == {"ehr Practitioner/1"}
    for entry in decisions:
        answer = log_pb2.ReplayDecisionResponse.FromString(
            ehr.running.call(
                "/eligibility.v1.DecisionLogService/ReplayDecision", log_pb2.ReplayDecisionRequest(index=entry.index)
            )
        )
        assert answer.replay.outcome == log_pb2.REPLAY_OUTCOME_MATCH, answer


def test_feedback_is_an_entry_under_the_patients_key_and_a_repeat_changes_nothing(ehr: Ehr) -> None:
    (card,) = ehr.call("sign", {**order(draft()), "prefetch": record()})
    item = {
        "card": card["uuid"],
        "outcome": "overridden",
        "overrideReason": {"reason": {"code": "patient-refuses", "system": "s"}, "userComment": "SECRET words"},
        "outcomeTimestamp": "2026-05-12T09:00:00Z",
    }
    for _ in range(2):
        assert ehr.post("/cds-services/treatment-eligibility-sign/feedback", {"feedback": [item]}).status_code == 200
    (told,) = ehr.logged(Kind.FEEDBACK)
    assert isinstance(told.content, MessagePart)
    assert b"SECRET words" in told.content.request
    (decision,) = ehr.logged(Kind.DECISION)
    assert told.header.key_id == decision.header.key_id
    assert "SECRET" not in ehr.running.log.getvalue()


def test_feedback_on_the_card_of_another_client_is_not_stored(ehr: Ehr) -> None:
    (card,) = ehr.call("sign", {**order(draft()), "prefetch": record()})
    path = "/cds-services/treatment-eligibility-sign/feedback"
    forged = {"card": card["uuid"], "outcome": "accepted", "outcomeTimestamp": "2026-05-12T09:00:00Z"}
    unknown = {**forged, "card": "11111111-1111-4111-8111-111111111111"}

    answer = ehr.post(path, {"feedback": [forged, unknown]}, OTHER)

    assert answer.status_code == 400
    assert answer.json()["issue"][0]["expression"] == ["feedback[0]"]
    (stored,) = ehr.logged(Kind.FEEDBACK)
    assert stored.header.key_id != ehr.logged(Kind.DECISION)[0].header.key_id, "the unknown card is flagged as such"
    assert ehr.post(path, {"feedback": [forged]}).status_code == 200
    assert len(ehr.logged(Kind.FEEDBACK)) == 2


def test_the_same_call_twice_is_one_decision(ehr: Ehr) -> None:
    body = {**order(draft()), "prefetch": record()}
    first, again = ehr.call("sign", body), ehr.call("sign", body)
    assert [card["uuid"] for card in first] == [card["uuid"] for card in again]
    assert len(ehr.logged(Kind.DECISION)) == 1


def test_nothing_is_shown_that_the_log_did_not_take(ehr: Ehr) -> None:
    ehr.running.server.ledger.close()
    answer = ehr.post("/cds-services/treatment-eligibility-view", {**view(), "prefetch": record()})
    assert answer.status_code == 503
    assert "cards" not in answer.json()


def test_somebody_who_has_died_gets_no_card(ehr: Ehr) -> None:
    prefetch = record()
    prefetch["patient"]["deceasedDateTime"] = RECENT
    assert ehr.call("sign", {**order(draft()), "prefetch": prefetch}) == []
    assert len(ehr.logged(Kind.DECISION_ERROR)) == 1


def test_a_chart_without_a_word_of_depression_leaves_nothing_in_the_log(ehr: Ehr) -> None:
    prefetch = record()
    del prefetch["conditions"]
    assert ehr.call("view", {**view(), "prefetch": prefetch}) == []
    assert ehr.logged(Kind.DECISION, Kind.DECISION_ERROR) == []
    assert ehr.call("view", {**view(), "prefetch": record()}) != []
    assert len(ehr.logged(Kind.DECISION)) == 1


def test_a_repeated_call_shows_what_was_logged_or_is_logged_anew(ehr: Ehr) -> None:
    body = {**order(draft()), "prefetch": record()}
    first = ehr.call("sign", body)
    face = ehr.running.server._face  # noqa: SLF001 - what a restart would empty
    assert face is not None
    desk = face._desk  # noqa: SLF001 - as above
    assert isinstance(desk, LocalDesk)
    desk._opened.clear()  # noqa: SLF001 - as above
    again = ehr.call("sign", body)
    decisions = {entry_uuid(entry.header.entry_id) for entry in ehr.logged(Kind.DECISION)}
    assert len(decisions) == 2
    assert first[0]["links"][0]["url"].split("?")[0].rpartition("/")[2] in decisions
    assert again[0]["links"][0]["url"].split("?")[0].rpartition("/")[2] in decisions
    assert first[0]["uuid"] != again[0]["uuid"]


def test_a_page_of_somebody_who_was_erased_is_closed(ehr: Ehr) -> None:
    (card,) = ehr.call("sign", {**order(draft()), "prefetch": record()})
    path = ehr.http.get("/te" + card["links"][0]["url"].removeprefix(PUBLIC)).headers["location"]
    assert ehr.http.get(path).status_code == 200
    log = ehr.running.server.ledger
    wanted = erasure.ErasureRequest(f"Patient/{PATIENT}".encode(), "gdpr-art-17", "order 1")
    one, other = (CallerPart(name, "key_officer", "", "p", "", "m", 0, "OK") for name in ("one", "other"))
    erasure.approve(log, wanted, erasure.request(log, wanted, one).index, other)
    closed = ehr.http.get(path)
    assert closed.status_code != 200
    assert "sertraline" not in closed.text.lower()


def test_clients_are_read_again_when_the_server_is_told(ehr: Ehr, tmp_path: Path) -> None:
    clients = tmp_path / "clients.json"
    listed = clients.read_text()
    clients.write_text("{}")
    ehr.running.server.reload_clients()
    assert '"event": "clients refused"' in ehr.running.log.getvalue()
    assert ehr.call("view", {**view(), "prefetch": record()})
    clients.write_text(listed.replace('"US"', '"ATLANTIS"'))
    ehr.running.server.reload_clients()
    assert "no pack serves `ATLANTIS`" in ehr.running.log.getvalue()
    clients.write_text(listed.replace(ISSUER, "https://other.example.org"))
    ehr.running.server.reload_clients()
    assert '"event": "clients read again"' in ehr.running.log.getvalue()
    assert ehr.post("/cds-services/treatment-eligibility-view", view()).status_code == 401
