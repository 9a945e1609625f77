"""The clinician's page as its tests read it, and a view in which every text is of the caller's choosing."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from engine.facts import Observed
from engine.page.clinician import Actions, ClinicianView, Feedback, render_clinician
from tests.unit.clinician_views import Oddity, Suggested

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.dictionary import FactDefinition

VOID = {"meta", "path", "circle", "br", "link", "input", "rect", "line"}
LISTED = {"status", "could_be", "to", "effect", "truth", "side", "authorization", "level", "urgency", "state", "mode"}
LISTED |= {"counts", "fact", "id", "option", "option_order", "missing", "also_ask", "why_not", "as_of"}


class Structure(HTMLParser):
    """Reads a page, refuses tags that do not close in order, and keeps what the tests ask for."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    def values(self, attribute: str) -> list[str]:
        return [found[attribute] for _, found in self.tags if attribute in found]

    def named(self, name: str) -> list[tuple[str, dict[str, str]]]:
        return [(tag, found) for tag, found in self.tags if found.get("name") == name]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read(view: ClinicianView) -> Structure:
    return Structure(render_clinician(view))


def in_order(text: str, *parts: str) -> bool:
    places = [text.index(part) for part in parts]
    return places == sorted(places)


def poisoned(item: Any, poison: Callable[[str], str]) -> Any:  # noqa: ANN401 - walks data of any shape
    """Put other words into every text that nobody chose from a list."""
    if isinstance(item, str):
        return poison(item)
    if isinstance(item, list | tuple):
        return type(item)(poisoned(part, poison) for part in item)
    if is_dataclass(item) and not isinstance(item, type):
        changed = {
            f.name: poisoned(getattr(item, f.name), poison)
            for f in fields(item)
            if f.name not in LISTED and not isinstance(getattr(item, f.name), dict | MappingProxyType | frozenset)
        }
        return replace(item, **changed)
    return item


def hostile_view(view: ClinicianView, text: str) -> ClinicianView:
    """Give a view in which every text is `text`."""

    def poison(_: str) -> str:
        return text

    known = {n: Observed(o.value, text, o.observed_on, text) for n, o in view.facts.known.items()}
    named: dict[str, FactDefinition] = {
        n: d.model_copy(update={"label": text, "values": dict.fromkeys(d.values, text)})
        for n, d in view.definitions.items()
    }
    return replace(
        view,
        decision=poisoned(view.decision, poison),
        facts=replace(view.facts, known=known),
        definitions=named,
        patient=text,
        purpose=text,
        drugs=dict.fromkeys(view.drugs, text),
        history=poisoned(view.history, poison),
        candidates=[Suggested("breastfeeding", text, text, (text,))],
        issues=[Oddity(text, text, text, 2, (text,)), Oddity("fhir/conflict", text, text, 1, (text,))],
        attributes={"shared": [(text, text)], text: [(text, text)]},
        receipt=poisoned(view.receipt, poison),
        actions=Actions(text, text, text),
        reasons={text: text},
        recorded=[Feedback("overridden", text, text)],
        entered={"fact.sbp_mmHg": text, "comment": text, "reason": text},
        errors={"fact.sbp_mmHg": text, text: text},
    )
