"""``pi.toml``: the settings of the Pi.

Unknown and mistyped keys are refused with their path. Paths are relative to the file's folder. Secrets are in separate
files or given as hashes, and are never printed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fer_edge.errors import ConfigError
from fer_edge.settings.base import Settings, decode
from fer_edge.settings.secret_files import read_secret
from fer_edge.settings.toml_files import read_toml
from fer_flash.settings import pi_checks
from fer_flash.settings.sha512_crypt import is_password_hash, sha512_crypt

Security = Literal["wpa2", "wpa3", "wpa2/wpa3", "open"]

MIN_PASSWORD = 8
"""Characters."""


class SystemSettings(Settings, frozen=True):
    """``[system]``: host name and language of the Pi."""

    hostname: str = "fer-edge"
    """Host name: 1 to 63 letters, digits and hyphens."""
    locale: str = "en_GB.UTF-8"
    """Language, country and encoding; the encoding is always UTF-8."""
    keymap: str = "gb"
    """Keyboard layout, in case a keyboard is connected: "gb", "us", "de" and so on."""
    timezone: str = "Etc/UTC"
    """Time zone, such as "Europe/Berlin"."""

    def _check(self) -> None:
        pi_checks.check_hostname(self.hostname)
        pi_checks.check_locale(self.locale)
        pi_checks.check_keymap(self.keymap)
        pi_checks.check_timezone(self.timezone)


class UserSettings(Settings, frozen=True):
    """``[user]``: the account that administers the Pi. It needs a password, or a key under ``[ssh]``."""

    name: str = ""
    """Name of the account, which may use sudo. Required."""
    password_hash: str | None = None
    """Hash of the password, as printed by `openssl passwd -6` or `mkpasswd` (sha512-crypt or yescrypt)."""
    password_file: str | None = None
    """File of mode 0600 with the password on one line; only its hash is written to the card."""

    def _check(self) -> None:
        if not self.name:  # _check_login reports it, after the other values were checked
            return
        pi_checks.check_user(self.name)
        if self.password_hash is not None and not is_password_hash(self.password_hash):
            raise ValueError("password_hash must be a hash that starts with $6$ or $y$: openssl passwd -6")
        if self.password_hash is not None and self.password_file is not None:
            raise ValueError("password_hash and password_file: give only one of them")

    def __repr__(self) -> str:
        """Return the fields without the hash, from which the password could be guessed."""
        return f"UserSettings(name={self.name!r}, password_file={self.password_file!r})"


class SshSettings(Settings, frozen=True):
    """``[ssh]``: login over the network."""

    enabled: bool = True
    """Run the SSH server."""
    password_login: bool = False
    """Allow login with the account's password; otherwise a key is needed."""
    keys: tuple[str, ...] = ()
    """Public keys that may log in, one line each, such as "ssh-ed25519 AAAA… me@laptop"."""
    key_files: tuple[str, ...] = ()
    """Files with such keys, such as "~/.ssh/id_ed25519.pub"."""

    def _check(self) -> None:
        for key in self.keys:
            pi_checks.check_ssh_key(key)


class WifiSettings(Settings, frozen=True):
    """``[wifi]``: the wireless network; leave out ``ssid`` for none."""

    country: str = ""
    """Country code for the radio regulations, two capital letters; required with ``ssid``."""
    ssid: str | None = None
    """Name of the network, 1 to 32 bytes."""
    passphrase_file: str | None = None
    """File of mode 0600 with the passphrase on one line. For wpa2 only the key derived from it is written to the card;
    wpa3 needs the passphrase itself, which is on the card until the first boot."""
    security: Security = "wpa2"
    """Security of the access point: "wpa2", "wpa3", "wpa2/wpa3" or "open"."""
    hidden: bool = False
    """The network does not broadcast its name."""

    def _check(self) -> None:
        if self.country:
            pi_checks.check_country(self.country)
        if self.ssid is None:
            if self.passphrase_file is not None:
                raise ValueError("passphrase_file needs an ssid")
            return
        pi_checks.check_ssid(self.ssid)
        if not self.country:
            raise ValueError("country is missing: Raspberry Pi OS keeps Wi-Fi disabled without it")
        if (self.security == "open") != (self.passphrase_file is None):
            raise ValueError('passphrase_file is required, except with security = "open", which must not have it')


