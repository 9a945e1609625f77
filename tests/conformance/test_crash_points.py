"""A process is killed at each point of an append; the next one finds nothing of the entry, or the whole of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.ledger.checkpoint import open_note
from tests.conformance.crashing_child import QUEUED, REQUEST
from tests.conformance.ledger_world import FIRST_DECISION, VKEY, World, account, check_receipt, check_whole

if TYPE_CHECKING:
    from engine.ledger.log import DecisionLog

ROOT = Path(__file__).parents[2]


def run_and_die(folder: Path, point: str) -> dict[str, bytes]:
    """Run the child until it dies at a point; give what it said, by its words."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance.crashing_child", str(folder), point],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    said = {word: bytes.fromhex(data) for word, _, data in (line.partition(" ") for line in done.stdout.splitlines())}
    assert int.from_bytes(said["acknowledged"], "big") == FIRST_DECISION
    return said


def restarted(folder: Path) -> World:
    """Give the log to a process after the one that died."""
    return World(folder, seed=2)


def check_nothing_is_left(log: DecisionLog) -> None:
    """Check that of the killed request nothing is there, and that it is answered when it comes again."""
    assert check_whole(log, {FIRST_DECISION: account(0)}) == FIRST_DECISION + 1
    logged = log.append(account(1, REQUEST))
    assert (logged.index, logged.response) == (FIRST_DECISION + 1, None)
    check_receipt(logged)
    check_whole(log, {FIRST_DECISION: account(0), logged.index: account(1)})


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("before begin", id="c1_before_begin"),
        pytest.param("after lock", id="c2_after_lock"),
        pytest.param("after entries", id="c3_after_entries"),
        pytest.param("after tiles", id="c4_after_tiles"),
        pytest.param("after head", id="c5_after_head"),
        pytest.param("before commit", id="c6_before_commit"),
        pytest.param("half of a write", id="c7_during_commit"),
    ],
)
def test_c1_to_c7_what_was_not_committed_leaves_no_trace(tmp_path: Path, point: str) -> None:
    run_and_die(tmp_path, point)
    with restarted(tmp_path).opened() as log:
        check_nothing_is_left(log)


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("before sync", id="c7_during_commit"),
        pytest.param("after commit", id="c8_after_commit"),
        pytest.param("before signing", id="c8_before_signing"),
        pytest.param("before the signer's write", id="c11_before_the_signer_writes"),
        pytest.param("after the signer's write", id="c11_before_the_signer_syncs"),
        pytest.param("after the signer's sync", id="c11_before_the_signer_answers"),
        pytest.param("after signing", id="c9_before_the_checkpoint_row"),
        pytest.param("after checkpoint row", id="c10_before_the_answer"),
    ],
)
def test_c7_to_c11_what_was_committed_is_signed_at_the_next_start_and_there_once(tmp_path: Path, point: str) -> None:
    said = run_and_die(tmp_path, point)
    world = restarted(tmp_path)
    with world.opened() as log:
        note = log.checkpoint()
        assert open_note(note, VKEY).tree_size == FIRST_DECISION + 2
        assert said.get("note", note) == note, "a note is out that is not kept"
        logged = log.append(account(1, REQUEST))
        assert (logged.index, logged.response) == (FIRST_DECISION + 1, b"response 1")
        check_receipt(logged)
        assert said.get("receipt", logged.receipt) == logged.receipt
        assert check_whole(log, {FIRST_DECISION: account(0), logged.index: account(1)}) == FIRST_DECISION + 2
    assert ("note" in said) is (point in {"after signing", "after checkpoint row"})
    assert ("receipt" in said) is (point == "after checkpoint row")


def test_c33_what_only_waited_when_the_process_was_killed_leaves_no_trace(tmp_path: Path) -> None:
    run_and_die(tmp_path, "while batching")
    with restarted(tmp_path).opened() as log:
        assert check_whole(log) == FIRST_DECISION + 2
        assert log.append(account(1, REQUEST)).response == b"response 1"
        for number in range(QUEUED):
            assert log.append(account(2 + number)).index == FIRST_DECISION + 2 + number
        check_whole(log)
