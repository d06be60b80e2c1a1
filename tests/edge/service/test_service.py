"""``fer-edge service`` without systemd as process 1; ``make test-systemd`` covers the rest."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fer_edge.service.install import default_config, unit_text
from fer_edge.service.program import Program
from fer_edge.settings.runtime import load_settings
from support.processes.edge_command import assert_one_line, fer_edge

COMMAND = "/opt/fer-edge/bin/fer-edge"
CONFIG = Path("/etc/fer-edge/config.toml")
UNIT = Path("etc/systemd/system/fer-edge.service")
MODULES = Path("etc/modules-load.d/fer-edge.conf")


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {' '.join(missing)}: apt-get install systemd")


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to create users")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Create a minimal root file system."""
    root = tmp_path / "image"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "group").write_text("root:x:0:\nvideo:x:44:\n")
    (root / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    return root


def service(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return fer_edge("service", *words, cwd=cwd)


def directives(text: str) -> list[tuple[str, str]]:
    """Return the directives of a unit file, in order."""
    found = re.findall(r"^(\w+)=(.*)$", text, flags=re.MULTILINE)
    return [(name, value) for name, value in found]


@needs("systemd-analyze")
@pytest.mark.parametrize("hidden", [(), (Path("/home/pi/env"),)], ids=["opt", "home"])
def test_systemd_accepts_the_unit_and_rates_it_safe(tmp_path: Path, hidden: tuple[Path, ...]) -> None:
    unit = tmp_path / "fer-edge.service"
    # verify checks that the program exists.
    unit.write_text(unit_text(Program(Path("/bin/true"), hidden), CONFIG))
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    # The threshold is in tenths: an exposure of at most 2.0.
    security = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", "--no-pager", unit]
    rated = subprocess.run(security, capture_output=True, text=True, check=False)
    assert rated.returncode == 0, rated.stdout.splitlines()[-1]


def test_the_unit_names_the_program_and_the_settings() -> None:
    text = unit_text(Program(Path(COMMAND)), Path("/srv/cam.toml"))
    assert "@" not in re.sub(r"@system-service|@privileged|@resources|@…@", "", text)
    found = directives(text)
    assert ("ExecStart", f"{COMMAND} run --config /srv/cam.toml") in found
    assert ("ProtectHome", "yes") in found
    for expected in (
        ("Type", "notify"),
        ("StartLimitIntervalSec", "0"),
        ("RestartPreventExitStatus", "2 4"),
        ("LimitCORE", "0"),
        ("MemorySwapMax", "0"),
        ("WatchdogSec", "90"),
    ):
        assert expected in found
    devices = [value for name, value in found if name == "DeviceAllow"]
    # Cameras by number: a name that is not in /proc/devices when the unit starts would stay denied.
    assert devices == ["char-81 rw", "char-media rw", "char-dma_heap rw", "/dev/vcio_gencmd r", "/dev/vcio r"]


def test_the_unit_allows_reading_but_not_setting_the_clock() -> None:
    found = directives(unit_text(Program(Path(COMMAND)), CONFIG))
    filters = [value for name, value in found if name == "SystemCallFilter"]
    assert filters[0] == "@system-service" and "adjtimex clock_adjtime" in filters[1:]
    allowed = {word for value in filters[1:] if not value.startswith("~") for word in value.split()}
    assert not allowed & {"@clock", "clock_settime", "settimeofday", "stime"}
    # It would deny adjtimex regardless of the filter.
    assert "ProtectClock" not in dict(found)
    assert dict(found)["CapabilityBoundingSet"] == ""


def test_the_unit_exposes_only_the_environment_of_a_home() -> None:
    found = directives(unit_text(Program(Path("/home/pi/env/bin/fer-edge"), (Path("/home/pi/env"),)), CONFIG))
    assert ("ProtectHome", "tmpfs") in found
    assert ("BindReadOnlyPaths", "/home/pi/env") in found


def test_the_initial_settings(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(default_config())
    assert fer_edge("run", "--config", config, "--print-config", cwd=tmp_path).returncode == 0
    settings = load_settings(config, environment={})
    assert settings.source.uris == ("0",)  # no picamera2 here
    assert settings.recovery.reconnect
    assert (settings.web.enabled, settings.web.host, settings.web.token_file) == (True, "127.0.0.1", None)
    assert settings.output.events == "/var/lib/fer-edge/events.jsonl"
    assert settings.output.events_max_mib is not None and settings.output.events_max_buffered_s > 0
    # Lines that are commented out are valid, too.
    config.write_text(re.sub(r"^# (\w+ = )", r"\1", default_config(), flags=re.MULTILINE))
    assert load_settings(config, environment={}).mqtt.host == "homeassistant.local"


def test_a_dry_run_prints_each_step_and_changes_nothing(image: Path) -> None:
    before = sorted(image.rglob("*"))
    done = service("install", "--dry-run", "--root", image, "--command", COMMAND, cwd=image)
    assert (done.returncode, done.stderr) == (0, "")
    for step in (
        "write etc/sysusers.d/fer-edge.conf",
        "write etc/fer-edge/config.toml",
        f"write {MODULES}",
        f"write {UNIT}",
    ):
        assert step.replace("write ", f"write {image}/") in done.stdout
    assert f"    ExecStart={COMMAND} run --config {CONFIG}\n" in done.stdout
    assert f"run systemctl --root={image} enable fer-edge.service" in done.stdout
    assert sorted(image.rglob("*")) == before


@needs_root
@needs("systemd-sysusers", "systemctl")
def test_install_and_remove_in_an_image_are_idempotent(image: Path) -> None:
    words = ("install", "--root", image, "--command", COMMAND)
    first = service(*words, cwd=image)
    assert (first.returncode, first.stderr) == (0, "")
    config = image / CONFIG.relative_to("/")
    assert re.search(r"^fer-edge:", (image / "etc/passwd").read_text(), flags=re.MULTILINE)
    (group_id,) = re.findall(r"^fer-edge:\S:(\d+)", (image / "etc/group").read_text(), flags=re.MULTILINE)
    assert (config.stat().st_mode & 0o777, config.stat().st_gid) == (0o640, int(group_id))
    wanted = image / "etc/systemd/system/multi-user.target.wants/fer-edge.service"
    assert wanted.is_symlink()
    lines = (image / MODULES).read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["mc", "videodev"]
    config.write_text('[source]\nuris = ["demo"]\n')
    (image / UNIT).write_text("an older one\n")
    second = service(*words, cwd=image)
    assert (second.returncode, second.stderr) == (0, "")
    assert f"write {image / UNIT}" in second.stdout and str(config) not in second.stdout
    assert config.read_text() == '[source]\nuris = ["demo"]\n'
    assert "write" not in service(*words, cwd=image).stdout
    for _ in range(2):
        gone = service("remove", "--root", image, cwd=image)
        assert (gone.returncode, gone.stderr) == (0, "")
        assert "kept: /etc/fer-edge, /var/lib/fer-edge" in gone.stdout
        assert not (image / UNIT).exists() and not wanted.is_symlink() and config.exists()
        assert not (image / MODULES).exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--command", "/tmp/env/bin/fer-edge"], "temporary files"),
        (["--command", "/home/pi/env/bin/fer-edge"], "/opt/fer-edge"),
        (["--command", "env/bin/fer-edge"], "absolute path"),
        (["--command", "/opt/fer edge/bin/fer-edge"], "absolute path"),
        (["--command", "/opt/50%/fer-edge"], "absolute path"),
        (["--command", COMMAND, "--config", "/home/pi/config.toml"], f"move it to {CONFIG}"),
        (["--command", COMMAND, "--config", "/tmp/config.toml"], "temporary files"),
        (["--command", COMMAND, "--config", "/srv/none.toml"], "no such file"),
        (["--command", COMMAND, "--root", "/no/such/image"], "folder not found"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_unusable_paths_are_refused(image: Path, words: list[str], said: str) -> None:
    assert_one_line(service("install", "--dry-run", "--root", image, *words, cwd=image), 2, said)


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("[source]\nurl = 1\n", 0o644, "unknown key source.url"),
        ("[source\n", 0o644, "not valid TOML"),
        ("[model]\nthreads = 2\n", 0o644, "no source"),
        ('[source]\nuris = ["0"]\n', 0o600, "chmod 640"),
    ],
)
def test_invalid_settings_are_refused_before_anything_is_written(image: Path, text: str, mode: int, said: str) -> None:
    config = image / "srv" / "cam.toml"
    config.parent.mkdir()
    config.write_text(text)
    config.chmod(mode)
    before = sorted(image.rglob("*"))
    words = ("install", "--root", image, "--command", COMMAND, "--config", "/srv/cam.toml")
    assert_one_line(service(*words, cwd=image), 2, "cam.toml", said)
    assert sorted(image.rglob("*")) == before


@pytest.mark.skipif(Path("/run/systemd/system").exists(), reason="systemd runs this machine")
@pytest.mark.parametrize(
    "words", [["install", "--command", COMMAND], ["remove"], ["status"]], ids=lambda words: words[0]
)
def test_without_systemd_the_error_is_one_line(tmp_path: Path, words: list[str]) -> None:
    assert_one_line(service(*words, cwd=tmp_path), 2, "systemd")
