"""Each example client gets every patient's decision from a real server, and prints what the engine says."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.cli.panel import Decided, decide, expand
from engine.evaluator.agree import Evaluator
from engine.pack.load import load_rules
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from tests.integration.lossy_proxy import lossy_proxy

Ask = Callable[..., subprocess.CompletedProcess[str]]
Client = Callable[[str], tuple[str, ...]]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PATIENTS = expand([str(EXAMPLES / "patients")])
NODE_MODULES = EXAMPLES / "node" / "node_modules"
PYTHON = (sys.executable, str(EXAMPLES / "python" / "evaluate.py"))
ADA, AS_OF = EXAMPLES / "fhir" / "ada.json", "2026-05-12"
ROW = re.compile(r"^\| ([^|]+) \| ([a-z ]+) \| ([a-z ]+) \|$", re.MULTILINE)


@pytest.fixture(scope="session")
def decided(rules: Path) -> list[Decided]:
    """Give what the engine says of each patient, in the order of the files."""
    outcomes = decide(PATIENTS, Evaluator(load_rules(rules), "interpret"))
    return [outcome for outcome in outcomes if isinstance(outcome, Decided)]


@pytest.fixture(scope="session")
def ask(environment: dict[str, str]) -> Ask:
    """Give a function that runs a client from elsewhere, as its user would."""

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=environment, cwd=ROOT.parent, capture_output=True, text=True, check=False, timeout=100
        )

    return run


def has_every_decision(output: str, decided: list[Decided]) -> bool:
    """Say whether the output has each patient's level of risk and statuses, patient by patient."""
    sheets = output.strip().split("\n\n")
    assert len(sheets) == len(decided)
    for sheet, one in zip(sheets, decided, strict=True):
        assert sheet.startswith(f"{one.case.id}  {one.case.title}\n"), sheet
        assert f"suicide risk: {one.decision.triage.level}" in sheet
        assert one.decision.disclaimer in sheet
        for option in one.decision.options:
            assert f"{option.title}: {option.status.replace('_', ' ').upper()}." in sheet
        for referral in one.decision.referrals:
            if referral.state == "required" or referral.urgency == "emergency":
                assert referral.because in sheet
    return True


def test_the_patients_are_instructive(decided: list[Decided]) -> None:
    statuses = {option.status for one in decided for option in one.decision.options}

    assert len(decided) == 11
    assert statuses >= {
        "eligible",
        "eligible_with_precautions",
        "deferred",
        "insufficient_data",
        "not_indicated",
        "not_recommended",
        "contraindicated",
    }


@pytest.fixture(scope="session")
def said(ask: Ask, address: str) -> str:
    """Give what the Python client prints of every patient."""
    answer = ask(*PYTHON, *PATIENTS, "--address", address)
    assert (answer.returncode, answer.stderr) == (0, "")
    return answer.stdout


