"""`engine.compiler.check` and `engine.compiler.witness`: typed conditions become compiled form."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from engine.compiler import form
from engine.compiler.check import Past, Typing, fact_symbol, reads
from engine.compiler.witness import read_witnesses
from engine.pack.load import load_rules
from engine.pack.model import Derived

GOOD = Path(__file__).parents[1] / "packs" / "good"


@pytest.fixture
def typing() -> Typing:
    book = load_rules(GOOD)
    scope = {name: fact_symbol(definition) for name, definition in book.facts.items()}
    fields = {f.id: fact_symbol(f) for f in book.facts["trials"].fields}
    parameters = {n: (p, Decimal(next(iter(p.values.values())))) for n, p in book.packs["tiny"].parameters.items()}
    return Typing(book.packs["tiny"].located["criterion", "TINY-CI-01"], {**scope, **fields}, parameters, [])


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("always", form.Always()),
        ("danger", form.Holds("danger")),
        ({"not": "danger"}, form.Not(form.Holds("danger"))),
        ("age_years >= 18 a", form.Compare("age_years", ">=", 18)),
        ("pressure > $pressure_limit", form.Compare("pressure", ">", 140)),
        ("max_dose_mg >= 0.25 mg/d", form.Compare("max_dose_mg", ">=", 25)),
        ("allergy is yes", form.OneOf("allergy", frozenset({"yes"}))),
        ("allergy in [yes, no]", form.OneOf("allergy", frozenset({"yes", "no"}))),
        ("scored_on within 28 d", form.Compare("scored_on", "<=", 28)),
        ("scored_on within 0 d", form.Compare("scored_on", "<=", 0)),
        ("scored_on within 4 wk", form.Compare("scored_on", "<=", 28)),
        ("scored_on before 2022-12-14", form.Holds("scored_on before 2022-12-14")),
        ({"any": "drugs"}, form.Compare("drugs", ">", 0)),
        (
            {"any": ["danger", "allergy is no"]},
            form.AnyOf((form.Holds("danger"), form.OneOf("allergy", frozenset({"no"})))),
        ),
    ],
)
def test_a_condition_becomes_compiled_form(typing: Typing, condition: object, expected: form.Expression) -> None:
    assert typing.condition(condition, ("when",)) == expected
    assert not typing.faults


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("max_dose_mg >= 0.255 mg/d", "is not a value"),
        ("pressure > 140", "not in no unit"),
        ("score > 3 a", "not in `a`"),
        ("drug is alpha", "a text"),
        ("danger > 1", "write its name alone"),
        ("trials", "cannot be used"),
        ("scored_on within -1 d", "holds for no day"),
    ],
)
def test_what_does_not_fit_is_told_and_stands_for_always(typing: Typing, condition: str, words: str) -> None:
    assert typing.condition(condition, ("when",)) == form.Always()
    assert [f.code for f in typing.faults] == ["pack/type"]
    assert words in f"{typing.faults[0].message} {typing.faults[0].hint}"


def test_comparisons_with_fixed_days_are_left_to_the_door(typing: Typing) -> None:
    typing.condition("scored_on before 2022-12-14", ("when",))
    assert [fact for fact, _ in typing.dates.values()] == ["scored_on"]


@pytest.fixture
def aging(typing: Typing) -> Typing:
    """Give a typing of a criterion that triages, where the allergy goes stale."""
    symbol = typing.scope["allergy"]
    assert symbol.definition is not None
    stale = fact_symbol(symbol.definition.model_copy(update={"valid_for": "1 d"}))
    return replace(typing, scope={**typing.scope, "allergy": stale}, past={})


@pytest.mark.parametrize(
    ("condition", "past"),
    [
        ("allergy was yes", Past("allergy", ("yes",), None)),
        ("allergy was in [yes, no] within 4 wk", Past("allergy", ("yes", "no"), 28)),
    ],
)
def test_what_was_recorded_too_long_ago_is_left_to_the_door(aging: Typing, condition: str, past: Past) -> None:
    assert aging.condition({"any": [condition, "danger"]}, ("when",)) == form.AnyOf(
        (form.Holds(past.node), form.Holds("danger"))
    )
    assert aging.past == {past.node: past}
    assert not aging.faults


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ({"not": "allergy was yes"}, "`was` cannot be negated"),
        ({"not": {"any": ["danger", "allergy was yes"]}}, "`was` cannot be negated"),
        ("allergy was maybe", "is not a value"),
        ("allergy was yes within 3 mg", "is not a length of time"),
        ("score was yes", "it is a number"),
    ],
)
def test_an_old_observation_may_only_raise_an_alarm(aging: Typing, condition: object, words: str) -> None:
    aging.condition(condition, ("when",))
    assert {f.code for f in aging.faults} == {"pack/type"}
    assert words in " ".join(f"{f.message} {f.hint}" for f in aging.faults)


def test_only_criteria_that_triage_ask_what_was(typing: Typing, aging: Typing) -> None:
    replace(aging, past=None).condition("allergy was yes", ("when",))
    typing.past = {}
    typing.condition("allergy was yes", ("when",))
    assert [f.message for f in typing.faults] == ["`was` cannot be used here", "`allergy` does not go stale"]


def _derived(**more: object) -> Derived:
    return Derived.model_validate({"id": "concept", "label": "concept", **more})


def test_bands_and_values_become_guards(typing: Typing) -> None:
    score, allergy = read_witnesses(
        _derived(
            values=("low", "high"),
            first_known=[{"score": {"0-9": "low", "10": "high"}}, {"allergy": {"yes": "high"}}],
        ),
        typing,
    )
    assert score.mapping is not None
    assert [says for _, says in score.mapping] == ["low", "high"]
    assert score.mapping[1][0] == form.All((form.Compare("score", ">=", 10), form.Compare("score", "<=", 10)))
    assert allergy.mapping == ((form.OneOf("allergy", frozenset({"yes"})), "high"),)
    assert not typing.faults


@pytest.mark.parametrize(
    ("sources", "place"),
    [
        (["danger", "nowhere"], 1),
        (["danger", {"nowhere": {"a": True}}], 1),
        (["danger", "allergy"], 1),
        ([{"score": {"0-9": True, "9-20": False}}], 0),
    ],
)
def test_a_bad_witness_is_told_at_its_own_place(typing: Typing, sources: list[object], place: int) -> None:
    known = read_witnesses(_derived(first_known=sources), typing)
    assert len(typing.faults) == 1
    assert len(known) <= len(sources)
    line = typing.faults[0].line
    typing.faults.clear()
    assert typing.located.fault("x", "", "", ("first_known", place)).line == line


def test_reads_names_every_node_once() -> None:
    tree = form.All((form.Holds("a"), form.Not(form.AnyOf((form.Compare("b", ">", 1), form.Holds("a"))))))
    assert reads(tree) == {"a", "b"}
