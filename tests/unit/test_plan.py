"""The plan of a commit stands on the durable head, whatever memory holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import pytest

from engine.ledger.body import CheckpointGap, write_body
from engine.ledger.entry import Header, Kind
from engine.ledger.merkle import GrowingTree, leaf_hash
from engine.ledger.plan import Draft, Moment, make_plan
from engine.ledger.store import Head, Seen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from engine.ledger.store import Batch, TileId

MOMENT = Moment(1_700_000_000_000_000, 0, bytes(range(16)))
DRAFT = Draft(
    Header(
        Kind.CHECKPOINT_GAP,
        bytes(range(32)),
        entry_id=bytes(range(16)),
        body=write_body(CheckpointGap(1, 2, "signer")),
    )
)


class TreeAppending:
    """A transaction over a tree that is held in memory; `asked` counts how often its tiles were read."""

    def __init__(self, tree: GrowingTree) -> None:
        self._tree = tree
        self.head = Head(tree.size, tree.state, 0, 0)
        self.asked = 0

    def tiles(self, wanted: Sequence[TileId]) -> dict[TileId, bytes]:
        self.asked += 1
        return {tile: self._tree.tile(*tile) for tile in wanted}

    def seen(self, keys: Sequence[tuple[int, bytes]]) -> dict[tuple[int, bytes], Seen]:
        return {key: Seen(0, b"", 0) for key in keys[:0]}

    def known_blobs(self, digests: Iterable[bytes]) -> set[bytes]:
        return set(digests)

    def write(self, batch: Batch) -> NoReturn:
        raise AssertionError(batch)


def tree_of(size: int, salt: bytes = b"") -> GrowingTree:
    tree = GrowingTree(0, b"", {})
    for index in range(size):
        tree.add(leaf_hash(salt + index.to_bytes(8, "big")))
    return tree


@pytest.mark.parametrize("size", [0, 1, 5, 255, 256, 257, 600])
def test_the_right_edge_is_read_once_and_then_remembered(size: int) -> None:
    appending = TreeAppending(tree_of(size))
    read = make_plan(appending, [DRAFT], MOMENT, ())
    remembered = make_plan(appending, [DRAFT], MOMENT, (), edge=tree_of(size).edge())
    assert appending.asked == 1
    assert remembered.tree.root() == read.tree.root()
    assert (remembered.batch, read.batch) != (None, None)
    assert remembered.batch == read.batch


@pytest.mark.parametrize(
    "edge",
    [
        pytest.param(tree_of(5, b"another log").edge(), id="of another tree"),
        pytest.param(tree_of(4).edge(), id="of a smaller tree: another server appended"),
        pytest.param(tree_of(6).edge(), id="of a larger tree: a commit was lost"),
        pytest.param({}, id="empty"),
    ],
)
def test_an_edge_that_is_not_the_durable_one_is_never_used(edge: dict[TileId, bytes]) -> None:
    appending = TreeAppending(tree_of(5))
    plan = make_plan(appending, [DRAFT], MOMENT, (), edge=edge)
    assert appending.asked == 1
    assert plan.tree.root() == make_plan(appending, [DRAFT], MOMENT, ()).tree.root()
