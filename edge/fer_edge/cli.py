"""The ``fer-edge`` command: finds its subcommands through entry points and turns errors into exit codes.

Each package's ``commands.py`` holds ``Command`` objects and imports nothing heavy; the work is imported
when a command runs, so that ``fer-edge --help`` stays quick on a Pi.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points

from fer_edge import __version__
from fer_edge.errors import FerEdgeError, OutputError

COMMAND_GROUP = "fer_edge.commands"
EXIT_USAGE = 2
EXIT_INTERNAL = 5
EXIT_INTERRUPTED = 130
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand: its ``summary`` for the overview, ``configure`` adds arguments, ``run`` returns the exit code."""

    summary: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def build_parser() -> argparse.ArgumentParser:
    """The parser with every installed subcommand."""
    parser = argparse.ArgumentParser(
        prog="fer-edge",
        description="Train, quantize, measure and run facial-expression recognition on embedded Linux.",
    )
    parser.add_argument("--version", action="version", version=f"fer-edge {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for entry_point in sorted(entry_points(group=COMMAND_GROUP), key=lambda entry: entry.name):
        command: Command = entry_point.load()
        subparser = subparsers.add_parser(
            entry_point.name, help=command.summary, description=command.summary, parents=[_common_arguments()]
        )
        command.configure(subparser)
        subparser.set_defaults(run_command=command.run)
    return parser


def add_subcommands(
    parser: argparse.ArgumentParser, commands: dict[str, Command], *, required: bool = True
) -> None:
    """Give ``parser`` a second level of commands, such as ``fer-edge data audit``.

    Where ``required`` is false, the first level runs by itself too, as ``fer-edge bench`` does.
    """
    subparsers = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=required)
    for name, command in commands.items():
        subparser = subparsers.add_parser(
            name, help=command.summary, description=command.summary, parents=[_common_arguments()]
        )
        command.configure(subparser)
        subparser.set_defaults(run_command=command.run)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's own) and return the exit code."""
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(
        level=arguments.log_level.upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        code: int = arguments.run_command(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _say("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone: end quietly.
        _drop_unwritable_stdout()
        return 0
    except Exception as error:  # the outermost frame: whatever comes becomes one line and a code
        if arguments.debug:
            raise
        _drop_unwritable_stdout()
        return _report(error)
    return code


def _drop_unwritable_stdout() -> None:
    """Where standard output takes no more (a full disk, a reader gone), keep the interpreter from saying so at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _common_arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("everywhere")
    group.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="warning",
        help="how much to log",
    )
    group.add_argument("--debug", action="store_true", help="show a traceback when something fails")
    return parser


def _report(error: Exception) -> int:
    if isinstance(error, FerEdgeError):
        _say(str(error))
        return error.exit_code
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        where = f" {error.filename}" if error.filename else ""
        _say(f"cannot write{where}: {error.strerror}; free some space or choose another place")
        return OutputError.exit_code
    _say(f"internal error: {type(error).__name__}: {error} (run again with --debug for the traceback)")
    return EXIT_INTERNAL


def _say(message: str) -> None:
    one_line = " ".join(message.split())
    sys.stderr.write(f"fer-edge: {one_line}\n")