class NetworkSettings(Settings, frozen=True):
    """``[network]``: IP addresses."""

    interface: str = "eth0"
    """Interface for the address below; all others use DHCP."""
    address: str = ""
    """Fixed address with its prefix, such as "192.168.1.50/24"; without it, DHCP."""
    gateway: str = ""
    """Router, an address in the same network; without it, other networks cannot be reached."""
    dns: tuple[str, ...] = ()
    """DNS servers; without them, host names are not resolved."""

    def _check(self) -> None:
        pi_checks.check_interface(self.interface)
        if self.address:
            pi_checks.check_static(self.address, self.gateway, self.dns)
        elif self.gateway or self.dns:
            raise ValueError("gateway and dns need an address; DHCP provides them")


class FerEdgeSettings(Settings, frozen=True):
    """``[fer_edge]``: what runs on the Pi."""

    config: str | None = None
    """Settings of the daemon, a file like edge/config.example.toml; the secrets that it names are in the same folder.
    Without it, those of `fer-edge service install` are used: the camera below, and events in a file."""
    source: str = "picamera2"
    """Camera to watch without a config: "picamera2" (Raspberry Pi camera; "picamera2:1" is the second), "0", or a
    path such as /dev/v4l/by-id/… (USB camera)."""
    bundle: str | None = None
    """Model bundle, a folder or a zip; by default the one in FER-Edge."""

    def _check(self) -> None:
        pi_checks.check_source(self.source)
        if self.config is not None and self.source != "picamera2":
            raise ValueError("config and source: give only one of them; config names its own sources")


class PiSettings(Settings, frozen=True):
    """All tables of a ``pi.toml``, as written there."""

    system: SystemSettings = SystemSettings()
    user: UserSettings = UserSettings()
    ssh: SshSettings = SshSettings()
    wifi: WifiSettings = WifiSettings()
    network: NetworkSettings = NetworkSettings()
    fer_edge: FerEdgeSettings = FerEdgeSettings()


@dataclass(frozen=True, slots=True)
class PiConfig:
    """``PiSettings`` after all files were read and checked.

    Attributes:
        settings: the tables.
        ssh_keys: public keys that may log in.
        config_file: settings of the daemon.
        bundle: model bundle.
        password_hash: None for an account that has only keys. Not in the repr.
        wifi_key: 64 hex digits for wpa2, the passphrase for wpa3, None without security. Not in the repr.
    """

    settings: PiSettings
    ssh_keys: tuple[str, ...]
    config_file: Path | None
    bundle: Path | None
    password_hash: str | None = field(default=None, repr=False)
    wifi_key: str | None = field(default=None, repr=False)

    def notes(self) -> tuple[str, ...]:
        """Return what to know before the card is written, one line each, without secrets."""
        wifi, lines = self.settings.wifi, []
        if wifi.ssid is not None and "wpa3" in wifi.security:
            lines.append("wpa3 needs the Wi-Fi passphrase itself: it is on the card until the first boot erases it")
        if wifi.security == "open" and wifi.ssid is not None:
            lines.append("the Wi-Fi network is open: anyone nearby can read unencrypted traffic")
        if self.password_hash is None:
            lines.append(
                f"{self.settings.user.name} has no password: sudo needs none, so anyone with the SSH key is root"
            )
        if not self.settings.ssh.enabled:
            lines.append("ssh is off: the Pi can only be reached with a screen and a keyboard")
        return tuple(lines)


def wpa_key(passphrase: str, ssid: str) -> str:
    """Return the key of a WPA2 network as 64 hex digits (IEEE 802.11, annex J.4: PBKDF2, 4096 rounds of HMAC-SHA1)."""
    return hashlib.pbkdf2_hmac("sha1", passphrase.encode("utf-8"), ssid.encode("utf-8"), 4096, 32).hex()


