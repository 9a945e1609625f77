"""What a verification finds."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.ledger.merkle import EMPTY_ROOT

MOST_FAULTS = 100


class Ended(Exception):  # noqa: N818 - not an error: it ends the search
    """There are more faults than anybody would read, or what follows cannot be judged."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is not as it was logged. `place` is `entry 7`, `tile 0/3`, `table head`; no patient data."""

    code: str
    place: str
    message: str
    is_derived: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {self.message} [{self.code}]"


@dataclass(slots=True)
class Findings:
    """What a verification found: the first hundred faults, in the order of the log, and what was looked at.

    `signed_size` is the size of the largest signed tree with which the entries agree. `gaps` name what could not be
    verified; nothing there is known to be wrong.
    """

    tree_size: int = 0
    root_hash: bytes = EMPTY_ROOT
    signed_size: int = 0
    checkpoints: int = 0
    sealed: int = 0
    erased: int = 0
    faults: list[Fault] = field(default_factory=list)
    gaps: list[Fault] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong at all."""
        return not self.faults

    @property
    def is_mendable(self) -> bool:
        """Whether all that is wrong is derived."""
        return all(fault.is_derived for fault in self.faults)

    @property
    def is_complete(self) -> bool:
        """Whether everything could be verified: nothing wrong was found, and it was looked for everywhere."""
        return self.is_whole and not self.gaps

    def lack(self, code: str, place: str, message: str) -> None:
        """Add something that could not be verified."""
        self.gaps.append(Fault(code, place, message))

    def add(self, code: str, place: str, message: str, *, is_derived: bool = False) -> None:
        """Add a fault. Raises: Ended."""
        self.faults.append(Fault(code, place, message, is_derived))
        if len(self.faults) >= MOST_FAULTS:
            raise Ended
