"""``make boot-test``: a composed card boots in an emulated Pi, installs its payload, and the daemon emits events.

The system on the card is Debian for aarch64 with Debian's kernel; FER-Edge's files set it up, install and run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arm.rootfs import SUITES
from arm.sandbox import binfmt, last_line
from fer_edge.errors import CheckFailedError, FerEdgeError, InputError
from fer_edge.system.user_folders import cache_folder
from fer_flash.image.card_image import CardImage
from fer_flash.settings.pi_config import load_pi_config
from image_boot.arm_root import arm_root, copy_of
from image_boot.emulator import PROGRAM, EmulatedPi, started
from image_boot.kernel import kernel
from image_boot.pi_image import make_bootable_image
from support.cards.file_systems import assert_ext4_is_clean, assert_fat_is_clean
from support.processes.edge_command import clean_environment, command_line

_PROGRAMS = {
    PROGRAM: "qemu-system-arm",
    "qemu-aarch64-static": "qemu-user-static",
    "mmdebstrap": "mmdebstrap",
    "bwrap": "bubblewrap",
    "depmod": "kmod",
    "sfdisk": "fdisk",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "mke2fs": "e2fsprogs",
}
_HOSTNAME = "watcher"
_PASSWORD, _PASSPHRASE = "a long pass phrase, typed once", "correct-h0rse-battery"
_TOKEN = "0123456789abcdef-of-the-page"
_PI = f"""\
[system]
hostname = "{_HOSTNAME}"
timezone = "Europe/Berlin"
[user]
name = "maker"
password_file = "password"
[wifi]
country = "DE"
ssid = "Nobody's"
passphrase_file = "passphrase"
[fer_edge]
config = "config.toml"
"""
_SETTINGS = """\
[source]
uris = ["demo"]
realtime = true
[output]
events = "-"
[tracking]
# An emulated Pi sees a picture every few seconds.
min_hits = 1
max_missed_s = 60.0
[web]
enabled = true
token_file = "web-token"
"""


@dataclass(frozen=True, slots=True)
class _Run:
    """One run: its temporary ``folder``, the ``log`` of the console, and its deadline ``until``."""

    folder: Path
    log: Path
    until: float
    began: float

    def tell(self, text: str) -> None:
        print(f"[{time.monotonic() - self.began:5.0f} s] {text}", flush=True)


def main() -> None:
    """Make a card, boot it as often as needed, and check it afterwards; print a line for each step."""
    parser = argparse.ArgumentParser(prog="make boot-test", description=__doc__)
    parser.add_argument("--cache", type=Path, default=cache_folder(), help="where wheels and file systems are kept")
    parser.add_argument("--log", type=Path, help="output of the serial console (default: boot-test.log in the cache)")
    parser.add_argument("--minutes", type=float, default=60.0, help="limit of the whole (default: 60)")
    arguments = parser.parse_args()
    # SIGTERM acts like Ctrl-C, so that the emulator is stopped and files are removed then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cache = arguments.cache.absolute()
    log: Path = arguments.log or cache / "boot-test.log"
    try:
        _refuse_if_something_is_missing()
        _run(cache, log, arguments.minutes * 60)
    except (FerEdgeError, AssertionError) as error:
        print(f"make boot-test: {error}; the console said: {log}", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, FerEdgeError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


def _refuse_if_something_is_missing() -> None:
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    missing = sorted({package for program, package in _PROGRAMS.items() if shutil.which(program, path=path) is None})
    if missing or os.geteuid() != 0:
        raise InputError(f"needs root, and apt-get install {' '.join(missing or sorted(set(_PROGRAMS.values())))}")


def _run(cache: Path, log: Path, seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="fer-edge-boot-") as scratch:
        folder = Path(scratch)
        stock = _stock_image(folder, cache / "image-arm")
        now = time.monotonic()
        run = _Run(folder, log, now + seconds, now)
        card, secrets = _compose(run, stock, cache)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
        run.tell(f"the serial console goes to {log}")
        for name in ("firstboot", "firstrun.sh"):
            with started(card, log) as machine:
                machine.wait_until_off(run.until)
            run.tell(f"started, {name} ran, restarted")
        with started(card, log, shell=True) as machine:
            _watch(run, machine)
        _look_at(run, card, secrets)
    print("the card boots, installs and watches")


def _stock_image(folder: Path, cache: Path) -> Path:
    suite = SUITES["trixie"]
    with binfmt(), arm_root(suite, cache) as root, copy_of(root, folder) as system, kernel(cache) as linux:
        return make_bootable_image(folder, system, linux)


def _compose(run: _Run, stock: Path, cache: Path) -> tuple[Path, dict[str, bytes]]:
    """Return the card, and the secrets on its boot partition before the first boot, by name."""
    settings, card = run.folder / "settings", run.folder / "card.img"
    settings.mkdir()
    texts = {"pi.toml": _PI, "config.toml": _SETTINGS}
    for name, text in {**texts, "password": _PASSWORD, "passphrase": _PASSPHRASE, "web-token": _TOKEN}.items():
        path = settings / name
        path.write_text(text if name in texts else f"{text}\n")
        path.chmod(0o600)
    words = ("flash", "compose", "--image", stock, "--out", card, "--config", settings / "pi.toml", "--cache", cache)
    done = subprocess.run(command_line(*words), capture_output=True, check=False, env=clean_environment())
    if done.returncode:
        raise CheckFailedError(f"flash compose: exit {done.returncode}: {last_line(done.stderr)}")
    run.tell("\n".join(["fer-edge flash compose", *(f"    {line}" for line in done.stdout.decode().splitlines())]))
    config = load_pi_config(settings / "pi.toml")
    assert config.wifi_key is not None
    # Each call uses a different salt for the password's hash.
    settings_file = _boot_file(card, "fer-edge/first-boot/settings")
    (hashed,) = re.findall(rb"FER_PASSWORD_HASH='?(\$6\$[^'\n]+)", settings_file)
    secrets = {"token of the page": _TOKEN.encode(), "Wi-Fi key": config.wifi_key.encode(), "password's hash": hashed}
    for name, found in _found_in_boot_partition(card, secrets).items():
        if not found:
            raise CheckFailedError(f"the {name} is not on the card before its first boot, so this could not see it go")
    return card, {**secrets, "password": _PASSWORD.encode(), "passphrase": _PASSPHRASE.encode()}


def _watch(run: _Run, machine: EmulatedPi) -> None:
    """Boot, install and wait for the daemon's events; then switch off."""
    machine.wait_for(_has("Started fer-edge.service"), "the service", run.until)
    run.tell("systemd has started fer-edge.service, which is ready")
    for what in ("install: done", "scrub: done"):
        line = machine.wait_for(_has(f"fer-edge first boot: {what}"), f"the first boot's {what!r}", run.until)
        run.tell(line)
    run.tell(json.dumps(machine.wait_for(_event, "an event of the daemon", run.until)))
    machine.type("systemctl show fer-edge --property=ActiveState,NRestarts; systemctl poweroff")
    run.tell(machine.wait_for(_has("NRestarts="), "the service's state", run.until))
    machine.wait_until_off(run.until)
    run.tell("switched off")


