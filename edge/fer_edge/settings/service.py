"""Settings outside the pipeline: outputs, recovery, MQTT, webhook, status page and chip.

An optional setting is None if it is not set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LONGEST_S = 7 * 86_400.0
"""Maximum duration in seconds that a setting accepts. A longer one is probably in the wrong unit."""


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """``[output]``: files to write, queues and privacy. If no file is set, events are only printed on the console."""

    events: str | None = None
    """File to which events are appended as JSON lines; ``-`` is standard output."""
    trace: str | None = None
    """File to which one JSON object is written for each processed frame."""
    stats: str | None = None
    """File for the statistics of the whole run, written at its end."""
    annotate: str | None = None
    """Video file (.mp4) of the frames with boxes and labels. It records people, and is therefore off by default."""
    events_max_mib: float | None = None
    """Size in MiB, 0.01..10^6, at which the events file is rotated to ``<name>.1``. None: no rotation."""
    events_keep: int = 3
    """Number of rotated events files to keep."""
    events_gather_s: float = 0.0
    """Seconds for which events are collected into one write, to reduce wear of the SD card; 0 writes each event
    immediately. A power failure loses the collected events."""
    events_sync_s: float | None = None
    """Maximum time in seconds from a write to its ``fsync``, after which the events survive a power failure. 0 syncs
    each write. None: the kernel decides when to write."""
    hold: int = 10_000
    """Maximum number of events queued for an output that is slow or fails. When the queue is full, the oldest event is
    dropped and counted. When files are processed as fast as possible, the source waits instead."""
    privacy: Literal["events", "aggregate"] = "events"
    """``events`` outputs each event. ``aggregate`` outputs only counts, every ``aggregate_s`` seconds, without data
    about individuals."""
    aggregate_s: float = 60.0
    """Period of these counts, in seconds."""

    def __post_init__(self) -> None:
        require(
            self.events_max_mib is None or 0.01 <= self.events_max_mib <= 1e6,
            "events_max_mib must be between 0.01 and 10^6",
        )
        require(1 <= self.events_keep <= 1000, "events_keep must be between 1 and 1000")
        require(0 <= self.events_gather_s <= 3600, "events_gather_s must be between 0 and 3600 seconds")
        sync_s = self.events_sync_s
        require(sync_s is None or 0 <= sync_s <= 3600, "events_sync_s must be between 0 and 3600 seconds")
        require(1 <= self.hold <= 1_000_000, "hold must be between 1 and 1000000")
        require(1 <= self.aggregate_s <= 86_400, "aggregate_s must be between 1 and 86400 seconds")


@dataclass(frozen=True, slots=True)
class RecoverySettings:
    """``[recovery]``: how to handle the loss of a camera or stream."""

    reconnect: bool = False
    """Reopen a lost camera or stream, with an unlimited number of attempts. If off, a lost source has ended."""
    retry_after_s: float = 1.0
    """Seconds before the first attempt to reopen a source. The wait doubles after each failed attempt."""
    retry_most_s: float = 30.0
    """Maximum wait between two attempts, in seconds, ``retry_after_s``..3600."""
    dark_after_s: float = 10.0
    """Seconds of dark frames after which a source enters the state ``dark``: it stays open, with little CPU load. 0
    disables the check."""
    frozen_after_s: float = 30.0
    """Seconds of identical frames, bit for bit and not dark, after which a camera is lost. 0 disables the check."""

    def __post_init__(self) -> None:
        require(0.1 <= self.retry_after_s <= 3600, "retry_after_s must be between 0.1 and 3600 seconds")
        require(self.retry_after_s <= self.retry_most_s <= 3600, "retry_most_s must be between retry_after_s and 3600")
        for name, seconds in (("dark_after_s", self.dark_after_s), ("frozen_after_s", self.frozen_after_s)):
            require(0 <= seconds <= LONGEST_S, f"{name} must be between 0 and {LONGEST_S:.0f} seconds")


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """``[mqtt]``: the broker to which events and states are published (extra ``mqtt``)."""

    host: str | None = None
    """Host name or address of the broker. None: nothing is published."""
    port: int | None = None
    """TCP port of the broker, 1..65535. None: 1883, or 8883 with ``tls``."""
    tls: bool = False
    """Use TLS and verify the broker's certificate."""
    ca_file: str | None = None
    """File of CA certificates (PEM) that verify the broker. None: the system's."""
    cert_file: str | None = None
    """File of the client certificate (PEM)."""
    key_file: str | None = None
    """File of the client certificate's private key (PEM), readable by its owner only."""
    username: str | None = None
    """User name for the broker. None: no login."""
    password_file: str | None = None
    """File with the password, readable by its owner only. A name without a folder is a systemd credential."""
    device: str | None = None
    """Name of this device in topics and in Home Assistant. None: the host name."""
    topic: str = "fer-edge"
    """Prefix of all topics: ``<topic>/<device>/…``."""
    keepalive_s: int = 30
    """MQTT keep-alive interval in seconds: after this time without traffic, the client pings the broker."""
    hold: int = 10_000
    """Maximum number of messages queued while the broker is unreachable. When the queue is full, the oldest are
    dropped and counted."""
    home_assistant: bool = True
    """Announce this device to Home Assistant (MQTT discovery)."""
    discovery_prefix: str = "homeassistant"
    """Prefix of Home Assistant's discovery topics."""

    @property
    def broker_port(self) -> int:
        """The port to connect to: ``port``, or the default port if it is None."""
        return self.port or (8883 if self.tls else 1883)

    def __post_init__(self) -> None:
        require(self.port is None or 1 <= self.port <= 65_535, "port must be between 1 and 65535")
        require(not self.password_file or bool(self.username), "password_file needs a username")
        require((self.cert_file is None) == (self.key_file is None), "cert_file and key_file must be set together")
        require(self.tls or not (self.ca_file or self.cert_file), "ca_file and cert_file need tls = true")
        for name, topic in (("topic", self.topic), ("discovery_prefix", self.discovery_prefix)):
            good = bool(topic) and not set(topic) & set("+#\0") and not topic.startswith(("/", "$"))
            require(
                good and not topic.endswith("/"),
                f"{name} must be a topic without + and #, without / at either end, and without $ at the start",
            )
        require(self.device is None or bool(self.device.strip()), "device must not be empty")
        require(5 <= self.keepalive_s <= 3600, "keepalive_s must be between 5 and 3600 seconds")
        require(1 <= self.hold <= 1_000_000, "hold must be between 1 and 1000000")


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """``[webhook]``: the URL to which each event is posted as JSON."""

    url: str | None = None
    """http:// or https:// URL. None: nothing is posted."""
    token_file: str | None = None
    """File with the token for the Authorization header, readable by its owner only. A name without a folder is a
    systemd credential."""
    ca_file: str | None = None
    """File of CA certificates (PEM) that verify the server. None: the system's."""
    timeout_s: float = 5.0
    """Timeout of one attempt, in seconds."""
    retry_most_s: float = 60.0
    """Maximum wait between two attempts, in seconds. The first wait is 1 s; it doubles after each failed attempt."""
    hold: int = 1000
    """Maximum number of events queued while the server fails. When the queue is full, the oldest are dropped and
    counted."""

    def __post_init__(self) -> None:
        require(
            self.url is None or self.url.startswith(("http://", "https://")), "url must begin with http:// or https://"
        )
        require(0.1 <= self.timeout_s <= 300, "timeout_s must be between 0.1 and 300 seconds")
        require(1 <= self.retry_most_s <= 3600, "retry_most_s must be between 1 and 3600 seconds")
        require(1 <= self.hold <= 1_000_000, "hold must be between 1 and 1000000")


