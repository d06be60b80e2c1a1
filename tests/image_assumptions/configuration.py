"""Assumptions about the image's configuration: our drop-ins are read, and no other file overrides them."""

from __future__ import annotations

import re

from image_assumptions.assumption import Assumption, none_of
from image_assumptions.stock_image import StockImage

_SETUP = "edge/fer_flash/first_boot/scripts/setup.sh"
_SSH_DROP_IN = "10-fer-edge.conf"
_SSH_KEYS = ("PasswordAuthentication", "KbdInteractiveAuthentication", "PermitRootLogin")
_DROP_IN = "90-fer-edge.conf"
_SYSTEMD_KEYS = {
    "system.conf.d": ("RuntimeWatchdogSec", "RebootWatchdogSec"),
    "journald.conf.d": ("SystemMaxUse", "RuntimeMaxUse", "MaxFileSec"),
}
_UNITS = (
    "NetworkManager.service",
    "basic.target",
    "getty@.service",
    "multi-user.target",
    "ssh.service",
    "systemd-modules-load.service",
)


def _set_in(text: str, keys: tuple[str, ...], assigned_by: str) -> list[str]:
    """Return which of ``keys`` a configuration file sets."""
    return [key for key in keys if re.search(rf"^\s*{key}{assigned_by}", text, flags=re.MULTILINE | re.IGNORECASE)]


def _ssh_include(image: StockImage) -> str | None:
    lines = [line.split("#")[0].split() for line in image.root_text("etc/ssh/sshd_config").splitlines()]
    first = next((line for line in lines if line), [])
    return None if first == ["Include", "/etc/ssh/sshd_config.d/*.conf"] else f"its first line is: {' '.join(first)}"


def _ssh_order(image: StockImage) -> str | None:
    """Check our sshd setting: sshd uses the first value that it reads."""
    found = [
        f"/{path} sets {', '.join(keys)}"
        for path, text in image.root_texts("etc/ssh/sshd_config.d", ending=".conf").items()
        if path.rpartition("/")[2] < _SSH_DROP_IN and (keys := _set_in(text, _SSH_KEYS, r"\s"))
    ]
    return "; ".join(found) or None


def _sudo(image: StockImage) -> str | None:
    included = re.search(r"^[@#]includedir\s+/etc/sudoers\.d\s*$", image.root_text("etc/sudoers"), flags=re.MULTILINE)
    return None if included else "no line @includedir /etc/sudoers.d in /etc/sudoers"


def _systemd_order(image: StockImage) -> str | None:
    """Check our systemd drop-ins: systemd uses the drop-in whose name sorts last, in any folder."""
    found = []
    for folder, keys in _SYSTEMD_KEYS.items():
        folders = [f"{base}/systemd/{folder}" for base in ("etc", "usr/local/lib", "usr/lib")]
        for path, text in image.root_texts(*folders, ending=".conf").items():
            if path.rpartition("/")[2] > _DROP_IN and (others := _set_in(text, keys, r"\s*=")):
                found.append(f"/{path} sets {', '.join(others)}")
    return "; ".join(found) or None


def _wifi(image: StockImage) -> str | None:
    texts = image.root_texts("etc/NetworkManager/conf.d", "usr/lib/NetworkManager/conf.d", ending=".conf")
    texts["etc/NetworkManager/NetworkManager.conf"] = image.root_text("etc/NetworkManager/NetworkManager.conf")
    found = []
    for path, text in texts.items():
        # A section [connection-NAME] competes with ours; a plain [connection] has lower priority.
        for section in re.findall(r"^\[connection-[^\]]*\][^\[]*", text, flags=re.MULTILINE):
            found += [f"/{path} sets {key}" for key in _set_in(section, (r"wifi\.powersave",), r"\s*=")]
        found += [f"/{path}: {line}" for line in re.findall(r"^unmanaged-devices\s*[+=].*(?:wifi|wlan).*", text, re.M)]
    return "; ".join(found).replace("\\", "") or None


def _units(image: StockImage) -> str | None:
    return none_of(name for name in _UNITS if not image.root.exists(f"usr/lib/systemd/system/{name}"))


CONFIGURATION = (
    Assumption(
        "sshd-config",
        "sshd_config begins with Include /etc/ssh/sshd_config.d/*.conf: sshd takes the first value, which is ours.",
        _SETUP,
        "Debian, package openssh-server, /etc/ssh/sshd_config",
        _ssh_include,
    ),
    Assumption(
        "sshd-order",
        f"No file of sshd_config.d that sorts before {_SSH_DROP_IN} sets {', '.join(_SSH_KEYS)}.",
        _SETUP,
        "sshd_config(5); RPi-Distro/userconf-pi, rename-user: rename_user.conf sorts after it",
        _ssh_order,
    ),
    Assumption(
        "sudoers",
        "sudo reads /etc/sudoers.d.",
        _SETUP,
        "Debian, package sudo, /etc/sudoers",
        _sudo,
    ),
    Assumption(
        "systemd-order",
        f"No drop-in of systemd that sorts after {_DROP_IN} sets the hardware watchdog or the journal's size.",
        _SETUP,
        "systemd-system.conf(5), journald.conf(5); Raspberry Pi's own is 40-rpi-volatile-storage.conf",
        _systemd_order,
    ),
    Assumption(
        "wifi",
        "NetworkManager manages Wi-Fi, and no section [connection-…] of the image sets its power saving.",
        _SETUP,
        "NetworkManager.conf(5); RPi-Distro/pi-gen, stage2/02-net-tweaks",
        _wifi,
    ),
    Assumption(
        "units",
        f"systemd has the units that our scripts and units name: {', '.join(_UNITS)}.",
        _SETUP,
        "Debian, packages systemd, openssh-server and network-manager",
        _units,
    ),
)
