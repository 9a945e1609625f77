"""The `eligibility` command itself: what it is, and where its commands are."""

from __future__ import annotations

import click

from engine.cli.invocation import EXIT_CODES, Mounted

root = Mounted(
    {
        "evaluate": "engine.cli.evaluate:evaluate",
        "explain": "engine.cli.explain:explain",
        "compare": "engine.cli.compare:compare",
        "fhir": "engine.cli.fhir:fhir",
        "cases": "engine.cli.cases:cases",
        "rules": "engine.cli.rules:rules",
    },
    name="eligibility",
    help=(
        "Which of esketamine, off-label ketamine and conventional care a patient may be offered, why, and what is "
        "missing. Decision support for a licensed clinician; it does not diagnose, prescribe or decide."
    ),
    epilog=f"Example: eligibility evaluate patients.jsonl --format json\n\n{EXIT_CODES}",
)
click.version_option(package_name="treatment-eligibility", prog_name="eligibility")(root)
