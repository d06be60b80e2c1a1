"""Facts about an image, for comparison with another one; FER-Edge does not depend on them."""

from __future__ import annotations

from fer_flash.image.stock_system import StockSystem
from fer_flash.payload.packages.collect import PICAMERA2
from image_assumptions.stock_image import StockImage

_VERSIONS = (
    "systemd",
    "network-manager",
    "openssh-server",
    "cloud-init",
    "netplan.io",
    "rpi-preseed",
    "userconf-pi",
    "raspberrypi-sys-mods",
    "raspi-config",
    PICAMERA2,
    "rpicam-apps-lite",
)
"""Packages whose versions are listed."""


def facts(image: StockImage) -> dict[str, str]:
    """Return facts about ``image`` by name, in the order of the list."""
    system = image.system
    if isinstance(system, StockSystem):
        system = f"{system.release}, Python {system.python}, {system.style}"
    issue = image.root_text("etc/rpi-issue").splitlines()
    return {
        "image": issue[0] if issue else "no /etc/rpi-issue",
        "system": system,
        "partition table": image.table,
        "boot partition": f"{image.boot_kind}, {image.boot.free_bytes >> 20} MiB free",
        "root partition": f"{image.root.free_bytes >> 20} MiB free",
        "kernels": ", ".join(image.kernels) or "none",
        **{name: _version(image, name) for name in _VERSIONS},
    }


def _version(image: StockImage, package: str) -> str:
    found = image.packages.get(package)
    return found.version if found else "not installed"
