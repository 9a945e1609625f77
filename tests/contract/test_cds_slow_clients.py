"""Clients that are slow, many, or speak no HTTP hold nobody else up."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from server.cds_hooks import body as body_module
from server.cds_hooks import connection as connection_module
from tests.contract.cds_world import PUBLIC, World, serving, view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from server.cds_hooks.connection import Connection


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Serve for the tests of this file that change nothing."""
    with serving(tmp_path_factory.mktemp("slow")) as made:
        yield made


def raw(world: World, *parts: bytes) -> socket.socket:
    """Open a connection and send some bytes."""
    found = socket.create_connection(("127.0.0.1", world.face.port), timeout=20)
    for part in parts:
        found.sendall(part)
    return found


def has_ended(connection: socket.socket) -> bool:
    """Say whether the other side has ended a connection without a word; False where it still waits."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def test_a_client_that_sends_no_whole_request_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "HEAD_SECONDS", 0.2)
    with serving(tmp_path) as made, raw(made) as silent, raw(made, b"POST /te/cds-services HT") as slow:
        for connection in (silent, slow):
            assert has_ended(connection)
        assert made.http.get("/te/health").status_code == 200


def test_a_body_that_never_ends_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "BODY_SECONDS", 0.2)
    with serving(tmp_path) as made:
        token = made.site.token(f"{PUBLIC}/cds-services/treatment-eligibility-view")
        head = (
            "POST /te/cds-services/treatment-eligibility-view HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {token}\r\nContent-Length: 50\r\n\r\n{{"
        )
        with raw(made, head.encode()) as slow:
            assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_leaves_is_no_fault_of_ours(tmp_path: Path) -> None:
    with serving(tmp_path) as made:
        token = made.site.token(f"{PUBLIC}/cds-services/treatment-eligibility-view")
        head = (
            "POST /te/cds-services/treatment-eligibility-view HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {token}\r\nContent-Length: 50\r\n\r\n{{"
        )
        raw(made, head.encode()).close()
        while not made.log.getvalue():
            time.sleep(0.01)

        assert [(line["event"], line["reason"]) for line in made.lines()] == [("call", "gone")]


ASKED = 600


def connections(world: World) -> set[Connection]:
    """Give the connections that the face holds."""
    return world.face._server.server_state.connections  # type: ignore[return-value]  # noqa: SLF001 - nobody else tells


def wait_for(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end, "it never was"
        time.sleep(0.01)


@contextmanager
def stuck(world: World, count: int) -> Iterator[list[socket.socket]]:
    """Open connections that ask again and again and take no answer, until the face cannot write to any of them."""
    with ExitStack() as opened:
        made = [opened.enter_context(socket.socket()) for _ in range(count)]
        for found in made:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            found.settimeout(20)
            found.connect(("127.0.0.1", world.face.port))
            found.sendall(b"GET /te/cds-services HTTP/1.1\r\nHost: x\r\n\r\n" * ASKED)
        wait_for(lambda: sum(c.flow.write_paused for c in list(connections(world))) == count)
        yield made


def test_a_client_that_takes_no_answer_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "TAKING_SECONDS", 0.5)
    with serving(tmp_path) as made, stuck(made, 3):
        wait_for(lambda: not connections(made))
        assert made.http.get("/te/health").status_code == 200


def test_a_client_that_takes_its_answers_slowly_gets_them_all(tmp_path: Path) -> None:
    with serving(tmp_path) as made, stuck(made, 1) as (slow,):
        got = b""
        while got.count(b'{"services":') < ASKED:
            part = slow.recv(65536)
            assert part
            got += part
        assert got.count(b"HTTP/1.1 200 OK") == ASKED


def test_those_who_take_nothing_keep_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MAX_CONNECTIONS", 4)
    monkeypatch.setattr(connection_module, "TAKING_SECONDS", 60.0)
    with serving(tmp_path) as made, stuck(made, 4):
        assert made.http.get("/te/health").status_code == 200
        assert made.call("view", view()).status_code == 200
        assert len(connections(made)) == 4


def test_those_who_take_nothing_do_not_hold_up_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "TAKING_SECONDS", 60.0)
    monkeypatch.setattr(connection_module, "LAST_SECONDS", 0.2)
    with serving(tmp_path) as made, stuck(made, 3):
        start = time.monotonic()
        made.face.stop(30)
        assert time.monotonic() - start < 15


def test_connections_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MAX_CONNECTIONS", 5)
    with serving(tmp_path) as made:
        many = [raw(made) for _ in range(20)]
        try:
            for connection in many:
                connection.settimeout(0.5)
            assert sum(map(has_ended, many)) == 15
        finally:
            for connection in many:
                connection.close()
        assert made.http.get("/te/health").status_code == 200


@pytest.mark.parametrize("head", [b"GARBAGE\r\n\r\n", b"GET /te/health HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1_000_000])
def test_what_is_no_http_is_refused(world: World, head: bytes) -> None:
    with raw(world) as connection:
        try:
            connection.sendall(head)
            assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was cut off before all of it was sent
    assert world.http.get("/te/health").status_code == 200


def test_a_stop_lets_calls_in_work_end(tmp_path: Path) -> None:
    with serving(tmp_path) as made, ThreadPoolExecutor(1) as pool:
        made.desk.may_go.clear()
        waiting = pool.submit(made.call, "view", view())
        while not made.desk.asked:
            time.sleep(0.01)
        stopping = threading.Thread(target=made.face.stop, args=(10,))
        stopping.start()
        made.desk.may_go.set()
        assert waiting.result().status_code == 200
        stopping.join()
