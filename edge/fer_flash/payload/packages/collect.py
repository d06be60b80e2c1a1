"""Download the packages that an image lacks once, cache them, and check their SHA-256 at every use.

apt checks signatures during the download (see ``apt.py``); the sha256 of each file is recorded. The name of the cache
folder is a hash of everything that the choice of packages depends on, so each image has a separate one.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fer_edge.errors import CheckFailedError, InputError, OutputError
from fer_edge.model.bundle import file_sha256
from fer_edge.system.files import write_bytes_atomically
from fer_edge.system.user_folders import cache_folder
from fer_flash.payload.packages.apt import missing_programs, private_apt
from fer_flash.payload.packages.apt_sources import AptSources
from fer_flash.payload.packages.deb import FORMAT, Deb, debs_of_record, read_deb, record_of

PICAMERA2 = "python3-picamera2"
"""Raspberry Pi OS's package of picamera2: desktop images have it, Lite images do not (RPi-Distro/pi-gen, stage2 and
stage4). It cannot be installed from PyPI: its dependencies python-prctl and pidng have no wheels."""
COMPANIONS = {PICAMERA2: ("libcamera-ipa",)}
"""Packages to upgrade together with the wanted one. libcamera only recommends libcamera-ipa of the same version
(Debian's control file), so the image's older one would stay, and no camera starts with that."""
RECORD = "packages.json"
"""The file that lists the content of the cache folder; written last."""


@dataclass(frozen=True, slots=True)
class SystemPackages:
    """System packages that the first boot installs before FER-Edge.

    ``wanted`` are the requested packages. ``debs`` are these and their dependencies; empty if the device downloads
    them itself.
    """

    wanted: tuple[str, ...]
    debs: tuple[Deb, ...] = ()

    @property
    def from_network(self) -> bool:
        """Whether the device downloads them itself."""
        return not self.debs


def companions(wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the ``COMPANIONS`` of all ``wanted`` packages."""
    return tuple(name for each in wanted for name in COMPANIONS.get(each, ()))


def packages_folder(release: str, sources: AptSources, wanted: Sequence[str], cache: Path | None = None) -> Path:
    """Return the folder of the packages for such an image, below ``cache`` (default: the user's cache folder)."""
    digest = hashlib.sha256(repr((FORMAT, sorted(wanted))).encode())
    for path, data in (("status", sources.status), *sources.files):
        digest.update(f"{path} {len(data)} ".encode())
        digest.update(data)
    return (cache or cache_folder()) / "debs" / f"{release}-{digest.hexdigest()[:16]}"


def collect_packages(
    release: str,
    sources: AptSources,
    wanted: Sequence[str],
    *,
    cache: Path | None = None,
    force: bool = False,
    report: Callable[[str], object] = lambda line: None,
) -> SystemPackages:
    """Return ``wanted`` and their dependencies that the image with these ``sources`` lacks.

    Only what is not in the cache yet needs the network; ``force`` fetches all again. ``report`` is called with a line
    for each step.

    Raises:
        CheckFailedError: if a signature or a hash is wrong.
        InputError: if apt is missing, a source does not answer or does not have a package.
        OutputError: if the cache cannot be written.
    """
    folder = packages_folder(release, sources, wanted, cache)
    kept = None if force else _kept(folder)
    if kept is None:
        if missing := missing_programs():
            raise InputError(
                f"{' and '.join(wanted)}: the image lacks it, and downloading it needs apt ({', '.join(missing)} not"
                " found here): do this on Debian or Ubuntu, or add --apt-online, so that the Pi downloads it at its"
                " first boot"
            )
        kept = _fetch(folder, sources, wanted, report)
    return SystemPackages(tuple(wanted), tuple(kept))


def _kept(folder: Path) -> list[Deb] | None:
    """Return the cached packages after checking their SHA-256; None if there are none. Raises CheckFailedError."""
    advice = "fer-edge flash debs --force downloads it again"
    try:
        debs = debs_of_record((folder / RECORD).read_bytes(), folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        raise CheckFailedError(f"{folder / RECORD}: damaged: {advice}") from None
    for deb in debs:
        if not deb.path.is_file() or file_sha256(deb.path) != deb.sha256:
            raise CheckFailedError(f"{deb.path}: its sha256 is not the recorded one: damaged or replaced; {advice}")
    return debs or None


def _fetch(folder: Path, sources: AptSources, wanted: Sequence[str], report: Callable[[str], object]) -> list[Deb]:
    with private_apt(sources, "arm64") as apt:
        report(f"{' and '.join(wanted)}: querying the image's package sources with apt")
        apt.update()
        fetched = [read_deb(path) for path in apt.download(wanted, companions(wanted))]
        lacking = set(wanted) - {deb.name for deb in fetched}
        if lacking:
            raise InputError(f"apt downloaded no {' and '.join(sorted(lacking))}: the image has it already")
        debs = _keep(folder, fetched)
    report(f"{' and '.join(wanted)}: {len(debs)} packages downloaded, signatures verified")
    return debs


def _keep(folder: Path, fetched: Sequence[Deb]) -> list[Deb]:
    """Move the packages into the cache; the folder is renamed into place when it is complete."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder.parent) as passing:
            new = Path(passing) / "debs"
            new.mkdir()
            for deb in fetched:
                shutil.move(deb.path, new / deb.path.name)
            write_bytes_atomically(new / RECORD, record_of(fetched))
            if folder.exists():
                folder.rename(Path(passing) / "old")
            new.rename(folder)
            return [msgspec.structs.replace(deb, path=folder / deb.path.name) for deb in fetched]
    except OSError as error:
        raise OutputError(f"{folder}: cannot write packages there: {error.strerror or error}") from None
