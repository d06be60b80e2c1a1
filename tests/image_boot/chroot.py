"""The payload for a Pi, installed by the real install.sh in an aarch64 system, gives the same results as x86-64.

QEMU runs single programs, without systemd: the service is written and enabled, but not started.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from arm.comparison import Arrays, compare
from arm.rootfs import CHECKOUT, Suite
from arm.sandbox import CPUS, Cpu, binfmt, last_line
from fer_edge.errors import CheckFailedError, InputError
from fer_edge.model.bundle import load_bundle
from fer_train.data.dataset import load_dataset
from fer_train.splits import PUBLIC_TEST
from image_boot.arm_root import arm_root, copy_of
from image_boot.pi_chroot import PiChroot
from image_boot.table import Table
from support.processes.edge_command import clean_environment, command_line

_INSTALLED = "/opt/fer-edge/current"
_PROGRAM = f"{_INSTALLED}/bin/fer-edge"
_PAYLOAD = "/boot/firmware/fer-edge"
_PROGRAM_THERE = "/tmp/raw_outputs.py"
_RAW_OUTPUTS = CHECKOUT / "tests" / "arm" / "raw_outputs.py"
_BUNDLE = CHECKOUT / "edge" / "fer_edge" / "model" / "default_bundle"
_ASTRONAUT = CHECKOUT / "edge" / "fer_edge" / "assets" / "astronaut.jpg"

_SEED = 7
_COLUMNS, _ROWS, _CELL_PX, _FACE_PX = 4, 3, 160, 120
"""A picture with several faces is 640×480, like a camera's."""
_ON_PAGE, _PAGES = _COLUMNS * _ROWS, 2
_RAW_FACES = 48
_RAW_WANTED = f"int8={_RAW_FACES}"
_ROUNDED = 1e-4
"""``predict`` rounds probabilities to four digits, on both machines."""


@dataclass(frozen=True, slots=True)
class Sight:
    """This machine's results for the folder ``pictures``: ``seen`` is predict's output, ``raw`` the model's outputs."""

    pictures: Path
    seen: list[dict[str, Any]]
    faces: bytes
    raw: Arrays


def check(table: Table, suites: Iterable[Suite], cache: Path, wheels: Path | None = None) -> None:
    """Add a row for each suite's install and for each core; keep roots below ``cache``. Raises InputError."""
    with binfmt(), contextlib.ExitStack() as stack:
        sight = stack.enter_context(_sight())
        releases = [stack.enter_context(_prepared(suite, cache)) for suite in suites]
        table.begin("aarch64: the payloads")
        releases = [
            release
            for release in releases
            if table.see(release.suite.name, "flash payload makes it", partial(release.make_payload, wheels))
        ]
        # Together, since each takes minutes of emulation on one core of this machine.
        installs = [stack.enter_context(release.installing()) for release in releases]
        for release, install in zip(releases, installs, strict=True):
            table.begin(f"{release.suite.name}, aarch64: the payload in a chroot")
            promise = "install.sh --first-boot, offline: wheels, model, settings, unit; doctor's release checks"
            if not table.see("install", promise, partial(release.installed, install), release.log.read_text):
                continue
            for cpu in CPUS:
                promise = "boxes and labels as here, probabilities and outputs within one step of int8"
                table.see(f"{cpu.name} ({cpu.board})", promise, partial(release.sees_the_same, cpu, sight))


@dataclass(frozen=True, slots=True)
class _Release:
    """A release's system, in a ``folder`` that only this run uses."""

    suite: Suite
    folder: Path

    @property
    def _payload(self) -> Path:
        return self.folder / "payload"

    @property
    def log(self) -> Path:
        """The output of install.sh."""
        return self.folder / "install.log"

    def on(self, cpu: Cpu) -> PiChroot:
        """The system on that processor."""
        return PiChroot(self.folder / "root", self.folder / "board", cpu)

    def make_payload(self, wheels: Path | None) -> str:
        """Create the payload. Raises CheckFailedError."""
        words = ["flash", "payload", "--release", self.suite.name, "--out", str(self._payload)]
        if wheels is not None:
            words += ["--cache", str(wheels)]
        _here(command_line(*words))
        return f"{sum(path.is_file() for path in self._payload.rglob('*'))} files"

    def installing(self) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """Run the payload's install.sh during the block."""
        chroot = self.on(CPUS[0])
        (chroot.root / _PAYLOAD.lstrip("/")).mkdir()
        words = ("sh", f"{_PAYLOAD}/install.sh", "--first-boot")
        return chroot.started(*words, log=self.log, shown={self._payload: _PAYLOAD})

    def installed(self, install: subprocess.Popen[bytes]) -> str:
        """Wait for the end of ``install``. Raises CheckFailedError if it failed."""
        code, told, chroot = install.wait(), self.log.read_text(), self.on(CPUS[0])
        complaint = f"install.sh: exit {code}: {last_line(told.encode())}"
        _ensure(code == 0 and "fer-edge install: done" in told, complaint)
        unit = (chroot.root / "etc" / "systemd" / "system" / "fer-edge.service").read_text()
        _ensure(f"ExecStart={_PROGRAM} run" in unit, f"the unit starts something else:\n{unit}")
        enabled = chroot.run("systemctl", "--root=/", "is-enabled", "fer-edge.service").decode().strip()
        _ensure(enabled == "enabled", f"the unit is {enabled}")
        rows = [line.split() for line in told.splitlines()]
        return "doctor: " + "; ".join(
            " ".join(row[2:]) for row in rows if row[:1] in (["python"], ["opencv"], ["model"])
        )

    def sees_the_same(self, cpu: Cpu, sight: Sight) -> str:
        """Compare the installed program's results with ``sight``. Raises CheckFailedError."""
        chroot = self.on(cpu)
        pictures = [f"/mnt/{Path(entry['file']).name}" for entry in sight.seen]
        told = json.loads(chroot.run(_PROGRAM, "predict", "--json", *pictures, shown={sight.pictures: "/mnt"}))
        _ensure(told["variant"] == "int8", f"predict used the variant {told['variant']}")
        factor = _largest_factor(_BUNDLE)
        pairs = [pair for entries in zip(sight.seen, told["images"], strict=True) for pair in _paired(*entries)]
        largest = max(_difference(here, there, factor) for here, there in pairs)
        bundle = f"{_INSTALLED}/lib/python{self.suite.python}/site-packages/fer_edge/model/default_bundle"
        words = (f"{_INSTALLED}/bin/python3", _PROGRAM_THERE, bundle, _RAW_WANTED)
        output = chroot.run(*words, shown={_RAW_OUTPUTS: _PROGRAM_THERE}, stdin=sight.faces)
        raw = compare(sight.raw, _arrays(output))
        same = (
            f"{len(pairs)} faces in {len(pictures)} pictures: same boxes and labels, probabilities within {largest:.4f}"
        )
        return f"{same}; {raw}"


