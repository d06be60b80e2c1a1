"""Assumptions about stock images: all hold for the stand-ins, and each one fails if an image differs in it."""

from __future__ import annotations

import json
import lzma
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fer_flash.image.card_image import CardImage
from image_assumptions import ASSUMPTIONS, Assumption, StockImage, examine
from image_assumptions.root_system import PROGRAMS
from image_assumptions.unit_settings import unknown_settings
from support.cards.file_systems import needs_programs, run_program
from support.cards.stock_images import DISK_ID, GPT_ROOT_UUID, MIB, RELEASES, SECTOR, STYLES, Changes, make_stock_image
from support.cards.stock_root import (
    DEFAULT_RULES,
    EARLY_UNIT,
    FSTAB,
    GROUPS,
    IMAGER_CUSTOM,
    KERNEL,
    NETPLAN,
    PRESEED_UNIT,
    RASPI_CONFIG,
    RASPI_SOURCES,
    SOURCES,
    UNITS,
    V4L_RULES,
    whole_root,
)
from support.environments.fresh_install import CHECKOUT
from support.processes.edge_command import clean_environment

pytestmark = needs_programs

BOOT_MIB = 300
RULES = "usr/lib/udev/rules.d"
STATUS = "var/lib/dpkg/status"
SCHEMA = "usr/share/rpi-preseed/rpi-preseed.schema"
CMDLINE = "console=tty1 root=PARTUUID=1f2e3d4c-02 rootwait resize\n"
DROP_IN = "[Manager]\nRuntimeWatchdogSec=off\n"
WIFI = "[connection-other]\nmatch-device=type:wifi\nwifi.powersave=3\n"


@dataclass(frozen=True)
class Other:
    """An image for which the assumption ``name`` does not hold, nor those in ``also``, which depend on it.

    ``boot`` and ``root`` change files, ``patch`` the finished image.
    """

    name: str
    style: str = "cloudinit"
    boot: Changes = field(default_factory=dict)
    root: Changes = field(default_factory=dict)
    also: frozenset[str] = frozenset()
    boot_mib: int = BOOT_MIB
    cluster_sectors: int = 4
    patch: Callable[[Path], object] = lambda path: None


def status_of(style: str, old: str, new: str) -> str:
    """Return dpkg's status file with ``old`` replaced by ``new``."""
    text = str(whole_root("trixie", style)[STATUS])
    assert old in text
    return text.replace(old, new)


def schema_without(line: str) -> str:
    text = str(STYLES["rpi-preseed"].root[SCHEMA])
    assert line in text
    return text.replace(line, "")


def append_partition(path: Path) -> None:
    last = path.stat().st_size // SECTOR - MIB // SECTOR
    run_program(["sfdisk", "--quiet", "--append", str(path)], f"start={last}, size=1024, type=83\n")


def make_root_swap(path: Path) -> None:
    """Change the type of the root partition to swap."""
    run_program(["sfdisk", "--quiet", "--part-type", str(path), "2", "82"])


