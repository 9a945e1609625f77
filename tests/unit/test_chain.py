"""What durable-rules concludes, node by node, and what happens when it cannot."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.compiler.form import (
    OPEN,
    All,
    Always,
    AnyOf,
    AtLeast,
    ChoiceNode,
    Compare,
    Compiled,
    ConditionNode,
    CountNode,
    EvidenceNode,
    Expression,
    FactNode,
    Graph,
    Holds,
    Inputs,
    Is,
    Known,
    Node,
    Not,
    OneOf,
    Source,
    Value,
)
from engine.errors import ChainFault, RulePackError
from engine.evaluator.chain import Chain, driver, panels, program, session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

pytestmark = pytest.mark.long

TRUTHS = (True, False, None)

GIVEN: tuple[Node, ...] = (
    FactNode("a", "bool"),
    FactNode("b", "bool"),
    FactNode("c", "bool"),
    FactNode("band", "enum", ("none", "mild", "moderate", "severe")),
    FactNode("score", "int"),
    FactNode("days", "date"),
)


def patient(*nodes: Node, records: Sequence[Node] | None = None) -> Compiled:
    if records is None:
        return Compiled(Graph((*GIVEN, *nodes)), {}, {})
    graph = Graph((*GIVEN, FactNode("complete", "bool"), *nodes))
    return Compiled(graph, {"trials": Graph(tuple(records))}, {"trials": "complete"})


def given(values: Mapping[str, Value], *records: dict[str, Value]) -> Inputs:
    return Inputs(dict(values), {"trials": records})


def concluded(compiled: Compiled, cases: Iterable[Mapping[str, Value]], node: str = "x") -> list[Value]:
    with closing(Chain(compiled, sessions=1)) as chain:
        return [chain.evaluate(given(case)).values[node] for case in cases]


def refusal(compiled: Compiled) -> str:
    with pytest.raises(RulePackError) as refused:
        Chain(compiled)
    return str(refused.value)


def letters(count: int) -> tuple[Node, ...]:
    return tuple(FactNode(f"fact{number}", "bool") for number in range(count))


def each_holds(count: int) -> tuple[Expression, ...]:
    return tuple(Holds(f"fact{number}") for number in range(count))


# Conditions


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (Always(), {}),
        (Holds("a"), {(True,): True, (False,): False, (None,): None}),
        (Not(Holds("a")), {(True,): False, (False,): True, (None,): None}),
        (Is("a", truth=True), {(True,): True, (False,): False, (None,): False}),
        (Is("a", truth=False), {(True,): False, (False,): True, (None,): False}),
        (Is("a", truth=None), {(True,): False, (False,): False, (None,): True}),
        (Known("a"), {(True,): True, (False,): True, (None,): False}),
        (Not(Known("a")), {(True,): False, (False,): False, (None,): True}),
        (AnyOf((Holds("a"), Not(Holds("a")))), {(True,): True, (False,): True, (None,): None}),
        (All((Holds("a"), Not(Holds("a")))), {(True,): False, (False,): False, (None,): None}),
        (All(()), {(None,): True}),
        (AnyOf(()), {(None,): False}),
    ],
)
def test_condition_over_a_truth(expression: Expression, expected: dict[tuple[bool | None, ...], bool | None]) -> None:
    expected = expected or {(None,): True}
    cases = [{"a": truth} for (truth,) in expected]
    assert concluded(patient(ConditionNode("x", expression)), cases) == list(expected.values())


@pytest.mark.parametrize("is_nested", [False, True])
def test_connectives_are_strong_kleene(*, is_nested: bool) -> None:
    parts = tuple(AnyOf((Holds(name), Holds(name))) if is_nested else Holds(name) for name in "abc")
    nodes = (
        ConditionNode("all", All(parts)),
        ConditionNode("any", AnyOf(parts)),
        *(ConditionNode(f"at_least_{n}", AtLeast(n, parts)) for n in range(5)),
    )
    with closing(Chain(patient(*nodes), sessions=1)) as chain:
        for truths in product(TRUTHS, repeat=3):
            values = chain.evaluate(given(dict(zip("abc", truths, strict=True)))).values
            sure, possible = truths.count(True), 3 - truths.count(False)
            for n in range(5):
                assert values[f"at_least_{n}"] is (True if sure >= n else False if possible < n else None)
            assert values["all"] is values["at_least_3"]
            assert values["any"] is values["at_least_1"]


@pytest.mark.parametrize("node", ["score", "days"])
def test_comparison_of_a_number(node: str) -> None:
    nodes = [ConditionNode(sign, Compare(node, sign, 7)) for sign in ("<", "<=", ">", ">=", "==")]
    nodes += [ConditionNode("not", Not(Compare(node, "==", 7))), ConditionNode("known", Known(node))]
    with closing(Chain(patient(*nodes), sessions=1)) as chain:
        table = {number: list(chain.evaluate(given({node: number})).values.values()) for number in (6, 7, 8, -7, None)}
    assert table == {
        6: [True, True, False, False, False, True, True],
        7: [False, True, False, True, True, False, True],
        8: [False, False, True, True, False, True, True],
        -7: [True, True, False, False, False, True, True],
        None: [None, None, None, None, None, None, False],
    }


def test_enum_is_one_of() -> None:
    nodes = (
        ConditionNode("outer", OneOf("band", frozenset({"none", "severe", "elsewhere"}))),
        ConditionNode("never", OneOf("band", frozenset({"elsewhere"}))),
        ConditionNode("known", Known("band")),
    )
    with closing(Chain(patient(*nodes), sessions=1)) as chain:
        table = {
            band: tuple(chain.evaluate(given({"band": band})).values.values())
            for band in ("none", "mild", "moderate", "severe", None)
        }
    assert table == {
        "none": (True, False, True),
        "mild": (False, False, True),
        "moderate": (False, False, True),
        "severe": (True, False, True),
        None: (None, None, False),
    }


def test_only_met_guards_count() -> None:
    nodes = (
        ConditionNode("exception", Holds("b")),
        ConditionNode("contradiction", Holds("c")),
        ConditionNode("x", Holds("a"), except_if="exception", unknown_if="contradiction"),
    )
    cases = [dict(zip("abc", truths, strict=True)) for truths in product(TRUTHS, repeat=3)]
    for case, value in zip(cases, concluded(patient(*nodes), cases), strict=True):
        assert value is (None if case["c"] else False if case["b"] else case["a"])


def test_conditions_chain_through_strata() -> None:
    names = [f"step{number}" for number in range(12)]
    nodes = [ConditionNode(names[0], Holds("a"))]
    nodes += [ConditionNode(name, Not(Holds(before)), level=1) for before, name in pairwise(names)]
    with closing(Chain(patient(*nodes), sessions=1)) as chain:
        assert chain.plan.levels == 12
        for truth in TRUTHS:
            values = list(chain.evaluate(given({"a": truth})).values.values())
            assert values == [None if truth is None else truth is (number % 2 == 0) for number in range(12)]


# Evidence


def test_first_source_that_speaks_decides() -> None:
    by_score = tuple(
        (All((Compare("score", ">=", low), Compare("score", "<", high))), word)
        for low, high, word in ((0, 7, "none"), (7, 20, "mild"), (30, 60, "severe"))
    )
    by_truth: tuple[tuple[Expression, bool | str], ...] = ((Holds("a"), "severe"), (Not(Holds("b")), "none"))
    node = EvidenceNode(
        "x",
        (Source("band"), Source("score", by_score), Source("a", by_truth[:1]), Source("b", by_truth[1:])),
        ("none", "mild", "moderate", "severe"),
    )
    table: list[tuple[dict[str, Value], Value]] = [
        ({"band": "mild", "score": 50, "a": True}, "mild"),
        ({"score": 6}, "none"),
        ({"score": 7, "a": True}, "mild"),
        ({"score": 25, "a": True}, "severe"),
        ({"score": 25}, None),
        ({"score": -1, "a": False, "b": False}, "none"),
        ({"a": False, "b": True}, None),
        ({}, None),
    ]
    assert concluded(patient(node), [case for case, _ in table]) == [value for _, value in table]


@pytest.mark.parametrize("otherwise", TRUTHS)
def test_otherwise_holds_where_no_source_speaks(otherwise: bool | None) -> None:  # noqa: FBT001 - the value under test
    mapping: tuple[tuple[Expression, bool | str], ...] = (
        (OneOf("band", frozenset({"mild", "moderate"})), True),
        (OneOf("band", frozenset({"none"})), False),
    )
    node = EvidenceNode("x", (Source("a"), Source("band", mapping)), otherwise=otherwise)
    cases = [{"a": a, "band": band} for a in TRUTHS for band in ("none", "mild", "moderate", "severe", None)]
    said = {"none": False, "mild": True, "moderate": True}
    for case, value in zip(cases, concluded(patient(node), cases), strict=True):
        assert value is (case["a"] if case["a"] is not None else said.get(str(case["band"]), otherwise))


def test_evidence_without_sources_is_settled_at_once() -> None:
    nodes = (EvidenceNode("x", (), otherwise=True), ConditionNode("y", Holds("x")), EvidenceNode("z", ()))
    with closing(Chain(patient(*nodes), sessions=1)) as chain:
        assert chain.evaluate(given({})).values == {"x": True, "y": True, "z": None}
        # Only `y` is left for the engine.
        assert chain.plan.productions == 2


# Choices


def test_first_step_whose_guard_is_met_is_chosen() -> None:
    conditions = (ConditionNode("p", Holds("a")), ConditionNode("q", All((Holds("b"), Holds("c")))))
    node = ChoiceNode(
        "x",
        (
            (AnyOf((Is("p", truth=True), All((Is("q", truth=True), Known("score"))))), "first"),
            (Is("p", truth=None), "second"),
            (All((Not(Is("q", truth=False)), Not(Is("q", truth=True)))), "first"),
        ),
        "last",
    )
    reader = ConditionNode("y", OneOf("x", frozenset({"first"})))
    with closing(Chain(patient(*conditions, node, reader), sessions=1)) as chain:
        for a, b, c, score in product(TRUTHS, TRUTHS, TRUTHS, (3, None)):
            values = chain.evaluate(given({"a": a, "b": b, "c": c, "score": score})).values
            is_first = a is True or (b is True and c is True and score is not None)
            expected = "first" if is_first else "second" if a is None else "first" if values["q"] is None else "last"
            assert values["x"] == expected
            assert values["y"] is (expected == "first")


def test_a_choice_without_steps() -> None:
    assert concluded(patient(ChoiceNode("x", (), "only")), [{}]) == ["only"]


# Records

RECORD: tuple[Node, ...] = (
    FactNode("drug", "enum", ("sertraline", "citalopram", "unlisted")),
    FactNode("weeks", "int"),
    FactNode("relieved", "bool"),
    ConditionNode("long", Compare("weeks", ">=", 6)),
    ConditionNode("failed", All((Holds("long"), Not(Holds("relieved")))), level=1),
)


def trial(drug: str | None, weeks: int | None, *, relieved: bool | None) -> dict[str, Value]:
    return {"drug": drug, "weeks": weeks, "relieved": relieved}


FAILED = trial("sertraline", 8, relieved=False)
UNCLEAR = trial("citalopram", 8, relieved=None)
SHORT = trial("unlisted", 2, relieved=None)
UNNAMED = trial(None, 9, relieved=False)


@pytest.mark.parametrize(
    ("records", "all_", "distinct"),
    [
        ((), (0, 0), (0, 0)),
        ((FAILED,), (1, 1), (1, 1)),
        ((FAILED, UNCLEAR, SHORT), (1, 2), (1, 2)),
        ((FAILED, FAILED), (2, 2), (1, 1)),
        ((FAILED, UNCLEAR, trial("sertraline", None, relieved=False)), (1, 3), (1, 2)),
        ((UNNAMED, UNNAMED, FAILED), (3, 3), (1, 3)),
        ((UNNAMED, UNNAMED), (2, 2), (1, 2)),
        ((trial(None, None, relieved=None), UNNAMED), (1, 2), (1, 2)),
    ],
)
def test_counts_are_intervals(
    records: tuple[dict[str, Value], ...], all_: tuple[int, int], distinct: tuple[int, int]
) -> None:
    nodes = (CountNode("n", "trials", "failed"), CountNode("d", "trials", "failed", "drug"))
    with closing(Chain(patient(*nodes, records=RECORD), sessions=1)) as chain:
        closed = chain.evaluate(given({"complete": True}, *records))
        assert (closed.values["n"], closed.values["d"]) == (all_, distinct)
        for is_complete in (False, None):
            values = chain.evaluate(given({"complete": is_complete}, *records)).values
            assert (values["n"], values["d"]) == ((all_[0], OPEN), (distinct[0], OPEN))


def test_records_are_concluded_one_by_one_in_order() -> None:
    with closing(Chain(patient(records=RECORD), sessions=1)) as chain:
        values = chain.evaluate(given({}, FAILED, UNCLEAR, SHORT, {}))
        assert values.records["trials"] == (
            {"long": True, "failed": True},
            {"long": True, "failed": None},
            {"long": False, "failed": False},
            {"long": None, "failed": None},
        )
        assert (chain.plan.levels, chain.plan.record_levels) == (0, {"trials": 2})


@pytest.mark.parametrize("missing", [{}, {"trials": None}])
def test_a_missing_list_counts_from_nothing_to_open(
    missing: dict[str, tuple[dict[str, Value], ...] | None],
) -> None:
    nodes = (CountNode("n", "trials", "failed"), ConditionNode("x", Compare("n", ">=", 1)))
    with closing(Chain(patient(*nodes, records=RECORD), sessions=1)) as chain:
        values = chain.evaluate(Inputs({"complete": True}, missing))
    assert values.values == {"n": (0, OPEN), "x": None}
    assert values.records == {"trials": ()}


def test_comparison_of_a_count_needs_the_whole_interval() -> None:
    nodes: list[Node] = [CountNode("n", "trials", "relieved")]
    nodes += [ConditionNode(sign, Compare("n", sign, 2)) for sign in ("<", "<=", ">", ">=", "==")]
    yes, no, unclear = ({"relieved": truth} for truth in TRUTHS)
    with closing(Chain(patient(*nodes, records=RECORD), sessions=1)) as chain:
        table = {
            records: [
                value
                for name, value in chain.evaluate(given({"complete": is_complete}, *records_)).values.items()
                if name != "n"
            ]
            for records, records_, is_complete in (
                ("two", (yes, no, yes), True),
                ("one to two", (yes, unclear), True),
                ("two to three", (yes, yes, unclear), True),
                ("two or more", (yes, yes), None),
                ("none", (no,), True),
                ("three", (yes, yes, yes), True),
            )
        }
    assert table == {
        "two": [False, True, False, True, True],
        "one to two": [None, True, False, None, None],
        "two to three": [False, None, None, True, None],
        "two or more": [False, None, None, True, None],
        "none": [True, True, False, False, False],
        "three": [False, False, True, True, False],
    }


# Width


def test_wide_conditions_are_split_into_parts() -> None:
    holds = each_holds(200)
    nodes = (
        *letters(200),
        ConditionNode("any", AnyOf(holds)),
        ConditionNode("all", All(holds)),
        ConditionNode("deep", All(tuple(AnyOf(holds[at : at + 20]) for at in range(0, 200, 20)))),
        ConditionNode("not", Not(AnyOf(tuple(All(holds[at : at + 5]) for at in range(0, 200, 5))))),
        ConditionNode("some", AtLeast(2, tuple(AnyOf(holds[at : at + 50]) for at in range(0, 200, 50)))),
    )
    everything: dict[str, Value] = {f"fact{number}": True for number in range(200)}
    nothing: dict[str, Value] = dict.fromkeys(everything, False)
    one_each = {**nothing, **{f"fact{number}": True for number in range(0, 200, 20)}}
    with closing(Chain(Compiled(Graph(nodes), {}, {}), sessions=1)) as chain:

        def row(values: dict[str, Value]) -> list[Value]:
            answer = chain.evaluate(given(values)).values
            assert list(answer) == ["any", "all", "deep", "not", "some"]
            return list(answer.values())

        assert row(everything) == [True, True, True, False, True]
        assert row(nothing) == [False, False, False, True, False]
        assert row(one_each) == [True, False, True, True, True]
        assert row({}) == [None] * 5
        assert row({**everything, "fact7": None}) == [True, None, True, False, True]
        assert row({**nothing, "fact7": None}) == [None, False, False, True, False]
        assert row({**nothing, "fact7": True, "fact60": None}) == [True, False, False, True, None]
    plan = chain.plan
    assert plan.widest_table <= panels.TABLE
    assert plan.stack_peak <= panels.STACK
    assert plan.properties <= panels.PROPERTIES


def test_a_wide_level_is_split_into_rulesets() -> None:
    nodes = [*letters(450), *(ConditionNode(f"c{number}", Holds(f"fact{number}")) for number in range(450))]
    with closing(Chain(Compiled(Graph(tuple(nodes)), {}, {}), sessions=1)) as chain:
        assert chain.plan.levels == 1
        assert chain.plan.rulesets > 1
        assert chain.plan.properties <= panels.PROPERTIES
        facts: dict[str, Value] = {f"fact{number}": TRUTHS[number % 3] for number in range(450)}
        answer = chain.evaluate(given(facts)).values
        assert answer == {f"c{number}": TRUTHS[number % 3] for number in range(450)}


def test_a_condition_that_cannot_be_split_is_refused_by_name() -> None:
    compiled = Compiled(Graph((*letters(12), ConditionNode("US-WIDE-01", AtLeast(6, each_holds(12))))), {}, {})
    text = refusal(compiled)
    assert "chain/too-wide" in text
    assert "`US-WIDE-01` needs more than 64 terms" in text


def test_evidence_and_choices_that_are_too_wide_are_refused_by_name() -> None:
    facts = letters(70)
    sources = tuple(Source(fact.name) for fact in facts)
    assert "`US-WIDE-02` needs" in refusal(Compiled(Graph((*facts, EvidenceNode("US-WIDE-02", sources))), {}, {}))
    steps = tuple((Is(fact.name, truth=True), "same") for fact in facts)
    assert "`US-WIDE-03` needs" in refusal(Compiled(Graph((*facts, ChoiceNode("US-WIDE-03", steps, "other"))), {}, {}))


def test_a_conclusion_that_reads_too_many_facts_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "PROPERTIES", 5)
    text = refusal(patient(ConditionNode("fits", Holds("a")), ConditionNode("US-WIDE-04", All(each_of("abc")))))
    assert "chain/too-many-facts" in text
    assert "`US-WIDE-04` reads" in text


def each_of(names: str) -> tuple[Expression, ...]:
    return tuple(Holds(name) for name in names)


def test_a_table_that_would_hang_the_engine_is_refused() -> None:
    with pytest.raises(RulePackError, match="chain/table"):
        panels.check_chains([("root", f"condition {number}") for number in range(panels.TABLE + 1)])


def test_a_stack_that_would_overflow_is_refused() -> None:
    chains = [(f"condition {number}", "next") for number in range(panels.STACK + 1)]
    with pytest.raises(RulePackError, match="chain/stack"):
        panels.check_chains(chains)
    assert panels.check_chains(chains[:-1]) == (panels.STACK + 1, panels.STACK)


def test_too_many_rules_on_one_condition_are_refused() -> None:
    with pytest.raises(RulePackError, match="chain/rules"):
        panels.check_chains([("same",)] * (panels.RULES + 1))


def test_names_that_the_engine_cannot_tell_apart_are_refused() -> None:
    assert panels.fnv("costarring") == panels.fnv("liquid")
    panels.check_names(["costarring"])
    with pytest.raises(RulePackError, match="chain/name-collision"):
        panels.check_names(["costarring", "liquid"])


@pytest.mark.parametrize("sessions", [0, 1001])
def test_the_number_of_sessions_is_bounded(sessions: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 1000"):
        Chain(patient(), sessions=sessions)


@pytest.mark.parametrize(
    ("node", "code"),
    [
        (ConditionNode("x", Holds("score")), "type"),
        (ConditionNode("x", OneOf("a", frozenset({"mild"}))), "type"),
        (ConditionNode("x", Compare("band", "<", 3)), "type"),
        (ConditionNode("x", Is("band", truth=True)), "type"),
        (ConditionNode("x", Holds("a"), except_if="score"), "type"),
        (EvidenceNode("x", (Source("score"),)), "type"),
        (EvidenceNode("x", (Source("a"),), ("none",)), "type"),
        (ConditionNode("x", Compare("score", "<", program.GREATEST)), "number"),
        (ConditionNode("x", Holds("later")), "order"),
        (ConditionNode("a", Holds("b")), "repeated-node"),
        (CountNode("x", "visits", "failed"), "order"),
        (CountNode("x", "trials", "elsewhere"), "order"),
        (CountNode("x", "trials", "failed", "elsewhere"), "order"),
        (CountNode("x", "trials", "drug"), "type"),
    ],
)
def test_a_graph_that_contradicts_itself_is_refused_by_node(node: Node, code: str) -> None:
    text = refusal(patient(node, records=RECORD))
    assert f"chain/{code}" in text
    assert f"`{node.name}`" in text


def test_a_count_within_a_record_is_refused() -> None:
    assert "chain/order" in refusal(patient(records=(*RECORD, CountNode("n", "trials", "failed"))))


def test_nothing_is_built_before_everything_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched()
    monkeypatch.setattr(session, "ENGINE", watched)
    refusal(patient(ConditionNode("y", Holds("a")), records=(*RECORD, ConditionNode("x", Holds("later")))))
    assert watched.calls == []


# Inputs


@pytest.mark.parametrize(
    ("name", "value"),
    [("a", 1), ("a", "true"), ("band", "acute"), ("band", 1), ("score", True), ("score", "44"), ("score", 2**60)],
)
def test_an_input_of_another_type_never_reaches_the_engine(name: str, value: Value) -> None:
    nodes = (
        ConditionNode("x", Holds("a")),
        ConditionNode("y", OneOf("band", frozenset({"mild"}))),
        ConditionNode("z", Compare("score", "==", 44)),
    )
    with closing(Chain(patient(*nodes), sessions=1)) as chain:
        with pytest.raises(ChainFault) as fault:
            chain.evaluate(given({name: value}))
        assert str(fault.value) == f"`{name}` was given a value that is not of its type"
        assert chain.evaluate(given({"a": True, "band": "mild", "score": 44})).values == dict.fromkeys("xyz", True)


# Faults of the engine


REAL = session.ENGINE


class Watched:
    """The engine, with its calls written down and one kind of them disturbed on request."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.disturb: dict[str, Callable[[], object]] = {}

    def __getattr__(self, name: str) -> object:
        real = getattr(REAL, name)

        def call(*arguments: object) -> object:
            self.calls.append(name)
            if name in self.disturb:
                disturbed = self.disturb[name]()
                if disturbed is not None:
                    return disturbed
            return real(*arguments)

        return call


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    watched = Watched()
    monkeypatch.setattr(session, "ENGINE", watched)
    return watched


