"""The numbers and words with which the nodes of a compiled graph are compared."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from engine.compiler import form

if TYPE_CHECKING:
    from collections.abc import Iterator


def leaves_of(part: object) -> Iterator[form.Compare | form.OneOf]:
    """Find every comparison with a number or with words anywhere inside a node."""
    if isinstance(part, form.Compare | form.OneOf):
        yield part
    elif isinstance(part, tuple):
        for item in part:
            yield from leaves_of(item)
    elif dataclasses.is_dataclass(part) and not isinstance(part, type):
        for item in dataclasses.fields(part):
            yield from leaves_of(getattr(part, item.name))


def thresholds_of(graph: form.Graph) -> dict[str, set[int]]:
    """Give, for each node that is compared, the numbers it is compared with."""
    found: dict[str, set[int]] = {}
    for node in graph.nodes:
        for leaf in leaves_of(node):
            if isinstance(leaf, form.Compare):
                found.setdefault(leaf.node, set()).add(leaf.constant)
    return found