def load_pi_config(path: Path, *, name: Path | None = None) -> PiConfig:
    """Read and check ``path`` and the files that it names.

    Args:
        path: the file.
        name: what errors call it (default: ``path``).

    Raises:
        ConfigError: with one line, if a value is missing or wrong, or a file cannot be read.
    """
    where = path if name is None else name
    settings = decode(PiSettings, read_toml(path), str(where))
    loader, ours = _Loader(where, path.parent), settings.fer_edge
    keys = loader.ssh_keys(settings.ssh)
    password_hash = loader.password_hash(settings.user)
    _check_login(where, settings, keys, password_hash)
    wireless = settings.network.interface.startswith("wl")
    if settings.network.address and wireless and settings.wifi.ssid is None:
        raise ConfigError(f"{where}: network.address is for {settings.network.interface}, which needs wifi.ssid")
    return PiConfig(
        settings,
        ssh_keys=keys,
        config_file=None if ours.config is None else loader.file(ours.config, "fer_edge.config"),
        bundle=None if ours.bundle is None else loader.existing(ours.bundle, "fer_edge.bundle"),
        password_hash=password_hash,
        wifi_key=loader.wifi_key(settings.wifi),
    )


def _check_login(path: Path, settings: PiSettings, keys: tuple[str, ...], password_hash: str | None) -> None:
    if not settings.user.name:
        raise ConfigError(f"{path}: user.name is missing: give the name of the account to create")
    if not keys and password_hash is None:
        raise ConfigError(
            f"{path}: no login is possible: set user.password_file, user.password_hash, ssh.keys or ssh.key_files"
        )
    if settings.ssh.password_login and password_hash is None:
        raise ConfigError(f"{path}: ssh.password_login needs user.password_file or user.password_hash")


@dataclass(frozen=True, slots=True)
class _Loader:
    where: Path
    folder: Path

    def existing(self, name: str, key: str) -> Path:
        path = self.folder / Path(name).expanduser()
        if not path.exists():
            raise ConfigError(f"{self.where}: {key}: no such file: {path}")
        return path

    def file(self, name: str, key: str) -> Path:
        path = self.existing(name, key)
        if not path.is_file():
            raise ConfigError(f"{self.where}: {key}: {path} is not a file")
        return path

    def secret(self, name: str, key: str) -> str:
        # An absolute path is never looked up among systemd credentials.
        return read_secret(str(self.file(name, key).absolute()), f"{self.where}: {key}")

    def ssh_keys(self, ssh: SshSettings) -> tuple[str, ...]:
        keys = list(ssh.keys)
        for index, name in enumerate(ssh.key_files):
            key = f"ssh.key_files[{index}]"
            keys += self._key_lines(self.file(name, key), key)
        return tuple(dict.fromkeys(keys))

    def _key_lines(self, path: Path, key: str) -> list[str]:
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError):
            raise ConfigError(f"{self.where}: {key}: cannot read {path} as text") from None
        lines = [line for line in lines if line and not line.startswith("#")]
        if not lines:
            raise ConfigError(f"{self.where}: {key}: {path} contains no key")
        for line in lines:
            try:
                pi_checks.check_ssh_key(line)
            except ValueError as error:
                raise ConfigError(f"{self.where}: {key}: {path}: {error}") from None
        return lines

    def password_hash(self, user: UserSettings) -> str | None:
        if user.password_file is None:
            return user.password_hash
        password = self.secret(user.password_file, "user.password_file")
        if len(password) < MIN_PASSWORD:
            raise ConfigError(
                f"{self.where}: user.password_file: the password must have at least {MIN_PASSWORD} characters"
            )
        return sha512_crypt(password)

    def wifi_key(self, wifi: WifiSettings) -> str | None:
        if wifi.ssid is None or wifi.passphrase_file is None:
            return None
        passphrase = self.secret(wifi.passphrase_file, "wifi.passphrase_file")
        try:
            pi_checks.check_passphrase(passphrase, wifi.security)
        except ValueError as error:
            raise ConfigError(f"{self.where}: wifi.passphrase_file: {error}") from None
        return wpa_key(passphrase, wifi.ssid) if wifi.security == "wpa2" else passphrase
