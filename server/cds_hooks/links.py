"""Links to the clinician's page: random, for one decision, used once within ten minutes, and then a session.

Kept in memory as digests; a restart ends them all, and the next card brings another link.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.cds_hooks.desk import Outcome
    from server.interceptors.callers import Caller

LINK_SECONDS = 600.0
SESSION_SECONDS = 1800.0
MAX_LINKS = 50_000
MAX_SESSIONS = 10_000
MAX_DECISIONS = 50


@dataclass(slots=True)
class Session:
    """One clinician's way to some decisions, until `ends` (monotonic seconds). `csrf` goes into its forms.

    `recorded` holds, by decision, outcome and code of the reason of the feedback that was given.
    """

    caller: Caller
    csrf: str
    ends: float
    decisions: OrderedDict[str, None] = field(default_factory=OrderedDict)
    recorded: dict[str, tuple[tuple[Outcome, str], ...]] = field(default_factory=dict)

    def add(self, decision_id: str) -> None:
        """Let the session open a decision; of many, the first ones end."""
        self.decisions[decision_id] = None
        while len(self.decisions) > MAX_DECISIONS:
            self.recorded.pop(self.decisions.popitem(last=False)[0], None)

    def is_csrf(self, token: str) -> bool:
        """Say whether a form is one of this session."""
        return hmac.compare_digest(self.csrf.encode(), token.encode(errors="replace"))


@dataclass(frozen=True, slots=True)
class _Link:
    decision_id: str
    caller: Caller
    ends: float


Ending = TypeVar("Ending", Session, _Link)


class Links:
    """All links and sessions of one server; safe to use from many threads."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._links: OrderedDict[bytes, _Link] = OrderedDict()
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._lock = threading.Lock()

    def make(self, decision_id: str, caller: Caller) -> str:
        """Make a token for one opening of a decision; the oldest of too many links end."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._links[_digest(token)] = _Link(decision_id, caller, self._monotonic() + LINK_SECONDS)
            _forget(self._links, MAX_LINKS, self._monotonic())
        return token

    def use(self, token: str, decision_id: str, cookie: str) -> str | None:
        """Turn a token into a session, or add its decision to the caller's own session; give the cookie.

        None where the token was used, has expired, or is for another decision.
        """
        with self._lock:
            link = self._links.pop(_digest(token), None)
            now = self._monotonic()
            if link is None or link.ends <= now or link.decision_id != decision_id:
                return None
            session = self._live(cookie)
            if session is None or session.caller != link.caller:
                cookie = secrets.token_urlsafe(32)
                session = Session(link.caller, secrets.token_urlsafe(32), now + SESSION_SECONDS)
                self._sessions[_digest(cookie)] = session
                _forget(self._sessions, MAX_SESSIONS, now)
            session.add(decision_id)
            return cookie

    def session(self, cookie: str, decision_id: str) -> Session | None:
        """Give the session of a cookie; None where it has ended or may not open the decision."""
        with self._lock:
            session = self._live(cookie)
        return session if session is not None and decision_id in session.decisions else None

    def _live(self, cookie: str) -> Session | None:
        session = self._sessions.get(_digest(cookie)) if cookie else None
        return session if session is not None and session.ends > self._monotonic() else None


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="replace")).digest()


def _forget(kept: OrderedDict[bytes, Ending], most: int, now: float) -> None:
    """Drop what has ended, oldest first, and as much more as there is no room for."""
    while kept and (len(kept) > most or next(iter(kept.values())).ends <= now):
        kept.popitem(last=False)
