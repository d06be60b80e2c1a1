"""``fer-edge flash init``: write a ``pi.toml`` from a few questions or from options."""

from __future__ import annotations

import argparse
import getpass
import os
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from fer_edge.errors import ConfigError, InputError
from fer_edge.settings.toml_files import dump_toml
from fer_edge.system.files import atomic_path
from fer_flash.settings import pi_checks
from fer_flash.settings.pi_config import MIN_PASSWORD, load_pi_config
from fer_flash.settings.sha512_crypt import sha512_crypt

_KEY = re.compile(r"(?:# )?(\w+) = ")
_SHOWN = {("user", "name"), ("ssh", "key_files")}
"""Keys whose value in the example is not a default."""
_PASSPHRASE = "wifi-passphrase"
_ATTEMPTS = 3


def run(arguments: argparse.Namespace) -> int:
    """Ask for what no option sets, and write the file. Raises ConfigError, InputError, OutputError."""
    out: Path = arguments.out
    _refuse_to_replace(out, arguments.force)
    answers = _Answers(arguments, interactive=sys.stdin.isatty() and not arguments.defaults)
    tables = {name: table for name, table in answers.tables().items() if table}
    if answers.passphrase is not None:
        _refuse_to_replace(out.parent / _PASSPHRASE, arguments.force)
    _write(out, tables, answers.passphrase)
    if answers.passphrase is not None:
        sys.stdout.write(f"{out.parent / _PASSPHRASE} holds the Wi-Fi passphrase; only you can read it\n")
    sys.stdout.write(f"{out} is written. Next: fer-edge flash card --pi {out} --image IMAGE --device DEVICE\n")
    return 0


def _refuse_to_replace(path: Path, force: bool) -> None:
    if path.is_symlink() or path.exists():
        if not force:
            raise InputError(f"{path}: already exists; --force replaces it")
        if path.is_symlink() or not path.is_file():
            raise InputError(f"{path}: is not a regular file and is not replaced; use another name")


@dataclass(slots=True)
class _Answers:
    arguments: argparse.Namespace
    interactive: bool
    passphrase: str | None = field(default=None, repr=False)

    def tables(self) -> dict[str, dict[str, Any]]:
        """Return the tables of pi.toml."""
        hostname = self._ask("hostname", "Name of the Pi in the network", "fer-edge", pi_checks.check_hostname)
        return {
            "system": {
                "hostname": hostname,
                "timezone": self._ask("timezone", "Time zone", _own_timezone(), pi_checks.check_timezone),
                "locale": self._ask("locale", "Language", _own_locale(), pi_checks.check_locale),
                "keymap": self._ask("keymap", "Keyboard layout", "us", pi_checks.check_keymap),
            },
            "user": self._user(),
            "ssh": self._ssh(),
            "wifi": self._wifi(),
            "fer_edge": self._fer_edge(),
        }

    def _fer_edge(self) -> dict[str, Any]:
        table = {"config": self._path(self.arguments.settings)} if self.arguments.settings else {}
        return {**table, **({"source": self.arguments.source} if self.arguments.source else {})}

    def _user(self) -> dict[str, Any]:
        table: dict[str, Any] = {
            "name": self._ask("user", "Name of your account on it", _own_name(), pi_checks.check_user)
        }
        if self.arguments.password_file:
            table["password_file"] = self._path(self.arguments.password_file)
        elif self.interactive and (hashed := self._new_password()) is not None:
            table["password_hash"] = hashed
        return table

    def _ssh(self) -> dict[str, Any]:
        keys = [self._path(key) for key in self.arguments.ssh_key or ()]
        if not keys and not self.arguments.ssh_key and (found := _own_key()) is not None:
            keys = [found] if self._agreed(f"May {found} log in by SSH") else []
        return {"key_files": keys} if keys else {}

    def _wifi(self) -> dict[str, Any]:
        ssid = self._ask("wifi", "Wi-Fi network (empty: none)", "", _checked_ssid)
        if not ssid:
            return {}
        country = self._ask("wifi_country", "Your country, two letters", "", pi_checks.check_country)
        table: dict[str, Any] = {"ssid": ssid, "country": country}
        if self.arguments.wifi_passphrase_file:
            return {**table, "passphrase_file": self._path(self.arguments.wifi_passphrase_file)}
        if self.interactive and not self.arguments.wifi_open:
            self.passphrase = _ask_secret(
                f"Passphrase of {ssid}", lambda text: pi_checks.check_passphrase(text, "wpa2")
            )
            return {**table, "passphrase_file": _PASSPHRASE}
        if not self.arguments.wifi_open:
            raise InputError(f"--wifi {ssid}: give --wifi-passphrase-file, or --wifi-open for a network without one")
        return {**table, "security": "open"}

    def _path(self, path: Path) -> str:
        """Return ``path`` relative to the folder of pi.toml."""
        return str(path) if path.is_absolute() else os.path.relpath(path, self.arguments.out.parent)

    def _ask(self, name: str, question: str, default: str, check: Callable[[str], object]) -> str:
        """Return the value of the option, or ask for it; an invalid answer is asked for again."""
        given = getattr(self.arguments, name)
        if given is not None or not self.interactive:
            return _checked(given if given is not None else default, f"--{name.replace('_', '-')}", check)
        return _first_valid(
            question,
            lambda: input(f"{question} [{default}]: ").strip() or default,
            lambda answer: _checked(answer, question, check),
        )

    def _agreed(self, question: str) -> bool:
        return not self.interactive or input(f"{question} [yes]: ").strip().lower() in ("", "y", "yes")

    def _new_password(self) -> str | None:
        """Ask for a new password and return its hash; None if only an SSH key may log in."""
        password = _ask_secret("New password for it (empty: SSH key only)", _checked_password)
        if not password:
            return None
        if getpass.getpass("Repeat it: ") != password:
            raise InputError("the two passwords differ; nothing was written")
        return sha512_crypt(password)


