"""Detect the system in a stock image: its style of customisation at first boot, and its Python.

An image does not state which style of customisation it supports, and silently ignores the wrong one (Raspberry Pi
Imager, doc/os_customisation_formats.md). The style is therefore detected from installed packages and files. Each marker
names its source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from fer_edge.errors import InputError

STATUS = "var/lib/dpkg/status"
"""Path of dpkg's list of packages."""


class Style(StrEnum):
    """How an image is customised at first boot."""

    SYSTEMD = "systemd"
    """``firstrun.sh``, started by ``systemd.run=`` in cmdline.txt: Bookworm, and Trixie of 2025-10-01."""
    CLOUDINIT = "cloudinit"
    """cloud-init with its seed on the boot partition: later Trixie images."""
    PRESEED = "rpi-preseed"
    """``rpi-preseed.toml`` on the boot partition: the newest images."""


@dataclass(frozen=True, slots=True)
class InstalledPackage:
    """An installed package; ``architecture`` is ``all`` for one that runs on any."""

    name: str
    architecture: str
    version: str


class Files(Protocol):
    """A file system to read; paths are relative to its root, without a leading slash."""

    def exists(self, path: str) -> bool:
        """Return whether there is such a file or folder."""
        ...

    def read(self, path: str) -> bytes:
        """Return the content of a file."""
        ...


@dataclass(frozen=True, slots=True)
class Marker:
    """Something that identifies a style, and the source that documents it."""

    kind: str
    """``package`` (installed according to dpkg) or ``file`` (on the root file system)."""
    name: str
    source: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


MARKERS: dict[Style, tuple[Marker, ...]] = {
    # Checked in this order. rpi-preseed and cloud-init exclude each other (rpi-preseed's debian/control: Conflicts),
    # but such images contain raspberrypi-sys-mods as well, so the oldest style comes last.
    Style.PRESEED: (
        Marker("package", "rpi-preseed", "raspberrypi/rpi-preseed, debian/control"),
        Marker("file", "usr/lib/rpi-preseed/rpi-preseed", "raspberrypi/rpi-preseed, Makefile"),
    ),
    Style.CLOUDINIT: (
        Marker("package", "cloud-init", "RPi-Distro/pi-gen, stage2/04-cloud-init/00-packages"),
        Marker(
            "file",
            "etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg",
            "package rpi-cloud-init-mods; until October 2025 RPi-Distro/pi-gen, stage2/04-cloud-init/files",
        ),
    ),
    Style.SYSTEMD: (
        Marker("package", "raspberrypi-sys-mods", "RPi-Distro/raspberrypi-sys-mods, debian/control"),
        Marker(
            "file",
            "usr/lib/raspberrypi-sys-mods/imager_custom",
            "raspberrypi/rpi-imager, src/customization_generator.cpp",
        ),
    ),
}
"""All markers of a style must be present."""

CLOUDINIT_RPI = Marker("package", "rpi-cloud-init-mods", "RPi-Distro/pi-gen, stage2/04-cloud-init/00-packages")
"""Also present on images that Raspberry Pi Imager calls ``cloudinit-rpi``. Our files work on both."""

PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
"""The supported releases of Raspberry Pi OS, by Debian's code name, with the version of their Python."""

_FIELD = re.compile(r"^(Package|Status|Architecture|Version):[ \t]*(.*?)[ \t\r]*$", re.MULTILINE)
_PRESEED_SCHEMA = "usr/share/rpi-preseed/rpi-preseed.schema"
"""Installed by raspberrypi/rpi-preseed's Makefile; one line per key: name, type, class, flags."""


@dataclass(frozen=True, slots=True)
class StockSystem:
    """The result of ``inspect``.

    Attributes:
        style: how the image is customised.
        why: the markers that identified the style, each with its source.
        release: Debian's code name.
        python: version of python3, such as "3.13".
        preseed_keys: keys that the image's rpi-preseed knows; empty if it does not list them.
        installed: names of the installed packages.
    """

    style: Style
    why: tuple[str, ...]
    release: str
    python: str
    preseed_keys: frozenset[str] = field(default_factory=frozenset)
    installed: frozenset[str] = field(default_factory=frozenset)


