"""Settings outside the pipeline: outputs, recovery, MQTT, webhook, status page and chip."""

from typing import Annotated, Literal

from msgspec import Meta

from fer_edge.settings.base import Settings, require
from fer_edge.settings.values import BudgetShare, Duration, Hour, HttpUrl, QueueSize

_OWNER_ONLY = "readable by its owner only"
_CREDENTIAL = f"{_OWNER_ONLY}. A name without a folder is a systemd credential."
_FULL_QUEUE = "When the queue is full, the oldest are dropped and counted."
_CA_FILE = "/etc/fer-edge/ca.pem"

Name = Annotated[str, Meta(min_length=1)]
Topic = Annotated[
    str,
    Meta(
        max_length=256,
        pattern=r"^[^+#\x00/$]([^+#\x00]*[^+#\x00/])?$",
        extra={
            "allowed": "a topic of at most 256 characters without + and #, without / at either end, and without $ at"
            " the start"
        },
    ),
]
Celsius = Annotated[float, Meta(ge=-50, le=150)]
RetryWait = Annotated[float, Meta(ge=0.1, le=3600)]


class OutputSettings(Settings, frozen=True):
    """``[output]``: files to write, queues and privacy. If no file is set, events are only printed on the console."""

    events: Annotated[
        str | None,
        Meta(
            description='File to which events are appended as JSON lines; "-" is standard output.',
            examples=["events.jsonl"],
        ),
    ] = None
    trace: Annotated[
        str | None,
        Meta(
            description="File to which one JSON object is written for each processed frame.", examples=["trace.jsonl"]
        ),
    ] = None
    stats: Annotated[
        str | None,
        Meta(description="File for the statistics of the whole run, written at its end.", examples=["stats.json"]),
    ] = None
    annotate: Annotated[
        str | None,
        Meta(
            description="Video file (.mp4, which needs the extra `video`, or .webm) of the frames with boxes and"
            " labels. It records people, and is therefore off by default.",
            examples=["seen.mp4"],
        ),
    ] = None
    events_max_mib: Annotated[
        Annotated[float, Meta(ge=0.01, le=1_000_000)] | None,
        Meta(
            description="Size in MiB at which the events file is rotated to <name>.1. If not set, it is not rotated.",
            examples=[8.0],
        ),
    ] = None
    events_max_rotated: Annotated[
        Annotated[int, Meta(ge=1, le=1000)], Meta(description="Maximum number of rotated events files to keep.")
    ] = 3
    events_max_buffered_s: Annotated[
        Hour,
        Meta(
            description="Maximum time in seconds for which events are collected into one write, to reduce wear of the"
            " SD card; 0 writes each event immediately. A power failure loses the collected events."
        ),
    ] = 0.0
    events_max_unsynced_s: Annotated[
        Hour | None,
        Meta(
            description="Maximum time in seconds from a write to its `fsync`, after which the events survive a power"
            " failure. 0 syncs each write. If not set, the kernel decides when to write.",
            examples=[10.0],
        ),
    ] = None
    max_queued_events: Annotated[
        QueueSize,
        Meta(
            description="Maximum number of events queued for an output that is slow or fails. When the queue is full,"
            " the oldest event is dropped and counted. When files are processed as fast as possible, the source waits"
            " instead."
        ),
    ] = 10_000
    privacy: Annotated[
        Literal["events", "aggregate"],
        Meta(
            description="`events` outputs each event. `aggregate` outputs only counts, every `aggregate_s` seconds,"
            " without data about individuals."
        ),
    ] = "events"
    aggregate_s: Annotated[
        Annotated[float, Meta(ge=1, le=86_400)], Meta(description="Period of these counts, in seconds.")
    ] = 60.0


