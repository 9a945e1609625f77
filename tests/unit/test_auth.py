"""`server.interceptors`: keys that change, roles, and exceptions that become statuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from engine.errors import EnginesDisagree, FactError, NoRulePackError, Violation
from server.faults import Fault
from server.interceptors.auth import KeySet
from server.interceptors.callers import OPEN_METHODS, ROLES, ROLES_BY_METHOD, Caller, may_call
from server.interceptors.errors import fault_of, place_of, status_of
from server.pb.eligibility.v1 import decision_log_service_pb2, eligibility_service_pb2, rule_pack_service_pb2

if TYPE_CHECKING:
    from pathlib import Path


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _publish(path: Path, *key_ids: str) -> None:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    entry = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(key))
    path.write_text(json.dumps({"keys": [entry | {"kid": key_id, "alg": "EdDSA"} for key_id in key_ids]}))


def test_a_new_key_is_found_once_the_old_set_may_be_read_again(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys", _Clock()
    _publish(path, "a")
    keys = KeySet(str(path), clock)
    assert keys.find("a")
    assert keys.find(None)
    _publish(path, "a", "b")
    assert keys.find("b") is None, "a caller cannot make the server read the keys again and again"
    clock.now = 11
    assert keys.find("b")
    assert keys.find(None) is None


def test_keys_that_cannot_be_read_again_stay_in_use(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys", _Clock()
    _publish(path, "a")
    keys = KeySet(str(path), clock)
    keys.find("a")
    path.unlink()
    clock.now = 10_000
    assert keys.find("a")


@pytest.mark.parametrize("content", ["", "[]", '{"keys": []}', '{"keys": [{"kty": "oct", "k": "AAAA", "kid": "a"}]}'])
def test_a_set_without_a_usable_key_makes_tokens_unjudgeable(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys"
    path.write_text(content)
    with pytest.raises(Fault) as caught:
        KeySet(str(path), _Clock()).find("a")
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE


def test_every_method_says_who_may_call_it() -> None:
    services = [
        eligibility_service_pb2.DESCRIPTOR.services_by_name["EligibilityService"],
        rule_pack_service_pb2.DESCRIPTOR.services_by_name["RulePackService"],
        decision_log_service_pb2.DESCRIPTOR.services_by_name["DecisionLogService"],
    ]
    methods = {f"/{service.full_name}/{method.name}" for service in services for method in service.methods}
    assert {m for m in ROLES_BY_METHOD if m.startswith("/eligibility.")} == methods
    assert not OPEN_METHODS & set(ROLES_BY_METHOD)


def test_the_log_is_for_auditors_replayers_and_key_officers() -> None:
    prefix = "/eligibility.v1.DecisionLogService/"
    assert {m.removeprefix(prefix): set(r) for m, r in ROLES_BY_METHOD.items() if m.startswith(prefix)} == {
        "ListDecisions": {"auditor"},
        "GetDecision": {"auditor"},
        "ReplayDecision": {"replayer"},
        "ReplayDecisions": {"replayer"},
        "AnalyzeImpact": {"replayer"},
        "GetCheckpoint": {"auditor", "evaluator"},
        "GetInclusionProof": {"auditor", "evaluator"},
        "GetConsistencyProof": {"auditor", "evaluator"},
        "RecordFeedback": {"evaluator"},
        "ShredPatient": {"key_officer"},
        "SetLegalHold": {"key_officer"},
    }


def test_a_method_that_nobody_lists_is_closed_to_all() -> None:
    assert not may_call(Caller("x", ROLES, "token"), "/eligibility.v1.EligibilityService/Guess")


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (FactError([Violation("a", "fact/x", "is wrong")]), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS"),
        (NoRulePackError("UK", ["US"]), grpc.StatusCode.FAILED_PRECONDITION, "NO_RULE_PACK"),
        (EnginesDisagree(["x"]), grpc.StatusCode.INTERNAL, "ENGINES_DISAGREE"),
        (KeyError("secret"), grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
)
def test_each_error_has_its_status(error: Exception, code: grpc.StatusCode, reason: str) -> None:
    assert (fault_of(error).code, fault_of(error).reason) == (code, reason)
    status = status_of(error)
    assert status.code == code.value[0]
    assert "secret" not in str(status)


def test_the_place_of_an_error_leaves_out_its_text() -> None:
    def fail() -> None:
        message = "secret"
        raise ValueError(message)

    with pytest.raises(ValueError, match="secret") as caught:
        fail()
    assert place_of(caught.value).startswith("ValueError < fail:")
    assert "secret" not in place_of(caught.value)
