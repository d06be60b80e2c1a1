"""The payload: all that a device needs to get FER-Edge without a network, as files below one folder.

install.sh        installs it, see there
payload.conf      for which system it is, as NAME=VALUE lines
requirements.txt  every wheel with its sha256, for pip on the device
wheels/           the lock file's, pip's and FER-Edge's own
bundle/           a model bundle, where another than the package's is wanted
debs/             packages of the system that the settings need and the image lacks, and packages.txt, which lists them
config.toml       the settings; secrets/, certificates/ and credentials.conf: the files that they name
SHA256SUMS        of all but what is secret, whose hash would tell a short password, and which goes after use
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from pathlib import Path

from fer_flash.payload.own_wheel import own_wheel
from fer_flash.payload.packages import SystemPackages, companions
from fer_flash.payload.payload_file import PayloadFile
from fer_flash.payload.releases import Release, release_named
from fer_flash.payload.settings_files import settings_files
from fer_flash.payload.wheels import collect

__all__ = ["PayloadFile", "PayloadSettings", "assemble", "completed", "release_id", "total_bytes"]

SCRIPTS = ("install.sh", "install_packages.sh", "install_files.sh", "install_checks.sh")
"""What is run on the device, from this package."""
_MADE_OF = re.compile(r"  (requirements\.txt$|bundle/)", re.MULTILINE)
_BLOCK = 4096
"""Bytes: a file takes whole blocks."""
_SPARE = 64 << 20
"""Bytes beside what the wheels unpack to: the environment itself, and what the rest of the system writes meanwhile."""


@dataclass(frozen=True, slots=True)
class PayloadSettings:
    """What a payload is to hold beside the program.

    ``config``: the device's settings; the files that they name lie beside it, or in a folder ``secrets`` there. Without
    it, ``source`` names what those watch that ``fer-edge service install`` begins with; without both, the device keeps
    its own settings, or gets these by what it finds. ``bundle``: folder or zip of a model bundle, which needs settings
    that name it; without it, the package's own is used.
    """

    config: Path | None = None
    bundle: Path | None = None
    source: str | None = None


def assemble(
    release: str,
    settings: PayloadSettings,
    cache: Path | None = None,
    *,
    machine: str = "aarch64",
    packages: SystemPackages | None = None,
    report: Callable[[str], object] = lambda line: None,
) -> list[PayloadFile]:
    """The payload for a Raspberry Pi OS ``release`` ("trixie"), checked as far as can be without the device.

    ``packages`` are those of the system that the device lacks. Wheels come from ``cache`` (default: the user's cache
    folder) and are fetched into it where they are missing; ``report`` is called with a line for each that is.

    Raises InputError for settings that the device would refuse, ModelError for such a bundle, and what ``collect`` and
    ``own_wheel`` raise.
    """
    system = release_named(release)
    chosen = settings_files(settings.config, settings.bundle, settings.source)  # first what is refused at once
    wheels = [
        PayloadFile(f"wheels/{wheel.name}", wheel) for wheel in collect(system, machine, cache=cache, report=report)
    ]
    with tempfile.TemporaryDirectory(prefix="fer-edge-wheel-") as folder:
        own = own_wheel(Path(folder))
        wheels.append(PayloadFile(f"wheels/{own.name}", own.read_bytes()))
    return completed(system, machine, wheels, chosen, packages)


def completed(
    system: Release,
    machine: str,
    wheels: Sequence[PayloadFile],
    chosen: Sequence[PayloadFile] = (),
    packages: SystemPackages | None = None,
) -> list[PayloadFile]:
    """The payload of these ``wheels``, FER-Edge's and pip's among them, and of what was ``chosen`` for the device."""
    own = next(wheel for wheel in wheels if _name_and_version(wheel)[0] == "fer-edge")
    installed = [wheel for wheel in wheels if _name_and_version(wheel)[0] != "pip"]  # that one is run as it lies there
    facts = {
        "version": _name_and_version(own)[1],
        "release": system.name,
        "python": system.python,
        "machine": machine,
        "installed_kib": str((sum(map(_unpacked_bytes, installed)) + _SPARE) // 1024),
        **_package_facts(packages),
    }
    scripts = files(__package__).joinpath("scripts")
    payload = [
        *(PayloadFile(name, scripts.joinpath(name).read_bytes()) for name in SCRIPTS),
        PayloadFile("payload.conf", "".join(f"{key}={value}\n" for key, value in facts.items()).encode()),
        PayloadFile("requirements.txt", "".join(sorted(map(_requirement, installed))).encode()),
        *wheels,
        *_package_files(packages),
        *chosen,
    ]
    sums = "".join(f"{file.sha256()}  {file.path}\n" for file in payload if not file.secret)
    return [*payload, PayloadFile("SHA256SUMS", sums.encode())]


def release_id(payload: Iterable[PayloadFile]) -> str:
    """The name of the release that ``install.sh`` makes of it: settings and secrets may change within one."""
    files = {file.path: file for file in payload}
    version = dict(line.split("=", 1) for line in files["payload.conf"].read().decode().splitlines())["version"]
    made_of = [line for line in files["SHA256SUMS"].read().decode().splitlines(keepends=True) if _MADE_OF.search(line)]
    return f"{version}-{hashlib.sha256(''.join(made_of).encode()).hexdigest()[:12]}"


def total_bytes(payload: Iterable[PayloadFile]) -> int:
    """The sum of its files' sizes; a file system takes some more."""
    return sum(file.size for file in payload)


def _package_facts(packages: SystemPackages | None) -> dict[str, str]:
    """What install_packages.sh reads in ``payload.conf``."""
    if packages is None:
        return {}
    facts = {
        "packages": " ".join(packages.wanted),
        "packages_with": " ".join(companions(packages.wanted)),
        "packages_from": "network" if packages.from_network else "payload",
    }
    return {**facts, "packages_kib": str(sum(deb.installed_kib for deb in packages.debs) + _SPARE // 1024)}


def _package_files(packages: SystemPackages | None) -> list[PayloadFile]:
    if packages is None or packages.from_network:
        return []
    listed = "".join(deb.as_line() for deb in packages.debs).encode()
    return [
        PayloadFile("packages.txt", listed),
        *(PayloadFile(f"debs/{deb.path.name}", deb.path) for deb in packages.debs),
    ]


def _name_and_version(wheel: PayloadFile) -> tuple[str, str]:
    name, version = Path(wheel.path).name.split("-")[:2]
    return name.replace("_", "-").lower(), version


def _requirement(wheel: PayloadFile) -> str:
    name, version = _name_and_version(wheel)
    return f"{name}=={version} --hash=sha256:{wheel.sha256()}\n"


def _unpacked_bytes(wheel: PayloadFile) -> int:
    """What its files take on a card, with the bytecode of its modules: about as much again as these."""
    source = BytesIO(wheel.data) if isinstance(wheel.data, bytes) else wheel.data
    with zipfile.ZipFile(source) as archive:
        return sum(_on_disk(entry.file_size) * (1 + entry.filename.endswith(".py")) for entry in archive.infolist())


def _on_disk(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
