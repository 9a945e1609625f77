"""The manifest of an engine changes with everything that could change a byte, and with nothing else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import pytest

from engine import canonical
from engine.evaluator.agree import SEMANTICS_VERSION
from engine.ledger.manifest import SUPPORTED, Build, manifest, semantics_version, this_build

if TYPE_CHECKING:
    from pathlib import Path

BUILD = Build(
    {"engine/facts.py": "ab" * 32}, {"durable-rules": "2.0.28"}, "CPython 3.11.7", "14.0.0", "2025b", "glibc 2.36"
)


@pytest.mark.parametrize("name", [field.name for field in fields(Build)])
def test_every_part_of_a_build_shows_in_its_manifest(name: str) -> None:
    other = {**getattr(BUILD, name), "x": "y"} if name in {"sources", "distributions"} else "another"

    assert manifest(replace(BUILD, **{name: other})) != manifest(BUILD)  # type: ignore[arg-type]


def test_a_manifest_is_canonical_and_names_the_language() -> None:
    content = manifest(BUILD)

    assert content == canonical.encode(json.loads(content))
    assert semantics_version(content) == SEMANTICS_VERSION
    assert SEMANTICS_VERSION in SUPPORTED


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"semantics_version":1}', b"\xff", b"null"])
def test_what_is_no_manifest_names_no_language(content: bytes) -> None:
    assert semantics_version(content) is None


def test_this_build_holds_the_python_files_and_what_is_installed(tmp_path: Path) -> None:
    package = tmp_path / "engine"
    (package / "inner").mkdir(parents=True)
    (package / "inner" / "a.py").write_bytes(b"a = 1\n")
    (package / "b.txt").write_bytes(b"no part of it")
    build = this_build([package], [tmp_path / "nowhere"])

    assert build.sources == {"engine/inner/a.py": hashlib.sha256(b"a = 1\n").hexdigest()}
    assert build.distributions["durable-rules"] == "2.0.28"
    assert build.unicode.count(".") == 2
    assert build.python.split()[1].count(".") == 2
    assert build.tzdata == build.distributions.get("tzdata", "none")
    (package / "inner" / "a.py").write_bytes(b"a = 2\n")
    assert manifest(this_build([package], [])) != manifest(build)


@pytest.mark.parametrize(
    ("name", "text", "version"), [("tzdata.zi", "# version 2025b\nrest", "2025b"), ("+VERSION", "2024a\n", "2024a")]
)
def test_the_time_zone_database_is_named_by_its_version(tmp_path: Path, name: str, text: str, version: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")

    assert this_build([], [tmp_path / "nowhere", tmp_path]).tzdata == version
    (tmp_path / name).unlink()
    assert this_build([], [tmp_path]).tzdata == "of the system, which does not say"
