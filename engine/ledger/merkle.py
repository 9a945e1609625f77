"""The Merkle tree of the decision log: hashes, proofs, tiles, and the tree while it grows.

Pure functions over bytes. A node is named by its height and its place at that height: node (h, i) covers the entries
i * 2^h to (i + 1) * 2^h - 1. Tile (level, n) holds the nodes (8 * level, 256 * n) and the up to 255 after it, so a tile
is the bottom row of a perfect subtree of height 8, and what lies between two levels is computed. Nodes that cover
entries still to come are stored nowhere: they are put together from the perfect subtrees at the right edge.

Every fault, of any integers and bytes, is an `IntegrityError`.

Source: RFC 6962 section 2.1; C2SP tlog-tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Literal, TypeAlias

from engine.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Tiles: TypeAlias = Callable[[int, int], bytes]
"""Gives the hashes of tile (level, n), joined: at least those of the tree that is asked about, maybe later ones too."""

HASH_SIZE = 32
TILE_HEIGHT = 8
TILE_WIDTH = 256
MAX_TREE_SIZE = 2**63 - 1
MAX_LEVEL = 63
EMPTY_ROOT = sha256().digest()

REMEMBERED_TILES = 256
"""How many tiles are kept with the heights above them, about 4 MiB: proofs of neighbors come from the same tiles."""

REMEMBERED_ROOTS = 1024
"""How many subtree roots are kept, about 1 MiB: each batch checks a partial tile that has grown by little."""


def leaf_hash(data: bytes) -> bytes:
    """Hash an entry's `leaf_data`."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into the one above them."""
    return sha256(b"\x01" + left + right).digest()


def verify_inclusion(index: int, tree_size: int, leaf_hash: bytes, proof: Sequence[bytes], root_hash: bytes) -> None:
    """Check that the leaf is entry `index` of the tree of this size and root.

    The proof does not bind `tree_size`: size and root have to come from one checkpoint.

    Raises:
        IntegrityError: it is not, or the proof does not show it.

    Source: RFC 9162 section 2.1.3.2.

    """
    _check_size(tree_size)
    _check_index(index, tree_size)
    place = f"entry {index}"
    inner = (index ^ (tree_size - 1)).bit_length()
    _check_count(proof, inner + (index >> inner).bit_count(), place)
    _check_hashes((leaf_hash, root_hash, *proof), place)
    node = leaf_hash
    for height, sibling in enumerate(proof):
        is_right = height >= inner or index >> height & 1
        node = sha256(b"\x01" + sibling + node if is_right else b"\x01" + node + sibling).digest()
    if node != root_hash:
        raise IntegrityError("the inclusion proof does not lead from the leaf to the root hash", place)


def verify_consistency(size1: int, size2: int, proof: Sequence[bytes], root1: bytes, root2: bytes) -> None:
    """Check that the tree of `size2` begins with all entries of the tree of `size1`.

    Raises:
        IntegrityError: it does not, or the proof does not show it; also for `size1` 0, of which nothing can be shown.

    Source: RFC 9162 section 2.1.4.2.

    """
    _check_size(size2)
    _check_growth(size1, size2)
    place = f"tree_size {size2}"
    if size1 == size2:
        _check_count(proof, 0, place)
        if root1 != root2:
            raise IntegrityError("there are two root hashes for one tree size", place)
        return  # nothing is hashed: as in the published vectors, what equals itself is not measured
    last = size1 - 1
    inner = (last ^ (size2 - 1)).bit_length()
    height = _trailing_zeros(size1)  # of the last perfect subtree of the older tree, where the path begins
    seeds = 0 if size1 == 1 << height else 1
    _check_count(proof, seeds + inner - height + (last >> inner).bit_count(), place)
    _check_hashes((root1, root2, *proof), place)
    older = newer = proof[0] if seeds else root1
    for sibling in proof[seeds:]:
        if height >= inner or last >> height & 1:
            older = node_hash(sibling, older)
            newer = node_hash(sibling, newer)
        else:
            newer = node_hash(newer, sibling)
        height += 1
    if older != root1 or newer != root2:
        raise IntegrityError("the consistency proof does not lead from one root hash to the other", place)


