"""Small stand-ins for Raspberry Pi OS images: real partition tables and file systems, with stub contents.

They have the layout of the project pi-gen (export-image/prerun.sh): a boot partition 8 MiB into the image, made by
``mkfs.vfat -F 32 -s 4 -n bootfs`` (since March 2026 ``-s 1``), and a root by ``mkfs.ext4 -L rootfs -O
^64bit,^huge_file``; as are the files on the boot partition (stage1/00-boot-files, export-image/05-finalise). No root
rights, no mounts, no loop devices.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from support.cards.file_systems import run_program

Table = Literal["mbr", "gpt"]

MIB = 1 << 20
SECTOR = 512
DISK_ID = "1f2e3d4c"
"""The disk identifier in the MBR, from which PARTUUIDs are made."""
GPT_ROOT_UUID = "6c0f3a52-98d1-4f0e-8a5b-27c1d1b0e6f4"


@dataclass(frozen=True)
class Link:
    """A symbolic link in the root file system."""

    target: str


Files = Mapping[str, str | bytes | Link]
Changes = Mapping[str, str | bytes | Link | None]
"""Files to add or to replace; None removes one."""


@dataclass(frozen=True)
class Release:
    """The contents of a Debian release, the same for every style."""

    version: str
    codename: str
    python: str


@dataclass(frozen=True)
class StyleMarkers:
    """The differences of an image of one customisation style from others."""

    packages: tuple[str, ...]
    cmdline: str = ""
    """The end of cmdline.txt, after a space."""
    boot: Files = field(default_factory=dict)
    root: Files = field(default_factory=dict)


RELEASES = {"bookworm": Release("12", "bookworm", "3.11"), "trixie": Release("13", "trixie", "3.13")}

COMMON_PACKAGES = (
    "base-files",
    "dpkg",
    "network-manager",
    "openssh-server",
    "raspberrypi-sys-mods",
    "raspi-config",
    "systemd",
    "userconf-pi",
)
_SYS_MODS: Files = {
    "usr/lib/raspberrypi-sys-mods/firstboot": "#!/bin/bash\n",
    "usr/lib/raspberrypi-sys-mods/imager_custom": "#!/bin/sh\n",
    "usr/lib/userconf-pi/userconf": "#!/bin/sh\n",
}

STYLES: dict[str, StyleMarkers] = {
    # RPi-Distro/raspberrypi-sys-mods and RPi-Distro/pi-gen
    "systemd": StyleMarkers(packages=(), cmdline="quiet init=/usr/lib/raspberrypi-sys-mods/firstboot", root=_SYS_MODS),
    # RPi-Distro/pi-gen, stage2/04-cloud-init
    "cloudinit": StyleMarkers(
        packages=("cloud-init", "rpi-cloud-init-mods"),
        cmdline="resize",
        boot={
            "user-data": "#cloud-config\n\n# hostname: raspberrypi\n",
            "network-config": "# network:\n#   version: 2\n",
            "meta-data": "dsmode: local\ninstance_id: rpios-image\n",
        },
        root={
            **_SYS_MODS,
            "etc/cloud/cloud.cfg": "# modules and their order\n",
            "etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg": (
                "datasource_list: [ NoCloud, None ]\ndatasource:\n  NoCloud:\n    seedfrom: file:///boot/firmware\n"
            ),
            "usr/bin/cloud-init": "#!/usr/bin/python3\n",
        },
    ),
    # raspberrypi/rpi-preseed: Makefile, and schema/rpi-preseed.schema, of which these are the keys, types and classes
    "rpi-preseed": StyleMarkers(
        packages=("rpi-preseed",),
        cmdline="resize",
        root={
            **_SYS_MODS,
            "usr/lib/rpi-preseed/rpi-preseed": "#!/bin/sh\n",
            "usr/share/rpi-preseed/rpi-preseed.schema": """\