class RecoverySettings(Settings, frozen=True):
    """``[recovery]``: how to handle the loss of a camera or stream."""

    reconnect: Annotated[
        bool,
        Meta(
            description="Reopen a lost camera or stream, with an unlimited number of attempts. If off, a lost source"
            " has ended."
        ),
    ] = False
    retry_min_s: Annotated[
        RetryWait,
        Meta(
            description="Seconds before the first attempt to reopen a source. The wait doubles after each failed"
            " attempt."
        ),
    ] = 1.0
    retry_max_s: Annotated[
        RetryWait, Meta(description="Maximum wait between two attempts, in seconds, at least `retry_min_s`.")
    ] = 30.0
    dark_after_s: Annotated[
        Duration,
        Meta(
            description="Seconds of dark frames after which a source enters the state `dark`: it stays open, with"
            " little CPU load. 0 disables the check."
        ),
    ] = 10.0
    frozen_after_s: Annotated[
        Duration,
        Meta(
            description="Seconds of identical frames, bit for bit and not dark, after which a camera is lost. 0"
            " disables the check."
        ),
    ] = 30.0

    def _check(self) -> None:
        require(self.retry_min_s <= self.retry_max_s, "retry_max_s must be between retry_min_s and 3600")


class MqttSettings(Settings, frozen=True):
    """``[mqtt]``: the broker to which events and states are published (extra ``mqtt``)."""

    host: Annotated[
        Annotated[str, Meta(max_length=253)] | None,
        Meta(
            description="Host name or address of the broker. If not set, nothing is published.", examples=["localhost"]
        ),
    ] = None
    port: Annotated[
        Annotated[int, Meta(ge=1, le=65_535)] | None,
        Meta(description="TCP port of the broker. If not set: 1883, or 8883 with `tls`.", examples=[1883]),
    ] = None
    tls: Annotated[bool, Meta(description="Use TLS and verify the broker's certificate.")] = False
    ca_file: Annotated[
        str | None,
        Meta(
            description="File of CA certificates (PEM) that verify the broker. If not set: the system's.",
            examples=[_CA_FILE],
        ),
    ] = None
    cert_file: Annotated[
        str | None,
        Meta(description="File of the client certificate (PEM).", examples=["/etc/fer-edge/client.pem"]),
    ] = None
    key_file: Annotated[
        str | None,
        Meta(
            description=f"File of the client certificate's private key (PEM), {_OWNER_ONLY}.",
            examples=["/etc/fer-edge/client.key"],
        ),
    ] = None
    username: Annotated[
        Annotated[str, Meta(max_length=1024)] | None,
        Meta(description="User name for the broker. If not set, there is no login.", examples=["camera"]),
    ] = None
    password_file: Annotated[
        str | None,
        Meta(description=f"File with the password, {_CREDENTIAL}", examples=["/etc/fer-edge/mqtt-password"]),
    ] = None
    device: Annotated[
        Annotated[str, Meta(max_length=128)] | None,
        Meta(
            description="Name of this device in topics and in Home Assistant. If not set: the host name and digits from"
            " the serial number, such as raspberrypi-3f9a1c.",
            examples=["door"],
        ),
    ] = None
    topic: Annotated[Topic, Meta(description="Prefix of all topics: <topic>/<device>/…")] = "fer-edge"
    keepalive_s: Annotated[
        Annotated[int, Meta(ge=5, le=3600)],
        Meta(
            description="MQTT keep-alive interval in seconds: after this time without traffic, the client pings the"
            " broker."
        ),
    ] = 30
    max_queued_messages: Annotated[
        QueueSize,
        Meta(description=f"Maximum number of messages queued while the broker is unreachable. {_FULL_QUEUE}"),
    ] = 10_000
    confidence_step: Annotated[
        Annotated[float, Meta(ge=0.01, le=1)],
        Meta(
            description="Step of the confidence in the state of a source: a smaller change is not published."
            " Events have the exact value."
        ),
    ] = 0.1
    commands: Annotated[
        bool,
        Meta(
            description="Obey <topic>/<device>/<source>/watch/set, whoever publishes it: OFF closes the camera, ON"
            " opens it again."
        ),
    ] = True
    home_assistant: Annotated[
        bool,
        Meta(description="Announce this device to Home Assistant, 2024.11 or later (MQTT discovery)."),
    ] = True
    area: Annotated[
        Annotated[str, Meta(min_length=1, max_length=128)] | None,
        Meta(description="Area that Home Assistant suggests for this device.", examples=["Hall"]),
    ] = None
    discovery_prefix: Annotated[Topic, Meta(description="Prefix of Home Assistant's discovery topics.")] = (
        "homeassistant"
    )

    @property
    def broker_port(self) -> int:
        """The port to connect to: ``port``, or the default port if it is None."""
        return self.port or (8883 if self.tls else 1883)

    def _check(self) -> None:
        require(not self.password_file or bool(self.username), "password_file needs a username")
        require((self.cert_file is None) == (self.key_file is None), "cert_file and key_file must be set together")
        require(self.tls or not (self.ca_file or self.cert_file), "ca_file and cert_file need tls = true")
        require(self.device is None or bool(self.device.strip()), "device must not be empty")


