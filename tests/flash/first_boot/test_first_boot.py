"""The files of the first boot, read by their real readers: shells, cloud-init, NetworkManager, netplan, TOML."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fer_edge.errors import InputError
from fer_flash.first_boot.network import netplan, wifi_connection, wired_connection
from fer_flash.first_boot.plan import (
    WATCHDOG,
    BootFile,
    cmdline_text,
    config_text,
    first_boot_files,
    settings_text,
    warnings,
)
from fer_flash.first_boot.yaml_text import yaml_text
from fer_flash.image.stock_system import StockSystem, Style
from fer_flash.settings.pi_config import PiConfig, PiSettings, UserSettings, WifiSettings
from support.cards.pi_settings import (
    CMDLINE,
    HASH,
    PASSPHRASE,
    Reader,
    pi_config,
    public_key,
    stock_boot,
    system_of,
    system_python_has,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SSIDS = st.text(
    st.characters(
        min_codepoint=0x20, exclude_categories=["Cs"], exclude_characters=[chr(c) for c in range(0x7F, 0xA0)]
    ),
    min_size=1,
    max_size=32,
).filter(lambda text: len(text.encode()) <= 32)
PASSPHRASES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=8, max_size=63)

KEYS_OF_PRESEED = {
    "config_version": str,
    "system.hostname": str,
    "user.name": str,
    "user.passwordless_sudo": bool,
    "ssh.enabled": bool,
    "ssh.password_authentication": bool,
    "locale.keymap": str,
    "locale.timezone": str,
    "locale.locales": list,
    "locale.lang": str,
    "runcmd.early": list,
    "runcmd.early_cmd_timeout": int,
}
"""The keys that we use, with their types, from raspberrypi/rpi-preseed's schema/rpi-preseed.schema, version 0.1.0."""


def files_of(style: Style, config: PiConfig, folder: Path) -> dict[str, BootFile]:
    return {file.path: file for file in first_boot_files(system_of(style), config, stock_boot(folder / "boot"))}


def with_wifi(ssid: str, security: Any = "wpa2", key: str | None = "0" * 64, hidden: bool = False) -> PiConfig:
    """Return settings like those of ``load_pi_config``, without files."""
    wifi = WifiSettings(country="DE", ssid=ssid, passphrase_file="passphrase", security=security, hidden=hidden)
    tables = PiSettings(user=UserSettings(name="ada"), wifi=wifi)
    return PiConfig(tables, (public_key(),), None, None, password_hash=HASH, wifi_key=key)


# All styles


@pytest.mark.parametrize("style", list(Style))
def test_secrets_are_where_they_are_said_to_be_and_never_plain(tmp_path: Path, style: Style) -> None:
    config = pi_config(tmp_path)
    assert config.password_hash and config.wifi_key
    found = files_of(style, config, tmp_path)
    for file in found.values():
        secret = any(part.encode() in file.data for part in (config.password_hash, config.wifi_key))
        assert secret == file.secret, file.path
        assert PASSPHRASE.encode() not in file.data
    holding = {path for path, file in found.items() if file.secret}
    assert holding == {"fer-edge/first-boot/settings"}


@pytest.mark.parametrize("style", list(Style))
def test_equal_settings_make_equal_files(tmp_path: Path, style: Style) -> None:
    config = pi_config(tmp_path)
    assert files_of(style, config, tmp_path / "a") == files_of(style, config, tmp_path / "b")


@pytest.mark.parametrize("style", list(Style))
def test_the_kernel_command_line(tmp_path: Path, style: Style) -> None:
    line = files_of(style, pi_config(tmp_path), tmp_path)["cmdline.txt"].data.decode()
    assert line.startswith(CMDLINE.decode().strip()) and line.count("\n") == 1 and line.endswith("\n")
    words = line.split()
    assert "cgroup_enable=memory" in words and "cfg80211.ieee80211_regdom=DE" in words
    assert ("systemd.run=/boot/firmware/firstrun.sh" in words) == (style is Style.SYSTEMD)
    assert any(word.startswith("ds=nocloud;i=fer-edge-") for word in words) == (style is Style.CLOUDINIT)


