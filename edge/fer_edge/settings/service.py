"""Settings of what surrounds the pipeline: outputs, recovery, the broker, the webhook, the page, the chip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LONGEST_S = 7 * 86_400.0
"""No time that is set may be longer: a week is a mistake of units, or for ever, which each setting tells otherwise."""


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """``[output]``: what is written, and where; nothing but events on the console unless named here."""

    events: str | None = None
    """File to which events are appended as JSON lines; ``-`` is standard output."""
    trace: str | None = None
    """File for one JSON object for each processed frame."""
    stats: str | None = None
    """File for the figures of the whole run, written at its end."""
    annotate: str | None = None
    """Video (.mp4) with boxes and labels drawn in. This records people: it is off unless named."""
    events_max_mib: float | None = None
    """Size in MiB at which the file of events is put aside as ``<name>.1`` and a new one begun; without it, never."""
    events_keep: int = 3
    """Files put aside that are kept."""
    events_gather_s: float = 0.0
    """Seconds for which events are gathered into one write, which spares a card; 0 writes each at once. Those gathered
    are lost when the power fails."""
    events_sync_s: float | None = None
    """Seconds within which written events are synced to the disk (``fsync``), to outlive a power failure; 0 syncs each
    write. Without it, the kernel writes them when it does."""
    hold: int = 10_000
    """Events that wait for an output that is slow or cannot be written; then the oldest are dropped, and counted. Files
    that are processed as fast as it goes wait instead."""
    privacy: Literal["events", "aggregate"] = "events"
    """``aggregate`` tells nothing of any one person: in place of events, counts every ``aggregate_s``."""
    aggregate_s: float = 60.0
    """Seconds that these counts are of."""

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
    """``[recovery]``: what happens when a camera or stream is lost."""

    reconnect: bool = False
    """Open a lost camera or stream again, for as long as it takes; without it, a lost source has ended."""
    retry_after_s: float = 1.0
    """Seconds before the first attempt to open it again; each next wait is twice as long."""
    retry_most_s: float = 30.0
    """Longest of these waits, seconds."""
    dark_after_s: float = 10.0
    """Seconds of dark pictures after which a source is in the state ``dark``: at night it stays open, and costs little;
    0 never."""
    frozen_after_s: float = 30.0
    """Seconds of one and the same picture, bit for bit and not dark, after which a camera counts as lost; 0 never."""

    def __post_init__(self) -> None:
        require(0.1 <= self.retry_after_s <= 3600, "retry_after_s must be between 0.1 and 3600 seconds")
        require(self.retry_after_s <= self.retry_most_s <= 3600, "retry_most_s must be between retry_after_s and 3600")
        for name, seconds in (("dark_after_s", self.dark_after_s), ("frozen_after_s", self.frozen_after_s)):
            require(0 <= seconds <= LONGEST_S, f"{name} must be between 0 and {LONGEST_S:.0f} seconds")


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """``[mqtt]``: a broker that events and states are published to (extra ``mqtt``)."""

    host: str | None = None
    """Name or address of the broker; without it, nothing is published."""
    port: int | None = None
    """Its port; without it, 1883, and 8883 with ``tls``."""
    tls: bool = False
    """Encrypt, and check the broker's certificate."""
    ca_file: str | None = None
    """Certificates (PEM) to check it by; without it, the system's."""
    cert_file: str | None = None
    """Certificate (PEM) that this client shows."""
    key_file: str | None = None
    """Its private key (PEM), a file that only its owner may read."""
    username: str | None = None
    """Name to log in with."""
    password_file: str | None = None
    """File that holds the password and that only its owner may read; a bare name is a systemd credential."""
    device: str | None = None
    """Name of this device in topics and in Home Assistant; without it, the host's name."""
    topic: str = "fer-edge"
    """First part of all topics: ``<topic>/<device>/…``."""
    keepalive_s: int = 30
    """Seconds of silence after which broker and client look whether the other is there."""
    hold: int = 10_000
    """Messages that are kept while the broker is away; the oldest are dropped first, and counted."""
    home_assistant: bool = True
    """Tell Home Assistant of this device (MQTT discovery)."""
    discovery_prefix: str = "homeassistant"
    """Topic under which Home Assistant looks for devices."""

    @property
    def broker_port(self) -> int:
        """``port``, or what stands for it where it is not set."""
        return self.port or (8883 if self.tls else 1883)

    def __post_init__(self) -> None:
        require(self.port is None or 1 <= self.port <= 65_535, "port must be between 1 and 65535")
        require(not self.password_file or bool(self.username), "password_file needs a username")
        require((self.cert_file is None) == (self.key_file is None), "cert_file and key_file go together")
        require(self.tls or not (self.ca_file or self.cert_file), "ca_file and cert_file need tls = true")
        for name, topic in (("topic", self.topic), ("discovery_prefix", self.discovery_prefix)):
            good = bool(topic) and not set(topic) & set("+#\0") and not topic.startswith(("/", "$"))
            require(good and not topic.endswith("/"), f"{name} must be a topic without + and #")
        require(self.device is None or bool(self.device.strip()), "device must not be empty")
        require(5 <= self.keepalive_s <= 3600, "keepalive_s must be between 5 and 3600 seconds")
        require(1 <= self.hold <= 1_000_000, "hold must be between 1 and 1000000")


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """``[webhook]``: an address to which each event is posted as JSON."""

    url: str | None = None
    """http(s):// address; without it, nothing is posted."""
    token_file: str | None = None
    """File that holds a token for the Authorization header, and that only its owner may read; a bare name is a systemd
    credential."""
    ca_file: str | None = None
    """Certificates (PEM) to check the server by; without it, the system's."""
    timeout_s: float = 5.0
    """Seconds that one attempt may take."""
    retry_most_s: float = 60.0
    """Longest wait between two attempts, seconds; the first is 1 s, and each next one twice as long."""
    hold: int = 1000
    """Events that are kept while the server does not take them; the oldest are dropped first, and counted."""

    def __post_init__(self) -> None:
        require(
            self.url is None or self.url.startswith(("http://", "https://")), "url must begin with http:// or https://"
        )
        require(0.1 <= self.timeout_s <= 300, "timeout_s must be between 0.1 and 300 seconds")
        require(1 <= self.retry_most_s <= 3600, "retry_most_s must be between 1 and 3600 seconds")
        require(1 <= self.hold <= 1_000_000, "hold must be between 1 and 1000000")


