"""``fer-edge bench accuracy|latency --on`` over a real sshd, on a device that has fer_edge alone."""

from __future__ import annotations

import json
import os
import platform
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_bench.remote.measure import RemoteRunner, send_variants, working_variants
from fer_bench.results import load_report
from fer_bench.runners import BundleRunner
from fer_edge.model.bundle import load_bundle
from support.data.fer2013 import write_mini_fer2013
from support.devices.device import why_no_device
from support.devices.measuring import Measuring
from support.models.bundles import add_onnx_variant, copy_bundle
from support.processes.edge_command import assert_one_line, fer_edge
from support.processes.waiting import wait_for
from support.servers.sshd import needs_sshd

pytestmark = [needs_sshd, pytest.mark.skipif(bool(why_no_device()), reason=str(why_no_device()))]
SHORT = ("--rounds", 2, "--runs", 3, "--engines", "litert", "--threads", 1)
LONG = ("--rounds", 1, "--runs", 10**9, "--engines", "litert", "--threads", 1)


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mini_fer2013(tmp_path_factory.mktemp("data") / "fer2013.csv", test_per_class=10)


def report(path: Path) -> dict[str, Any]:
    load_report(path)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.slow
def test_the_accuracy_is_that_of_a_local_run_and_the_images_travel_once(
    there: Measuring, tiny_bundle: Path, mini: Path, tmp_path: Path
) -> None:
    words = ("--bundle", tiny_bundle, "--data", mini, "--json")
    local = fer_edge("bench", "accuracy", *words, tmp_path / "local.json", cwd=tmp_path)
    first = there.bench("accuracy", *words, tmp_path / "first.json")
    assert first.returncode == 0, first.stderr
    assert "fer-edge: device: sent 3 of 3 files, " in first.stderr  # the manifest and two variants
    assert "fer-edge: device: sent 1 of 1 files, 0.2 MB" in first.stderr  # 70 images, for both variants
    wanted, found = report(tmp_path / "local.json"), report(tmp_path / "first.json")
    # The device's Python is another one, so its numbers are not from this machine's.
    assert found.pop("host")["python"] == there.device.run("python3", "--version").stdout.split()[1]
    assert wanted.pop("host")["python"] == platform.python_version()
    assert found == wanted
    texts = [[line for line in done.stdout.splitlines() if ", Python " not in line] for done in (local, first)]
    assert texts[0] == texts[1] and "top-1 %" in "".join(texts[0])
    again = there.bench("accuracy", *words, tmp_path / "again.json")
    assert again.stderr.count("sent 0 of") == 2 and "0.0 MB" in again.stderr
    assert report(tmp_path / "again.json")["results"] == wanted["results"]
    there.wait_until_idle()


def test_logits_are_those_of_this_machine_bit_for_bit(there: Measuring, tiny_bundle: Path) -> None:
    # Another size than the model's, and more images than one answer has.
    images = np.random.default_rng(5).integers(0, 256, (70, 60, 52), np.uint8)
    with load_bundle(tiny_bundle) as bundle, there.connect() as device:
        assert working_variants(device, bundle) == ("float32", "int8")
        for variant in ("float32", "int8"):
            with BundleRunner(bundle, variant) as here, RemoteRunner(device, bundle, variant) as remote:
                wanted = here.logits(images)
                assert wanted.shape == (70, 7)
                assert remote.logits(images).tobytes() == wanted.tobytes()
                assert (remote.name, remote.labels, remote.temperature) == (here.name, here.labels, here.temperature)


def test_a_damaged_file_of_the_cache_is_sent_again(
    there: Measuring, tiny_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with load_bundle(tiny_bundle) as bundle:
        with there.connect() as device:
            send_variants(device, bundle)
        (model,) = there.cache.glob("*/int8.tflite")
        data = model.read_bytes()
        model.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        capfd.readouterr()
        with there.connect() as device:
            send_variants(device, bundle)
    assert "sent 1 of 3 files" in capfd.readouterr().err
    assert model.read_bytes() == data
    assert model.stat().st_mode & 0o777 == 0o600


def test_latency_is_measured_there(there: Measuring, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = add_onnx_variant(copy_bundle(tiny_bundle, tmp_path / "bundle"))
    vcgencmd = there.device.path("/usr/local/bin/vcgencmd")
    vcgencmd.write_text("#!/bin/sh\necho throttled=0x50005\n")
    vcgencmd.chmod(0o755)
    try:
        done = there.bench("latency", "--bundle", bundle, *SHORT, "--json", tmp_path / "out.json")
    finally:
        vcgencmd.unlink()
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert said[0] == "fer-edge: onnx_float32 is left out: a device runs only .tflite files"
    assert said[2].startswith("fer-edge: device: slowed down now (under-voltage, throttled)")
    assert len(said) == 3, said
    found = report(tmp_path / "out.json")
    assert found["host"]["python"] == there.device.run("python3", "--version").stdout.split()[1]
    assert [(row["variant"], row["engine"], row["threads"]) for row in found["latency"]] == [
        ("float32", "litert", 1),
        ("int8", "litert", 1),
    ]
    for row in found["latency"]:
        assert row["runs"] == 6
        assert 0 < row["p50_ms"] <= row["max_ms"]
        assert 3 < row["rss_before_mib"] < row["rss_loaded_mib"] < 200
        assert row["throttled_rounds"] == 2
        assert row["runtime"].startswith("ai-edge-litert ")
    assert found["machine"]["before"]["throttled"]["now"] == ["under-voltage", "throttled"]
    assert "rounds in which the machine was slowed down" in done.stdout
    there.wait_until_idle()


@pytest.mark.parametrize(("how", "code"), [("cut", 6), ("ctrl-c", 130)])
def test_nothing_stays_there_after_an_end_in_the_middle(
    there: Measuring, tiny_bundle: Path, tmp_path: Path, how: str, code: int
) -> None:
    out = tmp_path / "out.json"
    with there.start("latency", "--bundle", tiny_bundle, *LONG, "--json", out) as running:
        wait_for(lambda: len(there.processes("measure/worker.py")) == 2)
        if how == "cut":
            there.cut()
        else:
            os.killpg(running.pid, signal.SIGINT)
        _, said = running.communicate()
    assert running.returncode == code, said
    last = said.splitlines()[-1]
    assert ("device: the connection was cut; run this again" if how == "cut" else "interrupted") in last, said
    assert said.count("\n") == 2, said  # and what was sent
    assert not out.exists()
    there.wait_until_idle()
    again = there.bench("latency", "--bundle", tiny_bundle, *SHORT)
    assert again.returncode == 0, again.stderr


@pytest.mark.slow
def test_a_worker_that_takes_too_long_is_one_line(there: Measuring, tiny_bundle: Path) -> None:
    done = there.bench("latency", "--bundle", tiny_bundle, *LONG, "--timeout", 5)
    assert done.returncode == 4
    assert done.stderr.splitlines()[1:] == [
        f"fer-edge: device: {name} on litert, 1 thread: its process did not answer within 5 s (--timeout)"
        for name in ("float32", "int8")
        if name in done.stderr.splitlines()[-1]
    ]
    there.wait_until_idle()


@pytest.mark.slow
def test_one_measurement_at_a_time(there: Measuring, tiny_bundle: Path) -> None:
    with there.connect():
        done = there.bench("latency", "--bundle", tiny_bundle, *SHORT)
    assert_one_line(done, 2, "device: another measurement is running there")
