"""`engine.pack.digest`: one pack, one byte string."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import RulePackError
from engine.pack import digest

if TYPE_CHECKING:
    from pathlib import Path

NAMES = st.text("abc/.é", min_size=1).filter(lambda n: not n.startswith("/") and ".." not in n.split("/"))


@given(st.dictionaries(NAMES, st.binary(max_size=20), max_size=5))
def test_canonical_bytes_give_the_files_back(files: dict[str, bytes]) -> None:
    assert digest.decode(digest.encode(files)) == files


@given(st.dictionaries(NAMES, st.binary(max_size=20), min_size=1, max_size=5), st.data())
def test_bytes_that_were_cut_are_refused_or_hold_fewer_files(files: dict[str, bytes], data: st.DataObject) -> None:
    whole = digest.encode(files)
    cut = whole[: data.draw(st.integers(1, len(whole) - 1))]
    with suppress(RulePackError):
        assert digest.decode(cut).keys() < files.keys()


def _one(path: bytes, content: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in (path, content))


@pytest.mark.parametrize(
    "content",
    [
        _one(b"../x", b""),
        _one(b"/x", b""),
        _one(b"\xff", b""),
        _one(b"b", b"") + _one(b"a", b""),
        _one(b"a", b"") + _one(b"a", b"1"),
        b"\0",
    ],
)
def test_what_is_not_canonical_is_refused(content: bytes) -> None:
    with pytest.raises(RulePackError, match="the pack is damaged"):
        digest.decode(content)


def test_a_moved_boundary_is_another_digest() -> None:
    assert digest.digest({"ab": b"c"}) != digest.digest({"a": b"bc"})


def test_the_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    locked = {("b", "1.0.0"): "2" * 64, ("a", "1.0.0"): "1" * 64}
    digest.write_lock(tmp_path, locked)
    assert digest.read_lock(tmp_path) == locked
    lines = (tmp_path / digest.LOCK_FILE).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("#")
    assert lines[1:] == sorted(lines[1:])


def test_without_a_lock_nothing_is_pinned(tmp_path: Path) -> None:
    assert digest.read_lock(tmp_path) == {}