def inspect(boot: Files, root: Files) -> StockSystem:
    """Detect the system from its boot partition and its root file system.

    Raises:
        InputError: if it is not Raspberry Pi OS, is 32-bit, an unknown release, or has no known style.
    """
    if not root.exists("etc/os-release"):
        raise InputError("this image is not Raspberry Pi OS: no /etc/os-release on its root file system")
    packages = installed_packages(_text(root, STATUS))
    _refuse_32_bit(boot, packages)
    release = _release(_text(root, "etc/os-release"))
    style = _style(root, packages)
    why = [f"{marker} ({marker.source})" for marker in MARKERS[style]]
    if style is Style.CLOUDINIT and CLOUDINIT_RPI.name in packages:
        why.append(f"{CLOUDINIT_RPI} ({CLOUDINIT_RPI.source})")
    return StockSystem(
        style=style,
        why=tuple(why),
        release=release,
        python=PYTHONS[release],
        preseed_keys=_preseed_keys(root) if style is Style.PRESEED else frozenset(),
        installed=frozenset(packages),
    )


def installed_packages(status: str) -> dict[str, InstalledPackage]:
    """Return the installed packages of a dpkg status file (deb822 stanzas, as in dpkg-query(1)), by name.

    A package that is installed for two architectures is listed once, with the first one.
    """
    found: dict[str, InstalledPackage] = {}
    for stanza in re.split(r"\n\s*\n", status):
        fields: dict[str, str] = dict(_FIELD.findall(stanza))
        # "hold ok installed" is also installed.
        if fields.get("Status", "").endswith(" ok installed") and "Package" in fields:
            name = fields["Package"]
            package = InstalledPackage(name, fields.get("Architecture", ""), fields.get("Version", ""))
            found.setdefault(name, package)
    return found


def _style(root: Files, packages: Mapping[str, InstalledPackage]) -> Style:
    looked_for = []
    for style, markers in MARKERS.items():
        missing = [
            marker
            for marker in markers
            if not (marker.name in packages if marker.kind == "package" else root.exists(marker.name))
        ]
        if not missing:
            return style
        looked_for.append(f"{style}: no {' and no '.join(map(str, missing))}")
    raise InputError(f"this image supports no known way of customisation ({'; '.join(looked_for)})")


def _refuse_32_bit(boot: Files, packages: Mapping[str, InstalledPackage]) -> None:
    if "dpkg" not in packages:
        raise InputError("this image is not Raspberry Pi OS: /var/lib/dpkg/status does not list dpkg as installed")
    architecture = packages["dpkg"].architecture
    # kernel8.img and kernel_2712.img are the 64-bit kernels: raspberrypi.com, config.txt, "kernel".
    kernel = boot.exists("kernel8.img") or boot.exists("kernel_2712.img")
    if architecture != "arm64" or not kernel:
        found = f"architecture {architecture}" if architecture != "arm64" else "no kernel8.img on its boot partition"
        raise InputError(f"this image is not 64-bit ({found}): use Raspberry Pi OS Lite (64-bit), arm64")


def _release(os_release: str) -> str:
    fields: dict[str, str] = dict(re.findall(r"^([A-Z_]+)=[\"']?(.*?)[\"']?\s*$", os_release, re.MULTILINE))
    name = fields.get("VERSION_CODENAME", "")
    if name not in PYTHONS:
        shown = name or fields.get("PRETTY_NAME", "unknown")
        raise InputError(f"this image has the unknown release {shown!r}; FER-Edge supports {' and '.join(PYTHONS)}")
    return name


def _preseed_keys(root: Files) -> frozenset[str]:
    if not root.exists(_PRESEED_SCHEMA):
        return frozenset()
    lines = _text(root, _PRESEED_SCHEMA).splitlines()
    return frozenset(line.split()[0] for line in lines if len(line.split()) >= 3 and not line.startswith("#"))


def _text(volume: Files, path: str) -> str:
    return volume.read(path).decode("utf-8", errors="replace")
