"""Feedback over HTTP: with an audience of its own, stored item by item, repeated without harm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from engine.errors import LogUnavailableError
from server.faults import Code, Fault
from tests.contract.cds_world import PUBLIC, Desk, World, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATH = "/cds-services/treatment-eligibility-view/feedback"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Serve for all tests of this file."""
    with serving(tmp_path_factory.mktemp("feedback")) as made:
        yield made


def item(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Make an item of feedback on a card that nobody knows."""
    return {"card": str(uuid4()), "outcome": "accepted", "outcomeTimestamp": "2026-11-23T08:00:09Z", **changes}


def test_a_batch_that_is_sent_again_changes_nothing(world: World) -> None:
    """MAY 148."""
    body = {"feedback": [item(), item(), item(outcome="overridden")]}
    before = len(world.desk.told)

    for _ in range(3):
        answer = world.post(PATH, body)
        assert (answer.status_code, answer.json()) == (200, {})

    assert len(world.desk.told) == before + 3


def test_one_wrong_item_is_named_and_the_others_are_stored(world: World) -> None:
    before = len(world.desk.told)

    answer = world.post(PATH, {"feedback": [item(), item(card=None), item()]})

    assert answer.status_code == 400
    issue = answer.json()["issue"][0]
    assert issue["expression"] == ["feedback[1]"]
    assert len(world.desk.told) == before + 2


def test_half_of_a_character_costs_one_item_only(world: World) -> None:
    before = len(world.desk.told)
    half = [{"userComment": "cut off \ud83d"}, {"reason": {"code": "cut off \ud83d"}}]
    items = [item(outcome="overridden", overrideReason=reason) for reason in half]

    answer = world.post(PATH, {"feedback": [*items, item(), item()]})

    assert answer.status_code == 400
    assert answer.json()["issue"][0]["expression"] == ["feedback[0]", "feedback[1]"]
    assert len(world.desk.told) == before + 2


def test_a_token_for_a_call_is_none_for_feedback(world: World) -> None:
    token = world.site.token(f"{PUBLIC}/cds-services/treatment-eligibility-view")

    assert world.post(PATH, {"feedback": [item()]}, token=token).status_code == 401


@pytest.mark.parametrize("body", [{}, {"feedback": []}, {"feedback": "x"}, b"nothing"])
def test_a_body_without_items_is_refused(world: World, body: object) -> None:
    assert world.post(PATH, body).status_code == 400


def test_what_a_clinician_wrote_is_not_logged(world: World) -> None:
    reason = {"reason": {"code": "patient-refuses"}, "userComment": "MARK-COMMENT"}

    world.post(PATH, {"feedback": [item(outcome="overridden", overrideReason=reason)]})
    world.post(PATH, {"feedback": [item(card="MARK-CARD", outcome="MARK-OUTCOME")]})

    assert list(world.desk.told.values())[-1].comment == "MARK-COMMENT"
    assert "MARK" not in world.log.getvalue()
    assert world.lines()[-2]["items"] == 1


def test_feedback_that_cannot_be_logged_is_to_be_sent_again(tmp_path: Path) -> None:
    with serving(tmp_path, desk=Desk(error=LogUnavailableError("down"))) as made:
        answer = made.post(PATH, {"feedback": [item()]})

        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"


def test_feedback_on_an_erased_decision_is_refused_by_item(tmp_path: Path) -> None:
    gone = Fault(Code.FAILED_PRECONDITION, "RESPONSE_ERASED", "the decision was erased")
    with serving(tmp_path, desk=Desk(error=gone)) as made:
        answer = made.post(PATH, {"feedback": [item()]})

        assert answer.status_code == 400
        assert "feedback[0]: the decision was erased" in answer.json()["issue"][0]["diagnostics"]
