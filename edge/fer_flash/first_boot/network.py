"""The network of a Pi, as NetworkManager has it, and for cloud-init what of it is wired, as netplan has it."""

from __future__ import annotations

import ipaddress
import uuid

from fer_flash.first_boot.yaml_text import Yaml
from fer_flash.settings.pi_config import NetworkSettings, PiConfig

_NAMESPACE = uuid.UUID("8d5b8fd0-7c3a-4a2e-9b1d-3a1c7f3f5e60")  # ours: equal settings make equal files


def wifi_connection(config: PiConfig) -> str:
    """The profile of the wireless network, as in nm-settings-keyfile(5); empty where there is none."""
    wifi = config.settings.wifi
    if wifi.ssid is None:
        return ""
    network = config.settings.network
    fixed = network if network.address and network.interface.startswith("wl") else None
    lines = _connection("preconfigured", "wifi", fixed)
    # As numbers, which rpi-preseed does too: any name can be written so, and none is taken for something else.
    name = "".join(f"{byte};" for byte in wifi.ssid.encode("utf-8"))
    lines += ["[wifi]", "mode=infrastructure", f"ssid={name}", f"hidden={'true' if wifi.hidden else 'false'}"]
    lines += ["powersave=2", ""]  # off: nm-settings(5); setup.sh says so for networks that are set up later
    if config.wifi_key is not None:
        # "wpa-psk" is WPA2, and WPA3 beside it where the psk is a passphrase; "sae" is WPA3 alone: nm-settings(5).
        management = "sae" if wifi.security == "wpa3" else "wpa-psk"
        lines += ["[wifi-security]", f"key-mgmt={management}", f"psk={_keyfile_value(config.wifi_key)}", ""]
    return "\n".join([*lines, *_addresses(fixed), ""])


def wired_connection(config: PiConfig) -> str:
    """The profile of a wired interface with a fixed address; empty where DHCP serves, which needs no profile."""
    network = config.settings.network
    if not network.address or network.interface.startswith("wl"):
        return ""
    lines = [*_connection("fer-edge-wired", "ethernet", network), "[ethernet]", "", *_addresses(network), ""]
    return "\n".join(lines)


def netplan(config: PiConfig) -> dict[str, Yaml]:
    """The wired interface as cloud-init's network configuration, version 2, which is netplan's.

    The wireless network is not in it: cloud-init writes what it reads here into its log and into its instance's files,
    the key with it (cloudinit/stages.py, apply_network_config).
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
        # Servers of the other family go to the section of their own.
        lines += [*_servers(fixed, family), ""]
    return lines


def _servers(fixed: NetworkSettings, family: int) -> list[str]:
    servers = [server for server in fixed.dns if ipaddress.ip_address(server).version == family]
    return [f"dns={''.join(f'{server};' for server in servers)}"] if servers else []


def _keyfile_value(text: str) -> str:
    """A string of a GLib key file: backslashes doubled, and ``\\s`` for spaces at its ends, which would be cut off."""
    inner = text.strip(" ")
    before = len(text) - len(text.lstrip(" "))
    after = len(text) - before - len(inner)
    return "\\s" * before + inner.replace("\\", "\\\\") + "\\s" * after
