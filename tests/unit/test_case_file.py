"""Case files are read strictly, one case at a time, and everything wrong with a case is told at once."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cli import case_file
from engine.cli.case_file import MAX_CASE_BYTES, Case, UnreadableCase, read_cases
from engine.cli.strict_json import MAX_DEPTH, MAX_DIGITS, JsonError, parse
from engine.dictionary import Dictionary
from engine.pack.book import RuleBook
from engine.pack.source import read_source

RULES = Path(__file__).parents[2] / "rules"
DICTIONARY = Dictionary.model_validate(read_source("facts.yaml", (RULES / "facts.yaml").read_text()).data)
BOOK = RuleBook(DICTIONARY, {}, {}, "", "")
GOOD = {"id": "one", "jurisdiction": "US", "as_of": "2025-06-02", "facts": {"age_years": 44}}


def read(content: str | bytes) -> list[Case | UnreadableCase]:
    return list(read_cases(io.BytesIO(content.encode() if isinstance(content, str) else content), BOOK))


def written(**changes: object) -> str:
    return json.dumps({key: value for key, value in {**GOOD, **changes}.items() if value != "absent"})


def refused(content: str | bytes) -> dict[str, str]:
    """Read one case that must be refused; give its messages by path."""
    (case,) = read(content)
    assert isinstance(case, UnreadableCase)
    return {violation.path: violation.message for violation in case.violations}


def ids(content: str | bytes) -> list[str]:
    return [case.id for case in read(content)]


# What a file may look like


@pytest.mark.parametrize(
    "content",
    [
        written(),
        json.dumps(GOOD, indent=2),
        "[" + written() + "]",
        json.dumps([GOOD], indent=2),
        "\n\n" + written() + "\n\n",
        "\ufeff" + written(),
    ],
    ids=["line", "indented", "list", "indented list", "blank lines", "byte order mark"],
)
def test_one_case_is_read_however_it_is_laid_out(content: str) -> None:
    (case,) = read(content)

    assert isinstance(case, Case)
    assert (case.id, case.jurisdiction, case.payer_id, case.as_of.isoformat()) == ("one", "US", None, "2025-06-02")
    assert case.facts.known["age_years"].value == 44
    assert case.facts.known["age_years"].path == "facts.age_years"


def test_lines_are_cases_and_blank_lines_are_none() -> None:
    assert ids(f"{written(id='a')}\n\n{written(id='b')}\r\n{written(id='c')}") == ["a", "b", "c"]


def test_a_bad_line_never_stops_the_others() -> None:
    lines = [written(id="a")[:-3], written(id="b"), "nonsense", written(id="c"), "7", written(id="d")]

    cases = read("\n".join(lines))

    assert [case.id for case in cases] == ["1", "b", "3", "c", "5", "d"]
    assert [type(case) for case in cases] == [UnreadableCase, Case] * 3


def test_a_bad_member_of_a_list_never_stops_the_others() -> None:
    content = f'[{written(id="a")}, 7, {{"id": "b", "id": "c"}}, {written(id="d")}]'

    assert [type(case) for case in read(content)] == [Case, UnreadableCase, UnreadableCase, Case]


def test_a_case_without_an_id_is_named_after_its_line() -> None:
    assert ids(f"{written()}\n\n{written(id='absent')}\n{written(id=None)}\n{written(id=17)}") == [
        "one",
        "3",
        "4",
        "17",
    ]


def test_other_keys_are_allowed_and_kept_for_whoever_wants_them() -> None:
    (case,) = read(written(title="A title", note="A note", expected={"triage": "none"}))

    assert isinstance(case, Case)
    assert case.title == "A title"
    assert case.written["expected"] == {"triage": "none"}


@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff", "[]", "[\n]\n"])
def test_an_empty_file_is_told(content: str) -> None:
    assert refused(content) == {"": "the file holds no case"}


# Strictness


def test_keys_that_occur_twice_are_refused_at_any_depth() -> None:
    content = (
        '{"id": "a", "jurisdiction": "US", "as_of": "2025-06-02", "as_of": "2025-06-03",'
        '"facts": {"sbp_mmHg": {"value": 120, "value": 190}, "trials": [{"drug": "sertraline", "drug": "x"}]}}'
    )

    assert set(refused(content)) == {"as_of", "facts.sbp_mmHg.value", "facts.trials[0].drug"}


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_json_does_not_know_is_refused_even_where_it_is_ignored(word: str) -> None:
    content = written()[:-1] + f', "note": [{word}]}}'

    assert "note[0]" in refused(content)


def test_numbers_with_a_point_are_exact() -> None:
    (case,) = read(written().replace('"age_years": 44', '"weight_kg": 72.3'))

    assert isinstance(case, Case)
    assert parse(b"72.3")[0] == Decimal("72.3")
    assert case.facts.known["weight_kg"].value == 723


@pytest.mark.parametrize("number", ["9" * 5000, "0." + "1" * 5000, "1e" + "9" * 30, "-" + "9" * MAX_DIGITS])
def test_absurd_numbers_are_refused_at_once(number: str) -> None:
    (message,) = refused(written().replace("44", number)).values()

    assert message.startswith("holds a number")


@pytest.mark.parametrize("number", ["1e400", "9e999999", "123456789012345678901234567890123456789.0"])
def test_large_numbers_are_refused_by_their_path(number: str) -> None:
    content = written().replace('"age_years": 44', f'"weight_kg": {number}')
    (case,) = read(content)

    is_refused = isinstance(case, UnreadableCase) and {v.path for v in case.violations} == {"facts.weight_kg"}
    assert is_refused or (isinstance(case, Case) and {u.fact for u in case.facts.unusable} == {"weight_kg"})


def test_deep_nesting_is_refused() -> None:
    for depth in (MAX_DEPTH + 1, 200_000):
        (message,) = refused(written()[:-1] + ', "note": ' + "[" * depth + "]" * depth + "}").values()
        assert message == f"is nested deeper than {MAX_DEPTH} levels"


@pytest.mark.parametrize("content", [b'{"id": "\xff"}', b"\xff\xfe{\x00}\x00", b'{"id": "a"}\xc3'])
def test_bytes_that_are_not_utf8_are_refused(content: bytes) -> None:
    (message,) = refused(content).values()

    assert "is not UTF-8" in message


def test_half_a_surrogate_pair_is_refused_by_its_path() -> None:
    assert "id" in refused(written().replace("one", "\\ud800"))
    assert any("surrogate" in m for m in refused(written().replace("age_years", "age\\udc00")).values())


def test_a_text_of_ten_megabytes_is_told_in_one_line() -> None:
    lines = [written(id="a"), written(id="b", note="x" * 10_000_000), written(id="c")]

    cases = read("\n".join(lines))

    assert [type(case) for case in cases] == [Case, UnreadableCase, Case]
    assert isinstance(cases[1], UnreadableCase)
    assert cases[1].violations[0].message == "is larger than 1 MiB; a case takes a few KiB"


@pytest.mark.parametrize("layout", ["one line", "indented"])
def test_a_single_case_that_is_too_large_is_refused(layout: str) -> None:
    content = json.dumps({**GOOD, "note": "x" * MAX_CASE_BYTES}, indent=2 if layout == "indented" else None)

    assert refused(content) == {"": "is larger than 1 MiB; a case takes a few KiB"}


def test_a_file_that_is_too_large_is_read_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [written(id="a"), written(id="b"), written(id="c")]
    monkeypatch.setattr(case_file, "MAX_FILE_BYTES", len(lines[0]) + len(lines[1]) + 2)

    cases = read("\n".join(lines))

    assert [case.id for case in cases] == ["a", "b", "3"]
    assert isinstance(cases[2], UnreadableCase)
    assert "larger than" in cases[2].violations[0].message


# What a case must say


def test_everything_wrong_with_a_case_is_told_at_once() -> None:
    content = written(
        id="a\u001b[31m",
        jurisdiction="USA",
        as_of="2025-02-30",
        payer_id="CIGMA",
        facts={"age": 44, "sbp_mmHg": "high", "aneurysmal_vascular_disease": "maybe"},
    )

    violations = refused(content)

    assert set(violations) == {
        "id",
        "jurisdiction",
        "as_of",
        "payer_id",
        "facts.age",
        "facts.sbp_mmHg",
        "facts.aneurysmal_vascular_disease",
    }
    assert violations["jurisdiction"] == "must be one of US, VA, EU, UK, CA; did you mean `US`?"
    assert violations["payer_id"].endswith("did you mean `CIGNA`?")


@pytest.mark.parametrize("key", ["jurisdiction", "as_of", "facts"])
@pytest.mark.parametrize("value", ["absent", None])
def test_what_is_required_is_never_assumed(key: str, value: object) -> None:
    (told,) = refused(written(**{key: value})).items()

    assert told[0] == key
    assert told[1].startswith("is required")


@pytest.mark.parametrize(
    "day", ["2025-6-2", "20250602", "2025-06-02T00:00:00", "\u0662025-06-02", 20250602, "2025-13-01"]
)
def test_a_day_is_written_in_one_way(day: object) -> None:
    assert refused(written(as_of=day)) == {"as_of": "must be a day that exists, written as YYYY-MM-DD"}


@pytest.mark.parametrize(("key", "value"), [("jurisdiction", ["US"]), ("payer_id", 7), ("facts", []), ("id", True)])
def test_a_value_of_another_type_is_refused(key: str, value: object) -> None:
    assert set(refused(written(**{key: value}))) == {key}


def test_no_message_repeats_a_value() -> None:
    violations = refused(written(as_of="SECRET", jurisdiction="SECRET", facts={"age_years": "SECRET"}))

    assert len(violations) == 3
    assert not any("SECRET" in message for message in violations.values())


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    assert all(isinstance(case, Case | UnreadableCase) for case in read(content))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_what_json_writes_is_read_back(value: object) -> None:
    try:
        found, violations = parse(json.dumps(value).encode())
    except JsonError as error:
        assert "nested" in str(error)  # noqa: PT017 - the only reason there may be
    else:
        assert (found, violations) == (value, ())


@given(
    st.dictionaries(
        st.sampled_from([*BOOK.facts, "other"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()),
    )
)
def test_any_facts_are_read_or_refused_by_path(facts: dict[str, object]) -> None:
    (case,) = read(json.dumps({**GOOD, "facts": facts}))

    if isinstance(case, UnreadableCase):
        assert all(violation.path for violation in case.violations) or "number" in case.violations[0].message
