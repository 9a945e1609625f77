"""`eligibility log`: the decision log, read, proven, replayed and erased; through a server, or where it lies."""

from __future__ import annotations

from engine.cli.invocation import Mounted

log = Mounted(
    {
        "verify": "server.command.log.verify:verify",
        "list": "server.command.log.listing:listing",
        "show": "server.command.log.show:show",
        "report": "server.command.log.report:report",
        "replay": "server.command.log.replay:replay",
        "impact": "server.command.log.impact:impact",
        "vkey": "server.command.log.vkey:vkey",
        "prove": "server.command.log.prove:prove",
        "export": "server.command.log.export:export",
        "shred": "server.command.log.erasure:shred",
        "hold": "server.command.log.erasure:hold",
        "feedback": "server.command.log.feedback:feedback",
    },
    name="log",
    help="""Read, prove, replay, export and erase the decision log.

With --server a running server is asked, and what one may do there depends on one's roles. With --log the log is opened
where it lies: `verify`, `list`, `vkey`, `prove` and `export` only read and work beside a server, the others write
entries of their own and need the server to be stopped.""",
    epilog="""Example: eligibility log verify --log sqlite:eligibility-data/log/log.db

Exit codes: 0 good; 1 a fault, a difference, or something is incomplete; 2 wrong usage; 3 something is not what was
logged.""",
)
