"""What the decision log costs a caller: Evaluate with it beside Evaluate without, in turn, by the same clients.

    python -m benchmarks.logged [--rounds 5] [--seconds 8] [--callers 16]

Both servers are alike but for the recorder: one keeps every decision in its log, the other hands the response back.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
from google.protobuf import json_format

from benchmarks.wire import LOAD, k6, request_message

if TYPE_CHECKING:
    from engine.ledger.log import DecisionLog
    from server.evaluation import Answer, Asked
    from server.recording import Situation

RULES = Path(__file__).parents[1] / "rules"
WITHOUT, WITH = "without", "with"


class Nothing:
    """A recorder that keeps nothing."""

    def record(self, answer: Answer, _situation: Situation) -> object:
        """Give back the response."""
        from server.recording import Recorded  # noqa: PLC0415 - only the server process needs it

        return Recorded(answer.evaluated.response_bytes, answer.decision_id)

    def record_refusal(self, _error: Exception, _data: bytes, _asked: Asked | None, _situation: Situation) -> None:
        """Do nothing."""


def serve(arguments: list[str]) -> int:
    """Run a server that keeps nothing, with the settings of a real one."""
    from server import app  # noqa: PLC0415 - as above
    from server.__main__ import main as run  # noqa: PLC0415 - as above

    def keep_nothing(_log: DecisionLog, *_: object) -> Nothing:
        return Nothing()

    app.LogRecorder = keep_nothing  # type: ignore[assignment,attr-defined]
    return run(arguments)


def _start(stack: ExitStack, kind: str) -> str:
    home = stack.enter_context(tempfile.TemporaryDirectory(prefix="logged"))
    code = "import sys; from benchmarks.logged import serve; sys.exit(serve(sys.argv[1:]))"
    words = ["-c", code] if kind == WITHOUT else ["-m", "server"]
    environment = {**os.environ, "PYTHONPATH": str(RULES.parent)}
    command = [sys.executable, *words, "--rules", str(RULES), "--insecure", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, cwd=home, stderr=subprocess.PIPE, text=True, env=environment)  # noqa: S603 - our own
    stack.callback(process.wait)
    stack.callback(process.terminate)
    assert process.stderr is not None  # noqa: S101 - it is piped
    for line in process.stderr:
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "serving":
            threading.Thread(target=list, args=(process.stderr,), daemon=True).start()
            return f"127.0.0.1:{event['port']}"
    sys.exit("a server did not start")


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=8, show_default=True)
@click.option("--callers", default=16, show_default=True)
def main(*, rounds: int, seconds: int, callers: int) -> None:
    """Measure both in turn and print the ratio of their medians, round by round."""
    binary = k6()
    if binary is None:
        sys.exit("k6 is not installed; `make setup` installs it")
    found: dict[str, list[dict[str, float]]] = {WITHOUT: [], WITH: []}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="logged"))
        request = Path(folder, "request.json")
        message = request_message()
        message.patient_reference = "Patient/1"  # without one, each call would make a key of its own
        request.write_text(json_format.MessageToJson(message))
        addresses = {kind: _start(stack, kind) for kind in found}
        for _ in range(rounds):
            for kind, address in addresses.items():
                given = {"ADDRESS": address, "REQUEST": str(request), "CALLERS": str(callers), "SECONDS": str(seconds)}
                words = [word for name, value in given.items() for word in ("-e", f"{name}={value}")]
                ran = subprocess.run([binary, "run", "--quiet", *words, str(LOAD)], capture_output=True, check=True)  # noqa: S603 - k6
                found[kind].append(json.loads(ran.stdout))
    for kind, results in found.items():
        middle = {name: statistics.median(one[name] for one in results) for name in ("per_second", "p50_ms", "p99_ms")}
        rate, half, most = middle.values()
        click.echo(f"{kind:<8} {rate:7.0f}/s  p50 {half:6.1f} ms  p99 {most:6.1f} ms")
    ratios = [one["p50_ms"] / other["p50_ms"] for one, other in zip(found[WITH], found[WITHOUT], strict=True)]
    click.echo(
        f"p50 with the log is {statistics.median(ratios):.2f} x without ({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
