"""A process that appends until a limit that it sets itself stops it: `python -m ... FOLDER LIMIT`.

Says in JSON which numbers were acknowledged under which index, and which were refused with what.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from contextlib import ExitStack
from pathlib import Path

from engine.errors import LedgerError
from tests.conformance.ledger_world import World, account

APPENDED = 400


def main(folder: Path, limit: str) -> None:
    """Append."""
    world = World(folder, seed=2)
    log = world.open()
    acked, refused = [(log.append(account(0)).index, 0)], []
    with ExitStack() as readers:
        if limit == "file size":
            most = os.stat(f"{world.path}-wal").st_size + 100_000  # noqa: PTH116 - a name made from a path
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        else:
            most = len(os.listdir("/proc/self/fd")) + 3  # noqa: PTH208 - as above
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
            try:
                while True:
                    readers.enter_context(log.reading())
            except LedgerError as error:
                refused.append(str(error))
        for number in range(1, APPENDED):
            try:
                acked.append((log.append(account(number)).index, number))
            except LedgerError as error:
                refused.append(str(error))
                break
    sys.stdout.write(json.dumps({"acked": acked, "refused": refused}))
    sys.stdout.flush()
    os._exit(0)  # a limit is a kind of crash: nothing is closed


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
