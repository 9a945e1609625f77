"""The environment in which every page is written: every text is escaped, and what cannot be seen is made visible."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeAlias, TypeVar

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

T = TypeVar("T")
Words: TypeAlias = Mapping[str, str]

LONGEST = 160
FIRST_LISTED = 5
DIGEST_DIGITS = 12

TONES: Words = {
    "eligible": "met",
    "eligible_with_precautions": "weigh",
    "deferred": "wait",
    "insufficient_data": "ask",
    "not_indicated": "unmet",
    "not_recommended": "barred",
    "contraindicated": "barred",
    "covered": "met",
    "prior_approval": "weigh",
    "not_met": "unmet",
    "not_covered": "barred",
}
AUTHORIZATIONS: Words = {"labeled": "labeled", "off_label": "off-label", "standard_care": "standard care"}
CONFIRMATIONS: Words = {
    "read": "read in the source it cites",
    "read (secondary)": "read in another source that reports it",
    "partly read": "read in part",
    "unconfirmed": "unconfirmed: to be checked against the source before clinical use",
    "engine": "a decision of this engine, not of a clinical source",
}
MARKS: Words = {
    "read (secondary)": "read in another source",
    "partly read": "read in part",
    "unconfirmed": "unconfirmed",
    "engine": "engine decision",
}
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def _visible(value: T) -> T | str:
    """Make what would be invisible, or would reorder its surroundings, visible as its code point."""
    if isinstance(value, Markup):
        return value
    return "".join(
        f"[U+{ord(c):04X}]" if c not in "\t\n" and unicodedata.category(c) in _INVISIBLE else c for c in str(value)
    )


def _brief(text: str) -> str:
    """Cut a text of the caller that is too long to be read, and say how long it was."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"


def words(name: str) -> str:
    """Write a name as words."""
    return name.replace("_", " ")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


@lru_cache(maxsize=2)
def environment(package: str = "engine.page") -> Environment:
    """Give the environment in which every page is written: of a package's own templates, and of those beside this."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("engine.page")]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"brief": _brief, "words": words, "capital": _capital}
    made.globals |= {
        "tones": TONES,
        "authorizations": AUTHORIZATIONS,
        "confirmations": CONFIRMATIONS,
        "marks": MARKS,
        "digest_digits": DIGEST_DIGITS,
        "first_listed": FIRST_LISTED,
    }
    return made
