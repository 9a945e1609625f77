"""What `--format json` prints is what docs/case-output.schema.json says, keys in the order of the contract."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from engine.cli.output import decision_to_json
from engine.cli.panel import Decided, decide, expand
from engine.evaluator.agree import Evaluator
from tests.repository import repository_rules

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "case-output.schema.json").read_text())
VIGNETTES = ROOT.parent / "shared" / "clinical" / "vignettes.jsonl"
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return Evaluator(repository_rules(), "interpret")


def outputs(evaluator: Evaluator, path: Path, *, is_full: bool) -> list[dict[str, object]]:
    outcomes = decide(expand([str(path)]), evaluator, is_full=is_full)
    decided = [outcome for outcome in outcomes if isinstance(outcome, Decided)]
    return [decision_to_json(outcome.decision, outcome.case.id) for outcome in decided]


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("is_full", [False, True])
def test_every_example_fits_the_schema(evaluator: Evaluator, is_full: bool) -> None:  # noqa: FBT001 - a parameter of the test
    found = outputs(evaluator, ROOT / "examples" / "patients", is_full=is_full)

    assert len(found) == 11
    for output in found:
        VALIDATOR.validate(json.loads(json.dumps(output)))


def test_every_vignette_fits_the_schema(evaluator: Evaluator) -> None:
    if not VIGNETTES.is_file():
        pytest.skip("the vignettes are not here: ../shared is absent")
    found = outputs(evaluator, VIGNETTES, is_full=False)

    assert found
    for output in found:
        VALIDATOR.validate(json.loads(json.dumps(output)))


def test_keys_stand_in_the_order_of_the_schema(evaluator: Evaluator) -> None:
    (output,) = outputs(evaluator, ROOT / "examples" / "patients" / "05-misuse.json", is_full=False)
    definitions = SCHEMA["$defs"]

    assert list(output) == list(SCHEMA["properties"])
    option = output["options"][0]  # type: ignore[index]
    assert list(option) == list(definitions["option"]["properties"])
    assert list(option["criteria"][0]) == list(definitions["criterion"]["properties"])


def test_the_schema_refuses_what_the_contract_does_not_have(evaluator: Evaluator) -> None:
    (output,) = outputs(evaluator, ROOT / "examples" / "patients" / "01-clear-yes.json", is_full=False)

    for wrong in ({**output, "more": 1}, {**output, "as_of": "today"}, {k: v for k, v in output.items() if k != "id"}):
        assert not VALIDATOR.is_valid(wrong)
