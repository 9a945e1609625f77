"""Reading the folder of a local pack, which nobody released: only rules, of a sane size, none left out in silence.

Files and folders whose names begin with a dot are passed over, and so are documents beside the rules; what looks like a
rule file and could not be read as one is a fault, because a rule that is not read is a rule that is not in force.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.errors import Diagnostic
from engine.pack.digest import is_part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_BYTES = 4 * 1024 * 1024
"""Of all files of a local pack together; they are kept in the decision log for good."""

_RULES = ".yaml"
_LIKE_RULES = frozenset({".yaml", ".yml"})


def read_overlay(folder: Path, faults: list[Diagnostic]) -> dict[str, bytes]:
    """Read the rule files of a local pack, by their paths inside `folder`; what is wrong is added to `faults`."""
    files: dict[str, bytes] = {}
    left = MAX_BYTES
    for path in _visible(folder):
        relative = path.relative_to(folder).as_posix()
        problem = _problem(path, relative)
        if problem is None and path.suffix == _RULES and path.is_file() and is_part(relative):
            with path.open("rb") as file:
                content = file.read(left + 1)
            left -= len(content)
            if left >= 0:
                files[relative] = content
                continue
            problem = f"the local pack is larger than {MAX_BYTES // 1024 // 1024} MiB"
        if problem is not None:
            place = f"{folder.absolute().as_posix()}/{relative}".encode(errors="replace").decode()
            faults.append(Diagnostic(place, 1, 1, "local/unreadable", problem))
        if left < 0:
            break
    return files


def _visible(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if not path.name.startswith("."):
            yield path
            if path.is_dir() and not path.is_symlink():
                yield from _visible(path)


def _problem(path: Path, relative: str) -> str | None:
    """Say why a path cannot be taken in, if it looks like rules."""
    try:
        relative.encode()
    except UnicodeEncodeError:
        return "the name is not UTF-8; rename it"
    if path.is_dir():
        return "is a link to a folder; copy the folder" if path.is_symlink() else None
    if path.suffix.lower() not in _LIKE_RULES:
        return None
    if path.suffix != _RULES:
        return f"rules are read from files that end in `{_RULES}`; rename it"
    return None if path.is_file() else "is no file that can be read"
