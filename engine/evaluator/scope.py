"""What the searches of all options share: the classes of each fact's values, and what cannot be at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.compiler import form
from engine.compiler.leaves import leaves
from engine.compiler.packset import PackSet, node_reads, status_node
from engine.evaluator.domain import Domain, domain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from engine.dictionary import Constraint, FactDefinition


@dataclass(frozen=True)
class Scope:
    """The facts, counts and contradictions behind the statuses of a pack set.

    Attributes:
        packs: the pack set.
        domains: for every fact node the classes of its values; what is no fact of the dictionary comes last.
        askable: the facts of the dictionary, in its order.
        turns: for every count, the numbers with which it is compared and their neighbors.
        contradictions: the nodes that hold where facts contradict each other.
        constraints: what facts cannot be at once.

    """

    packs: PackSet
    domains: Mapping[str, Domain]
    askable: tuple[str, ...]
    turns: Mapping[str, Collection[int]]
    contradictions: tuple[str, ...]
    constraints: tuple[Constraint, ...]


def scope_of(packs: PackSet, definitions: Mapping[str, FactDefinition], constraints: Sequence[Constraint]) -> Scope:
    """Give the scope of the statuses of all options.

    Args:
        packs: the compiled packs.
        definitions: the data dictionary.
        constraints: what facts cannot be at once.

    """
    wanted = _closure(packs, [status_node(option.id) for option in packs.options])
    nodes = [node for name, node in packs.nodes.items() if name in wanted]
    facts = {node.name: node for node in nodes if isinstance(node, form.FactNode)}
    askable = tuple(name for name in definitions if name in facts)
    readers = _readers([*nodes, *map(_told_apart, constraints)])
    domains = {
        name: domain(facts[name], readers[name], definitions.get(name)) for name in dict.fromkeys((*askable, *facts))
    }
    contradictions = tuple(node.name for node in nodes if node.name.endswith("?contradiction"))
    return Scope(packs, domains, askable, _turns(nodes), contradictions, tuple(constraints))


def _closure(packs: PackSet, names: Iterable[str]) -> set[str]:
    wanted: set[str] = set()
    queue = list(names)
    while queue:
        name = queue.pop()
        if name not in wanted:
            wanted.add(name)
            queue += packs.reads[name]
    return wanted


def _readers(nodes: Iterable[form.Node]) -> dict[str, list[form.Node]]:
    readers: dict[str, list[form.Node]] = {}
    for node in nodes:
        for name in node_reads(node):
            readers.setdefault(name, []).append(node)
    return readers


def _told_apart(constraint: Constraint) -> form.ConditionNode:
    """Give a condition that tells the values apart that facts never have at once: it matters which of them is held."""
    words = {name: value for name, value in constraint.never.items() if isinstance(value, str)}
    parts = tuple(form.OneOf(name, frozenset((word,))) for name, word in words.items())
    return form.ConditionNode(constraint.id, form.All(parts))


def _turns(nodes: Iterable[form.Node]) -> dict[str, set[int]]:
    nodes = list(nodes)
    turns: dict[str, set[int]] = {node.name: set() for node in nodes if isinstance(node, form.CountNode)}
    for node in nodes:
        for leaf in leaves(node):
            if isinstance(leaf, form.Compare) and leaf.node in turns:
                turns[leaf.node].update((leaf.constant - 1, leaf.constant, leaf.constant + 1))
    return turns
