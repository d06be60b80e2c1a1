"""Measure a fleet: ``make bench-fleet`` (``ARGS='--devices 500 --minutes 1'`` for less).

Simulated devices publish to a real broker while the consumer is killed (SIGKILL), PostgreSQL crashes, and the broker
fails, each for some seconds. A NATS server is killed too; mosquitto is restarted, because it would lose what it has not
saved. At the end, each event that a device handed over must be stored once, and with mosquitto in order.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fleet_load.devices import Device
from fleet_load.report import Figures, calculation, disorder, faults, lags, table_bytes
from fleet_load.usage import Usage
from support.processes.fleet_ingest import Ingest, ingesting, total
from support.servers.mosquitto import Broker
from support.servers.nats import Nats, nats_server
from support.servers.postgresql import PostgreSql, postgresql_server

TICK_S = 0.02
CONNECTS_PER_S = 400
OUTAGE_S = 5.0
SETTLED_S = 3.0
"""Seconds before an outage in which an event may still wait when it begins."""
DRAIN_S = 600.0
OPTIONS = "-c track_commit_timestamp=on -c max_wal_size=4GB"


async def simulate(
    devices: Sequence[Device], rate: float, seconds: float, disturb: Sequence[Callable[[], None]]
) -> float:
    """Run ``devices`` for ``seconds``, call each of ``disturb`` in another thread in between; return when that began.

    The first fifth is without disturbances.
    """
    tasks = []
    for number, device in enumerate(devices):
        tasks.append(asyncio.create_task(device.run()))
        if number % 20 == 19:
            await asyncio.sleep(20 / CONNECTS_PER_S)
    while not all(device.done for device in devices):
        await asyncio.sleep(0.1)
    print(f"{len(devices)} devices are connected", flush=True)
    began = time.monotonic()
    disturbing = asyncio.create_task(_disturb(disturb, seconds))
    due, ticked, before = 0.0, 0, began
    while (now := time.monotonic()) < began + seconds:
        due += random.expovariate(1.0) * rate * len(devices) * (now - before)
        before = now
        for _ in range(int(due)):
            random.choice(devices).emit()
        due -= int(due)
        # A part of the devices in each tick, so that each has its turn once a second.
        for _ in range(1 + int(len(devices) * TICK_S)):
            devices[ticked % len(devices)].tick(now)
            ticked += 1
        await asyncio.sleep(TICK_S)
    await disturbing
    until = time.monotonic() + DRAIN_S
    while not all(device.done for device in devices) and time.monotonic() < until:
        await asyncio.sleep(0.2)
    for device in devices:
        device.leave()
    await asyncio.gather(*tasks)
    return time.monotonic() - began


async def _disturb(disturb: Sequence[Callable[[], None]], seconds: float) -> None:
    for one in disturb:
        await asyncio.sleep(seconds / (len(disturb) + 2))
        await asyncio.to_thread(one)


def open_broker(name: str, folder: Path) -> Broker | Nats:
    """Return the broker ``name``, which lets everyone do everything and is not running yet."""
    if name == "nats":
        return nats_server(folder, users="")
    return Broker(folder, "allow_anonymous true", "max_inflight_messages 1000")


def outages_of(
    ingest: Ingest, server: PostgreSql, broker: Broker | Nats, begun: list[datetime]
) -> list[Callable[[], None]]:
    """Return functions that cause an outage of each part and end it."""

    def outage(name: str, end: Callable[[], None], start: Callable[[], None]) -> Callable[[], None]:
        def cause() -> None:
            begun.append(datetime.now(UTC))
            print(f"{name} for {OUTAGE_S:.0f} s", flush=True)
            end()
            time.sleep(OUTAGE_S)
            start()

        return cause

    if isinstance(broker, Nats):
        broker_fails = outage("the broker is killed (SIGKILL)", broker.kill, broker.start)
    else:
        broker_fails = outage("the broker is restarted", broker.shut_down, broker.start)
    return [
        outage("the consumer is killed (SIGKILL)", ingest.kill, ingest.start_and_wait),
        outage("PostgreSQL crashes", server.stop, server.start),
        broker_fails,
    ]


def measure(arguments: argparse.Namespace, folder: Path, server: PostgreSql) -> list[str]:
    """Run everything, print the figures, and return what is wrong."""
    broker = open_broker(arguments.broker, folder)
    broker.start()
    devices = [Device(f"device{number:06d}", broker.port) for number in range(arguments.devices)]
    begun: list[datetime] = []
    try:
        with ingesting(folder, broker, server.url) as ingest:
            parts = {"devices": os.getpid, "broker": lambda: broker.pid, "ingest": lambda: ingest.process.pid}
            with Usage({**parts, "postgresql": lambda: server.pid}) as usage:
                disturb = outages_of(ingest, server, broker, begun)
                seconds = asyncio.run(simulate(devices, arguments.rate, arguments.minutes * 60, disturb))
                sent = {device.name: device.sent for device in devices if device.sent}
                expected, until = sum(sent.values()), time.monotonic() + DRAIN_S
                while total(server.url) < expected and time.monotonic() < until:
                    time.sleep(0.5)
        # NATS uses several cores.
        one_core = ("ingest", "postgresql") if arguments.broker == "nats" else ("broker", "ingest", "postgresql")
        figures = Figures(
            arguments.devices, arguments.rate, seconds, expected,
            {part: usage.seconds(part) for part in usage.max_mib}, usage.max_mib, table_bytes(server.url), one_core,
        )  # fmt: skip
        print_figures(figures, server.url, begun[0])
        wrong, behind = faults(server.url, sent), disorder(server.url)
        if arguments.broker == "nats":  # it sends again behind newer events what ingest had not acknowledged
            print(f"{behind} events came behind newer ones of their device")
        elif behind:
            wrong.append(f"{behind} events are not in order")
        return wrong
    finally:
        broker.stop()


def print_figures(figures: Figures, url: str, first_fault: datetime) -> None:
    """Print the figures of a run; the lag without disturbances is of the events before ``first_fault``."""
    print(f"\n{figures.devices} devices, {figures.events} events in {figures.seconds:.0f} s:"
          f" {figures.events / figures.seconds:.0f} events/s")  # fmt: skip
    undisturbed = first_fault - timedelta(seconds=SETTLED_S)
    for name, before in (("before the first outage", undisturbed), ("with outages", datetime.now(UTC))):
        median, p99, highest = lags(url, before)
        print(f"from event to commit, {name}: median {median:.2f} s, p99 {p99:.2f} s, at most {highest:.2f} s")
    print("part        processor s  of one core  µs/event  MiB at most")
    for part, seconds in figures.cpu_s.items():
        share, each = seconds / figures.seconds, 1e6 * seconds / figures.events
        print(f"{part:10}  {seconds:11.1f}  {share:11.0%}  {each:8.0f}  {figures.max_mib[part]:11.0f}")
    print(f"{figures.table_bytes / figures.events:.0f} bytes of tables and indexes for each event\n")
    print(calculation(figures))


def main() -> int:
    """Run the benchmark; return 1 if an event was lost, stored twice or out of order."""
    parser = argparse.ArgumentParser(prog="make bench-fleet", description="A fleet under load, and its outages.")
    parser.add_argument("--broker", choices=("mosquitto", "nats"), default="mosquitto")
    parser.add_argument("--devices", type=int, default=10_000, metavar="N")
    parser.add_argument("--minutes", type=float, default=10.0, metavar="M")
    parser.add_argument("--rate", type=float, default=0.02, metavar="R", help="events per second of each device")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends the servers too
    # A descriptor for each device, here and in the broker.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="fer-fleet-") as folder, postgresql_server(OPTIONS) as server:
        wrong = measure(arguments, Path(folder), server)
    right = "each event is stored once" + ", and in order" * (arguments.broker == "mosquitto")
    print("\n".join(["", *(wrong or [right])]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
