"""JSON Schemas of the rule files, made from the models that read them, for editors that check as one types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from pydantic import TypeAdapter

from engine.dictionary import Dictionary
from engine.pack import model

Schema: TypeAlias = dict[str, Any]

_FILES: Mapping[str, TypeAdapter[Any]] = {
    "facts": TypeAdapter(Dictionary),
    "pack": TypeAdapter(model.PackHeader),
    "options": TypeAdapter(model.Options),
    "references": TypeAdapter(Mapping[str, model.Reference]),
    "parameters": TypeAdapter(Mapping[str, model.Parameter]),
    "derived": TypeAdapter(tuple[model.Derived, ...]),
    "criteria": TypeAdapter(tuple[model.Criterion, ...]),
    "triage": TypeAdapter(model.Triage),
    "referrals": TypeAdapter(model.Referrals),
    "cases": TypeAdapter(tuple[model.CriterionCases, ...] | model.CaseFile),
}
_CONDITIONS = frozenset({"when", "unless", "given", "where", "conventional_first_when"})
_CONDITION: Schema = {
    "description": "`always`, one atom as text, or a tree: docs/rule-format.md, section 2.",
    "anyOf": [
        {"type": "string"},
        *(
            {
                "type": "object",
                "properties": {operator: operand},
                "required": [operator],
                "additionalProperties": False,
            }
            for operator, operand in {
                "all": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Condition"}},
                "any": {"type": ["array", "string"], "minItems": 1, "items": {"$ref": "#/$defs/Condition"}},
                "not": {"$ref": "#/$defs/Condition"},
                "at_least": {
                    "type": "object",
                    "properties": {
                        "n": {"type": "integer", "minimum": 1},
                        "of": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Condition"}},
                    },
                    "required": ["n", "of"],
                    "additionalProperties": False,
                },
            }.items()
        ),
    ],
}


def schemas() -> dict[str, Schema]:
    """Give the schema of each kind of rule file, by its name."""
    return {name: _schema(name, adapter) for name, adapter in _FILES.items()}


def _schema(name: str, adapter: TypeAdapter[Any]) -> Schema:
    made: Schema = adapter.json_schema()
    definitions: Schema = made.setdefault("$defs", {})
    for each in (made, *definitions.values()):
        properties = each.get("properties", {})
        for key in properties.keys() & _CONDITIONS:
            properties[key] = {"$ref": "#/$defs/Condition"}
    if name == "cases":
        definitions["CaseFile"]["properties"]["cases"]["items"] = {"$ref": "#/$defs/CriterionCases"}
    definitions["Condition"] = _CONDITION
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"{name}.yaml", **made}
