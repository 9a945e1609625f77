"""The `eligibility` command: the engine's commands, and those of the decision log, which need the wire or the store."""

from __future__ import annotations

import click

from engine.cli.invocation import Mounted
from engine.cli.root import root


def command() -> Mounted:
    """Make the whole command."""
    places = root.places | {"log": "server.command.log:log"}
    whole = Mounted(places, name=root.name, help=root.help, epilog=root.epilog)
    return click.version_option(package_name="treatment-eligibility", prog_name="eligibility")(whole)


def main() -> None:
    """Run the command; ends with its exit code."""
    command().main(prog_name="eligibility")


if __name__ == "__main__":
    main()
