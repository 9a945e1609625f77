"""A log in a folder, made once for all tests of the commands over it, and a copy of it for each."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.unit.log_folder import PATIENTS, Logged, make_log_folder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """Give a log with one decision for each patient."""
    return make_log_folder(tmp_path_factory)


@pytest.fixture
def logged(original: Logged, tmp_path: Path) -> Logged:
    """Give a copy of the log that the test may change."""
    shutil.copytree(original.folder, tmp_path / "log")
    return replace(original, folder=tmp_path / "log")


@pytest.fixture
def subject(tmp_path: Path) -> str:
    """Give a file with the reference of the first patient."""
    file = tmp_path / "subject.txt"
    file.write_text(f"{PATIENTS[0]}\n")
    return str(file)
