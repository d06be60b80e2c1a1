"""The devices as targets of Prometheus (file-based service discovery).

The address is made of the device's name, which the broker's ACL vouches for, and not taken from a message: Prometheus
sends the token of the status pages to each target, and a device could name any.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from fer_edge.errors import ConfigError

_NAME = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"{_NAME}(\.{_NAME})*:[0-9]{{1,5}}")


def targets(devices: Iterable[str], address: str) -> tuple[str, list[str]]:
    """Return the JSON of the file, and the devices without a target because their names are not host names.

    Args:
        devices: The names of the devices.
        address: HOST:PORT with ``{device}`` for the name.

    >>> text, without = targets(["door", "the yard"], "{device}.local:8080")
    >>> json.loads(text), without
    ([{'targets': ['door.local:8080'], 'labels': {'device': 'door'}}], ['the yard'])
    """
    if "{device}" not in address or not _ADDRESS.fullmatch(address.replace("{device}", "x")):
        raise ConfigError(f"--address: must be HOST:PORT with {{device}} in the host, not {address!r}")
    found = {device: address.replace("{device}", device) for device in devices}
    entries = [
        {"targets": [target], "labels": {"device": device}}
        for device, target in found.items()
        if _ADDRESS.fullmatch(target)
    ]
    without = [device for device, target in found.items() if not _ADDRESS.fullmatch(target)]
    return json.dumps(entries, indent=2) + "\n", without
