"""What one record of a list lacks: the fields behind a node of it that is unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import trials
from engine.compiler import form
from engine.compiler.packset import node_reads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def lacking(
    nodes: Mapping[str, form.Node], name: str, given: Mapping[str, form.Value], concluded: Mapping[str, form.Value]
) -> Iterator[str]:
    """Give the fields that are not recorded and leave a node of one record unknown; some may come twice.

    `trials.EPISODE_START` is among them where nothing else keeps the record from being placed in the episode.

    Args:
        nodes: the nodes of one record, by name.
        name: the node.
        given: the record as the logic reads it, enriched.
        concluded: what was concluded about it.

    """
    node = nodes.get(name)
    if node is None or isinstance(node, form.FactNode):
        if given.get(name) is None:
            yield from _unrecorded(name, given)
    elif concluded.get(name) is None:
        for read in node_reads(node):
            yield from lacking(nodes, read, given, concluded)


def _unrecorded(name: str, given: Mapping[str, form.Value]) -> Iterator[str]:
    fields = [field for field in trials.GIVEN_BY.get(name, (name,)) if given.get(field) is None]
    yield from fields
    if name == trials.PLACED and not fields:
        yield trials.EPISODE_START
