"""`eligibility rules`: what an author and a reviewer of rule packs needs."""

from __future__ import annotations

from engine.cli.invocation import Mounted

rules = Mounted(
    {
        "check": "engine.cli.rules.check:check",
        "test": "engine.cli.rules.test:test",
        "list": "engine.cli.rules.listing:listing",
        "show": "engine.cli.rules.show:show",
        "diff": "engine.cli.rules.diff:diff",
        "lock": "engine.cli.rules.lock:lock",
        "docs": "engine.cli.rules.docs:docs",
    },
    name="rules",
    help="Check, rehearse, read, compare and release rule packs.",
    epilog="Example: eligibility rules check && eligibility rules test",
)
