"""Reading the folder of a local pack: the rules and nothing else, and no rule is passed over in silence."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from engine.pack import overlay
from engine.pack.overlay import read_overlay

if TYPE_CHECKING:
    from pathlib import Path

    from engine.errors import Diagnostic


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "hospital"
    (made / "esketamine").mkdir(parents=True)
    (made / "pack.yaml").write_text("id: hospital\n")
    (made / "esketamine" / "rule.yaml").write_text("[]\n")
    return made


def read(folder: Path) -> tuple[set[str], list[str]]:
    faults: list[Diagnostic] = []
    return set(read_overlay(folder, faults)), [f"{fault.file}: {fault.message}" for fault in faults]


def test_what_is_no_rule_is_passed_over(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "config.yaml").write_text("token: SECRET\n")
    for name in ("README.md", "CHANGELOG.md", "rule.cases.yaml", ".hidden.yaml", "notes.txt"):
        (folder / name).write_text("x")

    assert read(folder) == ({"pack.yaml", "esketamine/rule.yaml"}, [])


def test_a_folder_that_kubernetes_mounts_is_read(folder: Path) -> None:
    (folder / "..2026_11_28").mkdir()
    (folder / "pack.yaml").rename(folder / "..2026_11_28" / "pack.yaml")
    (folder / "..data").symlink_to("..2026_11_28")
    (folder / "pack.yaml").symlink_to("..data/pack.yaml")

    assert read(folder) == ({"pack.yaml", "esketamine/rule.yaml"}, [])


@pytest.mark.parametrize("name", ["more.yml", "MORE.YAML", "more.Yml"])
def test_another_ending_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("[]")

    assert read(folder)[1] == [f"{folder}/{name}: rules are read from files that end in `.yaml`; rename it"]


def test_what_looks_like_a_rule_and_is_no_file_is_refused(folder: Path) -> None:
    (folder / "gone.yaml").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.yaml")
    (folder / "elsewhere").symlink_to(folder / "esketamine")

    assert sorted(fault.rpartition("/")[2] for fault in read(folder)[1]) == [
        "elsewhere: is a link to a folder; copy the folder",
        "gone.yaml: is no file that can be read",
        "pipe.yaml: is no file that can be read",
    ]


def test_a_name_that_is_not_utf8_is_refused(folder: Path) -> None:
    (folder / os.fsdecode(b"\xff.yaml")).write_text("[]")

    assert read(folder)[1] == [f"{folder}/?.yaml: the name is not UTF-8; rename it"]


def test_a_pack_of_absurd_size_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "MAX_BYTES", 10)

    assert "is larger than" in read(folder)[1][0]
