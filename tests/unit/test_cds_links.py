"""Links open one decision once; sessions end; nothing is guessed."""

from __future__ import annotations

from server.cds_hooks import links as module
from server.cds_hooks.links import LINK_SECONDS, MAX_DECISIONS, SESSION_SECONDS, Links
from server.interceptors.callers import Caller

CALLER = Caller("ehr Practitioner/1", frozenset({"evaluator"}), "token")
OTHER = Caller("ehr Practitioner/2", frozenset({"evaluator"}), "token")


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def opened(links: Links, decision: str = "d-1", caller: Caller = CALLER, cookie: str = "") -> str:
    found = links.use(links.make(decision, caller), decision, cookie)
    assert found is not None
    return found


def test_a_link_opens_once() -> None:
    links = Links(Clock())
    token = links.make("d-1", CALLER)

    cookie = links.use(token, "d-1", "")

    assert cookie
    assert links.use(token, "d-1", cookie) is None
    session = links.session(cookie, "d-1")
    assert session is not None
    assert session.caller == CALLER


def test_a_link_is_for_one_decision_and_is_used_up_by_a_wrong_one() -> None:
    links = Links(Clock())
    token = links.make("d-1", CALLER)

    assert links.use(token, "d-2", "") is None
    assert links.use(token, "d-1", "") is None


def test_a_link_expires() -> None:
    clock = Clock()
    links = Links(clock)
    token = links.make("d-1", CALLER)
    clock.time = LINK_SECONDS

    assert links.use(token, "d-1", "") is None


def test_a_session_ends_and_opens_only_its_decisions() -> None:
    clock = Clock()
    links = Links(clock)
    cookie = opened(links)

    assert links.session(cookie, "d-2") is None
    assert links.session("guessed", "d-1") is None
    assert links.session("", "d-1") is None
    clock.time = SESSION_SECONDS
    assert links.session(cookie, "d-1") is None


def test_one_clinician_keeps_one_session_and_another_gets_another() -> None:
    links = Links(Clock())
    cookie = opened(links)

    assert opened(links, "d-2", CALLER, cookie) == cookie
    assert links.session(cookie, "d-1") is not None
    other = opened(links, "d-3", OTHER, cookie)
    assert other != cookie
    assert links.session(cookie, "d-3") is None


def test_a_session_holds_so_many_decisions() -> None:
    links = Links(Clock())
    cookie = opened(links, "d-0")
    for number in range(1, MAX_DECISIONS + 1):
        opened(links, f"d-{number}", CALLER, cookie)

    assert links.session(cookie, "d-0") is None
    assert links.session(cookie, f"d-{MAX_DECISIONS}") is not None


def test_a_form_is_known_by_its_token() -> None:
    links = Links(Clock())
    session = links.session(opened(links), "d-1")

    assert session is not None
    assert session.is_csrf(session.csrf)
    assert not session.is_csrf("")
    assert not session.is_csrf("é")


def test_links_that_nobody_opens_do_not_pile_up() -> None:
    clock = Clock()
    links = Links(clock)
    for _ in range(module.MAX_LINKS + 10):
        links.make("d-1", CALLER)

    assert len(links._links) == module.MAX_LINKS  # noqa: SLF001 - what is kept is the claim
    clock.time = LINK_SECONDS
    links.make("d-1", CALLER)
    assert len(links._links) == 1  # noqa: SLF001 - as above
