"""What this build is: the manifest whose SHA-256 every decision names."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from zoneinfo import TZPATH

import engine
from engine.ledger.manifest import manifest, this_build

PACKAGES = (Path(engine.__file__).parent, Path(__file__).parent)


@cache
def engine_manifest() -> bytes:
    """Write the manifest of what runs; it is registered in the log before anything is decided.

    Made once: what runs does not change while it runs.
    """
    return manifest(this_build(PACKAGES, map(Path, TZPATH)))
