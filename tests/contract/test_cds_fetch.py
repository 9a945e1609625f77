"""What was not prefetched is read from the client's FHIR server, within bounds."""

from __future__ import annotations

import http.server
import json
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.contract.cds_world import PATIENT, serving, view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Record(http.server.ThreadingHTTPServer):
    """A FHIR server on loopback that answers by path, and remembers what it was asked and with which token."""

    daemon_threads = True

    def __init__(self, answers: dict[str, Any], delay: float = 0.0) -> None:
        self.answers = answers
        self.delay = delay
        self.asked: list[tuple[str, str]] = []
        self.may_go = threading.Event()
        super().__init__(("127.0.0.1", 0), _RecordHandler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/fhir"


class _RecordHandler(http.server.BaseHTTPRequestHandler):
    server: Record

    def do_GET(self) -> None:
        path = self.path.removeprefix("/fhir/")
        self.server.asked.append((path, self.headers.get("authorization", "")))
        if self.server.delay:
            self.server.may_go.wait(self.server.delay)
        answer = self.server.answers.get(path.partition("?")[0] if path not in self.server.answers else path)
        status = answer if isinstance(answer, int) else 200 if answer is not None else 404
        content = json.dumps(answer).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("location", "http://127.0.0.1:1/elsewhere")
        self.send_header("content-type", "application/fhir+json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def record(answers: dict[str, Any], delay: float = 0.0) -> Iterator[Record]:
    server = Record(answers, delay)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.may_go.set()
        server.shutdown()
        thread.join()
        server.server_close()


def bundle(*found: dict[str, Any], after: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": r} for r in found]}
    return {**made, "link": [{"relation": "next", "url": after}]} if after else made


def reading(address: str, token: str | None = "TOKEN", **changes: Any) -> dict[str, Any]:  # noqa: ANN401, S107 - JSON, and no secret
    access = {"fhirAuthorization": {"access_token": token, "token_type": "Bearer"}} if token else {}
    return view(fhirServer=address, **access, **changes)


WHOLE = {
    f"Patient/{PATIENT}": {"resourceType": "Patient", "id": PATIENT},
    "Condition": bundle({"resourceType": "Condition", "id": "c-1"}),
}


def test_what_is_short_is_read_with_the_token_that_came(tmp_path: Path) -> None:
    """SHALL 61, SHOULD 34, MAY 60."""
    with record(WHOLE) as server, serving(tmp_path, client={"fhir_servers": [server.address]}) as made:
        answer = made.call("view", reading(server.address, prefetch={}))

        assert answer.status_code == 200
        content = json.loads(made.desk.asked[0]["content"])
        assert content["patient"]["id"] == PATIENT
        assert content["conditions"]["entry"][0]["resource"]["id"] == "c-1"
        assert "vitals" not in content, "what could not be read is absent"
        assert {token for _, token in server.asked} == {"Bearer TOKEN"}
        vitals = next(path for path, _ in server.asked if "85354-9" in path)
        assert parse_qs(urlsplit(vitals).query)["_sort"] == ["-date"]


def test_nothing_is_read_that_was_prefetched_also_under_another_key(tmp_path: Path) -> None:
    with record(WHOLE) as server, serving(tmp_path, client={"fhir_servers": [server.address]}) as made:
        prefetch = {
            "patient": {"resourceType": "Patient", "id": PATIENT},
            "vitals": None,
            "-problems": WHOLE["Condition"],
        }
        made.call("view", reading(server.address, prefetch=prefetch))

        kinds = {path.partition("?")[0] for path, _ in server.asked}
        assert "Condition" not in kinds
        assert f"Patient/{PATIENT}" not in kinds
        assert not any("85354-9" in path for path, _ in server.asked)
        assert any("44261-6" in path for path, _ in server.asked), "other observations are short"


@pytest.mark.parametrize(
    "body",
    [
        lambda address: reading(address, token=None, prefetch={}),
        lambda address: reading(address.replace("/fhir", "/other"), prefetch={}),
        lambda address: reading(address.replace("127.0.0.1", "localhost"), prefetch={}),
        lambda address: reading(f"{address}@evil.example", prefetch={}),
        lambda address: reading(f"{address}/../fhir", prefetch={}),
    ],
    ids=["no-token", "other-base", "other-host", "userinfo", "dots"],
)
def test_an_unlisted_server_is_never_read(tmp_path: Path, body: Callable[[str], dict[str, Any]]) -> None:
    with record(WHOLE) as server, serving(tmp_path, client={"fhir_servers": [server.address]}) as made:
        assert made.call("view", body(server.address)).status_code == 412
        assert server.asked == []


def test_pages_are_followed_on_the_same_server_only(tmp_path: Path) -> None:
    with record({}) as server, serving(tmp_path, client={"fhir_servers": [server.address]}) as made:
        server.answers = {
            **WHOLE,
            "Condition": bundle({"resourceType": "Condition", "id": "c-1"}, after=f"{server.address}/page2"),
            "page2": bundle({"resourceType": "Condition", "id": "c-2"}, after="page3"),
            "page3": bundle({"resourceType": "Condition", "id": "c-3"}),
            "Procedure": bundle({"resourceType": "Procedure", "id": "p-1"}, after="http://evil.example/next"),
        }
        made.call("view", reading(server.address, prefetch={}))
        content = json.loads(made.desk.asked[0]["content"])

        found = [e["resource"]["id"] for key, page in content.items() if "conditions" in key for e in page["entry"]]
        assert found == ["c-1", "c-2", "c-3"]
        assert not any("link" in page for key, page in content.items() if "conditions" in key)
        assert "procedures" not in content, "half of the pages is not the history"


@pytest.mark.parametrize(
    "leading_out",
    [
        "{origin}/other/delete?all=1",
        "/other/delete?all=1",
        "../other/delete",
        "{origin}/fhir/../other/delete",
        "{origin}/fhir/%2e%2e/other/delete",
        "{origin}/fhir/..%2fother/delete",
        "{origin}/fhir/..%252fother/delete",
        "{origin}/fhir/..;x=1/other/delete",
        "{origin}/fhir/..%5cother/delete",
        "{origin}/fhir\\..\\other",
        "{origin}/fhir/.\t./other",
        "{origin}/fhirs/delete",
        "{origin}",
    ],
)
def test_the_token_goes_nowhere_but_below_the_registered_base(tmp_path: Path, leading_out: str) -> None:
    with record({}) as server, serving(tmp_path, client={"fhir_servers": [server.address]}) as made:
        link = leading_out.format(origin=server.address.removesuffix("/fhir"))
        server.answers = {"page2": bundle({"resourceType": "Condition", "id": "c-2"}, after=link)}
        first = bundle({"resourceType": "Condition", "id": "c-1"}, after=link)
        patient = {"resourceType": "Patient", "id": PATIENT}
        procedures = bundle(after=f"{server.address}/page2")
        prefetch = {"patient": patient, "conditions": first, "procedures": procedures}
        assert made.call("view", reading(server.address, prefetch=prefetch)).status_code == 200

        asked = [path for path, _ in server.asked]
        assert "page2" in asked
        assert not [path for path in asked if "other" in path or "delete" in path or path == "/"]
        content = json.loads(made.desk.asked[0]["content"])
        assert content["conditions"]["link"] == first["link"], "the record is known to be a part"
        assert content["procedures"]["link"] == procedures["link"]


def test_pages_at_the_base_address_itself_are_read(tmp_path: Path) -> None:
    with record({}) as server, serving(tmp_path, client={"fhir_servers": [f"{server.address}/"]}) as made:
        server.answers = {"/fhir": bundle({"resourceType": "Condition", "id": "c-2"})}
        first = bundle({"resourceType": "Condition", "id": "c-1"}, after=f"{server.address}?_getpages=1&_offset=20")
        patient = {"resourceType": "Patient", "id": PATIENT}
        made.call("view", reading(server.address, prefetch={"patient": patient, "conditions": first}))

        content = json.loads(made.desk.asked[0]["content"])
        assert content["conditions next"]["entry"][0]["resource"]["id"] == "c-2"


@pytest.mark.parametrize(
    "value", [{"resourceType": "OperationOutcome", "issue": []}, {"odd": 1}, [], {"resource": {"odd": 1}}, "text"]
)
def test_what_holds_no_data_is_read_from_the_server_or_told_on_the_card(tmp_path: Path, value: object) -> None:
    patient = {"resourceType": "Patient", "id": PATIENT}
    with record(WHOLE) as server, serving(tmp_path, client={"fhir_servers": [server.address]}) as made:
        body = reading(server.address, prefetch={"patient": patient, "conditions": value, "procedures": value})
        (card,) = made.call("view", body).json()["cards"]
        content = json.loads(made.desk.asked[0]["content"])

        assert content["conditions"]["entry"][0]["resource"]["id"] == "c-1"
        absent = re.search(r"in part only \(absent: ([^)]*)\)", card["detail"])
        assert absent is not None
        assert "procedures" in absent[1]
        assert "conditions" not in absent[1]


def test_the_pages_after_a_prefetched_one_are_read(tmp_path: Path) -> None:
    with record({}) as server, serving(tmp_path, client={"fhir_servers": [server.address]}) as made:
        server.answers = {"page2": bundle({"resourceType": "Condition", "id": "c-2"})}
        first = bundle({"resourceType": "Condition", "id": "c-1"}, after=f"{server.address}/page2")
        patient = {"resourceType": "Patient", "id": PATIENT}
        made.call("view", reading(server.address, prefetch={"patient": patient, "conditions": first}))
        content = json.loads(made.desk.asked[0]["content"])

        assert content["conditions"]["entry"] == first["entry"]
        assert "link" not in content["conditions"]
        assert content["conditions next"]["entry"][0]["resource"]["id"] == "c-2"


@pytest.mark.parametrize(
    "answer",
    [302, 401, 500, "text", {"resourceType": "OperationOutcome"}, {"resourceType": "Patient", "id": "somebody-else"}],
)
def test_an_answer_that_is_no_resource_is_missing(tmp_path: Path, answer: object) -> None:
    with (
        record({f"Patient/{PATIENT}": answer}) as server,
        serving(tmp_path, client={"fhir_servers": [server.address]}) as made,
    ):
        assert made.call("view", reading(server.address, prefetch={})).status_code in {400, 412}
        assert made.desk.asked == []


def test_a_slow_server_does_not_make_us_slow(tmp_path: Path) -> None:
    with (
        record(WHOLE, delay=20) as server,
        serving(tmp_path, client={"fhir_servers": [server.address]}, cds_fetch_ms=100) as made,
    ):
        patient = {"resourceType": "Patient", "id": PATIENT}
        answer = made.call("view", reading(server.address, prefetch={"patient": patient}))

        assert answer.status_code == 200
        assert list(json.loads(made.desk.asked[0]["content"])) == ["patient"]
        server.may_go.set()


def test_an_answer_that_is_too_large_is_missing(tmp_path: Path) -> None:
    huge = {"resourceType": "Patient", "id": PATIENT, "text": "x" * 200_000}
    with (
        record({f"Patient/{PATIENT}": huge}) as server,
        serving(tmp_path, client={"fhir_servers": [server.address]}, cds_max_body_bytes=100_000) as made,
    ):
        assert made.call("view", reading(server.address, prefetch={})).status_code == 412
