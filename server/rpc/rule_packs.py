"""RulePackService."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import Message

from server.convert.messages import parse, refuse_unknown
from server.convert.packs import source_attributes, write_criterion, write_pack
from server.faults import Code, Fault, invalid, overloaded
from server.pb.eligibility.v1 import rule_pack_service_pb2 as packs_pb2
from server.rpc.service import Pool, on_pool, register, still_waited_for, within

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

    from engine.pack.book import Pack, RuleBook
    from server.rules_in_force import LoadedRules, RulesInForce

M = TypeVar("M", bound=Message)

SERVICE = packs_pb2.DESCRIPTOR.services_by_name["RulePackService"].full_name


MAX_RELOADS = 2
"""One reload in work and one waiting; more are pushed back."""


class RulePacks:
    """The service. `reload` puts the packs in force again and gives the digests before and after."""

    def __init__(
        self,
        rules: RulesInForce,
        reload: Callable[[], tuple[str, str]],
        pool: Pool,
        reloads: Pool,
        max_message_bytes: int,
    ) -> None:
        self._rules = rules
        self._reload = reload
        self._pool = pool
        self._reloads = reloads
        self._limit = max_message_bytes

    def register(self, server: grpc.Server) -> None:
        """Serve the methods, on their own threads, so that reading rules never waits behind evaluations."""
        methods = {
            "ListRulePacks": self._reading(packs_pb2.ListRulePacksRequest, _list_packs),
            "GetRulePack": self._reading(packs_pb2.GetRulePackRequest, _get_pack),
            "ListCriteria": self._reading(packs_pb2.ListCriteriaRequest, _list_criteria),
            "GetCriterion": self._reading(packs_pb2.GetCriterionRequest, _get_criterion),
            "GetSourceAttributes": self._reading(packs_pb2.GetSourceAttributesRequest, _get_source_attributes),
            "ReloadRulePacks": on_pool(self._reload_packs(), self._reloads),
        }
        register(server, SERVICE, methods, {})

    def _request(self, kind: type[M], data: bytes, context: grpc.ServicerContext) -> M:
        within(self._limit, data)
        still_waited_for(context)
        request = parse(kind, data)
        violations = refuse_unknown(request)
        if violations:
            raise invalid(violations)
        return request

    def _reading(
        self, kind: type[M], answer: Callable[[M, LoadedRules], Message]
    ) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def behavior(data: bytes, context: grpc.ServicerContext) -> bytes:
            request = self._request(kind, data, context)
            with self._rules.reading() as rules:
                return answer(request, rules).SerializeToString()

        return on_pool(behavior, self._pool)

    def _reload_packs(self) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def behavior(data: bytes, context: grpc.ServicerContext) -> bytes:
            self._request(packs_pb2.ReloadRulePacksRequest, data, context)
            if self._reloads.load > MAX_RELOADS:
                raise overloaded("the rule packs are being reloaded; ask again when that is done", 1.0)
            before, after = self._reload()
            return packs_pb2.ReloadRulePacksResponse(digest=after, previous_digest=before).SerializeToString()

        return behavior


def _pack(book: RuleBook, pack_id: str) -> Pack:
    pack = book.packs.get(pack_id)
    if pack is None:
        message = "no rule pack in force has this `pack_id`; ListRulePacks names those that are"
        raise Fault(Code.NOT_FOUND, "PACK_NOT_FOUND", message)
    return pack


def _list_packs(_request: packs_pb2.ListRulePacksRequest, rules: LoadedRules) -> Message:
    packs = [write_pack(pack) for _, pack in sorted(rules.book.packs.items())]
    return packs_pb2.ListRulePacksResponse(rule_packs=packs, digest=rules.digest)


def _get_pack(request: packs_pb2.GetRulePackRequest, rules: LoadedRules) -> Message:
    return packs_pb2.GetRulePackResponse(rule_pack=write_pack(_pack(rules.book, request.pack_id)))


def _list_criteria(request: packs_pb2.ListCriteriaRequest, rules: LoadedRules) -> Message:
    pack = _pack(rules.book, request.pack_id)
    criteria = [write_criterion(rules.book, pack, criterion) for _, criterion in sorted(pack.criteria.items())]
    return packs_pb2.ListCriteriaResponse(criteria=criteria)


def _get_criterion(request: packs_pb2.GetCriterionRequest, rules: LoadedRules) -> Message:
    for pack in rules.book.packs.values():
        criterion = pack.criteria.get(request.criterion_id)
        if criterion is not None:
            return packs_pb2.GetCriterionResponse(criterion=write_criterion(rules.book, pack, criterion))
    message = "no rule pack in force has this `criterion_id`; ListCriteria names those that it has"
    raise Fault(Code.NOT_FOUND, "CRITERION_NOT_FOUND", message)


def _get_source_attributes(request: packs_pb2.GetSourceAttributesRequest, rules: LoadedRules) -> Message:
    attributes = source_attributes(rules.book, _pack(rules.book, request.pack_id))
    return packs_pb2.GetSourceAttributesResponse(attributes=attributes)
