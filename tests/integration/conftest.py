"""A server as its callers meet it: a process of its own, on loopback, with the real rules and both engines."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.pack.digest import write_lock
from engine.pack.load import load_rules
from tests.integration.server_process import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 30


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Give an environment in which our modules and the tools beside this Python are found."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ELIGIBILITY_")}
    tools = os.pathsep.join((str(Path(sys.executable).parent), inherited["PATH"]))
    return {**inherited, "PATH": tools, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="session")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the rules with a lock of their own; whether rules/packs.lock is up to date is tested with the rules."""
    copy = tmp_path_factory.mktemp("locked") / "rules"
    shutil.copytree(ROOT / "rules", copy)
    packs = load_rules(copy, is_locked=False).packs.values()
    write_lock(copy, {(pack.id, pack.header.version): pack.digest for pack in packs if pack.header.status == "active"})
    return copy


@pytest.fixture(scope="session")
def address(rules: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a running server, which keeps its decision log in a folder of its own."""
    home = tmp_path_factory.mktemp("server")
    with serving("--rules", str(rules), "--insecure", home=home, environment=environment) as event:
        yield f"127.0.0.1:{event['port']}"
