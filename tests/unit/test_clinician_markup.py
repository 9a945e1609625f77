"""What a browser and a screen reader get of the clinician's page, whatever others wrote."""

from __future__ import annotations

import base64
import hashlib
import re
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from engine.page.clinician import content_security_policy, render_clinician
from tests.unit.clinician_pages import Structure, hostile_view, read
from tests.unit.clinician_views import load_book, views

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.page.clinician import ClinicianView


HOSTILE = "</style></title><script>alert(1)</script><img src=x onerror=alert(1)>\"' {{ 7*7 }} \u202egnp.exe\x00\ud800"


@pytest.fixture(scope="module")
def shown() -> dict[str, ClinicianView]:
    return views(load_book())


@pytest.fixture(scope="module")
def emergency(shown: Mapping[str, ClinicianView]) -> ClinicianView:
    return shown["emergency"]


@pytest.mark.parametrize("name", ["emergency", "sparse", "dated"])
def test_links_and_labels_lead_to_places_that_exist_once(shown: Mapping[str, ClinicianView], name: str) -> None:
    page = read(shown[name])
    places = page.values("id")
    described = {part for value in page.values("aria-describedby") for part in value.split()}

    assert len(places) == len(set(places))
    assert {f"#{place}" for place in places} >= {link for link in page.values("href") if link != "data:,"}
    assert set(places) >= set(page.values("aria-labelledby")) | set(page.values("for")) | described


@pytest.mark.parametrize("name", ["emergency", "sparse", "dated"])
def test_headings_never_skip_a_level(shown: Mapping[str, ClinicianView], name: str) -> None:
    levels = [int(tag[1]) for tag, _ in read(shown[name]).tags if re.fullmatch(r"h[1-6]", tag)]

    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))


def test_the_policy_allows_the_one_style_sheet_and_posts_to_its_own_server(emergency: ClinicianView) -> None:
    text = render_clinician(emergency)
    page = Structure(text)
    [sheet] = re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    inside = content_security_policy(())

    assert f"style-src 'sha256-{digest}'" in inside
    assert inside in page.values("content")
    assert "unsafe" not in text
    assert content_security_policy(("'self'", "https://ehr.example")) == (
        f"{inside}; frame-ancestors 'self' https://ehr.example"
    )
    assert content_security_policy().endswith("frame-ancestors 'none'")


def test_nothing_is_loaded_and_nothing_runs(emergency: ClinicianView) -> None:
    page = read(emergency)

    assert not {"script", "img", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    assert not [n for _, found in page.tags for n in found if n.startswith("on") or n in {"src", "style", "srcset"}]


@pytest.mark.parametrize("name", ["emergency", "sparse", "dated"])
def test_hostile_text_in_every_field_changes_no_tag(shown: Mapping[str, ClinicianView], name: str) -> None:
    plain = read(hostile_view(shown[name], "harmless"))
    page = render_clinician(hostile_view(shown[name], HOSTILE))
    hostile = Structure(page)

    assert [(tag, list(found)) for tag, found in hostile.tags] == [(tag, list(found)) for tag, found in plain.tags]
    assert "{{ 7*7 }}" in hostile.text
    assert "[U+202E]gnp.exe[U+0000][U+D800]" in hostile.text
    assert not re.search("[\u202a-\u202e\x00\ud800]", page)
    page.encode()