class WebhookSettings(Settings, frozen=True):
    """``[webhook]``: the URL to which each event is posted as JSON."""

    url: Annotated[
        HttpUrl | None,
        Meta(
            description="http:// or https:// URL to which each event is posted as JSON. If not set, nothing is posted.",
            examples=["https://example.org/hook"],
        ),
    ] = None
    token_file: Annotated[
        str | None,
        Meta(
            description=f"File with the token for the Authorization header, {_CREDENTIAL}",
            examples=["/etc/fer-edge/webhook-token"],
        ),
    ] = None
    ca_file: Annotated[
        str | None,
        Meta(
            description="File of CA certificates (PEM) that verify the server. If not set: the system's.",
            examples=[_CA_FILE],
        ),
    ] = None
    timeout_s: Annotated[
        Annotated[float, Meta(ge=0.1, le=300)], Meta(description="Timeout of one attempt, in seconds.")
    ] = 5.0
    retry_max_s: Annotated[
        Annotated[float, Meta(ge=1, le=3600)],
        Meta(
            description="Maximum wait between two attempts, in seconds. The first wait is 1 s; it doubles after each"
            " failed attempt."
        ),
    ] = 60.0
    max_queued_events: Annotated[
        QueueSize, Meta(description=f"Maximum number of events queued while the server fails. {_FULL_QUEUE}")
    ] = 1000


class WebSettings(Settings, frozen=True):
    """``[web]``: the status page, and /metrics, /healthz and /readyz for monitoring (extra ``web``)."""

    enabled: Annotated[
        bool,
        Meta(description="Serve the status page, and /metrics, /healthz and /readyz for monitoring."),
    ] = False
    host: Annotated[
        Name,
        Meta(description="Address to listen on. An address that other machines can reach requires `token_file`."),
    ] = "127.0.0.1"
    port: Annotated[
        Annotated[int, Meta(ge=0, le=65_535)],
        Meta(description="Port to listen on. 0 selects a free port, which is printed."),
    ] = 8080
    token_file: Annotated[
        str | None,
        Meta(
            description=f"File with the token required for access, {_CREDENTIAL}",
            examples=["/etc/fer-edge/web-token"],
        ),
    ] = None
    allowed_hosts: Annotated[
        tuple[Name, ...],
        Meta(description="Host names accepted in requests, in addition to localhost and the listening address."),
    ] = ()
    preview: Annotated[
        bool,
        Meta(description="Show camera images on the page. They show people, and are therefore off by default."),
    ] = False


class ChipSettings(Settings, frozen=True):
    """``[chip]``: reduce the CPU load of detection when the chip is hot."""

    poll_interval_s: Annotated[
        Hour,
        Meta(description="Interval in seconds at which temperature and throttling are read. 0 disables the readings."),
    ] = 5.0
    warm_c: Annotated[
        Celsius, Meta(description="Temperature in °C, below `hot_c`, above which the budget for detection is reduced.")
    ] = 70.0
    hot_c: Annotated[
        Celsius,
        Meta(
            description="Temperature in °C from which the budget is minimal. The firmware of a Raspberry Pi throttles"
            " from 80 °C."
        ),
    ] = 78.0
    min_budget_share: Annotated[
        BudgetShare, Meta(description="Minimum share of the budget, which applies from `hot_c`.")
    ] = 0.1
    sysfs: Annotated[str, Meta(description="Mount point of sysfs, from which the chip's status is read.")] = "/sys"

    def _check(self) -> None:
        require(self.warm_c < self.hot_c, "warm_c must be below hot_c")
