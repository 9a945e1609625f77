"""What a pack is: its canonical bytes, its digest, its pin in packs.lock."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.cli.root import root
from engine.errors import RulePackError
from engine.pack import digest
from engine.pack.load import load_rules, read_pack

GOOD = Path(__file__).parent / "good"
GOLDEN = "0db6c28d49c3782c16d5be57ae3cb693f5bdda07bc81f635ae8251a861cf20ea"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    shutil.copytree(GOOD, tmp_path / "rules")
    return tmp_path / "rules"


def _run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(root, ["rules", *words])
    return result.exit_code, result.output


def test_the_digest_of_the_tiny_pack_is_the_one_written_here() -> None:
    assert load_rules(GOOD).packs["tiny"].digest == GOLDEN


def test_the_canonical_bytes_are_lengths_paths_and_contents_in_order() -> None:
    content = digest.encode({"b": b"2", "a": b"1"})
    assert content == b"\0\0\0\1a\0\0\0\0011\0\0\0\1b\0\0\0\0012"
    assert hashlib.sha256(content).hexdigest() == digest.digest({"a": b"1", "b": b"2"})


def test_a_pack_read_from_its_canonical_bytes_is_the_same_pack() -> None:
    pack = load_rules(GOOD).packs["tiny"]
    faults: list[object] = []
    again = read_pack(digest.decode(digest.encode(pack.files)), "tiny", faults)  # type: ignore[arg-type]
    assert not faults
    assert again is not None
    assert (again.digest, again.criteria, again.derived) == (pack.digest, pack.criteria, pack.derived)


def test_cases_and_changelog_are_no_part_of_the_digest(rules: Path) -> None:
    (rules / "tiny/CHANGELOG.md").write_text("- something\n", encoding="utf-8")
    (rules / "tiny/spray/rules.cases.yaml").unlink()
    assert load_rules(rules).packs["tiny"].digest == GOLDEN


@pytest.mark.parametrize("file", ["tiny/spray/rules.yaml", "tiny/parameters.yaml", "tiny/pack.yaml", "tiny/new.yaml"])
def test_a_changed_byte_is_refused(rules: Path, file: str) -> None:
    with (rules / file).open("a", encoding="utf-8") as stream:
        stream.write("# a comment\n")
    if file == "tiny/new.yaml":
        (rules / file).write_text("[]\n", encoding="utf-8")
    with pytest.raises(RulePackError, match=r"tiny/pack\.yaml:4:1: \[pack/not-locked\]"):
        load_rules(rules)
    assert _run("check", "--rules", str(rules), "--today", "2026-02-01")[0] == 1
    assert _run("check", "--rules", str(rules), "--today", "2026-02-01", "--unlocked")[0] == 0


def test_a_pinned_pack_is_read_when_it_is_asked_for(rules: Path) -> None:
    book = load_rules(rules)
    assert book.packs_for("US")
    assert not any("contents" in vars(pack) for pack in book.packs.values())
    assert book.packs["tiny"].criteria
    assert "contents" in vars(book.packs["tiny"])
    assert "contents" not in vars(book.packs["payer-acme"])


def test_a_released_version_is_not_pinned_anew(rules: Path) -> None:
    path = rules / "tiny/pack.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("A tiny pack", "Another"), encoding="utf-8")
    before = (rules / digest.LOCK_FILE).read_text(encoding="utf-8")
    exit_code, said = _run("lock", "--rules", str(rules))
    assert exit_code == 1
    assert "raise the version" in said
    assert (rules / digest.LOCK_FILE).read_text(encoding="utf-8") == before


def test_a_new_version_is_pinned_beside_the_old_one(rules: Path) -> None:
    path = rules / "tiny/pack.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("version: 1.0.0", "version: 1.0.1"), encoding="utf-8")
    assert _run("lock", "--rules", str(rules))[0] == 0
    locked = digest.read_lock(rules)
    assert locked["tiny", "1.0.0"] == GOLDEN
    assert locked["tiny", "1.0.1"] == load_rules(rules).packs["tiny"].digest


def test_a_damaged_line_of_the_lock_is_told(rules: Path) -> None:
    (rules / digest.LOCK_FILE).write_text("tiny 1.0.0\n", encoding="utf-8")
    exit_code, said = _run("check", "--rules", str(rules), "--today", "2026-02-01")
    assert exit_code == 1
    assert "packs.lock:1:1: [pack/lock]" in said
