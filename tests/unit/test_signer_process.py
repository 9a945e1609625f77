"""`eligibility-signer` in a process of its own, spoken to over a Unix socket as the writer of a log does."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from engine.errors import IntegrityError, LogUnavailableError
from engine.ledger.body import SettingChanged
from engine.ledger.checkpoint import SigningKey, open_note, parse_receipt, parse_vkey, verify_receipt
from engine.ledger.merkle import GrowingTree, consistency_proof, leaf_hash, root_of
from server.command.log.memory import recall
from server.config import LogSettings, SettingsError
from server.log_format import make_log
from server.opening import open_ledger
from server.pb.eligibility.v1 import checkpoint_signer_service_pb2 as signer_pb2
from server.remote_signer import RemoteSigner, connect
from server.signer import SERVICE, SignerSettings, create_signer, main
from tests.unit.certificates import make_certificate

if TYPE_CHECKING:
    from pathlib import Path

    from engine.ledger.signer import SignReply

ORIGIN = "signer.example.org/decisions/1"


class Leaves:
    """A tree of made-up leaves that remembers every tile, so that it can prove any growth."""

    def __init__(self, flavor: bytes = b"") -> None:
        self.tree = GrowingTree(0, b"", {})
        self._flavor = flavor

    def grow(self, size: int) -> None:
        """Add leaves up to a size, below one tile."""
        while self.tree.size < size:
            self.tree.add(leaf_hash(self._flavor + bytes([self.tree.size])))

    def sign(self, signer: RemoteSigner, size: int) -> SignReply:
        """Grow and have it signed, with the proof from where the tree stood."""
        old = self.tree.size
        self.grow(size)
        proof = consistency_proof(self.tree.tile, old, size) if old else []
        return signer.sign(old, proof, size, self.tree.root())


class Process:
    """One signer process on the files of a folder."""

    def __init__(self, folder: Path, address: str = "", *options: str) -> None:
        self.folder = folder
        self.address = address or f"unix:{folder / 's'}"
        command = [
            sys.executable,
            "-m",
            "server.signer",
            "--state",
            str(folder / "state"),
            "--key",
            str(folder / "key"),
        ]
        command += ["--origin", ORIGIN, "--listen", self.address, *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.first_line = self._wait()

    def _wait(self) -> str:
        return self.wait_for("signing")

    def wait_for(self, event: str) -> str:
        """Wait until it has logged an event; give what it said until then."""
        assert self.process.stderr is not None
        said = ""
        for line in self.process.stderr:
            said += line
            if f'"event": "{event}"' in line:
                return said
        raise AssertionError(said)

    def end(self, number: int) -> int:
        """Send a signal and give the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(30)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


Start = Callable[[], Process]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a path short enough for a Unix socket."""
    return tmp_path_factory.mktemp("s")


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Give a function that starts a signer on the same files each time."""
    started: list[Process] = []

    def run() -> Process:
        started.append(Process(folder))
        return started[-1]

    yield run
    for process in started:
        if process.process.poll() is None:
            process.end(signal.SIGKILL)


@pytest.fixture
def signer(start: Start) -> Iterator[RemoteSigner]:
    """Give the client of a signer in work."""
    client = RemoteSigner(start().address)
    yield client
    client.close()


def test_a_growing_log_is_signed_over_the_socket(signer: RemoteSigner) -> None:
    leaves = Leaves()
    assert signer.latest() is None

    for size in (1, 2, 7, 8, 100):
        reply = leaves.sign(signer, size)
        checkpoint = open_note(reply.note, parse_vkey(signer.vkey()))
        assert (checkpoint.origin, checkpoint.tree_size, checkpoint.root_hash) == (ORIGIN, size, leaves.tree.root())

    latest = signer.latest()
    assert latest is not None
    assert (latest.tree_size, latest.note) == (100, reply.note)


def test_the_socket_is_for_user_and_group_alone(start: Start) -> None:
    mode = (start().folder / "s").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert not mode & stat.S_IRWXO


def test_c11_what_was_signed_is_known_after_the_process_was_killed(start: Start) -> None:
    first = start()
    client = RemoteSigner(first.address)
    leaves = Leaves()
    reply = leaves.sign(client, 9)
    client.close()
    assert first.end(signal.SIGKILL) == -signal.SIGKILL

    again = RemoteSigner(start().address)
    latest = again.latest()
    again.close()

    assert latest is not None
    assert (latest.tree_size, latest.note) == (9, reply.note)


