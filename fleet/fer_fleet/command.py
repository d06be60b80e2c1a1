"""The work of ``fer-edge fleet``."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fer_edge.errors import ConfigError
from fer_edge.system.extras import require_modules
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
    from fer_fleet.database import check_url
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
        work = Ingest(arguments.database, broker, topic, arguments.keep_days, stop)
        print_message(f"storing events below {topic}/ at {broker}")
        work.run()
    return 0


def list_devices(arguments: argparse.Namespace) -> int:
    """Print the devices."""
    _require_extra()
    from fer_fleet.database import check_url
    from fer_fleet.database import list_devices as read
    from fer_fleet.listing import table

    check_url(arguments.database)
    devices = read(arguments.database)
    print_text(json.dumps(devices, default=str, indent=2) + "\n" if arguments.json else table(devices))
    return 0


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
