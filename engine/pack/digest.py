"""The canonical form of a pack, its digest, and the lock file that pins each released version to one digest.

Canonical form: for each file sorted by its path inside the pack, u32 length and path (UTF-8), u32 length and bytes,
big-endian. Cases and changelogs are left out: they never change a decision.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

from engine.errors import Diagnostic, RulePackError

LOCK_FILE = "packs.lock"
_MAX_FILES = 10_000


def is_part(path: str) -> bool:
    """Say whether a file belongs to the canonical form."""
    name = PurePosixPath(path).name
    return not name.endswith(".cases.yaml") and name != "CHANGELOG.md" and not name.startswith(".")


def read_files(folder: Path) -> dict[str, bytes]:
    """Read the files of a pack's canonical form, by their paths inside `folder`."""
    files = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.is_file() and is_part(relative):
            files[relative] = path.read_bytes()
    return files


def encode(files: Mapping[str, bytes]) -> bytes:
    """Write files in canonical form."""
    parts = []
    for path, content in sorted(files.items(), key=lambda item: item[0].encode()):
        name = path.encode()
        parts += [struct.pack(">I", len(name)), name, struct.pack(">I", len(content)), content]
    return b"".join(parts)


def decode(content: bytes) -> dict[str, bytes]:
    """Read files back from canonical form.

    Raises:
        RulePackError: truncated bytes, a path that leaves the pack, or an order that is not canonical.

    """
    files: dict[str, bytes] = {}
    position = 0
    while position < len(content):
        pieces = []
        for _ in range(2):
            length = int.from_bytes(content[position : position + 4], "big")
            start, position = position + 4, position + 4 + length
            if position > len(content):
                raise _damaged("it ends too early")
            pieces.append(content[start:position])
        try:
            path = pieces[0].decode()
        except UnicodeDecodeError:
            raise _damaged("a path is not UTF-8") from None
        if ".." in PurePosixPath(path).parts or path.startswith("/") or len(files) >= _MAX_FILES:
            raise _damaged("a path leaves the pack")
        files[path] = pieces[1]
    if encode(files) != content:
        raise _damaged("it is not in canonical order")
    return files


def digest(files: Mapping[str, bytes]) -> str:
    """Give the SHA-256 of the canonical form, in hexadecimal."""
    return hashlib.sha256(encode(files)).hexdigest()


def read_lock(rules: Path) -> dict[tuple[str, str], str]:
    """Read `packs.lock`: lines of pack id, version and digest. A missing file is an empty lock."""
    path = rules / LOCK_FILE
    locked: dict[tuple[str, str], str] = {}
    if not path.is_file():
        return locked
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 3:  # noqa: PLR2004 - the three words that the docstring names
            raise RulePackError([Diagnostic(LOCK_FILE, number, 1, "pack/lock", "expected: pack version digest")])
        locked[words[0], words[1]] = words[2]
    return locked


def write_lock(rules: Path, locked: Mapping[tuple[str, str], str]) -> None:
    """Write `packs.lock`, sorted."""
    lines = ["# pack version sha256-of-canonical-content; written by `eligibility rules lock`"]
    lines += [f"{pack} {version} {value}" for (pack, version), value in sorted(locked.items())]
    (rules / LOCK_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _damaged(problem: str) -> RulePackError:
    return RulePackError([Diagnostic("canonical bytes", 1, 1, "pack/canonical", f"the pack is damaged: {problem}")])