REST_ON_SYSTEM = frozenset({"known-system", "python", "first-boot-files", "first-boot-start"})
REST_ON_CMDLINE = frozenset({"root-by-partuuid", "root-grows", "first-boot-files"})
OTHERS = [
    Other("partitions", patch=append_partition),
    Other("partitions", patch=make_root_swap),
    Other("boot-room", boot_mib=136),
    Other("boot-clusters", cluster_sectors=128),
    Other("root-grows", boot={"cmdline.txt": CMDLINE.replace(" resize", "")}),
    Other("cmdline", boot={"cmdline.txt": f"{CMDLINE}quiet\n"}),
    Other("cmdline", boot={"cmdline.txt": "quiet\n"}, also=REST_ON_CMDLINE),
    Other("root-by-partuuid", root={"etc/fstab": FSTAB.replace("c-02", "d-02")}),
    Other(
        "root-by-partuuid",
        boot={"cmdline.txt": CMDLINE.replace("c-02", "d-02")},
        root={"etc/fstab": FSTAB.replace("c-02", "d-02")},
    ),
    Other("boot-mount", root={"etc/fstab": FSTAB.replace("/boot/firmware", "/boot")}),
    Other("camera-auto-detect", boot={"config.txt": "[all]\ncamera_auto_detect=0\n"}),
    Other("watchdog-free", boot={"config.txt": "camera_auto_detect=1\ndtparam=watchdog=off\n"}),
    Other("kernel-64-bit", boot={"kernel8.img": None}, also=REST_ON_SYSTEM),
    Other("known-system", root={"usr/lib/os-release": "VERSION_CODENAME=forky\n"}, also=REST_ON_SYSTEM),
    Other("python", root={"usr/lib/python3.13/venv/__init__.py": None}),
    Other("packages", root={STATUS: status_of("cloudinit", "Package: raspi-config\n", "Package: else\n")}),
    Other("programs", root={"usr/bin/flock": None}),
    Other("merged-usr", root={"bin": None, "bin/sh": "#!/bin/sh\n"}),
    Other("systemd", root={STATUS: status_of("cloudinit", "257.8-1~deb13u2", "241-7")}),
    Other("init", root={STATUS: status_of("cloudinit", "Package: systemd-sysv\n", "Package: sysvinit-core\n")}),
    Other("init", root={"usr/sbin/init": None}),
    Other("group-video", root={"etc/group": GROUPS.replace("video:", "camera:")}, also=frozenset({"account-groups"})),
    Other("account-groups", root={"etc/group": GROUPS.replace("gpio:", "pins:")}),
    Other("first-account", root={"etc/passwd": "root:x:0:0:root:/root:/bin/bash\n"}),
    Other("name-is-free", root={"etc/fer-edge/config.toml": ""}),
    Other("name-is-free", root={"etc/group": f"{GROUPS}fer-edge:x:999:\n"}),
    Other("apt-sources", root={"etc/apt/sources.list.d/raspi.sources": f"# {RASPI_SOURCES}".replace("\n", "\n# ")}),
    Other("apt-sources", root={"usr/share/keyrings/raspberrypi-archive-keyring.pgp": None}),
    Other(
        "apt-sources",
        root={
            "etc/apt/sources.list.d/debian.sources": SOURCES.partition("Signed-By")[0],
            "etc/apt/sources.list.d/raspi.sources": RASPI_SOURCES.partition("Signed-By")[0],
        },
    ),
    Other("locales", root={"etc/locale.gen": None}),
    Other("sshd-config", root={"etc/ssh/sshd_config": "UsePAM yes\nInclude /etc/ssh/sshd_config.d/*.conf\n"}),
    Other("sshd-order", root={"etc/ssh/sshd_config.d/01-other.conf": "passwordauthentication yes\n"}),
    Other("sudoers", root={"etc/sudoers": "# @includedir /etc/sudoers.d\n"}),
    Other("systemd-order", root={"etc/systemd/system.conf.d/99-other.conf": DROP_IN}),
    Other("systemd-order", root={"usr/lib/systemd/journald.conf.d/95-other.conf": "[Journal]\nSystemMaxUse=1G\n"}),
    Other("wifi", root={"usr/lib/NetworkManager/conf.d/20-other.conf": WIFI}),
    Other("wifi", root={"etc/NetworkManager/conf.d/20-other.conf": "[keyfile]\nunmanaged-devices=type:wifi\n"}),
    Other("units", root={f"{UNITS}/ssh.service": None}),
    Other("rule-video4linux", root={f"{RULES}/50-udev-default.rules": DEFAULT_RULES.replace("video4linux", "cec")}),
    Other("rule-media", root={f"{RULES}/50-udev-default.rules": DEFAULT_RULES.replace("media", "cec")}),
    Other("rule-dma-heap", root={f"{RULES}/60-dma-heap.rules": '# SUBSYSTEM=="dma_heap", GROUP="video"\n'}),
    Other("rule-vcio", root={f"{RULES}/10-vc.rules": 'KERNEL=="vcio", MODE="0600"\n'}),
    Other("rule-vcio", root={"etc/udev/rules.d/10-vc.rules": "# hides the file of this name in /usr/lib\n"}),
    Other("rule-v4l-names", root={f"{RULES}/60-persistent-v4l.rules": V4L_RULES.replace("by-path", "by-port")}),
    Other("modules", root={f"usr/lib/modules/{KERNEL}/modules.dep": "kernel/drivers/media/mc/mc.ko.xz:\n"}),
    Other("modules", root={"usr/lib/modules/6.18.1+rpt-rpi-2712/modules.dep": ""}),
    Other("modules-allowed", root={"etc/modprobe.d/usb.conf": "# blacklist mc\nblacklist uvcvideo\n"}),
    Other("first-boot-files", style="rpi-preseed", root={SCHEMA: schema_without("user.name string pii\n")}),
    Other("first-boot-start", root={"etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg": "datasource_list: [ NoCloud ]\n"}),
    Other("first-boot-start", style="systemd", root={f"{UNITS}/kernel-command-line.target": None}),
    Other(
        "first-boot-start",
        style="rpi-preseed",
        root={SCHEMA: schema_without("runcmd.early array plain\n")},
        also=frozenset({"first-boot-files"}),
    ),
    Other("cloud-init", root={STATUS: status_of("cloudinit", "25.2-1~bpo13+1+rpt20", "24.4-1")}),
    Other("netplan-renderer", root={"usr/lib/netplan/00-network-manager-all.yaml": None}),
    Other("netplan-renderer", root={"etc/netplan/50-other.yaml": NETPLAN.replace("NetworkManager", "networkd")}),
    Other(
        "preseed-units",
        style="rpi-preseed",
        root={f"{UNITS}/rpi-preseed.service": PRESEED_UNIT.replace("rpi-preseed.toml", "preseed.toml")},
    ),
    Other(
        "preseed-units",
        style="rpi-preseed",
        root={f"{UNITS}/rpi-preseed-runcmd-early.service": EARLY_UNIT.replace("30", "20")},
    ),
    Other("first-account-dialog", root={"usr/lib/userconf-pi/userconf": None}),
    Other("first-account-dialog", root={f"{UNITS}/userconfig.service": None}),
    Other("helpers", root={"usr/bin/raspi-config": RASPI_CONFIG.replace("do_wifi_country", "do_wifi")}),
    Other("helpers", root={"usr/lib/raspberrypi-sys-mods/imager_custom": IMAGER_CUSTOM.replace("set_keymap", "keys")}),
]
PROGRAM_NAMES = frozenset((
    "apt-get", "apt-mark", "awk", "basename", "busctl", "cat", "chgrp", "chmod", "chown", "chpasswd", "cmp",
    "comm", "cp", "cut", "date", "dd", "df", "diff", "dirname", "dpkg", "dpkg-query", "du", "env", "expr",
    "find", "flock", "gawk", "getent", "grep", "groupadd", "groupdel", "groupmod", "gzip", "head", "hostname",
    "hostnamectl", "id", "install", "ip", "journalctl", "ln", "localectl", "logger", "ls", "mkdir", "mktemp",
    "modprobe", "mount", "mv", "nice", "nl", "nmcli", "od", "passwd", "paste", "python3", "readlink",
    "realpath", "rm", "rmdir", "sed", "seq", "sh", "sha256sum", "shred", "sleep", "sort", "split", "stat",
    "stdbuf", "sync", "systemctl", "systemd-sysusers", "systemd-tmpfiles", "tac", "tail", "tar", "tee",
    "timedatectl", "timeout", "touch", "tr", "truncate", "udevadm", "umount", "uname", "uniq", "useradd",
    "userdel", "usermod", "wc", "xargs", "xz",
))  # fmt: skip
"""Debian's programs that a script might call; locale-gen, raspi-config and rfkill are called only if they exist."""


