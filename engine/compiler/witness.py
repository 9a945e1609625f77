"""The witnesses of a concept: each entry of `first_known`, read and typed against the concept's own values."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from engine.compiler import form

if TYPE_CHECKING:
    from engine.compiler.check import Symbol, Typing
    from engine.pack.model import Derived
    from engine.pack.source import Path


def read_witnesses(derived: Derived, typing: Typing) -> tuple[form.Source, ...]:
    """Read `first_known` and check `otherwise`; what is wrong is added to the faults of `typing` and left out."""
    if derived.otherwise is not None and not _says(derived, derived.otherwise):
        _wrong(typing, ("otherwise",), f"`{derived.otherwise}` is not a value of `{derived.id}`", _values(derived))
    read = (_witness(derived, raw, ("first_known", i), typing) for i, raw in enumerate(derived.first_known))
    return tuple(source for source in read if source is not None)


def _witness(derived: Derived, raw: object, path: Path, typing: Typing) -> form.Source | None:
    if isinstance(raw, str):
        symbol = typing.symbol(raw, path)
        if symbol is None:
            return None
        fits = set(symbol.values) <= set(derived.values) if symbol.kind == "enum" else symbol.kind == "truth"
        if not fits or bool(derived.values) != (symbol.kind == "enum"):
            message = f"`{raw}` does not speak in the values of `{derived.id}`"
            _wrong(typing, path, message, f"map it: {{{raw}: {{value: says}}}}")
            return None
        return form.Source(raw)
    if not isinstance(raw, Mapping) or len(raw) != 1:
        typing.faults.append(typing.located.fault("pack/shape", "a source is NAME or {NAME: {value: says}}", "", path))
        return None
    ((name, table),) = raw.items()
    symbol = typing.symbol(name, path)
    return None if symbol is None else form.Source(name, _mapping(derived, symbol, table, (*path, name), typing))


def _mapping(
    derived: Derived, symbol: Symbol, table: Mapping[str, bool | str], path: Path, typing: Typing
) -> tuple[tuple[form.Expression, bool | str], ...]:
    pairs: list[tuple[form.Expression, bool | str]] = []
    taken: dict[str, tuple[int, int]] = {}
    for key, says in table.items():
        place = (*path, key)
        if not _says(derived, says):
            _wrong(typing, place, f"`{says}` is not a value of `{derived.id}`", _values(derived))
            continue
        if symbol.kind != "number":
            guard = _guard(symbol, key)
            if guard is None:
                _wrong(typing, place, f"`{key}` is not a value of `{symbol.name}`", _keys(symbol))
            else:
                pairs.append((guard, says))
            continue
        band = _band(symbol, key)
        if band is None:
            _wrong(typing, place, f"`{key}` is not a range of `{symbol.name}`", _keys(symbol))
            continue
        other = next((k for k, (low, high) in taken.items() if low <= band[1] and band[0] <= high), None)
        if other is not None:
            _wrong(typing, place, f"`{key}` overlaps `{other}`", "let each number fall into one range")
            continue
        taken[key] = band
        low, high = (form.Compare(symbol.name, ">=", band[0]), form.Compare(symbol.name, "<=", band[1]))
        pairs.append((form.All((low, high)), says))
    return tuple(pairs)


def _guard(symbol: Symbol, key: str) -> form.Expression | None:
    """Read an enum's value, or true or false."""
    match symbol.kind:
        case "truth" if key in {"true", "false"}:
            holds = form.Holds(symbol.name)
            return holds if key == "true" else form.Not(holds)
        case "enum" if key in symbol.values:
            return form.OneOf(symbol.name, frozenset({key}))
        case _:
            return None


def _band(symbol: Symbol, key: str) -> tuple[int, int] | None:
    """Read a number, or a range of numbers as in `20-34`, that lies within the fact's own range."""
    if symbol.definition is None or symbol.definition.range is None:
        return None
    sign = "-" if key.startswith("-") else ""
    first, _, second = key.removeprefix("-").partition("-")
    try:
        low = Decimal(sign + first)
        high = Decimal(second) if second else low
    except InvalidOperation:
        return None
    least, greatest = symbol.definition.range
    start, end = symbol.definition.scaled(low), symbol.definition.scaled(high)
    return None if start is None or end is None or not least <= low <= high <= greatest else (start, end)


def _says(derived: Derived, value: bool | str) -> bool:  # noqa: FBT001 - a value of the concept, not a flag
    return value in derived.values if derived.values else isinstance(value, bool)


def _values(derived: Derived) -> str:
    return f"write {', '.join(derived.values) or 'true or false'}"


def _keys(symbol: Symbol) -> str:
    definition = symbol.definition
    if symbol.kind == "number" and definition is not None and definition.range is not None:
        return f"write a number or a range such as `20-34`, within {definition.range[0]} to {definition.range[1]}"
    return f"write {', '.join(symbol.values) or 'true or false'}"


def _wrong(typing: Typing, path: Path, message: str, hint: str) -> None:
    typing.faults.append(typing.located.fault("pack/type", message, hint, path))
