"""A log in a folder, as a server with the real rules left it, and commands over it."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import grpc
from click.testing import CliRunner, Result

from server.app import create_server
from server.command import command
from server.config import Settings
from server.log_format import make_log
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from server.signing_key import read_signing_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

ROOT = Path(__file__).parents[2]
ORIGIN = "command.example.org/decisions/1"
EVALUATE = "/eligibility.v1.EligibilityService/Evaluate"
PATIENTS = ("Patient/CANARY-ONE", "Patient/CANARY-TWO")
GOOD, FAULT, USAGE, INTEGRITY = 0, 1, 2, 3


@dataclass
class Logged:
    """A log in a folder, whose server has been stopped; `decisions` are index and id of one for each patient."""

    folder: Path
    decisions: Sequence[tuple[int, str]]

    def flags(self) -> dict[str, str]:
        """Give the flags that say where it is."""
        return {
            "--log": f"sqlite:{self.folder}/log.db",
            "--keys": f"sqlite:{self.folder}/keys.db",
            "--wrapping-key": f"{self.folder}/wrapping.key",
            "--signer": f"{self.folder}/signer.state",
            "--signing-key": f"{self.folder}/signing.key",
        }

    def run(self, *arguments: str, **changes: str) -> Result:
        """Run a command of the log on it."""
        flags = self.flags() | {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
        words = [word for pair in flags.items() for word in pair]
        return CliRunner().invoke(command(), ["log", *arguments, *words])

    def data(self, *arguments: str) -> list[dict[str, Any]]:
        """Give what a command answers as JSON, of an exit code 0."""
        done = self.run(*arguments, "--format", "json")
        assert done.exit_code == GOOD, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    @property
    def vkey(self) -> str:
        """The verifier key."""
        return read_signing_key(self.folder / "signing.key").vkey

    def damage(self, *statements: str) -> None:
        """Change the store behind the log's back, and leave its guard rails as they were."""
        connection = apsw.Connection(str(self.folder / "log.db"))
        rails = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        removed = [f"DROP TRIGGER {name}" for name, _ in rails]
        for statement in (*removed, *statements, *(str(sql) for _, sql in rails)):
            connection.execute(statement)
        connection.close()


def make_log_folder(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """Make a log with one decision for each patient; once in a session, so copy it before it is changed."""
    if not _made:
        _made.append(_make(tmp_path_factory.mktemp("original")))
    return _made[0]


_made: list[Logged] = []


def _make(folder: Path) -> Logged:
    flags = Logged(folder, ()).flags()
    settings = Settings(
        rules=ROOT / "rules",
        listen="127.0.0.1:0",
        insecure=True,
        certificate_roles={},
        engines="interpret",
        workers=1,
        no_verify=True,  # its report would be an entry somewhere between the decisions
        origin=ORIGIN,
        **{flag.removeprefix("--").replace("-", "_"): value for flag, value in flags.items()},  # type: ignore[arg-type]
    )
    server, port = create_server(settings, make_log(io.StringIO()))
    server.start()
    decisions = []
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(EVALUATE, request_serializer=None, response_deserializer=None)
        for patient in PATIENTS:
            request = service_pb2.EvaluateRequest(
                patient_reference=patient, jurisdiction=service_pb2.JURISDICTION_US, as_of="2026-02-03"
            )
            answer = service_pb2.EvaluateResponse.FromString(call(request.SerializeToString(), timeout=60))
            decisions.append((answer.receipt.index, answer.decision.decision_id))
    server.stop(5)
    return Logged(folder, decisions)
