"""What `eligibility compare --format json` prints is what docs/compare-output.schema.json says, keys in its order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from engine.cli.root import root

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "compare-output.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
COMPARE = ("compare", "--format", "json", "--engines", "interpret", "--rules", str(ROOT / "rules"), "--unlocked")
PATIENTS = ("01-clear-yes", "03-unknown", "05-misuse")


@pytest.fixture(scope="module")
def compared() -> list[dict[str, Any]]:
    files = [str(ROOT / "examples" / "patients" / f"{name}.json") for name in PATIENTS]
    result = CliRunner().invoke(root, [*COMPARE, *files, "--as-of", "2019..2026", "--jurisdictions", "US,EU,UK"])
    return [json.loads(line) for line in result.stdout.splitlines()]


def resolved(shape: dict[str, Any]) -> dict[str, Any]:
    shape = shape["allOf"][0] if "allOf" in shape else shape
    return resolved(SCHEMA["$defs"][shape["$ref"].rpartition("/")[2]]) if "$ref" in shape else shape


def check_order(shape: dict[str, Any], value: object) -> None:
    """Check that the keys of every object stand as the schema orders them."""
    shape = resolved(shape)
    if isinstance(value, list):
        for item in value:
            check_order(shape["items"], item)
    elif isinstance(value, dict):
        assert list(value) == list(shape["properties"])
        for key, inner in value.items():
            check_order(shape["properties"][key], inner)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_line_fits_the_schema_and_its_order(compared: list[dict[str, Any]]) -> None:
    assert len(compared) == len(PATIENTS)
    for line in compared:
        VALIDATOR.validate(line)
        check_order(SCHEMA, line)
        assert line["changes"]
        assert line["differences"]


def test_the_schema_refuses_what_the_comparison_does_not_have(compared: list[dict[str, Any]]) -> None:
    line = compared[0]
    turned = {**line["changes"][0], "criteria": [{**line["differences"][0]["criteria"][0], "decides": ["US"]}]}

    for wrong in (
        {**line, "more": 1},
        {**line, "as_of": "today"},
        {**line, "changes": [turned]},
        {key: value for key, value in line.items() if key != "base"},
    ):
        assert not VALIDATOR.is_valid(wrong)