def test_c78_a_tree_that_does_not_extend_the_signed_one_is_refused(signer: RemoteSigner) -> None:
    Leaves().sign(signer, 9)
    other = Leaves(b"other")
    other.grow(9)

    with pytest.raises(IntegrityError, match="the signer refuses"):
        other.sign(signer, 12)
    with pytest.raises(IntegrityError, match="the signer refuses"):
        signer.sign(9, [], 9, leaf_hash(b"another root"))


def test_c27_a_log_that_is_behind_gets_the_newest_note_and_no_new_one(signer: RemoteSigner) -> None:
    leaves = Leaves()
    newest = leaves.sign(signer, 9)
    rolled_back = Leaves()
    rolled_back.grow(4)

    reply = signer.sign(4, [], 4, rolled_back.tree.root())

    assert (reply.tree_size, reply.note) == (9, newest.note)


def test_a_proof_from_another_size_is_answered_with_the_right_size(signer: RemoteSigner) -> None:
    leaves = Leaves()
    leaves.sign(signer, 9)
    leaves.grow(12)

    reply = signer.sign(4, consistency_proof(leaves.tree.tile, 4, 12), 12, leaves.tree.root())

    assert (reply.tree_size, reply.note) == (9, b"")


def test_c31_a_signer_that_is_down_is_unavailable_and_used_again_once_it_is_back(start: Start) -> None:
    first = start()
    client = RemoteSigner(first.address)
    leaves = Leaves()
    leaves.sign(client, 3)
    assert first.end(signal.SIGTERM) == 0
    leaves.grow(5)
    request = (3, consistency_proof(leaves.tree.tile, 3, 5), 5, leaves.tree.root())

    with pytest.raises(LogUnavailableError, match="UNAVAILABLE"):
        client.sign(*request)

    start()
    grpc.channel_ready_future(client._channel).result(30)  # noqa: SLF001 - the event to wait for
    assert client.sign(*request).tree_size == 5
    client.close()


def test_over_tcp_only_those_with_a_certificate_are_answered(folder: Path) -> None:
    own, stranger = make_certificate(folder, "house"), make_certificate(folder, "stranger")
    with socket.create_server(("localhost", 0)) as free:
        address = f"localhost:{free.getsockname()[1]}"
    settings = SignerSettings(
        state=folder / "state",
        key=folder / "key",
        listen=address,
        origin=ORIGIN,
        tls_cert=own.certificate,
        tls_key=own.key,
        client_ca=own.certificate,
    )
    server, service, _ = create_signer(settings, make_log())
    server.start()
    known = RemoteSigner(address, own.certificate, own.certificate, own.key)
    unknown = RemoteSigner(address, own.certificate, stranger.certificate, stranger.key)

    assert Leaves().sign(known, 3).tree_size == 3
    with pytest.raises(LogUnavailableError):
        unknown.latest()
    with pytest.raises(ValueError, match="mutual TLS"):
        RemoteSigner(address)

    known.close()
    unknown.close()
    server.stop(0).wait()
    service.close()


def test_a_renewed_certificate_is_shown_to_new_connections(folder: Path) -> None:
    own, renewed = make_certificate(folder, "house"), make_certificate(folder, "renewed")
    client = make_certificate(folder, "server")
    shown = folder / "shown.crt", folder / "shown.key"
    for file, content in zip(shown, (own.certificate, own.key), strict=True):
        file.write_bytes(content.read_bytes())
    with socket.create_server(("localhost", 0)) as free:
        address = f"localhost:{free.getsockname()[1]}"
    files = ("--tls-cert", str(shown[0]), "--tls-key", str(shown[1]), "--client-ca", str(client.certificate))
    process = Process(folder, address, *files)
    try:
        before, after = (
            RemoteSigner(address, each.certificate, client.certificate, client.key) for each in (own, renewed)
        )
        assert Leaves().sign(before, 3).tree_size == 3
        for file, content in zip(shown, (renewed.certificate, renewed.key), strict=True):
            file.write_bytes(content.read_bytes())
        process.wait_for("certificate read again")
        latest = after.latest()
        assert latest is not None
        assert latest.tree_size == 3
        before.close()
        after.close()
    finally:
        assert process.end(signal.SIGTERM) == 0


def test_c31_a_log_is_written_while_its_signer_answers_and_no_longer(start: Start, folder: Path) -> None:
    process = start()
    log = open_ledger(
        LogSettings(
            log=f"sqlite:{folder}/log.db",
            keys=f"sqlite:{folder}/keys.db",
            wrapping_key=f"{folder}/wrapping.key",
            signer=process.address,
        )
    )
    logged = log.tell(SettingChanged("clock", "one"))
    checkpoint = verify_receipt(parse_receipt(logged.receipt), parse_vkey(log.vkey))
    assert (checkpoint.origin, checkpoint.tree_size) == (ORIGIN, 2)

    assert process.end(signal.SIGKILL) == -signal.SIGKILL
    with pytest.raises(LogUnavailableError):
        log.tell(SettingChanged("clock", "two"))
    assert "signer" in log.alarms()
    log.close()


