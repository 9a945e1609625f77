"""The pages that look across all packs: differences, ids, what is unconfirmed, and when the rules change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.site.catalog import slug
from engine.site.page import Page
from engine.site.series import all_series, totals
from engine.site.statements import concerns
from engine.site.timeline import days

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.site.page import Library

DIFFERENCES = ("Differences between jurisdictions", "differences.html")


def across_pages(library: Library) -> Iterator[Page]:
    """Give the pages that look across."""
    catalog, differences = library.catalog, library.differences
    pairs = [(pair, f"differences/{slug(pair.one)}-and-{slug(pair.other)}.html") for pair in differences.pairs()]
    shown = {"differing": differences.groups(differing=True), "same": differences.groups(differing=False)}
    yield Page(DIFFERENCES[1], "differences.html.j2", DIFFERENCES[0], {**shown, "pairs": pairs})
    for pair, path in pairs:
        yield Page(path, "pair.html.j2", f"{pair.one} and {pair.other}", {"pair": pair}, (DIFFERENCES,))
    series = all_series(catalog)
    told = {"series": series, "totals": totals(series)}
    yield Page("ids.html", "ids.html.j2", "Every criterion by its id", told)
    yield Page("unconfirmed.html", "unconfirmed.html.j2", "What is not confirmed", {"concerns": concerns(catalog)})
    yield Page("timeline.html", "timeline.html.j2", "When the rules change", {"days": days(catalog)})
