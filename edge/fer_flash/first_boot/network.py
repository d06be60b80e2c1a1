"""The network settings of a Pi: NetworkManager profiles, and netplan for the wired interface under cloud-init."""

from __future__ import annotations

import ipaddress
import uuid

from fer_flash.first_boot.yaml_text import Yaml
from fer_flash.settings.pi_config import NetworkSettings, PiConfig

_NAMESPACE = uuid.UUID("8d5b8fd0-7c3a-4a2e-9b1d-3a1c7f3f5e60")  # fixed, so that equal settings give equal files


def wifi_connection(config: PiConfig) -> str:
    """Return the profile of the wireless network (nm-settings-keyfile(5)); "" if there is none."""
    wifi = config.settings.wifi
    if wifi.ssid is None:
        return ""
    network = config.settings.network
    fixed = network if network.address and network.interface.startswith("wl") else None
    lines = _connection("preconfigured", "wifi", fixed)
    # As byte values, like rpi-preseed: this works for any name and cannot be misread.
    name = "".join(f"{byte};" for byte in wifi.ssid.encode("utf-8"))
    lines += ["[wifi]", "mode=infrastructure", f"ssid={name}", f"hidden={'true' if wifi.hidden else 'false'}"]
    lines += ["powersave=2", ""]  # disabled: nm-settings(5); setup.sh sets it for networks that are added later
    if config.wifi_key is not None:
        # "wpa-psk" is WPA2, and also WPA3 if the psk is a passphrase; "sae" is WPA3 only: nm-settings(5).
        management = "sae" if wifi.security == "wpa3" else "wpa-psk"
        lines += ["[wifi-security]", f"key-mgmt={management}", f"psk={_keyfile_value(config.wifi_key)}", ""]
    return "\n".join([*lines, *_addresses(fixed), ""])


def wired_connection(config: PiConfig) -> str:
    """Return the profile of a wired interface with a fixed address; "" for DHCP, which needs no profile."""
    network = config.settings.network
    if not network.address or network.interface.startswith("wl"):
        return ""
    lines = [*_connection("fer-edge-wired", "ethernet", network), "[ethernet]", "", *_addresses(network), ""]
    return "\n".join(lines)


def netplan(config: PiConfig) -> dict[str, Yaml]:
    """Return the wired interface as cloud-init's network configuration, version 2, which is netplan's format.

    The wireless network is left out: cloud-init copies what it reads here, including the key, into its log and its
    instance files (cloudinit/stages.py, apply_network_config).
    """
    network = config.settings.network
    wireless = network.interface.startswith("wl")
    fixed = network if network.address and not wireless else None
    wired = "eth0" if wireless else network.interface
    return {"network": {"version": 2, "ethernets": {wired: _netplan_addresses(fixed)}}}


def _netplan_addresses(fixed: NetworkSettings | None) -> dict[str, Yaml]:
    if fixed is None:
        return {"dhcp4": True, "dhcp6": True, "optional": True}
    version = ipaddress.ip_interface(fixed.address).version
    table: dict[str, Yaml] = {
        "dhcp4": version == 6,
        "dhcp6": version == 4,
        "optional": True,
        "addresses": [fixed.address],
    }
    if fixed.gateway:
        table["routes"] = [{"to": "default" if version == 4 else "::/0", "via": fixed.gateway}]
    if fixed.dns:
        table["nameservers"] = {"addresses": list(fixed.dns)}
    return table


def _connection(name: str, kind: str, fixed: NetworkSettings | None) -> list[str]:
    lines = ["[connection]", f"id={name}", f"uuid={uuid.uuid5(_NAMESPACE, name)}", f"type={kind}"]
    return [*lines, *([f"interface-name={fixed.interface}"] if fixed else []), ""]


def _addresses(fixed: NetworkSettings | None) -> list[str]:
    version = ipaddress.ip_interface(fixed.address).version if fixed else 0
    lines = []
    for family in (4, 6):
        lines += [f"[ipv{family}]"]
        if fixed is None or family != version:
            lines += ["method=auto", ""]
            continue
        lines += ["method=manual", f"address1={fixed.address}{f',{fixed.gateway}' if fixed.gateway else ''}"]
        servers = [server for server in fixed.dns if ipaddress.ip_address(server).version == family]
        lines += [f"dns={''.join(f'{server};' for server in servers)}"] if servers else []
        lines.append("")
    return lines


def _keyfile_value(text: str) -> str:
    """Escape a string for a GLib key file: double backslashes, and ``\\s`` for leading and trailing spaces."""
    inner = text.strip(" ")
    before = len(text) - len(text.lstrip(" "))
    after = len(text) - before - len(inner)
    return "\\s" * before + inner.replace("\\", "\\\\") + "\\s" * after
