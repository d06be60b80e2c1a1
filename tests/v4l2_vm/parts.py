"""Files for the virtual machine: Debian's kernel and a few packages, unpacked and never installed.

apt finds and downloads them and checks their signatures, which does not need root. They are kept in the cache folder.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from arm.rootfs import kept
from arm.sandbox import run
from fer_edge.errors import InputError
from v4l2_vm.initramfs import build_initramfs

QEMU = "qemu-system-x86_64"
_KERNEL = "linux-image-amd64"
"""Depends on the newest ``linux-image-VERSION-amd64``. The cloud kernel has no media drivers."""
_LAYER = ("kmod", "udev")
"""Installed in the writable layer, because a container host often lacks them."""
_BUSYBOX = "busybox-static"
_NOT_NEEDED = (
    "gpu",
    "net",
    "scsi",
    "infiniband",
    "iio",
    "hwmon",
    "staging",
    "isdn",
    "ata",
    "md",
    "mtd",
    "edac",
    "crypto",
)
"""Driver folders that no test uses: three quarters of the package."""
_NOT_SEEN = ("/tmp", "/run", "/dev", "/proc", "/sys")
"""Folders for which the machine does not use the host's."""
_RECIPE = 1
"""Increase it when the parts are built differently."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The kernel, the initial RAM disk, the modules in ``modules/VERSION``, and a tar file to unpack in the machine."""

    kernel: Path
    initramfs: Path
    modules: Path
    layer: Path


def machine_parts(cache: Path) -> Parts:
    """Return the parts, built once and kept in ``cache``.

    Raises:
        InputError: if QEMU is not installed, a package cannot be downloaded, or the machine would not see its files.
    """
    if shutil.which(QEMU) is None:
        raise InputError(f"{QEMU} is not installed: apt-get install qemu-system-x86")
    for path in (Path(__file__).absolute(), Path(sys.prefix), cache.absolute()):
        if any(path.is_relative_to(folder) for folder in _NOT_SEEN):
            raise InputError(f"{path} is in a folder that the virtual machine cannot see ({', '.join(_NOT_SEEN)})")
    source = Path(__file__).with_name("initramfs.py").read_bytes()
    with kept(cache, "parts", b"%d" % _RECIPE + source, _build) as folder:
        return Parts(folder / "vmlinuz", folder / "initramfs", folder / "modules", folder / "layer.tar")


def _build(folder: Path) -> None:
    print("Preparing the virtual machine (once): Debian's kernel", flush=True)
    layer, tools = folder / "layer", folder / "tools"
    kernel = next((line.split()[-1] for line in _apt("apt-cache", "depends", _KERNEL) if "Depends:" in line), None)
    if kernel is None:
        raise InputError(f"apt does not know {_KERNEL}: apt-get update, on a Debian")
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for package in (kernel, _BUSYBOX, *_LAYER):
            _apt("apt-get", "download", "-q", package, folder=Path(scratch))
        for package in _LAYER:
            run(["dpkg-deb", "-x", *Path(scratch).glob(f"{package}_*.deb"), layer])
        # On a host with a merged /usr, the layer's /bin would hide the host's link with that name.
        for name in ("bin", "sbin", "lib"):
            shutil.copytree(layer / name, layer / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(layer / name)
        run(["dpkg-deb", "-x", *Path(scratch).glob(f"{_BUSYBOX}_*.deb"), tools])
        left_out = [f"--exclude=*/kernel/drivers/{name}" for name in _NOT_NEEDED]
        unpack = 'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --exclude=\'./usr\' "${@:3}"'
        (archive,) = Path(scratch).glob(f"{kernel}_*.deb")
        run(["bash", "-o", "pipefail", "-c", unpack, "-", archive, folder, *left_out])
    (version,) = (path.name for path in (folder / "lib" / "modules").iterdir())
    # Like the package's script: without it modprobe finds nothing.
    run(["bash", "-c", 'exec -a depmod "$0" "$@"', layer / "usr" / "bin" / "kmod", "-b", folder, version])
    shutil.move(folder / "boot" / f"vmlinuz-{version}", folder / "vmlinuz")
    shutil.move(folder / "lib" / "modules", folder / "modules")
    shutil.rmtree(folder / "boot")
    # Unpacked in the machine: a folder in the host's root cannot be a layer over that root.
    shutil.rmtree(layer / "usr" / "lib" / "udev" / "hwdb.d")
    shutil.rmtree(layer / "usr" / "share")
    run(["tar", "-c", "--owner=0", "--group=0", "-C", layer, "-f", folder / "layer.tar", "."])
    shutil.rmtree(layer)
    shutil.rmtree(tools / "usr")
    build_initramfs(folder / "initramfs", tools / "bin" / "busybox", folder / "modules" / version)


def _apt(*words: str, folder: Path | None = None) -> list[str]:
    """Run an apt command and return its output lines."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
    except OSError:
        raise InputError(f"{words[0]} is not here: the virtual machine's kernel comes from Debian's packages") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise InputError(f"{' '.join(words)}: {said}")
    return done.stdout.splitlines()
