"""A real CDS Hooks face on loopback, a client that signs real tokens, and a desk that evaluates by the real rules.

The desk stands for what evaluates FHIR and logs: it decides on the facts a test gives it, and remembers what it was
asked and told. `read` gives it a reader of the content that it is asked with.
"""

from __future__ import annotations

import io
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from engine.evaluator.agree import Evaluator
from engine.facts import read_facts
from server.cds_hooks.application import Surroundings
from server.cds_hooks.clinician import ClinicianPage
from server.cds_hooks.desk import Opened, Shown
from server.cds_hooks.face import Face
from server.cds_hooks.words import Words, load_words
from server.certificate import Certificate
from server.config import Settings
from server.interceptors.metrics import Metrics
from server.log_format import make_log
from tests.repository import repository_rules

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

    from engine.evaluator.decision import Decision
    from engine.facts import PatientFacts
    from engine.pack.book import RuleBook
    from server.cds_hooks.desk import Feedback
    from server.chart import Chart
    from server.interceptors.callers import Caller

ROOT = Path(__file__).parents[2]
RULES = ROOT / "rules"
ISSUER = "https://ehr.example.org/fhir"
PUBLIC = "http://127.0.0.1:9082/te"
PATIENT = "pat-1"


@cache
def rules() -> tuple[RuleBook, Evaluator]:
    """Load the real rules and one engine."""
    book = repository_rules()
    return book, Evaluator(book, "interpret", sessions=1)


@cache
def words() -> Words:
    """Load the real words."""
    return load_words(RULES)


def example(name: str) -> dict[str, Any]:
    """Give the facts of an example patient."""
    found = next((ROOT / "examples" / "patients").glob(f"{name}*.json"))
    case: dict[str, Any] = json.loads(found.read_text())
    return case


@dataclass(frozen=True)
class Candidate:
    """What a record suggests."""

    fact: str
    suggests: str
    why: str = "text only"
    sources: tuple[str, ...] = ("Condition/1",)


@dataclass(frozen=True)
class Issue:
    """What was not read at face value."""

    code: str
    fact: str = ""
    effect: str = "noted"
    count: int = 1
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """What was read of a record."""

    facts: Mapping[str, Value] = field(default_factory=dict)
    candidates: tuple[Candidate, ...] = ()
    issues: tuple[Issue, ...] = ()


@dataclass(frozen=True)
class Value:
    """A fact of a record."""

    value: object


def decide(raw: Mapping[str, object], as_of: str, jurisdiction: str = "US") -> tuple[Decision, PatientFacts]:
    """Decide by the real rules."""
    book, engine = rules()
    day = date.fromisoformat(as_of)
    facts = read_facts(book.facts, book.dictionary.constraints, raw, day)
    return engine.evaluate(facts, jurisdiction, None, day).decision, facts


def shown(name: str, reading: Reading | None = None, **changes: object) -> Shown:
    """Give the decision on an example patient, with changed facts; a fact of None is missing."""
    case = example(name)
    decision, facts = decide({**case["facts"], **changes}, case["as_of"])
    return Shown(new_id(), decision, reading or Reading(), facts, b"", 7)


def new_id() -> str:
    """Make the id of a decision: its last four bits are zero."""
    return str(uuid4())[:-1] + "0"


@dataclass
class Desk:
    """Decides on the facts of an example patient, and remembers."""

    name: str = "01"
    changes: dict[str, object] = field(default_factory=dict)
    reading: Reading = field(default_factory=Reading)
    error: Exception | None = None
    may_go: threading.Event = field(default_factory=threading.Event)
    asked: list[dict[str, Any]] = field(default_factory=list)
    told: dict[tuple[str, str, str], Feedback] = field(default_factory=dict)
    opened: list[tuple[str, Caller]] = field(default_factory=list)
    kept: dict[str, Opened] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.may_go.set()

    def read(self, chart: Chart, patient: str) -> Reading:
        """Read the facts of the example patient."""
        del chart, patient
        facts = {**example(self.name)["facts"], **self.changes}
        return replace(self.reading, facts={name: Value(v) for name, v in facts.items() if v is not None})

    def evaluate(self, **asked: Any) -> Shown:  # noqa: ANN401 - what the seam passes
        """Decide, fail or wait."""
        self.asked.append(asked)
        assert self.may_go.wait(30)
        if self.error is not None:
            raise self.error
        made = shown(self.name, self.reading, **{**self.changes, **asked["explicit"]})
        self.kept[made.decision_id] = Opened(
            made, asked["content"], asked["patient"], asked["explicit"], asked["jurisdiction"]
        )
        return made

    def open(self, decision_id: str, caller: Caller) -> Opened:
        """Give a decision back."""
        self.opened.append((decision_id, caller))
        return self.kept[decision_id]

    def feedback(self, feedback: Feedback, caller: Caller, deadline: float) -> None:
        """Keep feedback, once."""
        del caller, deadline
        if self.error is not None:
            raise self.error
        self.told[feedback.card, feedback.outcome, feedback.moment.isoformat()] = feedback


