"""Assumptions about the installed system: packages, programs, users, and files that must not exist yet."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fer_flash.first_boot.plan import ACCOUNT_GROUPS
from fer_flash.image.stock_system import StockSystem
from fer_flash.payload.packages.apt_sources import read_apt_sources
from image_assumptions.assumption import Assumption, none_of
from image_assumptions.stock_image import StockImage
from image_assumptions.unit_settings import MIN_SYSTEMD

_PACKAGES = ("network-manager", "openssh-server", "raspi-config", "sudo", "systemd", "systemd-timesyncd")
PROGRAMS = (
    "apt-get", "apt-mark", "awk", "busctl", "cat", "chmod", "chown", "chpasswd", "cmp", "cp", "cut", "dd", "df",
    "dirname", "dpkg", "dpkg-query", "env", "find", "flock", "getent", "grep", "groupmod", "head", "id", "install",
    "journalctl", "ln", "mkdir", "mktemp", "mv", "python3", "readlink", "rm", "rmdir", "sed", "sh", "sha256sum", "sort",
    "sleep", "sync", "systemctl", "systemd-sysusers", "tail", "tee", "tr", "useradd", "userdel", "usermod", "wc",
)  # fmt: skip
"""Programs that the scripts of first boot and install call without checking that they exist."""
_FOLDERS = ("usr/bin", "usr/sbin")
_OURS = ("opt/fer-edge", "etc/fer-edge", "var/lib/fer-edge")


def _known(image: StockImage) -> str | None:
    return None if isinstance(image.system, StockSystem) else image.system


def _python(image: StockImage) -> str | None:
    if not isinstance(image.system, StockSystem):
        return image.system
    version = image.system.python
    return none_of(
        path
        for path in (f"usr/bin/python{version}", f"usr/lib/python{version}/venv/__init__.py", "usr/bin/python3")
        if not image.root.exists(path)
    )


def _packages(image: StockImage) -> str | None:
    return none_of(name for name in _PACKAGES if name not in image.packages)


def _programs(image: StockImage) -> str | None:
    return none_of(name for name in PROGRAMS if not any(image.root.exists(f"{folder}/{name}") for folder in _FOLDERS))


def _systemd(image: StockImage) -> str | None:
    version = image.version("systemd")
    if version < (MIN_SYSTEMD,):
        return f"systemd {'.'.join(map(str, version)) or 'is not installed'}"
    return None


def _init(image: StockImage) -> str | None:
    if "systemd-sysv" not in image.packages:
        return "the package systemd-sysv is not installed"
    return none_of(path for path in ("usr/lib/systemd/systemd", "usr/sbin/init") if not image.root.exists(path))


def _merged(image: StockImage) -> str | None:
    apart = [name for name in ("bin", "lib", "sbin") if image.root_names(name) != image.root_names(f"usr/{name}")]
    return f"not the same as in /usr: {', '.join(f'/{name}' for name in apart)}" if apart else None


def _accounts(image: StockImage, file: str) -> Iterator[tuple[str, str]]:
    """Return name and number of each account or group."""
    for line in image.root_text(file).splitlines():
        fields = line.split(":")
        if len(fields) > 2:
            yield fields[0], fields[2]


def _video(image: StockImage) -> str | None:
    return None if "video" in dict(_accounts(image, "etc/group")) else "no group video in /etc/group"


def _account_groups(image: StockImage) -> str | None:
    there = dict(_accounts(image, "etc/group"))
    return none_of(name for name in ACCOUNT_GROUPS.split(",") if name not in there)


def _first_account(image: StockImage) -> str | None:
    users = [name for name, number in _accounts(image, "etc/passwd") if number == "1000"]
    return None if len(users) == 1 else f"{len(users)} accounts with the number 1000"


def _free_name(image: StockImage) -> str | None:
    taken = [f"{file}: fer-edge" for file in ("etc/passwd", "etc/group") if "fer-edge" in dict(_accounts(image, file))]
    taken += [f"/{path}" for path in _OURS if image.root.exists(path)]
    return f"there already: {', '.join(taken)}" if taken else None


def _sources(image: StockImage) -> str | None:
    files = read_apt_sources(image.root).files
    text = b"\n".join(data for path, data in files if path.startswith("sources.list.d/"))
    hosts = set(re.findall(rb"^[^#]*?https?://([^/\s]+)", text, flags=re.MULTILINE))
    wanted = (b"archive.raspberrypi.com", b"deb.debian.org")
    missing = [host.decode() for host in wanted if host not in hosts]
    if not any(path.startswith(("keyrings/", "trusted.gpg.d/")) for path, _ in files):
        missing.append("a keyring")
    return none_of(missing)


def _locales(image: StockImage) -> str | None:
    listed = re.search(r"^(?:# *)?en_GB\.UTF-8 UTF-8", image.root_text("etc/locale.gen"), flags=re.MULTILINE)
    return None if listed else "no line for en_GB.UTF-8 in /etc/locale.gen"


ROOT_SYSTEM = (
    Assumption(
        "known-system",
        "It is a 64-bit Raspberry Pi OS of a release and of a style of customisation that FER-Edge knows.",
        "edge/fer_flash/image/stock_system.py",
        "the markers in that file, each with its source",
        _known,
    ),
    Assumption(
        "python",
        "python3 is the version of the release's lock file, and has the module venv (without pip).",
        "edge/fer_flash/payload/scripts/install.sh",
        "Debian, packages python3.X-minimal and libpython3.X-stdlib",
        _python,
    ),
    Assumption(
        "packages",
        f"These packages are installed: {', '.join(_PACKAGES)}.",
        "edge/fer_flash/first_boot/scripts/setup.sh",
        "RPi-Distro/pi-gen, stage1 and stage2, 00-packages",
        _packages,
    ),
    Assumption(
        "programs",
        f"{len(PROGRAMS)} programs that our scripts call are in /usr/bin or /usr/sbin.",
        "edge/fer_flash/payload/scripts/install.sh, edge/fer_flash/first_boot/scripts",
        "Debian's essential packages, and login, passwd, util-linux, systemd",
        _programs,
    ),
    Assumption(
        "merged-usr",
        "/bin, /lib and /sbin lead to the folders of that name in /usr.",
        "edge/fer_flash/first_boot/scripts/setup.sh",
        "Debian, package usrmerge, since Bookworm",
        _merged,
    ),
    Assumption(
        "systemd",
        f"systemd is version {MIN_SYSTEMD} or newer, which knows all settings of our units.",
        "edge/fer_edge/service/fer-edge.service",
        "systemd.exec(5), systemd.service(5): ProtectProc= and LoadCredential= were added in version 247",
        _systemd,
    ),
    Assumption(
        "init",
        "systemd is process 1: /sbin/init is the one of systemd-sysv.",
        "edge/fer_flash/first_boot/plan.py",
        "Debian, package systemd-sysv",
        _init,
    ),
    Assumption(
        "group-video",
        "There is a group video, to which cameras belong.",
        "edge/fer_edge/service/fer-edge.service",
        "Debian, package base-passwd, group.master",
        _video,
    ),
    Assumption(
        "account-groups",
        f"The groups that the account of pi.toml joins are there: {ACCOUNT_GROUPS.replace(',', ', ')}.",
        "edge/fer_flash/first_boot/plan.py",
        "RPi-Distro/pi-gen, stage2/01-sys-tweaks/01-run.sh; Debian, package base-passwd",
        _account_groups,
    ),
    Assumption(
        "first-account",
        "One account has the number 1000: it is renamed to the one of pi.toml.",
        "edge/fer_flash/first_boot/scripts/setup.sh",
        "RPi-Distro/pi-gen, stage1/01-sys-tweaks/00-run.sh",
        _first_account,
    ),
    Assumption(
        "name-is-free",
        "Nothing of the image is called fer-edge: no account, no group, none of our folders.",
        "edge/fer_flash/payload/scripts/install.sh",
        "this project",
        _free_name,
    ),
    Assumption(
        "apt-sources",
        "apt has signed sources of Debian and of Raspberry Pi, with their keys.",
        "edge/fer_flash/payload/packages/apt_sources.py",
        "RPi-Distro/pi-gen, stage0/00-configure-apt",
        _sources,
    ),
    Assumption(
        "locales",
        "/etc/locale.gen lists the locales, most of them as comments.",
        "edge/fer_flash/first_boot/scripts/setup.sh",
        "Debian, package locales",
        _locales,
    ),
)
