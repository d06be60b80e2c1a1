"""Assumptions about the first boot: the image's way of customization, and the programs that our scripts call."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from fer_flash.first_boot.plan import EARLY_S, MOUNTED, first_boot_files
from fer_flash.image.stock_system import MARKERS, StockSystem, Style
from image_assumptions.assumption import Assumption, none_of
from image_assumptions.stock_image import StockImage
from support.cards.pi_settings import pi_config

_PLAN = "edge/fer_flash/first_boot/plan.py"
_SETUP = "edge/fer_flash/first_boot/scripts/setup.sh"
_CLOUD_CONFIG = next(marker.name for marker in MARKERS[Style.CLOUDINIT] if marker.kind == "file")
_IMAGER_CUSTOM = next(marker.name for marker in MARKERS[Style.SYSTEMD] if marker.kind == "file")
_RUN_GENERATOR = (
    "usr/lib/systemd/system-generators/systemd-run-generator",
    "usr/lib/systemd/system/kernel-command-line.target",
)
_DIALOG = ("usr/lib/userconf-pi/userconf", "usr/lib/systemd/system/userconfig.service")
_HELPERS = {
    _IMAGER_CUSTOM: ("set_hostname", "set_keymap", "set_timezone"),
    "usr/bin/raspi-config": ("do_change_locale", "do_wifi_country", "nonint"),
}
_MIN_CLOUD_INIT = (25, 1)
_UNITS = "usr/lib/systemd/system"


def _files(image: StockImage) -> str | None:
    """Check the requirements of the style: ``first_boot_files`` raises InputError if the image lacks them."""
    if not isinstance(image.system, StockSystem):
        return image.system
    with tempfile.TemporaryDirectory() as folder:
        first_boot_files(image.system, pi_config(Path(folder)), image.boot)
    return None


def _starts(image: StockImage) -> str | None:
    """Check that the image's style starts our script."""
    if not isinstance(image.system, StockSystem):
        return image.system
    if image.system.style is Style.CLOUDINIT:
        seeds = re.findall(r"^\s*seedfrom:\s*(\S+)", image.root_text(_CLOUD_CONFIG), flags=re.MULTILINE)
        places = [seed.removeprefix("file://").rstrip("/") for seed in seeds]
        return None if places == [MOUNTED] else f"seedfrom: {', '.join(seeds) or 'nothing'}"
    if image.system.style is Style.SYSTEMD:
        return none_of(path for path in _RUN_GENERATOR if not image.root.exists(path))
    keys = image.system.preseed_keys
    return none_of(key for key in ("runcmd.early", "runcmd.early_cmd_timeout") if key not in keys)


def _cloud_init(image: StockImage) -> str | None:
    version = image.version("cloud-init")
    if image.style is not Style.CLOUDINIT or version >= _MIN_CLOUD_INIT:
        return None
    return f"cloud-init {'.'.join(map(str, version))}"


def _renderer(image: StockImage) -> str | None:
    """Check netplan's renderer: the last file that names one for all devices decides (netplan(5))."""
    if image.style is not Style.CLOUDINIT:
        return None
    texts = image.root_texts("etc/netplan", "usr/lib/netplan", "lib/netplan", ending=".yaml")
    named = {
        path.rpartition("/")[2]: match[1]
        for path, text in texts.items()
        if (match := re.search(r"^ {1,4}renderer:\s*(\S+)", text, flags=re.MULTILINE))
    }
    last = named[max(named)] if named else "none, which means networkd"
    return None if last == "NetworkManager" else f"the renderer is {last}"


def _preseed_units(image: StockImage) -> str | None:
    if image.style is not Style.PRESEED:
        return None
    wanted = f"{MOUNTED}/rpi-preseed.toml"
    if f"ConditionPathExists={wanted}\n" not in image.root_text(f"{_UNITS}/rpi-preseed.service"):
        return f"rpi-preseed.service does not start for {wanted}"
    early = image.root_text(f"{_UNITS}/rpi-preseed-runcmd-early.service")
    times = re.findall(r"^TimeoutStartSec=(\d+)\s*$", early, flags=re.MULTILINE)
    return None if times and int(times[-1]) > EARLY_S else f"it has {' '.join(times) or 'an unknown number of'} seconds"


def _dialog(image: StockImage) -> str | None:
    return none_of(path for path in _DIALOG if not image.root.exists(path))


def _helpers(image: StockImage) -> str | None:
    lacking = []
    for path, words in _HELPERS.items():
        text = image.root_text(path)
        lacking += [f"{word} of /{path}" for word in words if not re.search(rf"\b{word}\b", text)]
    return none_of(lacking)


FIRST_BOOT = (
    Assumption(
        "first-boot-files",
        "The style supports everything in our files of the first boot: account, network, locale and all keys.",
        _PLAN,
        "raspberrypi/rpi-imager, src/customization_generator.cpp; raspberrypi/rpi-preseed, schema/rpi-preseed.schema",
        _files,
    ),
    Assumption(
        "first-boot-start",
        "What starts our script is there: systemd.run=, cloud-init's seed on the boot partition, or runcmd.early.",
        _PLAN,
        "systemd-run-generator(8); package rpi-cloud-init-mods; raspberrypi/rpi-preseed",
        _starts,
    ),
    Assumption(
        "cloud-init",
        f"If cloud-init customizes the image, it is version {'.'.join(map(str, _MIN_CLOUD_INIT))} or newer.",
        _PLAN,
        "Debian Trixie, package cloud-init 25.1.4: with it our files were tested (tests/image_boot)",
        _cloud_init,
    ),
    Assumption(
        "netplan-renderer",
        "If cloud-init customizes the image, netplan hands the wired network to NetworkManager.",
        "edge/fer_flash/first_boot/network.py",
        "package rpi-cloud-init-mods, /lib/netplan/00-network-manager-all.yaml",
        _renderer,
    ),
    Assumption(
        "preseed-units",
        f"If rpi-preseed customizes the image, it reads {MOUNTED}/rpi-preseed.toml and gives runcmd.early more than "
        f"{EARLY_S} seconds.",
        _PLAN,
        "raspberrypi/rpi-preseed, systemd/rpi-preseed.service and systemd/rpi-preseed-runcmd-early.service",
        _preseed_units,
    ),
    Assumption(
        "first-account-dialog",
        "The dialog for a first account is userconf-pi's, and userconfig.service starts it.",
        _SETUP,
        "RPi-Distro/pi-gen, export-image/01-user-rename; RPi-Distro/userconf-pi, debian",
        _dialog,
    ),
    Assumption(
        "helpers",
        "imager_custom sets host name, keymap and time zone; raspi-config sets locale and Wi-Fi country.",
        _SETUP,
        "RPi-Distro/raspberrypi-sys-mods, usr/lib/raspberrypi-sys-mods/imager_custom; RPi-Distro/raspi-config",
        _helpers,
    ),
)
