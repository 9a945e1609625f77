"""What stays the same for every patient of one pack set: which criteria decide, inform and cite."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from engine.compiler import form
from engine.compiler.levels import LEVELS, level_of
from engine.compiler.packset import node_reads
from engine.evaluator import decision as answer
from engine.evaluator import sentences
from engine.trials import PLACED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.compiler.packset import PackSet
    from engine.pack.book import RuleBook
    from engine.pack.model import Citation, Criterion, Option

RANK = {level: rank for rank, level in enumerate(LEVELS)}
"""How good a level is; 0 is the worst."""


@dataclass(frozen=True)
class Layout:
    """One pack set, laid out for explanation. Everything is computed once and kept."""

    book: RuleBook
    packs: PackSet

    @cached_property
    def citations(self) -> Mapping[str, tuple[answer.Citation, ...]]:
        """The sources of each criterion."""
        references = {k: r for pack in self.packs.packs for k, r in pack.references.items()}

        def cite(c: Citation) -> answer.Citation:
            return answer.Citation(c.source, references[c.source].title, c.section, c.supports)

        return {n: tuple(map(cite, c.references)) for n, c in self.packs.criteria.items()}

    @cached_property
    def by_option(self) -> Mapping[str, tuple[tuple[str, Criterion], ...]]:
        """The criteria of each option, in reading order."""
        return {
            o.id: tuple((n, c) for n, c in self.packs.criteria.items() if o.id in c.options) for o in self.packs.options
        }

    @cached_property
    def deciding(self) -> Mapping[str, tuple[tuple[str, Criterion, int | None], ...]]:
        """The criteria of each option that hold a level or indicate it, with the rank of that level."""
        return {
            option: tuple(
                (n, c, None if (level := level_of(c)) is None else RANK[level])
                for n, c in rows
                if c.effect == "indicates" or level_of(c) is not None
            )
            for option, rows in self.by_option.items()
        }

    @cached_property
    def informing(self) -> Mapping[str, tuple[tuple[str, Criterion], ...]]:
        """The criteria of each option that plan, show or report."""
        effects = {"plans", "shows", "reports"}
        return {option: tuple(r for r in rows if r[1].effect in effects) for option, rows in self.by_option.items()}

    @cached_property
    def plain_facts(self) -> Mapping[str, tuple[str, ...]]:
        """The input facts behind each criterion that rests on no evidence, no count and nothing past.

        They are the same for every patient.
        """
        return {
            n: facts for n in self.packs.criteria if n in self.packs.nodes and (facts := self._plain(n)) is not None
        }

    def _plain(self, name: str) -> tuple[str, ...] | None:
        found: dict[str, None] = {}
        queue = [name]
        while queue:
            current = queue.pop(0)
            node = self.packs.nodes[current]
            if isinstance(node, form.EvidenceNode | form.CountNode) or current in self.packs.past:
                return None
            if fact := self.fact_of(current):
                found[fact] = None
            queue = [*self.packs.reads[current], *queue]
        return tuple(found)

    def fact_of(self, node: str) -> str:
        """Give the input fact that a node holds or compares with a fixed day; empty for any other node."""
        fact, _ = self.packs.dates.get(node, (node, None))
        return fact if fact in self.book.facts else ""

    @cached_property
    def undeciding(self) -> Mapping[str, tuple[tuple[str, Criterion], ...]]:
        """For each list, the criteria that make one of its records unknown."""
        rows = [(n, c) for n, c in self.packs.criteria.items() if c.effect == "discounts" and c.gives == "unknown"]
        return {name: tuple(r for r in rows if r[1].of == name) for name in self.packs.compiled.records}

    @cached_property
    def contradictions(self) -> Mapping[str, str]:
        """The nodes that stand for a contradiction, and what each says."""
        return {f"{n}?contradiction": d.unknown_if.says for n, d in self.packs.derived.items() if d.unknown_if}

    @cached_property
    def matches(self) -> Mapping[str, tuple[str, ...]]:
        """For each list, the nodes that say whether a record counts."""
        counts = [n for n in self.packs.nodes.values() if isinstance(n, form.CountNode)]
        return {name: tuple(n.where for n in counts if n.records == name) for name in self.packs.compiled.records}

    @cached_property
    def record_nodes(self) -> Mapping[str, Mapping[str, form.Node]]:
        """For each list, the nodes of one of its records by name."""
        return {name: {node.name: node for node in graph.nodes} for name, graph in self.packs.compiled.records.items()}

    @cached_property
    def placed_counts(self) -> frozenset[str]:
        """The counts of records that have to lie in the current episode."""
        counts = [n for n in self.packs.nodes.values() if isinstance(n, form.CountNode)]
        return frozenset(n.name for n in counts if PLACED in _behind(self.record_nodes[n.records], n.where))

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The place of each fact in the data dictionary."""
        return {fact: place for place, fact in enumerate(self.book.facts)}

    @cached_property
    def options(self) -> Mapping[str, Option]:
        """The options by id."""
        return {o.id: o for o in self.packs.options}

    @cached_property
    def fixed_texts(self) -> Mapping[str, answer.ShownItem]:
        """The lines that hold no value of the patient."""
        return {
            n: answer.ShownItem(n, sentences.fill(c.explain, str), c.confirmed)
            for n, c in self.packs.criteria.items()
            if c.effect in {"plans", "shows"} and not any(name for _, name in sentences.pieces(c.explain))
        }

    @cached_property
    def identities(self) -> tuple[answer.PackIdentity, ...]:
        """The packs that speak."""
        return tuple(answer.PackIdentity(p.id, p.header.version, p.digest) for p in self.packs.packs)

    @cached_property
    def referral_words(self) -> Mapping[str, str]:
        """Words for the kinds of referral."""
        return {k: w for pack in self.packs.packs for k, w in pack.referral_kinds.items()}

    @cached_property
    def list_facts(self) -> Mapping[str, str]:
        """For each count, the list it counts over."""
        return {n.name: n.records for n in self.packs.nodes.values() if isinstance(n, form.CountNode)}


def _behind(nodes: Mapping[str, form.Node], name: str) -> set[str]:
    found: set[str] = set()
    queue = [name]
    while queue:
        current = queue.pop()
        if current not in found:
            found.add(current)
            queue += node_reads(nodes[current])
    return found
