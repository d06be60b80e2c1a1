"""Arguments of ``fer-edge flash``; the work is imported when a command runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fer_edge.commands.cli import Command, add_subcommands
from fer_edge.errors import InputError


def _configure_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _list(arguments: argparse.Namespace) -> int:
    from fer_flash.commands.list import run

    return run(arguments)


def _configure_wheels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--release", choices=("bookworm", "trixie"), action="append", help="only for this one (default: for both)"
    )
    _add_cache(parser)
    _add_machine(parser)
    parser.add_argument("--force", action="store_true", help="fetch again what is there with a wrong sha256")


def _wheels(arguments: argparse.Namespace) -> int:
    from fer_flash.commands.payload import wheels

    return wheels(arguments)


def _configure_debs(parser: argparse.ArgumentParser) -> None:
    _add_image(parser)
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="where the image is unpacked (default: the user's cache)"
    )
    _add_cache(parser)
    parser.add_argument("--force", action="store_true", help="fetch again what is there already")


def _debs(arguments: argparse.Namespace) -> int:
    from fer_flash.commands.debs import run

    return run(arguments)


def _configure_payload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--release", choices=("bookworm", "trixie"), required=True, help="of Raspberry Pi OS")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write it to, empty or new")
    _add_contents(parser)
    _add_cache(parser)
    _add_machine(parser)


def _payload(arguments: argparse.Namespace) -> int:
    from fer_flash.commands.payload import payload

    return payload(arguments)


def _add_contents(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="F", help="settings of the device; files that they name lie beside it"
    )
    parser.add_argument("--bundle", type=Path, metavar="DIR|ZIP", help="model bundle (default: the one in the package)")


def _add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="where wheels and packages are kept (default: the user's cache)"
    )


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--platform", choices=("aarch64", "x86_64"), default="aarch64", help="processor (default: aarch64, the Pi's)"
    )


def _configure_write(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "image", metavar="IMAGE", type=Path, help="card image: .img, .img.xz, .img.gz, or .zip with one"
    )
    parser.add_argument("device", metavar="DEVICE", help="the card, such as /dev/sdb, or a file that stands for one")
    _add_write_options(parser)
    parser.add_argument("--sha256", metavar="HEX", help="what IMAGE must have (default: from IMAGE.sha256, if there)")


def _write(arguments: argparse.Namespace) -> int:
    _demand_linux(f"write {arguments.image}")
    from fer_flash.commands.write import run

    return run(arguments)


def _configure_compose(parser: argparse.ArgumentParser) -> None:
    _add_stock(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="OUT.img", help="the new image")
    parser.add_argument("--force", action="store_true", help="replace OUT.img")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be in it")
    _add_cache(parser)


def _compose(arguments: argparse.Namespace) -> int:
    from fer_flash.commands.compose import run

    return run(arguments)


def _configure_card(parser: argparse.ArgumentParser) -> None:
    _add_stock(parser)
    parser.add_argument("--device", required=True, help="the card, such as /dev/sdb; fer-edge flash list shows them")
    _add_write_options(parser)
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the image is made (default: the user's cache)")
    _add_cache(parser)


def _card(arguments: argparse.Namespace) -> int:
    _demand_linux("use fer-edge flash compose, and write its image")
    from fer_flash.commands.card import run

    return run(arguments)


def _configure_init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("pi.toml"), metavar="F", help="the file (default: pi.toml)")
    parser.add_argument("--force", action="store_true", help="replace it")
    parser.add_argument("--defaults", action="store_true", help="ask nothing; defaults stand for what no flag says")
    parser.add_argument("--hostname", metavar="NAME", help="of the Pi (default: fer-edge)")
    parser.add_argument("--user", metavar="NAME", help="account on it (default: yours here)")
    parser.add_argument("--password-file", type=Path, metavar="F", help="file of mode 0600 with its password")
    parser.add_argument("--ssh-key", type=Path, action="append", metavar="F", help="public key that may log in")
    parser.add_argument("--wifi", metavar="SSID", help="wireless network (default: none)")
    parser.add_argument("--wifi-country", metavar="XX", help="whose radio rules hold")
    parser.add_argument("--wifi-passphrase-file", type=Path, metavar="F", help="file of mode 0600 with its passphrase")
    parser.add_argument("--wifi-open", action="store_true", help="the network has no passphrase")
    parser.add_argument("--timezone", metavar="NAME", help="such as Europe/Berlin (default: this machine's)")
    parser.add_argument("--locale", metavar="NAME", help="such as de_DE.UTF-8 (default: yours here)")
    parser.add_argument("--keymap", metavar="NAME", help="keyboard layout (default: us)")
    parser.add_argument("--settings", type=Path, metavar="F", help="settings of the daemon, its config.toml")
    parser.add_argument("--source", metavar="CAMERA", help="without settings: picamera2 or 0 (default: picamera2)")


def _init(arguments: argparse.Namespace) -> int:
    from fer_flash.commands.init import run

    return run(arguments)


def _demand_linux(instead: str) -> None:
    """Before anything is imported that other systems lack. Raises InputError."""
    if not sys.platform.startswith("linux"):
        raise InputError(
            f"writing cards needs Linux; this is {sys.platform}: {instead} with Raspberry Pi Imager"
            " (operating system: Use custom; no customisation, since the image has it)"
        )


def _add_write_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="write; without it, only say what would be written where")
    parser.add_argument(
        "--even-if-fixed", metavar="DEVICE", help="the device's name a second time, for a disk that is no card"
    )
    parser.add_argument(
        "--no-verify", dest="verify", action="store_false", help="do not read back and compare what was written"
    )


def _add_stock(parser: argparse.ArgumentParser) -> None:
    _add_image(parser)
    parser.add_argument(
        "--apt-online",
        action="store_true",
        help="let the Pi fetch the system's packages that it lacks at its first boot: they are not put on the card",
    )
    parser.add_argument("--config", type=Path, required=True, metavar="pi.toml", help="what the Pi shall be")


def _add_image(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--image", required=True, metavar="IN", help="Raspberry Pi OS Lite, 64-bit: .img, .img.xz or .zip, or a URL"
    )
    parser.add_argument("--sha256", metavar="HEX", help="of IN as it is published; a URL needs it")


def _configure_flash(parser: argparse.ArgumentParser) -> None:
    add_subcommands(
        parser,
        {
            "list": Command("show the disks, and which of them may be written as a card", _configure_list, _list),
            "write": Command("write an image to a card, read it back and compare", _configure_write, _write),
            "init": Command("ask a few questions, and write pi.toml", _configure_init, _init),
            "compose": Command("make a card image of a stock one and pi.toml", _configure_compose, _compose),
            "card": Command("compose, write and compare in one step", _configure_card, _card),
            "wheels": Command(
                "fetch the packages for a Pi once, so that all else needs no network", _configure_wheels, _wheels
            ),
            "debs": Command(
                "fetch the system's packages that an image lacks for a Raspberry Pi camera, once",
                _configure_debs,
                _debs,
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
    from fer_flash.deploy.deploy import run

    return run(arguments)


def _no_subcommand(arguments: argparse.Namespace) -> int:
    raise AssertionError("argparse demands a subcommand")


FLASH = Command("cards for a Pi, from a stock image to a written one", _configure_flash, _no_subcommand)
DEPLOY = Command("install or update FER-Edge over SSH on a Pi that runs", _configure_deploy, _deploy)
