"""`eligibility fhir`, and `eligibility evaluate --fhir`: records of files, folders and exports."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from engine.cli.root import root
from tests.unit.fhir_record import BOOK, ROOT, Json, bundle, concept, condition, patient, pressure, request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., Result]

RULES = ("--rules", str(ROOT / "rules"), "--unlocked")
AS_OF = ("--as-of", "2025-06-02")
WHERE = (*AS_OF, "--jurisdiction", "US", "--engines", "interpret")
RECORD = bundle(
    patient(),
    condition("d", concept("icd F33.1")),
    condition("t", concept(text="Depression")),
    pressure("b", 131.3, 84),
    request("r", concept("rx 312938")),
)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Give a function that runs the command; the rules are loaded once for all of them."""
    monkeypatch.setattr("engine.pack.load.load_rules", lambda *_folders, **_options: BOOK)

    def call(*arguments: str, text: str = "") -> Result:
        return CliRunner().invoke(root, [*arguments, *RULES], input=text)

    return call


def write(folder: Path, name: str, *documents: Json) -> str:
    path = folder / name
    path.write_text("".join(f"{json.dumps(each)}\n" for each in documents), encoding="utf-8")
    return str(path)


def test_a_reading_is_shown_to_people(run: Run, tmp_path: Path) -> None:
    done = run("fhir", write(tmp_path, "r.json", RECORD), *AS_OF)

    assert done.exit_code == 0, done.output
    assert "Patient p1, as of 2025-06-02" in done.output
    assert "systolic blood pressure: 131 mmHg, written as 131.3 (2025-06-02; Observation/b;" in done.output
    assert "trial of sertraline: from 2025-03-01, still taken, cannot tell; missing: highest daily dose" in done.output
    assert "oral antidepressant alongside esketamine: yes: it is taken now; whether it goes on" in done.output
    assert "no daily dose in mg is recorded; unusable [fhir/dose-missing]" in " ".join(done.output.split())


def test_a_reading_is_a_line_of_json(run: Run) -> None:
    done = run("fhir", "-", *AS_OF, "--format", "json", text=json.dumps(RECORD))
    plain: Any = json.loads(done.output)

    assert plain["facts"]["sbp_mmHg"]["value"] == 131
    assert plain["patient"] == "p1"


def test_the_patient_may_be_chosen(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, "r.json", bundle(patient(), {**patient(), "id": "p2"}))

    assert [json.loads(x)["patient"] for x in run("fhir", path, *AS_OF, "--format", "json").output.splitlines()] == [
        "p1",
        "p2",
    ]
    assert json.loads(run("fhir", path, *AS_OF, "--patient", "p2", "--format", "json").output)["patient"] == "p2"
    missing = run("fhir", path, *AS_OF, "--patient", "p3")
    assert (missing.exit_code, "does not name this patient" in missing.output) == (1, True)


@pytest.mark.parametrize(("text", "words"), [("{", "is not JSON"), ("{}", "names no patient"), ("", "is empty")])
def test_what_cannot_be_read_is_said(run: Run, text: str, words: str) -> None:
    done = run("fhir", "-", *AS_OF, text=text)

    assert (done.exit_code, words in done.output) == (1, True)


def test_a_record_is_evaluated_and_told_first(run: Run, tmp_path: Path) -> None:
    done = run("evaluate", "--fhir", write(tmp_path, "r.json", RECORD), *WHERE)

    assert done.exit_code == 4, done.output
    assert done.output.index("Patient p1, as of") < done.output.index("Suicide risk:")


def test_a_folder_of_ndjson_is_one_export_and_json_files_stand_alone(run: Run, tmp_path: Path) -> None:
    other = {"subject": {"reference": "Patient/p2"}}
    write(tmp_path, "Patient.ndjson", patient(), {**patient(), "id": "p2"})
    write(tmp_path, "Observation.ndjson", pressure("a", 131, 84), {**pressure("b", 190, 120), **other})
    write(tmp_path, "alone.json", bundle({**patient(), "id": "p3"}))
    done = run("evaluate", "--fhir", str(tmp_path), *WHERE, "--format", "json")
    decided: Any = [json.loads(line) for line in done.output.splitlines()]

    assert [each["id"] for each in decided] == ["p3", "p1", "p2"]
    shown = [run("fhir", str(tmp_path), *AS_OF, "--patient", who, "--format", "json").stdout for who in ("p1", "p2")]
    values = [json.loads(text.splitlines()[-1])["facts"]["sbp_mmHg"]["value"] for text in shown]
    assert values == [131, 190]


def test_somebody_who_has_died_is_not_evaluated_and_stops_nobody_else(run: Run, tmp_path: Path) -> None:
    dead = write(tmp_path, "a.json", bundle(patient(deceasedDateTime="2025-01-01")))
    alive = write(tmp_path, "b.json", bundle({**patient(), "id": "p2"}))
    done = run("evaluate", "--fhir", dead, alive, *WHERE, "--format", "json")

    assert done.exit_code == 1
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["p2"]
    assert "the patient had died by the day of the evaluation" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--fhir", "-", *AS_OF), "--fhir needs --jurisdiction and --as-of"),
        (("--fhir", "-", *AS_OF, "--jurisdiction", "XX"), "--jurisdiction must be one of"),
        (("--fhir", "-", *AS_OF, "--jurisdiction", "US", "--payer", "XX"), "--payer must be one of"),
        (("--fhir", "nowhere.json", *WHERE), "does not exist"),
        (("-", *AS_OF), "belong to --fhir"),
    ],
)
def test_wrong_usage(run: Run, arguments: tuple[str, ...], words: str) -> None:
    done = run("evaluate", *arguments, text="{}")

    assert (done.exit_code, words in done.output) == (2, True), done.output
