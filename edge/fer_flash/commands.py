"""Arguments of ``fer-edge flash``; the work is imported when a command runs."""

from __future__ import annotations

import argparse

from fer_edge.cli import Command, add_subcommands


def _configure_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _list(arguments: argparse.Namespace) -> int:
    from fer_flash.list_command import run

    return run(arguments)


def _configure_flash(parser: argparse.ArgumentParser) -> None:
    add_subcommands(
        parser,
        {"list": Command("show the disks, and which of them may be written as a card", _configure_list, _list)},
    )


def _no_subcommand(arguments: argparse.Namespace) -> int:
    raise AssertionError("argparse demands a subcommand")


FLASH = Command("look for cards: list", _configure_flash, _no_subcommand)
