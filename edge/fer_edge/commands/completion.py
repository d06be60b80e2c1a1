"""``fer-edge completion``: print a script that completes commands, options and files in a shell."""

from __future__ import annotations

import argparse
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from fer_edge.commands.cli import build_parser
from fer_edge.errors import InputError

_FOLDERS = {"DIR", "RUN"}
"""Metavars of arguments that only a folder can be."""
_FILES = {"SOURCE", "DEVICE", "IN", "DIR|ZIP", "FILE", "FILE|-", "OUT.mp4", "W"}
"""Metavars of arguments that may be a file, without being of the type ``Path``."""


def run(arguments: argparse.Namespace) -> int:
    """Run ``fer-edge completion`` and return the exit code."""
    import shtab

    parser = build_parser()
    _prepare(parser, shtab.FILE, shtab.DIRECTORY)
    script = shtab.complete(parser, shell=arguments.shell)
    if arguments.shell == "zsh":
        # shtab lets an argument that takes several words complete only the first: _arguments writes the others as "*:".
        script = re.sub(r'^  "\(\*\)::?', '  "*:', script, flags=re.MULTILINE)
    sys.stdout.write(script + "\n")
    return 0


def _prepare(parser: argparse.ArgumentParser, files: Any, folders: Any) -> None:
    """Add the subcommands of other packages, and mark each argument that is a file or folder."""
    add_late_subcommands = getattr(parser, "before_parsing", None)
    if add_late_subcommands is not None:
        with suppress(InputError):  # a command that cannot be loaded has no options
            add_late_subcommands()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                _prepare(subparser, files, folders)
        elif action.metavar in _FOLDERS:
            action.complete = folders  # type: ignore[attr-defined]  # where shtab looks
        elif action.type is Path or action.metavar in _FILES:
            action.complete = files  # type: ignore[attr-defined]
        if isinstance(action.metavar, str):
            action.metavar = action.metavar.replace(":", " ")  # separates the parts of an argument in zsh
