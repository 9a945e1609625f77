"""A server in a process of its own, with a decision log in a folder, that may be killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from server.config import LogSettings
from server.opening import open_ledger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from engine.ledger.log import DecisionLog

START_SECONDS = 60
STOP_SECONDS = 60
"""How long a start or an orderly stop may take on a machine that is busy."""


@contextmanager
def serving(*options: str, home: Path, environment: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Run a server with these options until it is no longer needed; give what it says of itself once it serves."""
    command = [sys.executable, "-m", "server", "--listen", "127.0.0.1:0", *options]
    with subprocess.Popen(command, cwd=home, env=dict(environment), stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        said = []
        for line in server.stderr:
            said.append(line)
            event: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "serving":
                break
        else:
            pytest.fail("".join(said))
        threading.Thread(target=deque, args=(server.stderr, 0), daemon=True).start()
        yield event
        server.send_signal(signal.SIGTERM)
        assert server.wait(STOP_SECONDS) == 0


class ServerProcess:
    """One server on loopback. Its log, keys and signer lie in its home folder.

    `prefix` are words of a command that runs it, such as strace and its options.
    """

    def __init__(self, home: Path, rules: Path, environment: Mapping[str, str]) -> None:
        self.home = home
        self.prefix: list[str] = []
        self._command = [
            sys.executable,
            "-m",
            "server",
            *("--rules", str(rules), "--listen", "127.0.0.1:0", "--insecure", "--engines", "interpret"),
        ]
        self._environment = dict(environment)
        self._process: subprocess.Popen[str] | None = None
        self.said: deque[str] = deque(maxlen=1000)
        self.address = ""

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self.address = ""
        process = self._process = subprocess.Popen(
            [*self.prefix, *self._command],
            cwd=self.home,
            env=self._environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        is_heard = threading.Event()
        threading.Thread(target=self._listen, args=(process, is_heard), daemon=True).start()
        assert is_heard.wait(START_SECONDS), "".join(self.said)
        assert self.address, "".join(self.said)

    def _listen(self, process: subprocess.Popen[str], is_heard: threading.Event) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self.said.append(line)
                event = json.loads(line) if line.startswith("{") else {}
                if event.get("event") == "serving":
                    self.address = f"127.0.0.1:{event['port']}"
                    is_heard.set()
        is_heard.set()

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        assert self._process.wait(STOP_SECONDS) == -signal.SIGKILL

    def stop(self) -> int:
        """Stop it with SIGTERM; give its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait until it ends by itself; give its exit code."""
        assert self._process is not None
        return self._process.wait(STOP_SECONDS)

    def destroy(self) -> None:
        """Kill it if it runs, and what it runs in."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_SECONDS)

    def open_log(self) -> DecisionLog:
        """Open the log of a server that was stopped."""
        data = self.home / "eligibility-data"
        return open_ledger(
            LogSettings(
                log=f"sqlite:{data}/log/log.db",
                keys=f"sqlite:{data}/keys/keys.db",
                wrapping_key=str(data / "keys" / "wrapping.key"),
                signer=str(data / "signer" / "state"),
                signing_key=str(data / "signer" / "signing.key"),
            )
        )
