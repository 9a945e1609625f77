"""What the README and the guide to the examples show can be done as they show it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = tuple(ROOT / name for name in ("README.md", "examples/README.md", "examples/local-pack/README.md"))
BLOCK = re.compile(r"^```(?:sh)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLE_FILE = re.compile(r"\bexamples/[\w./-]+\w")
OUR_COMMANDS = {"evaluate", "explain", "cases", "fhir"}
FINAL_OR_PROVISIONAL = {0, 4}


def shown() -> list[str]:
    """Give the `eligibility` commands of the documents that need no server and no other tool."""
    blocks = (block for document in DOCUMENTS for block in BLOCK.findall(document.read_text()))
    lines = (line.split("#")[0].strip() for block in blocks for line in block.splitlines())
    found = (re.sub(r"^\S*eligibility ", "", line) for line in lines if re.match(r"(\S*/)?eligibility ", line))
    return sorted({line for line in found if line.split()[0] in OUR_COMMANDS})


def test_the_demo_shows_every_patient_and_ends_in_order(rules: Path, environment: dict[str, str]) -> None:
    run = subprocess.run(
        [ROOT / "examples" / "demo" / "run"],
        env={**environment, "ELIGIBILITY_RULES": str(rules)},
        cwd=ROOT.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )

    assert (run.returncode, run.stderr) == (0, "")
    assert "The server stopped with exit code 0.\n" in run.stdout
    assert run.stdout.count("Decision support for a licensed clinician") == 11
    assert re.search(r"good: \d+ entries, .* 0 faults", run.stdout)
    assert "11 MATCH" in run.stdout
    changed = re.search(r"one bit of entry (\d+) is changed", run.stdout)
    assert changed
    assert f"tampered: index {changed[1]}: " in run.stdout


def test_the_demo_says_why_the_server_does_not_start(tmp_path: Path, environment: dict[str, str]) -> None:
    run = subprocess.run(
        [ROOT / "examples" / "demo" / "run"],
        env={**environment, "ELIGIBILITY_RULES": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert run.returncode == 1
    assert "there is no data dictionary here" in run.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_shown_exist(document: Path) -> None:
    missing = [path for path in EXAMPLE_FILE.findall(document.read_text()) if not (ROOT / path).exists()]

    assert not missing


def test_the_documents_show_how_to_call_us() -> None:
    assert {command.split()[0] for command in shown()} == OUR_COMMANDS


@pytest.mark.parametrize("command", shown())
def test_commands_that_are_shown_work(command: str, rules: Path, environment: dict[str, str], tmp_path: Path) -> None:
    words = [str(ROOT / word) if word.startswith("examples/") else word for word in shlex.split(command)]
    if "FILE" in words:
        words[words.index("FILE")] = str(ROOT / "examples" / "patients")

    run = subprocess.run(
        [sys.executable, "-m", "server.command", *words],
        env={**environment, "ELIGIBILITY_RULES": str(rules)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert run.returncode in FINAL_OR_PROVISIONAL, run.stderr
    assert not run.stderr


def test_the_examples_can_be_run() -> None:
    for script in ("demo/run", "shell/evaluate.sh"):
        assert os.access(ROOT / "examples" / script, os.X_OK), script
