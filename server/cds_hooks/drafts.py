"""Which options the draft orders of a call are of: by the codes and names of their drugs, wherever those stand."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.fhir import shape
from engine.fhir.bundle import Envelope, Resource
from server.cds_hooks.hook import with_urls
from server.cds_hooks.outcome import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from server.cds_hooks.hook import HookCall
    from server.cds_hooks.words import Order, Words

MEDICATION = "Medication"
_OVER = ["entered-in-error", "cancelled", "stopped", "completed"]
_DRUGS = ("medicationCodeableConcept", "medicationReference", "medication")
_PARTS = ("itemCodeableConcept", "itemReference", "item")
_CODE = "code"
_SAYS_NOTHING = frozenset({"id", "extension"})
_NESTED = 4
"""How many Medications may lead one to the next: a mixture of a mixture."""

_LONGEST_TEXT = 1000
_DASHES = re.compile("[\u2010-\u2015\u2212]")


@dataclass(frozen=True, slots=True)
class Ordered:
    """The options that drafts are orders of, each once, in the order of the words.

    `has_untold` says that a further draft names a drug, but not so that it can be told.
    """

    options: tuple[str, ...]
    has_untold: bool


def read_orders(call: HookCall, words: Words) -> Ordered:
    """Say what the drafts of a call order.

    Where the call says which drafts were just selected, only those count. A draft without a drug orders nothing yet. A
    drug that has a name, none of ours, is another drug; one that has only codes that nobody here knows, or a reference
    that leads nowhere, cannot be told, which is never "none of ours".

    Raises:
        Refusal: 412 where nothing that is ordered can be told although a drug is named.

    """
    found = list(with_urls(call.drafts))
    chosen = [r for r, _ in found if r["resourceType"] != MEDICATION and not _orders_nothing(r)]
    selected = [r for r in chosen if f"{r['resourceType']}/{r.get('id')}" in call.selections]
    if call.selections and selected:
        chosen = selected
    medications = Envelope()
    for resource, url in [*found, *(each for value in call.prefetch.values() for each in with_urls(value))]:
        if resource["resourceType"] == MEDICATION:
            known = Resource(MEDICATION, resource, (url,) if url else ())
            medications.add(known, f"{MEDICATION}/{known.id}")
    read = [_Named(draft, medications, words) for draft in chosen]
    options = tuple(order.option for order in words.orders if any(order.option in named.options for named in read))
    has_untold = any(named.is_untold for named in read)
    if has_untold and not options:
        message = "a draft names a drug that cannot be told; send its name, a code of its ingredient, or its Medication"
        raise Refusal(412, "untold-drug", message, places=("context.draftOrders",))
    return Ordered(options, has_untold)


class _Named:
    """The codes and texts by which one draft names its drug, and the options that they are of."""

    def __init__(self, draft: Mapping[str, object], medications: Envelope, words: Words) -> None:
        self._medications = medications
        self._words = words
        self._codes: set[str] = set()
        self._texts: list[str] = []
        draft_drug = [draft[name] for name in _DRUGS if name in draft]
        for named in (*draft_drug, draft.get(_CODE)):
            self._read(named, dict(draft), _NESTED)
        self.options = frozenset(self._ordered())
        self.is_untold = any(map(_says_something, draft_drug)) and not self._texts and not self.options

    def _ordered(self) -> Iterator[str]:
        for order in self._words.orders:
            patterns = [*order.codes, *order.unconfirmed]
            if any(fnmatch.fnmatchcase(code, pattern) for code in self._codes for pattern in patterns):
                yield order.option
        names = {name: order.option for order in self._words.orders for name in order.names}
        pattern = _whole_words(self._words.orders)
        yield from (names[found] for text in self._texts for found in pattern.findall(text))

    def _read(self, value: object, within: shape.Element, depth: int) -> None:
        """Read what may name a drug: a concept, a reference, or both in one, also in a list."""
        for told in shape.elements(value):
            for name in ("text", "display"):
                self._read_text(told.get(name))
            for coding in shape.elements(told.get("coding")):
                self._read_coding(coding)
            self._read(told.get("concept"), within, depth)
            reference = shape.element(told.get("reference")).get("reference", told.get("reference"))
            self._read_text(shape.element(told.get("reference")).get("display"))
            target = self._medications.resolve(reference, within) if depth else None
            if target is not None:
                self._read(target.get(_CODE), target, depth - 1)
                for part in shape.elements(target.get("ingredient")):
                    for name in _PARTS:
                        self._read(part.get(name), {**within, **target}, depth - 1)

    def _read_coding(self, coding: shape.Element) -> None:
        uri = "".join(shape.text(coding.get("system")).split()).partition("|")[0].rstrip("/")
        code = shape.code(coding.get("code"))
        self._codes |= {f"{name} {code}" for name, uris in self._words.systems.drugs.items() if code and uri in uris}
        self._read_text(coding.get("display"))

    def _read_text(self, value: object) -> None:
        text = _DASHES.sub("-", shape.text(value)[:_LONGEST_TEXT].casefold())
        if text:
            self._texts.append(text)


def _whole_words(orders: tuple[Order, ...]) -> re.Pattern[str]:
    """Match any name as a whole word, the longest first: `s-ketamine` is not `ketamine`."""
    names = sorted((name for order in orders for name in order.names), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, names)) or '(?!)'})(?!\w)")


def _says_something(drug: object) -> bool:
    """Say whether an element for a drug is more than empty; what is said of an absent one does not count."""
    told = shape.elements(drug)
    return any(v for each in told for key, v in each.items() if key not in _SAYS_NOTHING) if told else bool(drug)


def _orders_nothing(draft: Mapping[str, object]) -> bool:
    return draft.get("status") in _OVER or shape.is_prohibited(draft)
