"""`engine.compiler.expr`: the condition language."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from engine.compiler import expr
from engine.errors import Diagnostic

if TYPE_CHECKING:
    from engine.pack.source import Path


def _fault(path: Path, code: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic("/".join(map(str, path)), 1, 1, code, message, hint)


def _parse(condition: object) -> tuple[expr.Syntax | None, list[Diagnostic]]:
    faults: list[Diagnostic] = []
    return expr.parse(condition, ("when",), _fault, faults), faults


WHEN = ("when",)


@pytest.mark.parametrize(
    ("text", "atom"),
    [
        ("always", expr.AlwaysAtom()),
        ("trd", expr.NameAtom("trd", WHEN)),
        ("US-ESK-IND-03", expr.NameAtom("US-ESK-IND-03", WHEN)),
        ("age_years >= 18 a", expr.NumberAtom("age_years", ">=", Decimal(18), "a", "", WHEN)),
        ("sbp > 140 mm[Hg]", expr.NumberAtom("sbp", ">", Decimal(140), "mm[Hg]", "", WHEN)),
        ("dose == 0.25 mg/(24.h)", expr.NumberAtom("dose", "==", Decimal("0.25"), "mg/(24.h)", "", WHEN)),
        ("sbp > $limit", expr.NumberAtom("sbp", ">", Decimal(0), "", "limit", WHEN)),
        ("score<3", expr.NumberAtom("score", "<", Decimal(3), "", "", WHEN)),
        ("level is none", expr.OneOfAtom("level", ("none",), WHEN)),
        ("level in [a, b]", expr.OneOfAtom("level", ("a", "b"), WHEN)),
        ("day within 28 d", expr.WithinAtom("day", Decimal(28), "d", WHEN)),
        ("day before 2022-12-14", expr.BeforeAtom("day", date(2022, 12, 14), WHEN)),
        ("level was a", expr.WasAtom("level", ("a",), None, "", WHEN)),
        ("level was a within 30 d", expr.WasAtom("level", ("a",), Decimal(30), "d", WHEN)),
        ("level was in [a, b] within 4 wk", expr.WasAtom("level", ("a", "b"), Decimal(4), "wk", WHEN)),
    ],
)
def test_each_atom_is_read(text: str, atom: expr.Syntax) -> None:
    assert _parse(text) == (atom, [])


def test_trees_keep_the_place_of_each_part() -> None:
    tree, faults = _parse(
        {"all": ["a", {"any": ["b", {"not": "c"}]}, {"at_least": {"n": 1, "of": ["d"]}}, {"any": "e"}]}
    )
    assert not faults
    assert tree is not None
    assert [(atom.name, atom.path) for atom in expr.atoms(tree)] == [
        ("a", ("when", "all", 0)),
        ("b", ("when", "all", 1, "any", 0)),
        ("c", ("when", "all", 1, "any", 1, "not")),
        ("d", ("when", "all", 2, "at_least", "of", 0)),
        ("e", ("when", "all", 3, "any")),
    ]


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "a b",
        "a >",
        "a > b",
        "a in []",
        "a is",
        "a within 3",
        "unknown(a)",
        "a + 1 > 2",
        "a matches x",
        7,
        None,
        [],
        {},
        {"all": []},
        {"all": ["a"], "any": ["b"]},
        {"at_least": {"n": 0, "of": ["a"]}},
        {"at_least": {"n": 2, "of": ["a"]}},
        {"at_least": {"n": True, "of": ["a"]}},
        {"at_least": {"n": 1, "of": ["a"], "or": ["b"]}},
        {"at_least": ["a"]},
        {"all": "a"},
        {"known": "a"},
    ],
)
def test_anything_else_is_refused_with_what_to_write(condition: object) -> None:
    tree, faults = _parse(condition)
    assert tree is None
    assert {f.code for f in faults} == {"pack/condition"}
    assert all(f.hint for f in faults)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ({"all": []}, "`all` has no conditions; write {all: [CONDITION, CONDITION]}"),
        ({"all": "a"}, "`all` takes a list of conditions"),
        ({"at_least": {"n": 0, "of": ["a", "b"]}}, "at least 0 of 2 is always met"),
        ({"at_least": {"n": 3, "of": ["a", "b"]}}, "at least 3 of 2 can never be met"),
        ({"at_least": {"n": 1, "of": ["a"], "or": ["b"]}}, "`of`, nothing else"),
        ({"all": ["a"], "any": ["b"]}, "`all` and `any` stand side by side"),
        ({"atleast": ["a"]}, "did you mean `at_least`?"),
    ],
)
def test_what_is_wrong_with_a_tree_is_said(condition: object, words: str) -> None:
    _, faults = _parse(condition)
    assert any(words in f"{fault.message}; {fault.hint}" for fault in faults)


def test_all_faults_of_a_tree_come_at_once() -> None:
    _, faults = _parse({"all": ["a b", {"not": "c d"}, "day before 2022-13-14"]})
    assert [f.code for f in faults] == ["pack/condition", "pack/condition", "pack/date"]
