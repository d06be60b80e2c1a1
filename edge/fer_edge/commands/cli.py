"""The ``fer-edge`` command: finds subcommands through entry points and turns errors into exit codes.

The modules that define ``Command`` objects import nothing heavy. The implementation of a command is imported when it
runs, so that ``fer-edge --help`` is fast on a Pi.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import faulthandler
import functools
import importlib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from fer_edge import __version__
from fer_edge.commands.limits import check_address_space, check_descriptors, resource_problem
from fer_edge.errors import FerEdgeError, InputError, OutputError
from fer_edge.system.driver_threads import driver_threads_alive
from fer_edge.system.messages import LogHandler, print_message, print_traceback

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

COMMAND_GROUP = "fer_edge.commands"
"""Entry-point group of the commands of all packages. A name of two words, such as ``bench study``, is a subcommand."""
EXIT_USAGE = 2
EXIT_INTERNAL = 5
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 128 + signal.SIGTERM
_AGAIN_S = 0.01
"""Seconds after which a signal is delivered again whose exception was ignored."""
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand: ``summary`` for the overview, ``configure`` adds arguments, ``run`` returns the exit code.

    ``run`` is None for a command that requires a subcommand.
    """

    summary: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int] | None = None


def deferred(target: str) -> Callable[[argparse.Namespace], int]:
    """Return the function ``module:name``, which is imported when it is called: a command's work may import a lot."""

    def run(arguments: argparse.Namespace) -> int:
        check_address_space()
        module, _, name = target.partition(":")
        return int(getattr(importlib.import_module(module), name)(arguments))

    return run


class _Terminated(BaseException):
    """SIGTERM as an exception, so that unfinished work is cleaned up as for Ctrl-C."""


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser with one-line errors, which name the nearest option or command, and without abbreviations.

    ``before_parsing`` is called once, before the parser parses its arguments. It loads subcommands of other packages,
    or raises an error if the package of a command cannot be loaded.
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
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:  # refused here, so that the error refers to the help of the command
            self.error(_unknown(unknown[0], list(self._option_string_actions)))
        return namespace, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            kind = "subcommand" if action.dest == "subcommand" else "command"
            near = _nearest(value, list(action.choices))
            known = "" if near else f"; {kind}s: {', '.join(action.choices)}"
            raise argparse.ArgumentError(None, f"unknown {kind} {value!r}{near}{known}")
        super()._check_value(action, value)


def _unknown(word: str, options: Sequence[str]) -> str:
    if not word.startswith("-"):
        return f"unexpected argument {word!r}"
    option = word.partition("=")[0]
    return f"unknown option {option}{_nearest(option, options)}"


def _nearest(word: str, known: Sequence[str]) -> str:
    import difflib  # slow to import, and rarely needed

    near = difflib.get_close_matches(word, known, n=1, cutoff=0.65)
    return f"; did you mean {near[0]}?" if near else ""


