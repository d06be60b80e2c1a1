"""The ``fer-edge`` command: finds its subcommands through entry points and turns errors into exit codes.

Each package's ``commands.py`` holds ``Command`` objects and imports nothing heavy; the work is imported
when a command runs, so that ``fer-edge --help`` stays quick on a Pi.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import functools
import io
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, cast

from fer_edge import __version__
from fer_edge.errors import FerEdgeError, InputError, OutputError
from fer_edge.system.messages import print_message
from fer_edge.system.stderr import STDERR_LOCK

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

COMMAND_GROUP = "fer_edge.commands"
EXIT_USAGE = 2
EXIT_INTERNAL = 5
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 128 + signal.SIGTERM
_LEFT_BEHIND = ("open ", "read ", "stream ")
"""What the names of threads begin with that may still be inside OpenCV at the end: a camera that does not answer."""
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand: its ``summary`` for the overview, ``configure`` adds arguments, ``run`` returns the exit code."""

    summary: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


class _Terminated(BaseException):
    """SIGTERM, as an exception: what is half done is cleaned up on the way out, as it is for Ctrl-C."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and whose options are not guessed from their first letters.

    ``before_parsing`` is called when it is this parser's turn: it adds subcommands that nobody should pay for before,
    or says, whatever was asked, that the command's package cannot be loaded.
    """

    before_parsing: Callable[[], None] | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        print_message(f"{message}; see {self.prog} --help")
        raise SystemExit(EXIT_USAGE)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.before_parsing is not None:
            prepare, self.before_parsing = self.before_parsing, None
            prepare()
        return super().parse_known_args(args, namespace)


def build_parser() -> argparse.ArgumentParser:
    """The parser with every installed subcommand."""
    parser = _Parser(
        prog="fer-edge",
        description="Train, quantize, measure and run facial-expression recognition on embedded Linux.",
        parents=[_common_arguments(log_level="warning", debug=False)],
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_discovered(subparsers, COMMAND_GROUP)
    return parser


def add_subcommands(
    parser: argparse.ArgumentParser, commands: dict[str, Command], *, required: bool = True, group: str | None = None
) -> None:
    """Give ``parser``, as ``Command.configure`` gets it, a second level of commands, such as ``fer-edge data audit``.

    Where ``required`` is false, the first level runs by itself too, as ``fer-edge bench`` does. ``group`` is an
    entry-point group in which other packages offer more; it is looked up when ``parser`` has something to parse.
    """
    subparsers = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=required)
    for name, command in commands.items():
        _add_command(subparsers, name, command)
    if group is not None:
        # argparse makes every parser below ours of our class.
        cast("_Parser", parser).before_parsing = lambda: _add_discovered(subparsers, group)


def program() -> NoReturn:
    """``main`` as a process of its own, which ends here with its exit code."""
    code = main()
    if any(thread.name.startswith(_LEFT_BEHIND) for thread in threading.enumerate()):
        # One that comes back from OpenCV while the interpreter goes down would abort the process.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's own) and return the exit code."""
    _prepare_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    state = ""  # what a command that was ended put into the exception: how it leaves things
    came: list[int] = []
    try:
        with _signals_raised(came):
            code = _parse_and_run(words)
        sys.stdout.flush()
    except KeyboardInterrupt as error:
        code, state = EXIT_INTERRUPTED, str(error)
    except _Terminated as error:
        code, state = EXIT_TERMINATED, str(error)
    except BrokenPipeError:
        # The reader (head, less) has gone: end quietly.
        _drop_unwritable_stdout()
        return 0
    except Exception as error:  # noqa: BLE001 - the outermost frame: whatever comes becomes one line and a code
        if "--debug" in words:
            traceback.print_exc()
        _drop_unwritable_stdout()
        known = _known(error)
        if known is not None or not came:
            code, line = known or _defect(error)
            print_message(line)
            return code
        # Extension modules turn what is raised while they are loaded into an ImportError, or into worse.
        code = EXIT_TERMINATED if came[0] == signal.SIGTERM else EXIT_INTERRUPTED
    if code in (EXIT_INTERRUPTED, EXIT_TERMINATED):
        _drop_unwritable_stdout()
        print_message(("interrupted" if code == EXIT_INTERRUPTED else "terminated") + (state and f": {state}"))
    return code