@pytest.fixture(scope="session")
def cpp(ask: Ask, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the path of the C++ client, built."""
    for tool in ("g++", "make", "protoc", "grpc_cpp_plugin", "pkg-config"):
        if shutil.which(tool, path=environment["PATH"]) is None:
            pytest.skip(f"{tool} is not installed")
    folder = tmp_path_factory.mktemp("cpp")
    made = ask("make", "-C", str(EXAMPLES / "cpp"), f"BUILD={folder}")
    assert made.returncode == 0, made.stderr
    return str(folder / "evaluate_fhir")


@pytest.fixture(params=["python", "node", "shell", "cpp"])
def client(request: pytest.FixtureRequest, environment: dict[str, str]) -> Client:
    """Give a function from an address to the command by which each client asks there about one patient."""
    patient = PATIENTS[0]
    if request.param == "python":
        return lambda address: (*PYTHON, patient, "--address", address)
    if request.param == "node":
        node = node_client()
        return lambda address: (*node, patient, "--address", address)
    if request.param == "shell":
        shell = shell_client(environment)
        return lambda address: (*shell, "--address", address, patient)
    built: str = request.getfixturevalue("cpp")
    return lambda address: (built, str(ADA), AS_OF, "made-up-1", address)


def node_client() -> tuple[str, ...]:
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    if not NODE_MODULES.is_dir():
        pytest.skip("the Node client's libraries are not installed: npm install --prefix examples/node")
    return "node", str(EXAMPLES / "node" / "evaluate.js")


def shell_client(environment: dict[str, str]) -> tuple[str, ...]:
    for tool in ("buf", "jq"):
        if shutil.which(tool, path=environment["PATH"]) is None:
            pytest.skip(f"{tool} is not installed")
    return (str(EXAMPLES / "shell" / "evaluate.sh"),)


def test_python(said: str, decided: list[Decided]) -> None:
    assert has_every_decision(said, decided)
    assert "coverage by CAREFIRST: not covered" in said
    assert re.search(r"^       The patient takes .*: opioid\. .* \[US-ESK-INT-01\]$", said, re.MULTILINE)


def test_node(ask: Ask, address: str, said: str) -> None:
    answer = ask(*node_client(), *PATIENTS, "--address", address)

    assert (answer.returncode, answer.stderr, answer.stdout) == (0, "", said)


def test_shell(ask: Ask, environment: dict[str, str], address: str, said: str) -> None:
    answer = ask(*shell_client(environment), "--address", address, *PATIENTS)

    assert (answer.returncode, answer.stderr, answer.stdout) == (0, "", said)


def test_cpp(ask: Ask, cpp: str, address: str) -> None:
    answer = ask(cpp, str(ADA), AS_OF, "made-up-1", address)

    assert (answer.returncode, answer.stderr) == (0, "")
    lines = answer.stdout.splitlines()
    assert lines[0] == "suicide risk: low (provisional)"
    assert [line.partition(":")[0] for line in lines[1:4]] == ["rule out now"] * 3
    assert lines[4].startswith("1. Conventional care: ELIGIBLE. ")
    assert lines[5].startswith("2. Esketamine nasal spray: INSUFFICIENT DATA. ")
    assert "read: sbp_mmHg = 148" in lines
    assert "to confirm: episode_start_date: 2025-09-01 (the onset may be the first one in life)" in lines
    assert any(line.startswith("to confirm: concomitant_oral_ad: yes (it is taken now;") for line in lines)

    refused = ask(cpp, str(EXAMPLES / "cpp" / "Makefile"), AS_OF, "made-up-1", address)
    assert refused.returncode == 1
    assert refused.stderr.startswith("no decision (3): the request has 1 invalid field")


def test_an_answer_that_was_lost_is_asked_for_again_and_is_the_first_one(
    client: Client, ask: Ask, address: str
) -> None:
    with lossy_proxy(address) as proxy:
        answer = ask(*client(proxy.address))

    assert answer.returncode == 0, answer.stderr
    assert len(proxy.requests) == 2
    assert proxy.requests[0] == proxy.requests[1]
    assert proxy.answers[0] == proxy.answers[1]
    kind = service_pb2.EvaluateFhirRequest if b"resourceType" in proxy.requests[0] else service_pb2.EvaluateRequest
    request = kind.FromString(proxy.requests[0])
    assert str(uuid.UUID(request.request_id)) == request.request_id
    assert (request.patient_reference, request.purpose) == ("made-up-1", service_pb2.PURPOSE_TEST)


def test_where_no_server_is_a_line_says_so(client: Client, ask: Ask, nobody: str) -> None:
    answer = ask(*client(nobody))

    assert (answer.returncode, answer.stdout) == (1, "")
    assert re.fullmatch(rf"({nobody}|no decision \(14\)): .+\n", answer.stderr)


@pytest.fixture
def nobody() -> Iterator[str]:
    """Give an address at which nothing listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def test_a_refused_patient_is_told_and_the_next_one_is_asked(ask: Ask, address: str, tmp_path: Path) -> None:
    patient = {"id": "a", "payer_id": "NOBODY", "jurisdiction": "US", "as_of": "2025-06-02", "facts": {"age_years": 44}}
    file = tmp_path / "patients.jsonl"
    file.write_text("\n".join(json.dumps({**patient, **c}) for c in ({}, {"id": "b", "payer_id": None})))

    answer = ask(*PYTHON, str(file), "--address", address)

    assert answer.returncode == 1
    assert answer.stderr.startswith("\na: INVALID_ARGUMENT: ")
    assert answer.stdout.startswith("\nb  ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-file",),
        (PATIENTS[0], "--token-file", str(ADA)),
        (PATIENTS[0], "--ca", str(ADA), "--key", str(ADA)),
        (*PATIENTS, "--receipt", "receipt"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_asked(arguments: tuple[str, ...], ask: Ask) -> None:
    answer = ask(*PYTHON, *arguments)

    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.splitlines()[-1].startswith("evaluate.py: error: ")


def test_the_local_pack_changes_the_answer_as_its_page_says(rules: Path) -> None:
    pack = EXAMPLES / "local-pack"
    told = {name: [without, with_pack] for name, without, with_pack in ROW.findall((pack / "README.md").read_text())}
    told.pop("option")

    found: dict[str, list[str]] = {}
    referrals: list[list[str]] = []
    for overlays in ([], [pack]):
        evaluator = Evaluator(load_rules(rules, overlays), "both")
        (outcome,) = decide([str(EXAMPLES / "local-pack-patient.json")], evaluator)
        assert isinstance(outcome, Decided)
        for option in outcome.decision.options:
            found.setdefault(option.title, []).append(option.status.replace("_", " "))
        referrals.append([one.urgency for one in outcome.decision.referrals if one.state == "required"])

    assert found == told
    assert referrals == [[], ["same_day"]]


def test_of_superseded_values_a_reading_says_nothing(ask: Ask, rules: Path) -> None:
    record = ADA.read_text(encoding="utf-8")
    superseded = ("Observation/phq9-old", "Observation/bp-before", "15.68")

    answer = ask(sys.executable, "-m", "server.command", "fhir", str(ADA), "--as-of", AS_OF, "--rules", str(rules))

    assert (answer.returncode, answer.stderr) == (0, "")
    assert "Observation/phq9-new" in answer.stdout
    assert all(name.removeprefix("Observation/") in record for name in superseded)
    assert not [name for name in superseded if name in answer.stdout]