def test_a_command_line_that_was_customised_before_gets_each_word_once() -> None:
    before = (
        CMDLINE.strip() + b" ds=nocloud;i=rpi-imager-1 cfg80211.ieee80211_regdom=GB systemd.run=/boot/firstrun.sh\r\n"
    )
    words = ["cgroup_enable=memory", "cfg80211.ieee80211_regdom=DE"]
    once = cmdline_text(before, words)
    assert once == CMDLINE.strip() + b" cgroup_enable=memory cfg80211.ieee80211_regdom=DE\n"
    assert cmdline_text(once, words) == once
    with pytest.raises(InputError, match=r"cmdline\.txt"):
        cmdline_text(b"\0\0\0", [])


@pytest.mark.parametrize("stock", [b"", b"dtparam=audio=on\n[cm4]\notg_mode=1", b"[all]\n", b"[all]\r\n"])
def test_the_watchdog_is_on_for_every_model(stock: bytes) -> None:
    text = config_text(stock)
    assert text.startswith(stock) and text.rstrip().endswith(b"[all]\n" + WATCHDOG.encode())
    assert config_text(text) == text


@pytest.mark.parametrize("style", list(Style))
def test_a_person_is_told_that_later_edits_do_nothing(tmp_path: Path, style: Style) -> None:
    (line,) = warnings(system_of(style), pi_config(tmp_path))
    assert "no effect" in line and "\n" not in line