@dataclass(frozen=True, slots=True)
class WebSettings:
    """``[web]``: the status page, and /metrics, /healthz and /readyz for monitoring (extra ``web``)."""

    enabled: bool = False
    """Run the web server."""
    host: str = "127.0.0.1"
    """Address to listen on. An address that other machines can reach requires ``token_file``."""
    port: int = 8080
    """Port to listen on, 0..65535. 0 selects a free port, which is printed."""
    token_file: str | None = None
    """File with the token required for access, readable by its owner only. A name without a folder is a systemd
    credential."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names accepted in requests, in addition to localhost and the listening address."""
    preview: bool = False
    """Show camera images on the page. They show people, and are therefore off by default."""

    def __post_init__(self) -> None:
        require(0 <= self.port <= 65_535, "port must be between 0 and 65535")
        require(bool(self.host), "host must not be empty")
        require(all(self.allowed_hosts), "allowed_hosts must not contain an empty name")


@dataclass(frozen=True, slots=True)
class ChipSettings:
    """``[chip]``: reduce the CPU load of detection when the chip is hot."""

    look_every_s: float = 5.0
    """Interval in seconds at which temperature and throttling are read. 0 disables the readings."""
    warm_c: float = 70.0
    """Temperature in °C above which the budget for detection is reduced."""
    hot_c: float = 78.0
    """Temperature in °C from which the budget is minimal. The firmware of a Raspberry Pi throttles from 80 °C."""
    least_share: float = 0.1
    """Minimum share of the budget, 0.01..1, which applies from ``hot_c``."""
    sysfs: str = "/sys"
    """Mount point of sysfs, from which the chip's status is read."""

    def __post_init__(self) -> None:
        require(0 <= self.look_every_s <= 3600, "look_every_s must be between 0 and 3600 seconds")
        require(-50 <= self.warm_c < self.hot_c <= 150, "warm_c must be below hot_c, both between -50 and 150")
        require(0.01 <= self.least_share <= 1, "least_share must be between 0.01 and 1")


def require(condition: bool, problem: str) -> None:
    """Raise ValueError with ``problem`` unless ``condition``; ``strict_toml`` turns it into a ConfigError."""
    if not condition:
        raise ValueError(problem)
