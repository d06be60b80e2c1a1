"""What an update must know of a device."""

from __future__ import annotations

from pathlib import Path

import msgspec

from fer_edge.errors import InputError
from fer_edge.settings.runtime import ModelSettings, RuntimeSettings
from fer_edge.settings.update import UpdateSettings
from fer_edge.system.device_name import device_name
from fer_edge.update.store import Store


class Device(msgspec.Struct, frozen=True):
    """What an update must know: its settings, the model of the settings, and the device's name."""

    update: UpdateSettings
    model: ModelSettings
    name: str

    @property
    def store(self) -> Store:
        """The folder of updates."""
        return Store(Path(self.update.folder))

    @property
    def bundle(self) -> Path | None:
        """The bundle in use; None for the one in the package."""
        version = self.store.version
        if version is not None:
            return self.store.path(version)
        return None if self.model.bundle is None else Path(self.model.bundle)

    @property
    def root_file(self) -> Path:
        """The file with the root of trust."""
        return Path(self.update.root) if self.update.root else Path(self.update.folder) / "root.json"


def device_of(settings: RuntimeSettings) -> Device:
    """Return the device with ``settings``. Raises InputError if updates are off."""
    if settings.update.url is None:
        raise InputError("updates are off: set [update] url, and pass the file with --settings")
    return Device(settings.update, settings.model, settings.mqtt.device or device_name())
