"""Three servers that append to one log in PostgreSQL, under load, and whether all that was answered is there.

    python -m benchmarks.replicas [--seconds 60] [--callers 8]

One signer process, three servers with both engines, three k6 clients. Afterwards the log is verified as an auditor
would verify it: no gap, every checkpoint right, and as many decisions as calls were answered.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
from google.protobuf import json_format

from benchmarks.wire import LOAD, k6, request_message
from engine.ledger import fsck
from engine.ledger.entry import Kind
from server.config import LogSettings
from server.opening import open_store
from tests.conformance.postgres_server import PostgresServer, find_programs

if TYPE_CHECKING:
    from collections.abc import Mapping

RULES = Path(__file__).parents[1] / "rules"
SERVERS = 3
START_SECONDS = 120
ORIGIN = "log.example.org/decisions/replicas"


def start(stack: ExitStack, command: list[str], environment: Mapping[str, str], told: str) -> dict[str, object]:
    """Start one of our processes; give the event of its log that says it is ready."""
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own
    stack.callback(_stop, process)
    said: list[str] = []
    limit = threading.Timer(START_SECONDS, process.kill)
    limit.start()
    assert process.stderr is not None  # noqa: S101 - it is piped
    for line in process.stderr:
        said.append(line)
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == told:
            limit.cancel()
            threading.Thread(target=list, args=(process.stderr,), daemon=True).start()
            return event
    sys.exit("".join(said))


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    if process.wait(60) != 0:
        click.echo(f"a server ended with {process.returncode}")


def load(address: str, request: Path, callers: int, seconds: int, found: list[dict[str, float]]) -> None:
    """Let k6 call one server."""
    given = {"ADDRESS": address, "REQUEST": str(request), "CALLERS": str(callers), "SECONDS": str(seconds)}
    words = [word for name, value in given.items() for word in ("-e", f"{name}={value}")]
    binary = k6()
    if binary is None:
        sys.exit("k6 is not installed; `make setup` installs it")
    ran = subprocess.run([binary, "run", "--quiet", *words, str(LOAD)], capture_output=True, check=True)  # noqa: S603 - k6
    found.append(json.loads(ran.stdout))


@click.command()
@click.option("--seconds", default=60, show_default=True)
@click.option("--callers", default=8, show_default=True, help="Of each server.")
def main(*, seconds: int, callers: int) -> None:
    """Run the load and verify; exit code 1 if anything that was answered is not there."""
    programs = find_programs()
    if programs is None:
        sys.exit("PostgreSQL is not installed")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ELIGIBILITY_")}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="replicas")))
        folder.chmod(0o755)  # PostgreSQL runs as another user
        postgres = PostgresServer(programs, folder)
        stack.callback(postgres.destroy)
        postgres.start()
        log, keys = postgres.take_database(), postgres.take_database()
        socket = f"unix:{folder}/signer.sock"
        signer = [
            "--state",
            f"{folder}/state",
            "--key",
            f"{folder}/signing.key",
            "--origin",
            ORIGIN,
            "--listen",
            socket,
        ]
        start(stack, [sys.executable, "-m", "server.signer", *signer], environment, "signing")
        settings = {
            "log": postgres.url(log, "log_writer"),
            "log_owner": postgres.url(log),
            "keys": postgres.url(keys),
            "wrapping_key": f"{folder}/wrapping.key",
            "signer": socket,
        }
        flags = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]
        command = [
            sys.executable,
            "-m",
            "server",
            "--rules",
            str(RULES),
            "--insecure",
            "--listen",
            "127.0.0.1:0",
            *flags,
        ]
        with ExitStack() as serving:
            ports = [start(serving, command, environment, "serving")["port"] for _ in range(SERVERS)]
            request = folder / "request.json"
            request.write_text(json_format.MessageToJson(request_message()))
            found: list[dict[str, float]] = []
            arguments = [(f"127.0.0.1:{port}", request, callers, seconds, found) for port in ports]
            clients = [threading.Thread(target=load, args=one) for one in arguments]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
        calls, refused = (sum(int(one[name]) for one in found) for name in ("calls", "refused"))
        store = open_store(LogSettings(log=settings["log"]), is_writer=False)
        stack.callback(store.close)
        with store.reading() as snapshot:
            findings = fsck.verify(snapshot, snapshot.meta()["vkey"].decode())
            kinds = Counter(Kind(row.kind) for row in snapshot.search_rows())
        click.echo(
            f"{SERVERS} servers, {callers} callers each, {seconds} s: {calls - refused} answered, {refused} refused"
        )
        click.echo(
            f"{findings.tree_size} entries, {kinds[Kind.DECISION]} decisions, {findings.checkpoints} checkpoints"
        )
        click.echo("\n".join(map(str, findings.faults)) or "no gap, and every root and signature is right")
        is_right = findings.is_whole and kinds[Kind.DECISION] >= calls - refused
    sys.exit(0 if is_right else 1)


if __name__ == "__main__":
    main()
