"""What a payer's criteria rest on, as a checklist: each fact, what it is wanted for, and how it is evidenced.

An EHR can make a prior-authorization packet of it. Evidence is what came with a fact and is never inferred: a value
without a source is stated, not documented. A row that can no longer change the answer has its facts listed too, because
a packet shows everything that the policy asks.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from engine.compiler import form
from engine.evaluator.decision import DocumentationItem
from engine.evaluator.records import lacking
from engine.facts import is_visible
from engine.pack.model import JUDGES_COVERAGE
from engine.trials import EPISODE_START

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from engine.dictionary import FactDefinition
    from engine.evaluator.account import Account
    from engine.evaluator.decision import DocumentationState, UnusableInput
    from engine.facts import TrialRecord

"""Effects of the rows whose facts a payer asks for; what the clinical status alone decides is no question of paper."""

_EVIDENCE = "documentation"
_GRADES: Mapping[str, DocumentationState] = {"documented": "documented", "self_report": "self_reported"}
_NAMED_APART = frozenset({"drug", _EVIDENCE})


class Documentation:
    """The checklist of one evaluation. `unusable` holds what came and counts as missing."""

    def __init__(self, account: Account, unusable: Sequence[UnusableInput]) -> None:
        self.account = account
        self.unusable = unusable

    def items(self) -> tuple[DocumentationItem, ...]:
        """Give the lines in the order of the data dictionary; a list has one for each record."""
        place = self.account.layout.places
        wanted = self._wanted
        return tuple(item for fact in sorted(wanted, key=place.__getitem__) for item in self._items(fact, wanted[fact]))

    @cached_property
    def _wanted(self) -> Mapping[str, tuple[str, ...]]:
        """The facts behind the rows in force, each with the ids of those rows."""
        found: dict[str, dict[str, None]] = {}
        for name, nodes in self._rows.items():
            for fact in (f for node in nodes for f in self._behind(node)):
                found.setdefault(fact, {})[name] = None
        return {fact: tuple(rows) for fact, rows in found.items()}

    @cached_property
    def _rows(self) -> Mapping[str, tuple[str, ...]]:
        """The rows in force, each with the nodes that it rests on."""
        return {
            name: tuple(filter(None, (name, criterion.prior_approval_if)))
            for name, criterion in self.account.packs.criteria.items()
            if criterion.effect in JUDGES_COVERAGE and self.account.is_in_force(name)
        }

    def _behind(self, node: str) -> Iterator[str]:
        yield from self.account.leaf_facts(node)
        is_placed = not self.account.layout.placed_counts.isdisjoint(self.account.concepts(node))
        if is_placed and EPISODE_START in self.account.definitions:
            yield EPISODE_START

    def _items(self, fact: str, criteria: tuple[str, ...]) -> Iterator[DocumentationItem]:
        definition = self.account.definitions[fact]
        records = self.account.facts.records.get(fact)
        if records:
            for position, record in enumerate(records):
                label = f"{definition.label}, {position + 1} of {len(records)}"
                yield self._record(definition, label, criteria, position, record)
        else:
            yield self._fact(definition, criteria)

    def _fact(self, definition: FactDefinition, criteria: tuple[str, ...]) -> DocumentationItem:
        read = self.account.fact_read(definition.id)
        reason = _joined(u.reason for u in self.unusable if u.fact == definition.id)
        state: DocumentationState = "documented" if is_visible(read.source) else "stated"
        if reason or read.value is None:
            state = "missing"
        return DocumentationItem(
            fact=definition.id,
            label=definition.label,
            criteria=criteria,
            state=state,
            value=read.value,
            question=definition.ask if state == "missing" else "",
            reason=reason,
            path=read.path,
            date=read.date,
            source=read.source,
        )

    def _record(
        self, definition: FactDefinition, label: str, criteria: tuple[str, ...], position: int, record: TrialRecord
    ) -> DocumentationItem:
        grade = str(record.values.get(_EVIDENCE, ""))
        state = _GRADES.get(grade) or ("documented" if is_visible(record.source) else "stated")
        is_unusable = any(u.fact == definition.id and u.path == record.path for u in self.unusable)
        if is_unusable:
            state = "missing"
        return DocumentationItem(
            fact=definition.id,
            label=label,
            criteria=criteria,
            state=state,
            value=self._in_words(definition, record),
            question=definition.ask if is_unusable else "",
            reason=_joined(self._reasons(definition, record)),
            lacking=tuple(self._lacking(definition, position)),
            path=record.path,
            source=record.source,
        )

    def _in_words(self, definition: FactDefinition, record: TrialRecord) -> str:
        given = record.values
        told = (
            f"{field.label}: {field.in_words(given[field.id])}"
            for field in definition.fields
            if field.id in given and field.id not in _NAMED_APART
        )
        return "; ".join([self.account.drug(str(given.get("drug", ""))), *told])

    def _reasons(self, definition: FactDefinition, record: TrialRecord) -> Iterator[str]:
        """Why a record, or a field of it, cannot be used."""
        labels = {f"{record.path}.{field.id}": field.label for field in definition.fields}
        for unusable in self.unusable:
            if unusable.path == record.path:
                yield unusable.reason
            elif unusable.path in labels:
                yield f"{labels[unusable.path]}: {unusable.reason}"

    def _lacking(self, definition: FactDefinition, position: int) -> Iterator[str]:
        """Give the labels of what is not recorded of a record and keeps a row from being judged."""
        account, nodes = self.account, self.account.layout.record_nodes[definition.id]
        given = (account.inputs.records[definition.id] or ())[position]
        concluded = account.record_values[definition.id][position]
        counts = (count for count in self._counts if count.records == definition.id)
        absent = {name for count in counts for name in lacking(nodes, count.where, given, concluded)}
        yield from (field.label for field in definition.fields if field.id in absent)
        if EPISODE_START in absent:
            yield account.label(EPISODE_START)

    @cached_property
    def _counts(self) -> tuple[form.CountNode, ...]:
        """The counts behind the rows in force."""
        nodes = self.account.packs.nodes
        behind = {concept for rows in self._rows.values() for node in rows for concept in self.account.concepts(node)}
        return tuple(node for name, node in nodes.items() if isinstance(node, form.CountNode) and name in behind)


def _joined(reasons: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(reasons))
