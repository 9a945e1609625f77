"""The levels that an option can come to, and which effect holds it down to which."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.pack.model import Criterion

LEVELS = (
    "contraindicated",
    "not_indicated_population",
    "not_recommended",
    "not_indicated_indication",
    "insufficient_data",
    "deferred",
    "eligible_with_precautions",
    "eligible",
)
"""What an option can come to, worst first; the status is the worst that a criterion reaches."""

STATUS_OF_LEVEL: Mapping[str, str] = {level: level for level in LEVELS} | {
    "not_indicated_population": "not_indicated",
    "not_indicated_indication": "not_indicated",
}
LEVEL_OF_EFFECT: Mapping[str, str] = {
    "contraindicates": "contraindicated",
    "advises_against": "not_recommended",
    "requires": "insufficient_data",
    "defers": "deferred",
    "cautions": "eligible_with_precautions",
}


def level_of(criterion: Criterion) -> str | None:
    """Give the level that a criterion holds an option down to, or None."""
    if criterion.effect == "excludes":
        return f"not_indicated_{criterion.level or 'population'}"
    return LEVEL_OF_EFFECT.get(criterion.effect)
