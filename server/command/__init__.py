"""The `eligibility` command: the engine's commands, and those that speak to a server."""

from __future__ import annotations

from engine.cli.root import root


def main() -> None:
    """Run the command; ends with its exit code."""
    root.main(prog_name="eligibility")


if __name__ == "__main__":
    main()
