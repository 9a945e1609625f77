"""A server is killed with SIGKILL under load, again and again: what it answered is logged, once, and in order.

ROUNDS=n in the environment kills it n times instead of three.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from engine.ledger import fsck
from examples.python.evaluate import write_request
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from tests.conformance.history import Call, History, entries_by_request
from tests.integration.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = int(os.environ.get("ROUNDS", "3"))
CALLERS = 6
ANSWERS_A_ROUND = 25
CALL_SECONDS = 20
WAIT_SECONDS = 60
METHOD = "/eligibility.v1.EligibilityService/Evaluate"
FAILING = {"fdatasync": "14+", "pwrite64": "300+"}
"""Which calls of a thread fail: late enough for a few answers."""
PATIENTS = Path(__file__).parents[2] / "examples" / "patients"

pytestmark = pytest.mark.timeout(120 + 60 * ROUNDS)


@pytest.fixture
def server(tmp_path: Path, rules: Path, environment: dict[str, str]) -> Iterator[ServerProcess]:
    """Give a server that is not started yet."""
    server = ServerProcess(tmp_path, rules, environment)
    yield server
    server.destroy()


def request_for(number: int, request_id: str) -> bytes:
    """Make a request about one of a few patients."""
    files = sorted(PATIENTS.glob("*.json"))
    case = json.loads(files[number % len(files)].read_text(encoding="utf-8"))
    request = service_pb2.EvaluateRequest()
    write_request(case, request)
    request.request_id = request_id
    request.patient_reference = f"patient-{number % 5}"
    return request.SerializeToString()


class Callers:
    """Threads that ask one request after the other, each again until it is answered."""

    def __init__(self, server: ServerProcess) -> None:
        self.history = History()
        self.enough = threading.Event()
        self.is_up = threading.Event()
        self._server = server
        self._pool = ThreadPoolExecutor(CALLERS)
        self.codes: Counter[grpc.StatusCode] = Counter()
        self.is_over = False

    def start(self) -> None:
        """Begin to ask."""
        self.is_up.set()
        self._running = [self._pool.submit(self._work, number) for number in range(CALLERS)]

    def stop(self) -> None:
        """End once every request is answered."""
        self.enough.set()
        for one in self._running:
            one.result(WAIT_SECONDS)

    def abandon(self) -> None:
        """End now."""
        self.enough.set()
        self.is_over = True
        self.is_up.set()
        self._pool.shutdown()

    def ask(self, call: Call, number: int) -> None:
        """Ask until it is answered or nobody cares any more."""
        data = request_for(number, call.request_id)
        while call.index is None and not self.is_over:
            assert self.is_up.wait(WAIT_SECONDS)
            self.ask_once(call, data)

    def _work(self, caller: int) -> None:
        number = 0
        while not self.enough.is_set():
            self.ask(self.history.begin(f"caller-{caller}-{number}"), caller + number)
            number += 1

    def ask_once(self, call: Call, data: bytes) -> None:
        """Ask, and note what comes."""
        with grpc.insecure_channel(self._server.address, [("grpc.enable_retries", 0)]) as channel:
            ask = channel.unary_unary(METHOD, None, service_pb2.EvaluateResponse.FromString)
            try:
                answer = ask(data, timeout=CALL_SECONDS)
            except grpc.RpcError as error:
                call.unknown += 1
                self.codes[error.code()] += 1
            else:
                self.history.answered(call, answer.receipt.index)


@pytest.fixture
def callers(server: ServerProcess) -> Iterator[Callers]:
    """Give callers of the server that ask nothing yet."""
    callers = Callers(server)
    yield callers
    callers.abandon()


def test_a_server_that_is_killed_under_load_loses_nothing_that_it_answered(
    server: ServerProcess, callers: Callers
) -> None:
    server.start()
    callers.start()
    for _ in range(ROUNDS):
        callers.history.wait_for_more(ANSWERS_A_ROUND, WAIT_SECONDS)
        callers.is_up.clear()
        server.kill()
        server.start()
        callers.is_up.set()
    callers.history.wait_for_more(ANSWERS_A_ROUND, WAIT_SECONDS)
    callers.stop()
    assert server.stop() == 0
    check_log(server, callers)
    assert all(call.index is not None for call in callers.history.calls), "an unknown request was not resolved"
    assert any(call.unknown for call in callers.history.calls), "no call was in work when the server was killed"
    assert callers.codes.keys() <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
def test_c15_c16_a_server_whose_disk_fails_answers_nothing_more_and_exits(
    server: ServerProcess, callers: Callers, call: str
) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    server.start()
    assert server.stop() == 0
    wal = server.home / "eligibility-data" / "log" / "log.db-wal"
    inject = f"inject={call}:error=EIO:when={FAILING[call]}"
    server.prefix = [strace, "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-P", str(wal), "-e", f"trace={call}"]
    server.prefix += ["-e", inject]
    server.start()
    callers.is_up.set()
    for number in range(ANSWERS_A_ROUND):
        callers.ask_once(asked := callers.history.begin(f"r{number}"), request_for(number, f"r{number}"))
        if asked.index is None:
            break
    assert callers.codes == {grpc.StatusCode.UNAVAILABLE: 1}
    assert callers.history.count_answered()
    assert server.wait() == 1
    server.prefix = []
    check_log(server, callers)


def check_log(server: ServerProcess, callers: Callers) -> None:
    """Check the log of a server that has ended against what its callers saw."""
    log = server.open_log()
    try:
        with log.reading() as snapshot:
            findings = fsck.verify(snapshot, log.vkey, keys=log.keys)
        assert findings.is_whole, [str(fault) for fault in findings.faults]
        callers.history.check(entries_by_request(log))
    finally:
        log.close()
