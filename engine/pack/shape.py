"""What is wrong with the shape of an item of a rule file, in the words of its author rather than of the library."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from engine.names import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

    from engine.errors import Diagnostic
    from engine.pack.source import Path, Source

Words: TypeAlias = tuple[str, str]
"""What is wrong, and what to write instead."""

_LONGEST = 40
_OF_KEY = "[key]"
"""With what the library ends the path of a key of a mapping that is wrong itself."""
_QUOTED = re.compile(r"'([^']*)'")
WRITTEN: Mapping[str, str] = {
    r"^[A-Z][A-Z0-9]*(-[A-Z0-9]+)+$": "capitals and digits in parts joined by `-`, such as US-ESK-WP-09",
    r"^[a-z][a-z0-9_]*$": "small letters, digits and `_`, such as dx_is_mdd",
    r"^[a-z][a-z0-9-]*$": "small letters, digits and `-`, such as payer-acme",
    r"^\d+\.\d+\.\d+$": "three numbers, such as 1.0.0",
    r"^([A-Z][A-Z0-9_]*)?$": "capitals, digits and `_`, such as ACME",
}
"""How a text is written that has to match a pattern of engine.pack.model."""
_KINDS: Mapping[str, Words] = {
    "string_type": ("a text", "put a number or a date in quotes; a text is not left empty"),
    "tuple_type": ("a list", "write [A, B], or one item on each line after `- `"),
    "list_type": ("a list", "write [A, B], or one item on each line after `- `"),
    "dict_type": ("a mapping", "write {KEY: VALUE}"),
    "mapping_type": ("a mapping", "write {KEY: VALUE}"),
    "model_type": ("a mapping", "write {KEY: VALUE}"),
    "bool_type": ("true or false", "write true or false"),
    "bool_parsing": ("true or false", "write true or false"),
    "int_type": ("a whole number", "write a number such as 366"),
    "int_parsing": ("a whole number", "write a number such as 366"),
    "int_from_float": ("a whole number", "write a number such as 366"),
    "decimal_type": ("a number", "write a number such as 140 or 0.5"),
    "decimal_parsing": ("a number", "write a number such as 140 or 0.5"),
    "date_type": ("a day", "write a day such as 2019-03-05"),
    "date_parsing": ("a day", "write a day such as 2019-03-05"),
    "date_from_datetime_parsing": ("a day", "write a day such as 2019-03-05"),
    "date_from_datetime_inexact": ("a day", "write a day such as 2019-03-05"),
}
"""What a value must be, and what to write; a value that may have several shapes is told all of them."""


def shape_faults(
    kind: type[BaseModel], source: Source, path: Path, details: Iterable[ErrorDetails]
) -> Iterator[Diagnostic]:
    """Give the faults of one item: what the library found, in words, at its place.

    Args:
        kind: the model that the item does not fit.
        source: the file.
        path: where the item stands in it.
        details: what was found. That a list is too short because its only item is wrong is left out.

    """
    found = list(details)
    inside = {d["loc"][:i] for d in found for i in range(len(d["loc"]))}
    kinds: dict[Path, list[Words]] = {}
    for detail in found:
        if detail["type"] in _KINDS:
            kinds.setdefault(_real(source, path, detail["loc"]), []).append(_KINDS[detail["type"]])
        elif not (detail["type"] == "too_short" and detail["loc"] in inside):
            yield _fault(kind, source, path, detail)
    for place, each in kinds.items():
        wanted = " or ".join(dict.fromkeys(what for what, _ in each))
        yield source.fault((*path, *place), "pack/shape", f"{_about(path, place)} must be {wanted}", each[0][1])


def _fault(kind: type[BaseModel], source: Source, path: Path, detail: ErrorDetails) -> Diagnostic:
    place = (*path, *detail["loc"])
    last = str(place[-1]) if place else ""
    match detail["type"]:
        case "extra_forbidden":
            keys = [f.alias or name for name, f in kind.model_fields.items()]
            return source.fault(place, "pack/unknown-key", f"`{last}` is not a key here{nearest(last, keys)}")
        case "missing":
            return source.fault(place, "pack/missing-key", f"`{last}` is missing")
        case "value_error":
            return source.fault(place, "pack/shape", detail["msg"].removeprefix("Value error, "))
        case _:
            message, hint = _words(detail, _about(path, _real(source, path, detail["loc"])))
            return source.fault(place, "pack/shape", message, hint)


def _real(source: Source, path: Path, inside: Path) -> Path:
    """Give what stands in the file of a path; the library adds to it which of several shapes it tried."""
    if inside[-1:] == (_OF_KEY,):
        return inside
    while len(inside) > 1 and (*path, *inside) not in source.places:
        inside = inside[:-1]
    return inside


def _about(path: Path, inside: Path) -> str:
    """Name the key whose value is wrong, or the key that is wrong itself."""
    if inside[-1:] == (_OF_KEY,):
        return f"the key `{inside[-2]}`"
    key = next((part for part in reversed((*path, *inside)) if isinstance(part, str)), "")
    return f"`{key}`" if key else "this"


def _words(detail: ErrorDetails, about: str) -> Words:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "literal_error":
            values = _QUOTED.findall(context["expected"])
            close = nearest(str(detail["input"]), values)
            return f"{_shown(detail)} is no value of {about}{close}", f"its values are {', '.join(values)}"
        case "string_pattern_mismatch":
            pattern = context["pattern"]
            return f"{_shown(detail)} is no {about}", f"write {WRITTEN.get(pattern, f'what matches {pattern}')}"
        case "too_short":
            return f"{about} is empty", "give at least one"
        case "string_too_long":
            return f"{about} is longer than {context['max_length']} characters", "say it shorter"
        case _:
            return f"{about}: {detail['msg'][:1].lower()}{detail['msg'][1:]}", ""


def _shown(detail: ErrorDetails) -> str:
    text = "nothing" if detail["input"] is None else str(detail["input"])
    return f"`{text[:_LONGEST]}…`" if len(text) > _LONGEST else f"`{text}`"
