"""Remove personal data from text: names, addresses, folders, serial numbers, values of settings."""

from __future__ import annotations

import ipaddress
import re
import socket
import sys
import typing
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from fer_edge.doctor.checks import read_text
from fer_edge.settings.base import to_table
from fer_edge.settings.redaction import redacted
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.settings.source import split_name
from fer_edge.system.device_name import device_name

_COMMON_NAMES = frozenset({"", "localhost", "raspberrypi", "fer-edge", "root"})
"""Default names of hosts and users, kept because they identify no one and appear in commands."""
_OWN_FOLDERS = ("/etc/fer-edge", "/var/lib/fer-edge", "/opt/fer-edge", "/run")
_USER_IDS = range(1000, 60_000)
"""User ids of human users on Debian."""

_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s,;'\")]+", re.IGNORECASE)
_HOME = re.compile(r"(?:/home/|/Users/|/root(?=/))[^\s,:;'\")]*")
_MAC = re.compile(r"(?<![0-9A-Fa-f:])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?![0-9A-Fa-f:])")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\w)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,8}(?:%\w+)?(?![\w:])")
_USB_CAMERA = re.compile(r"/dev/v4l/by-id/[^\s,;'\")]+")
"""These names contain the serial number of the camera."""
_LOCAL_NAME = re.compile(r"(?<![\w.-])[\w-]+(?:\.[\w-]+)*\.(?:local|lan|home|internal|localdomain|box)(?![\w-])")


class Anonymizer:
    """Replace names, addresses, paths and values of the settings by placeholders such as ``<host>``.

    Args:
        settings: Their values are replaced by their keys, for example ``<mqtt.host>``.
        root: The root of the device's file system.
        known: Texts to keep although they look like addresses, such as versions.
        config: The settings file.
    """

    def __init__(
        self,
        settings: RuntimeSettings,
        root: Path = Path("/"),
        known: Iterable[str] = (),
        config: Path | None = None,
    ) -> None:
        host = socket.gethostname()
        device = settings.mqtt.device or device_name(root)
        named = {device: "<device>", f"fer-edge-{device}": "<device>", host: "<host>", host.partition(".")[0]: "<host>"}
        named |= dict.fromkeys(_users(), "<user>")
        named |= dict.fromkeys(_serials(root), "<serial>")
        for folder, word in ((sys.prefix, "<environment>"), (str(Path.home()), "<home>")):
            if folder.count("/") > 1 and not folder.startswith((*_OWN_FOLDERS, "/usr/")):
                named[folder] = word
        if config is not None and not str(config).startswith(_OWN_FOLDERS):
            named |= dict.fromkeys((str(config), str(config.absolute())), "<config>")
        named |= _values_of(settings)  # last: the key of a setting is more specific than <host>
        self._known = frozenset(known)
        self._named = {text: word for text, word in named.items() if text not in _COMMON_NAMES}
        longest_first = sorted(self._named, key=len, reverse=True)
        # Whole words only: "adapter" is kept if a user is named "ada".
        any_name = "|".join(re.escape(text) for text in longest_first)
        self._names = re.compile(rf"(?<![\w-])(?:{any_name})(?![\w-])") if longest_first else None

    def __call__(self, text: str) -> str:
        """Return ``text`` without personal data."""
        text = redacted(text)
        if self._names is not None:
            text = self._names.sub(lambda found: self._named[found.group()], text)
        text = _URL.sub("<url>", text)
        text = _USB_CAMERA.sub("/dev/v4l/by-id/<camera>", text)
        text = _HOME.sub("<home>", text)
        text = _MAC.sub("<hardware address>", text)
        text = _LOCAL_NAME.sub("<host>", text)
        return _IPV6.sub(self._address, _IPV4.sub(self._address, text))

    def _address(self, found: re.Match[str]) -> str:
        text = found.group()
        if text in self._known:
            return text
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:  # a version, or a time of day
            return text
        return text if address.is_loopback or address.is_unspecified else "<address>"


def _users() -> list[str]:
    try:
        import pwd
    except ImportError:  # not a POSIX system
        return []
    return [user.pw_name for user in pwd.getpwall() if user.pw_uid in _USER_IDS]


def _serials(root: Path) -> list[str]:
    """Return the serial numbers and ids of this device."""
    found = [read_text(root / name).strip("\0\n ") for name in ("etc/machine-id", "proc/device-tree/serial-number")]
    found += re.findall(r"^Serial\s*:\s*(\S+)", read_text(root / "proc/cpuinfo"), flags=re.MULTILINE)
    return [serial for serial in found if len(serial) >= 8]


def changed_settings(settings: RuntimeSettings) -> dict[str, Any]:
    """Return the settings that differ from the defaults, by key path such as ``mqtt.host``.

    The names of ``cameras`` may be personal: they are the values of ``cameras.1``, ``cameras.2`` and so on.
    """
    defaults, table = to_table(RuntimeSettings()), to_table(settings)
    changed: dict[str, Any] = {}
    for number, (name, own) in enumerate(table.pop("cameras", {}).items(), 1):
        changed |= {f"cameras.{number}": name} | {f"cameras.{number}.{key}": value for key, value in own.items()}
    for section, values in table.items():
        changed |= {f"{section}.{key}": value for key, value in values.items() if value != defaults[section].get(key)}
    return changed


def _values_of(settings: RuntimeSettings) -> dict[str, str]:
    """Map each value of the settings to its placeholder."""
    return {
        form: f"<{path}>"
        for path, value in changed_settings(settings).items()
        if re.sub(r"^cameras\.\d+", "source", path) not in _keys_of_words()
        for text in _texts(value)
        for form in _forms(text, path)
    }


@cache
def _keys_of_words() -> frozenset[str]:
    """Return the settings whose values are not personal, and occur as ordinary words in messages.

    They are those with a fixed list of values, and two more.
    """
    sections = typing.get_type_hints(RuntimeSettings)
    enumerated = (
        f"{section}.{key}"
        for section, kind in sections.items()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        for key, hint in typing.get_type_hints(kind).items()
        if typing.get_origin(hint) is typing.Literal
    )
    return frozenset({"model.variant", "source.sensor_mode", *enumerated})


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [text for part in value for text in _texts(part)] if isinstance(value, list | tuple) else []


def _forms(text: str, path: str) -> list[str]:
    """Return the forms in which ``text``, the value of a setting, may appear in a message."""
    if path == "source.uris" or path.endswith(".uri"):
        name, text = split_name(text)
        own = [name] if name is not None else []
        return own if _is_a_camera(text) else own + _forms(text, "")
    if "://" in text:
        try:
            host = urlsplit(text).hostname
        except ValueError:
            host = None
        return [text, redacted(text)] + ([host] if host else [])
    forms = [text]
    if "/" in text:
        folder = str(Path(text).absolute().parent)
        if folder.count("/") > 1 and not folder.startswith(_OWN_FOLDERS):
            forms.append(folder)
    return forms


def _is_a_camera(uri: str) -> bool:
    return uri == "demo" or re.fullmatch(r"\d{1,3}|/dev/.+|picamera2(:.*)?", uri) is not None
