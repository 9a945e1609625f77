"""The manifest of an engine: what this build is made of, as canonical bytes whose SHA-256 every decision names.

Two builds with one manifest give the same bytes; a replay under another one compares fields. What is read to make it
comes in as folders, or is what the interpreter says of itself; no environment variable counts.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import unicodedata
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from engine import canonical
from engine.evaluator.agree import SEMANTICS_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

SUPPORTED = frozenset({SEMANTICS_VERSION})
"""Versions of the rule language that this build replays."""


@dataclass(frozen=True, slots=True)
class Build:
    """What an engine is made of.

    Attributes:
        sources: SHA-256, in hex, of every Python file by its path, such as `engine/facts.py`.
        distributions: versions of the installed distributions by name.
        python: implementation and version of the interpreter.
        unicode: version of the Unicode database, which normalizes texts.
        tzdata: version of the time zone database, which says what day it is.
        libc: name and version of the C library.

    """

    sources: Mapping[str, str]
    distributions: Mapping[str, str]
    python: str
    unicode: str
    tzdata: str
    libc: str


def manifest(build: Build) -> bytes:
    """Write the manifest of a build of this version of the rule language."""
    return canonical.encode(
        {
            "semantics_version": SEMANTICS_VERSION,
            "sources": build.sources,
            "distributions": build.distributions,
            "python": build.python,
            "unicode": build.unicode,
            "tzdata": build.tzdata,
            "libc": build.libc,
        }
    )


def semantics_version(content: bytes) -> str | None:
    """Give the version of the rule language that a manifest names; None if it is no manifest."""
    try:
        version = json.loads(content)["semantics_version"]
    except (ValueError, KeyError, TypeError):
        return None
    return version if isinstance(version, str) else None


def this_build(packages: Iterable[Path], zone_folders: Iterable[Path]) -> Build:
    """Describe what runs.

    Args:
        packages: the folders of our packages, `engine` and `server`.
        zone_folders: where the time zone database is looked for, first one first: `zoneinfo.TZPATH`.

    """
    sources = {}
    for package in packages:
        for file in sorted(package.rglob("*.py")):
            path = f"{package.name}/{file.relative_to(package).as_posix()}"
            sources[path] = hashlib.sha256(file.read_bytes()).hexdigest()
    distributions: dict[str, str] = {}
    for found in metadata.distributions():
        # Of two copies the first one on the path is imported.
        distributions.setdefault(found.name.lower().replace("_", "-"), found.version)
    return Build(
        sources,
        distributions,
        f"{platform.python_implementation()} {'.'.join(map(str, sys.version_info[:3]))}",
        unicodedata.unidata_version,
        _tzdata(zone_folders, distributions),
        " ".join(platform.libc_ver()).strip() or sys.platform,
    )


def _tzdata(folders: Iterable[Path], distributions: Mapping[str, str]) -> str:
    """Give the version of the time zone database: that of the system, else of the distribution `tzdata`."""
    for folder in folders:
        if not folder.is_dir():
            continue
        for name in ("tzdata.zi", "+VERSION"):
            if (folder / name).is_file():
                with (folder / name).open(encoding="utf-8") as text:
                    return text.readline().removeprefix("# version ").strip()
        return "of the system, which does not say"
    return distributions.get("tzdata", "none")