def raise_once(error: BaseException, after: int = 0) -> Callable[[], None]:
    left = [after + 1]

    def disturb() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise error

    return disturb


CASCADE = patient(
    ConditionNode("p", AnyOf(each_of("ab"))),
    ConditionNode("q", AnyOf((*each_of("bc"), Holds("p"))), level=1),
    ConditionNode("r", All((Holds("p"), Holds("q"))), level=2),
)
CASES = [dict(zip("abc", truths, strict=True)) for truths in product(TRUTHS, repeat=3)]


@pytest.mark.parametrize("after", [0, 1, 2, 3])
@pytest.mark.parametrize("call", ["assert_fact", "start_action_for_state", "complete_and_start_action", "retract_fact"])
def test_a_session_is_healed_before_its_next_evaluation(watched: Watched, call: str, after: int) -> None:
    with closing(Chain(CASCADE, sessions=1)) as chain:
        expected = [chain.evaluate(given(case)) for case in CASES]
        for case, answer in zip(CASES, expected, strict=True):
            watched.disturb[call] = raise_once(RuntimeError("injected"), after)
            # There are three strata, so a fourth call comes only where firings are read.
            if after == 3 and call != "complete_and_start_action":
                assert chain.evaluate(given(CASES[0])) == expected[0]
            else:
                with pytest.raises(ChainFault, match="session was healed") as fault:
                    chain.evaluate(given(CASES[0]))
                assert isinstance(fault.value.__cause__, RuntimeError)
                assert "injected" not in str(fault.value)
            watched.disturb.clear()
            assert chain.evaluate(given(case)) == answer