class Site:
    """A client: it has a key, and signs a token for each call."""

    def __init__(self, issuer: str = ISSUER, *, algorithm: str = "ES384") -> None:
        self.issuer = issuer
        self.algorithm = algorithm
        self.key_id = str(uuid4())
        self.key: Any = (
            ec.generate_private_key(ec.SECP384R1())
            if algorithm.startswith("ES")
            else rsa.generate_private_key(public_exponent=65537, key_size=2048)
        )

    def keys(self) -> dict[str, Any]:
        """Give the JWK Set; the key names no algorithm, as with many real ones."""
        kind = jwt.algorithms.ECAlgorithm if self.algorithm.startswith("ES") else jwt.algorithms.RSAAlgorithm
        return {"keys": [{**kind.to_jwk(self.key.public_key(), as_dict=True), "kid": self.key_id, "use": "sig"}]}

    def token(self, address: str, *, header: dict[str, Any] | None = None, key: Any = None, **claims: Any) -> str:  # noqa: ANN401 - any key and claim
        """Sign a token for an address; a claim or header of None is left out."""
        now = int(time.time())
        given = {"iss": self.issuer, "aud": address, "iat": now, "exp": now + 300, "jti": str(uuid4()), **claims}
        headers = {"kid": self.key_id, **(header or {})}
        return jwt.encode(
            {name: value for name, value in given.items() if value is not None},
            key or self.key,
            algorithm=headers.pop("alg", self.algorithm),
            headers={name: value for name, value in headers.items() if value is not None},
        )


@dataclass
class World:
    """A face in work, its desk, a client of it, and what it logs."""

    face: Face
    desk: Desk
    site: Site
    http: httpx.Client
    log: io.StringIO
    metrics: Metrics
    certificate: Certificate | None = None

    def call(self, service: str, body: object, *, token: str | None = None, **headers: str) -> httpx.Response:
        """Call a service with a fresh token, or the one that is given."""
        return self.post(f"/cds-services/treatment-eligibility-{service}", body, token=token, **headers)

    def post(self, path: str, body: object, *, token: str | None = None, **headers: str) -> httpx.Response:
        """Post a body to a path below the public address."""
        signed = self.site.token(f"{PUBLIC}{path}") if token is None else token
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json", "authorization": f"Bearer {signed}", **headers}
        return self.http.post(f"/te{path}", content=content, headers={k: v for k, v in sent.items() if v})

    def lines(self) -> list[dict[str, Any]]:
        """Give what was logged of calls."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


@contextmanager
def serving(
    folder: Path,
    *,
    desk: Desk | None = None,
    site: Site | None = None,
    client: Mapping[str, object] | None = None,
    scheme: str = "http",
    verify: ssl.SSLContext | bool = True,
    **changes: Any,  # noqa: ANN401 - settings
) -> Iterator[World]:
    """Serve with changed settings and changed fields of the client, until the block ends."""
    desk, site = desk or Desk(), site or Site()
    (folder / "keys.json").write_text(json.dumps(site.keys()))
    told = {"name": "ehr", "issuer": site.issuer, "jwks": "keys.json", "jurisdiction": "US", **(client or {})}
    (folder / "clients.json").write_text(json.dumps({"clients": [{k: v for k, v in told.items() if v}]}))
    settings = replace(
        Settings(rules=RULES, certificate_roles={}, insecure=True),
        **{
            "cds_listen": "127.0.0.1:0",
            "cds_url": PUBLIC,
            "cds_clients": folder / "clients.json",
            "cds_deadline_ms": 20_000,
            "cds_fetch_ms": 20_000,
            **changes,
        },
    )
    book, _ = rules()
    log = io.StringIO()
    metrics = Metrics()
    around = Surroundings(
        log=make_log(log),
        metrics=metrics,
        packs=lambda: {pack.id: pack.header.version for pack in book.packs.values()},
        is_serving=lambda: True,
        on_unexpected=lambda place: make_log(log).error("unexpected", place=place),
    )
    chain, key = settings.tls_cert, settings.tls_key
    certificate = Certificate(chain, key) if chain and key else None
    page = ClinicianPage(lambda: book, words(), "test.example.org/log")
    face = Face(
        settings,
        desk=desk,
        page=page,
        certificate=certificate,
        words=words(),
        dictionary=book.dictionary,
        jurisdictions=book.jurisdictions,
        around=around,
    )
    face.start()
    try:
        with httpx.Client(base_url=f"{scheme}://localhost:{face.port}", verify=verify, timeout=30) as http:
            yield World(face, desk, site, http, log, metrics, certificate)
    finally:
        desk.may_go.set()
        face.stop(2)


def view(**changes: object) -> dict[str, Any]:
    """Make a patient-view call."""
    return {
        "hook": "patient-view",
        "hookInstance": str(uuid4()),
        "context": {"userId": "Practitioner/1", "patientId": PATIENT},
        "prefetch": {"patient": {"resourceType": "Patient", "id": PATIENT}},
        **changes,
    }


def order(*drafts: Mapping[str, object], hook: str = "order-sign", **context: object) -> dict[str, Any]:
    """Make a call of an order hook with these drafts."""
    bundle = {"resourceType": "Bundle", "entry": [{"resource": draft} for draft in drafts]}
    body = view(hook=hook)
    body["context"] |= {"draftOrders": bundle, **context}
    return body


def draft(code: str = "2119365", text: str = "", **changes: object) -> dict[str, Any]:
    """Make a draft order by RxNorm code and text."""
    coding = [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": code}] if code else []
    return {
        "resourceType": "MedicationRequest",
        "id": "draft-1",
        "status": "draft",
        "medicationCodeableConcept": {"coding": coding, "text": text},
        "subject": {"reference": f"Patient/{PATIENT}"},
        **changes,
    }
