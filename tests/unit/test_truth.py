"""The laws of strong three-valued logic, over every combination of truths."""

from __future__ import annotations

from itertools import product

import pytest

from engine.truth import Truth, at_least, conjoin, disjoin, negate, word

TRUTHS: tuple[Truth, ...] = (True, False, None)
PAIRS = list(product(TRUTHS, repeat=2))
TRIPLES = list(product(TRUTHS, repeat=3))


def is_settled_by(before: Truth, after: Truth) -> bool:
    return before is None or before is after


def test_unknown_never_counts_as_false_or_true() -> None:
    assert negate(None) is None
    assert conjoin([True, None]) is None
    assert conjoin([False, None]) is False
    assert disjoin([False, None]) is None
    assert disjoin([True, None]) is True


def test_nothing_to_join() -> None:
    assert conjoin([]) is True
    assert disjoin([]) is False
    assert at_least(0, []) is True
    assert at_least(1, []) is False


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_order_never_matters(p: Truth, q: Truth) -> None:
    assert conjoin([p, q]) is conjoin([q, p])
    assert disjoin([p, q]) is disjoin([q, p])


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_de_morgan(p: Truth, q: Truth) -> None:
    assert negate(conjoin([p, q])) is disjoin([negate(p), negate(q)])
    assert negate(disjoin([p, q])) is conjoin([negate(p), negate(q)])
    assert negate(negate(p)) is p


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_absorption(p: Truth, q: Truth) -> None:
    assert conjoin([p, disjoin([p, q])]) is p
    assert disjoin([p, conjoin([p, q])]) is p


@pytest.mark.parametrize(("p", "q", "r"), TRIPLES)
def test_grouping_never_matters_and_each_distributes(p: Truth, q: Truth, r: Truth) -> None:
    assert conjoin([p, conjoin([q, r])]) is conjoin([p, q, r])
    assert disjoin([p, disjoin([q, r])]) is disjoin([p, q, r])
    assert conjoin([p, disjoin([q, r])]) is disjoin([conjoin([p, q]), conjoin([p, r])])


@pytest.mark.parametrize("truths", TRIPLES)
def test_at_least_generalises_both(truths: tuple[Truth, ...]) -> None:
    assert at_least(1, truths) is disjoin(truths)
    assert at_least(3, truths) is conjoin(truths)
    assert at_least(0, truths) is True
    assert at_least(4, truths) is False


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("truths", TRIPLES)
def test_settling_an_unknown_settles_and_never_turns(n: int, truths: tuple[Truth, ...]) -> None:
    for later in TRIPLES:
        if all(map(is_settled_by, truths, later)):
            assert is_settled_by(at_least(n, truths), at_least(n, later))


def test_words() -> None:
    assert [word(truth) for truth in TRUTHS] == ["met", "not_met", "unknown"]