def _ask_secret(question: str, check: Callable[[str], object]) -> str:
    return _first_valid(question, lambda: getpass.getpass(f"{question}: "), check)


def _first_valid(question: str, ask: Callable[[], str], check: Callable[[str], object]) -> str:
    """Ask until ``check`` raises no ValueError, and return the answer."""
    for _ in range(_ATTEMPTS):
        answer = ask()
        try:
            check(answer)
            return answer
        except ValueError as error:
            sys.stdout.write(f"  {error}\n")
    raise InputError(f"{question}: no usable answer in {_ATTEMPTS} attempts")


def _checked(value: str, what: str, check: Callable[[str], object]) -> str:
    try:
        check(value)
    except ValueError as error:
        raise ConfigError(f"{what}: {error}") from None
    return value


def _checked_ssid(name: str) -> None:
    if name:
        pi_checks.check_ssid(name)


def _checked_password(password: str) -> None:
    if password and len(password) < MIN_PASSWORD:
        raise ValueError(f"at least {MIN_PASSWORD} characters")


def _write(out: Path, tables: dict[str, dict[str, Any]], passphrase: str | None) -> None:
    """Write the file and the passphrase next to it, and check them as ``compose`` would. Raises ConfigError.

    The file is renamed into place last.
    """
    with ExitStack() as stack:
        temporary = stack.enter_context(atomic_path(out, private=True))  # a password hash allows guessing
        named = tables
        if passphrase is not None:
            secret = stack.enter_context(atomic_path(out.parent / _PASSPHRASE, private=True))
            secret.write_text(f"{passphrase}\n", encoding="utf-8")
            named = {**tables, "wifi": {**tables["wifi"], "passphrase_file": secret.name}}
        temporary.write_text(_filled_in(named), encoding="utf-8")
        try:
            load_pi_config(temporary, name=out)
        except ConfigError as error:
            raise ConfigError(f"{error}; nothing was written") from None
        temporary.write_text(_filled_in(tables), encoding="utf-8")


def _filled_in(tables: dict[str, dict[str, Any]]) -> str:
    """Return the annotated example with these values; values that only illustrate a key are commented out."""
    lines, table = [], ""
    for line in (
        files("fer_flash").joinpath("settings", "pi.example.toml").read_text(encoding="utf-8").splitlines(keepends=True)
    ):
        if line.startswith("["):
            table = line.strip().strip("[]")
        found = _KEY.match(line)
        if found is None:
            lines.append(line)
        elif (key := found[1]) in (given := tables.get(table, {})):
            lines.append(dump_toml({key: given[key]}))
        else:
            lines.append(f"# {line}" if (table, key) in _SHOWN else line)
    return "".join(lines)


def _usable(value: str, check: Callable[[str], object], otherwise: str) -> str:
    with suppress(ValueError):
        check(value)
        return value
    return otherwise


def _own_name() -> str:
    name = ""
    with suppress(OSError, KeyError, ImportError):
        name = getpass.getuser()
    return _usable(name, pi_checks.check_user, "")


def _own_key() -> str | None:
    names = ("id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub")
    return next((str(path) for name in names if (path := Path("~/.ssh").expanduser() / name).is_file()), None)


def _own_timezone() -> str:
    """Return the time zone of this computer if it has a name."""
    target = os.path.realpath("/etc/localtime")
    return _usable(target.partition("zoneinfo/")[2], pi_checks.check_timezone, "Etc/UTC")


def _own_locale() -> str:
    return _usable(os.environ.get("LANG", ""), pi_checks.check_locale, "en_GB.UTF-8")
