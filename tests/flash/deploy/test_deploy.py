"""``fer-edge deploy`` and ``install.sh`` over a real sshd, on a device in a mount namespace."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fer_flash.payload.payload_file import PayloadFile
from support.devices.device import MakePayload, why_no_device
from support.devices.target import CONFIG, HOME, SETTINGS, Target
from support.processes.edge_command import assert_one_line, clean_environment, command_line, fer_edge
from support.processes.waiting import wait_for
from support.servers.sshd import needs_sshd

pytestmark = [needs_sshd, pytest.mark.skipif(bool(why_no_device()), reason=str(why_no_device()))]


def test_a_device_gets_all_of_it(installed: Target) -> None:
    made = installed.device
    assert installed.state == "active"
    unit = made.path("/etc/systemd/system/fer-edge.service").read_text()
    assert f"ExecStart={HOME}/current/bin/fer-edge run --config {CONFIG}\n" in unit
    assert re.fullmatch(r"releases/\d+\.\d+\.\d+-[0-9a-f]{12}", installed.current)
    owners = {
        name: made.run("stat", "-c", "%U:%G %a", f"/etc/fer-edge/{name}").stdout.strip()
        for name in ("config.toml", "web-token", "key.pem")
    }
    assert owners == {
        "config.toml": "root:fer-edge 640",
        "web-token": "root:root 600",
        "key.pem": "fer-edge:fer-edge 600",
    }
    drop_in = made.path("/etc/systemd/system/fer-edge.service.d/10-credentials.conf").read_text()
    assert "LoadCredential=web-token:/etc/fer-edge/web-token" in drop_in
    # Secrets do not remain in the folder to which they were copied.
    staged = made.run("find", installed.staging, "-type", "f").stdout
    assert "install.sh" in staged and "web-token" not in staged and "key.pem" not in staged


@pytest.mark.slow
def test_another_run_sends_nothing_and_changes_nothing(installed: Target) -> None:
    before = (installed.current, len(installed.device.asked_of_systemctl()))
    shown = installed.deploy("--dry-run")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert len(installed.device.asked_of_systemctl()) == before[1]
    done = installed.deploy()
    assert (done.returncode, done.stderr) == (0, "")
    for told in (shown.stdout, done.stdout):
        assert "to send: 2 files, 0.0 of" in told  # without the secrets, which are not kept there
    assert "writing" not in done.stdout and "switching" not in done.stdout
    assert installed.current == before[0]
    asked = installed.device.asked_of_systemctl()[before[1] :]
    assert not [line for line in asked if line.startswith(("stop", "restart"))]


@pytest.mark.slow
def test_what_was_deployed_measures_for_this_machine(installed: Target, tiny_bundle: Path, tmp_path: Path) -> None:
    # Root can read the packages of the tests, which are the device's system packages.
    config = tmp_path / "ssh_config"
    config.write_text(installed.sshd.config.read_text().replace(f"User {installed.sshd.user}", "User root"))
    words = ["--on", "device", "--ssh-config", config, "--bundle", tiny_bundle, "--json", tmp_path / "out.json"]
    quick = ["--rounds", 1, "--runs", 2, "--engines", "litert", "--threads", 1]
    done = fer_edge("bench", "latency", *words, *quick, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert [row["variant"] for row in found["latency"]] == ["float32", "int8"]


@pytest.mark.slow
def test_settings_that_were_changed_there_are_kept_unless_asked_otherwise(
    installed: Target, make_payload: MakePayload, default_model: list[PayloadFile]
) -> None:
    there = installed.device.path(CONFIG)
    first = installed.settings
    there.write_text(first + "# mine\n")
    other = make_payload(SETTINGS + "[detector]\nmin_face_px = 70\n", *default_model)
    done = installed.deploy(payload=other)
    assert (done.returncode, done.stderr) == (0, "")
    assert "kept" in done.stdout and installed.settings == first + "# mine\n"
    assert "min_face_px = 70" in there.with_name("config.toml.new").read_text()
    done = installed.deploy("--replace-config", payload=other)
    assert (done.returncode, done.stderr) == (0, "")
    assert "min_face_px = 70" in installed.settings
    assert there.with_name("config.toml.old").read_text() == first + "# mine\n"
    assert not there.with_name("config.toml.new").exists()


@pytest.mark.slow
def test_a_release_whose_model_is_damaged_is_rolled_back(
    installed: Target, make_payload: MakePayload, default_model: list[PayloadFile]
) -> None:
    before = (installed.current, installed.settings)
    broken = [file if file.path.endswith(".json") else replace(file, data=b"no model") for file in default_model]
    done = installed.deploy(payload=make_payload(SETTINGS + "[detector]\nmin_face_px = 80\n", *broken))
    assert_one_line(done, 1, "device: doctor: model: ", "int8.tflite")
    assert (installed.current, installed.settings) == before
    assert installed.state == "active"
    assert releases(installed) == {before[0]}, "what failed is gone"


@pytest.mark.slow
def test_the_release_before_is_kept_and_older_ones_go(
    installed: Target, make_payload: MakePayload, default_model: list[PayloadFile]
) -> None:
    before = installed.current
    installed.device.path(f"{HOME}/releases/0.0.1-older").mkdir()
    (weights,) = (file for file in default_model if file.path.endswith(".tflite"))
    (manifest,) = (file for file in default_model if file.path.endswith(".json"))
    renamed = replace(manifest, data=manifest.read().replace(b'"name": "', b'"name": "another-', 1))
    done = installed.deploy(payload=make_payload(SETTINGS, weights, renamed))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"release: {Path(before).name} -> " in done.stdout and "another-" in done.stdout
    assert installed.current != before
    assert str(installed.device.path(f"{HOME}/previous").readlink()) == before
    assert releases(installed) == {before, installed.current}


@pytest.mark.slow
def test_settings_with_which_the_service_does_not_start_go_back(
    installed: Target, make_payload: MakePayload, default_model: list[PayloadFile]
) -> None:
    before = (installed.current, installed.settings)
    refuse = installed.device.path("/run/refuse-start")
    refuse.touch()
    done = installed.deploy(payload=make_payload(SETTINGS + "[detector]\nmin_face_px = 90\n", *default_model))
    refuse.unlink()
    assert_one_line(done, 1, "device: ", "fer-edge.service", "failed to start")
    assert (installed.current, installed.settings) == before
    assert "rolling back to " + before[0] in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("how", "code"), [("cut", 6), ("ctrl-c", 130)])
def test_a_device_that_is_left_alone_goes_on_to_the_end(
    installed: Target, make_payload: MakePayload, default_model: list[PayloadFile], how: str, code: int
) -> None:
    settings = f"{SETTINGS}[detector]\nmin_face_px = {100 + code}\n"
    secret = PayloadFile("secrets/web-token", b"fedcba9876543210\n", secret=True)
    credentials = PayloadFile("credentials.conf", (installed.payload / "credentials.conf").read_bytes())
    payload = make_payload(settings, *default_model, credentials, secret)
    slow = installed.device.path("/run/slow-start")
    slow.touch()
    command = command_line(*installed.words(payload=payload))
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
        text=True,
        start_new_session=True,
        cwd=installed.folder,
    ) as running:
        assert running.stdout is not None and running.stderr is not None
        for line in running.stdout:
            if "the service" in line:
                break
        if how == "cut":
            connections = _children(f"sshd: {installed.sshd.user}@notty")
            assert connections
            for process in connections:
                os.kill(process, signal.SIGKILL)
        else:
            os.killpg(running.pid, signal.SIGINT)
        said = running.stderr.read()
        assert running.wait() == code, said
        assert ("the connection was cut" if how == "cut" else "continues there") in said.splitlines()[0], said
    slow.unlink()
    proven = installed.device.path(f"{HOME}/shipped/proven/config.toml")
    wait_for(lambda: proven.read_text() == settings)
    assert installed.settings == settings
    assert installed.device.path("/etc/fer-edge/web-token").read_text() == "fedcba9876543210\n"
    wait_for(lambda: not installed.device.path(f"{installed.staging}/secrets").exists())


@pytest.mark.slow
def test_an_installation_that_was_killed_is_finished_by_the_next(
    installed: Target, make_payload: MakePayload, default_model: list[PayloadFile]
) -> None:
    payload = make_payload(SETTINGS + "[detector]\nmin_face_px = 110\n", *default_model)
    slow = installed.device.path("/run/slow-start")
    slow.touch()
    command = installed.device.command("sh", payload / "install.sh")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        for line in running.stdout or ():
            if "the service" in line:
                break
        running.kill()
    slow.unlink()
    # Its child processes continue and hold the lock.
    wait_for(lambda: not installed.device.run("flock", "-n", f"{HOME}/.lock", "true").returncode)
    refuse = installed.device.path("/run/refuse-start")
    refuse.touch()
    failed = installed.install(payload)
    refuse.unlink()
    assert failed.returncode == 1 and "failed to start" in failed.stderr
    assert "min_face_px = 110" not in installed.settings, "it goes back to what was before the one that was killed"
    assert installed.install(payload).returncode == 0
    assert "min_face_px = 110" in installed.settings and installed.state == "active"


def releases(target: Target) -> set[str]:
    return {f"releases/{path.name}" for path in target.device.path(f"{HOME}/releases").iterdir()}


def _children(name: str) -> list[int]:
    """Return the processes of this machine whose command line is ``name``."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if (folder / "cmdline").read_bytes().rstrip(b"\0").decode() == name:
                found.append(int(folder.name))
    return found
