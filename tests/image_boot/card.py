"""A card as ``fer-edge flash compose`` makes it, with the one change that an x86_64 container needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from arm.sandbox import run
from fer_edge.errors import CheckFailedError
from fer_flash.image.card_image import CardImage
from support.cards.stock_images import make_stock_image
from support.processes.edge_command import clean_environment, command_line
from systemd.unit import EVENTS, WATCHING

HOSTNAME, USER, SSID = "watcher", "maker", "Café & Söhne"
LOCALE, TIMEZONE, KEYMAP = "de_DE.UTF-8", "Europe/Berlin", "de"
PASSWORD = "a long pass phrase, typed once"
_WORD = "correct-h0rse-battery"
PASSPHRASE = f"""{_WORD} $x "q" \\ it's"""
"""Quoting does not change its first word, so that the tests can search for it."""
TOKEN = "0123456789abcdef-of-the-page"
_PI = f"""\
[system]
hostname = "{HOSTNAME}"
locale = "{LOCALE}"
keymap = "{KEYMAP}"
timezone = "{TIMEZONE}"

[user]
name = "{USER}"
password_file = "password"

[ssh]
key_files = ["key.pub"]

[wifi]
country = "DE"
ssid = "{SSID}"
passphrase_file = "passphrase"
security = "wpa2/wpa3"

[fer_edge]
config = "config.toml"
"""
_OF_THE_CAMERA = "password-of-the-camera"
_SETTINGS = (
    WATCHING.replace("http://", f"http://viewer:{_OF_THE_CAMERA}@")
    + f"""\
[output]
events = "{EVENTS}"
events_max_buffered_s = 0.2
[web]
enabled = true
token_file = "web-token"
"""
)
_BOOT_MIB = 512
"""As on Raspberry Pi OS."""
_PLATFORM_FILES = ("wheels", "payload.conf", "requirements.txt", "SHA256SUMS")
"""The files of a payload that depend on the processor."""


@dataclass(frozen=True, slots=True)
class Card:
    """``boot`` is a folder with the files of the boot partition, ``key`` the private key for SSH."""

    boot: Path
    key: Path
    secrets: tuple[bytes, ...]
    """The secrets, which must not be anywhere on the boot partition after the first boot."""
    told: str
    """The output of compose."""


def composed(style: str, release: str, folder: Path, cache: Path) -> Card:
    """Compose a card for a stand-in of a stock image; wheels are kept in ``cache``. Raises CheckFailedError."""
    for name, text in {"password": PASSWORD, "passphrase": PASSPHRASE, "web-token": TOKEN}.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(f"{text}\n")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", folder / "key"], check=True)
    (folder / "config.toml").write_text(_SETTINGS)
    (folder / "pi.toml").write_text(_PI)
    stock = make_stock_image(folder, style=style, release=release, boot_mib=_BOOT_MIB)
    image = folder / "card.img"
    told = _fer_edge("flash", "compose", "--image", stock, "--out", image, "--config", folder / "pi.toml",
                     "--cache", cache)  # fmt: skip
    stock.unlink()
    with CardImage(image) as card:
        start = card.partitions[0].start
    # By mtools, since another program must be able to read our files.
    (folder / "boot").mkdir()
    run(["mcopy", "-s", "-n", "-i", f"{image}@@{start}", "::*", folder / "boot"])
    image.unlink()
    _for_x86_64(folder, release, cache)
    for path in (folder / "boot").rglob("*"):
        path.chmod(0o755)  # as a FAT is mounted with the defaults of fstab
    return Card(folder / "boot", folder / "key", _secrets(folder / "boot"), told)


def _for_x86_64(folder: Path, release: str, cache: Path) -> None:
    """Replace the Pi's wheels by those for x86_64; the rest must be equal. Raises CheckFailedError."""
    other, composed_one = folder / "x86_64", folder / "boot" / "fer-edge"
    _fer_edge("flash", "payload", "--release", release, "--platform", "x86_64", "--config", folder / "config.toml",
              "--cache", cache, "--out", other)  # fmt: skip
    for path in other.rglob("*"):
        name = path.relative_to(other)
        if path.is_dir() or name.parts[0] in _PLATFORM_FILES:
            continue
        if path.read_bytes() != (composed_one / name).read_bytes():
            raise CheckFailedError(f"{name} of the payload is not the same for the Pi and for x86_64")
    for entry in _PLATFORM_FILES:
        gone = composed_one / entry
        if gone.is_dir():
            shutil.rmtree(gone)
        else:
            gone.unlink()
        (other / entry).rename(gone)
    shutil.rmtree(other)


def _secrets(boot: Path) -> tuple[bytes, ...]:
    files = [*boot.iterdir(), *(boot / "fer-edge" / "first-boot").iterdir()]
    texts = b"".join(path.read_bytes() for path in files if path.is_file())
    hashes = set(re.findall(rb"\$6\$[$./=0-9A-Za-z]+", texts))
    secrets = (*hashes, *(text.encode() for text in (_WORD, TOKEN, PASSWORD, _OF_THE_CAMERA)))
    if len(hashes) != 1 or secrets[1] not in texts:
        raise CheckFailedError("the card does not hold the secrets of the first boot as they were given")
    return secrets


def _fer_edge(*words: object) -> str:
    done = subprocess.run(
        command_line(*words), env=clean_environment(), capture_output=True, text=True, check=False, timeout=1800
    )
    if done.returncode:
        raise CheckFailedError(f"fer-edge {words[0]} {words[1]}: exit {done.returncode}: {done.stderr.strip()[-400:]}")
    sys.stderr.write(done.stderr)
    return done.stdout