def build_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser with all installed subcommands, or only with the one that ``words`` begin with.

    Loading the other commands would take time and memory of a Pi.
    """
    parser = _Parser(
        prog="fer-edge",
        description="Train, quantize, measure and run facial-expression recognition on embedded Linux.",
        parents=[_common_arguments(log_level="warning", debug=False)],
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    first = next(iter(words), "")
    # By name, since the registry imports this module.
    own: dict[str, Command] = importlib.import_module("fer_edge.commands.registry").COMMANDS
    if first in own:
        _add_command(subparsers, first, own[first])
    else:
        _add_discovered(subparsers, first)
    return parser


def add_subcommands(parser: argparse.ArgumentParser, commands: dict[str, Command], *, required: bool = True) -> None:
    """Add subcommands by name to ``parser``, as in ``fer-edge data audit``.

    One must be given if they are ``required``; ``fer-edge bench`` works without one.
    """
    subparsers = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=required)
    for name, command in commands.items():
        _add_command(subparsers, name, command)


def add_file(
    parser: argparse.ArgumentParser, flag: str, *, help: str, required: bool = False, metavar: str = "F"
) -> None:
    """Add a flag for a TOML file: ``--settings``, ``--recipe`` or ``--pi``. ``--config`` is a hidden synonym.

    The path is in ``arguments.config``.
    """
    action = parser.add_argument(flag, dest="config", type=Path, required=required, metavar=metavar, help=help)
    # A second option string of ``add_argument`` would be in the help and in every error message.
    parser._option_string_actions["--config"] = action


def program() -> NoReturn:
    """Run ``main`` as the process and exit with its code."""
    # NumPy's BLAS would start a thread per core when it is imported, which is a third of a start's processor time.
    # Nothing here multiplies large matrices with NumPy; Keras' backends and LiteRT have their own threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # A crash of native code prints the stacks of all threads. Its own descriptor: stderr may be hidden at that moment.
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        faulthandler.enable(os.dup(2))
    code = main()
    if driver_threads_alive():
        # A thread that returns from OpenCV during interpreter shutdown would abort the process.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's own) and return the exit code."""
    _prepare_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    state = ""  # message of an interrupted command: the state in which it leaves things
    received: list[int] = []
    try:
        with _raise_signals(received):
            check_descriptors()
            code = _parse_and_run(words)
        sys.stdout.flush()
    except KeyboardInterrupt as error:
        code, state = EXIT_INTERRUPTED, str(error)
    except _Terminated as error:
        code, state = EXIT_TERMINATED, str(error)
    except BrokenPipeError:
        # The reader (head, less) is gone: end quietly.
        _drop_unwritable_stdout()
        return 0
    except Exception as error:  # noqa: BLE001 - outermost frame: every error becomes one line and a code
        if "--debug" in words:
            print_traceback()
        _drop_unwritable_stdout()
        known = _known(error)
        if known is not None or not received:
            code, line = known or (EXIT_INTERNAL, _defect(error))
            print_message(line)
            return code
        # An exception raised by a signal while an extension module loads becomes an ImportError or worse.
        code = EXIT_TERMINATED if received[0] == signal.SIGTERM else EXIT_INTERRUPTED
    if code in (EXIT_INTERRUPTED, EXIT_TERMINATED):
        _drop_unwritable_stdout()
        print_message(("interrupted" if code == EXIT_INTERRUPTED else "terminated") + (state and f": {state}"))
    return code


@contextlib.contextmanager
def _raise_signals(received: list[int]) -> Iterator[None]:
    """Raise an exception in the block on Ctrl-C and SIGTERM, and append the signal numbers to ``received``.

    If Ctrl-C was ignored, it stays ignored. ``fer-edge run`` handles both signals itself while it runs.
    """

    def end(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt if number == signal.SIGINT else _Terminated

    if threading.current_thread() is not threading.main_thread():  # only the main thread can set handlers
        yield
        return
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, end) for number in numbers}
    show = sys.excepthook

    def show_others(kind: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
        # An extension module that is interrupted while it loads NumPy prints the exception, and raises another one.
        if not issubclass(kind, KeyboardInterrupt | _Terminated):
            show(kind, value, traceback)

    show_ignored = sys.unraisablehook

    def deliver_again(ignored: sys.UnraisableHookArgs) -> None:
        # Python ignores what a destructor or a callback of a weak reference raises, such as one of the import lock.
        if not issubclass(ignored.exc_type, KeyboardInterrupt | _Terminated):
            show_ignored(ignored)
            return
        again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), received[-1]))
        again.daemon = True
        again.start()

    sys.excepthook, sys.unraisablehook = show_others, deliver_again
    try:
        yield
    finally:
        sys.excepthook, sys.unraisablehook = show, show_ignored
        for number, handler in before.items():
            signal.signal(number, handler)


def _parse_and_run(words: Sequence[str]) -> int:
    try:
        parser = build_parser(words)
        if not words:
            parser.print_help()
            return 0
        arguments = parser.parse_args(words)
    except SystemExit as end:  # argparse has printed help, the version or a usage error
        return end.code if isinstance(end.code, int) else EXIT_USAGE
    logging.basicConfig(level=arguments.log_level.upper(), handlers=[LogHandler()])
    # Ctrl-C while msgspec (0.22) loads it from C would be lost, and msgspec's first conversion follow a null pointer.
    importlib.import_module("datetime")
    code: int = arguments.run_command(arguments)
    return code


