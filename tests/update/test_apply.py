"""``fer-edge update`` against a real server: a version is taken, used, and rolled back."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fer_edge.model.bundle import load_bundle
from fer_edge.system.clock import clock_synced
from fer_edge.update.apply import takes
from fer_edge.update.format import Release
from support.processes.edge_command import assert_one_line, clean_environment, command_line, fer_edge
from support.servers.update_site import Device, Site, running


def test_a_version_is_taken_then_a_newer_one_and_rolled_back(site: Site, device: Device) -> None:
    assert device.run("check").stdout == "1.1.0 is available\n"
    done = device.run("apply")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "1.1.0: downloaded and verified",
        "1.1.0: the self-check passed",
        "1.1.0 is in use, on probation",
    ]
    status = device.status()
    assert (status["version"], status["phase"], status["previous"]) == ("1.1.0", "probation", None)
    assert status["compared"]["new_ms"] > 0
    assert device.run("apply").stdout == "no newer version for this device\n"
    device.store.settle("1.1.0")
    site.publish("1.10.0")
    assert device.run("apply").returncode == 0
    status = device.status()
    assert (status["version"], status["previous"]) == ("1.10.0", "1.1.0")
    done = device.run("rollback")
    assert done.stdout == "1.10.0 is not used any more, nor taken again; in use: 1.1.0\n"
    assert device.run("apply").stdout == "no newer version for this device\n"
    done = device.run("rollback")
    assert "in use: the model of the settings" in done.stdout
    assert_one_line(device.run("rollback"), 1, "nothing to undo")
    text = device.run("status").stdout
    assert re.search(r"^refused: 1\.10\.0: rolled back by", text, flags=re.MULTILINE), text


def test_a_version_on_probation_is_replaced_only_by_now_and_is_not_returned_to(site: Site, device: Device) -> None:
    device.run("apply")
    site.publish("1.2.0")
    assert "waits until 1.1.0 has passed its probation" in device.run("apply").stdout
    assert device.status()["version"] == "1.1.0"
    assert device.run("apply", "--now").returncode == 0
    status = device.status()
    assert (status["version"], status["probation"], status["previous"]) == ("1.2.0", "1.2.0", None)
    device.run("rollback")
    assert device.store.version is None


def test_with_a_shadow_it_waits_for_the_daemon_unless_now(site: Site, device: Device) -> None:
    device.settings["shadow_s"] = 60.0
    assert "1.1.0 waits: fer-edge run compares it for 60 s" in device.run("apply").stdout
    assert device.status()["phase"] == "checked"
    asked = len(site.asked)
    assert "is in use" in device.run("apply", "--now").stdout
    assert not any("bundle" in path for path in site.asked[asked:])  # it was there


def test_a_canary_device_takes_both_channels_and_a_stable_one_only_its_own(site: Site, device: Device) -> None:
    site.publish("1.2.0", "canary")
    assert device.run("check").stdout == "1.1.0 is available\n"
    device.settings["channel"] = "canary"
    assert device.run("check").stdout == "1.2.0 is available\n"


def test_a_share_of_the_devices_takes_a_release(site: Site, device: Device) -> None:
    chosen = {percent: {n for n in range(2000) if takes(f"pi-{n}", _release(percent))} for percent in (10, 50, 100)}
    assert 140 < len(chosen[10]) < 260 and 900 < len(chosen[50]) < 1100 and len(chosen[100]) == 2000
    assert chosen[10] < chosen[50]  # a larger share only adds devices
    percent = next(n for n in range(101) if takes("door", _release(n)))
    site.publish("1.2.0", rollout=percent - 1)
    assert device.run("check").stdout == "1.1.0 is available\n"
    site.publish("1.2.0", rollout=percent)
    assert device.run("check").stdout == "1.2.0 is available\n"


def _release(percent: int) -> Release:
    return Release("1.2.0", "bundle-1.2.0.zip", percent)


def test_the_root_of_trust_is_copied_after_a_check(site: Site, device: Device) -> None:
    device.settings["root"] = str(device.state_folder / "root.json")
    assert_one_line(device.run("apply"), 2, "no root of trust", "fer-edge update trust")
    done = fer_edge("update", "trust", site.root, "--settings", device.config, cwd=device.folder)
    assert done.returncode == 0, done.stderr
    assert device.run("apply").returncode == 0
    for wrong in (site.repo / "metadata" / "timestamp.json", device.config):
        done = fer_edge("update", "trust", wrong, "--settings", device.config, cwd=device.folder)
        assert_one_line(done, 2, "root of trust")
    changed = device.folder / "changed.json"
    changed.write_text(site.root.read_text().replace('"version": 1', '"version": 2'))
    done = fer_edge("update", "trust", changed, "--settings", device.config, cwd=device.folder)
    assert_one_line(done, 2, "not a root of trust")


def test_it_works_without_cryptography(site: Site, device: Device) -> None:
    hidden = "import sys; sys.modules[{!r}] = None; from fer_edge.__main__ import program; program()"
    words = ["update", "apply", "--settings", str(device.config)]
    done = subprocess.run(
        [sys.executable, "-c", hidden.format("cryptography"), *words],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert device.store.version == "1.1.0"


@pytest.mark.parametrize("words", [["update", "apply"], ["run", "demo"]])
def test_without_the_extra_one_line_says_how_to_install_it(device: Device, words: list[str]) -> None:
    hidden = "import sys; sys.modules['tuf'] = None; from fer_edge.__main__ import program; program()"
    done = subprocess.run(
        [sys.executable, "-c", hidden, *words, "--settings", str(device.config)],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert_one_line(done, 2, "tuf is not installed", "pip install")


def test_updates_are_off_unless_a_url_is_named(tmp_path: Path) -> None:
    assert_one_line(fer_edge("update", "status", cwd=tmp_path), 2, "updates are off", "[update] url")
    (tmp_path / "c.toml").write_text('[update]\nurl = "http://host"\ninterval_s = 5\n')
    done = fer_edge("update", "status", "--settings", "c.toml", cwd=tmp_path)
    assert_one_line(done, 2, "interval_s must be 0, or at least 60")


@pytest.mark.skipif(clock_synced() is not False, reason="the clock of this machine is synchronized")
def test_a_clock_that_is_not_synchronized_is_named(site: Site, device: Device) -> None:
    device.settings["trust_clock"] = False
    assert_one_line(device.run("check"), 1, "the clock is not synchronized", "timedatectl")
    assert site.asked == []
    assert "the clock is not synchronized" in device.status()["problem"]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
def test_root_does_not_take_the_folder_away_from_the_service(site: Site, device: Device) -> None:
    device.state_folder.mkdir(parents=True)
    os.chown(device.state_folder, 12345, 12345)
    assert_one_line(device.run("apply"), 2, "belongs to another user", "sudo -u '#12345'")


def test_a_damaged_state_does_not_stop_a_device(site: Site, device: Device) -> None:
    device.run("apply")
    (device.state_folder / "state.json").write_bytes(b"\0" * 300)
    assert "not valid JSON" in device.status()["problem"]
    assert device.status()["version"] == "1.1.0"
    site.publish("1.2.0")
    assert device.run("apply").returncode == 0
    assert device.store.version == "1.2.0"


def test_a_version_whose_folder_is_gone_gives_way_to_the_previous(site: Site, device: Device) -> None:
    device.run("apply")
    device.store.settle("1.1.0")
    site.publish("1.2.0")
    device.run("apply")
    shutil.rmtree(device.store.path("1.2.0"))
    device.store.reconcile()
    assert device.store.version == "1.1.0"
    with load_bundle(device.store.path("1.1.0")) as bundle:
        bundle.variant("int8")


def test_a_model_that_fails_its_self_check_is_refused_for_good(site: Site, device: Device) -> None:
    def other_logits(files: dict[str, bytes]) -> None:
        golden = json.loads(files["golden.json"])
        golden["logits"]["int8"][0][0] += 99.0
        files["golden.json"] = json.dumps(golden).encode()

    site.publish_archive("1.2.0", other_logits)
    assert_one_line(device.run("apply"), 4, "a logit differs by")
    assert device.store.version is None
    refusal = device.status()["refused"]["1.2.0"]
    assert "differs" in refusal["reason"] and refusal["program"] is None
    assert device.run("apply").returncode == 0
    assert device.store.version == "1.1.0"  # the next best


def during_the_self_check(device: Device, number: signal.Signals) -> subprocess.CompletedProcess[str]:
    """Run ``fer-edge update apply`` and send a signal to the process of its self-check."""
    process = subprocess.Popen(
        command_line("update", "apply", "--settings", device.config),
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not (children := running("fer_edge.update.golden", process.pid)):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.002)
    os.kill(children[0], number)
    printed, errors = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, printed, errors)


def test_a_native_crash_in_the_self_check_refuses_the_version_and_no_more(site: Site, device: Device) -> None:
    done = during_the_self_check(device, signal.SIGSEGV)
    assert_one_line(done, 4, f"exit code {-signal.SIGSEGV}")
    assert device.store.version is None
    assert "1.1.0" in device.status()["refused"]


@pytest.mark.slow
def test_a_self_check_that_does_not_end_is_tried_again_later(site: Site, device: Device) -> None:
    done = during_the_self_check(device, signal.SIGSTOP)  # as on a machine that is too busy
    assert_one_line(done, 4, "the self-check did not end within 30 s")
    assert device.store.version is None
    status = device.status()
    assert (status["refused"], status["candidate"], status["phase"]) == ({}, "1.1.0", "verified")
    assert device.run("apply").returncode == 0
    assert device.store.version == "1.1.0"


def test_a_bundle_of_a_newer_format_is_refused_until_the_program_is_newer(site: Site, device: Device) -> None:
    def newer(files: dict[str, bytes]) -> None:
        files["manifest.json"] = json.dumps({**json.loads(files["manifest.json"]), "format": 2}).encode()

    site.publish_archive("1.2.0", newer)
    assert_one_line(device.run("apply"), 4, "format 2")
    assert device.run("check").stdout == "1.1.0 is available\n"
    path = device.state_folder / "state.json"
    state = json.loads(path.read_bytes())
    state["refused"]["1.2.0"]["program"] = "0.0.1"  # an older program refused it
    path.write_text(json.dumps(state))
    assert device.run("check").stdout == "1.2.0 is available\n"


def test_a_list_of_releases_of_a_newer_format_is_refused(site: Site, device: Device) -> None:
    site.repository.publish({"channel-stable.json": b'{"format": 2, "new": []}'}, {}, site.keys)
    assert_one_line(device.run("apply"), 4, "format 2 is newer than 1: update fer-edge")