def _look_at(run: _Run, card: Path, secrets: dict[str, bytes]) -> None:
    left = [name for name, found in _found_in_boot_partition(card, secrets).items() if found]
    if left:
        raise CheckFailedError(f"still on the boot partition, its free blocks included: {', '.join(left)}")
    run.tell(f"not in any byte of the boot partition: {', '.join(secrets)}")
    with CardImage(card) as image:
        hostname = image.root.read("etc/hostname").decode().strip()
        report = image.boot.read("fer-edge-first-boot.txt").decode()
        boot = next(each for each in image.partitions if each.kind == "fat")
        root = next(each for each in image.partitions if each.kind == "linux")
    if hostname != _HOSTNAME:
        raise CheckFailedError(f"the hostname is {hostname}")
    run.tell("\n".join(["fer-edge-first-boot.txt:", *(f"    {line}" for line in report.splitlines())]))
    assert_fat_is_clean(card, boot.start, boot.size)
    assert_ext4_is_clean(card, root.start)
    run.tell("fsck.fat and e2fsck find both file systems clean")


def _found_in_boot_partition(card: Path, wanted: dict[str, bytes]) -> dict[str, bool]:
    with CardImage(card) as image:
        boot = next(each for each in image.partitions if each.kind == "fat")
    with card.open("rb") as stream:
        stream.seek(boot.start)
        content = stream.read(boot.size)
    return {name: value in content for name, value in wanted.items()}


def _boot_file(card: Path, path: str) -> bytes:
    with CardImage(card) as image:
        return image.boot.read(path)


def _has(part: str) -> Callable[[str], str | None]:
    return lambda line: line[line.index(part) :] if part in line else None


def _event(line: str) -> dict[str, Any] | None:
    found = re.search(r"fer-edge\[\d+\]: (\{.*\})\s*$", line)
    if found is None:
        return None
    try:
        event: dict[str, Any] = json.loads(found[1])
    except ValueError:  # messages of the kernel may come in between
        return None
    return event if "kind" in event else None


if __name__ == "__main__":
    main()