def test_every_script_passes_shellcheck(tmp_path: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck")
    scripts = []
    for style in Style:
        for path, file in files_of(style, pi_config(tmp_path), tmp_path).items():
            if path.endswith((".sh", "/settings")):
                scripts.append(tmp_path / f"{style}-{Path(path).name}")
                head = (
                    b""
                    if path.endswith(".sh")
                    else b"#!/bin/sh\n# shellcheck disable=SC2034 # who reads it uses them\n"
                )
                scripts[-1].write_bytes(head + file.data)
    assert len(scripts) == 3 + 3 + 3 + 1
    ran = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


def test_the_unit_is_one(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    unit = tmp_path / "fer-edge-first-boot.service"
    name = "fer-edge/first-boot/fer-edge-first-boot.service"
    unit.write_bytes(files_of(Style.SYSTEMD, pi_config(tmp_path), tmp_path)[name].data)
    ran = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert "fer-edge-first-boot" not in ran.stderr, ran.stderr


# The settings that setup.sh reads, under both shells


@pytest.mark.parametrize("shell", ["dash", "bash"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ssid=SSIDS, passphrase=PASSPHRASES, comment=st.text(st.characters(exclude_categories=["C", "Z"]), max_size=30))
def test_settings_are_read_as_they_were_meant(
    tmp_path: Path, shell: str, ssid: str, passphrase: str, comment: str
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    config = with_wifi(ssid, "wpa3", passphrase)
    config = PiConfig(config.settings, (public_key(f"'{comment}$(x)`y`"),), None, None, HASH, passphrase)
    text, secret = settings_text(system_of(Style.SYSTEMD), config)
    assert secret
    (tmp_path / "settings").write_text(text, encoding="utf-8")
    names = re.findall(r"^(FER_\w+)=", text, re.MULTILINE)
    read = "; ".join(f"printf '%s\\0' \"${name}\"" for name in names)
    script = f"set -u; . ./settings; {read}"
    ran = subprocess.run([shell, "-c", script], cwd=tmp_path, capture_output=True, check=True)
    assert ran.stderr == b""
    found = dict(zip(names, ran.stdout.decode().split("\0"), strict=False))
    assert found["FER_SSH_KEYS"] == config.ssh_keys[0]
    assert found["FER_PASSWORD_HASH"] == HASH
    assert found["FER_WIFI_CONNECTION"] == wifi_connection(config)


# NetworkManager's profiles, read by its own library

READ_PROFILE = """
import gi
gi.require_version("NM", "1.0")
from gi.repository import GLib, NM
def answer(text):
    data = GLib.KeyFile()
    data.load_from_data(text, len(text.encode()), GLib.KeyFileFlags.NONE)
    profile = NM.keyfile_read(data, "/tmp", NM.KeyfileHandlerFlags.NONE, None, None)
    wifi, security, ip = (profile.get_setting_wireless(), profile.get_setting_wireless_security(),
        profile.get_setting_ip4_config())
    ip6 = profile.get_setting_ip6_config()
    return {
        "valid": profile.verify(),
        "ssid": wifi and list(wifi.get_ssid().get_data()),
        "hidden": wifi and wifi.get_hidden(),
        "power_save": wifi and wifi.get_powersave(),
        "psk": security and security.get_psk(),
        "management": security and security.get_key_mgmt(),
        "interface": profile.get_interface_name(),
        "methods": [ip.get_method(), ip6.get_method()],
        "addresses": [[a.get_address(), a.get_prefix()] for each in (ip, ip6) for a in
            (each.get_address(i) for i in range(each.get_num_addresses()))],
        "gateways": [ip.get_gateway(), ip6.get_gateway()],
        "dns": [each.get_dns(i) for each in (ip, ip6) for i in range(each.get_num_dns())],
    }
"""


@pytest.fixture(scope="module")
def network_manager() -> Iterator[Reader]:
    if not system_python_has("gi:NM:1.0"):
        pytest.skip("no gir1.2-nm-1.0")
    with Reader(READ_PROFILE) as reader:
        yield reader


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ssid=SSIDS, passphrase=PASSPHRASES, security=st.sampled_from(["wpa3", "wpa2/wpa3"]), hidden=st.booleans())
def test_network_manager_reads_the_network(
    network_manager: Reader, ssid: str, passphrase: str, security: str, hidden: bool
) -> None:
    found = network_manager.ask(wifi_connection(with_wifi(ssid, security, passphrase, hidden)))
    assert found["valid"] and bytes(found["ssid"]).decode() == ssid and found["hidden"] == hidden
    assert found["psk"] == passphrase and found["management"] == ("sae" if security == "wpa3" else "wpa-psk")
    assert found["methods"] == ["auto", "auto"]
    assert found["power_save"] == 2  # NM_SETTING_WIRELESS_POWERSAVE_DISABLE


def test_network_manager_reads_an_open_network(network_manager: Reader) -> None:
    tables = PiSettings(wifi=WifiSettings(country="DE", ssid="café", security="open"))
    found = network_manager.ask(wifi_connection(PiConfig(tables, (), None, None)))
    assert found["valid"] and found["management"] is None


@pytest.mark.parametrize("interface", ["eth0", "wlan0"])
@pytest.mark.parametrize(
    ("address", "gateway", "dns"),
    [("192.168.1.50/24", "192.168.1.1", ["1.1.1.1", "fd00::1"]), ("fd00::50/64", "fe80::1", ["fd00::1"])],
)
def test_network_manager_reads_a_fixed_address(
    tmp_path: Path, network_manager: Reader, interface: str, address: str, gateway: str, dns: list[str]
) -> None:
    config = pi_config(
        tmp_path, {"network": {"interface": interface, "address": address, "gateway": gateway, "dns": dns}}
    )
    wired, wireless = wired_connection(config), wifi_connection(config)
    assert bool(wired) == (interface == "eth0")
    found = network_manager.ask(wired or wireless)
    assert found["valid"] and found["interface"] == interface
    host, _, prefix = address.partition("/")
    assert found["addresses"] == [[host, int(prefix)]]
    assert gateway in found["gateways"] and sorted(found["methods"]) == ["auto", "manual"]
    own_family = [server for server in dns if (":" in server) == (":" in address)]
    assert found["dns"] == own_family
    if interface == "eth0":
        assert network_manager.ask(wireless)["methods"] == ["auto", "auto"]


# cloud-init's files, read by an independent YAML parser, by cloud-init, and by netplan


@pytest.fixture(scope="module")
def yaml() -> Iterator[Reader]:
    if not system_python_has("yaml"):
        pytest.skip("no python3-yaml")
    with Reader("import yaml\ndef answer(text):\n    return yaml.safe_load(text)\n") as reader:
        yield reader


VALUES = st.recursive(
    st.one_of(TEXT, st.booleans(), st.integers(-(2**40), 2**40)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=8,
)
WORDS = st.sampled_from(
    ["no", "NO", "y", "null", "~", "1e3", "0x1F", "2026-01-01", "=", "<<", "!x", "*a", "&a", "- a", "#"]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.one_of(TEXT, WORDS), st.one_of(VALUES, WORDS), min_size=1, max_size=4))
def test_yaml_is_read_as_it_was_meant(yaml: Reader, value: dict[str, Any]) -> None:
    assert yaml.ask(yaml_text(value)) == value


@pytest.mark.parametrize(("interface", "fixed"), [("eth0", True), ("end0", True), ("wlan0", False)])
def test_network_config_holds_what_is_wired_alone(tmp_path: Path, yaml: Reader, interface: str, fixed: bool) -> None:
    address = {"interface": interface, "address": "10.0.0.2/8", "gateway": "10.0.0.1", "dns": ["10.0.0.1"]}
    found = files_of(Style.CLOUDINIT, pi_config(tmp_path, {"network": address}), tmp_path)
    network = yaml.ask(found["network-config"].data.decode())["network"]
    assert network.keys() == {"version", "ethernets"}
    ((name, table),) = network["ethernets"].items()
    assert name == (interface if fixed else "eth0")
    assert table.get("addresses") == (["10.0.0.2/8"] if fixed else None) and table["dhcp4"] is not fixed


def test_user_data(tmp_path: Path, yaml: Reader) -> None:
    config = pi_config(tmp_path, {"ssh": {"password_login": True}, "system": {"hostname": "no", "keymap": "no"}})
    found = files_of(Style.CLOUDINIT, config, tmp_path)
    text = found["user-data"].data.decode()
    assert text.startswith("#cloud-config\n")
    table = yaml.ask(text)
    (user,) = table["users"]
    assert (table["hostname"], table["keyboard"]["layout"], table["ssh_pwauth"]) == ("no", "no", True)
    assert (user["name"], user["lock_passwd"]) == ("ada", True) and "hashed_passwd" not in user
    assert user["ssh_authorized_keys"] == list(config.ssh_keys) and "sudo" not in user
    (command,) = table["bootcmd"]
    assert command[-1].endswith("exec sh /boot/firmware/fer-edge/first-boot/setup.sh cloudinit")
    assert subprocess.run(command, check=False).returncode == 0  # also if that is missing
    meta = yaml.ask(found["meta-data"].data.decode())
    assert f"ds=nocloud;i={meta['instance-id']}".encode() in found["cmdline.txt"].data
    left = yaml.ask(found["fer-edge/first-boot/user-data.scrubbed"].data.decode())
    assert left == {"hostname": "no", "manage_etc_hosts": True}


def test_an_account_with_keys_alone_has_no_password_and_needs_none(tmp_path: Path, yaml: Reader) -> None:
    config = pi_config(tmp_path, {"user": {"password_hash": None}})
    (user,) = yaml.ask(files_of(Style.CLOUDINIT, config, tmp_path)["user-data"].data.decode())["users"]
    assert user["lock_passwd"] is True and "hashed_passwd" not in user and "NOPASSWD" in user["sudo"]


def test_the_instance_is_told_by_the_settings_and_not_by_the_secrets(tmp_path: Path) -> None:
    def meta(**wifi: str) -> bytes:
        return files_of(Style.CLOUDINIT, pi_config(tmp_path, {"wifi": wifi}), tmp_path)["meta-data"].data

    first = meta()
    (tmp_path / "passphrase").write_text("another passphrase")
    assert meta() == first != meta(ssid="elsewhere")


def test_cloud_init_accepts_its_files(tmp_path: Path) -> None:
    if shutil.which("cloud-init") is None:
        pytest.skip("no cloud-init")
    config = pi_config(tmp_path, {"network": {"address": "10.0.0.2/8", "gateway": "10.0.0.1", "dns": ["10.0.0.1"]}})
    found = files_of(Style.CLOUDINIT, config, tmp_path)
    kinds = {"user-data": "cloud-config", "fer-edge/first-boot/user-data.scrubbed": "cloud-config"}
    usage = subprocess.run(["cloud-init", "schema", "--help"], capture_output=True, text=True, check=False).stdout
    if "network-config" in usage:  # since 24.1
        kinds["network-config"] = "network-config"
    for path, kind in kinds.items():
        file = tmp_path / Path(path).name
        file.write_bytes(found[path].data)
        command = ["cloud-init", "schema", "--config-file", str(file)]
        if "network-config" in usage:
            command += ["--schema-type", kind]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 0 and "Valid" in ran.stdout, ran.stdout + ran.stderr


def test_netplan_makes_the_wired_network_of_it(tmp_path: Path, network_manager: Reader) -> None:
    if shutil.which("netplan") is None:
        pytest.skip("no netplan")
    config = pi_config(tmp_path, {"network": {"address": "10.0.0.2/8", "gateway": "10.0.0.1"}})
    folder = tmp_path / "root" / "etc" / "netplan"
    folder.mkdir(parents=True)
    network = netplan(config)["network"]
    assert isinstance(network, dict)
    path = folder / "50-cloud-init.yaml"
    path.touch(0o600)
    path.write_text(yaml_text({"network": {**network, "renderer": "NetworkManager"}}), encoding="utf-8")
    subprocess.run(["netplan", "generate", "--root-dir", tmp_path / "root"], check=True, capture_output=True)
    (profile,) = (tmp_path / "root" / "run/NetworkManager/system-connections").iterdir()  # and none for Wi-Fi
    text = profile.read_text(encoding="utf-8")  # NetworkManager gives it a UUID when it reads it
    found = network_manager.ask(text.replace("[connection]", "[connection]\nuuid=8d5b8fd0-7c3a-4a2e-9b1d-3a1c7f3f5e61"))
    assert found["addresses"] == [["10.0.0.2", 8]] and found["interface"] == "eth0"


# rpi-preseed


def test_preseed_has_published_keys_alone(tmp_path: Path) -> None:
    file = files_of(Style.PRESEED, pi_config(tmp_path), tmp_path)["rpi-preseed.toml"]
    table = tomllib.loads(file.data.decode())
    flat: dict[str, Any] = {"config_version": table.pop("config_version")}
    flat |= {f"{name}.{key}": value for name, section in table.items() for key, value in section.items()}
    assert flat.keys() == KEYS_OF_PRESEED.keys()
    for key, value in flat.items():
        assert type(value) is KEYS_OF_PRESEED[key], key
    assert flat["runcmd.early"] == ["sh /boot/firmware/fer-edge/first-boot/setup.sh rpi-preseed"]
    # Its parser supports only these two escapes: src/lib/toml.sh.
    assert b"\\" not in file.data and b"'" not in file.data


def test_an_image_whose_preseed_lacks_a_key_is_refused(tmp_path: Path) -> None:
    system = StockSystem(
        Style.PRESEED, (), "trixie", "3.13", preseed_keys=frozenset(KEYS_OF_PRESEED) - {"runcmd.early"}
    )
    with pytest.raises(InputError, match=r"does not know runcmd\.early"):
        first_boot_files(system, pi_config(tmp_path), stock_boot(tmp_path / "boot"))
