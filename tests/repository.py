"""The rules of this repository, loaded once in each process that runs tests; no test may change them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.pack.load import load_rules

if TYPE_CHECKING:
    from engine.pack.book import RuleBook

RULES = Path(__file__).parents[1] / "rules"


@cache
def repository_rules() -> RuleBook:
    """Give the rule book, whether or not packs.lock is up to date."""
    return load_rules(RULES, is_locked=False)
