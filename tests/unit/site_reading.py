"""The pages of a site as tests read them: refused unless their tags close in order, with links, anchors and words."""

from __future__ import annotations

import posixpath
import shutil
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKS = Path(__file__).parents[1] / "packs"
VOID = {"meta", "link", "path", "circle"}
INLINE = {"a", "code", "b", "strong", "em", "cite"}
"""Tags that stand inside a word or sentence; any other parts the words around it."""

CHANGELOG = """# Abroad

## 2.1.0

*Begins* with ABR-CI-01 and `ABR-EX-01`; see [the source](https://example.org/a?b=1&c=2) and [here](../pack.yaml).

- one
- <b onclick="x()">two</b>

| what | who |
|---|---|
| ABR-CI-01 | everyone |

![picture](https://example.org/x.png) [bad](javascript:alert(1))
"""
"""With every kind of Markdown that is written, and what must not become markup."""


def small_rules(folder: Path) -> Path:
    """Write a rules folder with two jurisdictions that differ in known ways, a payer, a local pack and a draft."""
    rules = folder / "rules"
    shutil.copytree(PACKS / "good", rules)
    shutil.copytree(PACKS / "site", rules, dirs_exist_ok=True)
    (rules / "abroad" / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")
    return rules


class Read(HTMLParser):
    """One page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.pieces: list[tuple[tuple[str, ...], str]] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._part(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._part(tag)

    def handle_data(self, data: str) -> None:
        self.pieces.append((tuple(self.open), data))

    def _part(self, tag: str) -> None:
        if tag not in INLINE:
            self.pieces.append((tuple(self.open), " "))

    def values(self, attribute: str) -> list[str]:
        """Give every value of an attribute."""
        return [value for _, name, value in self.attributes if name == attribute]

    @cached_property
    def ids(self) -> list[str]:
        """Every anchor."""
        return self.values("id")

    @cached_property
    def text(self) -> str:
        """The words as they are read, with single spaces."""
        return " ".join("".join(data for _, data in self.pieces).split())

    @cached_property
    def headings(self) -> list[int]:
        """The levels of the headings, in order."""
        return [int(tag[1]) for tag in self.tags if tag in {"h1", "h2", "h3", "h4", "h5", "h6"}]

    def words_in(self, tag: str) -> list[str]:
        """Give the words inside each element of a kind that holds any, one text for each piece."""
        return [" ".join(data.split()) for around, data in self.pieces if tag in around and data.strip()]


def read_pages(files: Mapping[str, str]) -> dict[str, Read]:
    """Read every page of a site."""
    return {path: Read(text) for path, text in files.items() if path.endswith(".html")}


def targets(path: str, page: Read) -> list[tuple[str, str]]:
    """Give what a page links to inside the site: file and anchor."""
    found = []
    for link in page.values("href"):
        if not link.startswith(("https://", "http://")):
            file, _, anchor = unquote(link).partition("#")
            found.append((posixpath.normpath(posixpath.join(posixpath.dirname(path), file)) if file else path, anchor))
    return found


def broken_links(files: Mapping[str, str], pages: Mapping[str, Read]) -> list[str]:
    """List the links that lead nowhere."""
    return [
        f"{path} -> {file}#{anchor}"
        for path, page in pages.items()
        for file, anchor in targets(path, page)
        if file not in files or (anchor and anchor not in pages[file].ids)
    ]


def orphans(pages: Mapping[str, Read], start: str) -> set[str]:
    """Give the pages that nobody finds who begins at a page and follows links."""
    found, queue = {start}, [start]
    while queue:
        path = queue.pop()
        for file, _ in targets(path, pages[path]):
            if file in pages and file not in found:
                found.add(file)
                queue.append(file)
    return set(pages) - found
