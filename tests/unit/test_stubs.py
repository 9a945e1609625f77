"""`proto/generate.py`: the committed stubs are those of the contract, and a contract without comments is refused."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2

PROTO = Path(__file__).parents[2] / "proto"


def _generate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "generate.py"), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(PROTO, tmp_path / "proto")
    return tmp_path / "proto"


def test_the_committed_stubs_are_those_of_the_contract() -> None:
    done = _generate(PROTO, "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_stale_stubs_are_named(copy: Path) -> None:
    assert _generate(copy).returncode == 0
    file = copy / "eligibility" / "v1" / "decision.proto"
    file.write_text(file.read_text().replace("string disclaimer = 18;", "string disclaimer = 28;"))
    done = _generate(copy, "--check")
    assert done.returncode == 1
    assert "eligibility/v1/decision_pb2.py" in done.stderr


def test_a_field_without_a_comment_is_refused(copy: Path) -> None:
    file = copy / "eligibility" / "v1" / "decision.proto"
    file.write_text(file.read_text().replace("  // What this answer is not.\n", ""))
    done = _generate(copy)
    assert done.returncode == 1
    assert "disclaimer" in done.stdout + done.stderr


def test_a_change_that_breaks_callers_is_refused(copy: Path, tmp_path: Path) -> None:
    image = tmp_path / "contract.binpb"
    assert _generate(copy, "--image", str(image)).returncode == 0
    file = copy / "eligibility" / "v1" / "decision.proto"
    file.write_text(file.read_text().replace("string disclaimer = 18;", "int64 disclaimer = 18;"))
    done = _generate(copy, "--against", str(image))
    assert done.returncode == 1
    assert "disclaimer" in done.stdout + done.stderr


def test_messages_pickle() -> None:
    message = service_pb2.EvaluateRequest(request_id="x", jurisdiction=service_pb2.JURISDICTION_US)
    assert pickle.loads(pickle.dumps(message)) == message  # noqa: S301 - our own bytes
