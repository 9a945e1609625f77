"""Threaded server or asyncio server: calls a second of both, side by side, on this machine.

    python benchmarks/server_kind.py [--rounds 7] [--seconds 2] [--clients 16] [--rules rules]

Behind each stands nothing at all, then a stand-in for the evaluation core (parsing a request, about a millisecond of
Python, writing an answer), then the core itself where `--rules` names a folder. The clients are a process of their own.
The two kinds take turns, so that whatever else the machine does falls on both; what counts is the ratio of each round,
its median and its spread, not the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

import grpc
import grpc.aio

from server.app import load
from server.config import Settings
from server.convert.requests import read_request
from server.evaluation import Circumstances, evaluate
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

Core: TypeAlias = Callable[[bytes], bytes]

METHOD = "/bench.Bench/Call"
WORKERS = 4
LOOPS = 20_000


def nothing(data: bytes) -> bytes:
    """Give back what came."""
    return data


def stand_in(data: bytes) -> bytes:
    """Parse, keep Python busy, and answer."""
    request = read_request(data, 100, is_streamed=False)
    total = 0
    for number in range(LOOPS):
        total += number & 7
    return service_pb2.EvaluateResponse(request_id=f"{len(request.raw)}{total}").SerializeToString()


def real(rules: Path) -> Core:
    """Give the evaluation core over a rules folder."""
    loaded = load(Settings(rules=rules, insecure=True, certificate_roles={}, engines="interpret"))

    def core(data: bytes) -> bytes:
        circumstances = Circumstances("0" * 36, datetime.now(UTC), "UTC")
        return evaluate(data, loaded, circumstances, 100, lambda: None).evaluated.response_bytes

    return core


def _handlers(behavior: Callable[..., object]) -> list[grpc.GenericRpcHandler[bytes, bytes]]:
    handler = grpc.unary_unary_rpc_method_handler(behavior)
    return [grpc.method_handlers_generic_handler("bench.Bench", {"Call": handler})]


@contextmanager
def threaded(core: Core) -> Iterator[int]:
    """Serve with a pool of threads."""
    server = grpc.server(futures.ThreadPoolExecutor(WORKERS), _handlers(lambda data, _context: core(data)))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(0).wait()


@contextmanager
def asynchronous(core: Core) -> Iterator[int]:
    """Serve with asyncio; the core runs in a pool, since on the loop it would hold up every other call."""
    loop = asyncio.new_event_loop()
    pool = futures.ThreadPoolExecutor(WORKERS)

    async def behavior(data: bytes, _context: object) -> bytes:
        return await loop.run_in_executor(pool, core, data)

    async def start() -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(_handlers(behavior))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server, port = asyncio.run_coroutine_threadsafe(start(), loop).result()
    yield port
    asyncio.run_coroutine_threadsafe(server.stop(0), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def _drive(port: int, data: bytes, clients: int, seconds: float, out: multiprocessing.Queue[tuple[int, float]]) -> None:
    def client(times: list[float]) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            call = channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)
            call(data)
            while (start := time.perf_counter()) < end:
                call(data)
                times.append(time.perf_counter() - start)

    end = time.perf_counter() + seconds
    kept: list[list[float]] = [[] for _ in range(clients)]
    threads = [threading.Thread(target=client, args=(times,)) for times in kept]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = sorted(t for times in kept for t in times)
    out.put((len(every), every[int(len(every) * 0.99)] if every else 0.0))


def measure(
    kind: Callable[[Core], AbstractContextManager[int]], core: Core, data: bytes, clients: int, seconds: float
) -> tuple[float, float]:
    """Give calls a second and the 99th percentile in milliseconds."""
    spawn = multiprocessing.get_context("spawn")
    out = spawn.Queue()
    with kind(core) as port:
        driver = spawn.Process(target=_drive, args=(port, data, clients, seconds, out))
        driver.start()
        count, slow = out.get()
        driver.join()
    return count / seconds, slow * 1000


def request() -> bytes:
    """Give a small request."""
    message = service_pb2.EvaluateRequest(
        request_id="bench", jurisdiction=service_pb2.JURISDICTION_US, as_of="2025-06-02"
    )
    message.patient_history.vascular_medical.sbp_mmHg = 120
    message.patient_history.vascular_medical.dbp_mmHg = 80
    return message.SerializeToString()


def main() -> None:
    """Measure both kinds of server and print the ratio."""
    parser = argparse.ArgumentParser(description="threaded against asyncio server")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rules", type=Path, help="measure the evaluation core over this rules folder too")
    arguments = parser.parse_args()
    cores: dict[str, Core] = {"no work": nothing, "stand-in core": stand_in}
    if arguments.rules:
        cores["evaluation core"] = real(arguments.rules)
    print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'work':16} {'threaded/s':>10} {'asyncio/s':>10} {'ratio':>6} {'least':>6} {'most':>6} {'p99 ratio':>10}")
    for name, core in cores.items():
        pairs = [
            [measure(kind, core, request(), arguments.clients, arguments.seconds) for kind in (threaded, asynchronous)]
            for _ in range(arguments.rounds)
        ]
        ratios = sorted(one[0] / two[0] for one, two in pairs)
        slow = median(one[1] / two[1] for one, two in pairs)
        rates = [median(pair[side][0] for pair in pairs) for side in (0, 1)]
        spread = f"{median(ratios):6.2f} {ratios[0]:6.2f} {ratios[-1]:6.2f}"
        print(f"{name:16} {rates[0]:10.0f} {rates[1]:10.0f} {spread} {slow:10.2f}")


if __name__ == "__main__":
    main()