def _add_discovered(subparsers: Any, only: str | None) -> None:
    """Add the commands of ``COMMAND_GROUP``, or only the one named ``only`` if it exists.

    Subcommands are loaded when their command parses its arguments: other commands do not need them.
    """
    # Imported here because it is slow: Ctrl-C should be handled by main() before that.
    from importlib.metadata import entry_points

    commands: dict[str, EntryPoint] = {}  # by name: if two packages provide the same command, one is used
    nested: dict[str, dict[str, EntryPoint]] = {}
    for entry_point in entry_points(group=COMMAND_GROUP):
        name, _, subcommand = entry_point.name.partition(" ")
        if subcommand:
            nested.setdefault(name, {})[subcommand] = entry_point
        else:
            commands[name] = entry_point
    _add_loaded(subparsers, {only: commands[only]} if only in commands else commands)
    for name, subcommands in nested.items():
        parser = subparsers.choices.get(name)
        actions = [] if parser is None else parser._actions
        of_command = next((each for each in actions if isinstance(each, argparse._SubParsersAction)), None)
        if of_command is not None:  # a command without subcommands, or one that cannot be loaded, gets none
            parser.before_parsing = functools.partial(_add_loaded, of_command, subcommands)


def _add_loaded(subparsers: Any, commands: Mapping[str, EntryPoint]) -> None:
    """Load and add ``commands``. One that cannot be loaded is listed, and fails when used; existing ones stay."""
    for name, entry_point in sorted(commands.items()):
        if name in subparsers.choices:
            continue
        try:
            command: Command = entry_point.load()
        except Exception as error:  # noqa: BLE001 - code of other packages may raise anything
            broken: _Parser = subparsers.add_parser(name, help="(cannot be loaded)")
            broken.before_parsing = functools.partial(_refuse, entry_point, error)
            continue
        _add_command(subparsers, name, command)


def _refuse(entry_point: EntryPoint, error: Exception) -> NoReturn:
    raise InputError(
        f"{entry_point.name}: this command cannot be loaded from {entry_point.value}:"
        f" {type(error).__name__}: {error}; reinstall its package, or remove it"
    ) from error


def _add_command(subparsers: Any, name: str, command: Command) -> None:
    # Defaults are suppressed; otherwise they would override options before the command: fer-edge --debug bench.
    common = _common_arguments(log_level=argparse.SUPPRESS, debug=argparse.SUPPRESS)
    subparser = subparsers.add_parser(name, help=command.summary, description=command.summary, parents=[common])
    command.configure(subparser)
    if command.run is not None:
        subparser.set_defaults(run_command=command.run)


def _common_arguments(*, log_level: str, debug: bool | str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("common options")
    group.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default=log_level,
        help="minimum level of log messages",
    )
    group.add_argument("--debug", action="store_true", default=debug, help="show a traceback if an error occurs")
    group.add_argument(
        "--version", action="version", version=f"fer-edge {__version__}", help="show the version and exit"
    )
    return parser


def _prepare_streams() -> None:
    """Make the standard streams writable: replace closed ones by the null device, escape unencodable characters."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - open until the process exits
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names may contain bytes that are not valid text.
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_unwritable_stdout() -> None:
    """If standard output is not writable (disk full, reader gone), prevent an error message at interpreter exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _defect(error: Exception) -> str:
    return f"internal error: {type(error).__name__}: {error} (run again with --debug for the traceback)"


def _known(error: Exception) -> tuple[int, str] | None:
    """Return exit code and message for an error with a known cause, or None for a defect."""
    problem = resource_problem(error)
    if problem is not None:
        return problem
    if isinstance(error, FerEdgeError):
        return error.exit_code, str(error)
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        where = f" {error.filename}" if error.filename else ""
        line = f"cannot write{where}: {error.strerror}; free some space or choose another folder"
        return OutputError.exit_code, line
    return None
