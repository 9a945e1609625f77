"""Evaluate over real gRPC on loopback, against a call that does nothing.

One server process and one client process (k6) at a time; the servers take turns. Message sizes are the same: the server
that does nothing gives back a response of the real one.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import grpc
from google.protobuf import json_format

from benchmarks.patients import AS_OF, BASE
from engine.pack.digest import write_lock
from engine.pack.load import load_rules
from server.convert.asking import write_history
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from server.probe import ask

if TYPE_CHECKING:
    from collections.abc import Iterator


METHOD = "/eligibility.v1.EligibilityService/Evaluate"
LOAD = Path(__file__).with_name("load.js")
CALLERS = 8
STARTS = 5
NO_OP, BOTH, INTERPRET = "a call that does nothing", "both engines", "interpreter alone"
_START_S = 60.0
_TOLD = 300


@dataclass(frozen=True)
class Load:
    """What one server took: calls a second, times of a call in milliseconds, calls that failed."""

    name: str
    per_second: float
    p50: float
    p99: float
    refused: int


@dataclass(frozen=True)
class Wire:
    """What was measured on the wire: loads, seconds from start to SERVING by server, and message sizes in bytes."""

    loads: tuple[Load, ...]
    start_s: dict[str, float]
    request_bytes: int
    response_bytes: int


def k6() -> str | None:
    """Find k6: beside this Python, or on the path."""
    beside = Path(sys.executable).with_name("k6")
    return str(beside) if beside.exists() else shutil.which("k6")


def measure(rules: Path, rounds: int, seconds: int) -> Wire:
    """Measure all servers in turn. Raises: FileNotFoundError without k6, RuntimeError where a server or k6 fails."""
    binary = k6()
    if binary is None:
        message = "k6 is not installed; `make setup` installs it"
        raise FileNotFoundError(message)
    request = request_message()
    with TemporaryDirectory() as folder, ExitStack() as stack:
        locked = _locked(rules, Path(folder, "rules"))
        starts = {
            name: statistics.median(_start_time(locked, name) for _ in range(STARTS)) for name in (BOTH, INTERPRET)
        }
        asked = Path(folder, "request.json")
        asked.write_text(json_format.MessageToJson(request))
        servers = {name: stack.enter_context(_served(_real(locked, name))) for name in (BOTH, INTERPRET)}
        recorded = Path(folder, "response.bin")
        recorded.write_bytes(_call(servers[BOTH], request.SerializeToString()))
        servers = {NO_OP: stack.enter_context(_served(["benchmarks.noop", "", str(recorded)])), **servers}
        seen: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
        for _ in range(rounds):
            for name, address in servers.items():
                seen[name].append(_load(binary, address, asked, seconds))
        loads = tuple(_median(name, results) for name, results in seen.items())
        return Wire(loads, starts, request.ByteSize(), recorded.stat().st_size)


def request_message() -> service_pb2.EvaluateRequest:
    """Write the patient of `patient.json` as a request."""
    message = service_pb2.EvaluateRequest(
        jurisdiction=service_pb2.JURISDICTION_US, as_of=AS_OF.isoformat(), purpose=service_pb2.PURPOSE_TEST
    )
    message.patient_history.CopyFrom(write_history(json.loads(BASE.read_text())))
    return message


def _locked(rules: Path, folder: Path) -> Path:
    """Copy the rules with a lock that fits them: a server takes no rules under revision, and these are measured too."""
    shutil.copytree(rules, folder)
    packs = load_rules(folder, is_locked=False).packs.values()
    write_lock(folder, {(p.id, p.header.version): p.digest for p in packs})
    return folder


def _real(rules: Path, name: str) -> list[str]:
    engines = "both" if name == BOTH else "interpret"
    return ["server", "--rules", str(rules), "--engines", engines, "--insecure", "--listen", ""]


@contextmanager
def _served(arguments: list[str]) -> Iterator[str]:
    """Start a server and give its address once it says SERVING; the empty argument stands for the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", *(a or address for a in arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with TemporaryDirectory(prefix="wire") as home:  # for the log of each server
        process = subprocess.Popen(command, cwd=home, env=environment, stderr=subprocess.DEVNULL)  # noqa: S603 - our own
        try:
            _wait(process, address)
            yield address
        finally:
            process.terminate()
            process.wait()


def _wait(process: subprocess.Popen[bytes], address: str) -> None:
    ends = time.monotonic() + _START_S
    while time.monotonic() < ends and process.poll() is None:
        try:
            # Without a connection yet, a listening port is looked for first: gRPC itself would wait longer each time.
            socket.create_connection(address.split(":"), timeout=1).close()  # type: ignore[arg-type]
            with grpc.insecure_channel(address) as channel:
                if ask(channel, "", 1.0) == "SERVING":
                    return
        except (OSError, grpc.RpcError):
            time.sleep(0.01)
    message = f"`{' '.join(map(str, process.args[2:]))}` did not come to serve"  # type: ignore[index]
    raise RuntimeError(message)


def _start_time(rules: Path, name: str) -> float:
    before = time.monotonic()
    with _served(_real(rules, name)):
        return time.monotonic() - before


def _call(address: str, request: bytes) -> bytes:
    with grpc.insecure_channel(address) as channel:
        answer: bytes = channel.unary_unary(METHOD, None, None)(request, timeout=30)
        return answer


def _load(binary: str, address: str, request: Path, seconds: int) -> dict[str, float]:
    settings = {"ADDRESS": address, "REQUEST": str(request), "CALLERS": str(CALLERS), "SECONDS": str(seconds)}
    given = [part for name, value in settings.items() for part in ("-e", f"{name}={value}")]
    ran = subprocess.run(  # noqa: S603 - k6, found above
        [binary, "run", "--quiet", *given, str(LOAD)],
        capture_output=True,
        check=False,
        env={**os.environ, "K6_NO_USAGE_REPORT": "true"},
    )
    try:
        summary: dict[str, float] = json.loads(ran.stdout)
    except ValueError:
        message = f"k6 failed: {ran.stderr.decode()[-_TOLD:].strip()}"
        raise RuntimeError(message) from None
    return summary


def _median(name: str, results: list[dict[str, float]]) -> Load:
    def middle(key: str) -> float:
        return statistics.median(r[key] for r in results)

    refused = sum(int(r["refused"]) for r in results)
    return Load(name, middle("per_second"), middle("p50_ms"), middle("p99_ms"), refused)
