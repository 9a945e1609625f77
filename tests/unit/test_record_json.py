"""JSON of records has one reading, as a whole and member by member."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.errors import FactError
from engine.fhir.record_json import MAX_DEPTH, parse, parse_members

numbers = st.one_of(
    st.integers(-(10**60), 10**60).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        ("-0", "-0.0", "80.20", "1e5", "1E-7", "0.1234567890123456789", "123456789012345678901.5", "1e-999")
    ),
)
texts = st.text().map(json.dumps)
words = st.one_of(numbers, texts, st.sampled_from(("true", "false", "null")))
values = st.recursive(
    words,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda parts: f"[{', '.join(parts)}]"),
        st.dictionaries(st.text(), inner, max_size=4).map(
            lambda parts: "{" + ", ".join(f"{json.dumps(key)}: {part}" for key, part in parts.items()) + "}"
        ),
    ),
    max_leaves=12,
)


def attempt(data: bytes) -> str:
    """Read an object member by member; give it as Python writes it, since `==` does not see all of a number."""
    try:
        return repr(parse_members(data, MAX_DEPTH)[0])
    except FactError:
        return "refused"


@given(st.dictionaries(st.text(), values, max_size=4), st.sampled_from(["", " ", "\n\t", " \r\n "]))
@example({"a": '"\\ud800"', "": "{}"}, " ")
def test_each_members_bytes_read_as_its_value(parts: dict[str, str], space: str) -> None:
    inside = f",{space}".join(f"{json.dumps(key)}{space}:{space}{part}{space}" for key, part in parts.items())
    data = f"{space}{{{space}{inside}}}{space}".encode()

    value, members = parse_members(data, MAX_DEPTH)

    assert repr(value) == repr(parse(data))
    assert {key: repr(parse(member)) for key, member in members.items()} == {k: repr(v) for k, v in value.items()}


@given(st.dictionaries(st.text(), values, max_size=3), st.integers(0, 60), st.binary(max_size=2), st.integers(0, 2))
@example({"a": "1"}, 0, b"\xef\xbb\xbf", 0)
@example({"a": "1"}, 7, b",", 0)
@example({"a": "1"}, 8, b"{}", 0)
@example({"a": "1", "b": "2"}, 9, b"a", 1)
@example({"a": "NaN"}, 0, b"", 0)
def test_what_one_reader_refuses_the_other_does_too(parts: dict[str, str], place: int, put: bytes, gone: int) -> None:
    data = ("{" + ", ".join(f"{json.dumps(key)}: {part}" for key, part in parts.items()) + "}").encode()
    data = data[:place] + put + data[place + gone :]
    try:
        value = parse(data)
    except FactError:
        value = None

    assert attempt(data) == (repr(value) if isinstance(value, dict) else "refused")


def test_numbers_are_read_as_they_were_written() -> None:
    assert parse(b'{"a": 15.68, "b": 3}') == {"a": Decimal("15.68"), "b": 3}


def test_lines_of_a_bulk_export_are_a_list() -> None:
    assert parse(b'{"a": 1}\n\n{"b": 2}\n') == [{"a": 1}, {"b": 2}]
    assert parse(b'{\n"a": 1}\n') == {"a": 1}


@pytest.mark.parametrize("inside", ["\u2028", "\u2029", "\u0085"])
def test_only_a_line_feed_ends_a_line(inside: str) -> None:
    data = f'{{"a": "x{inside}y"}}\r\n{{"b": 2}}\n'.encode()

    assert parse(data) == [{"a": f"x{inside}y"}, {"b": 2}]
    with pytest.raises(FactError, match="line 3"):
        parse(data + b'{"c"')


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"\xff", "is not UTF-8"),
        (b"{", "is not JSON: expecting property name"),
        (b'{"a": 1}\n{"a"', "line 2"),
        (b'{"a": 1, "a": 2}', "a key twice"),
        (b'{"a": NaN}', "holds NaN"),
        (b'{"a": %s}' % (b"1" * 65), "more than 64 characters"),
        (b"[" * 101 + b"]" * 101, "deeper than 100"),
        (b"[" * 100_000, "deeper than 100"),
    ],
)
def test_what_is_not_json_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(FactError) as caught:
        parse(data)

    assert words in caught.value.violations[0].message


def test_a_hundred_levels_are_deep_enough() -> None:
    assert parse(b"[" * 100 + b"]" * 100)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "expecting '{'"),
        (b"[]", "expecting '{'"),
        (b'{"a": 1,}', "expecting property name"),
        (b'{"a" 1}', "expecting ':'"),
        (b'{"a": 1 "b": 2}', "expecting ','"),
        (b'{"a": }', "expecting value"),
        (b'{"a": 1', "expecting ','"),
        (b'{"a": 1} {}', "more than one document"),
        (b'{"a": 1, "\\u0061": 2}', "a key twice"),
        (b'{"a": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", "deeper than 100"),
        (b'{"a": ' + b"[" * 100_000, "deeper than 100"),
    ],
)
def test_what_is_no_object_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(FactError, match=words):
        parse_members(data, MAX_DEPTH)
