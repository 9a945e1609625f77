"""The quick start for clients works as it is written."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.contract.cds_checks import check_answer
from tests.contract.cds_world import Desk, World, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = Path(__file__).parents[2] / "examples" / "cds-hooks"
REQUEST = EXAMPLE / "order-sign.json"


def client(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the client."""
    command = [sys.executable, EXAMPLE / "client.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[World, str]]:
    """Serve for the client that the quick start sets up; give the address of the service too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    assert client("setup", tmp_path / "cds").returncode == 0
    with serving(
        tmp_path,
        desk=Desk("03"),
        cds_listen=address,
        cds_url=f"http://{address}",
        cds_clients=tmp_path / "cds" / "clients.json",
    ) as made:
        yield made, f"http://{address}/cds-services/treatment-eligibility-sign"


def test_python(world: tuple[World, str], tmp_path: Path) -> None:
    for _ in range(2):
        called = client("call", tmp_path / "cds", world[1], REQUEST)

        assert called.returncode == 0, called.stderr
        assert "[warning] Esketamine nasal spray (labeled): cannot be decided." in called.stdout
    assert world[0].desk.asked[0]["patient"] == "made-up-1"


def test_curl(world: tuple[World, str], tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    environment = {**os.environ, "PYTHON": sys.executable}
    command: list[str | Path] = [EXAMPLE / "call.sh", tmp_path / "cds", world[1], REQUEST]
    called = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    assert called.returncode == 0, called.stderr
    check_answer(json.loads(called.stdout))


def test_a_refusal_is_told(world: tuple[World, str], tmp_path: Path) -> None:
    called = client("call", tmp_path / "cds", world[1].replace("-sign", "-view"), REQUEST)

    assert called.returncode == 1
    assert "400" in called.stderr
