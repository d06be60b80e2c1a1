"""The first-boot scripts, run for real: their calls, their files, and the state after a power failure."""

from __future__ import annotations

import configparser
import stat
from pathlib import Path

import pytest

from fer_flash.first_boot.plan import REPORT
from fer_flash.image.stock_system import Style
from support.cards.first_boot_sandbox import (
    SHELLS,
    STATE,
    Sandbox,
    cloud_init_is_through,
    compose,
    everything_on,
    first_boot,
    have_shells,
    set_up,
)
from support.cards.pi_settings import CMDLINE, HASH, PASSPHRASE, pi_config, public_key

pytestmark = pytest.mark.skipif(bool(have_shells(*SHELLS)), reason=f"no {have_shells(*SHELLS)}")


# setup.sh


@pytest.mark.parametrize("shell", SHELLS)
def test_firstrun_sets_all_through_the_systems_own_helpers(tmp_path: Path, shell: str) -> None:
    sandbox = Sandbox(tmp_path, shell)
    config = pi_config(tmp_path, {"system": {"hostname": "door", "timezone": "Europe/Berlin", "keymap": "de"}})
    compose(sandbox, Style.SYSTEMD, config)
    set_up(sandbox, Style.SYSTEMD)
    calls = sandbox.calls()
    for expected in (
        ["imager_custom", "set_hostname", "door"],
        ["imager_custom", "set_keymap", "de"],
        ["imager_custom", "set_timezone", "Europe/Berlin"],
        ["userconf", "ada", HASH],
        ["raspi-config", "nonint", "do_change_locale", "en_GB.UTF-8"],
        ["raspi-config", "nonint", "do_wifi_country", "DE"],
        ["systemctl", "enable", "ssh"],
        ["usermod", "--append", "--groups", "video", "ada"],
    ):
        assert expected in calls, expected
    assert not any(call[-1] == "gpio" or "gpio" in call[1:] for call in calls)  # a group that does not exist
    assert (tmp_path / "calls.stdin").read_text() == f"ada:{HASH}\n"
    assert not any(call[:2] == ["systemctl", "--no-block"] for call in calls)  # a restart follows


@pytest.mark.parametrize("shell", SHELLS)
def test_firstrun_does_without_these_helpers(tmp_path: Path, shell: str) -> None:
    sandbox = Sandbox(tmp_path, shell, with_helpers=False)
    config = pi_config(tmp_path, {"system": {"hostname": "door", "locale": "de_DE.UTF-8", "keymap": "de"}})
    compose(sandbox, Style.SYSTEMD, config)
    set_up(sandbox, Style.SYSTEMD)
    assert (sandbox.root / "etc/hostname").read_text() == "door\n"
    assert (sandbox.root / "etc/hosts").read_text() == "127.0.1.1\tdoor\n"
    assert (sandbox.root / "etc/locale.gen").read_text() == "# en_GB.UTF-8 UTF-8\nde_DE.UTF-8 UTF-8\n"
    assert 'XKBLAYOUT="de"\n' in (sandbox.root / "etc/default/keyboard").read_text()
    assert str((sandbox.root / "etc/localtime").readlink()) == "/usr/share/zoneinfo/Etc/UTC"
    calls = sandbox.calls()
    for expected in (
        ["usermod", "--login", "ada", "pi"],
        ["usermod", "--move-home", "--home", "/home/ada", "ada"],
        ["groupmod", "--new-name", "ada", "pi"],
        ["locale-gen"],
        ["update-locale", "LANG=de_DE.UTF-8"],
    ):
        assert expected in calls, expected


