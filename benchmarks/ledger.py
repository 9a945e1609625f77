"""The decision log beside the disk it lies on.

    python -m benchmarks.ledger [--rounds 5] [--seconds 2] [--folder DIR] [--bytes 1024] [--sync-ms 2]

The unit is a raw append of 4 KiB and an fdatasync on the same disk: whatever else the machine does falls on both, which
take turns in every round. An append counts once it is acknowledged, which is durable *and* signed. What counts is the
ratio. PostgreSQL is measured where it is installed.

The ratio falls with the disk's own time: a commit's share of the processor is the same on every disk. `--sync-ms` lets
each sync, of the raw unit too, take longer, and so shows what a slower disk would give.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.ledger import fsck, offline
from engine.ledger.body import BlobKind, PackSetActivated
from engine.ledger.entry import Kind
from engine.ledger.export import write_export
from engine.ledger.log import Account, Blob, Digests
from engine.ledger.seal import CallerPart, Context, PatientPart
from server.config import LogSettings
from server.opening import open_ledger
from tests.conformance.postgres_server import PostgresServer, find_programs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.ledger.log import DecisionLog

WAITERS = (1, 16, 64)
GOALS = {"SQLite": (0.35, 2.7, 3.8), "PostgreSQL": (0.25, 3.0, 8.0)}
RAW_BYTES = 4096
PATIENTS = 50
METHOD = "/eligibility.v1.EligibilityService/Evaluate"
BLOBS = (
    Blob(BlobKind.PACK_SET, b"packs", "packs"),
    Blob(BlobKind.ENGINE_MANIFEST, b"engine", "engine"),
    Blob(BlobKind.SCHEMA, b"schema", "schema"),
    Blob(BlobKind.REFERENCE_DATA, b"reference", "reference"),
)


@dataclass
class Series:
    """Appends a second and their ratio to the raw unit, round by round."""

    store: str
    waiters: int
    rates: list[float]
    ratios: list[float]


def account(number: int, size: int) -> Account:
    """Make up a decision whose sealed patient part has about `size` bytes."""
    content = PatientPart(
        METHOD, b"q" * 64, b"{}", Context(date(2026, 1, 1), "UTC"), b"{}", b"d" * size, bytes(64), b"", b"r" * 64
    )
    caller = CallerPart("ehr", "evaluator", "care", "ipv4:127.0.0.1:1", "", METHOD, 0, "OK")
    digests = Digests(*(blob.digest for blob in BLOBS))
    return Account(Kind.DECISION, content, caller, digests, b"patient %d" % (number % PATIENTS))


def raw_rate(folder: Path, seconds: float) -> float:
    """Append 4 KiB and sync, over and over; give how many a second."""
    path = folder / "raw"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    block, done = bytes(RAW_BYTES), 0
    start = time.perf_counter()
    try:
        while time.perf_counter() - start < seconds:
            os.write(descriptor, block)
            os.fdatasync(descriptor)
            done += 1
        return done / (time.perf_counter() - start)
    finally:
        os.close(descriptor)
        path.unlink()


def append_rate(log: DecisionLog, waiters: int, seconds: float, size: int) -> float:
    """Append from so many threads, each waiting for its acknowledgment; give how many a second."""
    made = [account(number, size) for number in range(PATIENTS)]
    counts = [0] * waiters
    end = time.perf_counter() + seconds

    def wait(place: int) -> None:
        number = place
        while time.perf_counter() < end:
            log.append(made[number % PATIENTS])
            number += waiters
            counts[place] += 1

    threads = [threading.Thread(target=wait, args=(place,)) for place in range(waiters)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


@contextmanager
def opened(settings: LogSettings) -> Iterator[DecisionLog]:
    """Open a new log, with what decisions name registered."""
    log = open_ledger(settings)
    try:
        log.register(BLOBS, PackSetActivated("packs", "1", "2026-01-01"))
        for number in range(PATIENTS):
            log.append(account(number, 1))
        yield log
    finally:
        log.close()


def settings_in(folder: Path) -> LogSettings:
    """Place everything in one folder, and so on one disk."""
    return LogSettings(
        log=f"sqlite:{folder}/log.db",
        keys=f"sqlite:{folder}/keys.db",
        wrapping_key=f"{folder}/wrapping.key",
        signer=f"{folder}/state",
        signing_key=f"{folder}/signing.key",
    )


def measure(folder: Path, rounds: int, seconds: float, size: int) -> tuple[list[float], list[Series]]:
    """Measure the stores in turn with the raw unit; give the raw rates and the series."""
    raw: list[float] = []
    series: list[Series] = []
    with ExitStack() as stack:
        logs = {"SQLite": stack.enter_context(opened(settings_in(_made(folder / "sqlite"))))}
        programs = find_programs()
        if programs is not None:
            server = PostgresServer(programs, folder)
            stack.callback(server.destroy)
            server.start()
            database = server.take_database()
            settings = replace(
                settings_in(_made(folder / "postgres")),
                log=server.url(database, "log_writer"),
                log_owner=server.url(database),
            )
            logs["PostgreSQL"] = stack.enter_context(opened(settings))
        series = [Series(store, waiters, [], []) for store in logs for waiters in WAITERS]
        for _ in range(rounds):
            for one in series:
                unit = raw_rate(folder, seconds / 2)
                rate = append_rate(logs[one.store], one.waiters, seconds, size)
                unit = (unit + raw_rate(folder, seconds / 2)) / 2
                raw.append(unit)
                one.rates.append(rate)
                one.ratios.append(rate / unit)
    return raw, series


def verify_rates(folder: Path, entries: int) -> dict[str, float]:
    """Verify a log of small entries where it lies, and its export; give entries a second of one core."""
    with opened(settings_in(_made(folder / "verify"))) as log:
        made = [account(number, 1) for number in range(PATIENTS)]

        def fill(first: int) -> None:
            for number in range(first, entries, 64):
                log.append(made[number % PATIENTS])

        threads = [threading.Thread(target=fill, args=(first,)) for first in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with log.reading() as snapshot:
            start = time.process_time()
            findings = fsck.verify(snapshot, log.vkey, is_deep=False)
            shallow = findings.tree_size / (time.process_time() - start)
            start = time.process_time()
            findings = fsck.verify(snapshot, log.vkey)
            live = findings.tree_size / (time.process_time() - start)
            write_export(snapshot, folder / "export")
        start = time.process_time()
        code = offline.main([str(folder / "export"), "--vkey", log.vkey])
        exported = findings.tree_size / (time.process_time() - start)
    if code or not findings.is_whole:
        sys.exit("the log that was measured is not whole")
    return {
        f"headers, tree, {findings.checkpoints} notes and tables": shallow,
        "and every sealed body": live,
        "an export, two files for each entry": exported,
    }


def run_with_slow_syncs(milliseconds: float, folder: Path) -> int:
    """Run this command once more, with every sync so much slower; give its exit code."""
    library = folder / "slow_sync.so"
    source = Path(__file__).with_name("slow_sync.c")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)  # noqa: S603, S607
    environment = {**os.environ, "LD_PRELOAD": str(library), "SYNC_MS": str(milliseconds)}
    return subprocess.call([sys.executable, "-m", "benchmarks.ledger", *sys.argv[1:]], env=environment)  # noqa: S603


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


@click.command()
@click.option("--rounds", default=5, show_default=True, help="How often each takes a turn.")
@click.option("--seconds", default=2.0, show_default=True, help="How long a turn is.")
@click.option("--bytes", "size", default=1024, show_default=True, help="Size of what a decision seals.")
@click.option("--entries", default=50_000, show_default=True, help="How many entries are verified; 0 for none.")
@click.option("--sync-ms", default=0.0, help="Let each sync take so many milliseconds longer.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to write; a temporary folder by default.")
def main(*, rounds: int, seconds: float, size: int, entries: int, sync_ms: float, folder: Path | None) -> None:
    """Measure the decision log and print what came of it."""
    if sync_ms and "SYNC_MS" not in os.environ:
        with tempfile.TemporaryDirectory() as made:
            Path(made).chmod(0o755)
            sys.exit(run_with_slow_syncs(sync_ms, Path(made)))
    place = Path(tempfile.mkdtemp(prefix="ledger", dir=folder))
    place.chmod(0o755)  # PostgreSQL runs as another user
    try:
        raw, series = measure(place, rounds, seconds, size)
        slower = f", each sync {sync_ms:g} ms slower than the disk's" if sync_ms else ""
        click.echo(f"raw append of {RAW_BYTES} bytes + fdatasync: {statistics.median(raw):,.0f}/s{slower}")
        for one in series:
            goal = GOALS[one.store][WAITERS.index(one.waiters)]
            click.echo(
                f"{one.store:<11}{one.waiters:>3} waiters  {statistics.median(one.rates):>8,.0f}/s"
                f"  {statistics.median(one.ratios):.2f} x raw"
                f" ({min(one.ratios):.2f} to {max(one.ratios):.2f}), goal {goal}"
            )
        if entries:
            for name, rate in verify_rates(place, entries).items():
                click.echo(f"verify {name}: {rate:,.0f} entries/s of one core")
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
