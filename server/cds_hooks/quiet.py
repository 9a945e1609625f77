"""Against alert fatigue: a card that only informs is shown again to a user once there is something new in it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.evaluator.decision import Decision
    from server.cds_hooks.desk import Reading

MAX_REMEMBERED = 50_000


class Quiet:
    """Remembers for a while what was last shown to whom, as digests only; safe to use from many threads.

    Forgetting, at a restart or for want of room, shows a card once more and never hides one. `seconds` 0 hides none.
    """

    def __init__(self, seconds: float, monotonic: Callable[[], float], limit: int = MAX_REMEMBERED) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._limit = limit
        self._shown: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()
        self._lock = threading.Lock()

    def is_new(self, viewer: tuple[str, ...], content: bytes) -> bool:
        """Say whether a viewer has not been shown this content lately, and remember that it is shown now.

        Args:
            viewer: client, user, patient and service.
            content: a digest of what the card says.

        """
        if not self._seconds:
            return True
        key = hashlib.sha256(json.dumps(viewer).encode()).digest()
        now = self._monotonic()
        with self._lock:
            known = self._shown.get(key)
            if known is not None and known[0] == content and now - known[1] < self._seconds:
                return False
            self._shown[key] = (content, now)
            self._shown.move_to_end(key)
            while len(self._shown) > self._limit:
                self._shown.popitem(last=False)
        return True


def digest_of(decision: Decision, reading: Reading) -> bytes:
    """Give a digest over all that would be news: statuses, why, what is missing or unusable, triage, candidates."""
    said = {
        "options": [
            [o.option, o.status, sorted(o.why_not), sorted(o.missing), sorted(o.could_be)] for o in decision.options
        ],
        "criteria": sorted({f"{c.id} {c.truth}" for o in decision.options for c in o.criteria if c.is_reported}),
        "triage": [decision.triage.level, decision.triage.provisional],
        "referrals": sorted(f"{r.kind} {r.urgency} {r.state}" for r in decision.referrals),
        "unusable": sorted(f"{u.fact} {u.reason}" for u in decision.unusable),
        "candidates": sorted(f"{c.fact} {c.suggests}" for c in reading.candidates),
        "packs": sorted(p.digest for p in decision.packs),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()
