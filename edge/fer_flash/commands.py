"""Arguments of ``fer-edge flash``; the work is imported when a command runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_edge.cli import Command, add_subcommands


def _configure_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _list(arguments: argparse.Namespace) -> int:
    from fer_flash.list_command import run

    return run(arguments)


def _configure_wheels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--release", choices=("bookworm", "trixie"), action="append", help="only for this one (default: for both)"
    )
    _add_cache(parser)
    _add_machine(parser)
    parser.add_argument("--force", action="store_true", help="fetch again what is there with a wrong sha256")


def _wheels(arguments: argparse.Namespace) -> int:
    from fer_flash.payload_commands import wheels

    return wheels(arguments)


def _configure_payload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--release", choices=("bookworm", "trixie"), required=True, help="of Raspberry Pi OS")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write it to, empty or new")
    _add_contents(parser)
    _add_cache(parser)
    _add_machine(parser)


def _payload(arguments: argparse.Namespace) -> int:
    from fer_flash.payload_commands import payload

    return payload(arguments)


def _add_contents(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="F", help="settings of the device; files that they name lie beside it"
    )
    parser.add_argument("--bundle", type=Path, metavar="DIR|ZIP", help="model bundle (default: the one in the package)")


def _add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where wheels are kept (default: the user's cache)")


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--platform", choices=("aarch64", "x86_64"), default="aarch64", help="processor (default: aarch64, the Pi's)"
    )


def _configure_flash(parser: argparse.ArgumentParser) -> None:
    add_subcommands(
        parser,
        {
            "list": Command("show the disks, and which of them may be written as a card", _configure_list, _list),
            "wheels": Command(
                "fetch the packages for a Pi once, so that all else needs no network", _configure_wheels, _wheels
            ),
            "payload": Command(
                "write all that a Pi needs into a folder: sh install.sh there", _configure_payload, _payload
            ),
        },
    )


def _configure_deploy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("host", metavar="USER@HOST", help="a Pi that runs, as ssh takes it")
    parser.add_argument("--port", type=int, metavar="N", help="its port of SSH (default: ssh's)")
    parser.add_argument("--identity", type=Path, metavar="F", help="key to log in with (default: ssh's)")
    parser.add_argument("--ssh-config", type=Path, metavar="F", help="settings of ssh (default: ssh's own)")
    _add_contents(parser)
    parser.add_argument("--payload", type=Path, metavar="DIR", help="install this one, which `flash payload` wrote")
    _add_cache(parser)
    parser.add_argument(
        "--replace-config", action="store_true", help="also where settings were changed there; they stay as *.old"
    )
    parser.add_argument("--remove", action="store_true", help="take FER-Edge off; settings and events stay")
    parser.add_argument("--purge", action="store_true", help="with --remove: settings and events go too")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and stop")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _deploy(arguments: argparse.Namespace) -> int:
    from fer_flash.deploy import run

    return run(arguments)


def _no_subcommand(arguments: argparse.Namespace) -> int:
    raise AssertionError("argparse demands a subcommand")


FLASH = Command("cards for a Pi: list, wheels, payload", _configure_flash, _no_subcommand)
DEPLOY = Command("install or update FER-Edge over SSH on a Pi that runs", _configure_deploy, _deploy)
