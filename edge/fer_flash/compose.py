"""Compose a card image: a stock image, the files of its first boot, and the payload.

The result is always a new file; the stock image is only read. Needs no root rights, mounts or loop devices.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import InputError, OutputError, reason_of
from fer_edge.settings.redaction import redacted
from fer_edge.system.files import atomic_path, file_identity, temporary_files
from fer_flash.first_boot.plan import BootFile, first_boot_files, warnings
from fer_flash.image.card_image import CardImage
from fer_flash.image.stock_system import StockSystem, inspect
from fer_flash.image.unpack import unpack
from fer_flash.meter import Meter, size
from fer_flash.payload.assemble import PayloadSettings, assemble, total_bytes
from fer_flash.payload.packages.apt_sources import Root, read_apt_sources
from fer_flash.payload.packages.collect import PICAMERA2, SystemPackages, collect_packages
from fer_flash.payload.payload_file import PayloadFile
from fer_flash.payload.settings_files import may_update, wants_pi_camera
from fer_flash.settings.pi_config import PiConfig

PAYLOAD_FOLDER = "fer-edge"
"""Folder of the payload on the boot partition."""
BOOT_RESERVE = 64 << 20
"""Bytes that stay free on the boot partition: a kernel update writes the new kernel and initramfs before it removes the
old ones (raspi-firmware, /etc/kernel/postinst.d)."""
CLUSTER = 32 << 10
"""Bytes. A file occupies whole clusters, and a partition of this size has no larger ones."""


@dataclass(frozen=True, slots=True)
class Stock:
    """A stock image as published: a path or an http(s) URL, and its expected SHA-256, which a URL requires."""

    source: str
    sha256: str | None = None

    @property
    def name(self) -> str:
        """The source as messages show it, without a password in a URL."""
        return redacted(self.source)


@dataclass(frozen=True, slots=True)
class Composition:
    """The content of a composed image.

    Attributes:
        system: the stock system.
        image_bytes: size of the image.
        payload_bytes: size of the payload's files.
        payload_files: number of the payload's files.
        boot_free_bytes: space left on the boot partition, about.
        written: path on the boot partition, size in bytes, and whether it is secret, of each file of the first boot.
        notes: what to know before the card is written, one line each.
        packages: the system packages that the settings need and the image lacks; None if it lacks none.
    """

    system: StockSystem
    image_bytes: int
    payload_bytes: int
    payload_files: int
    boot_free_bytes: int
    written: tuple[tuple[str, int, bool], ...]
    notes: tuple[str, ...]
    packages: SystemPackages | None


@dataclass(frozen=True, slots=True)
class Sources:
    """Where to get what the image does not contain.

    Attributes:
        cache: folder with wheels and packages (default: the user's cache folder).
        apt_online: let the Pi download system packages at its first boot instead of putting them into the payload.
    """

    cache: Path | None = None
    apt_online: bool = False


def compose(
    stock: Stock, out: Path, config: PiConfig, *, sources: Sources = Sources(), report: Callable[[str], object]
) -> Composition:
    """Write the image for ``config`` to ``out``, readable only by its owner; on an error, ``out`` is not created.

    ``report`` is called with one line for each step that takes long.

    Raises:
        InputError: if the image cannot be customised, or has no room for the payload.
        OutputError: if ``out`` cannot be written.
        FerEdgeError: what ``assemble`` and ``collect_packages`` raise.
    """
    if "://" not in stock.source and out.exists() and file_identity(Path(stock.source)) == file_identity(out):
        raise InputError(f"{out}: is the stock image itself, which is never changed; give another --out")
    _remove_leftovers(out)
    with atomic_path(out, private=True) as temporary, _held(temporary):
        _unpack(stock, temporary, str(out))
        with CardImage(temporary, writable=True, name=stock.name, target=str(out)) as card:
            composition = _customise(card, config, sources, report, write=True)
        _sync(temporary)
    return composition


def _remove_leftovers(out: Path) -> None:
    """Remove what killed runs left: it is as large as a card and may contain a passphrase.

    Raises:
        OutputError: if another run is writing ``out``.
    """
    for path in temporary_files(out.parent, [out.name]):
        try:
            with _held(path):
                path.unlink()
        except BlockingIOError:
            raise OutputError(f"{out}: another run is writing it; wait for it to end") from None
        except OSError:  # of another user
            continue


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Lock ``path``, by which another run knows that its writer lives. Raises BlockingIOError if it is locked."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield
        return
    with path.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def plan(
    stock: Stock, folder: Path, config: PiConfig, *, sources: Sources = Sources(), report: Callable[[str], object]
) -> Composition:
    """Return what ``compose`` would do, without writing the image.

    How an image is customised depends on its content, so a packed one is unpacked into ``folder`` temporarily.
    Raises what ``compose`` raises.
    """
    with raw_image(stock, folder) as raw, CardImage(raw, name=stock.name) as card:
        return _customise(card, config, sources, report, write=False)


@contextmanager
def raw_image(stock: Stock, folder: Path) -> Iterator[Path]:
    """Yield the path of the raw image; a packed one is unpacked into ``folder`` for the duration of the block.

    Raises what ``unpack`` raises.
    """
    raw = Path(stock.source)
    if stock.sha256 is None and _is_raw(raw):
        yield raw
        return
    with ExitStack() as stack:
        try:
            scratch = stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix=".fer-edge-"))
            image = Path(scratch) / "stock.img"
            image.touch()
            _unpack(stock, image, str(folder))
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(f"{folder}: cannot unpack the image there: {reason_of(error)}") from error
        yield image


def check_room(boot_free: int, sizes: Sequence[int]) -> int:
    """Return the bytes that stay free on the boot partition after writing files of these ``sizes``.

    Raises:
        InputError: if less than ``BOOT_RESERVE`` would stay free.
    """
    needed = sum(-(-each // CLUSTER) * CLUSTER for each in sizes)
    if needed > boot_free - BOOT_RESERVE:
        raise InputError(
            f"no room for the payload of {size(needed)}: the boot partition has {size(boot_free)} free, of which "
            f"{size(BOOT_RESERVE)} must stay free for kernel updates; use a stock Lite image"
        )
    return boot_free - needed


def lacking_packages(
    system: StockSystem, root: Root, wanted: Sequence[str], sources: Sources, report: Callable[[str], object]
) -> SystemPackages | None:
    """Return those of ``wanted`` that the image lacks, with their dependencies; None if it lacks none.

    Raises what ``read_apt_sources`` and ``collect_packages`` raise.
    """
    lacking = [name for name in wanted if name not in system.installed]
    if not lacking:
        return None
    try:
        image_sources = read_apt_sources(root)
    except InputError as error:
        names = " and ".join(lacking)
        raise InputError(f"the image lacks {names}, and {error}: use a stock image of Raspberry Pi OS Lite") from None
    if sources.apt_online:
        return SystemPackages(tuple(lacking))
    return collect_packages(system.release, image_sources, lacking, cache=sources.cache, report=report)


def _customise(
    card: CardImage, config: PiConfig, sources: Sources, report: Callable[[str], object], *, write: bool
) -> Composition:
    settings = PayloadSettings(config.config_file, config.bundle, config.settings.fer_edge.source)
    system = inspect(card.boot, card.root)
    report(f"Raspberry Pi OS {system.release}, customised by {system.style}")
    wanted = [PICAMERA2] if wants_pi_camera(settings.config, settings.source) else []
    packages = lacking_packages(system, card.root, wanted, sources, report)
    updates = may_update(settings.config, settings.source)
    payload = assemble(system.release, settings, sources.cache, packages=packages, updates=updates, report=report)
    boot_files = first_boot_files(system, config, card.boot)
    sizes = [*(file.size for file in payload), *(len(file.data) for file in boot_files)]
    boot_free = check_room(card.boot.free_bytes, sizes)
    report(f"payload of {size(total_bytes(payload))} for the boot partition, where {size(boot_free)} stay free")
    if write:
        _write(card, payload, boot_files)
    notes = list(warnings(system, config))
    if packages is not None and packages.from_network:
        names = " and ".join(packages.wanted)
        notes.insert(0, f"{names}: the Pi downloads it at its first boot, which needs internet access then")
    return Composition(
        system,
        card.path.stat().st_size,
        total_bytes(payload),
        len(payload),
        boot_free,
        tuple((file.path, len(file.data), file.secret) for file in boot_files),
        tuple(notes),
        packages,
    )


def _write(card: CardImage, payload: Sequence[PayloadFile], boot_files: Sequence[BootFile]) -> None:
    with Meter("writing the payload", total_bytes(payload)) as meter:
        for file in payload:
            card.boot.write(f"{PAYLOAD_FOLDER}/{file.path}", file.data)
            meter.advance(file.size)
    # Written last: without them, the image boots like a stock one.
    for entry in boot_files:
        card.boot.write(entry.path, entry.data)


def _unpack(stock: Stock, path: Path, target: str) -> None:
    """Unpack the stock image into the existing file ``path``, which errors call ``target``."""
    total = Path(stock.source).stat().st_size if Path(stock.source).is_file() else None
    with path.open("r+b") as stream, Meter("unpacking the image", total) as meter:
        unpack(
            stock.source,
            stream,
            sha256=stock.sha256,
            progress=lambda done, whole: meter.advance(done - meter.done, done / whole if whole else None),
            target=target,
        )


def _is_raw(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(512)[510:] == b"\x55\xaa"
    except (OSError, ValueError):
        return False  # ``unpack`` reports what is wrong with it


def _sync(path: Path) -> None:
    with path.open("r+b") as stream:  # Windows only syncs files that are open for writing
        os.fsync(stream.fileno())
