"""Arguments of ``fer-edge release``; the work is imported when one runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_edge.commands.argument_types import count
from fer_edge.commands.cli import Command, add_subcommands, deferred

_ROLES = ("root", "targets", "snapshot", "timestamp")


def _percent(text: str) -> int:
    number = text.removesuffix("%")
    if not (number.isascii() and number.isdigit() and int(number) <= 100):
        raise argparse.ArgumentTypeError(f"must be a share of the devices such as 10%, not {text!r}")
    return int(number)


def _add_repository(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the repository, which a web server serves")


def _add_keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keys", type=Path, metavar="DIR", help="folder of the private keys (default: the repository's name and .keys)"
    )
    parser.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="file whose first line encrypts or decrypts the keys"
    )


def _configure_init(parser: argparse.ArgumentParser) -> None:
    _add_repository(parser)
    _add_keys(parser)
    for role in ("root", "targets"):
        parser.add_argument(f"--{role}-keys", type=count, default=1, metavar="N", help=f"keys of {role} (default: 1)")
        parser.add_argument(
            f"--{role}-threshold", type=count, default=1, metavar="N", help=f"how many must sign {role} (default: 1)"
        )


def _configure_publish(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE", help="model bundle, a folder or zip")
    parser.add_argument(
        "--payload",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="the program for `fer-edge deploy --from-release`, written by `fer-edge flash payload`; can be repeated",
    )
    parser.add_argument("--to", dest="folder", type=Path, required=True, metavar="DIR", help="folder of the repository")
    _add_keys(parser)
    parser.add_argument("--channel", choices=("stable", "canary"), help="channel of the bundle (default: stable)")
    parser.add_argument(
        "--rollout",
        type=_percent,
        metavar="N%",
        help="share of the devices that take it; publish the same bundle again to change it (default: 100%%)",
    )
    judged = parser.add_mutually_exclusive_group()
    judged.add_argument(
        "--gate", type=Path, metavar="TOML", help="rules that each variant must keep, compared with float32 on data"
    )
    judged.add_argument("--no-gate", action="store_true", help="only check the files, not what they recognize")
    parser.add_argument("--data", type=Path, metavar="PATH", help="data for the gate, as for fer-edge data")


def _configure_refresh(parser: argparse.ArgumentParser) -> None:
    _add_repository(parser)
    _add_keys(parser)
    parser.add_argument("--root", action="store_true", help="also sign the root again, which needs its keys")


def _configure_rotate(parser: argparse.ArgumentParser) -> None:
    _add_repository(parser)
    parser.add_argument("role", choices=_ROLES, help="role whose key is replaced")
    _add_keys(parser)
    parser.add_argument("--key", metavar="ID", help="start of the id of the key to replace, if the role has several")


RELEASE = Command(
    "sign model bundles and the program for devices: init, publish, refresh, rotate-key, status",
    lambda parser: add_subcommands(
        parser,
        {
            "init": Command("create a repository and its keys", _configure_init, deferred("fer_release.command:init")),
            "publish": Command(
                "check a bundle or the program, and add it",
                _configure_publish,
                deferred("fer_release.command:publish"),
            ),
            "refresh": Command(
                "sign the state again before it expires", _configure_refresh, deferred("fer_release.command:refresh")
            ),
            "rotate-key": Command(
                "replace a key by a new one", _configure_rotate, deferred("fer_release.command:rotate_key")
            ),
            "status": Command(
                "show releases, keys and expiry dates; exit 1 if something has expired",
                _add_repository,
                deferred("fer_release.command:status"),
            ),
        },
    ),
)
