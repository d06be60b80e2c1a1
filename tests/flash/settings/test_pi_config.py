"""pi.toml: accepted and refused values, the error messages, and that they contain no secret."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_edge.errors import ConfigError
from fer_edge.settings.base import to_table
from fer_flash.settings import pi_config as module
from fer_flash.settings.pi_config import PiSettings, load_pi_config, wpa_key
from fer_flash.settings.sha512_crypt import ALPHABET, is_password_hash, sha512_crypt
from support.cards.pi_settings import PASSPHRASE, PASSWORD, pi_config, public_key, secret_file, write_pi_toml

EXAMPLE = Path(module.__file__).with_name("pi.example.toml")


# Keys and hashes, compared with published values

# U. Drepper, "Unix crypt using SHA-256 and SHA-512", the test vectors of its program.
VECTORS = [
    (
        "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
        ("saltstring", None, "Hello world!"),
    ),
    (
        "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/"
        "YTBmSK6H9qs/y3RnOaw5v.",
        ("saltstringsaltstring", 10_000, "Hello world!"),
    ),
    (
        "$6$rounds=5000$toolongsaltstrin$lQ8jolhgVRVhY4b5pZKaysCLi0QBxGoNeKQzQ3glMhwllF7oGDZxUhx1yxdYcz/"
        "e1JSbq3y6JMxxl8audkUEm0",
        ("toolongsaltstring", 5000, "This is just a test"),
    ),
    (
        "$6$rounds=1400$anotherlongsalts$POfYwTEok97VWcjxIiSOjiykti.o/pQs.wPvMxQ6Fm7I6IoYN3CmLs66x9t0oSwbtEW7o7UmJEiDwGqd8"
        "p4ur1",
        (
            "anotherlongsaltstring",
            1400,
            "a very much longer text to encrypt.  This one even stretches over morethan one line.",
        ),
    ),
    (
        "$6$rounds=1000$roundstoolow$kUMsbe306n21p9R.FRkW3IGn.S9NPN0x50YhH1xhLsPuWGsUSklZt58jaTfF4ZEQpyUNGc0dqbpBYYBaHHrsX.",
        ("roundstoolow", 10, "the minimum number is still observed"),
    ),
]


@pytest.mark.parametrize(("expected", "given_"), VECTORS)
def test_hashes_are_those_of_the_specification(expected: str, given_: tuple[str, int | None, str]) -> None:
    salt, rounds, password = given_
    assert sha512_crypt(password, salt, rounds) == expected
    assert is_password_hash(expected)


@settings(max_examples=15, deadline=None)
@given(
    st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), min_size=1, max_size=200),
    st.text(ALPHABET, min_size=1),
)
def test_hashes_are_those_of_openssl(password: str, salt: str) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    if "\n" in password or len(password.encode()) > 200:  # it reads this much of one line
        return
    command = ["openssl", "passwd", "-6", "-salt", salt, "-stdin"]
    ran = subprocess.run(command, input=password.encode() + b"\n", capture_output=True, check=True)
    assert sha512_crypt(password, salt, None) == ran.stdout.decode().strip()


def test_each_hash_has_a_salt_of_its_own() -> None:
    assert sha512_crypt("same", rounds=1000) != sha512_crypt("same", rounds=1000)


# IEEE 802.11, annex J.4.
@pytest.mark.parametrize(
    ("passphrase", "ssid", "key"),
    [
        ("password", "IEEE", "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"),
        ("ThisIsAPassword", "ThisIsASSID", "0dc0d6eb90555ed6419756b9a15ec3e3209b63df707dd508d14581f8982721af"),
        ("a" * 32, "Z" * 32, "becb93866bb8c3832cb777c2f559807c8c59afcb6eae734885001300a981cc62"),
    ],
)
def test_keys_of_networks_are_those_of_the_standard(passphrase: str, ssid: str, key: str) -> None:
    assert wpa_key(passphrase, ssid) == key


# Accepted settings


def test_an_account_a_key_and_a_network(tmp_path: Path) -> None:
    config = pi_config(tmp_path, {"user": {"password_hash": None, "password_file": "password"}})
    assert config.password_hash is not None and is_password_hash(config.password_hash)
    assert config.wifi_key == wpa_key(PASSPHRASE, "home")
    assert config.ssh_keys == (public_key(),)


def test_wpa3_keeps_the_passphrase_and_says_so(tmp_path: Path) -> None:
    config = pi_config(tmp_path, {"wifi": {"security": "wpa3"}})
    assert config.wifi_key == PASSPHRASE
    assert any("wpa3" in note for note in config.notes())


def test_an_account_without_a_password_is_root_by_its_key_and_that_is_said(tmp_path: Path) -> None:
    assert not any("sudo" in note for note in pi_config(tmp_path).notes())
    (note,) = (note for note in pi_config(tmp_path, {"user": {"password_hash": None}}).notes() if "sudo" in note)
    assert "ada has no password" in note and "\n" not in note


def test_keys_come_from_files_too_and_once_each(tmp_path: Path) -> None:
    (tmp_path / "all.pub").write_text(f"# mine\n{public_key()}\n\n{public_key('other')}\n", encoding="utf-8")
    config = pi_config(tmp_path, {"ssh": {"key_files": ["all.pub"]}})
    assert config.ssh_keys == (public_key(), public_key("other"))


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "config.toml").write_text("")
    path = write_pi_toml(tmp_path / "here", {"fer_edge": {"config": "config.toml"}})
    monkeypatch.chdir(tmp_path)
    config = load_pi_config(path.relative_to(tmp_path))
    assert config.config_file is not None and config.config_file.read_text() == ""


# Refused settings

REFUSED: list[tuple[dict[str, dict[str, Any]], str]] = [
    ({"system": {"hostname": "-pi"}}, "system.hostname"),
    ({"system": {"hostname": "a.b"}}, "system.hostname"),
    ({"system": {"hostname": "a" * 64}}, "system.hostname"),
    ({"system": {"locale": "german"}}, "en_GB.UTF-8"),
    ({"system": {"locale": "en_DE.UTF-8"}}, "locale must be a UTF-8 locale of Debian"),
    ({"system": {"locale": "en_GB"}}, "Debian calls it en_GB.UTF-8"),
    ({"system": {"locale": "en_IN.UTF-8"}}, "Debian calls it en_IN"),
    ({"system": {"keymap": "de;reboot"}}, "keymap"),
    ({"system": {"keymap": "dee"}}, "keymap"),
    ({"system": {"keymap": "uk"}}, "the United Kingdom is gb"),
    ({"system": {"timezone": "Europe/Atlantis"}}, "timezone"),
    ({"system": {"host": "x"}}, "unknown key system.host; did you mean hostname?"),
    ({"system": {"hostname": 3}}, "system.hostname must be a string"),
    ({"user": {"name": None}}, "user.name is missing"),
    ({"user": {"name": "Ada"}}, "user.name must start"),
    ({"user": {"name": "root"}}, "used by the system"),
    ({"user": {"name": "gpio"}}, "used by the system"),
    ({"user": {"name": "users"}}, "used by the system"),
    ({"user": {"password": "hunter22"}}, "unknown key user.password"),
    ({"user": {"password_hash": "hunter22"}}, "user.password_hash must be a hash"),
    ({"user": {"password_file": "password"}}, "give only one of them"),
    ({"user": {"password_hash": None, "password_file": "nothing"}}, "user.password_file: no such file"),
    ({"user": {"password_hash": None, "password_file": "short"}}, "at least 8 characters"),
    ({"user": {"password_hash": None}, "ssh": {"keys": None}}, "no login is possible"),
    ({"user": {"password_hash": None}, "ssh": {"password_login": True}}, "ssh.password_login needs"),
    ({"ssh": {"keys": ["ssh-ed25519 AAAA me"]}}, "not a public key"),
    ({"ssh": {"keys": [public_key() + "\nssh-rsa x"]}}, "not a public key"),
    ({"ssh": {"keys": ['command="x" ' + public_key()]}}, "not a public key"),
    ({"wifi": {"country": "UK"}}, "GB"),
    ({"wifi": {"country": None}}, "country is missing"),
    ({"wifi": {"ssid": ""}}, "1 to 32 bytes"),
    ({"wifi": {"ssid": "é" * 17}}, "1 to 32 bytes"),
    ({"wifi": {"ssid": "a\nb"}}, "control characters"),
    ({"wifi": {"security": "wep"}}, "wifi.security must be one of 'open', 'wpa2'"),
    ({"wifi": {"security": "open"}}, "which must not have it"),
    ({"wifi": {"passphrase_file": None}}, "passphrase_file is required"),
    ({"wifi": {"ssid": None}}, "passphrase_file needs an ssid"),
    ({"network": {"interface": "eth0; reboot"}}, "interface"),
    ({"network": {"address": "192.168.1.50"}}, "prefix"),
    ({"network": {"address": "192.168.1.255/24"}}, "first or last"),
    ({"network": {"address": "192.168.1.50/24", "gateway": "10.0.0.1"}}, "gateway must be another address in"),
    ({"network": {"address": "192.168.1.50/24", "dns": ["dns.example"]}}, "dns must be IP addresses"),
    ({"network": {"gateway": "192.168.1.1"}}, "need an address"),
    (
        {"network": {"interface": "wlan0", "address": "10.0.0.2/8"}, "wifi": {"ssid": None, "passphrase_file": None}},
        "wifi.ssid",
    ),
    ({"fer_edge": {"config": "nothing.toml"}}, "fer_edge.config: no such file"),
    ({"fer_edge": {"bundle": "nothing.zip"}}, "fer_edge.bundle: no such file"),
    ({"fer_edge": {"config": "."}}, "is not a file"),
]


@pytest.mark.parametrize(("changed", "said"), REFUSED)
def test_what_is_refused_in_one_line(tmp_path: Path, changed: dict[str, dict[str, Any]], said: str) -> None:
    secret_file(tmp_path / "short", "1234567")
    path = write_pi_toml(tmp_path, changed)
    with pytest.raises(ConfigError) as caught:
        load_pi_config(path)
    message = str(caught.value)
    assert said in message and message.startswith(str(path)) and "\n" not in message
    for secret in (PASSWORD, PASSPHRASE, "hunter22"):
        assert secret not in message


@pytest.mark.parametrize("name", ["password", "passphrase"])
def test_a_secret_that_others_may_read_is_refused(tmp_path: Path, name: str) -> None:
    user = {"password_hash": None, "password_file": "password"}
    path = write_pi_toml(tmp_path, {"user": user})
    (tmp_path / name).chmod(0o644)
    with pytest.raises(ConfigError, match=f"chmod 600 .*{name}"):
        load_pi_config(path)


@pytest.mark.parametrize(
    ("security", "passphrase", "good"),
    [
        ("wpa2", "1234567", False),
        ("wpa2", "a" * 63, True),
        ("wpa2", "a" * 64, False),
        ("wpa2", "pässwörter", False),
        ("wpa3", "pässwörter", True),
        ("wpa2/wpa3", "pässwörter", False),
    ],
)
def test_passphrases(tmp_path: Path, security: str, passphrase: str, good: bool) -> None:
    path = write_pi_toml(tmp_path, {"wifi": {"security": security}})
    secret_file(tmp_path / "passphrase", passphrase)
    if good:
        load_pi_config(path)
        return
    with pytest.raises(ConfigError, match=r"wifi\.passphrase_file: the passphrase must") as caught:
        load_pi_config(path)
    assert passphrase not in str(caught.value).replace(str(tmp_path), "")


def test_a_private_key_is_not_taken_for_a_public_one(tmp_path: Path) -> None:
    secret_file(tmp_path / "id", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    path = write_pi_toml(tmp_path, {"ssh": {"key_files": ["id"]}})
    with pytest.raises(ConfigError, match="private key, which must stay"):
        load_pi_config(path)


def test_no_secret_shows_in_the_repr(tmp_path: Path) -> None:
    for table in ({}, {"password_hash": None, "password_file": "password"}):
        config = pi_config(tmp_path, {"user": table, "wifi": {"security": "wpa3"}})
        shown = repr(config)
        assert config.password_hash and config.wifi_key
        for secret in (PASSWORD, PASSPHRASE, config.password_hash, config.wifi_key):
            assert secret not in shown


# The example


def tables() -> dict[str, type]:
    """Return the settings class of each table, by its name."""
    return {name: type(getattr(PiSettings(), name)) for name in PiSettings.__struct_fields__}


def documented() -> dict[str, str]:
    """Return each key by its path, with the docstring of its field."""
    by_class = {kind.__name__: name for name, kind in tables().items()}
    found = {}
    for node in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name in by_class:
            for entry, text in zip(node.body, node.body[1:], strict=False):
                if isinstance(entry, ast.AnnAssign) and isinstance(text, ast.Expr):
                    assert isinstance(entry.target, ast.Name) and isinstance(text.value, ast.Constant)
                    found[f"{by_class[node.name]}.{entry.target.id}"] = " ".join(str(text.value.value).split())
    return found


def explained() -> dict[str, str]:
    """Return each key of the example, commented out or not, with the comment above it."""
    found: dict[str, str] = {}
    section, comment = "", []
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            section, comment = heading.group(1), []
        elif key := re.fullmatch(r"(?:# )?(\w+) = \S.*", line):
            found[f"{section}.{key.group(1)}"] = " ".join(comment)
            comment = []
        elif line.startswith("# "):
            comment.append(line[2:])
        else:
            comment = []
    return found


def test_the_example_explains_every_key_in_the_words_of_the_settings() -> None:
    every = [f"{name}.{key}" for name, kind in tables().items() for key in kind.__struct_fields__]
    assert list(documented()) == every
    assert explained() == {path: text.replace("``", "`") for path, text in documented().items()}


def test_the_example_holds_the_defaults_but_for_what_it_says() -> None:
    named = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    defaults = to_table(PiSettings())
    chosen = {"user.name": "ada", "ssh.key_files": ["~/.ssh/id_ed25519.pub"]}
    for section, table in named.items():
        for key, value in table.items():
            assert value == chosen.get(f"{section}.{key}", defaults[section][key]), f"{section}.{key}"


def test_the_example_is_accepted_where_there_is_such_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519.pub").write_text(public_key() + "\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load_pi_config(Path(shutil.copy(EXAMPLE, tmp_path / "pi.toml")))
    assert config.password_hash is None and config.ssh_keys == (public_key(),)
