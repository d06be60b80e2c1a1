"""Checks of the values in pi.toml: names, addresses, keys. Each check raises ValueError with a one-line message."""

from __future__ import annotations

import base64
import binascii
import functools
import ipaddress
import re
import struct
import zoneinfo
from importlib.resources import files

_HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
# Debian's adduser: NAME_REGEX in adduser.conf(5); at most 31 characters, the limit of all tools of Raspberry Pi OS.
_USER = re.compile(r"[a-z][-a-z0-9_]{0,30}")
_TAKEN = frozenset(
    """
    root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc nobody sshd messagebus avahi
    polkitd rpc statd systemd-network systemd-timesync _apt fer-edge rpi-first-boot-wizard sudo video netdev gpio i2c
    spi render input audio adm users tty disk dialout plugdev cdrom floppy kmem shadow staff utmp kvm crontab lpadmin
    """.split()  # noqa: SIM905 — as a list, each word would be on a separate line
)
"""Accounts and groups that Raspberry Pi OS or FER-Edge uses."""
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}")
_INTERFACE = re.compile(r"(eth|wlan|usb|en|wl)[a-z0-9]{1,13}")
_KEY_KINDS = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
"""Types of public keys that OpenSSH 9 accepts by default: sshd_config(5), PubkeyAcceptedAlgorithms."""

# ISO 3166-1 alpha-2, officially assigned.
_COUNTRIES = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC
    CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD
    GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH
    KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW
    MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC
    SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY
    UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
    """.split()  # noqa: SIM905 — as above
)


def check_hostname(name: str) -> None:
    """Check a host name: one label of RFC 1123, section 2.1 (letters, digits and hyphens)."""
    if not _HOSTNAME.fullmatch(name):
        raise ValueError("hostname must be 1 to 63 letters, digits and hyphens, without a hyphen at either end")


def check_user(name: str) -> None:
    """Check an account name: valid for Debian's adduser and not used by the system."""
    if not name:
        raise ValueError("name is missing: give the name of the account to create")
    if not _USER.fullmatch(name):
        raise ValueError(
            "name must start with a lower-case letter, followed by lower-case letters, digits, - and _; at most 31"
            " characters"
        )
    if name in _TAKEN:
        raise ValueError(f"name {name!r} is used by the system; choose another")


def check_locale(name: str) -> None:
    """Check a UTF-8 locale: its name as in Debian's list."""
    known = _listed("locales.txt")
    if name in known:
        return
    plain, dot, rest = name.partition(".")
    others = [other for other in (f"{plain}.UTF-8", plain) if other in known and other != name]
    hint = f"; Debian calls it {others[0]}" if others and dot + rest in ("", ".UTF-8", ".utf8") else ""
    raise ValueError(f"locale must be a UTF-8 locale of Debian, such as en_GB.UTF-8 or de_DE.UTF-8{hint}")


def check_keymap(name: str) -> None:
    """Check a keyboard layout of xkeyboard-config."""
    if name not in _listed("keymaps.txt"):
        hint = "; the United Kingdom is gb" if name == "uk" else ""
        raise ValueError(f'keymap must be the name of a keyboard layout, such as "gb", "us" or "de"{hint}')


@functools.cache
def _listed(name: str) -> frozenset[str]:
    """Return the words of a list next to this file; its first lines name the source."""
    lines = files(__package__).joinpath(name).read_text(encoding="utf-8").splitlines()
    return frozenset(" ".join(line for line in lines if not line.startswith("#")).split())


def check_timezone(name: str) -> None:
    """Check a name of the time zone database; only its form if this computer has no database."""
    known = _zones()
    if not _ZONE.fullmatch(name) or (known and name not in known):
        raise ValueError("timezone must be a name such as Europe/Berlin or Etc/UTC (timedatectl list-timezones)")


_zones = functools.cache(zoneinfo.available_timezones)  # which reads hundreds of files


