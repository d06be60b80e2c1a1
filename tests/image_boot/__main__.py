"""``make test-image``: boot composed cards in containers, up to the daemon's events."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

from arm.rootfs import SUITES, Suite, kept
from fer_edge.errors import CheckFailedError, FerEdgeError
from fer_edge.system.user_folders import cache_folder
from image_boot import camera, chroot, cloudinit, firstrun, power, preseed
from image_boot.card import Card, composed
from image_boot.machine import Machine
from image_boot.system import build, made_from, refuse_if_something_is_missing
from image_boot.table import Table

_CAMERA = Path(__file__).parents[1] / "systemd" / "camera.py"


class Place:
    """State that the parts share: cards and root file systems, each created once, and temporary folders.

    ``emulated`` are the releases of the parts for aarch64.
    """

    def __init__(
        self, scratch: Path, kept_in: Path, wheels: Path, roots: contextlib.ExitStack, emulated: Sequence[Suite]
    ) -> None:
        self._scratch, self._kept_in, self.wheels, self._roots = scratch, kept_in, wheels, roots
        self.emulated = emulated
        self.card = cache(self._card)
        self._root = cache(self._find_root)

    @contextlib.contextmanager
    def machine(self, style: str, release: str) -> Iterator[tuple[Machine, Card]]:
        """Return a machine, switched off, with a new card of that style."""
        card = self.card(style, release)
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        (folder / "shown").mkdir()
        for path in (_CAMERA, card.key):
            shutil.copy(path, folder / "shown" / path.name)
        with Machine(self._root(release), card.boot, folder / "shown", folder) as machine:
            yield machine, card

    def _card(self, style: str, release: str) -> Card:
        folder = self._scratch / style
        folder.mkdir()
        return composed(style, release, folder, self.wheels)

    def _find_root(self, release: str) -> Path:
        suite = SUITES[release]
        kept_root = kept(self._kept_in, suite.name, made_from(suite), partial(build, suite))
        return self._roots.enter_context(kept_root) / "root"


def _booted(check: Callable[[Table, Machine, Card], None], style: str, release: str) -> Callable[[Table, Place], None]:
    def part(table: Table, place: Place) -> None:
        with place.machine(style, release) as (machine, card):
            check(table, machine, card)

    return part


def _on_arm(table: Table, place: Place) -> None:
    chroot.check(table, place.emulated, place.wheels / "image-arm", place.wheels)


def _camera(table: Table, place: Place) -> None:
    camera.check(table, place.emulated, place.wheels / "image-arm", place.wheels)


PARTS: dict[str, Callable[[Table, Place], None]] = {
    "cloudinit": _booted(cloudinit.check, "cloudinit", "trixie"),
    "power": _booted(power.check, "cloudinit", "trixie"),
    "firstrun": _booted(firstrun.check, "systemd", "bookworm"),
    "preseed": _booted(preseed.check, "rpi-preseed", "trixie"),
    "chroot": _on_arm,
    "camera": _camera,
}


def main() -> None:
    """Run the parts; print a table for each."""
    parser = argparse.ArgumentParser(prog="make test-image", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--suite", choices=SUITES, help="only this release in the parts for aarch64 (default: both)")
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="where wheels and file systems are kept")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - PARTS.keys():
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    # SIGTERM acts like Ctrl-C, so that containers are stopped and disks unmounted then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        refuse_if_something_is_missing()
        emulated = [SUITES[arguments.suite]] if arguments.suite else list(SUITES.values())
        _run(arguments.parts or list(PARTS), arguments.cache.absolute(), emulated)
    except FerEdgeError as error:
        print(f"make test-image: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _run(names: list[str], kept_in: Path, emulated: Sequence[Suite]) -> None:
    table = Table()
    with contextlib.ExitStack() as roots, tempfile.TemporaryDirectory(prefix="fer-edge-image-") as folder:
        place = Place(Path(folder), kept_in / "image", kept_in, roots, emulated)
        for name in names:
            PARTS[name](table, place)
    if table.failures:
        raise CheckFailedError(f"{table.failures} of {table.rows} promises are not kept")


if __name__ == "__main__":
    main()
