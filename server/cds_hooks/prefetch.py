"""Prefetch templates, from the data dictionary's FHIR bindings. Source: CDS Hooks 2.0, prefetch template.

Only what the specification recommends: reads, `patient=`, token equality, `_sort`, `_count`; tokens name root-level
fields of the context.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from engine.dictionary import Dictionary, FactDefinition
    from server.cds_hooks.words import Query, Words

TOKEN = re.compile(r"\{\{context\.([A-Za-z]+)\}\}")
_TYPE = re.compile(r"\b[A-Z][A-Za-z]+\b")
_CODE = re.compile(r"LOINC ([0-9]+-[0-9])")


def templates(words: Words, dictionary: Dictionary) -> dict[str, str]:
    """Give the templates by key. A type that no fact is bound to is left out."""
    bound = {kind for fact in _flat(dictionary.facts) for kind in _types(fact)}
    named = frozenset(name for query in words.prefetch.values() for name in query.facts)
    found = {}
    for key, query in words.prefetch.items():
        if query.resource in bound:
            codes = [f"{words.systems.loinc}|{code}" for code in _loinc(query, named, dictionary)]
            found[key] = _template(query, codes)
    return found


def filled(template: str, context: Mapping[str, str]) -> str | None:
    """Put the context into a template; None where the context lacks a field of it."""
    if any(name not in context for name in TOKEN.findall(template)):
        return None
    return TOKEN.sub(lambda match: context[match[1]], template)


def _template(query: Query, codes: list[str]) -> str:
    if query.read:
        return f"{query.resource}/{{{{context.{query.read}}}}}"
    parameters = ["patient={{context.patientId}}"]
    if codes:
        parameters.append(f"code={','.join(codes)}")
    if query.sort:
        parameters.append(f"_sort={query.sort}")
    if query.count:
        parameters.append(f"_count={query.count}")
    return f"{query.resource}?{'&'.join(parameters)}"


def _loinc(query: Query, named: frozenset[str], dictionary: Dictionary) -> list[str]:
    if query.resource != "Observation":
        return []
    wanted = frozenset(query.facts)
    facts = (f for f in dictionary.facts if (f.id in wanted if wanted else f.id not in named))
    codes = [*query.codes, *(code for fact in facts for code in _codes(fact))]
    return list(dict.fromkeys(codes))


def _codes(fact: FactDefinition) -> Iterator[str]:
    if fact.fhir is None or "Observation" not in _types(fact):
        return
    for code in (*fact.fhir.codes, *fact.fhir.unconfirmed):
        if match := _CODE.fullmatch(code):
            yield match[1]


def _types(fact: FactDefinition) -> frozenset[str]:
    return frozenset(_TYPE.findall(fact.fhir.resource)) if fact.fhir else frozenset()


def _flat(facts: Iterable[FactDefinition]) -> Iterator[FactDefinition]:
    for fact in facts:
        yield fact
        yield from fact.fields
