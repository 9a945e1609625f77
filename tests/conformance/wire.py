"""A socket between a store and PostgreSQL that can be cut at a word."""

from __future__ import annotations

import select
import socket
import threading
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tests.conformance.postgres_server import PostgresServer

SOCKET = ".s.PGSQL.5432"
MOST_BYTES = 1 << 16


class Wire:
    """Passes everything on, until `cut_at` is seen on its way to the server.

    Then it is cut once: `before` those bytes are passed on, just after (`during`), or `after` the answer began.
    """

    def __init__(self, server: PostgresServer, database: str, user: str) -> None:
        self.folder = Path(mkdtemp(prefix="wire"))
        self.url = f"postgresql://{user}@/{database}?host={self.folder}"
        self.cut_at: bytes | None = None
        self.moment: Literal["before", "during", "after"] = "before"
        self.was_cut = threading.Event()
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / SOCKET))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        (self.folder / SOCKET).unlink()
        self.folder.rmdir()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(str(self._server.folder / SOCKET))
            threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        with near, far:
            while True:
                ready, _, _ = select.select([near, far], [], [])
                for end in ready:
                    data = end.recv(MOST_BYTES)
                    if not data:
                        return
                    if end is near and self.cut_at is not None and self.cut_at in data:
                        self.cut_at = None
                        if self.moment != "before":
                            far.sendall(data)
                        if self.moment == "after":
                            far.recv(1)
                        self.was_cut.set()
                        return
                    (far if end is near else near).sendall(data)
