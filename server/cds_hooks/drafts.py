"""Which options the draft orders of a call are orders of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from engine.fhir import shape
from server.cds_hooks.hook import resources

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from server.cds_hooks.hook import HookCall
    from server.cds_hooks.words import Order, Words

_OVER = ["entered-in-error", "cancelled", "stopped", "completed"]
_HOLDERS = ("medicationCodeableConcept", "medicationReference", "medication", "code")


def ordered_options(call: HookCall, words: Words) -> tuple[str, ...]:
    """Give the options that drafts order, each once, in the order of `words.orders`.

    Where the call says which drafts were just selected, only those count. A draft without a drug orders nothing yet.
    """
    by_reference = {**{f"{r['resourceType']}/{r.get('id')}": r for r in call.drafts}, **call.by_url}
    chosen = [r for r in call.drafts if r["resourceType"] != "Medication" and not _orders_nothing(r)]
    selected = [r for r in chosen if f"{r['resourceType']}/{r.get('id')}" in call.selections]
    if call.selections and selected:
        chosen = selected
    named = [_Named(r, by_reference, words.systems.rxnorm) for r in chosen]
    return tuple(order.option for order in words.orders if any(n.orders(order) for n in named))


class _Named:
    """The codes and texts by which one draft names its drug."""

    def __init__(
        self,
        draft: Mapping[str, object],
        by_reference: Mapping[str, Mapping[str, object]],
        systems: frozenset[str],
    ) -> None:
        self._systems = systems
        self.codes: set[str] = set()
        self.texts: list[str] = []
        for concept in _concepts(draft, by_reference):
            self._read(concept)

    def orders(self, order: Order) -> bool:
        """Say whether the draft orders an option."""
        if self.codes & set(order.rxnorm):
            return True
        return any(re.search(rf"\b{re.escape(name)}\b", text) for text in self.texts for name in order.names)

    def _read(self, concept: Mapping[str, object]) -> None:
        for value in (concept.get("text"), concept.get("display")):
            self._read_text(value)
        codings = concept.get("coding")
        for coding in codings if isinstance(codings, list) else [codings]:
            if isinstance(coding, dict):
                system, code = coding.get("system"), coding.get("code")
                if isinstance(system, str) and "".join(system.split()) in self._systems and isinstance(code, str | int):
                    self.codes.add(str(code).strip())
                self._read_text(coding.get("display"))

    def _read_text(self, value: object) -> None:
        if isinstance(value, str):
            self.texts.append(value[:1000].casefold())


def _concepts(
    draft: Mapping[str, object], by_reference: Mapping[str, Mapping[str, object]]
) -> Iterator[Mapping[str, object]]:
    """Give what may name the drug: concepts, displays of references, and the code of a Medication that is there."""
    contained = {f"#{r.get('id')}": r for r in resources(draft.get("contained"))}
    for holder in _HOLDERS:
        value = draft.get(holder)
        if not isinstance(value, dict):
            continue
        yield value
        if isinstance(value.get("concept"), dict):
            yield value["concept"]
        reference = value.get("reference")
        if isinstance(reference, str):
            places = (contained.get(reference), by_reference.get(reference))
            medication = next(filter(None, places), by_reference.get("/".join(reference.split("/")[-2:])))
            code = medication.get("code") if medication else None
            if isinstance(code, dict):
                yield code


def _orders_nothing(draft: Mapping[str, object]) -> bool:
    return draft.get("status") in _OVER or shape.is_prohibited(draft)
