"""The work of ``fer-edge fleet``."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from fer_edge.errors import ConfigError
from fer_edge.system.extras import require_modules
from fer_edge.system.files import write_text_atomically
from fer_edge.system.messages import print_message, print_text
from fer_fleet.acl import acl_text


def acl(arguments: argparse.Namespace) -> int:
    """Print an ACL file."""
    consumer = arguments.consumer
    if not consumer or not consumer.isprintable() or consumer != consumer.strip():
        raise ConfigError("--consumer: must be a user name of the broker")
    print_text(acl_text(_topic(arguments), consumer))
    return 0


def ingest(arguments: argparse.Namespace) -> int:
    """Store events until a signal arrives."""
    _require_extra()
    from fer_fleet.connection import check_url
    from fer_fleet.inbox import Broker
    from fer_fleet.ingest import Ingest

    topic = _topic(arguments)
    check_url(arguments.database)
    if (arguments.cert_file is None) != (arguments.key_file is None):
        raise ConfigError("--cert-file and --key-file: give both or neither")
    if arguments.password_file is not None and arguments.username is None:
        raise ConfigError("--password-file: needs --username")
    try:
        arguments.mqtt_host.encode("idna")
    except UnicodeError:  # paho's thread would end with it
        raise ConfigError(f"--mqtt-host: not a host name: {arguments.mqtt_host!r}") from None
    tls = arguments.tls or arguments.ca_file is not None or arguments.cert_file is not None
    broker = Broker(
        arguments.mqtt_host,
        arguments.mqtt_port or (8883 if tls else 1883),
        arguments.username,
        arguments.password_file,
        tls,
        arguments.ca_file,
        arguments.cert_file,
        arguments.key_file,
    )
    with _stopped_by_signals() as stop:
        work = Ingest(
            arguments.database, broker, topic, max_rate=arguments.max_rate, keep_days=arguments.keep_days, stop=stop
        )
        print_message(f"storing events below {topic}/ at {broker}")
        work.run()
    return 0


def list_devices(arguments: argparse.Namespace) -> int:
    """Print the devices."""
    devices = _devices(arguments)
    from fer_fleet.report.listing import table

    print_text(_json(devices) if arguments.json else table(devices))
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Print everything about one device."""
    _check_database(arguments)
    from fer_fleet.report.details import details
    from fer_fleet.report.queries import show_device

    device = show_device(arguments.database, arguments.device)
    print_text(_json(device) if arguments.json else details(device))
    return 0


def top(arguments: argparse.Namespace) -> int:
    """Print the first devices again and again."""
    _check_database(arguments)
    from fer_fleet.report import top as pages

    with suppress(KeyboardInterrupt):  # the usual way to end it
        pages.top(partial(_devices, arguments), arguments.sort, arguments.lines, arguments.every, arguments.count)
    return 0


def targets(arguments: argparse.Namespace) -> int:
    """Write the file of Prometheus's targets."""
    _check_database(arguments)
    from fer_fleet.report import targets as of

    if arguments.out.suffix != ".json":
        raise ConfigError(f"--out: must end in .json, or Prometheus does not read it: {arguments.out}")
    text, without = of.targets((row["device"] for row in _devices(arguments)), arguments.address)
    write_text_atomically(arguments.out, text)
    if without:
        print_message(f"left out, because their names are not host names: {', '.join(without)}")
    return 0


def _devices(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    _check_database(arguments)
    from fer_fleet.report.queries import list_devices as read

    return read(arguments.database)


def _check_database(arguments: argparse.Namespace) -> None:
    _require_extra()
    from fer_fleet.connection import check_url

    check_url(arguments.database)


def _json(value: object) -> str:
    return json.dumps(value, default=str, indent=2) + "\n"


def _topic(arguments: argparse.Namespace) -> str:
    topic: str = arguments.topic
    if not topic or topic.startswith("$") or any(c in "+#" or not c.isprintable() for c in topic):
        raise ConfigError(f"--topic: must be a topic without + and #, not {topic!r}")
    return topic


def _require_extra() -> None:
    require_modules(("psycopg", "paho"), "fleet")


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set: a batch that is being stored is finished and acknowledged."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
