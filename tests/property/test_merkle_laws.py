"""Proofs of drawn trees verify and no bit of them may change; a tree that grows is the tree that RFC 6962 defines."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import IntegrityError
from engine.ledger import merkle
from engine.ledger.merkle import GrowingTree, leaf_hash, node_hash

if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST = 66_000
NEAR_EDGES = st.one_of(st.integers(0, 20), st.integers(0, 800), st.integers(65_200, 65_800))
SIZES = NEAR_EDGES.filter(bool)
LEAVES = [leaf_hash(index.to_bytes(8, "big")) for index in range(LARGEST)]


# What RFC 6962 section 2.1 defines, written down as it stands there; D[start:end] for its lists of entries.


def split(start: int, end: int) -> int:
    return start + (1 << (end - start - 1).bit_length() - 1)


@cache
def mth(start: int, end: int) -> bytes:
    if end - start == 1:
        return LEAVES[start]
    middle = split(start, end)
    return node_hash(mth(start, middle), mth(middle, end))


def path(index: int, start: int, end: int) -> list[bytes]:
    if end - start == 1:
        return []
    middle = split(start, end)
    if index < middle:
        return [*path(index, start, middle), mth(middle, end)]
    return [*path(index, middle, end), mth(start, middle)]


def subproof(size1: int, start: int, end: int, *, is_known: bool) -> list[bytes]:
    if size1 == end:
        return [] if is_known else [mth(start, end)]
    middle = split(start, end)
    if size1 <= middle:
        return [*subproof(size1, start, middle, is_known=is_known), mth(middle, end)]
    return [*subproof(size1, middle, end, is_known=False), mth(start, middle)]


def state(size: int) -> bytes:
    if not size:
        return b""
    largest = 1 << size.bit_length() - 1
    return mth(0, largest) + b"".join(mth(start, end) for start, end in _perfect(largest, size))


def _perfect(start: int, end: int) -> list[tuple[int, int]]:
    if start == end:
        return []
    largest = 1 << (end - start).bit_length() - 1
    return [(start, start + largest), *_perfect(start + largest, end)]


def tile(level: int, n: int, size: int = LARGEST) -> bytes:
    """Give a tile of a tree of this size as C2SP tlog-tiles defines it."""
    span = 256**level
    starts = range(n * 256 * span, min((n + 1) * 256 * span, size - span + 1), span)
    return b"".join(mth(start, start + span) for start in starts)


def flipped(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data, "big") ^ 1 << bit % (8 * len(data))).to_bytes(len(data), "big")


@given(st.data())
def test_an_inclusion_proof_is_that_of_the_standard_and_no_bit_of_it_may_change(data: st.DataObject) -> None:
    size = data.draw(SIZES)
    index = data.draw(st.integers(0, size - 1))
    root = mth(0, size)
    proof = merkle.inclusion_proof(tile, index, size)

    assert proof == path(index, 0, size)
    merkle.verify_inclusion(index, size, LEAVES[index], proof, root)
    bit = data.draw(st.integers(0, 255))
    hashes = [LEAVES[index], root, *proof]
    changed = data.draw(st.integers(0, len(hashes) - 1))
    leaf, other_root, *other_proof = [flipped(each, bit) if at == changed else each for at, each in enumerate(hashes)]
    for wrong in (
        (index, size, leaf, other_proof, other_root),
        (index ^ 1 << bit, size, LEAVES[index], proof, root),
        (index, size, LEAVES[index], [*proof, LEAVES[0]], root),
        (index, size, LEAVES[index], proof[:-1] if proof else [root], root),
    ):
        with pytest.raises(IntegrityError):
            merkle.verify_inclusion(*wrong)


@given(st.data())
def test_a_consistency_proof_is_that_of_the_standard_and_no_bit_of_it_may_change(data: st.DataObject) -> None:
    size2 = data.draw(SIZES)
    size1 = data.draw(st.integers(1, size2))
    root1, root2 = mth(0, size1), mth(0, size2)
    proof = merkle.consistency_proof(tile, size1, size2)

    assert proof == subproof(size1, 0, size2, is_known=True)
    merkle.verify_consistency(size1, size2, proof, root1, root2)
    bit = data.draw(st.integers(0, 255))
    hashes = [root1, root2, *proof]
    changed = data.draw(st.integers(0, len(hashes) - 1))
    older, newer, *other_proof = [flipped(each, bit) if at == changed else each for at, each in enumerate(hashes)]
    for wrong in (
        (size1, size2, other_proof, older, newer),
        (size1, size2, [*proof, LEAVES[0]], root1, root2),
        (size1, size2, proof[:-1] if proof else [root1], root1, root2),
    ):
        with pytest.raises(IntegrityError):
            merkle.verify_consistency(*wrong)


@given(NEAR_EDGES, st.lists(st.integers(0, 90), min_size=1, max_size=4), st.data())
def test_a_tree_that_grows_in_batches_is_the_tree_of_the_standard(
    size: int, batches: list[int], data: st.DataObject
) -> None:
    held = {key: tile(key[0], key[1], size) for key in merkle.right_edge(size)}
    kept = state(size)
    for batch in batches:
        tree = GrowingTree(size, kept, {key: held[key] for key in merkle.right_edge(size)})
        for leaf in LEAVES[size : size + batch]:
            tree.add(leaf)
        end = size + batch

        assert (tree.size, tree.state) == (end, state(end))
        assert tree.root() == (mth(0, end) if end else merkle.EMPTY_ROOT)
        assert tree.changed == {key: tile(key[0], key[1], end) for key in tree.changed}
        held |= tree.changed
        for key in merkle.right_edge(end):
            assert held[key] == tile(key[0], key[1], end)
        if batch:
            index = data.draw(st.integers(size, end - 1))
            expected = path(index, 0, end)
            assert tree.inclusion_proof(index) == merkle.inclusion_proof(tree.tile, index, end) == expected
        if size:
            expected = subproof(size, 0, end, is_known=True)
            assert tree.consistency_proof(size) == merkle.consistency_proof(tree.tile, size, end) == expected
        size, kept = end, tree.state


@given(SIZES)
def test_the_root_comes_out_of_the_tiles(size: int) -> None:
    exact = merkle.root_of(lambda level, n: tile(level, n, size), size)

    assert merkle.root_of(tile, size) == exact == mth(0, size)


ANY_INTEGER = st.integers() | st.integers(-1, 70) | st.sampled_from([2**63 - 1, 2**63, 10**5000])
ANY_HASHES = st.lists(st.binary(max_size=40) | st.binary(min_size=32, max_size=32), max_size=70)


@given(ANY_INTEGER, ANY_INTEGER, ANY_HASHES, st.binary(max_size=99))
def test_any_integers_and_bytes_are_taken_or_give_an_integrity_error(
    first: int, second: int, hashes: list[bytes], other: bytes
) -> None:
    leaf = hashes[0] if hashes else b""
    calls: list[Callable[[], object]] = [
        lambda: merkle.verify_inclusion(first, second, leaf, hashes, other),
        lambda: merkle.verify_consistency(first, second, hashes, leaf, other),
        lambda: merkle.inclusion_proof(lambda _level, _n: other, first, second),
        lambda: merkle.consistency_proof(lambda _level, _n: other, first, second),
        lambda: merkle.root_of(lambda _level, _n: other, first),
        lambda: GrowingTree(first, leaf, dict.fromkeys([(0, 0), (0, 1)], other)),
        lambda: merkle.tile_path(first, second, len(hashes)),
    ]
    for call in calls:
        with suppress(IntegrityError):
            call()
