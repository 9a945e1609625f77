"""Feedback of clients, item by item. Source: CDS Hooks 2.0, feedback; one vendor writes `overrideReasons`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from server.cds_hooks.body import is_whole
from server.cds_hooks.desk import Feedback
from server.cds_hooks.outcome import Refusal, malformed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_ITEMS = 100
MAX_CODE = 128
MAX_COMMENT = 2000
_CATEGORY = ("reasonCategory", "reasonTitle", "reasonDisplay")


@dataclass(frozen=True, slots=True)
class Item:
    """One item, at its place in the body; `feedback` is None where it cannot be stored, for `reason`."""

    place: str
    feedback: Feedback | None
    reason: str = ""


def read_feedback(body: Mapping[str, object]) -> list[Item]:
    """Read the items of a body; what is wrong with one does not touch the others.

    Raises:
        Refusal: 400 where there is no list of items, or too long a one.

    """
    items = body.get("feedback")
    if not isinstance(items, list) or not items:
        raise malformed("`feedback` is required and is a list of items", "feedback")
    if len(items) > MAX_ITEMS:
        raise malformed(f"`feedback` has more than {MAX_ITEMS} items; send them in several calls", "feedback")
    return [_item(item, f"feedback[{position}]") for position, item in enumerate(items)]


def _item(item: object, place: str) -> Item:
    try:
        return Item(place, _read(item if isinstance(item, dict) else {}))
    except Refusal as refusal:
        return Item(place, None, refusal.message)


def _read(item: Mapping[str, object]) -> Feedback:
    card, outcome = item.get("card"), item.get("outcome")
    if not isinstance(card, str) or not _is_uuid(card):
        raise malformed("`card` is required and is the uuid of a card")
    if outcome == "accepted":
        return Feedback(str(UUID(card)), "accepted", "", "", _moment(item))
    if outcome != "overridden":
        raise malformed("`outcome` is accepted or overridden")
    code, comment = _reason(item)
    if len(comment) > MAX_COMMENT:
        raise malformed(f"`userComment` has more than {MAX_COMMENT} characters")
    if not is_whole(comment):
        raise malformed("`userComment` holds half of a character; cut it off between characters")
    if not is_whole(code):
        raise malformed("the code of the reason holds half of a character")
    return Feedback(str(UUID(card)), "overridden", code, comment, _moment(item))


def _reason(item: Mapping[str, object]) -> tuple[str, str]:
    """Give the code of the reason and the words of the clinician; each is empty where none came."""
    given = item.get("overrideReason", item.get("overrideReasons"))
    if isinstance(given, list):
        given = given[0] if given else None
    if not isinstance(given, dict):
        return "", ""
    reason = given.get("reason")
    code = reason.get("code") if isinstance(reason, dict) else None
    comment = given.get("userComment")
    if not isinstance(code, str):
        code = next(_titles(given), "")
    return code.strip()[:MAX_CODE], comment if isinstance(comment, str) else ""


def _titles(given: Mapping[str, object]) -> Iterator[str]:
    """Give what a vendor's extension names the reason by."""
    extension = given.get("extension")
    if isinstance(extension, dict):
        for ending in _CATEGORY:
            for key, value in extension.items():
                if key.endswith(ending) and isinstance(value, str | int) and str(value).strip():
                    yield str(value)


def _moment(item: Mapping[str, object]) -> datetime:
    text = item.get("outcomeTimestamp")
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
        if moment is not None:
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise malformed("`outcomeTimestamp` is required and is a date and time as in 2026-05-12T08:00:00Z")


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
