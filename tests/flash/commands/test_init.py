"""``fer-edge flash init``: questions and flags, and a pi.toml that compose accepts."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_flash.settings.pi_config import load_pi_config
from support.processes.edge_command import assert_one_line, command_line, fer_edge
from support.processes.terminal import Terminal

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEJk4zIUBj4Gq2JpXrUD0f2eWm8yTqUyJrKkzBd3mC5N ada@here"


def init(*options: str, cwd: Path) -> Terminal:
    return Terminal(command_line("flash", "init", *options), cwd, {"LANG": "de_DE.UTF-8"})


def test_questions_make_a_file_that_compose_takes(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519.pub").write_text(KEY + "\n")
    terminal = init(cwd=tmp_path)
    terminal.answer(r"Name of the Pi in the network \[fer-edge\]: ", "no good name")
    terminal.answer(r"Name of the Pi in the network \[fer-edge\]: ", "kitchen")
    terminal.answer(r"Time zone \[.*\]: ", "Europe/Berlin")
    terminal.answer(r"Language \[de_DE.UTF-8\]: ", "")
    terminal.answer(r"Keyboard layout \[us\]: ", "de")
    terminal.answer(r"Name of your account on it \[.*\]: ", "ada")
    terminal.answer("New password for it .*: ", "short")
    terminal.answer("New password for it .*: ", "long enough for me")
    terminal.answer("Repeat it: ", "long enough for me")
    terminal.answer(r"May .*id_ed25519.pub log in by SSH \[yes\]: ", "")
    terminal.answer(r"Wi-Fi network \(empty: none\) \[\]: ", "Café")
    terminal.answer(r"Your country, two letters \[\]: ", "DE")
    terminal.answer("Passphrase of Café: ", "correct horse")
    assert terminal.end() == 0, terminal.said
    config = load_pi_config(tmp_path / "pi.toml")
    settings = config.settings
    assert (settings.system.hostname, settings.system.timezone) == ("kitchen", "Europe/Berlin")
    assert (settings.system.locale, settings.system.keymap) == ("de_DE.UTF-8", "de")
    assert settings.user.name == "ada" and config.ssh_keys == (KEY,)
    assert config.password_hash is not None and config.password_hash.startswith("$6$")
    assert settings.wifi.ssid == "Café" and config.wifi_key is not None and len(config.wifi_key) == 64
    text = (tmp_path / "pi.toml").read_text()
    assert "long enough" not in text and "correct horse" not in text and "correct horse" not in terminal.said
    assert (tmp_path / "wifi-passphrase").read_text() == "correct horse\n"
    for name in ("pi.toml", "wifi-passphrase"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_ctrl_c_at_a_question_leaves_nothing(tmp_path: Path) -> None:
    terminal = init(cwd=tmp_path)
    terminal.answer(r"Name of the Pi in the network \[fer-edge\]: ", "kitchen")
    terminal.answer(r"Time zone \[.*\]: ", "\x03")
    assert terminal.end() == 130
    assert "Traceback" not in terminal.said and list(tmp_path.iterdir()) == []


def test_a_passphrase_that_is_there_stays(tmp_path: Path) -> None:
    """init must not overwrite the file, nor the target of a link with its name."""
    (tmp_path / "mine").write_text("mine\n")
    (tmp_path / "wifi-passphrase").symlink_to("mine")
    flags = (
        "--hostname",
        "hall",
        "--user",
        "ada",
        "--timezone",
        "Etc/UTC",
        "--locale",
        "en_GB.UTF-8",
        "--keymap",
        "us",
    )
    for force in ((), ("--force",)):
        wifi = ("--wifi", "x", "--wifi-country", "DE")
        terminal = init(*flags, *wifi, *force, cwd=tmp_path)
        terminal.answer("New password for it .*: ", "long enough for me")
        terminal.answer("Repeat it: ", "long enough for me")
        terminal.answer("Passphrase of x: ", "correct horse")
        assert terminal.end() == 2, terminal.said
        assert (tmp_path / "mine").read_text() == "mine\n"
        assert {path.name for path in tmp_path.iterdir()} == {"mine", "wifi-passphrase"}


def test_flags_ask_nothing(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(KEY + "\n")
    (tmp_path / "wp").write_text("correct horse\n")
    (tmp_path / "wp").chmod(0o600)
    flags = ("--hostname", "hall", "--user", "ada", "--ssh-key", "key.pub", "--timezone", "Etc/UTC")
    wifi = ("--wifi", 'it\'s "mine" $1', "--wifi-country", "DE", "--wifi-passphrase-file", "wp")
    done = fer_edge("flash", "init", *flags, *wifi, "--locale", "en_GB.UTF-8", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    settings = load_pi_config(tmp_path / "pi.toml").settings
    assert (settings.system.hostname, settings.wifi.ssid) == ("hall", 'it\'s "mine" $1')
    (tmp_path / "sub").mkdir()
    elsewhere = fer_edge(
        "flash", "init", *flags, *wifi, "--locale", "en_GB.UTF-8", "--out", "sub/pi.toml", cwd=tmp_path
    )
    assert elsewhere.returncode == 0 and load_pi_config(tmp_path / "sub" / "pi.toml").ssh_keys == (KEY,)
    again = fer_edge("flash", "init", *flags, cwd=tmp_path)
    assert_one_line(again, 2, "already exists", "--force")
    forced = fer_edge("flash", "init", *flags, "--force", cwd=tmp_path)
    assert forced.returncode == 0 and load_pi_config(tmp_path / "pi.toml").settings.wifi.ssid is None


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--user", "ada"), "no login is possible"),
        (("--user", "root", "--ssh-key", "key.pub"), "--user"),
        (("--user", "ada", "--ssh-key", "missing.pub"), "missing.pub"),
        (("--user", "ada", "--ssh-key", "key.pub", "--hostname", "a b"), "--hostname"),
        (("--user", "ada", "--ssh-key", "key.pub", "--timezone", "Mars/Base"), "--timezone"),
        (("--user", "ada", "--ssh-key", "key.pub", "--wifi", "x" * 33), "--wifi"),
        (("--user", "ada", "--ssh-key", "key.pub", "--wifi", "x", "--wifi-country", "Germany"), "--wifi-country"),
        (("--user", "ada", "--ssh-key", "key.pub", "--wifi", "x", "--wifi-country", "DE"), "--wifi-passphrase-file"),
        (("--user", "ada", "--ssh-key", "key.pub", "--out", "no/pi.toml"), "no/pi.toml"),
    ],
)
def test_what_compose_would_refuse_is_refused_here(flags: tuple[str, ...], said: str, tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(KEY + "\n")
    done = fer_edge("flash", "init", "--locale", "en_GB.UTF-8", *flags, cwd=tmp_path)
    assert done.returncode in (2, 6) and done.stderr.count("\n") == 1 and said in done.stderr, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["key.pub"]
