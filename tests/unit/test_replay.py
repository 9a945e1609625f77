"""A replay gives the logged decision again, or says what keeps it from that; nothing that was not run is a match."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import pytest

from engine.errors import ChainFault, EntryNotFoundError, IntegrityError
from engine.evaluator.agree import SEMANTICS_VERSION
from engine.evaluator.chain import Chain
from engine.ledger.body import BlobKind, Feedback, write_body
from engine.ledger.entry import Kind
from engine.ledger.log import Blob
from engine.ledger.manifest import Build, manifest, semantics_version
from engine.ledger.replay import Outcome, Replayer, Stage
from engine.ledger.seal import Context, MessagePart
from engine.pack import digest as canonical
from engine.pack.load import book_from_bytes
from server.convert.ledger import EVALUATE
from server.convert.replay import wire
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from server.pb.eligibility.v1 import explanation_pb2
from tests.repository import repository_rules
from tests.unit.memory_log import (
    MANIFEST,
    Bench,
    MemoryLog,
    cases,
    decided,
    replayed,
    request_of,
    rules_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engine.compiler import form
    from engine.ledger.seal import PatientPart
    from engine.pack.book import RuleBook
    from server.rules_in_force import LoadedRules

pytestmark = pytest.mark.long

COMMITMENT_OFFSET = 293
OTHER_ENGINE = Blob(BlobKind.ENGINE_MANIFEST, MANIFEST.body.replace(b"}", b',"x":"another build"}'), "engine")


@pytest.fixture(scope="module")
def book() -> RuleBook:
    return repository_rules()


@pytest.fixture(scope="module")
def rules(book: RuleBook) -> Iterator[LoadedRules]:
    loaded = rules_of(book)
    with closing(loaded.engines):
        yield loaded


@pytest.fixture(scope="module")
def both(book: RuleBook) -> Iterator[LoadedRules]:
    loaded = rules_of(book, "both")
    with closing(loaded.engines):
        yield loaded


@pytest.fixture(scope="module")
def content(both: LoadedRules) -> PatientPart:
    return decided(both, request_of(cases()[0]).SerializeToString())


@pytest.fixture(scope="module")
def one(both: LoadedRules) -> Iterator[Bench]:
    bench = Bench(both)
    with closing(bench.replayer):
        yield bench


def test_every_example_replays_to_the_bytes_that_were_logged(rules: LoadedRules, both: LoadedRules) -> None:
    log = MemoryLog()
    for case in cases():
        request = request_of(case)
        log.decide(decided(both, request.SerializeToString()), both.blobs)
        request.view = explanation_pb2.EXPLANATION_VIEW_FULL
        streamed = service_pb2.EvaluateStreamRequest(request=request).SerializeToString()
        log.decide(decided(rules, streamed, position=len(log.leaves)), rules.blobs)
    with closing(Replayer(log.view, wire(), MANIFEST.digest)) as replayer:
        results = [replayer.replay(index) for index in range(len(log.leaves))]

    assert [(r.index, r.outcome, r.detail) for r in results] == [
        (i, Outcome.MATCH, "") for i in range(2 * len(cases()))
    ]
    assert {r.logged_engine for r in results} == {MANIFEST.digest}


def test_both_engines_run_again_where_both_had_run(
    content: PatientPart, one: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    honest = Chain.evaluate

    def heard(self: Chain, inputs: form.Inputs) -> form.Values:
        asked.append(inputs)
        return honest(self, inputs)

    monkeypatch.setattr(Chain, "evaluate", heard)

    assert one(content).outcome is Outcome.MATCH
    assert asked


def changed(data: bytes, **values: object) -> bytes:
    return json.dumps(json.loads(data) | values, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def altered(content: PatientPart, stage: Stage) -> tuple[PatientPart, tuple[str, ...]]:
    """Give a decision that was logged wrongly in one place, and the path of that place."""
    match stage:
        case Stage.FACTS:
            known = json.loads(content.facts)["known"]
            known["age_years"]["value"] += 1
            return replace(content, facts=changed(content.facts, known=known)), ("known.age_years.value",)
        case Stage.PARAMETERS:
            data = changed(content.parameters, bp_caution_systolic=["141", "mm[Hg]"])
            return replace(content, parameters=data), ("bp_caution_systolic[0]",)
        case Stage.DECISION:
            options = json.loads(content.decision)["options"]
            options[1]["criteria"][0][1] = "unknown"
            return replace(content, decision=changed(content.decision, options=options)), ("options[1].criteria[0][1]",)
        case Stage.ENGINES:
            return replace(content, digests=content.digests[:32] + bytes([1] * 32)), ("chain",)
        case Stage.EXPLANATION:
            options = json.loads(content.explanation)["options"]
            options["esketamine"][0]["because"] += " Indeed."
            data = changed(content.explanation, options=options)
            return replace(content, explanation=data), ("options.esketamine[0].because",)
        case Stage.RESPONSE:
            response = service_pb2.EvaluateResponse.FromString(content.response)
            response.decision.options[0].summary += " Indeed."
            return replace(content, response=response.SerializeToString()), ("decision.options[0].summary",)


@pytest.mark.parametrize("stage", Stage)
def test_a_decision_that_was_logged_wrongly_differs_at_its_stage_and_place(
    content: PatientPart, one: Bench, stage: Stage
) -> None:
    wrong, paths = altered(content, stage)
    result = one(wrong)

    assert (result.outcome, result.stage, result.differences) == (Outcome.MISMATCH, stage, paths)


def test_of_several_differences_the_first_stage_is_told(content: PatientPart, one: Bench) -> None:
    wrong = content
    for stage in reversed(Stage):
        wrong, _ = altered(wrong, stage)
        assert one(wrong).stage is stage


@pytest.mark.parametrize("stage", [Stage.FACTS, Stage.PARAMETERS, Stage.DECISION, Stage.EXPLANATION])
def test_bytes_that_are_not_canonical_differ_though_they_say_the_same(
    content: PatientPart, one: Bench, stage: Stage
) -> None:
    data = getattr(content, stage)
    result = one(replace(content, **{stage: data.replace(b",", b", ", 1)}))

    assert (result.outcome, result.stage) == (Outcome.MISMATCH, stage)
    assert "not canonical" in result.detail


def test_response_bytes_count_under_the_same_engine_only(content: PatientPart, one: Bench) -> None:
    # The same message in another order of its fields.
    response = service_pb2.EvaluateResponse.FromString(content.response)
    request_id = service_pb2.EvaluateResponse(request_id=response.request_id).SerializeToString()
    response.ClearField("request_id")
    reordered = replace(content, response=response.SerializeToString() + request_id)
    assert service_pb2.EvaluateResponse.FromString(reordered.response) == service_pb2.EvaluateResponse.FromString(
        content.response
    )

    result = one(reordered)
    assert (result.outcome, result.stage, result.differences) == (Outcome.MISMATCH, Stage.RESPONSE, ())
    assert one(content, OTHER_ENGINE).outcome is Outcome.MATCH
    other = one(reordered, OTHER_ENGINE)
    assert (other.outcome, other.logged_engine) == (Outcome.MATCH, OTHER_ENGINE.digest)
    wrong, paths = altered(content, Stage.RESPONSE)
    assert one(wrong, OTHER_ENGINE).differences == paths
    assert one(replace(content, response=b"\xff"), OTHER_ENGINE).stage is Stage.RESPONSE


def test_c84_each_thing_that_is_missing_or_damaged_has_an_outcome_of_its_own(
    content: PatientPart, both: LoadedRules, one: Bench
) -> None:
    log = MemoryLog()
    index = log.decide(content, both.blobs)
    seen = {}
    for name, blob in {
        "pack": both.blobs.packs[-1],
        "pack set": both.blobs.pack_set,
        "reference": both.blobs.reference,
        "facts.yaml": both.blobs.facts,
        "engine": MANIFEST,
    }.items():
        row = log.blob_rows.pop(blob.digest)
        result = replayed(log, index)
        assert (result.outcome, result.missing_digest) == (Outcome.MISSING_BLOB, blob.digest), name
        log.blob_rows[blob.digest] = row._replace(body=row.body[:-1])
        assert replayed(log, index).missing_digest == blob.digest, name
        log.blob_rows[blob.digest] = row
    this = f'"semantics_version":"{SEMANTICS_VERSION}"'.encode()
    others: tuple[str, ...] = ("1", "later")
    for other in others:
        language = manifest(Build({}, {}, "", "", "", "")).replace(this, f'"semantics_version":"{other}"'.encode())
        assert semantics_version(language) == other
        seen[other] = one(content, Blob(BlobKind.ENGINE_MANIFEST, language, ""))
    seen["no manifest"] = one(content, Blob(BlobKind.ENGINE_MANIFEST, b"[]", ""))
    seen["method"] = one(replace(content, method="/x/Y"))
    assert {r.outcome for r in seen.values()} == {Outcome.ENGINE_UNAVAILABLE}
    assert len({r.detail for r in seen.values()}) == len(seen)
    facts = one(replace(content, facts=content.facts[:-1]))
    assert (facts.outcome, facts.stage, facts.differences) == (Outcome.MISMATCH, Stage.FACTS, ())
    request = request_of(cases()[0], age_years=45).SerializeToString()
    asked = one(replace(content, request=request))
    assert (asked.stage, asked.differences) == (Stage.FACTS, ("known.age_years.value",))
    assert replayed(log, index).outcome is Outcome.MATCH


@pytest.mark.parametrize(
    "request_bytes", [b"\xff", b"", request_of(cases()[0], request_id="r" * 200).SerializeToString()]
)
def test_c84_a_request_that_cannot_be_read_any_more_differs_at_the_facts(
    content: PatientPart, one: Bench, request_bytes: bytes
) -> None:
    result = one(replace(content, request=request_bytes))

    assert (result.outcome, result.stage) == (Outcome.MISMATCH, Stage.FACTS)
    assert "cannot be read" in result.detail


def test_another_day_or_moment_than_the_logged_one_shows(content: PatientPart, one: Bench) -> None:
    context = content.context
    other_day = replace(content, context=replace(context, as_of=date(2025, 6, 3)))
    assert one(other_day).differences == ("as_of",)
    later = dict(context.seen) | {"evaluate_time": b"2025-06-02T08:31:00+00:00"}
    assert one(replace(content, context=replace(context, seen=tuple(later.items())))).differences == (
        "decision.evaluate_time.seconds",
    )
    assert "does not tell when" in one(replace(content, context=Context(context.as_of, "UTC"))).detail


def test_keys_bodies_and_commitments_that_are_not_those_of_the_entry(content: PatientPart, both: LoadedRules) -> None:
    log = MemoryLog()
    index = log.decide(content, both.blobs)
    body, key_id = log.bodies[index, 1], log.key("p")
    assert body is not None
    log.bodies[index, 1] = body[:-1] + bytes([body[-1] ^ 1])
    assert replayed(log, index).outcome is Outcome.UNDECRYPTABLE
    log.bodies[index, 1] = None
    assert replayed(log, index).detail == "its sealed part is gone, and no tombstone says why"
    log.bodies[index, 1] = body
    key = log.keys.pop(key_id)
    assert (replayed(log, index).outcome, replayed(log, index).tombstone_index) == (Outcome.UNDECRYPTABLE, None)
    log.keys[key_id] = bytes(32)
    assert replayed(log, index).outcome is Outcome.UNDECRYPTABLE
    log.keys[key_id] = key
    assert replayed(log, index).outcome is Outcome.MATCH

    leaf = bytearray(log.leaves[index])
    leaf[COMMITMENT_OFFSET] ^= 1
    log.leaves[index] = bytes(leaf)
    assert replayed(log, index).outcome is Outcome.BAD_COMMITMENT


def test_an_erased_decision_is_told_with_its_tombstone_even_if_its_key_comes_back(
    content: PatientPart, both: LoadedRules
) -> None:
    log = MemoryLog()
    index, other = (log.decide(content, both.blobs, patient=name) for name in ("a", "b"))
    key = log.keys[log.key("a")]
    body = log.bodies[index, 1]
    with closing(Replayer(log.view, wire(), MANIFEST.digest)) as replayer:
        assert replayer.replay(index).outcome is Outcome.MATCH
        tombstone = log.shred("a")
        result = replayer.replay(index)
        assert (result.outcome, result.tombstone_index) == (Outcome.SHREDDED, tombstone)
        assert replayer.replay(other).outcome is Outcome.MATCH
        log.keys[log.key("a")] = key
        log.bodies[index, 1] = body
        assert replayer.replay(index).outcome is Outcome.SHREDDED


@pytest.mark.parametrize(("keys", "is_right"), [(("a", "b"), True), (("a", "a"), False)])
def test_c98_two_patients_under_one_key_are_caught_when_one_is_erased(
    content: PatientPart, both: LoadedRules, keys: tuple[str, str], *, is_right: bool
) -> None:
    log = MemoryLog()
    first, second = (log.decide(content, both.blobs, patient=key) for key in keys)
    log.shred(keys[0])

    assert (replayed(log, first).outcome, replayed(log, second).outcome) == (
        Outcome.SHREDDED,
        Outcome.MATCH if is_right else Outcome.SHREDDED,
    )


def test_what_is_no_decision_is_not_replayed(content: PatientPart, both: LoadedRules) -> None:
    log = MemoryLog()
    log.decide(content, both.blobs)
    message = MessagePart("/x/Y", b"", b"")
    others = [
        log.fail(content, both.blobs, "invalid-fields"),
        log.shred("nobody"),
        log.seal(Kind.FEEDBACK, message, (bytes([1] * 32),) * 4, "q", write_body(Feedback(0))),
    ]

    assert {replayed(log, index).outcome for index in others} == {Outcome.NOT_A_DECISION}
    with pytest.raises(EntryNotFoundError):
        replayed(log, 99)
    log.leaves[0] = log.leaves[0][:-1]
    with pytest.raises(IntegrityError):
        replayed(log, 0)


def test_engines_that_differ_or_fail_today_are_told(
    content: PatientPart, one: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lie(self: Chain, inputs: form.Inputs) -> form.Values:
        values = honest(self, inputs)
        return replace(values, values={**values.values, "triage": "none of them"})

    def fault(*_: object) -> None:
        message = "the session failed"
        raise ChainFault(message)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    honest = Chain.evaluate
    monkeypatch.setattr(Chain, "evaluate", lie)
    result = one(content)
    assert (result.outcome, result.stage, result.differences) == (Outcome.MISMATCH, Stage.ENGINES, ("triage",))
    monkeypatch.setattr(Chain, "evaluate", fault)
    assert one(content).outcome is Outcome.ENGINE_UNAVAILABLE
    monkeypatch.setattr(Chain, "evaluate", fail)
    result = one(content)
    assert (result.outcome, result.stage) == (Outcome.MISMATCH, Stage.DECISION)
    assert result.detail == "this build fails here: ZeroDivisionError"


def test_differences_of_responses_are_named_by_their_paths(content: PatientPart) -> None:
    compare = wire().differences[EVALUATE]
    response = service_pb2.EvaluateResponse.FromString(content.response)

    def differences(change: Callable[[service_pb2.EvaluateResponse], object]) -> list[str]:
        other = service_pb2.EvaluateResponse.FromString(content.response)
        change(other)
        return compare(content.response, other.SerializeToString())

    option = "decision.options[0]"
    assert differences(lambda _: None) == []
    assert differences(lambda r: r.decision.options[0].criteria[1].facts[0].ClearField("value")) == [
        f"{option}.criteria[1].facts[0].value"
    ]
    assert differences(lambda r: r.decision.options[0].criteria.pop()) == [f"{option}.criteria"]
    assert differences(lambda r: r.decision.ClearField("triage")) == ["decision.triage"]
    assert differences(lambda r: r.decision.option_order.reverse()) == ["decision.option_order"]
    assert differences(lambda r: r.ParseFromString(r.SerializeToString() + b"\xf8\x3f\x01")) == ["?"]
    assert compare(response.SerializeToString(), b"\xff") == ["the logged bytes are no EvaluateResponse"]


def edited(book: RuleBook, note: bytes) -> RuleBook:
    """Give rules whose ids and versions are the same, and whose bytes are not."""
    files = dict(book.packs["us"].files)
    files["pack.yaml"] = files["pack.yaml"] + b"\n# " + note + b"\n"
    packs = [canonical.encode(files if pack.id == "us" else pack.files) for pack in book.packs.values()]
    return book_from_bytes(canonical.encode(book.facts_files), canonical.encode(book.reference_files), packs)


def test_c87_packs_are_those_of_the_digest_never_those_of_the_id(
    rules: LoadedRules, book: RuleBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.ledger.replay.KEPT_SETS", 1)
    old = decided(rules, request_of(cases()[0]).SerializeToString())
    other = rules_of(edited(book, b"edited in place"))
    log = MemoryLog()
    log.decide(old, rules.blobs)
    with closing(other.engines):
        log.decide(decided(other, old.request), other.blobs)
    crossed = log.decide(old, other.blobs)

    with closing(Replayer(log.view, wire(), MANIFEST.digest)) as replayer:
        assert [replayer.replay(index).outcome for index in (0, 1, 0)] == [Outcome.MATCH] * 3
        result = replayer.replay(crossed)
    packs = [pack["id"] for pack in json.loads(old.decision)["packs"]]
    assert (result.stage, result.differences) == (Stage.DECISION, (f"packs[{packs.index('us')}].digest",))
