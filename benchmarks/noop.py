"""A server whose Evaluate does nothing: it gives back bytes that were recorded before.

    python -m benchmarks.noop 127.0.0.1:50051 response.bin

The same kind of process, threads and message sizes as the real server, and nothing of its work.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from server import reflection
from server.health import Health
from server.rpc.eligibility import SERVICE

WORKERS = 4


def main(address: str, recorded: str) -> None:
    """Serve until the process is ended."""
    response = Path(recorded).read_bytes()
    pool = ThreadPoolExecutor(WORKERS)
    server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
    handler = grpc.unary_unary_rpc_method_handler(lambda _request, _context: response)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Evaluate": handler}),))
    health = Health((SERVICE,), pool)
    health.register(server)
    reflection.register(server, (SERVICE,), pool)
    server.add_insecure_port(address)
    server.start()
    health.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
