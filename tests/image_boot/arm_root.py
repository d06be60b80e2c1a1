"""The parts of a Raspberry Pi OS root file system (aarch64) that FER-Edge needs, in a folder that is kept.

Debian's packages are extracted but not configured, which would take most of an hour under emulation. The necessary
steps of their scripts are done here.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from arm.rootfs import Suite, extract_debian, kept
from arm.sandbox import CPUS, run
from image_boot.pi_chroot import PiChroot

FIRST_USER = "pi"
"""The account that a stock image comes with, number 1000."""

_PACKAGES = (
    "systemd systemd-sysv udev kmod mount util-linux coreutils passwd login base-files base-passwd "
    "sed grep mawk findutils diffutils bash dash tar gzip libc-bin libpam-modules libpam-runtime e2fsprogs dosfstools "
    "python3-minimal libpython3-stdlib libstdc++6"
)
"""Further packages of Raspberry Pi OS Lite that first boot, install.sh and the wheels use."""
_LEFT_OUT = ("usr/share/doc", "usr/share/locale", "usr/share/man", "var/lib/dpkg", "etc/fstab")
"""Paths that are not used; an image provides the last two itself."""
_PAM_KINDS = ("auth", "account", "password", "session")


@contextmanager
def arm_root(suite: Suite, cache: Path) -> Iterator[Path]:
    """Return the folder with the root file system of ``suite``, kept below ``cache``: copy it, do not change it.

    aarch64 programs must be able to run. Raises InputError if a step fails, or if another run uses the folder.
    """
    made_from = Path(__file__).read_bytes() + suite.name.encode()
    with kept(cache, f"root-{suite.name}", made_from, partial(_build, suite)) as folder:
        yield folder / "root"


@contextmanager
def copy_of(root: Path, folder: Path) -> Iterator[Path]:
    """Copy ``root`` below ``folder`` for the duration of the block, with owners and links."""
    copy = folder / "root"
    try:
        run(["cp", "--archive", root, copy])
        yield copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _build(suite: Suite, folder: Path) -> None:
    root = folder / "root"
    root.mkdir()
    print(f"Preparing {suite.name} for aarch64 (once): Debian packages", flush=True)
    extract_debian(root, suite.name, "arm64", ",".join(_PACKAGES.split()))
    for name in _LEFT_OUT:
        path = root / name
        path.unlink() if path.is_file() else shutil.rmtree(path)
    print("… accounts", flush=True)
    write_files(root)
    chroot = PiChroot(root, folder / "board", CPUS[1])
    for command in (
        ("ldconfig",),
        ("pwconv",),
        ("grpconv",),
        ("systemd-sysusers",),
        ("useradd", "--create-home", "--uid", "1000", "--shell", "/bin/bash", FIRST_USER),
    ):
        chroot.run(*command)
    # Newer than /usr: otherwise systemd updates caches at the first boot, for minutes (systemd-update-done(8)).
    for name in ("etc/.updated", "var/.updated"):
        (root / name).touch()


def write_files(root: Path) -> None:
    """Create the files that the scripts of base-passwd, mawk, libpam-runtime and systemd would have created."""
    etc = root / "etc"
    for name in ("passwd", "group"):
        shutil.copyfile(root / "usr" / "share" / "base-passwd" / f"{name}.master", etc / name)
    (etc / "alternatives").mkdir(exist_ok=True)
    (etc / "alternatives" / "awk").symlink_to("/usr/bin/mawk")
    (root / "usr" / "bin" / "awk").symlink_to("/etc/alternatives/awk")
    for kind in _PAM_KINDS:
        (etc / "pam.d" / f"common-{kind}").write_text(f"{kind} required pam_unix.so\n")
    (etc / "pam.d" / "common-session-noninteractive").write_text("session required pam_unix.so\n")
    (etc / "hostname").write_text("raspberrypi\n")
    (etc / "hosts").write_text("127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n")
    # Without one, systemd treats each unit as new and enables it.
    (etc / "machine-id").write_text("5f1e2d3c4b5a49788796a5b4c3d2e1f0\n")
    (root / "boot" / "firmware").mkdir(parents=True)
