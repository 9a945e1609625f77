"""The small words that join, count and name."""

from __future__ import annotations

import pytest

from engine.compiler.form import OPEN
from engine.compiler.levels import STATUS_OF_LEVEL
from engine.evaluator import sentences


def test_every_status_has_a_sentence() -> None:
    for status in set(STATUS_OF_LEVEL.values()):
        assert sentences.summary(status, 0).endswith(".")


@pytest.mark.parametrize(
    ("missing", "ending"),
    [(0, "."), (1, "One missing fact could still change this."), (2, "2 missing facts could still change this.")],
)
def test_a_summary_says_how_much_is_missing(missing: int, ending: str) -> None:
    assert sentences.summary("deferred", missing).endswith(ending)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{drug} helped", "Drug helped"),
        ("blood  pressure\n {a}/{b}.", "Blood pressure a/b."),
        ("nothing to fill", "Nothing to fill"),
        ("{a}{b}", "Ab"),
        ("a {} or {1} is left alone", "A {} or {1} is left alone"),
        ("", ""),
    ],
)
def test_templates(template: str, expected: str) -> None:
    assert sentences.fill(template, lambda name: name) == expected


def test_a_value_is_never_read_as_a_template() -> None:
    assert sentences.fill("{a}", lambda _: "{b}") == "{b}"


@pytest.mark.parametrize(
    ("words", "expected"),
    [([], ""), (["a"], "a"), (["a", "a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c", "b"], "a, b and c")],
)
def test_joining(words: list[str], expected: str) -> None:
    assert sentences.join(words) == expected


def test_what_is_unknown_or_not_met() -> None:
    assert sentences.unknown(["age", "weight"]) == "Not known: age and weight."
    assert sentences.unknown([]) == "Not known from what is recorded."
    assert sentences.not_met([("age", "17 years"), ("age", "17 years")]) == "Does not apply (age: 17 years)."
    assert sentences.not_met([]) == "Does not apply."


@pytest.mark.parametrize(("interval", "expected"), [((2, 2), "2"), ((1, 3), "1 to 3"), ((1, OPEN), "at least 1")])
def test_counts(interval: tuple[int, int], expected: str) -> None:
    assert sentences.count_in_words(interval) == expected