def test_firstrun_leaves_an_ordinary_boot_behind(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    compose(sandbox, Style.SYSTEMD, pi_config(tmp_path))
    set_up(sandbox, Style.SYSTEMD)
    words = (sandbox.boot / "cmdline.txt").read_text().split()
    assert words == [*CMDLINE.decode().split(), "cgroup_enable=memory", "cfg80211.ieee80211_regdom=DE"]
    assert not (sandbox.boot / "firstrun.sh").exists()
    wants = sandbox.root / "etc/systemd/system/multi-user.target.wants/fer-edge-first-boot.service"
    assert wants.is_symlink() and (sandbox.root / str(wants.readlink()).lstrip("/")).is_file()


@pytest.mark.parametrize("style", list(Style))
@pytest.mark.parametrize("shell", SHELLS)
def test_what_every_style_sets(tmp_path: Path, shell: str, style: Style) -> None:
    sandbox = Sandbox(tmp_path, shell)
    radio = sandbox.write("var/lib/NetworkManager/NetworkManager.state", "[main]\nWirelessEnabled=false\n")
    compose(sandbox, style, pi_config(tmp_path))
    set_up(sandbox, style)
    assert radio.read_text() == "[main]\nWirelessEnabled=true\n"
    etc = sandbox.root / "etc"
    assert "RuntimeWatchdogSec=15s" in (etc / "systemd/system.conf.d/90-fer-edge.conf").read_text()
    assert "SystemMaxUse=64M" in (etc / "systemd/journald.conf.d/90-fer-edge.conf").read_text()
    assert (etc / "ssh/sshd_config.d/10-fer-edge.conf").read_text().startswith("PasswordAuthentication no\n")
    assert (etc / "systemd/system/fer-edge-first-boot.service").is_file()
    # Networks that are set up later have no power saving either.
    power = configparser.ConfigParser()
    power.read(etc / "NetworkManager/conf.d/90-fer-edge.conf")
    assert dict(power["connection-fer-edge"]) == {"match-device": "type:wifi", "wifi.powersave": "2"}
    profile = etc / "NetworkManager/system-connections/preconfigured.nmconnection"
    assert "key-mgmt=wpa-psk" in profile.read_text() and "\npowersave=2\n" in profile.read_text()
    assert stat.S_IMODE(profile.stat().st_mode) == 0o600
    if style is Style.CLOUDINIT:  # which creates the account itself
        assert not (tmp_path / "calls.stdin").exists()
    else:
        keys = sandbox.root / "home/ada/.ssh/authorized_keys"
        assert keys.read_text() == public_key() + "\n" and stat.S_IMODE(keys.stat().st_mode) == 0o600
    if style is not Style.SYSTEMD:
        assert sandbox.calls()[-1] == ["systemctl", "--no-block", "start", "fer-edge-first-boot.service"]


@pytest.mark.parametrize("style", [Style.SYSTEMD, Style.PRESEED])
def test_an_account_with_keys_alone_gets_a_password_that_nothing_fits(tmp_path: Path, style: Style) -> None:
    sandbox = Sandbox(tmp_path)
    compose(sandbox, style, pi_config(tmp_path, {"user": {"password_hash": None}}))
    set_up(sandbox, style)
    assert (tmp_path / "calls.stdin").read_text() == "ada:*\n"
    assert (sandbox.root / "etc/sudoers.d/010-fer-edge").read_text() == "ada ALL=(ALL) NOPASSWD: ALL\n"


@pytest.mark.parametrize("style", list(Style))
def test_a_dialog_that_nobody_answers_holds_nothing_up(tmp_path: Path, style: Style) -> None:
    sandbox = Sandbox(tmp_path)
    compose(sandbox, style, pi_config(tmp_path))
    sandbox.write("usr/lib/systemd/system/userconfig.service", "[Service]\n")
    banner = sandbox.write("etc/ssh/sshd_config.d/rename_user.conf", "Banner /usr/share/userconf-pi/sshd_banner\n")
    set_up(sandbox, style)
    expected = ["systemctl", "--no-block", "mask", "--now", "userconfig.service"]
    assert sandbox.calls().count(expected) == 1 and not banner.exists()
    banner.touch()  # like rename-user, which Raspberry Pi's cloud-init calls
    cloud_init_is_through(sandbox)
    first_boot(sandbox)
    assert sandbox.calls().count(expected) == (2 if style is Style.CLOUDINIT else 1)
    assert banner.exists() is not (style is Style.CLOUDINIT)
    # multi-user.target does not wait for the service, nor the service for the target.
    unit = (sandbox.root / "etc/systemd/system/fer-edge-first-boot.service").read_text()
    assert "\nDefaultDependencies=no\n" in unit and "After=multi-user" not in unit


def test_cloud_init_is_allowed_the_locale_that_it_makes(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    compose(sandbox, Style.CLOUDINIT, pi_config(tmp_path, {"system": {"locale": "de_DE.UTF-8"}}))
    set_up(sandbox, Style.CLOUDINIT)
    assert (sandbox.root / "etc/locale.gen").read_text() == "# en_GB.UTF-8 UTF-8\nde_DE.UTF-8 UTF-8\n"


def test_ssh_can_be_off_or_take_passwords(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    compose(sandbox, Style.PRESEED, pi_config(tmp_path, {"ssh": {"enabled": False, "password_login": True}}))
    set_up(sandbox, Style.PRESEED)
    assert ["systemctl", "disable", "ssh"] in sandbox.calls()
    assert "PasswordAuthentication yes\n" in (sandbox.root / "etc/ssh/sshd_config.d/10-fer-edge.conf").read_text()


@pytest.mark.parametrize("shell", SHELLS)
def test_any_comment_of_a_key_survives(tmp_path: Path, shell: str) -> None:
    key = public_key('Zoë\'s "$(touch x)" `touch y` \\ 🎉')
    sandbox = Sandbox(tmp_path, shell)
    compose(sandbox, Style.SYSTEMD, pi_config(tmp_path, {"ssh": {"keys": [key]}}))
    set_up(sandbox, Style.SYSTEMD)
    assert (sandbox.root / "home/ada/.ssh/authorized_keys").read_text(encoding="utf-8") == key + "\n"


def test_a_helper_that_fails_does_not_keep_the_rest_from_being_done(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    compose(sandbox, Style.SYSTEMD, pi_config(tmp_path))
    for path in ("usr/lib/raspberrypi-sys-mods/imager_custom", "usr/lib/userconf-pi/userconf"):
        sandbox.write(path, "#!/bin/sh\nexit 1\n", 0o755)
    ran = sandbox.run(sandbox.boot / "firstrun.sh")
    assert ran.returncode == 0 and "failed, continuing" in ran.stdout
    assert (sandbox.root / "etc/hostname").read_text() == "fer-edge\n"
    assert (sandbox.root / "etc/NetworkManager/system-connections/preconfigured.nmconnection").exists()


# first-boot.sh


@pytest.mark.parametrize("style", list(Style))
@pytest.mark.parametrize("shell", SHELLS)
def test_it_installs_then_scrubs_then_says_so(tmp_path: Path, shell: str, style: Style) -> None:
    sandbox = Sandbox(tmp_path, shell)
    config = pi_config(tmp_path)
    assert config.wifi_key
    compose(sandbox, style, config)
    assert config.wifi_key.encode() in everything_on(sandbox.boot)
    set_up(sandbox, style)
    cloud_init_is_through(sandbox)
    output = first_boot(sandbox)
    assert ["install.sh", "--first-boot", ""] in sandbox.calls() or ["install.sh", "--first-boot"] in sandbox.calls()
    left = everything_on(sandbox.boot)
    for secret in (config.wifi_key, HASH, "hunter22"):
        assert secret.encode() not in left
        assert secret not in output
    report = (sandbox.boot / REPORT).read_text()
    assert "install: done\nscrub: done, overwritten and removed or emptied:" in report
    assert ("user-data" if style is Style.CLOUDINIT else "settings") in report and "mqtt-password" in report
    assert not (sandbox.root / "etc/systemd/system/multi-user.target.wants/fer-edge-first-boot.service").is_symlink()
    assert (sandbox.root / STATE / "done").exists()  # the unit's condition


def test_bytes_of_secrets_are_overwritten_where_they_lay(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    config = pi_config(tmp_path)
    compose(sandbox, Style.PRESEED, config)
    set_up(sandbox, Style.PRESEED)
    # A hard link to the same blocks, to see what remains on the medium.
    (tmp_path / "medium").hardlink_to(sandbox.boot / "fer-edge/first-boot/settings")
    first_boot(sandbox)
    assert set((tmp_path / "medium").read_bytes()) == {0}


def test_cloud_inits_seed_stays_a_seed(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    compose(sandbox, Style.CLOUDINIT, pi_config(tmp_path))
    meta_data = (sandbox.boot / "meta-data").read_bytes()
    size = (sandbox.boot / "user-data").stat().st_size
    (tmp_path / "medium").hardlink_to(sandbox.boot / "user-data")
    set_up(sandbox, Style.CLOUDINIT)
    cloud_init_is_through(sandbox)
    first_boot(sandbox)
    text = (sandbox.boot / "user-data").read_text()
    assert text.startswith("#cloud-config\n") and 'hostname: "fer-edge"' in text and len(text) == size
    assert (tmp_path / "medium").read_text() == text  # in the same blocks
    assert (sandbox.boot / "meta-data").read_bytes() == meta_data
    assert (tmp_path / "calls.stdin").read_text() == f"ada:{HASH}\n"  # of the account by cloud-init


@pytest.mark.parametrize("wired", [False, True])
def test_cloud_init_is_told_no_secret_for_it_keeps_copies(tmp_path: Path, wired: bool) -> None:
    network = {"interface": "eth0" if wired else "wlan0", "address": "10.0.0.2/8"}
    config = pi_config(tmp_path, {"wifi": {"security": "wpa3"}, "network": network})
    sandbox = Sandbox(tmp_path)
    compose(sandbox, Style.CLOUDINIT, config)
    for name in ("user-data", "network-config", "meta-data"):
        for secret in (PASSPHRASE, HASH):
            assert secret not in (sandbox.boot / name).read_text()
    set_up(sandbox, Style.CLOUDINIT)
    # The wired interface is in only one of the two.
    assert ("10.0.0.2" in (sandbox.boot / "network-config").read_text()) == wired
    (profile,) = (sandbox.root / "etc/NetworkManager/system-connections").iterdir()
    assert ("10.0.0.2" in profile.read_text()) != wired and f"psk={PASSPHRASE}" in profile.read_text()


@pytest.mark.parametrize("secret", [False, True])
def test_settings_with_a_password_in_an_address_are_wiped(tmp_path: Path, secret: bool) -> None:
    sandbox = Sandbox(tmp_path)
    compose(sandbox, Style.SYSTEMD, pi_config(tmp_path))
    settings = sandbox.boot / "fer-edge/config.toml"
    settings.write_text("uris = []\n")
    (sandbox.boot / "fer-edge/SHA256SUMS").write_text("" if secret else f"{'0' * 64}  config.toml\n")
    set_up(sandbox, Style.SYSTEMD)
    first_boot(sandbox)
    assert settings.exists() is not secret
