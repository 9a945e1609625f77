"""The national rules and random ones, with every number that they write out made a dated parameter.

The real packs name few numbers, and those stand in simple places; these stand wherever a condition compares.
"""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

from tests.property.random_rules import RandomRules

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from engine.dictionary import FactDefinition
    from engine.pack.book import RuleBook

PACKS = ("shared", "us", "eu", "uk", "ca", "va")
SECOND_DAY = "2023-01-01"
"""The day on which every other number becomes greater by one."""

_ATOM = re.compile(r"\b([a-z][A-Za-z0-9_]*) (<=|>=|<|>) (\d+(?:\.\d+)?)(?: [A-Za-z%][A-Za-z0-9/]*|(?=[],}\"\n]))")


def write_numbered(rules: Path, folder: Path, book: RuleBook, rng: Random) -> Path:
    """Write the rules anew into a folder, with random ones among those that hold everywhere."""
    shutil.copytree(rules, folder)
    for name, content in RandomRules(rng).files.items():
        (folder / "shared" / name).write_text(json.dumps(content), encoding="utf-8")
    definitions = {**book.facts, **book.fields["trials"]}
    parameters: dict[str, object] = {}

    def named(atom: re.Match[str]) -> str:
        fact, operator, number = atom.groups()
        definition = definitions.get(fact)
        if definition is None or definition.type not in {"int", "decimal"}:
            return atom[0]
        name = f"n{len(parameters)}_{fact.lower()}"
        parameters[name] = _parameter(definition, number, is_changing=len(parameters) % 2 == 0)
        return f"{fact} {operator} ${name}"

    for path in sorted(file for pack in PACKS for file in (folder / pack).rglob("*.yaml")):
        if not path.name.endswith(".cases.yaml"):
            path.write_text(_ATOM.sub(named, path.read_text(encoding="utf-8")), encoding="utf-8")
    (folder / "shared" / "parameters_numbered.yaml").write_text(json.dumps(parameters), encoding="utf-8")
    return folder


def _parameter(definition: FactDefinition, number: str, *, is_changing: bool) -> object:
    values = {"2017-03-01": number}
    if is_changing and "." not in number:
        values[SECOND_DAY] = str(int(number) + 1)
    return {
        "label": definition.label,
        "unit": definition.unit,
        "values": values,
        "still_valid_on": SECOND_DAY,
        "references": [{"source": "engine-decision"}],
    }