def check_country(code: str) -> None:
    """Check a country code: two letters of ISO 3166-1."""
    if code not in _COUNTRIES:
        hint = "; the United Kingdom is GB" if code.upper() == "UK" else ""
        raise ValueError(f"country must be two capital letters of ISO 3166-1, such as DE{hint}")


def check_ssid(ssid: str) -> None:
    """Check a network name: 1 to 32 bytes (IEEE 802.11, 9.4.2.2) without control characters, which tools drop."""
    if not 1 <= len(ssid.encode("utf-8")) <= 32:
        raise ValueError("ssid must have 1 to 32 bytes (characters beyond ASCII need two to four)")
    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in ssid):
        raise ValueError("ssid must not contain control characters")


def check_passphrase(passphrase: str, security: str) -> None:
    """Check a passphrase: 8 to 63 printable ASCII characters (IEEE 802.11, annex J.4); WPA3 allows others too."""
    if not 8 <= len(passphrase.encode("utf-8")) <= 63:
        raise ValueError("the passphrase must have 8 to 63 characters")
    if security != "wpa3" and not all(" " <= character <= "~" for character in passphrase):
        raise ValueError("the passphrase must consist of printable ASCII characters, except with security = wpa3")


def check_interface(name: str) -> None:
    """Check the name of a network interface of a Pi."""
    if not _INTERFACE.fullmatch(name):
        raise ValueError("interface must be the name of a network interface, such as eth0 or wlan0")


def check_source(source: str) -> None:
    """Check a camera as the source of the daemon; other sources need a settings file."""
    if not re.fullmatch(
        r"picamera2(:\d{1,2}|:/base/[A-Za-z0-9/@._:+-]+)?|\d{1,2}|/dev/[A-Za-z0-9/._:+-]+|demo", source
    ):
        raise ValueError(
            'source must be a camera: "picamera2", "picamera2:1", "0" or "/dev/…"; for other sources use config'
        )


def check_static(address: str, gateway: str, dns: tuple[str, ...]) -> None:
    """Check ``address`` with its prefix, a ``gateway`` in the same network, and the DNS servers."""
    try:
        own = ipaddress.ip_interface(address)
    except ValueError:
        raise ValueError("address must be an IP address with its prefix, such as 192.168.1.50/24") from None
    if "/" not in address or own.network.num_addresses == 1:
        raise ValueError("address needs the prefix of its network, such as the /24 of 192.168.1.50/24")
    if own.network.prefixlen < own.max_prefixlen - 1 and own.ip in (own.network[0], own.network[-1]):
        raise ValueError(f"address {own.ip} is the first or last of its network, which a host cannot have")
    if gateway:
        try:
            way = ipaddress.ip_address(gateway)
        except ValueError:
            raise ValueError("gateway must be an IP address, such as 192.168.1.1") from None
        local = way.version == 6 and way.is_link_local
        if (way not in own.network and not local) or way == own.ip:
            raise ValueError(f"gateway must be another address in {own.network}")
    for server in dns:
        try:
            ipaddress.ip_address(server)
        except ValueError:
            raise ValueError("dns must be IP addresses, such as 192.168.1.1") from None


def check_ssh_key(line: str) -> None:
    """Check one public key as in ``id_ed25519.pub``: type, key, comment."""
    if "PRIVATE KEY" in line:
        raise ValueError("this is a private key, which must stay on its computer: give the file that ends in .pub")
    kind, _, rest = line.partition(" ")
    encoded = rest.split(" ", 1)[0]
    try:
        data = base64.b64decode(encoded, validate=True)
        (length,) = struct.unpack(">I", data[:4])  # RFC 4253, 6.6: the type is repeated, after its length
        named = data[4 : 4 + length].decode("ascii")
    except (binascii.Error, struct.error, ValueError):
        named = ""
    if kind not in _KEY_KINDS or named != kind or not line.isprintable():
        raise ValueError("not a public key as in id_ed25519.pub: ssh-ed25519 AAAA… comment")
