"""The files of a release, as the host writes them and a device reads them."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

FORMAT: Final = 1
"""Version of these formats; a newer one is refused."""
GOLDEN_NAME = "golden.json"
MAX_ARCHIVE_BYTES = 128 << 20
"""Half of what an unpacked bundle may have."""

CHANNELS: dict[str, tuple[str, ...]] = {"stable": ("stable",), "canary": ("stable", "canary")}
"""The lists that a device of each channel reads: a canary device also gets what is stable."""

Version = Annotated[str, Meta(pattern=r"^\d{1,4}\.\d{1,4}\.\d{1,4}$", extra={"allowed": "three numbers such as 1.2.0"})]


class Release(msgspec.Struct, frozen=True):
    """One released bundle in a channel."""

    version: Version
    target: Annotated[str, Meta(pattern=r"^bundle-[0-9.]+\.zip$", extra={"allowed": "bundle-<version>.zip"})]
    rollout_percent: Annotated[int, Meta(ge=0, le=100)]


class Channel(msgspec.Struct, frozen=True):
    """The releases of a channel, oldest first."""

    format: Literal[1]
    releases: list[Release]


def channel_target(channel: str) -> str:
    """Return the name of the target that lists the releases of ``channel``."""
    return f"channel-{channel}.json"


def version_key(version: str) -> tuple[int, ...]:
    """Return ``version``, three numbers, as a value to compare by.

    >>> version_key("1.10.0") > version_key("1.9.3")
    True
    """
    return tuple(int(number) for number in version.split("."))
