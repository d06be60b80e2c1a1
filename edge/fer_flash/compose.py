"""A card image that boots into a Pi that watches: a stock image, files of its first boot, and the payload.

Always a new file; the stock image is read only. No root rights, no mounts, no loop devices.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import FerEdgeError, InputError, OutputError, reason_of
from fer_edge.settings.redaction import redacted
from fer_edge.system.files import atomic_path, file_identity
from fer_flash.first_boot import BootFile, first_boot_files, warnings
from fer_flash.image.card_image import CardImage
from fer_flash.image.file_systems.volume import Volume
from fer_flash.image.stock_system import StockSystem, inspect
from fer_flash.image.unpack import unpack
from fer_flash.meter import Meter, size
from fer_flash.payload.assemble import PayloadFile, PayloadSettings, assemble, total_bytes
from fer_flash.payload.packages import PICAMERA2, SystemPackages, collect_packages, read_apt_sources
from fer_flash.payload.settings_files import wants_pi_camera
from fer_flash.settings.pi_config import PiConfig

BOOT_RESERVE = 64 << 20
"""Bytes that stay free on the boot partition: an update puts a kernel and its initramfs beside the old ones before it
removes those (raspi-firmware, /etc/kernel/postinst.d)."""
ROOT_RESERVE = 256 << 20
"""Bytes that stay free on the root file system, which grows to the whole card at the first boot only."""
CLUSTER = 32 << 10
"""Bytes: a file takes whole clusters or blocks, and no larger ones are made for a partition of this size."""


@dataclass(frozen=True, slots=True)
class Stock:
    """A stock image as published: a path or an http(s) URL, and the sha256 that it must have (a URL needs it)."""

    source: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where the payload goes: ``folder`` on the boot partition or the root file system, seen from the Pi ``path``."""

    on_boot: bool
    folder: str
    path: str
    why: str


@dataclass(frozen=True, slots=True)
class Composition:
    """What a composed image is made of; ``written`` are paths on the boot partition with their size in bytes."""

    system: StockSystem
    image_bytes: int
    place: Place
    payload_bytes: int
    payload_files: int
    written: tuple[tuple[str, int, bool], ...]
    """Path, bytes, and whether it holds a secret, of each file of the first boot."""
    notes: tuple[str, ...]
    packages: SystemPackages | None
    """Those of the system that the settings need and the image lacks."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where what is not in the image comes from.

    ``cache`` holds wheels and packages (default: the user's). With ``apt_online`` the Pi fetches the system's packages
    itself at its first boot, so that they need not be in the payload.
    """

    cache: Path | None = None
    apt_online: bool = False


def compose(
    stock: Stock, out: Path, config: PiConfig, *, sources: Sources = Sources(), report: Callable[[str], object]
) -> Composition:
    """Write the image for ``config`` to ``out``, readable by its owner alone: whole, or not at all.

    ``report`` is given a line for each step that takes long. Raises InputError for an image that cannot be customised and
    for one without room, OutputError where ``out`` cannot be written, and what ``assemble`` and ``collect_packages``
    raise.
    """
    _refuse_input_as_output(stock, out)
    with atomic_path(out, private=True) as temporary, _told_of(temporary, stock, out):
        _unpack(stock, temporary)
        composition = _customise(temporary, config, sources, report, write=True)
        _sync(temporary)
    return composition


def plan(
    stock: Stock, folder: Path, config: PiConfig, *, sources: Sources = Sources(), report: Callable[[str], object]
) -> Composition:
    """What ``compose`` would do, and nothing is kept: what an image wants stands inside it, so it is unpacked into
    ``folder`` for as long as this takes. Raises as ``compose`` does."""
    with raw_image(stock, folder) as raw:
        return _customise(raw, config, sources, report, write=False)


@contextmanager
def raw_image(stock: Stock, folder: Path) -> Iterator[Path]:
    """The image itself, or as long as the block runs what is packed in it, unpacked into ``folder``.

    Raises as ``unpack`` does.
    """
    with ExitStack() as stack:
        raw = Path(stock.source)
        if stock.sha256 is not None or not _is_raw(raw):
            raw = stack.enter_context(_unpacked_for_now(stock, folder))
        yield raw