@contextlib.contextmanager
def _signals_raised(came: list[int]) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block by an exception, and ``came`` holds their numbers.

    Ctrl-C that is ignored stays so; ``fer-edge run`` has an answer of its own to both while it runs.
    """

    def end(number: int, frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt if number == signal.SIGINT else _Terminated

    if threading.current_thread() is not threading.main_thread():  # only there may a handler be set
        yield
        return
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _parse_and_run(words: Sequence[str]) -> int:
    try:
        arguments = build_parser().parse_args(words)
    except SystemExit as end:  # argparse has answered: help, the version, or what is wrong with the usage
        return end.code if isinstance(end.code, int) else EXIT_USAGE
    handler = logging.StreamHandler(sys.stderr)
    handler.lock = STDERR_LOCK  # or a line would be lost that comes while native libraries are kept quiet
    logging.basicConfig(
        level=arguments.log_level.upper(), format="%(levelname)s %(name)s: %(message)s", handlers=[handler]
    )
    code: int = arguments.run_command(arguments)
    return code


def _add_discovered(subparsers: Any, group: str) -> None:
    """Add the commands of an entry-point group; one that does not load is listed, and says so when it is used."""
    # Not above: it takes a while to import, and Ctrl-C should find main() at work by then.
    from importlib.metadata import entry_points

    # By name: where two packages offer the same command, one of them has it, and what is there already stays.
    found = {entry_point.name: entry_point for entry_point in entry_points(group=group)}
    for name, entry_point in sorted(found.items()):
        if name in subparsers.choices:
            continue
        try:
            command: Command = entry_point.load()
        except Exception as error:  # noqa: BLE001 - another package's code may fail in any way
            broken: _Parser = subparsers.add_parser(name, help="(cannot be loaded)")
            broken.before_parsing = functools.partial(_refuse, _load_problem(entry_point, error))
            continue
        _add_command(subparsers, name, command)


def _refuse(problem: InputError) -> NoReturn:
    raise problem


def _add_command(subparsers: Any, name: str, command: Command) -> None:
    # No defaults of its own, lest it take back what was given before its name: fer-edge --debug bench latency.
    common = _common_arguments(log_level=argparse.SUPPRESS, debug=argparse.SUPPRESS)
    subparser = subparsers.add_parser(name, help=command.summary, description=command.summary, parents=[common])
    command.configure(subparser)
    subparser.set_defaults(run_command=command.run)


def _common_arguments(*, log_level: str, debug: bool | str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("everywhere")
    group.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default=log_level, help="how much to log"
    )
    group.add_argument("--debug", action="store_true", default=debug, help="show a traceback when something fails")
    group.add_argument("--version", action="version", version=f"fer-edge {__version__}", help="show the version")
    return parser


def _load_problem(entry_point: EntryPoint, error: Exception) -> InputError:
    problem = InputError(
        f"{entry_point.name}: this command cannot be loaded from {entry_point.value}:"
        f" {type(error).__name__}: {error}; install the package that it belongs to again, or remove it"
    )
    problem.__cause__ = error
    return problem


def _prepare_streams() -> None:
    """Standard streams that always take text: closed ones go nowhere, and what cannot be encoded is escaped."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - open for as long as the process runs
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files may hold bytes that are no text.
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_unwritable_stdout() -> None:
    """Where standard output takes no more (a full disk, a reader gone), keep the interpreter from saying so at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _known(error: Exception) -> tuple[int, str] | None:
    """Exit code and line for an error that says more than that there is a defect."""
    if isinstance(error, FerEdgeError):
        return error.exit_code, str(error)
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        where = f" {error.filename}" if error.filename else ""
        line = f"cannot write{where}: {error.strerror}; free some space or choose another place"
        return OutputError.exit_code, line
    return None


def _defect(error: Exception) -> tuple[int, str]:
    line = f"internal error: {type(error).__name__}: {error} (run again with --debug for the traceback)"
    return EXIT_INTERNAL, line
