"""A pi.toml with its files, and volumes that are folders, for the tests of first boots."""

from __future__ import annotations

import base64
import json
import os
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from fer_edge.settings.toml_files import dump_toml
from fer_flash.image.stock_system import StockSystem, Style
from fer_flash.settings.pi_config import PiConfig, load_pi_config
from fer_flash.settings.sha512_crypt import sha512_crypt

SYSTEM_PYTHON = Path("/usr/bin/python3")
"""The system's own Python, with Debian's packages: independent parsers."""
PASSWORD = "correct horse"
HASH = sha512_crypt(PASSWORD, "tests", rounds=1000)
"""With few rounds, so that the tests are fast."""
PASSPHRASE = "battery staple"
CMDLINE = (
    b"console=serial0,115200 console=tty1 root=PARTUUID=1f2e3d4c-02 rootfstype=ext4 fsck.repair=yes rootwait resize\n"
)


class FolderVolume:
    """A folder with the interface of an image's file system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def exists(self, path: str) -> bool:
        return (self.folder / path).exists()

    def read(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()

    def listdir(self, path: str) -> list[str]:
        return sorted(entry.name for entry in (self.folder / path).iterdir())

    def put(self, files: Mapping[str, str | bytes]) -> FolderVolume:
        for path, content in files.items():
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        return self


def stock_boot(folder: Path) -> FolderVolume:
    return FolderVolume(folder).put({"cmdline.txt": CMDLINE, "config.txt": "[all]\n", "kernel8.img": "\x1f\x8b"})


def system_of(style: Style) -> StockSystem:
    return StockSystem(style=style, why=(), release="trixie", python="3.13")


def public_key(comment: str = "me@laptop") -> str:
    """Return a well-formed public key without a private key."""
    kind = b"ssh-ed25519"
    data = struct.pack(">I", len(kind)) + kind + struct.pack(">I", 32) + bytes(range(32))
    return f"{kind.decode()} {base64.b64encode(data).decode()} {comment}"


def secret_file(path: Path, text: str) -> Path:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
    return path


def write_pi_toml(folder: Path, tables: Mapping[str, Mapping[str, Any]] | None = None) -> Path:
    """Write ``pi.toml`` and the files of its secrets: account with password, key and network, or ``tables``."""
    secret_file(folder / "password", PASSWORD + "\n")
    secret_file(folder / "passphrase", PASSPHRASE + "\n")
    whole: dict[str, dict[str, Any]] = {
        "user": {"name": "ada", "password_hash": HASH},
        "ssh": {"keys": [public_key()]},
        "wifi": {"country": "DE", "ssid": "home", "passphrase_file": "passphrase"},
    }
    for name, table in (tables or {}).items():
        merged = {**whole.get(name, {}), **table}
        whole[name] = {key: value for key, value in merged.items() if value is not None}
    path = folder / "pi.toml"
    path.write_text(dump_toml(whole), encoding="utf-8")
    return path


def pi_config(folder: Path, tables: Mapping[str, Mapping[str, Any]] | None = None) -> PiConfig:
    return load_pi_config(write_pi_toml(folder, tables))


class Reader:
    """A program in the system's Python that answers each line of JSON with one; started once for many."""

    def __init__(self, program: str) -> None:
        loop = "import json, sys\nfor line in sys.stdin:\n    print(json.dumps(answer(json.loads(line))), flush=True)\n"
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, "-c", f"{program}\n{loop}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Reader:
        return self

    def ask(self, value: object) -> Any:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=30)


def system_python_has(*modules: str) -> bool:
    """Return whether the system's Python can import all of these; ``gi:NM:1.0`` is a library used through gi."""
    lines = []
    for module in modules:
        name, _, version = module.removeprefix("gi:").partition(":")
        lines.append(f"import gi; gi.require_version({name!r}, {version!r})" if version else f"import {module}")
    if not SYSTEM_PYTHON.exists():
        return False
    return subprocess.run([SYSTEM_PYTHON, "-c", "\n".join(lines)], capture_output=True, check=False).returncode == 0