def test_c27_a_log_is_held_against_a_signer_of_its_own(start: Start, folder: Path) -> None:
    process = start()
    settings = LogSettings(
        log=f"sqlite:{folder}/log.db",
        keys=f"sqlite:{folder}/keys.db",
        wrapping_key=f"{folder}/wrapping.key",
        signer=process.address,
    )
    log = open_ledger(settings)
    log.tell(SettingChanged("clock", "one"))
    with log.reading() as snapshot:
        root = root_of(snapshot.tile, 2)
    vkey = log.vkey
    log.close()

    assert recall(settings, vkey).latest == (2, root)
    other = recall(settings, SigningKey("other.example.org/1", bytes(32)).vkey)
    assert (other.latest, other.why_not) == (None, "the signer is that of another log")
    assert process.end(signal.SIGTERM) == 0
    assert recall(settings, vkey).why_not.startswith("the signer was not asked: the signer cannot be reached")
    assert "mutual TLS" in recall(replace(settings, signer="localhost:1"), vkey).why_not


def test_another_log_is_refused(start: Start) -> None:
    channel = connect(start().address, None, None, None)
    call = channel.unary_unary(f"/{SERVICE}/Sign", request_serializer=None, response_deserializer=None)
    request = signer_pb2.SignRequest(origin="other.example.org/1", size=1, root_hash=bytes(32))

    with pytest.raises(grpc.RpcError) as caught:
        call(request.SerializeToString(), timeout=30)
    channel.close()

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    assert status is not None
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    assert [violation.field for violation in bad.field_violations] == ["origin"]


def test_c17_a_state_that_could_not_be_written_is_read_again_and_signs_what_it_holds(folder: Path) -> None:
    settings = SignerSettings(state=folder / "state", key=folder / "key", listen=f"unix:{folder / 's'}", origin=ORIGIN)
    server, service, _ = create_signer(settings, make_log())
    server.start()
    client = RemoteSigner(settings.listen)
    leaves = Leaves()
    leaves.sign(client, 3)
    leaves.grow(6)
    request = (3, consistency_proof(leaves.tree.tile, 3, 6), 6, leaves.tree.root())

    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, service._state._descriptor)  # noqa: SLF001 - the disk is full, as the open file sees it
    os.close(full)
    with pytest.raises(LogUnavailableError):
        client.sign(*request)
    reply = client.sign(*request)

    client.close()
    server.stop(0).wait()
    service.close()
    assert reply.tree_size == 6
    assert (folder / "state").stat().st_size == 2 * 72


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"listen": "127.0.0.1:0"}, "mutual TLS"),
        ({"listen": "nowhere"}, "--listen"),
        ({"origin": ""}, "--origin"),
        ({"listen": "unix:/nowhere/at/all"}, "there is no folder `/nowhere/at`"),
    ],
)
def test_settings_that_are_not_safe_are_refused(folder: Path, changes: dict[str, str], said: str) -> None:
    good = SignerSettings(state=folder / "state", key=folder / "key", listen=f"unix:{folder / 's'}", origin=ORIGIN)
    settings = replace(good, **changes)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=said):
        create_signer(settings, make_log())
    assert not (folder / "state").exists()


def test_a_lost_key_is_not_replaced_where_something_was_signed(folder: Path) -> None:
    (folder / "state").write_bytes(b"")
    arguments = ["--state", str(folder / "state"), "--key", str(folder / "key"), "--origin", ORIGIN]
    assert main([*arguments, "--listen", f"unix:{folder / 's'}"]) == 2
    assert not (folder / "key").exists()


def test_a_damaged_state_ends_with_exit_code_3(start: Start, folder: Path) -> None:
    first = start()
    client = RemoteSigner(first.address)
    leaves = Leaves()
    for size in (1, 2, 3):
        leaves.sign(client, size)
    client.close()
    assert first.end(signal.SIGTERM) == 0
    data = bytearray((folder / "state").read_bytes())
    data[5] ^= 1
    (folder / "state").write_bytes(data)

    arguments = ["--state", str(folder / "state"), "--key", str(folder / "key")]
    assert main([*arguments, "--listen", f"unix:{folder / 's'}"]) == 3


def test_wrong_usage_ends_with_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--state", "somewhere"]) == 2
    assert "--key" in capsys.readouterr().err