def place_for(boot_free: int, root_free: int, sizes: Sequence[int]) -> Place:
    """Where files of these ``sizes`` in bytes go, given the bytes that are free.

    The boot partition is preferred: every computer can look at it. Raises InputError where neither has the room.
    """
    needed = sum(-(-each // CLUSTER) * CLUSTER for each in sizes)
    boot, root = boot_free - BOOT_RESERVE, root_free - ROOT_RESERVE
    if needed <= boot:
        why = f"the boot partition has {size(boot_free)} free, and {size(BOOT_RESERVE)} stay free for kernels to come"
        return Place(True, "fer-edge", "/boot/firmware/fer-edge", why)
    if needed <= root:
        why = f"the boot partition has only {size(boot_free)} free, the root file system {size(root_free)}"
        return Place(False, "opt/fer-edge/payload", "/opt/fer-edge/payload", why)
    raise InputError(
        f"no room for the payload of {size(needed)}: the boot partition has {size(boot_free)} free and must keep "
        f"{size(BOOT_RESERVE)}, the root file system {size(root_free)} and {size(ROOT_RESERVE)}; "
        "take a stock Lite image"
    )


def lacking_packages(
    system: StockSystem, root: Volume, wanted: Sequence[str], sources: Sources, report: Callable[[str], object]
) -> SystemPackages | None:
    """Those of ``wanted`` that the image lacks, and what they need; None if it has them all.

    Raises what ``read_apt_sources`` and ``collect_packages`` raise.
    """
    lacking = [name for name in wanted if name not in system.installed]
    if not lacking:
        return None
    try:
        image_sources = read_apt_sources(root)
    except InputError as error:
        names = " and ".join(lacking)
        raise InputError(f"the image lacks {names}, and {error}: take a stock image of Raspberry Pi OS Lite") from None
    if sources.apt_online:
        return SystemPackages(tuple(lacking))
    return collect_packages(system.release, image_sources, lacking, cache=sources.cache, report=report)


def _customise(
    path: Path, config: PiConfig, sources: Sources, report: Callable[[str], object], *, write: bool
) -> Composition:
    settings = PayloadSettings(config.config_file, config.bundle, config.settings.fer_edge.source)
    with CardImage(path, writable=write) as card:
        system = inspect(card.boot, card.root)
        report(f"Raspberry Pi OS {system.release}, customised by {system.style}")
        wanted = [PICAMERA2] if wants_pi_camera(settings.config, settings.source) else []
        packages = lacking_packages(system, card.root, wanted, sources, report)
        payload = assemble(system.release, settings, sources.cache, packages=packages, report=report)
        boot_files = first_boot_files(system, config, card.boot)
        sizes = [*(file.size for file in payload), *(len(file.data) for file in boot_files)]
        place = place_for(card.boot.free_bytes, card.root.free_bytes, sizes)
        report(f"payload of {size(total_bytes(payload))} for {place.path}: {place.why}")
        if write:
            _write(card, place, payload, boot_files)
    return Composition(
        system,
        path.stat().st_size,
        place,
        total_bytes(payload),
        len(payload),
        tuple((file.path, len(file.data), file.secret) for file in boot_files),
        (*_package_notes(packages), *warnings(system, config)),
        packages,
    )


def _package_notes(packages: SystemPackages | None) -> tuple[str, ...]:
    if packages is None or not packages.from_network:
        return ()
    names = " and ".join(packages.wanted)
    return (f"{names}: fetched by the Pi at its first boot, which needs a network that leads to the internet then",)


def _write(card: CardImage, place: Place, payload: Sequence[PayloadFile], boot_files: Sequence[BootFile]) -> None:
    volume: Volume = card.boot if place.on_boot else card.root
    with Meter("writing the payload", total_bytes(payload)) as meter:
        for file in payload:
            mode = 0o600 if file.secret else 0o644
            volume.write(f"{place.folder}/{file.path}", file.data, mode=mode)
            meter.advance(file.size)
    # Last, so that an image that was cut off here boots as a stock one.
    for entry in boot_files:
        card.boot.write(entry.path, entry.data)


def _unpack(stock: Stock, out: Path) -> None:
    total = Path(stock.source).stat().st_size if Path(stock.source).is_file() else None
    with out.open("r+b") as stream, Meter("unpacking the image", total) as meter:
        unpack(
            stock.source,
            stream,
            sha256=stock.sha256,
            progress=lambda done, whole: meter.advance(done - meter.done, done / whole if whole else None),
        )


def _is_raw(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(512)[510:] == b"\x55\xaa"
    except (OSError, ValueError):
        return False  # what it is, unpacking it tells


@contextmanager
def _unpacked_for_now(stock: Stock, folder: Path) -> Iterator[Path]:
    try:
        scratch = tempfile.TemporaryDirectory(dir=folder, prefix=".fer-edge-")
    except OSError as error:
        raise OutputError(f"{folder}: cannot unpack the image there: {reason_of(error)}") from error
    with scratch as name:
        image = Path(name) / "stock.img"
        image.touch()
        with _told_of(image, stock, folder):
            _unpack(stock, image)
            yield image


def _refuse_input_as_output(stock: Stock, out: Path) -> None:
    if "://" not in stock.source and out.exists() and file_identity(Path(stock.source)) == file_identity(out):
        raise InputError(f"{out}: is the stock image itself, which is never changed; give another --out")


@contextmanager
def _told_of(temporary: Path, stock: Stock, out: Path) -> Iterator[None]:
    """Errors speak of what was given, not of the file in between: what is wrong in it came from the stock image."""
    try:
        yield
    except OutputError as error:
        raise OutputError(str(error).replace(str(temporary), str(out))) from error
    except InputError as error:
        raise InputError(str(error).replace(str(temporary), redacted(stock.source))) from error
    except FerEdgeError:
        raise
    except OSError as error:
        raise OutputError(f"{out}: cannot write it: {reason_of(error)}") from error


def _sync(path: Path) -> None:
    with path.open("r+b") as stream:  # Windows syncs only what may be written
        os.fsync(stream.fileno())
