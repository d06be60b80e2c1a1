"""The payload: the files that install FER-Edge on a device without a network, in one folder.

install.sh        the installer
payload.conf      version, release, Python, processor and sizes, as NAME=VALUE lines
requirements.txt  every wheel with its sha256, for pip on the device
wheels/           the wheels of the lock file, of pip and of FER-Edge
bundle/           a model bundle, if it is not the default one
debs/             system packages that the settings need and the image lacks, listed in packages.txt
config.toml       the settings; the files that they name are in secrets/, certificates/ and credentials.conf
SHA256SUMS        hashes of all files but the secret ones, whose hash would allow guessing a short password
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

from fer_flash.payload.own_wheel import make_wheel
from fer_flash.payload.packages.collect import SystemPackages, companions
from fer_flash.payload.payload_file import PayloadFile
from fer_flash.payload.releases import Release, release_named
from fer_flash.payload.settings_files import settings_files
from fer_flash.payload.wheels import collect

SCRIPTS = ("install.sh", "install_packages.sh", "install_files.sh", "install_checks.sh")
"""Scripts of this package that run on the device."""
_MADE_OF = re.compile(r"  (requirements\.txt$|bundle/)", re.MULTILINE)
_BLOCK = 4096
"""Bytes per block of the card's file system."""
_SPARE = 64 << 20
"""Bytes to keep free for the virtual environment itself and for other writes during the installation."""


@dataclass(frozen=True, slots=True)
class PayloadSettings:
    """What a payload contains besides the program.

    Attributes:
        config: settings of the daemon; the files that they name are in the same folder, or in ``secrets`` there.
        bundle: folder or zip of a model bundle (default: the one in the package).
        source: camera to watch if ``config`` is None; settings are then generated as by ``fer-edge service install``.
            If both are None, the device keeps its own settings, or generates them from the cameras that it has.
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
    updates: bool = True,
    report: Callable[[str], object] = lambda line: None,
) -> list[PayloadFile]:
    """Return the payload for a Raspberry Pi OS ``release``, checked as far as possible without the device.

    Args:
        release: Debian's code name, such as "trixie".
        settings: what to include.
        cache: folder of the wheels (default: the user's cache folder); missing wheels are downloaded into it.
        machine: processor of the device.
        packages: system packages to include.
        updates: include the packages of signed updates.
        report: called with one line for each download.

    Raises:
        InputError: if the device would refuse the settings.
        ModelError: if it would refuse the bundle.
        FerEdgeError: what ``collect`` and ``make_wheel`` raise.
    """
    system = release_named(release)
    chosen = settings_files(settings.config, settings.bundle, settings.source)  # cheap checks come first
    found = collect(system, machine, cache=cache, updates=updates, report=report)
    wheels = [PayloadFile(f"wheels/{wheel.name}", wheel) for wheel in found]
    with tempfile.TemporaryDirectory(prefix="fer-edge-wheel-") as folder:
        own = make_wheel("fer-edge", Path(folder))
        wheels.append(PayloadFile(f"wheels/{own.name}", own.read_bytes()))
    return completed(system, machine, wheels, chosen, packages)


def completed(
    system: Release,
    machine: str,
    wheels: Sequence[PayloadFile],
    chosen: Sequence[PayloadFile] = (),
    packages: SystemPackages | None = None,
) -> list[PayloadFile]:
    """Return the payload of these ``wheels``, which include those of FER-Edge and pip, and the ``chosen`` files."""
    own = next(wheel for wheel in wheels if _name_and_version(wheel)[0] == "fer-edge")
    installed = [wheel for wheel in wheels if _name_and_version(wheel)[0] != "pip"]  # pip is run, not installed
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
    return with_files(payload, ())


def with_files(payload: Iterable[PayloadFile], added: Iterable[PayloadFile]) -> list[PayloadFile]:
    """Return ``payload`` with the files ``added``, and with the hashes of all of them."""
    complete = [*(file for file in payload if file.path != "SHA256SUMS"), *added]
    sums = "".join(f"{file.sha256()}  {file.path}\n" for file in complete if not file.secret)
    return [*complete, PayloadFile("SHA256SUMS", sums.encode())]


def release_id(payload: Iterable[PayloadFile]) -> str:
    """Return the name of the release that ``install.sh`` makes of the payload; it does not depend on the settings."""
    by_path = {file.path: file for file in payload}
    sums = by_path["SHA256SUMS"].read().decode().splitlines(keepends=True)
    made_of = "".join(line for line in sums if _MADE_OF.search(line))
    return f"{facts_of(by_path['payload.conf'])['version']}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"


def payload_hash(payload: Iterable[PayloadFile]) -> str:
    """Return the hash of the whole payload that ``install.sh`` writes, for root only, when it has installed it.

    It depends on the secrets: never print it.
    """
    lines = (
        f"{file.sha256()}  {file.path}\n"
        for file in payload  # SHA256SUMS covers the others
        if file.path in ("SHA256SUMS", "config.toml") or file.path.startswith("secrets/")
    )
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def facts_of(conf: PayloadFile) -> dict[str, str]:
    """Return the values of a ``payload.conf``."""
    return dict(line.split("=", 1) for line in conf.read().decode().splitlines())


def total_bytes(payload: Iterable[PayloadFile]) -> int:
    """Return the sum of the files' sizes in bytes, without the overhead of a file system."""
    return sum(file.size for file in payload)


def _package_facts(packages: SystemPackages | None) -> dict[str, str]:
    """Return the values of ``payload.conf`` that install_packages.sh reads."""
    if packages is None:
        return {}
    return {
        "packages": " ".join(packages.wanted),
        "packages_with": " ".join(companions(packages.wanted)),
        "packages_from": "network" if packages.from_network else "payload",
        "packages_kib": str(sum(deb.installed_kib for deb in packages.debs) + _SPARE // 1024),
    }


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
    """Return the bytes that the wheel needs on a card, including bytecode, which is about as large as its modules."""
    source = BytesIO(wheel.data) if isinstance(wheel.data, bytes) else wheel.data
    with zipfile.ZipFile(source) as archive:
        return sum(_on_disk(entry.file_size) * (1 + entry.filename.endswith(".py")) for entry in archive.infolist())


def _on_disk(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
