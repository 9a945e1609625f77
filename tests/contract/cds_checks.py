"""What CDS Hooks 2.0 asks of an answer, checked part by part. Numbers are those of its list of requirements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

INDICATORS = ["info", "warning", "critical"]


def check_answer(body: Mapping[str, Any]) -> None:
    """Check the body of a successful call: 3, 74, 75."""
    assert isinstance(body["cards"], list)
    assert set(body) <= {"cards", "systemActions"}
    for action in body.get("systemActions", []):
        check_action(action)
    for card in body["cards"]:
        check_full(card)
        check_card(card)


def check_full(value: object, place: str = "card") -> None:
    """Check that nothing is null or empty: 3."""
    assert value is not None, place
    if isinstance(value, str | list | dict):
        assert value, place
    for name, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        check_full(item, f"{place}.{name}")


def check_card(card: Mapping[str, Any]) -> None:
    """Check a card: 80, 83, 85, 87-90, 92-98, 100, 103, 136."""
    check_text(card, "summary")
    assert len(card["summary"]) < 140
    assert "\n" not in card["summary"]
    assert card["indicator"] in INDICATORS
    check_source(card["source"])
    if "uuid" in card:
        check_text(card, "uuid")
    if "detail" in card:
        check_text(card, "detail")
    if "suggestions" in card:
        assert isinstance(card["suggestions"], list)
        assert card["selectionBehavior"] in {"at-most-one", "any"}
        for suggestion in card["suggestions"]:
            check_suggestion(suggestion)
    for reason in check_list(card, "overrideReasons"):
        check_coding(reason)
        check_text(reason, "display")
    for link in check_list(card, "links"):
        check_link(link)


def check_source(source: Mapping[str, Any]) -> None:
    """Check a source: 105, 107, 111, 115."""
    check_text(source, "label")
    for name in ("url", "icon"):
        if name in source:
            check_address(source[name])
    if "topic" in source:
        check_coding(source["topic"])


def check_suggestion(suggestion: Mapping[str, Any]) -> None:
    """Check a suggestion: 117, 119, 121, 124."""
    check_text(suggestion, "label")
    if "uuid" in suggestion:
        check_text(suggestion, "uuid")
    assert isinstance(suggestion.get("isRecommended", False), bool)
    for action in check_list(suggestion, "actions"):
        check_action(action)


def check_action(action: Mapping[str, Any]) -> None:
    """Check an action: 127, 128, 130-135."""
    check_text(action, "description")
    assert action["type"] in {"create", "update", "delete"}
    if action["type"] == "delete":
        check_text(action, "resourceId")
        assert "resource" not in action
        return
    assert isinstance(action["resource"], dict)
    check_text(action["resource"], "resourceType")
    assert ("id" in action["resource"]) is (action["type"] == "update")


def check_link(link: Mapping[str, Any]) -> None:
    """Check a link: 138, 139, 141, 142, 144, 147."""
    check_text(link, "label")
    check_address(link["url"])
    assert link["type"] in {"absolute", "smart"}
    if "appContext" in link:
        check_text(link, "appContext")
        assert link["type"] == "smart"


def check_coding(coding: Mapping[str, Any]) -> None:
    """Check a coding: 216-220."""
    check_text(coding, "code")
    check_text(coding, "system")
    if "display" in coding:
        check_text(coding, "display")


def check_text(holder: Mapping[str, Any], name: str) -> None:
    """Check a text that has to be there."""
    assert isinstance(holder[name], str), name


def check_list(holder: Mapping[str, Any], name: str) -> list[Any]:
    """Check a list that may be left out, and give it."""
    value = holder.get(name, [])
    assert isinstance(value, list), name
    return value


def check_address(address: object) -> None:
    """Check an absolute address."""
    assert isinstance(address, str)
    parts = urlsplit(address)
    assert parts.scheme in {"http", "https"}
    assert parts.netloc
