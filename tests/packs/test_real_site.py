"""The site of the packs that this repository releases: whole, complete, and true where the tables can be checked."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.site.build import build_site
from engine.site.catalog import read_catalog
from engine.site.differences import Differences
from tests.unit.site_reading import broken_links, orphans, read_pages

if TYPE_CHECKING:
    from engine.site.catalog import Catalog
    from tests.unit.site_reading import Read

pytestmark = pytest.mark.long

RULES = Path(__file__).parents[2] / "rules"


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return build_site(RULES)


@pytest.fixture(scope="module")
def pages(files: dict[str, str]) -> dict[str, Read]:
    return read_pages(files)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return read_catalog(RULES)


def test_the_whole_site_is_linked(files: dict[str, str], pages: dict[str, Read]) -> None:
    assert broken_links(files, pages) == []
    assert orphans(pages, "index.html") == set()


def test_every_page_is_whole(pages: dict[str, Read]) -> None:
    for path, page in pages.items():
        assert len(page.ids) == len(set(page.ids)), path
        assert page.headings[0] == 1, path
        assert all(after - before <= 1 for before, after in pairwise(page.headings)), path
        assert "script" not in page.tags, path
        assert "[U+" not in page.text, path
        assert "?evidence" not in page.text, path


def test_every_criterion_has_its_page_and_every_case_is_on_one(catalog: Catalog, pages: dict[str, Read]) -> None:
    for item in catalog.of_kind("criterion", "concept"):
        assert item.name in pages[item.address].text
    shown = sum(page.values("scope").count("rowgroup") for path, page in pages.items() if path != "differences.html")
    assert shown == len(catalog.cases) > 2000


def test_every_condition_of_an_active_pack_is_in_english(catalog: Catalog, pages: dict[str, Read]) -> None:
    for item in catalog.of_kind("criterion", "concept"):
        if catalog.book.packs[item.pack].is_active:
            assert "it is shown as it is written" not in pages[item.address].text, item.name


def test_known_differences_between_jurisdictions_are_found(catalog: Catalog) -> None:
    rows = {item.name: row for item, row in Differences(catalog).rows.items()}
    dates = {place: force.words if force else "" for place, force in rows["EU-33"].cells.items()}
    assert dates == {
        "US": "", "VA": "", "EU": "from 2021-02-05", "UK": "from 2021-02-05", "CA": "from 2021-09-01",
    }  # fmt: skip
    veterans = rows["US-KET-03"].cells["VA"]
    assert veterans is not None
    assert [(item.name, words) for item, words in veterans.replaced_words] == [("VA-03", "from 2022-07-01")]
    assert {place for place, force in rows["US-ESK-WP-09"].cells.items() if force} == {"US", "VA"}
    assert not rows["US-SUI-01"].differs