def inclusion_proof(tiles: Tiles, index: int, tree_size: int) -> list[bytes]:
    """Make the proof that entry `index` is in the tree of this size, from the leaf's sibling up.

    Raises:
        IntegrityError: there is no such entry, or a tile is too short; `place` then names the tile.

    """
    return _inclusion_proof(_Nodes(tiles, tree_size, {}), index)


def consistency_proof(tiles: Tiles, size1: int, size2: int) -> list[bytes]:
    """Make the proof that the tree of `size2` extends the tree of `size1`; empty if they are one.

    Raises:
        IntegrityError: not 1 <= size1 <= size2, or a tile is too short; `place` then names the tile.

    """
    return _consistency_proof(_Nodes(tiles, size2, {}), size1)


def root_of(tiles: Tiles, tree_size: int) -> bytes:
    """Compute the root hash of the tree of this size from its tiles.

    Raises:
        IntegrityError: a tile is too short; `place` names it.

    """
    if tree_size == 0:
        return EMPTY_ROOT
    _check_size(tree_size)
    return _Nodes(tiles, tree_size, {}).from_entry(0)


def right_edge(tree_size: int) -> list[tuple[int, int]]:
    """Name the partial tiles of a tree, lowest level first: all that is needed beside its state to add to it."""
    _check_size(tree_size, least=0)
    levels = range((tree_size.bit_length() + TILE_HEIGHT - 1) // TILE_HEIGHT)
    return [(level, _tile_of(level, tree_size)) for level in levels if _partial_width(level, tree_size)]


def tile_path(level: int | Literal["entries"], n: int, width: int) -> str:
    """Name the file of a tile, or of a bundle of entries, as C2SP tlog-tiles does; `width` 256 is a full one.

    Raises:
        IntegrityError: there can be no such tile.

    """
    if level != "entries" and not 0 <= level <= MAX_LEVEL:
        raise IntegrityError("a tile's level is between 0 and 63")
    if not 0 <= n <= MAX_TREE_SIZE or not 1 <= width <= TILE_WIDTH:
        raise IntegrityError("a tile has an index below 2^63 and between 1 and 256 hashes")
    digits = str(n)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    *leading, last = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    folders = "".join(f"x{each}/" for each in leading)
    return f"tile/{level}/{folders}{last}" + ("" if width == TILE_WIDTH else f".p/{width}")


class GrowingTree:
    """A tree from its right edge on: leaves are added, and proven, without reading anything further left.

    It holds every node it makes, so it is for a batch, not for a whole log at once. `state` is the compact range: the
    roots of the perfect subtrees, largest first, joined. `tiles` holds the partial tiles that `right_edge` names,
    exactly as wide as a tree of this size has them.

    Raises:
        IntegrityError: state and tiles do not fit the size or each other; `place` names the tile, or the head.

    """

    def __init__(self, size: int, state: bytes, tiles: Mapping[tuple[int, int], bytes]) -> None:
        _check_size(size, least=0)
        self.size = size
        self._rows = {key: bytearray(tiles.get(key, b"")) for key in right_edge(size)}
        for (level, n), row in self._rows.items():
            width = _partial_width(level, size)
            if len(row) != HASH_SIZE * width:
                raise IntegrityError(f"does not have the {width} hashes of a tree of this size", _place(level, n))
        self._made = {(height, (size >> height) - 1): self._stored(height, size) for height in _heights(size)}
        self._perfect = list(self._made.values())
        if state != self.state:
            raise IntegrityError("the state is not that of the partial tiles", "head")
        self._changed: set[tuple[int, int]] = set()

    def add(self, leaf_hash: bytes) -> None:
        """Append one leaf.

        Raises:
            IntegrityError: it is not a hash, or the tree is as large as a tree can be.

        """
        if len(leaf_hash) != HASH_SIZE or self.size == MAX_TREE_SIZE:
            raise IntegrityError("a leaf hash has 32 bytes, and a tree fewer than 2^63 entries", f"entry {self.size}")
        self._store(0, self.size, leaf_hash)
        perfect = self._perfect
        node, index, height = leaf_hash, self.size, 0
        while index & 1:
            node = sha256(b"\x01" + perfect.pop() + node).digest()
            index >>= 1
            height += 1
            if height % TILE_HEIGHT:
                self._made[height, index] = node
            else:
                self._store(height // TILE_HEIGHT, index, node)
        perfect.append(node)
        self.size += 1

    @property
    def state(self) -> bytes:
        """The compact range as it is now."""
        return b"".join(self._perfect)

    @property
    def changed(self) -> dict[tuple[int, int], bytes]:
        """Every tile that has grown or is new, whole, by level and index."""
        return {key: bytes(self._rows[key]) for key in sorted(self._changed)}

    def root(self) -> bytes:
        """Give the root hash of the tree as it is now."""
        if not self._perfect:
            return EMPTY_ROOT
        *larger, root = self._perfect
        for left in reversed(larger):
            root = node_hash(left, root)
        return root

    def inclusion_proof(self, index: int) -> list[bytes]:
        """Make the proof that a leaf which was added is in the tree as it is now, much faster than from tiles.

        Raises:
            IntegrityError: there is no such leaf, or its proof needs tiles further left.

        """
        return _inclusion_proof(_Nodes(self.tile, self.size, self._made), index)

    def consistency_proof(self, size1: int) -> list[bytes]:
        """Make the proof that the tree as it is now extends one of `size1`, not smaller than it was at first.

        Raises:
            IntegrityError: there is no such proof, or it needs tiles further left.

        """
        return _consistency_proof(_Nodes(self.tile, self.size, self._made), size1)

    def edge(self) -> dict[tuple[int, int], bytes]:
        """Give the partial tiles that a tree of this size begins with: those that `right_edge` names."""
        return {key: self.tile(*key) for key in right_edge(self.size)}

    def tile(self, level: int, n: int) -> bytes:
        """Give a tile of the tree as it is now: `Tiles` for the leaves that were added and the size it began with.

        Raises:
            IntegrityError: the tile lies further left.

        """
        row = self._rows.get((level, n))
        if row is None:
            raise IntegrityError("is not at the right edge, so it is not held", _place(level, n))
        return bytes(row)

    def _stored(self, height: int, size: int) -> bytes:
        """Compute the root of the perfect subtree of this height at the edge of the partial tiles."""
        level, above = divmod(height, TILE_HEIGHT)
        end = (size >> height << above) % TILE_WIDTH * HASH_SIZE
        return _root(bytes(self._rows[level, _tile_of(level, size)][end - (HASH_SIZE << above) : end]))

    def _store(self, level: int, index: int, node: bytes) -> None:
        key = (level, index >> TILE_HEIGHT)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = bytearray()
        row += node
        self._changed.add(key)


class _Nodes:
    """The nodes of a tree: the known ones by height and index, the others out of its tiles, each asked for once."""

    def __init__(self, tiles: Tiles, tree_size: int, known: Mapping[tuple[int, int], bytes]) -> None:
        self.tree_size = tree_size
        self._tiles = tiles
        self._known = known
        self._rows: dict[tuple[int, int], bytes] = {}

    def perfect(self, height: int, index: int) -> bytes:
        """Give the root of a perfect subtree that lies within the tree."""
        node = self._known.get((height, index))
        return self._out_of_tile(height, index) if node is None else node

    def from_entry(self, start: int) -> bytes:
        """Hash the entries from `start` on, which is a multiple of a power of two that is not below their number."""
        *larger, smallest = _heights(self.tree_size - start)
        node = self.perfect(smallest, (self.tree_size >> smallest) - 1)
        for height in reversed(larger):
            node = node_hash(self.perfect(height, (self.tree_size >> height) - 1), node)
        return node

    def _out_of_tile(self, height: int, index: int) -> bytes:
        level, above = divmod(height, TILE_HEIGHT)
        n, within = divmod(index, TILE_WIDTH >> above)
        row = self._rows.get((level, n))
        if row is None:
            row = self._rows[level, n] = self._tile(level, n)
        if above:
            row = _rows_above(row)[above - 1]
        return row[HASH_SIZE * within : HASH_SIZE * within + HASH_SIZE]

    def _tile(self, level: int, n: int) -> bytes:
        row = self._tiles(level, n)
        width = min(TILE_WIDTH, (self.tree_size >> (TILE_HEIGHT * level)) - TILE_WIDTH * n)
        if len(row) < HASH_SIZE * width:
            fault = f"is too short: a tree of {self.tree_size} entries needs {width} hashes of it"
            raise IntegrityError(fault, _place(level, n))
        if len(row) > HASH_SIZE * TILE_WIDTH:
            raise IntegrityError("is longer than a full tile", _place(level, n))
        return row


def _inclusion_proof(nodes: _Nodes, index: int) -> list[bytes]:
    _check_size(nodes.tree_size)
    _check_index(index, nodes.tree_size)
    return _path(nodes, index, 0)


def _consistency_proof(nodes: _Nodes, size1: int) -> list[bytes]:
    _check_size(nodes.tree_size)
    _check_growth(size1, nodes.tree_size)
    if size1 == nodes.tree_size:
        return []
    height = _trailing_zeros(size1)
    seed = [] if size1 == 1 << height else [nodes.perfect(height, (size1 >> height) - 1)]
    return seed + _path(nodes, size1 - 1, height)


def _path(nodes: _Nodes, index: int, height: int) -> list[bytes]:
    """List the siblings of the nodes above entry `index`, from `height` to the root.

    Where the ways to `index` and to the last entry part, the sibling may cover entries still to come. Below, siblings
    are perfect; above, `index` is on the right edge, and only what lies to the left of it is a sibling.
    """
    last = nodes.tree_size - 1
    inner = (index ^ last).bit_length()
    path = [nodes.perfect(each, (index >> each) ^ 1) for each in range(height, inner - 1)]
    if inner > height:
        path.append(nodes.from_entry((last >> (inner - 1)) << (inner - 1)))
    above = (each for each in range(inner, index.bit_length()) if index >> each & 1)
    path.extend(nodes.perfect(each, (index >> each) - 1) for each in above)
    return path


@lru_cache(maxsize=REMEMBERED_TILES)
def _rows_above(row: bytes) -> tuple[bytes, ...]:
    """Compute the nodes above a tile's row, height by height, up to the last that is in no other tile."""
    rows = [row]
    for _ in range(1, TILE_HEIGHT):
        below = rows[-1]
        starts = range(0, len(below) - 2 * HASH_SIZE + 1, 2 * HASH_SIZE)
        rows.append(b"".join([sha256(b"\x01" + below[start : start + 2 * HASH_SIZE]).digest() for start in starts]))
    return tuple(rows[1:])


def _root(row: bytes) -> bytes:
    """Hash the row of a perfect subtree up to its root."""
    return row if len(row) == HASH_SIZE else _remembered_root(row)


@lru_cache(maxsize=REMEMBERED_ROOTS)
def _remembered_root(row: bytes) -> bytes:
    half = len(row) // 2
    return sha256(b"\x01" + _root(row[:half]) + _root(row[half:])).digest()


def _heights(count: int) -> list[int]:
    """List the heights of the perfect subtrees that so many entries fall into, largest first."""
    return [height for height in reversed(range(count.bit_length())) if count >> height & 1]


def _trailing_zeros(size: int) -> int:
    return (size & -size).bit_length() - 1


def _tile_of(level: int, tree_size: int) -> int:
    return tree_size >> (TILE_HEIGHT * (level + 1))


def _partial_width(level: int, tree_size: int) -> int:
    return (tree_size >> (TILE_HEIGHT * level)) % TILE_WIDTH


def _place(level: int, n: int) -> str:
    return f"tile {level}/{n}"


def _check_size(tree_size: int, least: int = 1) -> None:
    # The number stays out of the text: of a huge one, Python refuses to make text.
    if not least <= tree_size <= MAX_TREE_SIZE:
        raise IntegrityError(f"a tree size is between {least} and 2^63-1 here")


def _check_index(index: int, tree_size: int) -> None:
    if not 0 <= index < tree_size:
        raise IntegrityError("the tree has no entry of this index")


def _check_growth(size1: int, size2: int) -> None:
    if not 1 <= size1 <= size2:
        raise IntegrityError("a consistency proof leads from a tree of at least one entry to one that is not smaller")


def _check_count(proof: Sequence[bytes], count: int, place: str) -> None:
    if len(proof) != count:
        raise IntegrityError(f"the proof has {len(proof)} hashes and must have {count}", place)


def _check_hashes(hashes: Sequence[bytes], place: str) -> None:
    if any(len(each) != HASH_SIZE for each in hashes):
        raise IntegrityError("a hash does not have 32 bytes", place)