@dataclass(frozen=True, slots=True)
class WebSettings:
    """``[web]``: the status page, and what monitoring asks: /metrics, /healthz, /readyz (extra ``web``)."""

    enabled: bool = False
    """Serve the page."""
    host: str = "127.0.0.1"
    """Address to listen on; one that others can reach needs ``token_file``."""
    port: int = 8080
    """Port to listen on; 0 takes a free one, and tells which."""
    token_file: str | None = None
    """File that holds the token that is demanded of everybody, and that only its owner may read; a bare name is a
    systemd credential."""
    allowed_hosts: tuple[str, ...] = ()
    """Names by which the page may be asked for, beside the address it listens on and localhost."""
    preview: bool = False
    """Show the cameras' pictures on the page. This shows people: it is off unless switched on."""

    def __post_init__(self) -> None:
        require(0 <= self.port <= 65_535, "port must be between 0 and 65535")
        require(bool(self.host), "host must not be empty")
        require(all(self.allowed_hosts), "allowed_hosts must hold names")


@dataclass(frozen=True, slots=True)
class ChipSettings:
    """``[chip]``: how the runtime spares a chip that gets hot."""

    look_every_s: float = 5.0
    """Seconds between two looks at temperature and throttling; 0 never looks."""
    warm_c: float = 70.0
    """Temperature in °C from which the budget for searches is lowered."""
    hot_c: float = 78.0
    """Temperature in °C at which it is lowest. The firmware of a Pi slows the chip down from 80 °C on."""
    least_share: float = 0.1
    """Share of the budget, 0.01 to 1, that is left when it is hot."""
    sysfs: str = "/sys"
    """Where the kernel tells of itself."""

    def __post_init__(self) -> None:
        require(0 <= self.look_every_s <= 3600, "look_every_s must be between 0 and 3600 seconds")
        require(-50 <= self.warm_c < self.hot_c <= 150, "warm_c must be below hot_c, both between -50 and 150")
        require(0.01 <= self.least_share <= 1, "least_share must be between 0.01 and 1")


def require(condition: bool, problem: str) -> None:
    """Raises ValueError, which becomes a ConfigError that names the key's path."""
    if not condition:
        raise ValueError(problem)
