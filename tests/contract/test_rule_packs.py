"""RulePackService: the rules that decisions rest on, readable by a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from server.convert.packs import write_criterion
from server.pb.eligibility.v1 import explanation_pb2
from server.pb.eligibility.v1 import rule_pack_service_pb2 as packs_pb2
from tests.repository import repository_rules

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from tests.contract.conftest import Running, Unpack

SERVICE = "/eligibility.v1.RulePackService/"


def _call(running: Running, method: str, request: Any, kind: Any) -> Any:  # noqa: ANN401 - messages
    return kind.FromString(running.call(SERVICE + method, request))


def test_packs_are_listed_with_their_digests(running: Running) -> None:
    answer = _call(running, "ListRulePacks", packs_pb2.ListRulePacksRequest(), packs_pb2.ListRulePacksResponse)
    pack = answer.rule_packs[0]
    assert (pack.id, pack.version, pack.digest) == ("us", "1.0.0", "ab" * 32)
    assert pack.status == packs_pb2.PACK_STATUS_ACTIVE
    assert (pack.effective_start, pack.effective_end, pack.approval_date) == ("2019-03-05", "", "")
    assert pack.sources[0].key == "S1"
    assert len(answer.digest) == 64


def test_one_pack_and_its_criteria_can_be_read(running: Running) -> None:
    got = _call(running, "GetRulePack", packs_pb2.GetRulePackRequest(pack_id="us"), packs_pb2.GetRulePackResponse)
    listed = _call(running, "ListCriteria", packs_pb2.ListCriteriaRequest(pack_id="us"), packs_pb2.ListCriteriaResponse)
    one = _call(
        running,
        "GetCriterion",
        packs_pb2.GetCriterionRequest(criterion_id="US-ESK-WP-09"),
        packs_pb2.GetCriterionResponse,
    )
    criterion = listed.criteria[0]

    assert got.rule_pack.criterion_count == 1
    assert one.criterion == criterion
    assert criterion.effect == explanation_pb2.EFFECT_CAUTIONS
    assert criterion.condition == '{"any": ["sbp_mmHg > $limit", "dbp_mmHg > $limit"]}'
    assert criterion.references[0].title == "A label"


def test_a_criterion_is_told_whole() -> None:
    book = repository_rules()
    told = {name: write_criterion(book, pack, c) for pack in book.packs.values() for name, c in pack.criteria.items()}
    orders = {name: criterion.coverage_order for name, criterion in told.items()}

    assert [(d.jurisdiction, d.effective_from, d.effective_until) for d in told["EU-33"].effective_in] == [
        ("CA", "2021-09-01", "")
    ]
    assert told["EU-33"].effective_from == "2021-02-05"
    assert told["US-SUI-01"].explanation_unknown == "Imminent suicide risk is not ruled out by what is recorded."
    assert orders["EU-33"] == packs_pb2.COVERAGE_ORDER_UNSPECIFIED
    assert orders["UK-03"] == orders["VA-02"] == packs_pb2.COVERAGE_ORDER_BEFORE_STATUS
    assert orders["CA-03"] == packs_pb2.COVERAGE_ORDER_AFTER_STATUS
    for pack in book.packs.values():
        for name, criterion in pack.criteria.items():
            assert told[name].replaces == criterion.replaces
            assert (told[name].visit_level == explanation_pb2.BARRIER_SCOPE_VISIT) == criterion.visit_level
    assert any(criterion.replaces for criterion in told.values())


def test_all_thirteen_source_attributes_are_stated(running: Running) -> None:
    request = packs_pb2.GetSourceAttributesRequest(pack_id="us")
    answer = _call(running, "GetSourceAttributes", request, packs_pb2.GetSourceAttributesResponse)
    statements = {a.kind: a.statement for a in answer.attributes}

    assert list(statements) == list(range(1, 14))
    assert statements[packs_pb2.SOURCE_ATTRIBUTE_KIND_CITATION] == "A label, An agency, 2025"
    assert statements[packs_pb2.SOURCE_ATTRIBUTE_KIND_RACE] == "not used"
    assert statements[packs_pb2.SOURCE_ATTRIBUTE_KIND_SEX] == "used: sex_at_birth"
    assert "phq9_total" in statements[packs_pb2.SOURCE_ATTRIBUTE_KIND_HEALTH_ASSESSMENTS]


@pytest.mark.parametrize(
    ("method", "request_", "reason"),
    [
        ("GetRulePack", packs_pb2.GetRulePackRequest(pack_id="SECRET"), "PACK_NOT_FOUND"),
        ("ListCriteria", packs_pb2.ListCriteriaRequest(pack_id=""), "PACK_NOT_FOUND"),
        ("GetSourceAttributes", packs_pb2.GetSourceAttributesRequest(pack_id="x"), "PACK_NOT_FOUND"),
        ("GetCriterion", packs_pb2.GetCriterionRequest(criterion_id="x"), "CRITERION_NOT_FOUND"),
    ],
)
def test_what_is_not_there_is_not_found(
    running: Running, refusal: Unpack, method: str, request_: Message, reason: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        running.call(SERVICE + method, request_)
    answer = refusal(caught.value)
    assert (answer.code, answer.reason) == (grpc.StatusCode.NOT_FOUND, reason)
    assert "SECRET" not in answer.message


def test_bytes_that_are_no_message_are_refused(running: Running, refusal: Unpack) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        running.call(SERVICE + "GetRulePack", b"\xff\xff")
    assert refusal(caught.value).reason == "MALFORMED_MESSAGE"
