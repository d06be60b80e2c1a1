"""The files of the first boot, for each style of customisation.

In every style, the script setup.sh applies the settings that the style itself cannot, and the service first-boot.sh
then erases the secrets and installs FER-Edge from the payload. Both are in ``fer-edge/first-boot`` on the boot
partition. The styles differ in what creates the account and what starts setup.sh:

``systemd``: firstrun.sh, which ``systemd.run=`` in cmdline.txt names (systemd-run-generator(8)), as in Raspberry Pi
Imager (src/imagewriter.cpp, src/customization_generator.cpp). A restart follows.

``cloudinit``: ``bootcmd`` in user-data, which runs at every boot; ``runcmd`` runs only once per instance, even if the
power failed during it. cloud-init creates the account. It gets no secrets, since it keeps copies: of the network in its
log, of user-data in its instance folder. setup.sh writes the wireless network, and sets the password of the account
after cloud-init has finished.

``rpi-preseed``: ``runcmd.early`` in rpi-preseed.toml, before network and login are available. rpi-preseed renames the
account (raspberrypi/rpi-preseed: schema/rpi-preseed.schema, src/apply). It gets no secrets: it would write the network
key unescaped into NetworkManager's file, does not support a fixed address for Wi-Fi, and when it deletes a password
from its own file, the old text stays in free blocks.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shlex
from dataclasses import dataclass, field
from importlib.resources import files

from fer_edge.errors import InputError
from fer_edge.settings.toml_files import dump_toml
from fer_flash.first_boot.network import netplan, wifi_connection, wired_connection
from fer_flash.first_boot.yaml_text import Yaml, yaml_text
from fer_flash.image.stock_system import Files, StockSystem, Style
from fer_flash.settings.pi_config import PiConfig

FOLDER = "fer-edge/first-boot"
"""Folder of the scripts on the boot partition."""
MOUNTED = "/boot/firmware"
"""Mount point of the boot partition on Raspberry Pi OS since Bookworm."""
REPORT = "fer-edge-first-boot.txt"
"""Report of the first boot, without secrets, on the boot partition."""
WATCHDOG = "dtparam=watchdog=on"
"""Turns the hardware watchdog on; it is off by default (raspberrypi/firmware, boot/overlays/README)."""

_SCRIPTS = ("setup.sh", "first-boot.sh", "fer-edge-first-boot.service")
_REPLACED = ("cfg80211.ieee80211_regdom=", "ds=", "systemd.run", "systemd.unit=kernel-command-line.target")
"""Parameters in cmdline.txt that may be left from an earlier customisation."""
ACCOUNT_GROUPS = "users,adm,dialout,audio,netdev,video,plugdev,cdrom,games,input,gpio,spi,i2c,render,sudo"
"""The groups that Raspberry Pi Imager uses (src/customization_generator.cpp)."""
EARLY_S = 25
"""Timeout of setup.sh under rpi-preseed in seconds; its service has 30 s in all. first-boot.sh does what is left."""


@dataclass(frozen=True, slots=True)
class BootFile:
    """A file of the boot partition; ``secret`` files are not shown and are removed after use."""

    path: str
    data: bytes = field(repr=False)
    secret: bool = False


def first_boot_files(system: StockSystem, config: PiConfig, boot: Files) -> list[BootFile]:
    """Return the files to write to the boot partition; each replaces an existing one completely.

    Raises InputError if the image lacks something that the style needs.
    """
    words = ["cgroup_enable=memory"]  # MemoryMax of fer-edge.service needs it; the firmware turns it off by default
    if config.settings.wifi.country:
        words.append(f"cfg80211.ieee80211_regdom={config.settings.wifi.country}")
    if system.style is Style.SYSTEMD:
        styled, more = _systemd_files()
    elif system.style is Style.CLOUDINIT:
        styled, more = _cloudinit_files(system, config)
    else:
        styled, more = _preseed_files(system, config)
    settings, secret = settings_text(system, config)
    stock = boot.read("config.txt") if boot.exists("config.txt") else b""
    return [
        *(BootFile(f"{FOLDER}/{name}", _script(name)) for name in _SCRIPTS),
        BootFile(f"{FOLDER}/settings", settings.encode("utf-8"), secret=secret),
        *styled,
        BootFile("config.txt", config_text(stock)),
        BootFile("cmdline.txt", cmdline_text(boot.read("cmdline.txt"), [*words, *more])),
    ]


def warnings(system: StockSystem, config: PiConfig) -> tuple[str, ...]:
    """Return what to know before the card is written, one line each."""
    names = {
        Style.SYSTEMD: "firstrun.sh",
        Style.CLOUDINIT: "user-data, network-config and meta-data",
        Style.PRESEED: "rpi-preseed.toml",
    }
    once = (
        f"edits of {names[system.style]} or of {FOLDER} on the card have no effect after its first boot: "
        "compose and write it again, or change the running Pi (fer-edge deploy)"
    )
    return (*config.notes(), once)


def settings_text(system: StockSystem, config: PiConfig) -> tuple[str, bool]:
    """Return the settings for setup.sh as quoted shell assignments, and whether they are secret.

    Apart from the payload, this is the only file on the boot partition with secrets.
    """
    settings = config.settings
    password_hash, wifi = config.password_hash or "", wifi_connection(config)
    # cloud-init gets it from network-config.
    wired = "" if system.style is Style.CLOUDINIT else wired_connection(config)
    values = {
        "FER_HOSTNAME": settings.system.hostname,
        "FER_LOCALE": settings.system.locale,
        "FER_KEYMAP": settings.system.keymap,
        "FER_TIMEZONE": settings.system.timezone,
        "FER_USER": settings.user.name,
        "FER_PASSWORD_HASH": password_hash,
        "FER_SSH": "yes" if settings.ssh.enabled else "no",
        "FER_SSH_PASSWORD": "yes" if settings.ssh.password_login else "no",
        "FER_SSH_KEYS": "\n".join(config.ssh_keys),
        "FER_COUNTRY": settings.wifi.country,
        "FER_WIFI_CONNECTION": wifi,
        "FER_WIRED_CONNECTION": wired,
    }
    lines = (f"{name}={shlex.quote(value)}\n" for name, value in values.items())
    head = (
        "# shellcheck shell=sh disable=SC2016,SC2034 # values are not expanded; setup.sh uses all of them\n"
        "# Settings of the first boot, written by `fer-edge flash compose`; overwritten and removed after it.\n"
    )
    return head + "".join(lines), bool(password_hash or (wifi and config.wifi_key is not None))


def cmdline_text(stock: bytes, added: list[str]) -> bytes:
    """Return the image's kernel command line, one line, with each of ``added`` at its end, once.

    Raises InputError if the image's cmdline.txt is not a kernel command line.
    """
    lines = stock.decode("utf-8", errors="replace").split("\n")
    words = lines[0].replace("\r", "").split(" ")
    if not any(word.startswith("root=") for word in words):
        raise InputError("cmdline.txt of the image has no root=: it is damaged, or not from Raspberry Pi OS")
    kept = [word for word in words if word and word not in added and not word.startswith(_REPLACED)]
    return (" ".join([*kept, *added]) + "\n").encode("utf-8")


def config_text(stock: bytes) -> bytes:
    """Return the image's config.txt with the hardware watchdog turned on for every model of Pi."""
    if WATCHDOG.encode() in (line.strip() for line in stock.splitlines()):
        return stock
    end = b"" if not stock or stock.endswith(b"\n") else b"\n"
    return stock + end + f"\n# FER-Edge: restart a Pi that hangs\n[all]\n{WATCHDOG}\n".encode()


