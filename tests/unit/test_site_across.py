"""What the site tells across packs: differences, dates, ids, what is unconfirmed, changelogs and the index."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from engine.names import by_number
from engine.pack.model import Criterion, Derived
from engine.site.alphabet import letters
from engine.site.build import build_site
from engine.site.catalog import read_catalog
from engine.site.changelog import read_changelog
from engine.site.differences import Differences
from engine.site.series import all_series
from engine.site.statements import concerns
from engine.site.timeline import days
from engine.site.uses import Uses, names_read
from engine.site.worked_cases import value_in_words
from tests.unit.site_reading import read_pages, small_rules

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from engine.site.catalog import Catalog
    from engine.site.changelog import Block
    from engine.site.differences import Group
    from tests.unit.site_reading import Read


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_rules(tmp_path_factory.mktemp("across"))


@pytest.fixture(scope="module")
def catalog(rules: Path) -> Catalog:
    return read_catalog(rules)


@pytest.fixture(scope="module")
def pages(rules: Path) -> dict[str, Read]:
    return read_pages(build_site(rules))


def ids(groups: Iterable[Group]) -> dict[str, dict[str, list[str]]]:
    return {g.heading: {part: [row.item.name for row in rows] for part, rows in g.parts} for g in groups}


def test_the_matrix_says_where_and_when_each_criterion_applies(catalog: Catalog) -> None:
    rows = {item.name: row for item, row in Differences(catalog).rows.items()}
    told = {
        name: {place: force.words if force else "no" for place, force in row.cells.items()}
        for name, row in rows.items()
    }
    assert catalog.jurisdictions == ("US", "EU")
    assert told["ABR-CI-01"] == {"US": "no", "EU": "from 2021-01-01"}
    assert told["TINY-WP-02"] == {"US": "from 2020-01-01", "EU": "from 2021-06-01 until 2024-01-01"}
    assert told["TINY-WP-03"] == {"US": "always", "EU": "no"}
    assert told["TINY-CI-01"] == {"US": "always", "EU": "always"}
    assert told["visit/same_day/ABR-CI-01"] == {"US": "no", "EU": "from 2021-01-01"}
    abroad = rows["TINY-EX-01"].cells["EU"]
    assert abroad is not None
    assert [(item.name, words) for item, words in abroad.replaced_words] == [("ABR-EX-01", "from 2022-03-01")]
    assert not {"PAY-ACME-01", "LATER-CI-01"} & set(told), "payers and drafts are no difference of jurisdictions"


def test_what_differs_stands_apart_by_option_and_effect(catalog: Catalog) -> None:
    differences = Differences(catalog)
    assert ids(differences.groups(differing=True)) == {
        "Spray": {
            "Contraindications": ["ABR-CI-01"],
            "Exclusions": ["ABR-EX-01", "TINY-EX-01"],
            "Precautions": ["TINY-WP-02", "TINY-WP-03", "TINY-WP-01"],
        },
        "Care": {"Exclusions": ["ABR-EX-01"]},
        "Referrals": {"a visit abroad": ["visit/same_day/ABR-CI-01"]},
    }
    same = ids(differences.groups(differing=False))
    assert same["Suicide risk"] == {"Triage of suicide risk": ["TINY-SUI-01"]}
    assert same["Antidepressant trials"] == {"Trials that do not count": ["TINY-TRX-01"]}
    assert same["Spray"]["Conclusions"] == ["TINY-IND-02", "TINY-IND-03"]


def test_a_pair_lists_each_kind_of_difference(catalog: Catalog) -> None:
    (pair,) = Differences(catalog).pairs()
    assert (pair.one, pair.other) == ("US", "EU")
    assert [row.item.name for row in pair.only[0]] == ["TINY-WP-03"]
    assert [row.item.name for row in pair.only[1]] == ["ABR-CI-01", "ABR-EX-01", "visit/same_day/ABR-CI-01"]
    assert [row.item.name for row in pair.dates] == ["TINY-WP-02", "TINY-EX-01"]
    assert [row.item.name for row in pair.said] == ["TINY-WP-01"], "a local pack changes the number abroad"
    assert [(n.item.name, n.values) for n in pair.numbers] == [
        ("pressure_limit", (Decimal(140), Decimal(130))),
        ("abroad_score", (None, Decimal(15))),
    ]
    assert pair.count == 9


def test_the_page_of_differences_shows_the_matrix(pages: dict[str, Read]) -> None:
    text = pages["differences.html"].text
    assert "Dates that differ TINY-WP-02 from 2020-01-01 from 2021-06-01 until 2024-01-01" in text
    assert "High grade TINY-EX-01 always always ABR-EX-01 in its place from 2022-03-01" in text
    assert "Pressure TINY-WP-01 its condition differs always always" in text
    assert text.index("What differs") < text.index("TINY-WP-03") < text.index("What is the same everywhere")
    assert "US and EU 9" in text
    assert "Only in US 1 Only at home TINY-WP-03" in pages["differences/US-and-EU.html"].text


def test_one_jurisdiction_differs_from_nothing(tmp_path: Path) -> None:
    alone = small_rules(tmp_path)
    (alone / "abroad/spray/rules.cases.yaml").unlink()
    for name in ("abroad/pack.yaml", "ward/pack.yaml"):
        text = (alone / name).read_text(encoding="utf-8")
        (alone / name).write_text(text.replace("status: active", "status: retired"), encoding="utf-8")
    made = build_site(alone)
    assert "only one jurisdiction is served" in made["differences.html"]
    assert not [path for path in made if path.startswith("differences/")]
    assert "retired: does not answer" in made["criteria/ABR-CI-01.html"]


def test_the_timeline_has_each_day_on_which_something_changes(catalog: Catalog) -> None:
    told = {
        each.day.isoformat(): [(c.item.name, c.what, c.jurisdictions, c.also) for c in each.changes]
        for each in days(catalog)
    }
    assert list(told) == [
        "2020-01-01", "2021-01-01", "2021-06-01", "2022-03-01", "2023-05-01", "2024-01-01", "2024-02-01",
    ]  # fmt: skip
    assert told["2020-01-01"] == [
        ("TINY-IND-01", "begins", ("US", "EU"), ""),
        ("TINY-WP-02", "begins", ("US",), ""),
    ]
    assert told["2021-06-01"] == [("TINY-WP-02", "begins", ("EU",), "")]
    assert told["2022-03-01"] == [("ABR-EX-01", "begins", ("EU",), "TINY-EX-01 steps back")]
    assert told["2023-05-01"] == [("abroad_score", "becomes 15 (before: 12)", ("EU",), "")]
    assert told["2024-01-01"] == [("TINY-WP-02", "ends", ("EU",), "")]
    assert told["2024-02-01"] == [("pressure_limit", "becomes 130 mmHg (before: 140)", ("EU",), "")]
    assert days(catalog)[0].count("US") == 2
    assert days(catalog)[0].day == date(2020, 1, 1)


def test_a_payer_has_its_own_days(tmp_path: Path) -> None:
    copy = small_rules(tmp_path)
    path = copy / "payers/acme/coverage.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("  strength:", "  effective: {from: 2025-05-05}\n  strength:"), encoding="utf-8")
    (change,) = next(each.changes for each in days(read_catalog(copy)) if each.day == date(2025, 5, 5))
    assert (change.item.name, change.payer, change.jurisdictions) == ("PAY-ACME-01", "ACME", ("US",))


def test_whatever_was_not_read_in_its_source_is_listed_by_state(catalog: Catalog, pages: dict[str, Read]) -> None:
    told = {concern.heading: [s.item.name for s in concern.statements] for concern in concerns(catalog)}
    assert told == {
        "Unconfirmed criteria": ["ABR-CI-01"],
        "Criteria read in part": ["TINY-WP-02"],
        "Criteria read in another source": ["TINY-WP-03"],
        "Decisions of this engine": ["ABR-EX-01", "TINY-IND-02", "TINY-IND-03"],
        "Contested criteria": ["ABR-CI-01"],
        "Numbers that rest on such sources alone": ["abroad_score"],
        "Sources that were not read themselves": ["rumor"],
    }
    text = pages["unconfirmed.html"].text
    assert "Danger abroad ABR-CI-01 Compare with TINY-CI-01. rumor : danger" in text.replace("rumor:", "rumor :")
    assert "Some see no danger." in text


def test_every_id_lives_somewhere_in_the_order_of_its_number(catalog: Catalog, pages: dict[str, Read]) -> None:
    series = {each.prefix: each for each in all_series(catalog)}
    assert [each.name for each in series["TINY-CI"].ids] == ["TINY-CI-01", "TINY-CI-02"]
    page = pages["ids.html"]
    assert "TINY: 12" in page.text
    assert (
        "ABR-CI-01 Danger abroad unconfirmed contested this visit only contraindicates spray from 2021-01-01"
        in page.text
    )
    assert "criteria/LATER-CI-01.html" in page.values("href")


def test_ids_that_packs_share_have_pages_of_their_own(tmp_path: Path) -> None:
    copy = small_rules(tmp_path)
    path = copy / "later/rules.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("LATER-CI-01", "ABR-CI-01"), encoding="utf-8")
    made = build_site(copy)
    assert "Tomorrow" in made["criteria/ABR-CI-01.later.html"]
    assert "Danger abroad" in made["criteria/ABR-CI-01.abroad.html"]
    assert "criteria/ABR-CI-01.html" not in made


def test_the_index_sorts_by_title_without_articles(catalog: Catalog, pages: dict[str, Read]) -> None:
    found = {letter.name: [item.title for item in letter.items] for letter in letters(catalog)}
    assert "A book" in found["B"]
    assert "A tiny pack" in found["T"]
    assert found["S"] == sorted(found["S"], key=str.casefold)
    assert list(found) == sorted(found)
    assert ":B" in pages["a-to-z.html"].ids


def kinds(blocks: Iterable[Block]) -> list[str]:
    return [kind for block in blocks for kind in (block.kind, *kinds(block.blocks))]


def test_a_changelog_is_read_as_a_safe_subset_of_markdown(catalog: Catalog, pages: dict[str, Read]) -> None:
    blocks = read_changelog(catalog, catalog.changelogs["abroad"])
    assert [block.level for block in blocks if block.kind == "heading"] == [3, 4]
    assert {"table", "bullet_list", "em", "code_inline", "link"} <= set(kinds(blocks))
    assert not {"html_block", "html_inline", "image"} & set(kinds(blocks))
    page = pages["packs/abroad.html"]
    assert '<b onclick="x()">two</b>' in page.text
    assert "https://example.org/a?b=1&c=2" in page.values("href")
    assert not [link for link in page.values("href") if "pack.yaml" in link or "javascript" in link]
    assert "../criteria/ABR-CI-01.html" in page.values("href")
    assert "Begins with ABR-CI-01 and ABR-EX-01; see the source and here." in page.text


def test_only_what_a_condition_reads_is_a_name() -> None:
    when = {"all": ["mood in [low, high]", {"at_least": {"n": 2, "of": ["age < $limit a", {"not": "sad"}]}}]}
    criterion = Criterion.model_validate(
        {
            "id": "T-1", "title": "t", "options": ["o"], "effect": "cautions", "when": when, "explain": "e",
            "unless": {"any": "drugs"}, "references": [{"source": "s"}], "strength": "s", "confirmed": "read",
        }
    )  # fmt: skip
    assert [name for name in names_read(criterion) if name != "n"] == ["mood", "age", "$limit", "sad", "drugs"]
    derived = Derived.model_validate(
        {"id": "d", "label": "d", "values": ["low"], "first_known": ["judged", {"score": {"0-9": "low"}}]}
    )
    assert list(names_read(derived)) == ["judged", "score"]


def test_what_lies_behind_an_item_is_found_at_any_depth(catalog: Catalog) -> None:
    uses = Uses(catalog)
    item = catalog.find("criterion", "TINY-IND-01")
    assert item is not None
    assert [each.name for each in uses.behind(item, "concept")] == ["one_failed", "failed", "trial_was_long"]
    assert "trials.weeks_at_adequate_dose" in {each.name for each in uses.behind(item, "field")}


def test_values_of_cases_are_told_as_a_clinician_reads_them(catalog: Catalog) -> None:
    facts = catalog.book.facts
    fields = catalog.book.fields["trials"]
    assert value_in_words(facts["allergy"], "yes") == "present"
    assert value_in_words(facts["danger"], value=False) == "no"
    assert value_in_words(facts["drugs"], []) == "none"
    assert value_in_words(facts["pressure"], None) == "not known"
    assert value_in_words(facts["pressure"], {"value": 120, "unit": "kPa"}) == "120 kPa"
    assert value_in_words(fields["max_dose_mg"], Decimal("12.5")) == "12.5 mg a day"
    assert value_in_words(fields["max_dose_mg"], Decimal("12.345")) == "12.345"
    assert value_in_words(facts["scored_on"], date(2026, 1, 31)) == "2026-01-31"
    assert value_in_words(None, "whatever") == "whatever"


def test_ids_are_ordered_as_people_count() -> None:
    assert sorted(["XX-10", "XX-2", "US-ESK-1"], key=by_number) == ["US-ESK-1", "XX-2", "XX-10"]
