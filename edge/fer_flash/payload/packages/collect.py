"""Fetch the packages that an image lacks once, cache them, and check their SHA-256 at every use.

apt checks signatures when it fetches them (see ``apt.py``); what it fetched is recorded with its sha256. The folder's
name is a hash of everything that the choice of packages depends on: another image has one of its own.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import CheckFailedError, InputError, OutputError
from fer_edge.model.bundle import file_sha256
from fer_edge.system.files import write_bytes_atomically
from fer_edge.system.user_folders import cache_folder
from fer_flash.payload.packages.apt import missing_programs, private_apt
from fer_flash.payload.packages.apt_sources import AptSources
from fer_flash.payload.packages.deb import Deb, deb_from_record, read_deb

PICAMERA2 = "python3-picamera2"
"""Raspberry Pi OS's package of picamera2: desktop images have it, Lite images do not (RPi-Distro/pi-gen, stage2 and
stage4). It is on no other package index in a form that installs: its python-prctl and pidng have no wheels."""
COMPANIONS = {PICAMERA2: ("libcamera-ipa",)}
"""Packages to bring to the newest version together with the wanted one. libcamera only recommends libcamera-ipa of its
own version (Debian's control file), so that the image's older one would stay; no camera starts with that."""
RECORD = "packages.json"
"""The file of the folder that says what belongs into it; written last."""
_FORMAT = 2


@dataclass(frozen=True, slots=True)
class SystemPackages:
    """What the first boot installs before the program.

    ``wanted`` are the packages asked for. ``debs`` are these and all that they need; empty if the device is to fetch
    them from the network itself.
    """

    wanted: tuple[str, ...]
    debs: tuple[Deb, ...] = ()

    @property
    def from_network(self) -> bool:
        """Whether the device fetches them itself."""
        return not self.debs


def companions(wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the ``COMPANIONS`` of all ``wanted`` packages."""
    return tuple(name for each in wanted for name in COMPANIONS.get(each, ()))


def packages_folder(release: str, sources: AptSources, wanted: Sequence[str], cache: Path | None = None) -> Path:
    """Return where the packages for such an image are kept below ``cache`` (default: the user's cache folder)."""
    digest = hashlib.sha256(repr((_FORMAT, sorted(wanted))).encode())
    for path, data in (("status", sources.status), *sources.files):
        digest.update(f"{path} {len(data)} ".encode())
        digest.update(data)
    return (cache or cache_folder()) / "debs" / f"{release}-{digest.hexdigest()[:16]}"


def collect_packages(
    release: str,
    sources: AptSources,
    wanted: Sequence[str],
    *,
    architecture: str = "arm64",
    cache: Path | None = None,
    force: bool = False,
    report: Callable[[str], object] = lambda line: None,
) -> SystemPackages:
    """Return ``wanted`` and all that they need and the image with these ``sources`` lacks.

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
                f"{' and '.join(wanted)}: the image lacks it, and fetching it needs apt ({', '.join(missing)} not found"
                " here): do this on Debian or Ubuntu, or add --apt-online, so that the Pi fetches it at its first boot"
            )
        kept = _fetch(folder, sources, wanted, architecture, report)
    return SystemPackages(tuple(wanted), tuple(kept))


def _kept(folder: Path) -> list[Deb] | None:
    """Return the cached packages after checking their SHA-256; None if there are none. Raises CheckFailedError."""
    advice = "fer-edge flash debs --force fetches it again"
    try:
        table = json.loads((folder / RECORD).read_bytes())
        debs = [deb_from_record(record, folder) for record in table["debs"]]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CheckFailedError(f"{folder / RECORD}: damaged: {advice}") from None
    for deb in debs:
        if not deb.path.is_file() or file_sha256(deb.path) != deb.sha256:
            raise CheckFailedError(f"{deb.path}: its sha256 is not the recorded one: damaged or replaced; {advice}")
    return debs or None


def _fetch(
    folder: Path, sources: AptSources, wanted: Sequence[str], architecture: str, report: Callable[[str], object]
) -> list[Deb]:
    with private_apt(sources, architecture) as apt:
        report(f"{' and '.join(wanted)}: asking the image's sources of packages, by apt")
        apt.update()
        fetched = [read_deb(path) for path in apt.download(wanted, companions(wanted))]
        lacking = set(wanted) - {deb.name for deb in fetched}
        if lacking:
            raise InputError(f"apt fetched no {' and '.join(sorted(lacking))}: the image has it already")
        debs = _keep(folder, fetched)
    report(f"{' and '.join(wanted)}: {len(debs)} packages fetched, their signatures are good")
    return debs


def _keep(folder: Path, fetched: Sequence[Deb]) -> list[Deb]:
    """Move them into the cache: the whole folder, or nothing of it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder.parent) as passing:
            new = Path(passing) / "debs"
            new.mkdir()
            for deb in fetched:
                shutil.move(deb.path, new / deb.path.name)
            debs = [deb_from_record(deb.as_record(), folder) for deb in fetched]
            record = {"format": _FORMAT, "debs": [deb.as_record() for deb in debs]}
            write_bytes_atomically(new / RECORD, json.dumps(record, indent=2).encode() + b"\n")
            if folder.exists():
                folder.rename(Path(passing) / "old")
            new.rename(folder)
    except OSError as error:
        raise OutputError(f"{folder}: cannot keep packages there: {error.strerror or error}") from None
    return debs