def _script(name: str) -> bytes:
    # Read as text, so that a checkout with Windows line ends works.
    text = files("fer_flash").joinpath("first_boot", "scripts", name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n").encode("utf-8")


def _systemd_files() -> tuple[list[BootFile], list[str]]:
    words = [
        f"systemd.run={MOUNTED}/firstrun.sh",
        "systemd.run_success_action=reboot",
        "systemd.unit=kernel-command-line.target",
    ]
    return [BootFile("firstrun.sh", _script("firstrun.sh"))], words


def _cloudinit_files(system: StockSystem, config: PiConfig) -> tuple[list[BootFile], list[str]]:
    scrubbed = _cloud_config(_lasting(config), "The first boot has applied what was here; edits have no effect.")
    user_data = _cloud_config(_user_data(config), "Applied once, at the first boot; then erased.")
    network = yaml_text(netplan(config))
    # Without secrets: a hash that includes the network key would allow testing passphrases against it.
    open_settings, _ = settings_text(system, dataclasses.replace(config, password_hash=None, wifi_key=None))
    content = yaml_text(_user_data(config)) + network + open_settings
    instance = f"fer-edge-{hashlib.sha256(content.encode('utf-8')).hexdigest()[:16]}"
    meta_data = {"dsmode": "local", "instance-id": instance, "local-hostname": config.settings.system.hostname}
    seed = [
        BootFile("meta-data", yaml_text(meta_data).encode("utf-8")),
        BootFile("user-data", user_data),
        BootFile("network-config", network.encode("utf-8")),
        BootFile(f"{FOLDER}/user-data.scrubbed", scrubbed),
    ]
    # As in Imager since its pull request 1529: cloud-init then knows at each boot that this instance is done.
    return seed, [f"ds=nocloud;i={instance}"]


def _cloud_config(table: dict[str, Yaml], comment: str) -> bytes:
    return f"#cloud-config\n# {comment}\n{yaml_text(table)}".encode()


def _lasting(config: PiConfig) -> dict[str, Yaml]:
    # cloud-init sets the host name at every boot (cc_update_hostname), so it must stay in the seed.
    return {"hostname": config.settings.system.hostname, "manage_etc_hosts": True}


def _user_data(config: PiConfig) -> dict[str, Yaml]:
    system, ssh, setup = config.settings.system, config.settings.ssh, f"{MOUNTED}/{FOLDER}/setup.sh"
    user: dict[str, Yaml] = {
        "name": config.settings.user.name,
        "groups": ACCOUNT_GROUPS,
        "shell": "/bin/bash",
        "lock_passwd": True,  # setup.sh sets the password
    }
    if config.password_hash is None:
        user["sudo"] = "ALL=(ALL) NOPASSWD:ALL"  # sudo must not ask for a password
    if config.ssh_keys:
        user["ssh_authorized_keys"] = list(config.ssh_keys)
    return {
        **_lasting(config),
        "locale": system.locale,
        "keyboard": {"model": "pc105", "layout": system.keymap},
        "timezone": system.timezone,
        "ssh_pwauth": ssh.password_login,
        "disable_root": True,
        "users": [user],
        # cloud-init keeps a copy of this command and runs it even after `fer-edge deploy --remove` deleted the script.
        "bootcmd": [["sh", "-c", f"[ ! -e {setup} ] || exec sh {setup} cloudinit"]],
    }


def _preseed_files(system: StockSystem, config: PiConfig) -> tuple[list[BootFile], list[str]]:
    settings = config.settings
    tables: dict[str, dict[str, object]] = {
        "system": {"hostname": settings.system.hostname},
        "user": {"name": settings.user.name, "passwordless_sudo": config.password_hash is None},
        # setup.sh writes the keys: some versions of rpi-preseed pass them to imager_custom incorrectly.
        "ssh": {"enabled": settings.ssh.enabled, "password_authentication": settings.ssh.password_login},
        "locale": {
            "keymap": settings.system.keymap,
            "timezone": settings.system.timezone,
            "locales": [settings.system.locale],
            "lang": settings.system.locale,
        },
        "runcmd": {"early": [f"sh {MOUNTED}/{FOLDER}/setup.sh rpi-preseed"], "early_cmd_timeout": EARLY_S},
    }
    used = {"config_version", *(f"{name}.{key}" for name, table in tables.items() for key in table)}
    unknown = sorted(used - system.preseed_keys) if system.preseed_keys else []
    if unknown:
        raise InputError(f"this image's rpi-preseed does not know {', '.join(unknown)}; use a newer image")
    return [BootFile("rpi-preseed.toml", dump_toml({"config_version": "1.0", **tables}).encode("utf-8"))], []
