"""What the commands share: where the rules are, which engines run, what an exit code says.

| exit code | says |
|---|---|
| 0 | all went well, and every answer is final |
| 1 | a fault: a case or the rules cannot be read, a check failed, an engine failed |
| 2 | the command was called wrongly |
| 3 | something cannot be trusted: the engines disagree, so no answer is shown, or a log is not what was logged |
| 4 | an answer is provisional: a fact that decides triage, an option or coverage is missing |

Where several hold, 3 wins over 1, and 1 over 4.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from engine.cli.strict_json import printable
from engine.errors import EngineError, IntegrityError, RulePackError

if TYPE_CHECKING:
    from engine.evaluator.agree import Evaluator
    from engine.pack.book import RuleBook

F = TypeVar("F", bound=Callable[..., Any])

GOOD, FAULT, USAGE, INTEGRITY, PROVISIONAL = 0, 1, 2, 3, 4
_PRECEDENCE = (INTEGRITY, FAULT, PROVISIONAL, GOOD)

RULES_VARIABLE = "ELIGIBILITY_RULES"
OVERLAY_VARIABLE = "ELIGIBILITY_OVERLAY"
_RULES_FOLDERS = (Path("rules"), Path("/opt/eligibility/rules"))

EXIT_CODES = (
    "Exit codes: 0 good; 1 a fault; 2 wrong usage; 3 the engines disagree; 4 an answer is provisional, because a fact "
    "that decides is missing."
)


def worst(one: int, other: int) -> int:
    """Give the exit code that weighs more."""
    return min(one, other, key=_PRECEDENCE.index)


def complain(text: str) -> None:
    """Say on standard error what went wrong, one line for each line."""
    for line in text.splitlines():
        click.echo(f"eligibility: {printable(line)}", err=True)


def overlay_option(command: F) -> F:
    """Add the local packs, as `overlays`."""
    return click.option(
        "--overlay",
        "overlays",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        multiple=True,
        envvar=OVERLAY_VARIABLE,
        show_envvar=True,
        help="Folder of a local pack, which may only make answers stricter. May be given more than once.",
    )(command)


def rules_options(command: F) -> F:
    """Add what says where the rules are and whether they must be those of the lock."""
    command = click.option(
        "--unlocked", is_flag=True, help="Take rule packs that differ from packs.lock, while they are being written."
    )(command)
    return click.option(
        "--rules",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        envvar=RULES_VARIABLE,
        show_envvar=True,
        help="Folder of the rule packs.  [default: ./rules, else /opt/eligibility/rules]",
    )(command)


def engines_option(command: F) -> F:
    """Add the choice of engines."""
    return click.option(
        "--engines",
        type=click.Choice(["both", "interpret"]),
        default="both",
        show_default=True,
        help="Engines that compute a decision; two of them must agree on it.",
    )(command)


def open_rules(folder: Path | None, overlays: Sequence[Path] = (), *, unlocked: bool) -> RuleBook:
    """Load the rules.

    Args:
        folder: where they are; None for the first of the default places that exists.
        overlays: folders of local packs.
        unlocked: take packs that differ from packs.lock.

    Raises:
        click.UsageError: there is no folder of rules.
        RulePackError: the rules cannot be used.

    """
    from engine.pack.load import load_rules  # noqa: PLC0415 - not needed for `--help`

    found = folder or next((f for f in _RULES_FOLDERS if f.is_dir()), None)
    if found is None:
        raise click.UsageError(f"there is no folder `rules` here; give --rules PATH or set {RULES_VARIABLE}")
    return load_rules(found, overlays, is_locked=not unlocked)


@contextmanager
def open_engines(
    folder: Path | None, overlays: Sequence[Path] = (), *, unlocked: bool, engines: str
) -> Iterator[Evaluator]:
    """Load the rules, as `open_rules` does, and hold the engines over them; `engines` is `both` or `interpret`."""
    from engine.evaluator.agree import Evaluator  # noqa: PLC0415 - as above

    book = open_rules(folder, overlays, unlocked=unlocked)
    evaluator = Evaluator(book, "both" if engines == "both" else "interpret", sessions=1)
    try:
        yield evaluator
    finally:
        evaluator.close()


@contextmanager
def open_output(path: Path | None) -> Iterator[TextIO]:
    """Open what a command writes to: a file, whose name is in every error of writing, or standard output for None."""
    if path is None:
        yield sys.stdout
        return
    try:
        with path.open("w", encoding="utf-8") as stream:
            yield stream
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


class Mounted(click.Group):
    """A group of commands, each imported when it is asked for, whose errors become exit codes and one line each."""

    def __init__(self, places: dict[str, str], **more: Any) -> None:  # noqa: ANN401 - as click takes them
        """Mount commands by name; a place is `module:command`."""
        super().__init__(**more)
        self.places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands that exist."""
        mounted = [name for name, place in self.places.items() if find_spec(place.split(":")[0]) is not None]
        return [*mounted, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.list_commands(ctx) or cmd_name not in self.places:
            return super().get_command(ctx, cmd_name)
        module, name = self.places[cmd_name].split(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)  # noqa: S101 - what is mounted is a command
        return command

    def invoke(self, ctx: click.Context) -> None:
        """Run a command; an error of the engine that it did not answer itself ends it with exit code 1, or 3."""
        if sys.stdout is None:
            raise SystemExit(FAULT)  # there is nowhere to answer to
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter still gets the answer
        try:
            super().invoke(ctx)
        except RulePackError as error:
            complain(f"the rule packs cannot be used\n{error}")
        except IntegrityError as error:
            complain(str(error))
            ctx.exit(INTEGRITY)
        except EngineError as error:
            complain(str(error))
        except BrokenPipeError:
            raise  # whoever read the output has seen enough; click ends quietly
        except OSError as error:
            complain(f"{_place(error)} cannot be read or written: {os.strerror(error.errno or 0).lower()}")
        else:
            return
        ctx.exit(FAULT)


def _place(error: OSError) -> str:
    return f"`{error.filename}`" if error.filename else "standard output"
