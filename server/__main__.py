"""`eligibility-server`: starts the server, reloads its rules and clients on SIGHUP, drains on SIGTERM and SIGINT.

Exit code 0 after an orderly stop, 1 when rules or decision log cannot be used, 2 when a setting cannot, 3 when the
decision log is not what was logged.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
from typing import TYPE_CHECKING

from engine.errors import IntegrityError, LedgerError, RulePackError
from server.app import Server, create_server, load
from server.config import SettingsError, read_settings
from server.log_format import make_log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from server.config import Settings
    from server.rules_in_force import LoadedRules

EXIT_FAULT = 1
EXIT_USAGE = 2
EXIT_INTEGRITY = 3
_PR_SET_DUMPABLE = 4
COLLECTED = (20_000, 10, 10)
"""Objects that are new, and collections of the younger, before each generation is collected."""
SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""Held back from every thread and taken one by one, so that none is lost."""


def main(arguments: Sequence[str] | None = None, load_all: Callable[[Settings], LoadedRules] = load) -> int:
    """Run the server until it is told to stop; give the exit code."""
    try:
        settings = read_settings(sys.argv[1:] if arguments is None else arguments)
        if settings is None:
            return 0
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        forbid_core_dumps()
        failures: list[LedgerError] = []

        def stop(error: LedgerError) -> None:
            failures.append(error)
            os.kill(os.getpid(), signal.SIGTERM)

        server, _ = create_server(settings, make_log(), load_all=load_all, on_stop=stop)
    except SettingsError as error:
        sys.stderr.write(f"eligibility-server: {error}\n")
        return EXIT_USAGE
    except RulePackError as error:
        sys.stderr.write(f"eligibility-server: the rule packs cannot be used\n{error}\n")
        return EXIT_FAULT
    except LedgerError as error:
        sys.stderr.write(f"eligibility-server: the decision log cannot be used: {error}\n")
        return exit_code(error)
    spare_collections()
    _serve(server)
    return exit_code(failures[0]) if failures else 0


def exit_code(error: LedgerError) -> int:
    """Give the exit code of what is wrong with the decision log."""
    return EXIT_INTEGRITY if isinstance(error, IntegrityError) else EXIT_FAULT


def spare_collections() -> None:
    """Keep rules and engines, which stay for good, out of garbage collections, and let those be rare.

    Each would walk through all that lives, for tens of milliseconds; what a call leaves behind is freed without them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTED)


def forbid_core_dumps() -> None:
    """Keep patients' data and keys in memory from being written to a file when the process crashes."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _serve(server: Server) -> None:
    server.start()
    while signal.sigwait(SIGNALS) == signal.SIGHUP:
        _reload(server)
    server.stop()


def _reload(server: Server) -> None:
    server.reload_clients()
    try:
        server.reload()
    except (RulePackError, LedgerError):
        return  # logged and told to health where it was refused


if __name__ == "__main__":
    sys.exit(main())
