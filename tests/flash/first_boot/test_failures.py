"""First boots with faults: failing installs, power failures, a cloud-init that hangs."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_flash.first_boot.plan import REPORT
from fer_flash.image.stock_system import Style
from support.cards.first_boot_sandbox import (
    SETUP,
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
from support.cards.pi_settings import HASH, pi_config

pytestmark = pytest.mark.skipif(bool(have_shells(*SHELLS)), reason=f"no {have_shells(*SHELLS)}")

WANTS = "etc/systemd/system/multi-user.target.wants/fer-edge-first-boot.service"
POWER_FAILS = '#!/bin/sh\necho once >>"$CALLS.installs"\nkill -s KILL -- "-$GROUP"\n'


def test_a_cloud_init_that_never_ends_does_not_keep_the_secrets(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    compose(sandbox, Style.CLOUDINIT, pi_config(tmp_path))
    set_up(sandbox, Style.CLOUDINIT)
    output = first_boot(sandbox)
    assert "cloud-init did not finish within 2 s" in output
    assert HASH.encode() not in everything_on(sandbox.boot)


@pytest.mark.parametrize("style", list(Style))
def test_secrets_go_when_the_install_fails_too(tmp_path: Path, style: Style) -> None:
    sandbox = Sandbox(tmp_path)
    config = pi_config(tmp_path)
    compose(sandbox, style, config, "#!/bin/sh\necho no camera >&2\nexit 1\n")
    set_up(sandbox, style)
    cloud_init_is_through(sandbox)
    script = sandbox.root / STATE / "first-boot.sh"
    wants = sandbox.root / "etc/systemd/system/multi-user.target.wants/fer-edge-first-boot.service"
    for attempt in (1, 2, 3):
        assert wants.is_symlink()
        ran = sandbox.run(script)
        assert ran.returncode == 1 and f"attempt {attempt} of 3" in ran.stdout, ran.stdout
        left = everything_on(sandbox.boot)
        assert config.wifi_key and config.wifi_key.encode() not in left and HASH.encode() not in left
        report = (sandbox.boot / REPORT).read_text()
        assert "install: FAILED" in report and "\nno camera\n" in report
    assert not wants.is_symlink()  # after three boots it gives up


def test_another_attempt_finds_the_payloads_secrets(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    compose(sandbox, Style.SYSTEMD, pi_config(tmp_path), "#!/bin/sh\nexit 1\n")
    secret = sandbox.boot / "fer-edge/secrets/mqtt-password"
    set_up(sandbox, Style.SYSTEMD)
    for attempts_left in (2, 1, 0):
        assert secret.exists()
        assert sandbox.run(sandbox.root / STATE / "first-boot.sh").returncode == 1
        expected = "the payload's secrets are kept" if attempts_left else "done"
        assert f"scrub: {expected}" in (sandbox.boot / REPORT).read_text()
    assert not secret.exists()


@pytest.mark.slow
def test_a_loss_of_power_in_firstrun_is_made_good_at_the_next_boot(tmp_path: Path) -> None:
    """The power fails at the n-th sync to the medium."""
    config = pi_config(tmp_path)
    for cut in range(1, 60):
        sandbox = Sandbox(tmp_path / str(cut))
        compose(sandbox, Style.SYSTEMD, config)
        script = sandbox.boot / "firstrun.sh"
        if sandbox.run(script, cut=cut).returncode != -9:
            break
        if script.exists():  # then cmdline.txt still names it, and it may have been interrupted
            assert sandbox.run(script).returncode == 0
        assert "systemd.run" not in (sandbox.boot / "cmdline.txt").read_text()
        assert sandbox.run(sandbox.root / STATE / "first-boot.sh").returncode == 0
        assert "install: done\nscrub: done" in (sandbox.boot / REPORT).read_text()
        assert (sandbox.root / "home/ada/.ssh/authorized_keys").exists()
    assert cut > 7


@pytest.mark.slow
@pytest.mark.parametrize("style", [Style.CLOUDINIT, Style.PRESEED])
def test_a_loss_of_power_later_is_made_good_at_the_next_boot(tmp_path: Path, style: Style) -> None:
    config = pi_config(tmp_path)
    assert config.wifi_key
    for cut in range(1, 60):
        sandbox = Sandbox(tmp_path / str(cut))
        compose(sandbox, style, config)
        set_up(sandbox, style)
        cloud_init_is_through(sandbox)
        service = sandbox.root / STATE / "first-boot.sh"
        if sandbox.run(service, cut=cut).returncode != -9:
            break
        if style is Style.CLOUDINIT:  # the seed exists at every moment
            assert (sandbox.boot / "user-data").read_text().startswith("#cloud-config\n")
        assert sandbox.run(service).returncode == 0
        left = everything_on(sandbox.boot)
        for secret in (config.wifi_key, HASH, "hunter22"):
            assert secret.encode() not in left, (cut, secret)
        assert "install: done\nscrub: done" in (sandbox.boot / REPORT).read_text(), cut
    assert cut > 7


def test_cloud_inits_modules_are_done_again_where_a_boot_did_not_come_to_its_end(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    compose(sandbox, Style.CLOUDINIT, pi_config(tmp_path))
    done = sandbox.write("var/lib/cloud/instance/sem/config_users_groups", "")
    locale = sandbox.write("etc/default/locale", "LANG=de_DE.UTF-8\n")
    set_up(sandbox, Style.CLOUDINIT)
    assert done.exists() and locale.read_text()
    set_up(sandbox, Style.CLOUDINIT)
    assert not done.exists()
    assert locale.read_text() == ""  # otherwise it generates no locale


def test_a_list_of_locales_that_is_empty_after_a_power_failure_gets_its_line(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    compose(sandbox, Style.CLOUDINIT, pi_config(tmp_path, {"system": {"locale": "de_DE.UTF-8"}}))
    sandbox.write("usr/share/i18n/SUPPORTED", "de_DE.UTF-8 UTF-8\nde_DE ISO-8859-1\n")
    listed = sandbox.write("etc/locale.gen", "")
    for _ in range(2):
        set_up(sandbox, Style.CLOUDINIT)
        assert listed.read_text() == "de_DE.UTF-8 UTF-8\n"


def test_what_the_early_phase_of_preseed_did_not_come_to_is_done_by_the_service(tmp_path: Path) -> None:
    """rpi-preseed limits a command to some seconds, and does not start it again."""
    sandbox = Sandbox(tmp_path)
    compose(sandbox, Style.PRESEED, pi_config(tmp_path))
    assert sandbox.run(sandbox.boot / SETUP, Style.PRESEED, cut=4).returncode == -9
    keys = sandbox.root / "home/ada/.ssh/authorized_keys"
    assert not keys.exists()
    first_boot(sandbox)
    assert keys.exists() and (sandbox.root / "etc/systemd/journald.conf.d/90-fer-edge.conf").exists()


@pytest.mark.parametrize("style", list(Style))
def test_secrets_go_and_it_ends_where_each_install_loses_its_power(tmp_path: Path, style: Style) -> None:
    sandbox = Sandbox(tmp_path)
    config = pi_config(tmp_path)
    compose(sandbox, style, config, POWER_FAILS)
    set_up(sandbox, style)
    cloud_init_is_through(sandbox)
    script = sandbox.root / STATE / "first-boot.sh"
    for _ in range(3):
        assert sandbox.run(script).returncode == -9
        left = everything_on(sandbox.boot)
        assert config.wifi_key and config.wifi_key.encode() not in left and HASH.encode() not in left
        assert b"hunter22" in left  # part of the payload: the next attempt needs it
    assert sandbox.run(script).returncode == 1
    assert (tmp_path / "calls.installs").read_text() == "once\n" * 3
    assert b"hunter22" not in everything_on(sandbox.boot) and not (sandbox.root / WANTS).is_symlink()
    report = (sandbox.boot / REPORT).read_text()
    assert "install: FAILED, attempt 3 of 3" in report and "scrub: done" in report and "/mqtt-password" in report
