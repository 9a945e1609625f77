"""Texts from outside stay texts: no markup, no HTML, no link, no second line."""

from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from server.cds_hooks.markdown import escaped, listed, paragraphs, plain, table

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](https://evil.example/p.png)",
    "https://evil.example/a",
    "www.evil.example",
    "a | b | c",
    "line\n\n# heading",
    "`code` **bold** _it_ ~~gone~~",
    "1. one",
    "- item",
    "\\[x](y)",
    "&lt;b&gt; &amp;",
    "\u202egnp.exe",
    "a\x00b\x1b[31m",
    "<!-- c -->",
    "```\nfence",
    "$x$ @someone",
    "> quote",
]
ALLOWED = {"paragraph_open", "inline", "paragraph_close", "text", "softbreak", "bullet_list_open", "list_item_open"}
ALLOWED |= {"list_item_close", "bullet_list_close", "text_special"}


def kinds(markdown: str) -> set[str]:
    """Give the kinds of tokens that a reader of GFM finds."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(markdown)
    inner = [child for token in tokens for child in token.children or ()]
    return {token.type for token in [*tokens, *inner]}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_only_text(text: str) -> None:
    for markdown in (escaped(text), listed([escaped(text)])):
        assert kinds(markdown) <= ALLOWED, markdown
        assert "<" not in markdown
        assert "\n" not in markdown


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_stays_in_its_cell(text: str) -> None:
    drawn = table(["a", "b"], [[escaped(text), escaped(text)]])
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(drawn)

    assert [token.type for token in tokens].count("td_open") == 2
    assert not kinds(drawn) & {"html_inline", "html_block", "link_open", "image", "code_inline", "strong_open"}


@pytest.mark.parametrize("text", ["https://evil.example/a", "see www.evil.example", "HTTP://evil.example"])
def test_an_address_is_broken_up(text: str) -> None:
    shown = escaped(text).lower()

    assert "://" not in shown
    assert "www." not in shown


@pytest.mark.parametrize("text", ["blood pressure 148/88, 2026-05-11", "PHQ-9 total", "it's 0.5 mg (a day)."])
def test_a_plain_text_stays_readable(text: str) -> None:
    assert escaped(text) == text


def test_a_long_text_is_cut() -> None:
    assert len(plain("x" * 1000, 50)) == 50
    assert plain("x" * 50, 50) == "x" * 50


def test_what_is_invisible_becomes_a_space() -> None:
    assert plain("a\u202eb\u200bc\td") == "a b c d"


def test_a_table_without_rows_is_empty() -> None:
    assert table(["a"], []) == ""
    assert paragraphs(["", "x", "", "y"]) == "x\n\ny"
