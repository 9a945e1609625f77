"""The whole site as files: the same rules give the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.dictionary import unit_in_words
from engine.evaluator.sentences import DISCLAIMER
from engine.page.environment import environment
from engine.site.across import across_pages
from engine.site.catalog import read_catalog
from engine.site.details import detail_pages
from engine.site.overview import overview_pages
from engine.site.page import START, Library
from engine.site.words import period_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from engine.site.page import Page

STYLE = "style.css"
LISTING = "files.txt"
"""Names every file of the site, so that a later build knows which of them it may remove."""

NAVIGATION: Mapping[str, str] = {
    START: "Start",
    "ids.html": "Criteria by id",
    "a-to-z.html": "A to Z",
    "concepts.html": "Concepts",
    "facts.html": "Facts",
    "parameters.html": "Numbers",
    "sources.html": "Sources",
    "triage.html": "Triage",
    "referrals.html": "Referrals",
    "coverage.html": "Cover",
    "differences.html": "Differences",
    "timeline.html": "Timeline",
    "unconfirmed.html": "Not confirmed",
}

_HEADER = frozenset(
    {
        "id", "title", "version", "status", "serves", "payer", "jurisdictions", "effective_period", "approval_date",
        "last_review_date", "review_interval_days", "authors", "reviewers", "funding", "extends", "limitations",
    }
)  # fmt: skip
"""Keys of pack.yaml that the templates show in their own words; any other is shown under its name."""


def build_site(rules: Path, overlays: Sequence[Path] = ()) -> dict[str, str]:
    """Give every file of the site of a rules folder, and of local packs, by its path inside the site.

    Raises:
        RulePackError: the packs, their cases or the list of other ids cannot be read, or the packs not compiled.

    """
    library = Library(read_catalog(rules, overlays))
    made = environment("engine.site")
    files = {STYLE: made.get_template("style.css.j2").render() + "\n"}
    for page in _pages(library):
        template = made.get_template(page.template)
        files[page.path] = template.render(
            page=page,
            root=page.root,
            library=library,
            catalog=library.catalog,
            navigation=NAVIGATION,
            disclaimer=DISCLAIMER,
            known_header_keys=_HEADER,
            period_in_words=period_in_words,
            unit_in_words=unit_in_words,
            **page.shown,
        )
    return files | {LISTING: "".join(f"{path}\n" for path in sorted(files))}


def write_site(files: Mapping[str, str], folder: Path) -> None:
    """Write a site into a folder; files of an earlier one that are no longer part of it are removed, and no others."""
    listing = folder / LISTING
    before = listing.read_text(encoding="utf-8").splitlines() if listing.is_file() else []
    for path in before:
        old = folder / path
        if path not in files and old.resolve().is_relative_to(folder.resolve()) and old.is_file():
            old.unlink()
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def _pages(library: Library) -> Iterator[Page]:
    yield from overview_pages(library)
    yield from detail_pages(library)
    yield from across_pages(library)
