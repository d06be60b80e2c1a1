"""The description of a device: one retained message for those who look after many devices."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from fer_edge.settings.redaction import redacted
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.sinks.numbering import SESSION
from fer_edge.status import ModelStatus
from fer_edge.system.version import __version__


@dataclass(frozen=True, slots=True)
class Description:
    """What does not change while the program runs: the device's name, ``output.privacy``, and the settings' hash."""

    device: str
    privacy: str
    settings: str

    def payload(self, model: ModelStatus, sources: Sequence[str]) -> dict[str, object]:
        """Return the message of a device with ``model`` and ``sources``.

        >>> Description("door", "events", "5f0c").payload(ModelStatus("s", "1.0", "int8"), ["cam0"])["model"]
        {'name': 's', 'version': '1.0', 'variant': 'int8'}
        """
        return {
            "v": 1,
            "name": self.device,
            "version": __version__,
            "model": {"name": model.name, "version": model.version, "variant": model.variant},
            "sources": list(sources),
            "privacy": self.privacy,
            "settings": self.settings,
            "session": SESSION,
        }


def settings_hash(settings: RuntimeSettings) -> str:
    """Return 16 hexadecimal digits that are equal on devices with the same settings, apart from ``mqtt.device``.

    Passwords in URLs are left out: a hash would let anyone who reads it try passwords.
    """
    alike = msgspec.structs.replace(settings, mqtt=msgspec.structs.replace(settings.mqtt, device=None))
    text = redacted(json.dumps(msgspec.to_builtins(alike, enc_hook=str), sort_keys=True))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
