"""Two engines must agree, or there is no decision."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import pytest

from engine.errors import ChainFault, EnginesDisagree, FactError, NoRulePackError
from engine.evaluator.agree import NO_DIGEST, Evaluator
from engine.facts import PatientFacts, read_facts
from tests.repository import repository_rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.compiler import form
    from engine.pack.book import RuleBook

DAY = date(2025, 6, 2)


@pytest.fixture(scope="module")
def book() -> RuleBook:
    """Give the rules of the project."""
    return repository_rules()


@pytest.fixture
def evaluator(book: RuleBook) -> Iterator[Evaluator]:
    """Give an evaluator of both engines."""
    with closing(Evaluator(book, "both", sessions=1)) as made:
        yield made


def patient(book: RuleBook, **raw: object) -> PatientFacts:
    return read_facts(book.facts, book.dictionary.constraints, raw, DAY)


def test_both_engines_stand_behind_a_decision(book: RuleBook, evaluator: Evaluator) -> None:
    evaluation = evaluator.evaluate(patient(book, age_years=40), "US", None, DAY)

    assert evaluation.decision.engines.mode == "both"
    assert evaluation.interpret_digest == evaluation.chain_digest != NO_DIGEST


def test_one_engine_leaves_no_digest_of_the_other(book: RuleBook) -> None:
    with closing(Evaluator(book, "interpret")) as alone:
        evaluation = alone.evaluate(patient(book, age_years=40), "US", None, DAY)

    assert evaluation.decision.engines.mode == "interpret"
    assert evaluation.chain_digest == NO_DIGEST


@pytest.mark.parametrize("node", ["US-ESK-CI-01", "status:esketamine", "triage", "severity_band", "failed_trials_6_49"])
def test_a_single_value_on_which_they_differ_ends_it(
    book: RuleBook, evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch, node: str
) -> None:
    facts = patient(book, age_years=40)
    evaluator.evaluate(facts, "US", None, DAY)
    (engines,) = evaluator._engines.values()  # noqa: SLF001 - only a lie from within can make them differ
    chain = engines.chain
    assert chain is not None
    honest = chain.evaluate

    def dishonest(inputs: form.Inputs) -> form.Values:
        values = honest(inputs)
        return replace(values, values={**values.values, node: "something else"})

    monkeypatch.setattr(chain, "evaluate", dishonest)
    with pytest.raises(EnginesDisagree) as caught:
        evaluator.evaluate(facts, "US", None, DAY)

    assert caught.value.nodes == (node,)
    assert caught.value.interpret_digest != caught.value.chain_digest
    assert "something else" not in str(caught.value)


def test_a_fault_of_the_chain_is_no_decision_and_heals(
    book: RuleBook, evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.evaluator.chain import session  # noqa: PLC0415 - its one door is opened here to break it

    facts = patient(book, age_years=40)
    before = evaluator.evaluate(facts, "US", None, DAY)
    with monkeypatch.context() as broken:

        def fail(*_: object) -> None:
            message = "error 303"
            raise RuntimeError(message)

        broken.setattr(session.Ruleset, "fire", fail)
        with pytest.raises(ChainFault):
            evaluator.evaluate(facts, "US", None, DAY)

    assert evaluator.evaluate(facts, "US", None, DAY).decision == before.decision


def test_payers_and_jurisdictions_are_those_of_the_dictionary_and_the_packs(
    book: RuleBook, evaluator: Evaluator
) -> None:
    facts = patient(book, age_years=40)
    with pytest.raises(FactError, match="did you mean `CIGNA`"):
        evaluator.evaluate(facts, "US", "CIGNNA", DAY)
    with pytest.raises(NoRulePackError):
        evaluator.evaluate(facts, "CH", None, DAY)

    covered = evaluator.evaluate(facts, "EU", "CIGNA", DAY).decision.coverage
    assert covered is not None
    assert (covered.status, covered.criteria) == ("insufficient_data", ())


def test_the_ends_of_the_calendar_are_days_too(book: RuleBook) -> None:
    with closing(Evaluator(book, "interpret")) as alone:
        for day in (date(1, 1, 1), date(9999, 12, 31)):
            observed = {"value": 12, "date": day.isoformat()}
            raw = {"age_years": 0, "phq9_total": observed, "severity_date": day.isoformat()}
            facts = read_facts(book.facts, book.dictionary.constraints, raw, day)
            decision = alone.evaluate(facts, "US", "QUALCHOICE", day).decision
            assert decision.as_of == day.isoformat()
