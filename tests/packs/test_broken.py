"""One broken pack per way to be wrong: the check names the fault at its place, and only what follows from it.

`broken/` lists them as changes to the tiny pack in `good/`; `at` is what stands in the line that the fault names.
"""

from __future__ import annotations

import re
import shutil
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from ruamel.yaml import YAML

from engine.evaluator.inspection import inspect_rules

pytestmark = pytest.mark.long

HERE = Path(__file__).parent
ENGINE = HERE.parents[1] / "engine"
TODAY = date(2026, 2, 1)

Change: TypeAlias = dict[str, str] | None
"""What happens to a file: `replace` and `by`, new `text`, other bytes (`hex`), a `copy` of another; None removes it."""

RULES, DERIVED, PARAMETERS = "tiny/spray/rules.yaml", "tiny/derived.yaml", "tiny/parameters.yaml"
SHOWN_ELSEWHERE = {
    "pack/canonical": "tests/unit/test_digest.py",
    "pack/lock": "tests/packs/test_lock.py",
    "pack/not-locked": "tests/packs/test_lock.py",
    "pack/too-large": "tests/unit/test_source.py",
    "lint/stale-parameter": "a warning, below",
    "lint/unused-parameter": "a warning, below",
    "local/conflict": "tests/unit/test_local_packs.py",
    "local/unreadable": "tests/unit/test_overlay.py",
}


def _read(name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = YAML(typ="safe").load(HERE / "broken" / f"{name}.yaml")
    return entries


BROKEN = [each for name in ("shapes", "conditions", "replacing", "lint", "cases", "local") for each in _read(name)]


def write(folder: Path, changes: dict[str, Change]) -> Path:
    """Write the good rules with some changes."""
    rules = folder / "rules"
    shutil.copytree(HERE / "good", rules)
    for file, change in changes.items():
        path = rules / file
        path.parent.mkdir(parents=True, exist_ok=True)
        match change:
            case None:
                path.unlink()
            case {"hex": content}:
                path.write_bytes(bytes.fromhex(content))
            case {"copy": other}:
                shutil.copy(rules / other, path)
            case {"text": text}:
                path.write_text(text, encoding="utf-8")
            case {"replace": old, "by": new}:
                text = path.read_text(encoding="utf-8")
                assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
                path.write_text(text.replace(old, new), encoding="utf-8")
            case _:
                pytest.fail(f"no such change: {change}")
    return rules


def swap(old: str, new: str) -> Change:
    return {"replace": old, "by": new}


@pytest.mark.parametrize("broken", [pytest.param(each, id=each["name"]) for each in BROKEN])
def test_a_broken_pack_is_refused_with_its_fault_at_its_place(broken: dict[str, Any], tmp_path: Path) -> None:
    rules = write(tmp_path, broken["changes"])
    found = inspect_rules(rules, TODAY, is_locked=False)
    mine = [f for f in found.faults if f.code == broken["code"]]
    assert any(broken["words"] in f"{f.message}; {f.hint}" for f in mine), list(map(str, found.faults))
    assert any(f.file == broken["file"] for f in mine), list(map(str, mine))
    if "at" in broken:
        lines = [(rules / f.file).read_text(encoding="utf-8").splitlines()[f.line - 1] for f in mine]
        assert any(broken["at"] in line for line in lines), lines
    expected = {broken["code"], *broken.get("also", ())}
    assert {f.code for f in found.faults} == expected, list(map(str, found.faults))
    assert all(f.line >= 1 and f.column >= 1 for f in found.faults)


def test_every_code_of_loader_compiler_and_check_has_a_broken_pack() -> None:
    sources = [*ENGINE.glob("pack/*.py"), *ENGINE.glob("compiler/*.py"), *ENGINE.glob("evaluator/*.py")]
    code = re.compile(r'"((?:pack|lint|cases|local)/[a-z-]+)"')
    given = {c for path in sources for c in code.findall(path.read_text(encoding="utf-8"))}
    assert given == {each["code"] for each in BROKEN if not each["code"].startswith("chain/")} | SHOWN_ELSEWHERE.keys()


def test_all_faults_come_at_once_and_sorted(tmp_path: Path) -> None:
    changes = {
        RULES: swap("age_years >= 18 a", "age_years >= 18"),
        DERIVED: swap("10-20: high", "9-20: high"),
        "tiny/pack.yaml": swap("last_review_date: 2026-01-01", "last_review_date: 2024-01-01"),
        "tiny/options.yaml": swap("within_group: [spray, care]", "within_group: [spray]"),
    }
    found = inspect_rules(write(tmp_path, changes), TODAY, is_locked=False)
    assert [f.code for f in found.faults] == ["pack/type", "lint/unknown-id", "lint/review-overdue", "pack/type"]
    assert found.faults == sorted(found.faults)


def test_a_fault_of_shape_does_not_hide_a_fault_of_type(tmp_path: Path) -> None:
    changes = {
        RULES: swap("age_years >= 18 a", "age_years >= 18"),
        "tiny/triage.yaml": swap("  strength: test", "  strenght: test"),
    }
    found = inspect_rules(write(tmp_path, changes), TODAY, is_locked=False)
    assert {f.code for f in found.faults} == {"pack/type", "pack/unknown-key", "pack/missing-key"}


OTHER = """other_limit:
  label: other
  values: {2020-01-01: 1}
  still_valid_on: 2026-01-01
  references: [{source: book}]

pressure_limit:"""


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("pressure_limit:", OTHER, "lint/unused-parameter"),
        ("140}\n  still_valid_on: 2026-01-01", "140}\n  still_valid_on: 2024-01-01", "lint/stale-parameter"),
    ],
)
def test_a_warning_does_not_refuse(old: str, new: str, code: str, tmp_path: Path) -> None:
    found = inspect_rules(write(tmp_path, {PARAMETERS: swap(old, new)}), TODAY, is_locked=False)
    assert not found.faults
    assert {w.code for w in found.warnings} == {code}
