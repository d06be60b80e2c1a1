"""Arguments of ``fer-edge fleet``; the work is imported when one runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from fer_edge.commands.argument_types import count, positive
from fer_edge.commands.cli import Command, add_subcommands, deferred
from fer_fleet.rate_limit import DEFAULT_PER_S

ORDERS = ("rate", "events", "dropped", "limited", "rejected", "fps", "temperature")
"""What ``fleet top`` can sort by: columns of its table."""


def _add_database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--database",
        required=True,
        metavar="URL",
        help="postgresql://USER@HOST:PORT/DATABASE; other users of this machine see the command line, so that the"
        " password is better in ~/.pgpass",
    )


def _add_topic(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--topic", default="fer-edge", help="mqtt.topic of the devices (default: fer-edge)")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _port(text: str) -> int:
    number = count(text)
    if number > 65_535:
        raise argparse.ArgumentTypeError(f"must be at most 65535, not {text!r}")
    return number


def _configure_ingest(parser: argparse.ArgumentParser) -> None:
    _add_database(parser)
    _add_topic(parser)
    broker = parser.add_argument_group("broker")
    broker.add_argument("--mqtt-host", default="localhost", metavar="HOST", help="(default: localhost)")
    broker.add_argument("--mqtt-port", type=_port, metavar="PORT", help="(default: 1883, or 8883 with TLS)")
    broker.add_argument("--username", metavar="NAME", help="user name for the broker")
    broker.add_argument("--password-file", metavar="FILE", help="file with the password, readable by its owner only")
    broker.add_argument("--tls", action="store_true", help="use TLS; the options below imply it")
    broker.add_argument("--ca-file", metavar="FILE", help="CA certificates (PEM) that verify the broker")
    broker.add_argument("--cert-file", metavar="FILE", help="client certificate (PEM)")
    broker.add_argument("--key-file", metavar="FILE", help="private key of the client certificate (PEM)")
    parser.add_argument(
        "--max-rate",
        type=positive,
        default=DEFAULT_PER_S,
        metavar="N",
        help="messages per second that a device may send on average, and up to 10,000 seconds' worth at once; more are"
        " counted and not stored (default: 10)",
    )
    parser.add_argument(
        "--keep-days", type=count, metavar="N", help="delete events that were received more than N days ago"
    )


def _configure_acl(parser: argparse.ArgumentParser) -> None:
    _add_topic(parser)
    parser.add_argument(
        "--consumer", default="fleet", metavar="NAME", help="the broker's user that ingest is (default: fleet)"
    )


def _configure_list(parser: argparse.ArgumentParser) -> None:
    _add_database(parser)
    _add_json(parser)


def _configure_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device", metavar="DEVICE", help="mqtt.device of the device")
    _add_database(parser)
    _add_json(parser)


def _configure_top(parser: argparse.ArgumentParser) -> None:
    _add_database(parser)
    parser.add_argument("--sort", choices=ORDERS, default="rate", help="largest first by this (default: events/s)")
    parser.add_argument("--lines", type=count, default=20, metavar="N", help="devices to print (default: 20)")
    parser.add_argument("--every", type=positive, default=2.0, metavar="S", help="seconds between pages (default: 2)")
    parser.add_argument("--count", type=count, metavar="N", help="end after N pages (default: at Ctrl-C)")


def _configure_targets(parser: argparse.ArgumentParser) -> None:
    _add_database(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="JSON file to write")
    parser.add_argument(
        "--address",
        default="{device}.local:8080",
        metavar="HOST:PORT",
        help="address of a device's status page (default: {device}.local:8080)",
    )


FLEET = Command(
    "collect the events of many devices in PostgreSQL: ingest, acl, list, show, top, targets",
    lambda parser: add_subcommands(
        parser,
        {
            "ingest": Command(
                "store what devices publish, until SIGTERM or Ctrl-C",
                _configure_ingest,
                deferred("fer_fleet.command:ingest"),
            ),
            "acl": Command(
                "print an ACL file for mosquitto: devices publish only below their own name",
                _configure_acl,
                deferred("fer_fleet.command:acl"),
            ),
            "list": Command("list the devices", _configure_list, deferred("fer_fleet.command:list_devices")),
            "show": Command("show what is known of one device", _configure_show, deferred("fer_fleet.command:show")),
            "top": Command(
                "show the devices with the most events, losses or heat, again and again",
                _configure_top,
                deferred("fer_fleet.command:top"),
            ),
            "targets": Command(
                "write the devices as targets for Prometheus", _configure_targets, deferred("fer_fleet.command:targets")
            ),
        },
    ),
)
