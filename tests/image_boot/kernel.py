"""A kernel for the emulated Pi: trixie's, with the drivers that QEMU's machine ``virt`` needs.

The cloud kernel has ext4, NVMe and the serial port built in, so that it needs no initial RAM disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arm.rootfs import extract_debian, kept
from arm.sandbox import run

_PACKAGE = "linux-image-cloud-arm64"


@contextmanager
def kernel(cache: Path) -> Iterator[Path]:
    """Return a folder, kept below ``cache``, with ``vmlinuz`` and ``modules/VERSION``. Raises InputError."""
    with kept(cache, "kernel", Path(__file__).read_bytes(), _build) as folder:
        yield folder


def _build(folder: Path) -> None:
    print("Preparing Debian's kernel for aarch64 (once)", flush=True)
    root = folder / "root"
    root.mkdir()
    extract_debian(root, "trixie", "arm64", _PACKAGE)
    (version,) = (path.name for path in (root / "usr" / "lib" / "modules").iterdir())
    # As the package's script does; otherwise modprobe finds nothing.
    run(["depmod", "-b", root, version])
    shutil.move(root / "boot" / f"vmlinuz-{version}", folder / "vmlinuz")
    shutil.move(root / "usr" / "lib" / "modules", folder / "modules")
    shutil.rmtree(root)