def real_image(*words: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """``make test-real-image`` without make."""
    # The packages of this checkout too, whatever the environment has installed.
    folders = os.pathsep.join(str(CHECKOUT / name) for name in ("tests", "edge"))
    environment = clean_environment() | {"PYTHONPATH": folders}
    command = [sys.executable, "-m", "real_image", *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)


def stock(folder: Path, style: str, release: str = "trixie", **changes: Any) -> Path:
    """Create a stand-in for which all assumptions hold, except for ``changes``, arguments of ``make_stock_image``."""
    root = {**whole_root(release, style), **changes.pop("root", {})}
    return make_stock_image(folder, style=style, release=release, root=root, **{"boot_mib": BOOT_MIB, **changes})


@pytest.mark.slow
@pytest.mark.parametrize("release", ["bookworm", "trixie"])
@pytest.mark.parametrize("style", list(STYLES))
def test_all_hold_for_the_stand_ins(tmp_path: Path, style: str, release: str) -> None:
    # Cluster sizes of images of 2026, and of earlier ones.
    path = stock(tmp_path, style, release, cluster_sectors=1 if release == "trixie" else 4)
    done = real_image(path, "--assumptions", "--json", tmp_path / "list.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ASSUMPTIONS)} of {len(ASSUMPTIONS)} assumptions hold\n" in done.stdout
    assert "\nNO " not in done.stdout
    listed = json.loads((tmp_path / "list.json").read_bytes())
    assert listed["image"]["system"] == f"{release}, Python {RELEASES[release].python}, {style}"
    assert [entry["name"] for entry in listed["assumptions"]] == [assumption.name for assumption in ASSUMPTIONS]
    assert all(entry["holds"] and entry["found"] is None and entry["source"] for entry in listed["assumptions"])


def test_all_hold_for_a_gpt(tmp_path: Path) -> None:
    fstab = FSTAB.replace(f"{DISK_ID}-02", GPT_ROOT_UUID)
    with CardImage(stock(tmp_path, "cloudinit", table="gpt", root={"etc/fstab": fstab})) as card:
        image = StockImage(card)
        assert image.table == "GPT"
        assert all(finding.holds for finding in examine(image, ASSUMPTIONS))


@pytest.mark.slow
@pytest.mark.parametrize("other", OTHERS, ids=lambda other: other.name)
def test_one_that_does_not_hold_is_found_alone(tmp_path: Path, other: Other) -> None:
    path = stock(
        tmp_path,
        other.style,
        boot=other.boot,
        root=other.root,
        boot_mib=other.boot_mib,
        cluster_sectors=other.cluster_sectors,
    )
    other.patch(path)
    with CardImage(path) as card:
        found = {finding.assumption.name: finding.found for finding in examine(StockImage(card), ASSUMPTIONS)}
    assert found[other.name]
    assert {name for name, what in found.items() if what is not None} <= {other.name} | other.also


def test_each_assumption_can_fail() -> None:
    assert {other.name for other in OTHERS} == {assumption.name for assumption in ASSUMPTIONS}


@pytest.mark.parametrize("assumption", ASSUMPTIONS, ids=lambda assumption: assumption.name)
def test_each_names_the_file_that_relies_on_it(assumption: Assumption) -> None:
    assert all((CHECKOUT / path.strip()).exists() for path in assumption.used_by.split(","))


def test_names_are_not_used_twice() -> None:
    assert len({assumption.name for assumption in ASSUMPTIONS}) == len(ASSUMPTIONS)


def test_the_version_of_systemd_covers_each_setting_of_our_units() -> None:
    assert not unknown_settings()


def test_each_program_of_the_scripts_is_among_the_assumed_ones() -> None:
    folder = CHECKOUT / "edge" / "fer_flash"
    called: set[str] = set()
    for path in (
        *(folder / "payload" / "scripts").glob("install*.sh"),
        *(folder / "first_boot" / "scripts").glob("*.sh"),
    ):
        # Comments first, since they contain apostrophes.
        text = re.sub(
            r"'[^']*'", "''", re.sub(r"(?:^|\s)#.*", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        )
        before = r"(?:^|[|&;({]|\b(?:if|then|do|else|until|while|attempt)\b|!)[ \t]*(?:[A-Z_]+=\S*[ \t]+)*"
        called |= set(re.findall(rf"{before}([a-z][a-z0-9-]*)(?=\s|$|\))", text, flags=re.MULTILINE))
    assert {"mkdir", "tee", "systemctl", "getent"} <= called
    assert called & PROGRAM_NAMES <= set(PROGRAMS)


def test_the_rest_is_listed_and_the_exit_code_is_1(tmp_path: Path) -> None:
    path = stock(tmp_path, "cloudinit", root={"etc/passwd": "root:x:0:0:root:/root:/bin/bash\n"})
    done = real_image(path, "--assumptions", "--json", tmp_path / "list.json")
    assert done.returncode == 1
    assert f"{len(ASSUMPTIONS) - 1} of {len(ASSUMPTIONS)} assumptions hold: not first-account" in done.stdout
    told = done.stdout.partition("\nNO  first-account: ")[2]
    assert told.splitlines()[1].strip() == "found: 0 accounts with the number 1000"
    listed = json.loads((tmp_path / "list.json").read_bytes())["assumptions"]
    assert [entry["name"] for entry in listed if not entry["holds"]] == ["first-account"]


@pytest.mark.slow
def test_a_card_is_composed_after_the_list(tmp_path: Path) -> None:
    done = real_image(stock(tmp_path, "rpi-preseed", "bookworm", cluster_sectors=1), timeout=300)
    if "fer-edge flash wheels" in done.stderr:
        pytest.skip("the wheels for the Pi are not in the cache")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("both file systems are clean\nall is as assumed\n")


@pytest.mark.slow
def test_what_is_not_an_image_is_one_line(tmp_path: Path) -> None:
    whole = stock(tmp_path, "systemd")
    cut = tmp_path / "cut.img"
    cut.write_bytes(whole.read_bytes()[: 9 * MIB])
    packed = tmp_path / "cut.img.xz"
    packed.write_bytes(lzma.compress(whole.read_bytes()[: 9 * MIB], preset=0)[:-100])
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    empty = tmp_path / "empty.img"
    empty.touch()
    for path in (tmp_path / "missing.img", tmp_path, cut, packed, pipe, empty, "/dev/zero"):
        done = real_image(path, "--assumptions", timeout=30)
        assert done.returncode == 1 and not done.stdout, path
        assert done.stderr.startswith("test-real-image: ") and done.stderr.count("\n") == 1, done.stderr


def test_a_json_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    done = real_image(stock(tmp_path, "systemd"), "--assumptions", "--json", tmp_path / "missing" / "list.json")
    assert done.returncode == 1
    assert done.stderr.startswith("test-real-image: ") and done.stderr.count("\n") == 1, done.stderr
