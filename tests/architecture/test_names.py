"""Names say what a thing is, nothing is left half done, and the documents know what exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("engine", "server", "proto", "rules", "tests", "docs", "examples", "benchmarks", ".ci")
GENERATED = ROOT / "server" / "pb"
IGNORED_FOLDERS = {"__pycache__", "node_modules", ".venv"}

VAGUE_STEMS = {"util", "utils", "helper", "helpers", "manager", "managers", "common", "core", "base", "misc"}
VAGUE_CLASS = re.compile(r"Util|Helper|Manager|Common")
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r")\b")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def files() -> list[Path]:
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for room in ROOMS:
        found += (path for path in (ROOT / room).rglob("*") if path.is_file())
    return sorted(path for path in found if not IGNORED_FOLDERS.intersection(path.parts))


def written_by_hand(*suffixes: str) -> list[Path]:
    return [path for path in files() if path.suffix in suffixes and not path.is_relative_to(GENERATED)]


def place(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_file_or_folder_has_a_vague_name() -> None:
    vague = {place(path) for path in files() for part in path.relative_to(ROOT).parts if Path(part).stem in VAGUE_STEMS}

    assert not vague


def test_no_class_has_a_vague_name() -> None:
    vague = [
        f"{place(path)}:{node.lineno}: {node.name}"
        for path in written_by_hand(".py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and VAGUE_CLASS.search(node.name)
    ]

    assert not vague


def test_nothing_is_marked_as_unfinished() -> None:
    texts = written_by_hand(".py", ".md", ".yaml", ".yml", ".toml", ".proto", ".html", ".js", ".sh", "")
    marked = [
        f"{place(path)}:{number}"
        for path in texts
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if UNFINISHED.search(line)
    ]

    assert not marked


@pytest.mark.parametrize("path", ["tests/engine", "tests/server", "proto/__init__.py"])
def test_nothing_shadows_a_package(path: str) -> None:
    assert not (ROOT / path).exists()


def test_importing_the_engine_runs_nothing() -> None:
    assert not (ROOT / "engine" / "__init__.py").read_text().strip()


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{place(path)}: {target}"
        for path in written_by_hand(".md")
        for target in LINK.findall(path.read_text())
        if "://" not in target
        and not target.startswith(("#", "mailto:"))
        and not (path.parent / target.partition("#")[0]).exists()
    ]

    assert not broken


def test_contributing_maps_every_room_and_package() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    packages = [path.parent for path in (*ROOT.glob("engine/*/__init__.py"), *ROOT.glob("server/*/__init__.py"))]
    names = [f"`{room}/`" for room in ROOMS if (ROOT / room).is_dir()]
    names += [f"`{place(package)}/`" for package in packages]

    assert not [name for name in names if name not in text]


def test_every_make_target_is_documented() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    text = (ROOT / "CONTRIBUTING.md").read_text()

    assert not [target for target in targets if f"`make {target}`" not in text]


def test_decision_records_are_numbered_without_gaps_and_complete() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    headings = ("## Context", "## Decision", "## Consequences")

    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    assert not [path.name for path in records if any(heading not in path.read_text() for heading in headings)]
