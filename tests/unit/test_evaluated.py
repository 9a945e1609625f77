"""What is kept of a decision does not change by a byte unless somebody means it to."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from engine import canonical
from engine.errors import EnginesDisagree
from engine.evaluator.agree import NO_DIGEST, Evaluator
from engine.evaluator.chain import Chain
from engine.evaluator.encoding import decode_facts, encode_decision, encode_explanation, encode_facts
from engine.facts import read_facts
from engine.ledger.seal import Context
from server.evaluation import Circumstances, decide, evaluate, read_asked
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from server.pb.eligibility.v1 import explanation_pb2, patient_pb2
from server.rules_in_force import LoadedRules, rules_digest
from tests.repository import repository_rules

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.compiler import form
    from engine.evaluator.agree import Mode
    from engine.evaluator.decision import Decision
    from engine.pack.book import RuleBook
    from server.evaluation import Evaluated

CIRCUMSTANCES = Circumstances("0f8b1c52-3d6a-4e7f-9a10-5b2c3d4e5f60", datetime(2025, 6, 2, 8, 30, tzinfo=UTC), "UTC")


def request_bytes(*, is_full: bool = False) -> bytes:
    message = service_pb2.EvaluateRequest(
        request_id="r-1", jurisdiction=service_pb2.JURISDICTION_US, as_of="2025-06-02", payer_id="CIGNA"
    )
    if is_full:
        message.view = explanation_pb2.EXPLANATION_VIEW_FULL
    history = message.patient_history
    history.demographics.age_years = 44
    history.demographics.weight_kg = 72.5
    history.vascular_medical.sbp_mmHg = 186
    history.vascular_medical.dbp_mmHg = 112
    history.diagnosis.phq9_item9 = 2
    trial = history.treatment_history.trials.items.add(drug="sertraline", max_dose_mg=150, weeks_at_adequate_dose=10)
    trial.outcome = patient_pb2.TRIAL_OUTCOME_NONRESPONSE
    return message.SerializeToString()


@pytest.fixture(scope="module")
def book() -> RuleBook:
    return repository_rules()


def kept(book: RuleBook, mode: Mode, *, is_full: bool = False) -> Evaluated:
    with closing(Evaluator(book, mode, sessions=1)) as engines:
        rules = LoadedRules(book, engines, rules_digest(book))
        return evaluate(request_bytes(is_full=is_full), rules, CIRCUMSTANCES, 100, lambda: None).evaluated


def test_golden_bytes(book: RuleBook, check_golden: Callable[[str, str], None]) -> None:
    evaluated = kept(book, "both")
    lines = [
        f"facts {evaluated.facts.decode()}",
        f"context {evaluated.context.hex()}",
        f"parameters {evaluated.parameters.decode()}",
        f"decision {evaluated.decision.decode()}",
        f"interpret_digest {evaluated.interpret_digest.hex()}",
        f"chain_digest {evaluated.chain_digest.hex()}",
        f"explanation {evaluated.explanation.decode()}",
    ]
    check_golden("evaluated.txt", "\n".join(lines) + "\n")


def test_what_came_and_what_goes_are_kept_as_they_are(book: RuleBook) -> None:
    evaluated = kept(book, "interpret")

    assert evaluated.request_bytes == request_bytes()
    response = service_pb2.EvaluateResponse.FromString(evaluated.response_bytes)
    assert response.decision.decision_id == CIRCUMSTANCES.decision_id
    assert evaluated.chain_digest == NO_DIGEST != evaluated.interpret_digest


def test_the_fast_encodings_give_the_bytes_of_the_strict_one(book: RuleBook) -> None:
    evaluated = kept(book, "interpret", is_full=True)
    decision = evaluated.outcome.decision
    assert decision.coverage is not None
    outline = json.loads(canonical.encode(decision))
    for answer in (*outline["options"], outline["triage"], outline["coverage"]):
        answer["criteria"] = [[c["id"], c["truth"], c["side"]] for c in answer["criteria"]]
    documentation = outline["coverage"]["documentation"]
    outline["coverage"]["documentation"] = [[item["fact"], item["state"]] for item in documentation]

    assert evaluated.decision == canonical.encode(outline)
    assert evaluated.explanation == canonical.encode(explained(decision))
    assert evaluated.facts == canonical.encode(json.loads(evaluated.facts))


def test_words_that_are_not_normal_are_kept_as_the_strict_encoding_keeps_them(book: RuleBook) -> None:
    decision = kept(book, "interpret").outcome.decision
    finding = decision.triage.criteria[0]
    fact = replace(finding.facts[0], value='e\u0301 "\\\u2028\x00', source="\u212b")
    decision = replace(decision, triage=replace(decision.triage, criteria=(replace(finding, facts=(fact,)),)))

    assert encode_explanation(decision) == canonical.encode(explained(decision))


def test_another_wording_is_a_difference_of_the_explanation_alone(book: RuleBook) -> None:
    decision = kept(book, "interpret").outcome.decision
    option = decision.options[0]
    findings = (replace(option.criteria[0], because="Said in other words."), *option.criteria[1:])
    reworded = replace(decision, options=(replace(option, criteria=findings), *decision.options[1:]))
    findings = (replace(option.criteria[0], truth="unknown"), *option.criteria[1:])
    turned = replace(decision, options=(replace(option, criteria=findings), *decision.options[1:]))

    assert encode_decision(reworded) == encode_decision(decision)
    assert encode_explanation(reworded) != encode_explanation(decision)
    assert encode_decision(turned) != encode_decision(decision)


def test_facts_are_read_back_from_their_bytes(book: RuleBook) -> None:
    given = {
        "age_years": 44,
        "weight_kg": Decimal("72.5"),
        "madrs_total": {"value": 31, "date": "2025-05-30", "source": "Observation/1"},
        "sbp_mmHg": 900,
        "dbp_mmHg": 80,
        "si_level": {"value": "active_intent_no_plan", "date": "2025-05-30", "source": "Observation/2"},
        "trials": [
            {"drug": "sertraline", "start_date": "2025-01-10", "end_date": "2026-01-01"},
            {"value": {"drug": "venlafaxine"}, "source": "MedicationRequest/1"},
        ],
    }
    facts = read_facts(book.facts, book.dictionary.constraints, given, date(2025, 6, 2))
    read = decode_facts(encode_facts(facts, book.facts), book.facts)

    assert encode_facts(read, book.facts) == encode_facts(facts, book.facts)
    assert {n: s.value for n, s in read.known.items()} == {n: s.value for n, s in facts.known.items()}
    assert read.records["trials"][0].values == facts.records["trials"][0].values
    assert read.records["trials"][0].has_future_date
    assert [record.source for record in read.records["trials"]] == ["", "MedicationRequest/1"]
    assert read.unusable == facts.unusable != ()
    assert [s.value for s in read.stale.values()] == ["active_intent_no_plan"]


@pytest.mark.parametrize(
    "change",
    [
        (b'"as_of":"2025-06-02"', b'"as_of":"2025-6-2"'),
        (b'"as_of"', b' "as_of"'),
        (b'"value":44', b'"value":"44"'),
        (b'"value":44', b'"value":true'),
        (b'"value":"72.5"', b'"value":725'),
        (b'"value":"72.5"', b'"value":"72.50"'),
        (b'"value":"72.5"', b'"value":"NaN"'),
        (b'"age_years"', b'"age_in_years"'),
        (b'"has_future_date":false,', b""),
        (b"{", b"["),
    ],
)
def test_bytes_that_are_no_facts_are_refused(book: RuleBook, change: tuple[bytes, bytes]) -> None:
    facts = kept(book, "interpret").facts
    assert change[0] in facts

    with pytest.raises(ValueError, match="canonical bytes of facts"):
        decode_facts(facts.replace(*change), book.facts)


def test_where_the_engines_differ_everything_that_an_error_entry_seals_is_at_hand(
    book: RuleBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dishonest(self: Chain, inputs: form.Inputs) -> form.Values:
        values = honest(self, inputs)
        return replace(values, values={**values.values, "triage": "none of them"})

    honest = Chain.evaluate
    monkeypatch.setattr(Chain, "evaluate", dishonest)
    with closing(Evaluator(book, "both", sessions=1)) as engines:
        rules = LoadedRules(book, engines, rules_digest(book))
        asked = read_asked(request_bytes(), book, CIRCUMSTANCES, 100)
        with pytest.raises(EnginesDisagree) as caught:
            decide(asked, rules, CIRCUMSTANCES, lambda: None)
    alone = kept(book, "interpret")

    assert caught.value.parameters == alone.parameters
    assert hashlib.sha256(caught.value.interpreted).digest() == caught.value.interpret_digest == alone.interpret_digest
    assert b"none of them" in caught.value.chained
    assert hashlib.sha256(caught.value.chained).digest() == caught.value.chain_digest
    assert (asked.request_bytes, encode_facts(asked.facts, book.facts)) == (alone.request_bytes, alone.facts)
    assert CIRCUMSTANCES.context(asked.facts.as_of).encode() == alone.context


def test_circumstances_are_read_back_from_their_context() -> None:
    streamed = replace(CIRCUMSTANCES, position=3)

    for circumstances in (CIRCUMSTANCES, streamed):
        assert Circumstances.of(Context.decode(circumstances.context(date(2025, 6, 2)).encode())) == circumstances
    assert Context.decode(streamed.context(None).encode()).as_of is None


def explained(decision: Decision) -> dict[str, object]:
    coverage = decision.coverage
    return {
        "options": {o.option: o.criteria for o in decision.options},
        "triage": decision.triage.criteria,
        "coverage": coverage.criteria if coverage else (),
        **({"documentation": coverage.documentation} if coverage else {}),
    }
