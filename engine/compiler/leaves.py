"""Walks over the compiled form: the expressions of a node, their comparisons, and where a comparison turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.compiler import form

if TYPE_CHECKING:
    from collections.abc import Iterator


def expressions(node: form.Node) -> Iterator[form.Expression]:
    """Give the expressions that a node is made of."""
    match node:
        case form.ConditionNode():
            yield node.expression
        case form.EvidenceNode():
            for source in node.sources:
                yield from (guard for guard, _ in source.mapping or ())
        case form.ChoiceNode():
            yield from (guard for guard, _ in node.steps)


def leaves(node: form.Node) -> Iterator[form.Compare | form.OneOf]:
    """Give the comparisons of a node with numbers and with named values."""
    queue = list(expressions(node))
    while queue:
        match queue.pop():
            case (form.Compare() | form.OneOf()) as leaf:
                yield leaf
            case form.Not(part):
                queue.append(part)
            case form.All(parts) | form.AnyOf(parts) | form.AtLeast(_, parts):
                queue += parts


def region_starts(comparison: form.Compare) -> tuple[int, ...]:
    """Give the first numbers of the regions that a comparison tells apart."""
    match comparison.operator:
        case "<" | ">=":
            return (comparison.constant,)
        case "<=" | ">":
            return (comparison.constant + 1,)
        case "==":
            return (comparison.constant, comparison.constant + 1)
