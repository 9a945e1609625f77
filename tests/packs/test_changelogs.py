"""Every pack tells clinicians what changed, and its newest entry is about the version that it has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

FOLDERS = sorted(path.parent for path in (Path(__file__).parents[2] / "rules").rglob("pack.yaml"))
ENTRY = re.compile(r"^## (\S+) \((\d{4}-\d{2}-\d{2})\)", re.MULTILINE)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_newest_entry_is_about_the_version_of_the_pack(folder: Path) -> None:
    header = YAML(typ="safe").load(folder / "pack.yaml")

    entries = ENTRY.findall((folder / "CHANGELOG.md").read_text(encoding="utf-8"))

    assert entries[0][0] == header["version"]
    assert [day for _, day in entries] == sorted((day for _, day in entries), reverse=True)
