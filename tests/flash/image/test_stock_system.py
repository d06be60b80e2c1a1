"""Style, release and Python of an image, detected from its installed packages; and refused images."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_edge.errors import InputError
from fer_flash.image.stock_system import CLOUDINIT_RPI, MARKERS, Style, inspect
from support.cards.pi_settings import FolderVolume, stock_boot

FILES = {
    Style.SYSTEMD: {"usr/lib/raspberrypi-sys-mods/imager_custom": "#!/bin/sh\n"},
    Style.CLOUDINIT: {
        "usr/lib/raspberrypi-sys-mods/imager_custom": "#!/bin/sh\n",
        "etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg": "datasource_list: [ NoCloud, None ]\n",
    },
    Style.PRESEED: {
        "usr/lib/raspberrypi-sys-mods/imager_custom": "#!/bin/sh\n",
        "usr/lib/rpi-preseed/rpi-preseed": "#!/bin/sh\n",
    },
}
PACKAGES = {
    Style.SYSTEMD: ["raspberrypi-sys-mods"],
    Style.CLOUDINIT: ["raspberrypi-sys-mods", "cloud-init", "rpi-cloud-init-mods"],
    Style.PRESEED: ["raspberrypi-sys-mods", "rpi-preseed"],
}
SCHEMA = "# key type class\n\nconfig_version  string  plain  required\nuser.name  string  pii\nwlan.ssid string pii\n"


def status(packages: list[str], architecture: str = "arm64", state: str = "install ok installed") -> str:
    """/var/lib/dpkg/status with fields and folded lines as dpkg writes them."""
    stanzas = [f"Package: dpkg\nStatus: install ok installed\nArchitecture: {architecture}\nVersion: 1.22.21\n"]
    for name in packages:
        stanzas.append(
            f"Package: {name}\nStatus: {state}\nPriority: optional\nArchitecture: all\n"
            "Conffiles:\n /etc/x 0123456789abcdef\nDescription: text\n Package: not a field\n .\n more\n"
        )
    return "\n".join(stanzas)


def os_release(codename: str) -> str:
    return f'PRETTY_NAME="Debian GNU/Linux"\nNAME="Debian GNU/Linux"\nVERSION_CODENAME={codename}\nID=debian\n'


def image(folder: Path, style: Style, release: str = "trixie", architecture: str = "arm64") -> tuple[FolderVolume, ...]:
    root = FolderVolume(folder / "root").put(
        {
            "etc/os-release": os_release(release),
            "var/lib/dpkg/status": status(PACKAGES[style], architecture),
            **FILES[style],
        }
    )
    return stock_boot(folder / "boot"), root


@pytest.mark.parametrize("style", list(Style))
@pytest.mark.parametrize(("release", "python"), [("bookworm", "3.11"), ("trixie", "3.13")])
def test_style_release_and_python(tmp_path: Path, style: Style, release: str, python: str) -> None:
    found = inspect(*image(tmp_path, style, release))
    assert (found.style, found.release, found.python) == (style, release, python)
    assert any(CLOUDINIT_RPI.name in reason for reason in found.why) == (style is Style.CLOUDINIT)
    for marker in MARKERS[style]:
        assert any(marker.name in reason and marker.source in reason for reason in found.why)


def test_an_image_says_which_keys_its_preseed_knows(tmp_path: Path) -> None:
    boot, root = image(tmp_path, Style.PRESEED)
    assert inspect(boot, root).preseed_keys == frozenset()
    root.put({"usr/share/rpi-preseed/rpi-preseed.schema": SCHEMA})
    assert inspect(boot, root).preseed_keys == {"config_version", "user.name", "wlan.ssid"}


@pytest.mark.parametrize("style", [Style.CLOUDINIT, Style.PRESEED])
def test_a_package_that_was_removed_is_not_there(tmp_path: Path, style: Style) -> None:
    boot, root = image(tmp_path, style)
    newer = status(PACKAGES[style][1:], state="deinstall ok config-files")
    root.put({"var/lib/dpkg/status": newer + "\n" + status(["raspberrypi-sys-mods"])})
    assert inspect(boot, root).style is Style.SYSTEMD


def test_what_was_looked_for_is_told_when_nothing_is_there(tmp_path: Path) -> None:
    boot, root = image(tmp_path, Style.SYSTEMD)
    root.put({"var/lib/dpkg/status": status(["systemd"])})
    with pytest.raises(InputError) as caught:
        inspect(boot, root)
    message = str(caught.value)
    assert "\n" not in message
    for marker in (marker for markers in MARKERS.values() for marker in markers):
        assert marker.name in message or root.exists(marker.name)


def test_a_32_bit_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not 64-bit \(architecture armhf\): use Raspberry Pi OS Lite"):
        inspect(*image(tmp_path, Style.SYSTEMD, architecture="armhf"))


def test_an_image_without_a_64_bit_kernel_is_refused(tmp_path: Path) -> None:
    boot, root = image(tmp_path, Style.SYSTEMD)
    (boot.folder / "kernel8.img").unlink()
    with pytest.raises(InputError, match=r"no kernel8\.img"):
        inspect(boot, root)


@pytest.mark.parametrize("release", ["bullseye", "forky", ""])
def test_other_releases_are_refused(tmp_path: Path, release: str) -> None:
    with pytest.raises(InputError, match="FER-Edge supports bookworm and trixie"):
        inspect(*image(tmp_path, Style.SYSTEMD, release))


def test_something_else_is_no_raspberry_pi_os(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not Raspberry Pi OS"):
        inspect(stock_boot(tmp_path / "boot"), FolderVolume(tmp_path / "nothing"))
