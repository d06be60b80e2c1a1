"""Command-line arguments of ``fer-edge flash`` and ``fer-edge deploy``; each command is imported when it runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fer_edge.commands.argument_types import count
from fer_edge.commands.cli import Command, add_file, add_subcommands, deferred
from fer_edge.errors import InputError
from fer_ssh.options import add_ssh_options


def _configure_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _configure_wheels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--release", choices=("bookworm", "trixie"), action="append", help="only for this release (default: both)"
    )
    _add_cache(parser)
    _add_machine(parser)
    parser.add_argument("--force", action="store_true", help="download wheels with a wrong sha256 again")


def _configure_debs(parser: argparse.ArgumentParser) -> None:
    _add_image(parser)
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="folder to unpack the image into (default: the user's cache)"
    )
    _add_cache(parser)
    parser.add_argument("--force", action="store_true", help="download all packages again")


def _configure_payload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--release", choices=("bookworm", "trixie"), required=True, help="release of Raspberry Pi OS on the device"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder, empty or new")
    _add_contents(parser)
    _add_cache(parser)
    _add_machine(parser)


def _add_contents(parser: argparse.ArgumentParser) -> None:
    add_file(parser, "--settings", help="settings of the daemon; files that they name are in the same folder")
    parser.add_argument("--bundle", type=Path, metavar="DIR|ZIP", help="model bundle (default: the one in the package)")


def _add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="folder of downloaded wheels and packages (default: user's cache)"
    )


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--platform", choices=("aarch64", "x86_64"), default="aarch64", help="processor (default: aarch64, as in a Pi)"
    )


def _configure_write(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "image", metavar="IMAGE", type=Path, help="card image: .img, .img.xz, .img.gz, or .zip with one"
    )
    parser.add_argument("device", metavar="DEVICE", help="the card, such as /dev/sdb, or an existing file to write to")
    _add_write_options(parser)
    parser.add_argument("--sha256", metavar="HEX", help="expected SHA-256 of IMAGE (default: from IMAGE.sha256)")


def _write(arguments: argparse.Namespace) -> int:
    _demand_linux(f"write {arguments.image}")
    return deferred("fer_flash.commands.write:run")(arguments)


def _configure_compose(parser: argparse.ArgumentParser) -> None:
    _add_stock(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="OUT.img", help="the new image")
    parser.add_argument("--force", action="store_true", help="replace OUT.img")
    parser.add_argument("--dry-run", action="store_true", help="only print what the image would contain")
    _add_cache(parser)


def _configure_card(parser: argparse.ArgumentParser) -> None:
    _add_stock(parser)
    parser.add_argument(
        "--device", required=True, metavar="DEVICE", help="the card, such as /dev/sdb (see fer-edge flash list)"
    )
    _add_write_options(parser)
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="folder for the temporary image (default: the user's cache)"
    )
    _add_cache(parser)


def _card(arguments: argparse.Namespace) -> int:
    _demand_linux("use fer-edge flash compose, and write its image")
    return deferred("fer_flash.commands.card:run")(arguments)


def _configure_init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("pi.toml"), metavar="F", help="file to write (default: pi.toml)"
    )
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    parser.add_argument("--defaults", action="store_true", help="ask nothing; use defaults for what no option sets")
    parser.add_argument("--hostname", metavar="NAME", help="host name of the Pi (default: fer-edge)")
    parser.add_argument("--user", metavar="NAME", help="account on the Pi (default: your user name here)")
    parser.add_argument("--password-file", type=Path, metavar="F", help="file of mode 0600 with the account's password")
    parser.add_argument("--ssh-key", type=Path, action="append", metavar="F", help="public key that may log in")
    parser.add_argument("--wifi", metavar="SSID", help="Wi-Fi network (default: none)")
    parser.add_argument("--wifi-country", metavar="XX", help="country code for the Wi-Fi regulations, such as DE")
    parser.add_argument("--wifi-passphrase-file", type=Path, metavar="F", help="file of mode 0600 with the passphrase")
    parser.add_argument("--wifi-open", action="store_true", help="the Wi-Fi network has no passphrase")
    parser.add_argument("--timezone", metavar="NAME", help="such as Europe/Berlin (default: that of this computer)")
    parser.add_argument("--locale", metavar="NAME", help="such as de_DE.UTF-8 (default: yours here)")
    parser.add_argument("--keymap", metavar="NAME", help="keyboard layout (default: us)")
    parser.add_argument("--settings", type=Path, metavar="F", help="settings of the daemon, a config.toml")
    parser.add_argument(
        "--source", metavar="CAMERA", help="camera, without settings: picamera2 or 0 (default: picamera2)"
    )


def _demand_linux(instead: str) -> None:
    """Check the platform before importing modules that exist only on Linux. Raises InputError."""
    if not sys.platform.startswith("linux"):
        raise InputError(
            f"writing cards needs Linux; this is {sys.platform}: {instead} with Raspberry Pi Imager"
            " (operating system: Use custom; skip customisation, which the image already contains)"
        )


def _add_write_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="write; without it, only print what would be written")
    parser.add_argument(
        "--even-if-fixed",
        metavar="DEVICE",
        help="repeat the device's name to write to a disk that is not removable, or a file that is not a card image",
    )
    parser.add_argument(
        "--no-verify", dest="verify", action="store_false", help="do not read the card back and compare it"
    )


def _add_stock(parser: argparse.ArgumentParser) -> None:
    _add_image(parser)
    parser.add_argument(
        "--apt-online",
        action="store_true",
        help="let the Pi download missing system packages at its first boot, instead of putting them on the card",
    )
    add_file(parser, "--pi", required=True, metavar="pi.toml", help="settings of the Pi")


def _add_image(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--image", required=True, metavar="IN", help="Raspberry Pi OS Lite, 64-bit: .img, .img.xz or .zip, or a URL"
    )
    parser.add_argument("--sha256", metavar="HEX", help="published SHA-256 of IN; required for a URL")


def _configure_flash(parser: argparse.ArgumentParser) -> None:
    add_subcommands(
        parser,
        {
            "list": Command(
                "list the disks, and which of them can be written as a card",
                _configure_list,
                deferred("fer_flash.commands.list:run"),
            ),
            "write": Command("write an image to a card, read it back and compare", _configure_write, _write),
            "init": Command(
                "ask a few questions and write pi.toml", _configure_init, deferred("fer_flash.commands.init:run")
            ),
            "compose": Command(
                "make a card image from a stock image and pi.toml",
                _configure_compose,
                deferred("fer_flash.commands.compose:run"),
            ),
            "card": Command("compose, write and compare in one step", _configure_card, _card),
            "wheels": Command(
                "download the Python packages for a Pi once; later commands need no network",
                _configure_wheels,
                deferred("fer_flash.commands.payload:wheels"),
            ),
            "debs": Command(
                "download the system packages that a Raspberry Pi camera needs and an image lacks",
                _configure_debs,
                deferred("fer_flash.commands.debs:run"),
            ),
            "payload": Command(
                "write a folder that installs FER-Edge without a network: sh install.sh",
                _configure_payload,
                deferred("fer_flash.commands.payload:payload"),
            ),
        },
    )


def _configure_deploy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("hosts", nargs="*", metavar="USER@HOST", help="a running Pi, as for ssh, or several")
    parser.add_argument(
        "--hosts", dest="hosts_file", type=Path, metavar="F", help="file with more hosts: one per line, # for comments"
    )
    parser.add_argument(
        "--group",
        dest="groups",
        action="append",
        default=[],
        metavar="NAME",
        help="only the hosts below [NAME] in that file (default: ~/.config/fer-edge/hosts.txt); can be repeated",
    )
    parser.add_argument(
        "--jobs", type=count, default=4, metavar="N", help="with several hosts: at most N at a time (default: 4)"
    )
    parser.add_argument(
        "--max-failures",
        type=count,
        default=3,
        metavar="N",
        help="with several hosts: start no others after N failures (default: 3)",
    )
    add_ssh_options(parser)
    _add_contents(parser)
    parser.add_argument("--payload", type=Path, metavar="DIR", help="install this folder, written by `flash payload`")
    parser.add_argument(
        "--from-release",
        metavar="REPO",
        help="verify and install the newest payload of this signed repository, a URL or a folder by `fer-edge release`",
    )
    parser.add_argument(
        "--trust", type=Path, metavar="ROOT.json", help="root of trust of that repository; needed the first time"
    )
    _add_cache(parser)
    parser.add_argument(
        "--replace-config", action="store_true", help="replace settings that were changed on the Pi (kept as *.old)"
    )
    parser.add_argument("--remove", action="store_true", help="uninstall FER-Edge; keep settings and events")
    parser.add_argument("--purge", action="store_true", help="with --remove: also delete settings and events")
    parser.add_argument("--dry-run", action="store_true", help="print what would change, and stop")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    # For the process of each of several hosts: skips a device that has all of it; folder of the verified payloads.
    parser.add_argument("--one-of-many", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--verified", type=Path, metavar="DIR", help=argparse.SUPPRESS)


FLASH = Command("make and write Raspberry Pi cards", _configure_flash)
DEPLOY = Command(
    "install or update FER-Edge over SSH on a running Pi", _configure_deploy, deferred("fer_flash.deploy.deploy:run")
)
