"""A card with a Raspberry Pi camera: its packages are installed offline by the first boot, and picamera2 loads.

For each release, ``fer-edge flash compose`` makes a card from a Lite-like image, with packages from the image's own
sources (Debian's real archive, and a signed one on loopback for packages that only Raspberry Pi's archive has). The
payload's ``install.sh`` runs without a network in the emulated system, is killed once while dpkg runs, and run again.
The system has no camera.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from arm.rootfs import Suite
from arm.sandbox import CPUS, binfmt, run
from fer_edge.errors import CheckFailedError
from fer_flash.image.card_image import CardImage
from image_boot import camera_packages
from image_boot.arm_root import copy_of
from image_boot.lite_root import DEBIAN_KEYRING, debian_source, lite_root
from image_boot.pi_chroot import PiChroot
from image_boot.table import Table
from support.cards.stock_images import make_stock_image
from support.processes.edge_command import clean_environment, command_line
from support.servers.apt_repository import Repository, served

_PAYLOAD = "/boot/firmware/fer-edge"
_BOOT_MIB, _ROOT_MIB = 512, 900
_PI = """\
[user]
name = "maker"
[ssh]
keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEJk4zIUBj4Gq2JpXrUD0f2eWm8yTqUyJrKkzBd3mC5N maker@here"]
[fer_edge]
source = "picamera2"
"""
_SYS_MODS = """
Package: raspberrypi-sys-mods
Status: install ok installed
Architecture: arm64
Version: 1:20260101
Maintainer: Test <test@example>
Description: stand-in
"""
_DEBIAN_KEY = "usr/share/keyrings/debian-archive-keyring.pgp"
_PATIENCE_S = 1500.0
_LOOK = """\
import importlib.metadata, json, sys
import libcamera, picamera2, numpy
print(json.dumps({
    "picamera2": picamera2.__file__,
    "libcamera": getattr(libcamera, "__version__", "stand-in"),
    "numpy": numpy.__version__,
    "numpy_file": numpy.__file__,
    "prefix": sys.prefix,
}))
"""


def check(table: Table, suites: Iterable[Suite], kept_in: Path, wheels: Path) -> None:
    """Add rows for each of ``suites``; keep roots below ``kept_in`` and wheels below ``wheels``. Raises InputError."""
    with binfmt():
        for suite in suites:
            table.begin(f"{suite.name}, aarch64: a card with a Raspberry Pi camera, in a chroot")
            with _prepared(suite, kept_in, wheels) as card:
                promise = "compose: what picamera2 needs and the image lacks, signatures checked, is in the payload"
                if not table.see("compose", promise, card.compose):
                    continue
                table.see("cut", "install.sh is killed while dpkg unpacks; it had no network", card.cut)
                promise = "again: dpkg takes it up, the program is installed, doctor's release checks hold"
                if table.see("install", promise, card.install):
                    table.see("import", "picamera2 loads in the service's environment", card.look)
                    table.see("again", "another run installs nothing", card.again)


@dataclass(slots=True)
class _Card:
    suite: Suite
    folder: Path
    repository: Repository
    cache: Path

    def compose(self) -> str:
        """Compose the card and read its payload back with mtools. Raises CheckFailedError."""
        folder = self.folder
        files: dict[str, bytes] = {
            **self.repository.on_image(),
            "etc/apt/sources.list.d/debian.sources": debian_source(self.suite.name, f"/{_DEBIAN_KEY}").encode(),
            _DEBIAN_KEY: DEBIAN_KEYRING.read_bytes(),
        }
        if self.suite.name == "bookworm":  # as in pi-gen: one line, and keys that all sources trust
            del files["etc/apt/sources.list.d/debian.sources"], files[_DEBIAN_KEY]
            files["etc/apt/sources.list"] = b"deb http://deb.debian.org/debian bookworm main\n"
        with (folder / "root" / "var" / "lib" / "dpkg" / "status").open("a") as status:
            status.write(_SYS_MODS)
        for kind in ("list", "md5sums"):  # without them dpkg would call it damaged
            (folder / "root" / "var" / "lib" / "dpkg" / "info" / f"raspberrypi-sys-mods.{kind}").touch()
        stock = make_stock_image(
            folder,
            style="systemd",
            release=self.suite.name,
            boot_mib=_BOOT_MIB,
            root_mib=_ROOT_MIB,
            root=files,
            system=folder / "root",
        )
        (folder / "pi.toml").write_text(_PI)
        image = folder / "card.img"
        words = ("flash", "compose", "--image", stock, "--out", image, "--config", folder / "pi.toml")
        told = _here([*command_line(*words), "--cache", str(self.cache)])
        with CardImage(image) as card:
            start = card.partitions[0].start
        run(["mcopy", "-s", "-n", "-i", f"{image}@@{start}", "::fer-edge", folder])
        for path in (image, stock):
            path.unlink()
        (folder / "root" / _PAYLOAD.lstrip("/")).mkdir(parents=True)
        return next(line for line in told.splitlines() if line.startswith("packages")).partition(":")[2].strip()

    def cut(self) -> str:
        """Start the installation and kill all of it after some packages are unpacked. Raises CheckFailedError."""
        status = self.folder / "root" / "var" / "lib" / "dpkg" / "status"
        before = status.read_text().count("\nStatus: install ok installed\n")
        until = time.monotonic() + _PATIENCE_S
        log = self.folder / "root" / "opt" / "fer-edge" / "install.log"
        words = ("sh", f"{_PAYLOAD}/install.sh", "--first-boot")
        with self._chroot.started(*words, log=self.folder / "cut.log", shown=self._shown) as process:
            while process.poll() is None and time.monotonic() < until:
                if log.exists() and log.read_text(errors="replace").count("\nUnpacking ") >= 12:
                    break
                time.sleep(0.2)
            ended = process.poll()
        if ended is not None:
            raise CheckFailedError(f"install.sh ended with {ended} before it was cut")
        audit = self._chroot.run("dpkg", "--audit").decode()
        left = [line for line in audit.splitlines() if line.startswith(" ")]
        after = status.read_text().count("\nStatus: install ok installed\n")
        if not left:
            raise CheckFailedError("dpkg has nothing to take up: it was cut too late or too early")
        return f"dpkg --audit names {len(left)} packages, {after - before} were installed"

    def install(self) -> str:
        """Run it to completion. Raises CheckFailedError."""
        began = time.monotonic()
        told = self._chroot.run("sh", f"{_PAYLOAD}/install.sh", "--first-boot", shown=self._shown).decode()
        if "fer-edge install: done" not in told:
            raise CheckFailedError(told)
        if audit := self._chroot.run("dpkg", "--audit").decode().strip():
            raise CheckFailedError(f"dpkg --audit: {audit}")
        doctor = [line.split() for line in told.splitlines()]
        seen = "; ".join(" ".join(row) for row in doctor if row[:1] in (["picamera2"], ["libcamera"]))
        return f"{time.monotonic() - began:.0f} s emulated; doctor: {seen}"

    def look(self) -> str:
        """Import it in the environment of the service. Raises CheckFailedError."""
        told = self._chroot.run("/opt/fer-edge/current/bin/python3", "-c", _LOOK).decode()
        found = json.loads(told.splitlines()[-1])
        if not found["prefix"].startswith("/opt/fer-edge/") or "dist-packages" not in found["picamera2"]:
            raise CheckFailedError(told)
        # Without numpy in the environment, the other wheels of the lock file would use Debian's.
        if not found["numpy_file"].startswith("/opt/fer-edge/"):
            raise CheckFailedError(f"numpy is {found['numpy_file']}")
        auto = self._chroot.run("apt-mark", "showauto").decode().split()
        manual = self._chroot.run("apt-mark", "showmanual").decode().split()
        if "python3-numpy" not in auto or "python3-picamera2" not in manual:
            raise CheckFailedError(f"marked as automatic: {auto}")
        return f"picamera2 of the system, libcamera {found['libcamera']}, numpy {found['numpy']} of the environment"

    def again(self) -> str:
        """Run it once more. Raises CheckFailedError."""
        told = self._chroot.run("sh", f"{_PAYLOAD}/install.sh", "--first-boot", shown=self._shown).decode()
        if "python3-picamera2: already installed" not in told:
            raise CheckFailedError(told)
        return "python3-picamera2: already installed"

    @property
    def _chroot(self) -> PiChroot:
        return PiChroot(self.folder / "root", self.folder / "board", CPUS[1])

    @property
    def _shown(self) -> dict[Path, str]:
        return {self.folder / "fer-edge": _PAYLOAD}


@contextmanager
def _prepared(suite: Suite, kept_in: Path, wheels: Path) -> Iterator[_Card]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fer-edge-camera-")))
        stack.enter_context(copy_of(stack.enter_context(lite_root(suite, kept_in)), folder))
        repository = Repository(folder / "archive")
        stack.callback(repository.close)
        camera_packages.fill(repository, suite, folder)
        stack.enter_context(served(repository))
        cache = folder / "cache"
        cache.mkdir()
        (wheels / "wheels").mkdir(parents=True, exist_ok=True)
        (cache / "wheels").symlink_to(wheels / "wheels")
        yield _Card(suite, folder, repository, cache)


def _here(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean_environment())
    if done.returncode:
        raise CheckFailedError(f"exit {done.returncode}: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout
