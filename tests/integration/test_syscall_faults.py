"""One system call of a process that appends fails, or is its last: nothing that it acknowledged is lost.

strace counts the calls on the files of the log, of the keys and of the signer once, and then lets the i-th fail. By
default some calls are tried, spread evenly; with ELIGIBILITY_FAULTS=full every one is, and counts are printed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from engine.ledger.entry import Kind, decode
from tests.conformance.ledger_world import World, account, check_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.ledger.log import DecisionLog

FULL = os.environ.get("ELIGIBILITY_FAULTS") == "full"
THREADS, ACCOUNTS = 3, 8
TRIED = 2
"""How many calls of a kind are tried by default."""
FILES = {
    "log": ("log.db", "log.db-wal", "log.db-journal", "log.db-shm"),
    "keys": ("keys.db", "keys.db-wal", "keys.db-journal", "keys.db-shm"),
    "signer": ("signer",),
}
SYNCS, WRITES = ("fdatasync", "fsync"), ("pwrite64", "write", "ftruncate", "fallocate")
FAULTS = [
    *((call, "error=EIO") for call in (*SYNCS, *WRITES)),
    *((call, "error=ENOSPC") for call in (*SYNCS, *WRITES)),
    *((call, "signal=KILL") for call in (*SYNCS, *WRITES)),
]
SAID = re.compile(r"(acked) (\d+) (\S+)|(refused) (\S+)|(closed) (.*)")

pytestmark = pytest.mark.timeout(3600 if FULL else 120)


class Said(NamedTuple):
    """What the child said: what was acknowledged, by request id; how often what was refused; why it did not open."""

    acked: dict[str, int]
    refused: Counter[str]
    closed: str


@pytest.fixture(scope="module")
def strace() -> str:
    """Give strace, where it is there and may be used."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is not installed")
    tried = subprocess.run([program, "-f", "-qq", "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"processes may not be traced here: {tried.stderr.strip().splitlines()[0]}")
    return program


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder, in memory where there is such a thing: every sync here is real."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - the folder in it is made safely
    folder = Path(tempfile.mkdtemp(dir=place))
    yield folder
    shutil.rmtree(folder)


def run(strace: str, folder: Path, files: str, options: Sequence[str], environment: dict[str, str]) -> Said:
    """Run the child under strace, which looks at some of its files."""
    paths = [word for name in FILES[files] for word in ("-P", str(folder / name))]
    child = [sys.executable, "-m", "tests.integration.appending_child", str(folder), str(THREADS), str(ACCOUNTS)]
    done = subprocess.run(
        [strace, "-f", "-qq", "--seccomp-bpf", *paths, *options, *child],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    acked, refused, closed = {}, Counter[str](), ""
    for line in done.stdout.splitlines():
        match = SAID.fullmatch(line)
        assert match, line
        if match[1]:
            acked[match[3]] = int(match[2])
        elif match[4]:
            refused[match[5]] += 1
        else:
            closed = match[7]
    assert done.returncode in {0, -9, 137} or "signal=KILL" in options[-1], done.stderr
    return Said(acked, refused, closed)


def count(strace: str, folder: Path, files: str, environment: dict[str, str]) -> dict[str, int]:
    """Count the calls of each kind on some files; strace counts, and lets fail, for each thread on its own."""
    folder.mkdir()
    out = folder / "calls"
    said = run(strace, folder, files, ["-o", str(out), "-e", f"trace={','.join(SYNCS + WRITES)}"], environment)
    assert len(said.acked) == ACCOUNTS
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for line in out.read_text().splitlines():
        thread, call = line.split("(")[0].split()
        counts[call][thread] += 1
    shutil.rmtree(folder)
    return {call: max(threads.values()) for call, threads in counts.items()}


def chosen(number: int) -> Sequence[int]:
    """Choose which calls are to fail: all of them, or a few from first to last."""
    if FULL or number <= TRIED:
        return range(1, number + 1)
    return sorted({1 + round(at * (number - 1) / (TRIED + 1)) for at in range(1, TRIED + 1)})


def requests(log: DecisionLog) -> dict[str, list[int]]:
    """Give the entries of each request id."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    with log.reading() as snapshot:
        for index, leaf_data in snapshot.leaves(0, snapshot.head().size):
            if decode(leaf_data).kind is Kind.DECISION:
                opened = log.open_entry(snapshot, index)
                assert opened.caller is not None
                found[opened.caller.request_id].append(index)
    return found


def check_kept(folder: Path, said: Said) -> None:
    """Open the log again: all that was acknowledged is there, once, and what was not is answered now."""
    with World(folder, seed=1).opened() as log:
        check_whole(log, {index: account(int(name[1:]), name) for name, index in said.acked.items()})
        found = requests(log)
        assert all(len(indexes) == 1 for indexes in found.values()), found
        assert all(found[name] == [index] for name, index in said.acked.items())
        if found or said.acked:
            for number in range(ACCOUNTS):
                name = f"r{number}"
                logged = log.append(account(number, name))
                assert [logged.index] == found.get(name, [logged.index])
                assert (logged.response is not None) is (name in found)
        check_whole(log)


@pytest.mark.parametrize("files", FILES)
def test_c15_c16_c17_whatever_call_fails_nothing_acknowledged_is_lost(
    strace: str, folder: Path, files: str, environment: dict[str, str]
) -> None:
    counts = count(strace, folder / "count", files, environment)
    tried: Counter[str] = Counter()
    struck = 0
    for call, fault in FAULTS:
        for number in chosen(counts.get(call, 0)):
            place = folder / f"{call}-{number}"
            place.mkdir()
            inject = f"inject={call}:{fault}:when={number}"
            said = run(strace, place, files, ["-o", "/dev/null", "-e", f"trace={call}", "-e", inject], environment)
            struck += len(said.acked) < ACCOUNTS or bool(said.refused) or bool(said.closed)
            if (call, fault) == ("pwrite64", "error=ENOSPC") and not said.closed:
                assert len(said.acked) == ACCOUNTS, f"{inject}: there is room again, and it does not serve"
            check_kept(place, said)
            shutil.rmtree(place)
            tried[f"{call} {fault}"] += 1
    assert struck, "no fault was felt at all"
    assert {"fdatasync error=EIO", "pwrite64 error=ENOSPC", "pwrite64 signal=KILL"} <= tried.keys()
    if FULL:
        print(f"{files}: {struck} of {tried.total()} faults were felt; {dict(tried)}")  # noqa: T201 - the report
