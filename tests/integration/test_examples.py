"""Each example client gets every patient's decision from a real server, and prints what the engine says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.cli.panel import Decided, decide, expand
from engine.evaluator.agree import Evaluator
from engine.pack.load import load_rules

Ask = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PATIENTS = expand([str(EXAMPLES / "patients")])
NODE_MODULES = EXAMPLES / "node" / "node_modules"


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


def test_python(ask: Ask, address: str, decided: list[Decided]) -> None:
    answer = ask(sys.executable, str(EXAMPLES / "python" / "evaluate.py"), *PATIENTS, "--address", address)

    assert (answer.returncode, answer.stderr) == (0, "")
    assert has_every_decision(answer.stdout, decided)


def test_node(ask: Ask, address: str, decided: list[Decided]) -> None:
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    if not NODE_MODULES.is_dir():
        pytest.skip("the Node client's libraries are not installed: npm install --prefix examples/node")

    answer = ask("node", str(EXAMPLES / "node" / "evaluate.js"), *PATIENTS, "--address", address)

    assert (answer.returncode, answer.stderr) == (0, "")
    assert has_every_decision(answer.stdout, decided)


def test_shell(ask: Ask, environment: dict[str, str], address: str, decided: list[Decided]) -> None:
    for tool in ("buf", "jq"):
        if shutil.which(tool, path=environment["PATH"]) is None:
            pytest.skip(f"{tool} is not installed")

    answer = ask(str(EXAMPLES / "shell" / "evaluate.sh"), "--address", address, *PATIENTS)

    assert (answer.returncode, answer.stderr) == (0, "")
    assert has_every_decision(answer.stdout, decided)


def test_cpp(ask: Ask, environment: dict[str, str], address: str, tmp_path: Path) -> None:
    for tool in ("g++", "make", "protoc", "grpc_cpp_plugin", "pkg-config"):
        if shutil.which(tool, path=environment["PATH"]) is None:
            pytest.skip(f"{tool} is not installed")
    source, record = EXAMPLES / "cpp", EXAMPLES / "fhir" / "ada.json"
    made = ask("make", "-C", str(source), f"BUILD={tmp_path}")
    assert made.returncode == 0, made.stderr

    answer = ask(str(tmp_path / "evaluate_fhir"), str(record), "2026-05-12", address)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "read: sbp_mmHg = 148\n" in answer.stdout
    assert "to confirm: episode_start_date (the onset may be the first one in life)\n" in answer.stdout
    assert "Esketamine nasal spray: INSUFFICIENT DATA." in answer.stdout

    refused = ask(str(tmp_path / "evaluate_fhir"), str(source / "Makefile"), "2026-05-12", address)
    assert refused.returncode == 1
    assert refused.stderr.startswith("no decision (3): the request has 1 invalid field")


def test_a_refused_patient_is_told_and_the_next_one_is_asked(ask: Ask, address: str, tmp_path: Path) -> None:
    patient = {"id": "a", "payer_id": "NOBODY", "jurisdiction": "US", "as_of": "2025-06-02", "facts": {"age_years": 44}}
    file = tmp_path / "patients.jsonl"
    file.write_text("\n".join(json.dumps({**patient, **c}) for c in ({}, {"id": "b", "payer_id": None})))

    answer = ask(sys.executable, str(EXAMPLES / "python" / "evaluate.py"), str(file), "--address", address)

    assert answer.returncode == 1
    assert answer.stderr.startswith("\na: INVALID_ARGUMENT: ")
    assert answer.stdout.startswith("\nb  ")
