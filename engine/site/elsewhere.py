"""Ids of the clinical tables that no pack holds, with the reason; they stand beside the packs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from engine.errors import Diagnostic, RulePackError
from engine.pack.load import validated
from engine.pack.source import read_source

if TYPE_CHECKING:
    from pathlib import Path

    from engine.pack.book import RuleBook

ELSEWHERE = "ids-elsewhere.yaml"


class Elsewhere(BaseModel):
    """Ids that no pack holds, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    reason: str
    ids: tuple[str, ...]


def read_elsewhere(folder: Path, book: RuleBook) -> dict[str, str]:
    """Give the reason of each id that no pack holds; empty where the rules folder keeps no such list.

    Raises:
        RulePackError: the list cannot be read, or an id in it stands elsewhere too.

    """
    path = folder / ELSEWHERE
    if not path.is_file():
        return {}
    source = read_source(ELSEWHERE, path.read_text(encoding="utf-8"))
    faults: list[Diagnostic] = list(source.faults)
    found: dict[str, str] = {}
    entries = source.data if isinstance(source.data, list) else []
    held = {name for pack in book.packs.values() for name in pack.criteria}
    for position, entry in enumerate(entries):
        group = validated(Elsewhere, source, (position,), entry, faults)
        for name in group.ids if group is not None else ():
            if name in held or name in found:
                faults.append(source.fault((position,), "docs/twice", f"`{name}` is listed here and stands elsewhere"))
            found[name] = group.reason if group is not None else ""
    if faults:
        raise RulePackError(faults)
    return found


def by_number(name: str) -> list[tuple[int, str]]:
    """Give the key that sorts ids as people count: `EU-2` before `EU-10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"-", name)]
