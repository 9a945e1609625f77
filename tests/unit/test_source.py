"""`engine.pack.source`: YAML as the rules write it, with every value at its place."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from engine.pack import source
from engine.pack.source import read_source


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("7", 7),
        ("-7", -7),
        ("007", "007"),
        ("1.10", Decimal("1.10")),
        ("12:30", "12:30"),
        ("1e3", "1e3"),
        ("0x10", "0x10"),
        ("2019-03-05", date(2019, 3, 5)),
        ('"2019-03-05"', "2019-03-05"),
        ("12345678901234567890", "12345678901234567890"),
    ],
)
def test_plain_values_are_read_as_yaml_1_2_writes_them(text: str, value: object) -> None:
    data = read_source("x.yaml", f"a: {text}\n").data
    assert isinstance(data, dict)
    assert data["a"] == value
    assert type(data["a"]) is type(value)


def test_every_value_has_its_line_and_column() -> None:
    read = read_source("x.yaml", "a:\n  - b: 1\n  - c: {d: 2}\n")
    assert read.place(("a",)) == (1, 1)
    assert read.place(("a", 0, "b")) == (2, 5)
    assert read.place(("a", 1, "c", "d")) == (3, 9)
    assert read.place(("a", 1, "c", "d", "missing")) == (3, 9)


def test_a_key_given_twice_keeps_the_first_and_is_told_at_the_second() -> None:
    read = read_source("x.yaml", "a: 1\na: 2\n")
    assert read.data == {"a": 1}
    assert [str(f) for f in read.faults] == ["x.yaml:2:1: [pack/duplicate-key] `a` is given twice; keep one of them"]


def test_tags_build_no_objects() -> None:
    assert read_source("x.yaml", "!!python/object:os.system x: 1\n").data == {"x": 1}


@pytest.mark.parametrize("text", ["a: &a [*a]\n", "a: " + "[" * 1000 + "]" * 1000])
def test_values_without_end_are_refused(text: str) -> None:
    assert {f.code for f in read_source("x.yaml", text).faults} == {"pack/too-deep"}


def test_too_many_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_NODE_LIMIT", 100)
    bomb = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: [*b, *b, *b, *b]\n"
    assert [f.code for f in read_source("x.yaml", bomb).faults] == ["pack/too-large"]
