"""A root file system (aarch64) like a Lite image's, with dpkg's database, so that packages can be installed in it.

Debian's packages are extracted and entered into dpkg's database as installed. Their maintainer scripts are not run,
which would take most of an hour under emulation; ``arm_root`` does the necessary steps. Packages that are installed
later are installed completely, with their scripts.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from arm.rootfs import Suite, kept
from arm.sandbox import CPUS
from fer_edge.errors import InputError
from fer_flash.payload.packages.apt import private_apt
from fer_flash.payload.packages.apt_sources import AptSources
from image_boot.arm_root import write_files
from image_boot.pi_chroot import PiChroot

DEBIAN_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_PACKAGES = (
    "apt dpkg systemd systemd-sysv udev kmod mount util-linux coreutils passwd login base-files base-passwd sed grep "
    "mawk findutils diffutils bash dash tar gzip libc-bin libpam-modules libpam-runtime e2fsprogs dosfstools python3 "
    "python3-venv debconf perl-base hostname init-system-helpers sysvinit-utils bsdutils ncurses-base ncurses-bin "
    "debianutils ca-certificates"
)
"""Debian's essential packages, and further ones of Raspberry Pi OS Lite that the first boot uses."""


@contextmanager
def lite_root(suite: Suite, cache: Path) -> Iterator[Path]:
    """Return the folder with the root file system of ``suite``, kept below ``cache``: copy it, do not change it.

    aarch64 programs must be able to run. Raises InputError if a step fails, or if another run uses it.
    """
    made_from = Path(__file__).read_bytes() + suite.name.encode()
    with kept(cache, f"lite-{suite.name}", made_from, partial(_build, suite)) as folder:
        yield folder / "root"


def debian_source(suite: str, keyring: str) -> str:
    """Return Debian's archive as a package source in deb822 format."""
    return f"Types: deb\nURIs: http://deb.debian.org/debian/\nSuites: {suite}\nComponents: main\nSigned-By: {keyring}\n"


def _build(suite: Suite, folder: Path) -> None:
    print(f"Preparing a Lite-like {suite.name} for aarch64 (once): Debian packages", flush=True)
    if not DEBIAN_KEYRING.is_file():
        raise InputError(f"{DEBIAN_KEYRING} is missing: apt-get install debian-archive-keyring")
    source = debian_source(suite.name, "@KEYRINGS@/debian.gpg").encode()
    files = (("sources.list.d/debian.sources", source), ("keyrings/debian.gpg", DEBIAN_KEYRING.read_bytes()))
    root = folder / "root"
    for name in ("bin", "sbin", "lib"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    with private_apt(AptSources(b"", files), "arm64") as apt:
        apt.update()
        stanzas = [_extract(deb, root) for deb in apt.download(_PACKAGES.split())]
    dpkg = root / "var" / "lib" / "dpkg"
    (dpkg / "status").write_text("\n".join(stanzas))
    (dpkg / "arch").write_text("arm64\n")
    print("… accounts", flush=True)
    write_files(root)
    chroot = PiChroot(root, folder / "board", CPUS[1])
    for command in (("ldconfig",), ("pwconv",), ("grpconv",), ("systemd-sysusers",)):
        chroot.run(*command)
    for name in ("etc/.updated", "var/.updated"):
        (root / name).touch()


def _extract(deb: Path, root: Path) -> str:
    """Unpack ``deb`` into ``root`` and write dpkg's records of it; return its paragraph of the status file."""
    archive = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], capture_output=True, check=True).stdout
    # Some packages of Bookworm still name /bin and /lib, which are links.
    command = ["tar", "--extract", "--verbose", "--keep-directory-symlink", "--directory", root]
    listed = subprocess.run(command, input=archive, capture_output=True, check=True).stdout.decode().splitlines()
    control = subprocess.run(["dpkg-deb", "--field", deb], capture_output=True, text=True, check=True).stdout.rstrip()
    fields = dict(line.split(": ", 1) for line in control.splitlines() if ": " in line and line[0] != " ")
    name = fields["Package"] + (":arm64" if fields.get("Multi-Arch") == "same" else "")
    info = root / "var" / "lib" / "dpkg" / "info"
    info.mkdir(parents=True, exist_ok=True)
    (info / f"{name}.list").write_text("".join(f"{line[1:].rstrip('/') or '/.'}\n" for line in listed))
    scratch = root.parent / "control"
    subprocess.run(["dpkg-deb", "--control", deb, scratch], check=True)
    for file in scratch.iterdir():
        if file.name != "control":
            shutil.move(file, info / f"{name}.{file.name}")
    shutil.rmtree(scratch)
    first, *rest = control.splitlines()
    return "\n".join([first, "Status: install ok installed", *rest, ""])
