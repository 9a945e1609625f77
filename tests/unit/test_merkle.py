"""The Merkle tree at its edges: known hashes, every size of a small tree, and what must be refused."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from engine.errors import IntegrityError
from engine.ledger import merkle
from engine.ledger.merkle import GrowingTree, leaf_hash, node_hash

if TYPE_CHECKING:
    from collections.abc import Callable

# Eight leaves with their roots, as Certificate Transparency publishes them.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}
HASH = bytes(range(32))
HUGE = 10**5000  # Python makes no text of it


def grown(size: int) -> GrowingTree:
    tree = GrowingTree(0, b"", {})
    for index in range(size):
        tree.add(leaf_hash(index.to_bytes(8, "big")))
    return tree


def named(value: object) -> str | None:
    return "huge" if isinstance(value, int) and abs(value) == HUGE else None


def refused(call: Callable[[], object], words: str, place: str | None = None) -> None:
    with pytest.raises(IntegrityError, match=words) as caught:
        call()
    if place is not None:
        assert caught.value.place == place


def test_the_published_roots_come_out() -> None:
    tree = GrowingTree(0, b"", {})
    assert tree.root() == merkle.EMPTY_ROOT == merkle.root_of(tree.tile, 0)
    for size, leaf in enumerate(LEAVES, 1):
        tree.add(leaf_hash(bytes.fromhex(leaf)))
        assert tree.root().hex() == ROOTS.get(size, tree.root().hex())
    assert tree.size == len(LEAVES)


def test_every_proof_in_every_tree_up_to_40_verifies_and_fails_in_every_other_place() -> None:
    tree = grown(40)
    roots = {size: merkle.root_of(tree.tile, size) for size in range(1, 41)}
    leaves = [leaf_hash(index.to_bytes(8, "big")) for index in range(40)]
    for size, root in roots.items():
        for index in range(size):
            proof = merkle.inclusion_proof(tree.tile, index, size)
            merkle.verify_inclusion(index, size, leaves[index], proof, root)
            for other in (index - 1, index + 1, index ^ 4):
                refused(
                    partial(merkle.verify_inclusion, other, size, leaves[index], proof, root),
                    "no entry|does not lead|must have",
                )
        for size1 in range(1, size + 1):
            proof = merkle.consistency_proof(tree.tile, size1, size)
            merkle.verify_consistency(size1, size, proof, roots[size1], root)
            refused(partial(merkle.verify_consistency, size1, size, proof, HASH, root), "does not lead|two root hashes")
            refused(
                partial(merkle.verify_consistency, size1, size, proof, roots[size1], HASH),
                "does not lead|two root hashes",
            )


def test_an_older_tree_reads_a_prefix_of_the_same_tiles() -> None:
    older, newer = grown(300), grown(700)

    assert merkle.root_of(newer.tile, 300) == older.root()
    assert merkle.inclusion_proof(newer.tile, 7, 300) == merkle.inclusion_proof(older.tile, 7, 300)
    assert merkle.consistency_proof(newer.tile, 5, 300) == merkle.consistency_proof(older.tile, 5, 300)


@pytest.mark.parametrize("leaf", [b"", HASH[:31], HASH + b"\0"])
def test_c73_a_leaf_hash_that_is_none_is_refused_even_where_it_equals_the_root(leaf: bytes) -> None:
    refused(lambda: merkle.verify_inclusion(0, 1, leaf, [], leaf), "32 bytes", "entry 0")
    refused(lambda: GrowingTree(0, b"", {}).add(leaf), "32 bytes", "entry 0")


@pytest.mark.parametrize("wrong", [HASH[:31], HASH + b"\0", b""])
def test_c73_a_hash_of_another_length_in_a_proof_is_refused(wrong: bytes) -> None:
    tree = grown(7)
    inclusion, consistency = tree.inclusion_proof(2), merkle.consistency_proof(tree.tile, 3, 7)
    root3, root7 = merkle.root_of(tree.tile, 3), tree.root()
    for place in range(len(inclusion)):
        proof = [*inclusion[:place], wrong, *inclusion[place + 1 :]]
        refused(partial(merkle.verify_inclusion, 2, 7, HASH, proof, root7), "32 bytes", "entry 2")
    for place in range(len(consistency)):
        proof = [*consistency[:place], wrong, *consistency[place + 1 :]]
        refused(partial(merkle.verify_consistency, 3, 7, proof, root3, root7), "32 bytes", "tree_size 7")
    refused(lambda: merkle.verify_consistency(3, 7, consistency, wrong, root7), "32 bytes")
    refused(lambda: merkle.verify_consistency(3, 7, consistency, root3, wrong), "32 bytes")
    refused(lambda: merkle.verify_consistency(7, 7, [], wrong, root7), "two root hashes")


@pytest.mark.parametrize("count", [0, 1, 2, 4, 64, 65, 1000])
def test_c73_a_proof_with_another_number_of_hashes_is_refused(count: int) -> None:
    proof = [HASH] * count

    refused(lambda: merkle.verify_inclusion(2, 7, HASH, proof, HASH), f"has {count} hashes and must have 3", "entry 2")
    if count != 4:
        refused(lambda: merkle.verify_consistency(3, 7, proof, HASH, HASH), f"has {count} hashes and must have 4")
    refused(lambda: merkle.verify_inclusion(2**63 - 2, 2**63 - 1, HASH, proof, HASH), "hashes|does not lead")


@pytest.mark.parametrize("size", [-1, 0, 2**63, 2**64, 2**64 + 1, HUGE, -HUGE], ids=named)
def test_c73_a_size_that_no_tree_has_is_refused(size: int) -> None:
    tile = grown(3).tile

    for index in (-HUGE, -1, 0, size - 1, size, HUGE):
        refused(partial(merkle.verify_inclusion, index, size, HASH, [], HASH), "tree size")
        refused(partial(merkle.inclusion_proof, tile, index, size), "tree size")
        refused(partial(merkle.verify_consistency, index, size, [], HASH, HASH), "tree size")
        refused(partial(merkle.consistency_proof, tile, index, size), "tree size")
    if size:
        refused(lambda: merkle.root_of(tile, size), "tree size")
        refused(lambda: merkle.right_edge(size), "tree size")
        refused(lambda: GrowingTree(size, b"", {}), "tree size")


@pytest.mark.parametrize("index", [-1, 3, 4, 2**63, 2**64 + 1, HUGE, -HUGE], ids=named)
def test_c73_an_index_outside_the_tree_is_refused(index: int) -> None:
    tree = grown(3)

    refused(lambda: merkle.verify_inclusion(index, 3, HASH, [HASH], HASH), "no entry of this index")
    refused(lambda: merkle.inclusion_proof(tree.tile, index, 3), "no entry of this index")
    refused(lambda: tree.inclusion_proof(index), "no entry of this index")


def test_c74_equal_sizes_need_equal_roots_and_no_proof() -> None:
    merkle.verify_consistency(5, 5, [], HASH, HASH)

    assert merkle.consistency_proof(grown(5).tile, 5, 5) == []
    refused(lambda: merkle.verify_consistency(5, 5, [], HASH, bytes(32)), "two root hashes", "tree_size 5")
    refused(lambda: merkle.verify_consistency(5, 5, [HASH], HASH, HASH), "must have 0", "tree_size 5")


@pytest.mark.parametrize("size1", [0, -1, 6, HUGE, -HUGE], ids=named)
def test_c74_nothing_is_consistent_with_the_empty_tree_or_with_a_larger_one(size1: int) -> None:
    tree = grown(5)

    refused(lambda: merkle.verify_consistency(size1, 5, [], merkle.EMPTY_ROOT, HASH), "at least one entry")
    refused(lambda: merkle.consistency_proof(tree.tile, size1, 5), "at least one entry")
    refused(lambda: tree.consistency_proof(size1), "at least one entry")


def test_c78_growth_that_is_no_extension_is_refused() -> None:
    honest, other = grown(9), GrowingTree(0, b"", {})
    for index in range(12):
        other.add(leaf_hash(b"other" if index == 4 else index.to_bytes(8, "big")))

    proof = merkle.consistency_proof(other.tile, 9, 12)
    merkle.verify_consistency(9, 12, proof, merkle.root_of(other.tile, 9), other.root())
    refused(
        lambda: merkle.verify_consistency(9, 12, proof, honest.root(), other.root()), "does not lead", "tree_size 12"
    )


@pytest.mark.parametrize("short", [(0, 0), (0, 2), (1, 0)])
def test_c55_a_tile_that_is_too_short_is_named(short: tuple[int, int]) -> None:
    tree = grown(600)

    def tiles(level: int, n: int) -> bytes:
        return tree.tile(level, n)[: -1 if (level, n) == short else None]

    calls = {
        (0, 0): lambda: merkle.inclusion_proof(tiles, 9, 600),
        (0, 2): lambda: merkle.root_of(tiles, 600),
        (1, 0): lambda: merkle.consistency_proof(tiles, 300, 600),
    }
    refused(calls[short], "is too short", f"tile {short[0]}/{short[1]}")


def test_c55_a_tile_that_is_longer_than_a_tile_is_named() -> None:
    refused(lambda: merkle.root_of(lambda _level, _n: bytes(8193), 3), "longer than a full tile", "tile 0/0")


@pytest.mark.parametrize("width", [0, 2, 4])
def test_c55_a_partial_tile_of_another_width_than_the_head_says_is_named(width: int) -> None:
    tree = grown(259)
    tiles = {(0, 1): bytes(32 * width), (1, 0): tree.tile(1, 0)}

    refused(lambda: GrowingTree(259, tree.state, tiles), "the 3 hashes", "tile 0/1")
    refused(lambda: GrowingTree(259, tree.state, {(0, 1): tree.tile(0, 1)}), "the 1 hashes", "tile 1/0")


def test_c57_a_state_that_is_not_that_of_the_tiles_is_refused() -> None:
    tree = grown(259)
    edge = {key: tree.tile(*key) for key in merkle.right_edge(259)}
    for state in (b"", tree.state[:-1], tree.state + HASH, tree.state[32:] + tree.state[:32], HASH + tree.state[32:]):
        refused(partial(GrowingTree, 259, state, edge), "the state is not", "head")
    edited = edge | {(0, 1): HASH + edge[0, 1][32:]}
    refused(lambda: GrowingTree(259, tree.state, edited), "the state is not", "head")

    assert GrowingTree(259, tree.state, edge).root() == tree.root()


def test_a_tree_that_goes_on_changes_only_the_tiles_at_its_edge() -> None:
    whole, before = grown(770), grown(510)
    tree = GrowingTree(510, before.state, {key: before.tile(*key) for key in merkle.right_edge(510)})
    assert tree.changed == {}
    for index in range(510, 770):
        tree.add(leaf_hash(index.to_bytes(8, "big")))

    assert tree.changed == {key: whole.tile(*key) for key in [(0, 1), (0, 2), (0, 3), (1, 0)]}
    assert (tree.size, tree.state, tree.root()) == (770, whole.state, whole.root())
    refused(lambda: tree.tile(0, 0), "not held", "tile 0/0")
    refused(lambda: tree.inclusion_proof(3), "not held", "tile 0/0")


def test_the_largest_tree_is_proven_and_takes_no_more() -> None:
    size = 2**63 - 1
    same = [HASH]
    for _ in range(63):
        same.append(node_hash(same[-1], same[-1]))
    state = b"".join(reversed(same[:63]))
    tiles = {(level, n): same[8 * level] * (127 if level == 7 else 255) for level, n in merkle.right_edge(size)}
    tree = GrowingTree(size, state, tiles)
    last, middle = tree.inclusion_proof(size - 1), tree.consistency_proof(2**62 + 2**61)

    assert len(last) == 62
    merkle.verify_inclusion(size - 1, size, HASH, last, tree.root())
    merkle.verify_consistency(2**62 + 2**61, size, middle, node_hash(same[62], same[61]), tree.root())
    refused(lambda: tree.add(HASH), "fewer than 2")


def test_the_partial_tiles_are_those_of_the_specification() -> None:
    assert merkle.right_edge(70_000) == [(0, 273), (1, 1), (2, 0)]
    assert merkle.right_edge(256) == [(1, 0)]
    assert merkle.right_edge(255) == [(0, 0)]
    assert merkle.right_edge(0) == []


def test_tiles_have_the_paths_of_the_specification() -> None:
    assert merkle.tile_path(0, 1_234_067, 256) == "tile/0/x001/x234/067"
    assert merkle.tile_path(0, 273, 112) == "tile/0/273.p/112"
    assert merkle.tile_path("entries", 1000, 1) == "tile/entries/x001/000.p/1"
    assert merkle.tile_path(63, 0, 255) == "tile/63/000.p/255"


@pytest.mark.parametrize(
    ("level", "n", "width"),
    [(-1, 0, 1), (64, 0, 1), (0, -1, 1), (0, HUGE, 1), (0, 0, 0), (0, 0, 257), (HUGE, 0, 1)],
    ids=named,
)
def test_there_is_no_path_for_a_tile_that_cannot_be(level: int, n: int, width: int) -> None:
    refused(lambda: merkle.tile_path(level, n, width), "a tile")
