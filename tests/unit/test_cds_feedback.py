"""Feedback is read item by item, from the specification's clients and from one vendor's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from server.cds_hooks.desk import Feedback
from server.cds_hooks.feedback import MAX_COMMENT, MAX_ITEMS, read_feedback
from server.cds_hooks.outcome import Refusal

CARD = "06e7575a-d2c5-4bc5-872f-a27aad718141"
TIME = "2026-11-23T08:00:09.279Z"
MOMENT = datetime(2026, 11, 23, 8, 0, 9, 279000, UTC)


def item(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    return {"card": CARD, "outcome": "overridden", "outcomeTimestamp": TIME, **changes}


def read(*items: object) -> list[Any]:
    return read_feedback({"feedback": list(items)})


def test_a_reason_without_display_is_read() -> None:
    reason = {"reason": {"code": "patient-refuses", "system": "s"}, "userComment": "words"}

    found = read(item(overrideReason=reason))[0]

    assert found.feedback == Feedback(CARD, "overridden", "patient-refuses", "words", MOMENT)


def test_an_accepted_card_is_read() -> None:
    given = item(outcome="accepted", acceptedSuggestions=[{"id": CARD}])

    assert read(given)[0].feedback == Feedback(CARD, "accepted", "", "", MOMENT)


@pytest.mark.parametrize(
    "reasons",
    [
        {"reason": {"code": "42"}},
        [{"reason": {"code": "42"}}],
        {"extension": {"com.example.request.reasonCategory": "42"}},
        {"extension": {"com.example.request.reasonTitle": 42, "other": "x"}},
    ],
)
def test_the_vendor_spelling_is_read(reasons: object) -> None:
    found = read(item(overrideReasons=reasons))[0]

    assert found.feedback.reason == "42"


def test_a_dismissal_without_a_reason_is_read() -> None:
    assert read(item())[0].feedback.reason == ""


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (item(card=None), "card"),
        (item(card="jksfjuisldklsior"), "card"),
        (item(outcome="ignored"), "outcome"),
        (item(outcomeTimestamp=None), "outcomeTimestamp"),
        (item(outcomeTimestamp="yesterday"), "outcomeTimestamp"),
        (item(overrideReason={"userComment": "x" * (MAX_COMMENT + 1)}), "userComment"),
        (item(overrideReason={"userComment": "cut off \ud83d"}), "userComment"),
        (item(overrideReason={"reason": {"code": "cut off \ud83d"}}), "code of the reason"),
        ("not an object", "card"),
    ],
)
def test_a_wrong_item_is_named_and_the_others_are_read(given: object, says: str) -> None:
    wrong, right = read(given, item())

    assert wrong.feedback is None
    assert wrong.place == "feedback[0]"
    assert says in wrong.reason
    assert right.feedback is not None


@pytest.mark.parametrize("body", [{}, {"feedback": []}, {"feedback": {}}, {"feedback": [item()] * (MAX_ITEMS + 1)}])
def test_a_body_without_items_or_with_too_many_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as refused:
        read_feedback(body)

    assert refused.value.status == 400
