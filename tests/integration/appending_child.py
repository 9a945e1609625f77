"""A process that appends to a log in several threads: `python -m ... FOLDER THREADS ACCOUNTS`.

Each account has a request id, and is tried again when it is refused. Says a line each: `acked INDEX ID`, `refused ID`,
or `closed TEXT` where the log does not even open.
"""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engine.errors import LedgerError
from tests.conformance.ledger_world import World, account, register

TRIES = 3


def say(*words: object) -> None:
    """Say a line, whole, whatever the other threads say."""
    os.write(sys.stdout.fileno(), (" ".join(map(str, words)) + "\n").encode())


def main(folder: Path, threads: int, accounts: int) -> None:
    """Append."""
    world = World(folder, seed=os.getpid())
    try:
        log = world.open()
        register(log)
    except LedgerError as error:
        say("closed", error)
        return
    together = threading.Barrier(threads)

    def append(number: int) -> None:
        if number < threads:
            together.wait()
        request_id = f"r{number}"
        for _ in range(TRIES):
            try:
                say("acked", log.append(account(number, request_id)).index, request_id)
            except LedgerError:
                say("refused", request_id)
            else:
                return

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(append, range(accounts)))
    world.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
