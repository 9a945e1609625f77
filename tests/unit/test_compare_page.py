"""The page of a comparison: everything that differs is on it, the charts have tables, and no text becomes markup."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.compare.stretches import Span
from engine.evaluator.agree import Evaluator
from engine.page.bands import AXIS, BAND, LANE, LETTERS, NAME, STRIP, draw_bands
from engine.page.compare import render_comparisons
from tests.unit.clinician_pages import Structure
from tests.unit.compare_book import OPTION, OWN_DAY, compared, load_book, years

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.compare.comparison import Comparison

ALL = years(2019, 2026)
HOSTILE = "</style></title><script>alert(1)</script><img src=x onerror=alert(1)>\"' {{ 7*7 }} \u202egnp.exe\x00\ud800"
PLACES = {"US": "the United States", "EU": "the European Union"}
TEMPLATES = Path(__file__).parents[2] / "engine" / "page" / "templates"


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluator]:
    with closing(Evaluator(load_book(tmp_path_factory.mktemp("book")), "interpret")) as made:
        yield made


@pytest.fixture(scope="module")
def over_years(evaluator: Evaluator) -> Comparison:
    return compared(evaluator, ALL)


def render(*comparisons: Comparison, name: str = "one") -> str:
    return render_comparisons([(name, comparison) for comparison in comparisons], PLACES)


def read(*comparisons: Comparison) -> Structure:
    return Structure(render(*comparisons))


# The charts


def test_bands_fill_the_chart_and_lie_by_their_days(over_years: Comparison) -> None:
    chart = draw_bands(over_years, OPTION)
    for track in chart.tracks:
        assert track.bands[0].x == 0.0
        assert track.bands[-1].x + track.bands[-1].width == pytest.approx(100.0, abs=0.01)
        assert all(a.x + a.width == pytest.approx(b.x, abs=0.01) for a, b in pairwise(track.bands))
    us = chart.tracks[0]
    assert us.bands[1].width == pytest.approx(100 * (date(2024, 6, 1) - date(2020, 1, 1)).days / 2922, abs=0.01)
    assert [text for _, text in chart.ticks] == [str(year) for year in range(2019, 2027)]
    assert chart.own_x == pytest.approx(100 * (OWN_DAY - date(2019, 1, 1)).days / 2922, abs=0.01)


def test_a_band_has_a_word_where_there_is_room_else_a_letter_else_its_pattern_alone(evaluator: Evaluator) -> None:
    wide = draw_bands(compared(evaluator, ALL), OPTION).tracks[0].bands
    long = draw_bands(compared(evaluator, years(1919, 2026)), OPTION).tracks[0].bands
    century = draw_bands(compared(evaluator, years(1019, 2026)), OPTION).tracks[0].bands

    assert [b.wide_label for b in wide] == ["not indicated", "eligible with precautions", "eligible"]
    assert [b.narrow_label for b in wide] == ["N", "P", "eligible"]
    assert [b.wide_label for b in long] == ["not indicated", "P", "E"]
    assert [b.wide_label for b in century] == ["not indicated", "", ""]


def test_a_strip_begins_on_a_tile_of_its_pattern(over_years: Comparison) -> None:
    assert [(t.y + NAME + BAND - STRIP) % 8 for t in draw_bands(over_years, OPTION).tracks] == [0, 0]
    assert (AXIS + NAME + BAND - STRIP) % 8 == LANE % 8 == 0


@pytest.mark.parametrize(
    ("span", "ticks"),
    [
        (Span(date(2020, 3, 1), date(2020, 4, 1)), ["2020-03-01"]),
        (Span(date(2020, 3, 1), date(2021, 4, 1)), ["2021"]),
        (years(2000, 2026), ["2000", "2005", "2010", "2015", "2020", "2025"]),
        (Span(date.min, date.max), ["1000", "2000", "3000", "4000", "5000", "6000", "7000", "8000", "9000"]),
    ],
)
def test_ticks_are_few_and_round(evaluator: Evaluator, span: Span, ticks: list[str]) -> None:
    assert [text for _, text in draw_bands(compared(evaluator, span), OPTION).ticks if text] == ticks


def test_a_day_outside_the_range_is_not_drawn(evaluator: Evaluator) -> None:
    chart = draw_bands(compared(evaluator, years(2019, 2020)), OPTION)

    assert chart.own_x is None
    assert chart.tracks[0].bands[-1].span.last == date(2020, 12, 31)


def test_every_status_has_a_letter_and_a_pattern_of_its_own(over_years: Comparison) -> None:
    page = read(over_years)
    patterns = [found["id"] for tag, found in page.tags if tag == "pattern"]

    assert len(set(LETTERS.values())) == len(LETTERS) == 7
    assert patterns == [f"p-{status}" for status in LETTERS]
    shapes = re.findall(r'<pattern.*?d="(.*?)"', (TEMPLATES / "compare.html.j2").read_text(encoding="utf-8"))
    assert len(set(shapes)) == len(LETTERS)
    legend = page.text[page.text.index("By the day of the rules") :]
    assert all(f"{letter} {status.replace('_', ' ')}" in legend for status, letter in LETTERS.items())


def test_each_chart_has_a_table_that_says_the_same(over_years: Comparison) -> None:
    text = read(over_years).text

    assert (
        "Spray: the same as a table Jurisdiction Rules of Answer By US 2019-01-01 to 2019-12-31 Not indicated" in text
    )
    assert "US 2020-01-01 to 2024-05-31 Eligible with precautions Adult with a failed trial TINY-IND-01 ; " in text
    assert "EU 2023-01-01 to 2026-12-31 Eligible with precautions" in text


def test_single_days_have_tables_and_no_chart(evaluator: Evaluator) -> None:
    day = date(2021, 5, 1)
    page = read(compared(evaluator, Span(day, day)))

    assert "By the rules of 2021-05-01" in page.text
    assert not [found for tag, found in page.tags if tag == "svg" and found.get("class") == "bands"]
    assert "on 2021-05-01, then" in page.text


# What it says


def test_the_matrix_marks_what_is_not_as_in_the_base(over_years: Comparison) -> None:
    text = read(over_years).text

    assert "Eligible with precautions not as in US 2 criteria" in text
    assert "Referral: a guide not due required, routine not as in US" in text
    assert "US the United States EU the European Union" in text


def test_every_difference_stands_with_sentence_reason_and_sources(over_years: Comparison) -> None:
    text = read(over_years).text
    for contrast in (*over_years.turns, *over_years.contrasts):
        for difference in contrast.differences:
            assert f"{difference.title} {difference.id}" in text
            assert difference.sentence in text
            assert contrast.why(difference) in text
    assert "A book, section 7 [book] : the lower limit" in text
    assert "unconfirmed" in text
    assert "2025-12-31 what changes later is not known" in text


def test_a_conclusion_stands_with_the_indications_behind_it(evaluator: Evaluator) -> None:
    text = read(compared(evaluator, age_years=17)).text

    assert "Adult with a failed trial TINY-IND-01 : Does not apply (age: 17 years)." in text


def test_an_emergency_comes_first_and_one_to_rule_out_is_marked_as_open(evaluator: Evaluator) -> None:
    urgent, unknown, calm = (read(compared(evaluator, danger=danger)) for danger in (True, None, False))

    assert urgent.text.index("Safety first") < urgent.text.index("Side by side")
    assert "Suicide-risk triage: high Needed now" in urgent.text
    assert "Suicide-risk triage: none, provisional To rule out now" in unknown.text
    assert [p.values("class").count("safety open") for p in (urgent, unknown, calm)] == [0, 1, 0]
    assert "Safety first" not in calm.text


def test_a_payer_without_rules_there_is_said_so(evaluator: Evaluator) -> None:
    text = read(compared(evaluator, payer_id="ACME")).text

    assert "Coverage by ACME Covered 1 criterion about Coverage by ACME in US" in text
    assert "no rules of this payer not as in US" in text


def test_where_nothing_differs_the_page_says_so(evaluator: Evaluator) -> None:
    text = read(compared(evaluator, years(2023, 2026), pressure=100)).text

    assert text.count("Nothing changes with the day.") == 2
    assert "Nothing: the same answers by the same criteria." in text


def test_no_case_gives_a_page_that_says_so() -> None:
    assert "No case was compared." in read().text


# What a browser gets


def test_it_is_well_formed_and_anchors_lead_to_places_that_exist_once(
    evaluator: Evaluator, over_years: Comparison
) -> None:
    page = read(over_years, compared(evaluator, ALL, danger=True))
    places = page.values("id")

    assert len(places) == len(set(places))
    assert {f"#{place}" for place in places} >= set(page.values("href"))
    assert set(places) >= set(page.values("aria-labelledby"))
    assert {f"url(#{place})" for place in places} >= {f for f in page.values("fill") if f.startswith("url")}


def test_headings_never_skip_a_level(over_years: Comparison) -> None:
    levels = [int(tag[1]) for tag, _ in read(over_years).tags if re.fullmatch(r"h[1-6]", tag)]

    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))


def test_nothing_is_loaded_and_nothing_runs(over_years: Comparison) -> None:
    page = read(over_years)

    assert not {"script", "img", "iframe", "object", "embed", "base", "link"} & {tag for tag, _ in page.tags}
    assert not [n for _, found in page.tags for n in found if n.startswith("on") or n in {"src", "srcset"}]
    assert "default-src 'none'" in " ".join(page.values("content"))


def test_hostile_text_in_every_field_changes_no_tag(evaluator: Evaluator) -> None:
    plain, hostile = (_spoken(compared(evaluator, ALL, danger=True), said) for said in ("harmless", HOSTILE))
    page = render(hostile, name=HOSTILE)
    read_page, plain_page = Structure(page), Structure(render(plain, name="harmless"))

    assert [(tag, list(found)) for tag, found in read_page.tags] == [
        (tag, list(found)) for tag, found in plain_page.tags
    ]
    assert read_page.text.count("{{ 7*7 }}") > 80
    assert "[U+202E]gnp.exe[U+0000][U+D800]" in read_page.text
    assert not re.search("[\u202a-\u202e\x00\ud800]", page)


def _spoken(comparison: Comparison, said: str) -> Comparison:
    """Give a comparison in which the sentences, titles and names are of the caller's choosing."""
    lanes = []
    for lane in comparison.lanes:
        cells = []
        for cell in lane.cells:
            old = cell.decision
            options = tuple(
                replace(o, title=said, criteria=tuple(replace(c, because=said) for c in o.criteria))
                for o in old.options
            )
            referrals = tuple(replace(r, title=said, because=said) for r in old.referrals)
            packs = tuple(replace(p, version=said, digest=said) for p in old.packs)
            criteria = {n: c.model_copy(update={"title": said}) for n, c in cell.packs.criteria.items()}
            new = replace(old, options=options, referrals=referrals, packs=packs, disclaimer=said)
            cells.append(replace(cell, decision=new, packs=replace(cell.packs, criteria=criteria)))
        lanes.append(replace(lane, cells=tuple(cells)))
    return replace(comparison, lanes=tuple(lanes))
