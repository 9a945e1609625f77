"""A real server on loopback, real channels, and engines of our own making behind it.

`engines` is where the real rules go in: a test that asks for them overrides the fixture with
`LoadedRules(load_rules(RULES), Evaluator(...), ...)`, and everything else here stays.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_status import rpc_status

from engine.dictionary import Dictionary
from engine.errors import Diagnostic, NoRulePackError, RulePackError
from engine.evaluator import decision as answers
from engine.pack import model
from engine.pack.book import Contents, Located, Pack, RuleBook
from engine.pack.source import Source, read_source
from server.app import Server, create_server
from server.config import Settings
from server.log_format import make_log
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from server.rules_in_force import LoadedRules, rules_digest

if TYPE_CHECKING:
    from datetime import date

    from google.protobuf.message import Message

    from engine.facts import PatientFacts

RULES = Path(__file__).parents[2] / "rules"
EVALUATE = "/eligibility.v1.EligibilityService/Evaluate"
STREAM = "/eligibility.v1.EligibilityService/EvaluateStream"
HEALTH = "/grpc.health.v1.Health/Check"
DEFAULTS = Settings(rules=RULES, listen="127.0.0.1:0", insecure=True, certificate_roles={}, grace=5.0, no_verify=True)


def _finding(criterion: str, truth: answers.Truth, *, is_reported: bool) -> answers.CriterionFinding:
    return answers.CriterionFinding(
        id=criterion,
        title="Blood pressure before the dose",
        effect="cautions",
        truth=truth,
        side="cautioning",
        because="The pressure is above the limit.",
        facts=(answers.FactRead("sbp_mmHg", "systolic pressure", None),),
        references=(answers.Citation("S1", "A label", "2.1", "weigh the rise"),),
        strength="label",
        confirmed="read",
        contested="",
        visit_level=True,
        is_reported=is_reported,
    )


DECISION = answers.Decision(
    as_of="2025-06-02",
    jurisdiction="US",
    options=(
        answers.OptionAnswer(
            option="esketamine",
            title="Esketamine",
            authorization="labeled",
            status="insufficient_data",
            could_be=("eligible", "contraindicated"),
            summary="More is needed.",
            criteria=(
                _finding("US-MET-1", "met", is_reported=True),
                _finding("US-UNK-1", "unknown", is_reported=False),
                _finding("US-NOT-1", "not_met", is_reported=False),
                _finding("US-NOT-2", "not_met", is_reported=True),
            ),
            missing=("aneurysmal_vascular_disease",),
            why_not=("US-MET-1",),
            plan=(answers.ShownItem("US-P-1", "Measure again.", "read"),),
            dosing=(),
            monitoring=(),
            notes=(),
        ),
    ),
    triage=answers.TriageAnswer("low", provisional=True, criteria=()),
    referrals=(
        answers.Referral("crisis_line", "crisis line", "emergency", "unresolved", ("US-SUI-01",), "It is not known."),
    ),
    coverage=None,
    missing=(answers.Question("aneurysmal_vascular_disease", "Is there an aneurysm?", ("esketamine",)),),
    also_ask=(),
    unusable=(),
    changes_on=None,
    option_order=("esketamine",),
    packs=(answers.PackIdentity("us", "1.0.0", "ab" * 32),),
    engines=answers.EngineReport("both", agree=True, version="test"),
    disclaimer="Advice to a licensed clinician.",
)


@dataclass
class Outcome:
    """What the engines of the tests answer."""

    decision: answers.Decision = DECISION
    interpret_digest: bytes = b"\x01" * 32
    chain_digest: bytes = b"\x01" * 32
    facts: bytes = b"{}"
    parameters: bytes = b"{}"
    explanation: bytes = b"{}"


@dataclass
class FakeEngines:
    """Engines that answer one decision for the US, count what they are asked, and wait or fail on demand."""

    outcome: Outcome = field(default_factory=Outcome)
    error: Exception | None = None
    may_go: threading.Event = field(default_factory=threading.Event)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    asked: list[tuple[PatientFacts, str, str | None, date]] = field(default_factory=list)
    closed: bool = False

    def __post_init__(self) -> None:
        self.may_go.set()

    def evaluate(
        self, facts: PatientFacts, jurisdiction: str, payer_id: str | None, as_of: date, *, is_full: bool = False
    ) -> Outcome:
        """Answer, fail or wait."""
        del is_full
        self.asked.append((facts, jurisdiction, payer_id, as_of))
        self.begun.release()
        assert self.may_go.wait(30)
        if self.error is not None:
            raise self.error
        if jurisdiction != "US":
            raise NoRulePackError(jurisdiction, ["US"])
        return replace(self.outcome, decision=replace(self.outcome.decision, as_of=as_of.isoformat()))

    def pack_set(self, jurisdiction: str, payer_id: str | None, as_of: date) -> NoReturn:
        """Have none: these engines compile nothing."""
        raise NotImplementedError(jurisdiction, payer_id, as_of)

    def close(self) -> None:
        """Remember that it was called."""
        self.closed = True


def book() -> RuleBook:
    """Make a rule book with the real data dictionary and one small pack."""
    dictionary = Dictionary.model_validate(read_source("facts.yaml", (RULES / "facts.yaml").read_text()).data)
    header = model.PackHeader.model_validate(
        {
            "id": "us",
            "title": "United States",
            "version": "1.0.0",
            "status": "active",
            "serves": "US",
            "effective_period": {"start": "2019-03-05"},
            "last_review_date": "2026-11-01",
            "authors": ["A. Author"],
        }
    )
    contents = Contents()
    contents.references["S1"] = model.Reference(title="A label", publisher="An agency", date="2025")
    contents.criteria["US-ESK-WP-09"] = model.Criterion.model_validate(
        {
            "id": "US-ESK-WP-09",
            "title": "Blood pressure",
            "options": ["esketamine"],
            "effect": "cautions",
            "when": {"any": ["sbp_mmHg > $limit", "dbp_mmHg > $limit"]},
            "explain": "Blood pressure {sbp_mmHg}/{dbp_mmHg} is high.",
            "references": [{"source": "S1", "section": "2.1", "supports": "weigh the rise"}],
            "strength": "label",
            "confirmed": "read",
        }
    )
    pack = Pack(header, "ab" * 32, {}, Located(Source("us/pack.yaml"), ()), lambda: contents)
    return RuleBook(dictionary, {}, {"us": pack}, "cd" * 32, "ef" * 32)


class Loader:
    """Loads the rules of the tests; `faults` makes the next load fail, `digest` is what it gives."""

    def __init__(self, engines: FakeEngines) -> None:
        self.engines = engines
        self.faults: list[Diagnostic] = []
        self.failure: Exception | None = None
        self.digest = ""

    def __call__(self, _settings: Settings) -> LoadedRules:
        """Load, or fail."""
        if self.faults:
            raise RulePackError(self.faults)
        if self.failure is not None:
            raise self.failure
        loaded = book()
        return LoadedRules(loaded, self.engines, self.digest or rules_digest(loaded))


def load_fake(settings: Settings) -> LoadedRules:
    """Load the rules of the tests into a server process of its own; a file `broken` among the rules is a fault."""
    if (settings.rules / "broken").exists():
        raise RulePackError([Diagnostic("us/pack.yaml", 3, 1, "pack/shape", "`version` is no version")])
    return Loader(FakeEngines())(settings)


@dataclass
class Running:
    """A server in work, with a channel to it and what it logs."""

    server: Server
    port: int
    channel: grpc.Channel
    log: io.StringIO

    def call(self, method: str, request: Message | bytes, **options: Any) -> bytes:  # noqa: ANN401 - as grpc takes them
        """Call a method with bytes and give the bytes that come back."""
        data = request if isinstance(request, bytes) else request.SerializeToString()
        answer: bytes = self.unary(method)(data, timeout=options.pop("timeout", 30), **options)
        return answer

    def unary(self, method: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
        """Give a method that takes and gives bytes."""
        return self.channel.unary_unary(method, request_serializer=None, response_deserializer=None)

    def evaluate(self, request: Message | bytes, **options: Any) -> service_pb2.EvaluateResponse:  # noqa: ANN401 - as above
        """Call Evaluate."""
        return service_pb2.EvaluateResponse.FromString(self.call(EVALUATE, request, **options))

    def wait_for(self, event: str) -> None:
        """Wait until the server has logged an event."""
        ends = time.monotonic() + 30
        while f'"event": "{event}"' not in self.log.getvalue():
            assert time.monotonic() < ends, self.log.getvalue()
            time.sleep(0.05)

    def health(self, entry: str) -> str:
        """Name the state of a health entry."""
        answer = health_pb2.HealthCheckResponse.FromString(
            self.call(HEALTH, health_pb2.HealthCheckRequest(service=entry))
        )
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


Serve = Callable[..., Running]
Unpack = Callable[[grpc.RpcError], "Refusal"]
Refused = Callable[..., "Refusal"]


@pytest.fixture
def engines() -> FakeEngines:
    """Give the engines behind the server."""
    return FakeEngines()


@pytest.fixture
def loader(engines: FakeEngines) -> Loader:
    """Give what loads the rules."""
    return Loader(engines)


def ledger_settings(folder: Path) -> dict[str, str]:
    """Give the settings of a decision log in a folder."""
    return {
        "log": f"sqlite:{folder}/log/log.db",
        "keys": f"sqlite:{folder}/keys/keys.db",
        "wrapping_key": f"{folder}/keys/wrapping.key",
        "signer": f"{folder}/signer/state",
        "signing_key": f"{folder}/signer/signing.key",
    }


@pytest.fixture
def serve(loader: Loader, engines: FakeEngines, tmp_path: Path) -> Iterator[Serve]:
    """Give a function that starts a server with changed settings, and a log each; all of them end with the test."""
    started: list[Running] = []

    def start(*, credentials: grpc.ChannelCredentials | None = None, recorder: Any = None, **changes: Any) -> Running:  # noqa: ANN401 - settings
        settings = replace(DEFAULTS, **{**ledger_settings(tmp_path / str(len(started))), **changes})
        log = io.StringIO()
        server, port = create_server(settings, make_log(log), load_all=loader, recorder=recorder)
        server.start()
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        address = f"localhost:{port}"
        channel = (
            grpc.secure_channel(address, credentials, options)
            if credentials
            else grpc.insecure_channel(f"127.0.0.1:{port}", options)
        )
        started.append(Running(server, port, channel, log))
        return started[-1]

    yield start
    engines.may_go.set()
    for running in started:
        running.channel.close()
        running.server.stop(0)


@pytest.fixture
def running(serve: Serve) -> Running:
    """Give a server with the default settings."""
    return serve()


@pytest.fixture
def request_message() -> service_pb2.EvaluateRequest:
    """Give a small good request."""
    message = service_pb2.EvaluateRequest(
        request_id="7b0e6d0a-1111-4222-8333-944455556666",
        patient_reference="Patient/SECRET-REFERENCE",
        jurisdiction=service_pb2.JURISDICTION_US,
        as_of="2025-06-02",
        purpose=service_pb2.PURPOSE_TEST,
    )
    message.patient_history.vascular_medical.sbp_mmHg = 150
    message.patient_history.vascular_medical.dbp_mmHg = 95
    message.patient_history.demographics.weight_kg = 72.3
    return message


@dataclass
class Refusal:
    """An error as a caller sees it, with its details unpacked."""

    code: grpc.StatusCode
    message: str
    reason: str
    fields: dict[str, str]
    retry_seconds: float | None


@pytest.fixture
def refusal() -> Unpack:
    """Give a function that unpacks an error."""

    def unpack(error: grpc.RpcError) -> Refusal:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
        info, bad, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        has_retry = False
        for detail in status.details if status else ():
            _ = detail.Unpack(info) or detail.Unpack(bad)
            has_retry = detail.Unpack(retry) or has_retry
        assert not info.reason or info.domain == "eligibility.v1"
        return Refusal(
            error.code(),
            error.details() or "",
            info.reason,
            {violation.field: violation.reason for violation in bad.field_violations},
            retry.retry_delay.ToMilliseconds() / 1000 if has_retry else None,
        )

    return unpack