@contextlib.contextmanager
def _prepared(suite: Suite, cache: Path) -> Iterator[_Release]:
    with (
        tempfile.TemporaryDirectory(prefix="fer-edge-chroot-") as folder,
        arm_root(suite, cache) as root,
        copy_of(root, Path(folder)),
    ):
        yield _Release(suite, Path(folder))


def _paired(here: dict[str, Any], there: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return pairs of a picture's faces on both machines. Raises CheckFailedError if their places differ."""
    boxes, others = ([face["box"] for face in picture["faces"]] for picture in (here, there))
    _ensure(boxes == others, f"{Path(here['file']).name}: boxes {others} instead of {boxes}")
    return list(zip(here["faces"], there["faces"], strict=True))


def _difference(here: dict[str, Any], there: dict[str, Any], factor: float) -> float:
    """Return the largest difference of two faces' probabilities. Raises CheckFailedError above ``factor``."""
    _ensure(here["emotion"] == there["emotion"], f"{there} instead of {here}")
    largest = 0.0
    for label, value in here["probabilities"].items():
        difference = abs(there["probabilities"][label] - value)
        _ensure(difference <= value * (factor - 1) + _ROUNDED, f"{label} of {there} instead of {here}")
        largest = max(largest, difference)
    return largest


def _largest_factor(bundle: Path) -> float:
    """Return the factor of a probability if each output is off by one step: its logit up, those of the others down."""
    manifest = load_bundle(bundle).manifest
    return math.exp(2 * manifest.variants["int8"].io.output_scale / manifest.temperature)


@contextlib.contextmanager
def _sight() -> Iterator[Sight]:
    """Yield pictures for both machines, with this machine's results. Raises InputError without FER2013."""
    # In memory: no picture of FER2013 is written to a disk.
    with tempfile.TemporaryDirectory(prefix="fer-edge-faces-", dir="/dev/shm") as folder:
        images = _drawn_faces()
        pictures = Path(folder)
        shutil.copy(_ASTRONAUT, pictures)
        for number in range(_PAGES):
            page = _page(images[number * _ON_PAGE : (number + 1) * _ON_PAGE])
            cv2.imwrite(str(pictures / f"page-{number + 1}.png"), page)
        paths = sorted(map(str, pictures.iterdir()))
        seen = json.loads(_here(command_line("predict", "--json", *paths)))["images"]
        np.save(stream := io.BytesIO(), images[:_RAW_FACES])
        faces = stream.getvalue()
        raw = _here([sys.executable, str(_RAW_OUTPUTS), str(_BUNDLE), _RAW_WANTED], faces)
        yield Sight(pictures, seen, faces, _arrays(raw))


def _drawn_faces() -> npt.NDArray[np.uint8]:
    images = load_dataset().splits[PUBLIC_TEST].images
    if len(images) < _RAW_FACES:
        raise InputError(f"PublicTest has {len(images)} faces here, {_RAW_FACES} are needed: give the whole FER2013")
    return images[np.random.default_rng(_SEED).choice(len(images), _RAW_FACES, replace=False)]


def _page(faces: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    page = np.full((_ROWS * _CELL_PX, _COLUMNS * _CELL_PX), 128, np.uint8)
    for number, face in enumerate(faces):
        top, left = (part * _CELL_PX + (_CELL_PX - _FACE_PX) // 2 for part in divmod(number, _COLUMNS))
        page[top : top + _FACE_PX, left : left + _FACE_PX] = cv2.resize(face, (_FACE_PX, _FACE_PX))
    return page


def _here(command: list[str], stdin: bytes = b"") -> bytes:
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, env=clean_environment())
    if done.returncode:
        raise CheckFailedError(f"on this machine: {last_line(done.stderr)}")
    return done.stdout


def _arrays(archive: bytes) -> Arrays:
    with np.load(io.BytesIO(archive)) as arrays:
        return dict(arrays)


def _ensure(condition: object, problem: str) -> None:
    """Raise CheckFailedError with ``problem`` unless ``condition`` holds."""
    if not condition:
        raise CheckFailedError(problem)
