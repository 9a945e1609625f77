"""The verification that follows a start: the log is served meanwhile, and what is found is an entry of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import canonical
from engine.ledger import fsck
from engine.ledger.body import BlobKind, Report
from engine.ledger.entry import ZERO_DIGEST
from engine.ledger.log import Blob

if TYPE_CHECKING:
    import threading

    from engine.ledger.findings import Findings
    from engine.ledger.log import DecisionLog

KIND = "verification"


class _Ended(Exception):  # noqa: N818 - no error: it ends the search
    """The server stops."""


def verify_in_background(log: DecisionLog, ended: threading.Event) -> Findings | None:
    """Verify headers, tree, checkpoints and tables, and report it; None when the server stopped meanwhile.

    What is sealed is hashed by `eligibility log verify`, which an operator runs when the machine has time for it. A
    fault of what is primary raises the alarm `integrity`, and nothing is served any more.

    Raises: LedgerError: the log cannot be read, or the report not be written.
    """

    def progress(_done: int, _all: int) -> None:
        if ended.is_set():
            raise _Ended

    try:
        with log.reading() as snapshot:
            findings = fsck.verify(snapshot, log.vkey, is_deep=False, progress=progress)
    except _Ended:
        return None
    if not findings.is_mendable:
        log.raise_alarm("integrity")
    report = Blob(BlobKind.REPORT, _written(findings), KIND)
    log.register([report])
    log.tell(Report(KIND, findings.tree_size, ZERO_DIGEST, report.digest))
    return findings


def _written(findings: Findings) -> bytes:
    return canonical.encode(
        {
            "tree_size": findings.tree_size,
            "root_hash": findings.root_hash,
            "checkpoints": findings.checkpoints,
            "is_deep": False,
            "faults": [[fault.code, fault.place, fault.message, fault.is_derived] for fault in findings.faults],
        }
    )
