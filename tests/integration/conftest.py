"""A server as its callers meet it: a process of its own, on loopback, with the real rules and both engines."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.pack.digest import write_lock
from engine.pack.load import load_rules

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
    command = [sys.executable, "-m", "server", "--rules", str(rules), "--listen", "127.0.0.1:0", "--insecure"]
    home = tmp_path_factory.mktemp("server")
    with subprocess.Popen(command, cwd=home, env=environment, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        said = []
        for line in server.stderr:
            said.append(line)
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "serving":
                break
        else:
            pytest.fail("".join(said))
        threading.Thread(target=deque, args=(server.stderr, 0), daemon=True).start()
        yield f"127.0.0.1:{event['port']}"
        server.send_signal(signal.SIGTERM)
        assert server.wait(STOP_SECONDS) == 0
