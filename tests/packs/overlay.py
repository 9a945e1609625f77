"""A broken rules folder: the good one with one thing changed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

GOOD = Path(__file__).parent / "good"


@dataclass(frozen=True)
class Broken:
    """One way to be wrong.

    Attributes:
        name: the claim, as the test shows it.
        code: the code that the check has to give.
        words: what its message or hint has to contain.
        file: the file at which it has to point.
        changes: by file: a pair of old and new text, new content, or None for a file that goes.
        also: codes that follow from it.

    """

    name: str
    code: str
    words: str
    file: str
    changes: Mapping[str, tuple[str, str] | str | bytes | None]
    also: frozenset[str] = field(default_factory=frozenset)

    def write(self, folder: Path) -> Path:
        """Write the folder."""
        rules = folder / "rules"
        shutil.copytree(GOOD, rules)
        for file, change in self.changes.items():
            path = rules / file
            match change:
                case None:
                    path.unlink()
                case (old, new):
                    text = path.read_text(encoding="utf-8")
                    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
                    path.write_text(text.replace(old, new), encoding="utf-8")
                case bytes():
                    path.write_bytes(change)
                case _:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(change, encoding="utf-8")
        return rules
