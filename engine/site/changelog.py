"""A pack's CHANGELOG.md as a tree that the templates write: text stays text, so nothing in it can become markup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

if TYPE_CHECKING:
    from engine.site.catalog import Catalog, Pieces

_SHIFT = 2
"""By how much headings sink: the page and its section have the first two levels."""
_DEEPEST = 6
_WEB = ("https://", "http://")


@dataclass(frozen=True)
class Block:
    """One node of a document.

    Attributes:
        kind: `heading`, `paragraph`, `bullet_list`, `table`, `strong` and the like, as markdown-it names them; `text`
            for a leaf.
        blocks: what it holds.
        pieces: the text of a leaf, criteria in it linked.
        level: of a heading.
        address: of a link into the web; empty for a link elsewhere, which is shown as text.

    """

    kind: str
    blocks: tuple[Block, ...] = ()
    pieces: Pieces = ()
    level: int = 0
    address: str = ""


def read_changelog(catalog: Catalog, text: str) -> tuple[Block, ...]:
    """Read the Markdown of a changelog: headings, paragraphs, lists, tables, emphasis, code and links to the web.

    Raw HTML is shown as the text that it is, a picture as a link to it.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    root = SyntaxTreeNode(parser.parse(text))
    return tuple(_block(catalog, node) for node in root.children)


def _block(catalog: Catalog, node: SyntaxTreeNode) -> Block:
    if node.type in {"text", "code_inline", "fence", "code_block"}:
        return Block(node.type, pieces=catalog.mentioned(node.content))
    level = min(int(node.tag[1]) + _SHIFT, _DEEPEST) if node.type == "heading" else 0
    target = str(node.attrs.get("href", ""))
    address = target if target.startswith(_WEB) else ""
    return Block(node.type, tuple(_block(catalog, child) for child in node.children), (), level, address)