# key type class flags
config_version string plain required
system.hostname string pii
user.name string pii
user.password string secret
user.password_encrypted bool plain
user.passwordless_sudo bool plain
ssh.enabled bool plain
ssh.password_authentication bool plain
ssh.authorized_keys array pii
wlan.ssid string pii
wlan.ssid_hex string pii
wlan.password string secret
wlan.password_encrypted bool plain
wlan.hidden bool plain
wlan.country string plain
wlan.key_mgmt enum:none,owe,wpa-psk,sae plain
locale.keymap string plain
locale.timezone string plain
locale.locales array plain
locale.lang string plain
boot.config_txt array plain
boot.cmdline_txt string plain
runcmd.early array plain
runcmd.late array plain
runcmd.early_cmd_timeout int plain
runcmd.late_require_time_sync bool plain
""",
        },
    ),
}
"""The marker files and packages of each style, with their source above each."""


def make_stock_image(
    folder: Path,
    *,
    style: str | None = "systemd",
    release: str = "bookworm",
    table: Table = "mbr",
    arch: Literal["arm64", "armhf"] = "arm64",
    boot_mib: int = 136,
    root_mib: int = 64,
    cluster_sectors: int = 4,
    boot: Changes | None = None,
    root: Changes | None = None,
    system: Path | None = None,
) -> Path:
    """Create ``folder/NAME.img``, sparse, in about a second; return its path.

    With ``style`` None it has no marker. ``boot`` and ``root`` change its files, by path in the partition.
    A boot partition below 130 MiB would not be FAT32 with the default clusters of 2 KiB, which are 4 sectors; with 128
    sectors it becomes FAT16. ``system`` is a folder with a complete system for the root file system; missing stand-in
    files are added to it.
    """
    markers = STYLES[style] if style else StyleMarkers(packages=())
    path = folder / f"{release}-{style}-{arch}-{table}.img"
    boot_start, root_start = 8 * MIB, (8 + boot_mib) * MIB
    partuuid = f"{DISK_ID}-02" if table == "mbr" else GPT_ROOT_UUID
    with path.open("wb") as stream:
        stream.truncate(root_start + (root_mib + 1) * MIB)  # the last MiB has room for GPT's second header
    _partition(path, table, (boot_start, boot_mib * MIB), (root_start, root_mib * MIB))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        boot_files = _changed(_boot_files(RELEASES[release], markers, arch, partuuid), boot)
        _make_boot(path, boot_start, boot_mib, cluster_sectors, _tree(Path(scratch, "boot"), boot_files))
        root_files = _changed(_root_files(RELEASES[release], markers, arch, partuuid), root)
        if system is not None:
            root_files = {name: text for name, text in root_files.items() if not os.path.lexists(system / name)}
        _make_root(path, root_start, root_mib, _tree(system or Path(scratch, "root"), root_files))
    return path


def _changed(files: Files, changes: Changes | None) -> dict[str, str | bytes | Link]:
    both = {**files, **(changes or {})}
    return {name: content for name, content in both.items() if content is not None}


def _partition(path: Path, table: Table, boot: tuple[int, int], root: tuple[int, int]) -> None:
    """Write the partition table; start and size of each are in bytes."""
    kinds = {
        "mbr": ("c", "83", f"label: dos\nlabel-id: 0x{DISK_ID}\n"),
        "gpt": (
            "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7",
            f"0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid={GPT_ROOT_UUID}",
            "label: gpt\n",
        ),
    }
    boot_kind, root_kind, script = kinds[table]
    for (start, size), kind in ((boot, boot_kind), (root, root_kind)):
        script += f"start={start // SECTOR}, size={size // SECTOR}, type={kind}\n"
    run_program(["sfdisk", "--quiet", str(path)], script)


def _make_boot(path: Path, start: int, size_mib: int, cluster_sectors: int, content: Path) -> None:
    hidden = str(start // SECTOR)
    kind = "16" if cluster_sectors == 128 else "32"
    options = ["-F", kind, "-s", str(cluster_sectors), "-n", "bootfs", "-i", DISK_ID, "-h", hidden, "--offset", hidden]
    run_program(["mkfs.vfat", *options, str(path), str(size_mib * 1024)])
    run_program(["mcopy", "-i", f"{path}@@{start}", "-s", *map(str, sorted(content.iterdir())), "::"])


def _make_root(path: Path, start: int, size_mib: int, content: Path) -> None:
    options = ["-q", "-F", "-t", "ext4", "-b", "4096", "-L", "rootfs", "-O", "^64bit,^huge_file", "-d", str(content)]
    run_program(["mke2fs", *options, "-E", f"offset={start},root_owner=0:0", str(path), f"{size_mib}M"])


def _boot_files(release: Release, markers: StyleMarkers, arch: str, partuuid: str) -> Files:
    cmdline = "console=serial0,115200 console=tty1 root=PARTUUID={} rootfstype=ext4 fsck.repair=yes rootwait {}"
    kernels = {"kernel8.img": b"stub of a 64-bit kernel\n" * 5000} if arch == "arm64" else {"kernel7.img": b"stub\n"}
    return {
        "cmdline.txt": cmdline.format(partuuid, markers.cmdline).rstrip() + "\n",
        "config.txt": "# For more options and information see\n# http://rptl.io/configtxt\n\n"
        "dtparam=audio=on\ncamera_auto_detect=1\nauto_initramfs=1\n\n[all]\n",
        "issue.txt": f"Raspberry Pi reference 2025-10-01\n(stand-in, {release.codename}, {arch})\n",
        "bcm2710-rpi-3-b.dtb": b"\xd0\x0d\xfe\xed stub",
        "start4.elf": b"\x7fELF stub" * 2000,
        "overlays/README": "Introduction\n",
        "overlays/disable-bt.dtbo": b"\xd0\x0d\xfe\xed stub",
        "overlays/vc4-kms-v3d-pi4.dtbo": b"\xd0\x0d\xfe\xed stub",
        **kernels,
        **markers.boot,
    }


def _root_files(release: Release, markers: StyleMarkers, arch: str, partuuid: str) -> Files:
    packages = (*COMMON_PACKAGES, f"python{release.python}-minimal", *markers.packages)
    identity = "raspbian" if arch == "armhf" else "debian"
    os_release = (
        f'PRETTY_NAME="Debian GNU/Linux {release.version} ({release.codename})"\nNAME="Debian GNU/Linux"\n'
        f'VERSION_ID="{release.version}"\nVERSION="{release.version} ({release.codename})"\n'
        f"VERSION_CODENAME={release.codename}\nID={identity}\n"
    )
    return {
        "bin": Link("usr/bin"),
        "lib": Link("usr/lib"),
        "sbin": Link("usr/sbin"),
        "etc/os-release": Link("../usr/lib/os-release"),
        "usr/lib/os-release": os_release,
        "etc/debian_version": f"{release.version}.1\n",
        "etc/rpi-issue": "Raspberry Pi reference 2025-10-01\n",
        "etc/fstab": f"proc /proc proc defaults 0 0\nPARTUUID={partuuid} / ext4 defaults,noatime 0 1\n",
        "etc/machine-id": "uninitialized\n",
        "boot/firmware/.keep": "",
        "opt/.keep": "",
        "usr/sbin/.keep": "",
        f"usr/bin/python{release.python}": _elf(arch),
        "usr/bin/python3": Link(f"python{release.python}"),
        f"usr/lib/python{release.python}/os.py": "",
        "usr/lib/systemd/systemd": _elf(arch),
        "var/lib/dpkg/arch": f"{arch}\n",
        "var/lib/dpkg/status": "".join(package_status(package, arch) for package in packages),
        **markers.root,
    }


def package_status(package: str, arch: str, version: str = "1.0-1") -> str:
    """Return a package's paragraph in /var/lib/dpkg/status."""
    return (
        f"Package: {package}\nStatus: install ok installed\nPriority: optional\nSection: admin\n"
        f"Maintainer: Nobody <nobody@example.org>\nArchitecture: {arch}\nVersion: {version}\n"
        f"Description: stand-in\n of {package}\n\n"
    )


def _elf(arch: str) -> bytes:
    """Return the header of an ELF program: class and machine, without code."""
    wide = arch == "arm64"
    identification = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
    machine = 183 if wide else 40  # EM_AARCH64, EM_ARM
    return (identification + struct.pack("<HHI", 3, machine, 1)).ljust(64 if wide else 52, b"\0")


def _tree(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            path.symlink_to(content.target)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            path.chmod(0o755 if name.startswith("usr/bin/") or content[:2] in ("#!", b"#!") else 0o644)
    return folder
