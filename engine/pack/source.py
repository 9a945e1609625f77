"""YAML texts as plain data with the place of every value, so that each fault can be shown where it stands.

YAML 1.2: `no`, `on` and `yes` are text; a repeated key is a fault; dates become `datetime.date`; aliases are allowed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from engine.errors import Diagnostic

Plain: TypeAlias = "bool | int | Decimal | str | date | list[Plain] | dict[str, Plain] | None"
Path: TypeAlias = tuple[str | int, ...]

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"-?[0-9]+\.[0-9]+")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_BOOLEANS = {"true": True, "false": False}
_NULLS = {"", "null", "~"}
_NODE_LIMIT = 200_000
_DEPTH_LIMIT = 40
_LONGEST_INTEGER = 20


@dataclass
class Source:
    """One YAML text: its data, the place (line and column from 1) of each value by path, and what is wrong with it."""

    file: str
    data: Plain = None
    places: dict[Path, tuple[int, int]] = field(default_factory=dict)
    faults: list[Diagnostic] = field(default_factory=list)

    def place(self, path: Path) -> tuple[int, int]:
        """Give the place of the value at `path`, or of the nearest value around it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, (1, 1))

    def fault(self, path: Path, code: str, message: str, hint: str = "") -> Diagnostic:
        """Make a diagnostic about the value at `path`."""
        line, column = self.place(path)
        return Diagnostic(self.file, line, column, code, message, hint)


def read_source(file: str, text: str) -> Source:
    """Read one YAML text; what cannot be read is left out of the data and listed in `faults`."""
    source = Source(file)
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = (error.problem or "cannot be read").replace("\n", " ")
        source.faults.append(Diagnostic(file, line, column, "pack/yaml", f"this is not YAML: {problem}"))
        return source
    except YAMLError:
        source.faults.append(Diagnostic(file, 1, 1, "pack/yaml", "this is not YAML"))
        return source
    except RecursionError:
        source.faults.append(Diagnostic(file, 1, 1, "pack/too-deep", "values are nested too deeply"))
        return source
    if root is not None:
        source.data = _Builder(source).build(root, ())
    return source


class _Builder:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.count = 0

    def build(self, node: Node, path: Path) -> Plain:
        self.count += 1
        self.source.places.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
        if self.count > _NODE_LIMIT:
            if self.count == _NODE_LIMIT + 1:
                self.source.faults.append(self.source.fault(path, "pack/too-large", "too many values in one file"))
            return None
        if len(path) > _DEPTH_LIMIT:
            self.source.faults.append(self.source.fault(path, "pack/too-deep", "values are nested too deeply"))
            return None
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.build(item, (*path, position)) for position, item in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        return None

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Plain]:
        result: dict[str, Plain] = {}
        for key_node, value_node in node.value:
            here = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if not isinstance(key_node, ScalarNode):
                self._fault(here, "pack/key", "a key must be one word")
                continue
            key: str = key_node.value
            if key in result:
                self._fault(here, "pack/duplicate-key", f"`{key}` is given twice", "keep one of them")
                continue
            self.source.places[(*path, key)] = here
            result[key] = self.build(value_node, (*path, key))
        return result

    def _scalar(self, node: ScalarNode, path: Path) -> Plain:
        text: str = node.value
        if node.style in {'"', "'", "|", ">"}:
            return text
        if text in _NULLS:
            return None
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        if _INTEGER.fullmatch(text):
            return int(text) if len(text) < _LONGEST_INTEGER else text
        if _DECIMAL.fullmatch(text):
            return Decimal(text)
        if _DATE.fullmatch(text):
            try:
                return date.fromisoformat(text)
            except ValueError:
                self.source.faults.append(self.source.fault(path, "pack/date", f"`{text}` is not a day that exists"))
                return None
        return text

    def _fault(self, place: tuple[int, int], code: str, message: str, hint: str = "") -> None:
        self.source.faults.append(Diagnostic(self.source.file, *place, code, message, hint))
