"""The import contracts of pyproject.toml hold, and each of them fails once somebody breaks it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

VIOLATIONS = {
    "server-over-engine": ("engine.units", "import server.probe"),
    "engine-layers": ("engine.facts", "import engine.cli"),
    "engine-off-the-wire": ("engine.page", "import google.protobuf"),
    "two-engines": ("engine.evaluator.chain", "import engine.evaluator.interpret"),
    "offline-alone": ("engine.ledger.offline", "import engine.ledger.merkle"),
    "door-durable-rules": ("engine.evaluator.agree", "import durable_rules_engine"),
    "door-lark": ("engine.pack.load", "import lark"),
    "door-jinja2": ("engine.cli", "import jinja2"),
    "door-markdown": ("engine.page", "import markdown_it"),
    "door-apsw": ("engine.ledger.entry", "import apsw"),
    "door-psycopg": ("engine.ledger.entry", "import psycopg"),
    "door-httpx": ("server.app", "import httpx"),
    "door-stubs": ("server.config", "import server.pb.eligibility.v1.patient_pb2"),
}


def source(tree: Path, module: str) -> Path:
    path = tree.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def lint_imports(tree: Path, *only: str) -> subprocess.CompletedProcess[str]:
    limits = [argument for contract in only for argument in ("--contract", contract)]
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo", *limits],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("house")
    shutil.copy(ROOT / "pyproject.toml", copy)
    for package in ("engine", "server"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def test_every_contract_is_kept(tree: Path) -> None:
    run = lint_imports(tree)

    assert run.returncode == 0, run.stdout + run.stderr


def test_every_contract_has_its_violation() -> None:
    assert VIOLATIONS.keys() == {contract["id"] for contract in CONTRACTS}


def check_planted(tree: Path, contract: str, name: str, module: str, statement: str) -> None:
    """Check that a contract is broken once a module holds a statement."""
    path = source(tree, module)
    text = path.read_text()
    path.write_text(f"{text}\n{statement}\n")

    try:
        run = lint_imports(tree, contract)
    finally:
        path.write_text(text)

    assert run.returncode == 1, run.stdout + run.stderr
    assert f"{name} BROKEN" in " ".join(run.stdout.split()), run.stdout


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract["id"])
def test_a_planted_violation_is_seen(tree: Path, contract: dict[str, str]) -> None:
    check_planted(tree, contract["id"], contract["name"], *VIOLATIONS[contract["id"]])


@pytest.mark.parametrize(
    ("module", "statement"),
    [("engine.fhir.read", "import engine.evaluator.agree"), ("engine.evaluator.agree", "import engine.fhir.read")],
)
def test_reading_records_and_evaluating_are_strangers(tree: Path, module: str, statement: str) -> None:
    (name,) = (contract["name"] for contract in CONTRACTS if contract["id"] == "engine-layers")

    check_planted(tree, "engine-layers", name, module, statement)