def test_an_interrupt_passes_through_and_leaves_a_healed_session(watched: Watched) -> None:
    with closing(Chain(CASCADE, sessions=1)) as chain:
        watched.disturb["complete_and_start_action"] = raise_once(KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            chain.evaluate(given({"a": True, "b": True}))
        assert chain.evaluate(given({})).values == dict.fromkeys("pqr")


@pytest.mark.parametrize("call", ["delete_state", "assert_fact"])
def test_a_session_that_cannot_be_healed_is_replaced(watched: Watched, call: str) -> None:
    with closing(Chain(CASCADE, sessions=1, wait_seconds=1)) as chain:
        watched.disturb["complete_and_start_action"] = raise_once(RuntimeError("injected"))
        # The evaluation itself asserts once before it fails; the first call of healing fails too.
        watched.disturb[call] = raise_once(RuntimeError("injected"), 1 if call == "assert_fact" else 0)
        with pytest.raises(ChainFault):
            chain.evaluate(given({"a": True, "b": True}))
        watched.disturb.clear()
        answers = [chain.evaluate(given(case)).values for case in CASES]
    assert answers == [kleene_cascade(case) for case in CASES]


def kleene_cascade(case: Mapping[str, Value]) -> dict[str, Value]:
    def any_of(*truths: Value) -> Value:
        return True if True in truths else None if None in truths else False

    p = any_of(case["a"], case["b"])
    q = any_of(case["b"], case["c"], p)
    return {"p": p, "q": q, "r": False if False in (p, q) else None if None in (p, q) else True}


def test_an_empty_pool_says_so_in_bounded_time(watched: Watched) -> None:
    chain = Chain(CASCADE, sessions=1, wait_seconds=0.05)

    def fail() -> None:
        message = "injected"
        raise RuntimeError(message)

    watched.disturb["assert_fact"] = fail
    with pytest.raises(ChainFault, match="session was healed"):
        chain.evaluate(given({}))
    with pytest.raises(ChainFault, match=r"no session (came free|is left)"):
        chain.evaluate(given({}))
    chain.close()


def test_two_values_of_one_node_are_a_fault(watched: Watched) -> None:
    with closing(Chain(CASCADE, sessions=1)) as chain:
        forged = iter([f'{{"{number:03}":{{"m":{{}}}}}}' for number in range(3)])
        watched.disturb["complete_and_start_action"] = lambda: next(forged, None)
        with pytest.raises(ChainFault, match="two values of `p`"):
            chain.evaluate(given({"a": True}))
        watched.disturb.clear()
        assert chain.evaluate(given({"a": True})).values == dict.fromkeys("pqr", True)


def test_a_left_over_fact_is_a_fault(watched: Watched) -> None:
    with closing(Chain(CASCADE, sessions=1)) as chain:
        left_over = iter([(2, 1)])
        watched.disturb["assert_fact"] = lambda: next(left_over, None)
        with pytest.raises(ChainFault, match="a session held a fact"):
            chain.evaluate(given({"a": True}))
        assert chain.evaluate(given({"a": True})).values == dict.fromkeys("pqr", True)


@pytest.mark.parametrize("call", ["create_ruleset", "assert_fact", "complete_and_start_action"])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_chain_that_cannot_be_built_leaves_nothing_behind(watched: Watched, call: str, after: int) -> None:
    watched.disturb[call] = raise_once(RuntimeError("injected"), after)
    with pytest.raises(ChainFault, match="could not build"):
        Chain(CASCADE, sessions=2)
    built = watched.calls.count("create_ruleset") - (call == "create_ruleset")
    assert watched.calls.count("delete_ruleset") == built


# Threads, repetition, life and death


def test_threads_share_sessions_without_mixing_patients() -> None:
    with closing(Chain(CASCADE, sessions=4)) as chain, ThreadPoolExecutor(8) as threads:
        cases = CASES * 40
        answers = threads.map(lambda case: chain.evaluate(given(case)).values, cases)
        assert list(answers) == [kleene_cascade(case) for case in cases]


def test_an_evaluation_is_repeatable() -> None:
    compiled = patient(
        CountNode("n", "trials", "failed", "drug"), ConditionNode("x", Compare("n", ">=", 2)), records=RECORD
    )
    inputs = given({"complete": True}, FAILED, UNCLEAR, SHORT, UNNAMED)
    with closing(Chain(compiled, sessions=2)) as chain, closing(Chain(compiled, sessions=3)) as other:
        first = chain.evaluate(inputs)
        assert all(chain.evaluate(inputs) == first for _ in range(200))
        assert all(other.evaluate(inputs) == first for _ in range(10))
        assert list(first.values) == ["n", "x"]


def test_waiting_for_a_session_and_for_an_evaluation_is_bounded(watched: Watched) -> None:
    chain = Chain(CASCADE, sessions=1, wait_seconds=0.05)
    is_inside, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        is_inside.set()
        may_go.wait(10)

    watched.disturb["assert_fact"] = hold
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(chain.evaluate, given({"a": True}))
        assert is_inside.wait(10)
        with pytest.raises(ChainFault, match=r"no session (came free|is left)"):
            chain.evaluate(given({}))
        with pytest.raises(ChainFault, match="did not end"):
            chain.close()
        may_go.set()
        assert running.result(10).values == dict.fromkeys("pqr", True)
    chain.close()


def test_a_closed_chain_evaluates_nothing() -> None:
    chain = Chain(CASCADE)
    chain.close()
    chain.close()
    with pytest.raises(ChainFault, match="closed"):
        chain.evaluate(given({}))


def test_two_chains_of_one_name_live_side_by_side() -> None:
    other_way = patient(ConditionNode("p", Not(Holds("a"))))
    with closing(Chain(CASCADE, name="same")) as chain, closing(Chain(other_way, name="same")) as other:
        assert chain.evaluate(given({"a": True})).values["p"] is True
        assert other.evaluate(given({"a": True})).values["p"] is False


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_reloading_gives_its_memory_back() -> None:
    nodes = [*letters(40), *(ConditionNode(f"c{number}", AnyOf(each_holds(number))) for number in range(1, 9))]
    compiled = Compiled(Graph(tuple(nodes)), {}, {})

    def reload() -> None:
        with closing(Chain(compiled, sessions=4)) as chain:
            chain.evaluate(given({"fact0": True}))

    for _ in range(10):
        reload()
    before = resident_bytes()
    for _ in range(50):
        reload()
    assert resident_bytes() - before < 8_000_000


def test_the_plan_counts_what_was_built() -> None:
    with closing(Chain(CASCADE, sessions=1)) as chain:
        assert chain.plan == driver.Plan(
            productions=6,
            terms=10,
            levels=3,
            record_levels={},
            rulesets=3,
            properties=5,
            widest_table=5,
            stack_peak=4,
        )
