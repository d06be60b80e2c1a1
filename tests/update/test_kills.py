"""``fer-edge update apply`` killed at random moments: there is always a complete model, in the end the new one.

``make test-update`` kills it 200 times, and before each of its file operations.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from fer_edge.model.bundle import load_bundle
from fer_edge.stages.classification import EmotionClassifier
from support.processes.edge_command import clean_environment, command_line
from support.servers.update_site import Device, Site

LONG = bool(os.environ.get("UPDATE_LONG"))
KILLS = 200 if LONG else 15


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_a_kill_at_any_moment_leaves_a_working_model(site: Site, device: Device, tmp_path: Path) -> None:
    apply(device, None)
    assert device.store.version == "1.1.0"
    device.store.settle("1.1.0")
    site.publish("1.2.0")
    before = shutil.copytree(device.state_folder, tmp_path / "before", symlinks=True)
    took_s = apply(device, None)
    assert took_s is not None
    shutil.rmtree(device.state_folder)
    shutil.copytree(before, device.state_folder, symlinks=True)
    chance = random.Random(25)
    kills, updated, seen = 0, 0, set()
    while kills < KILLS:
        if apply(device, chance.uniform(0, took_s)) is None:
            kills += 1
        version = device.store.version
        assert version in ("1.1.0", "1.2.0")
        check_model(device.store.path(version))
        state = device.store.state()
        assert (state.refused, state.problem) == ({}, None), state
        seen.add((version, state.candidate, state.stage, state.probation))
        if version == "1.2.0":  # the next kills begin with the older version again
            updated += 1
            reconciled = device.store.reconcile()
            assert (reconciled.probation, reconciled.previous) == ("1.2.0", "1.1.0")
            shutil.rmtree(device.state_folder)
            shutil.copytree(before, device.state_folder, symlinks=True)
    sys.stdout.write(f"{kills} kills, {updated} updates completed, states seen: {sorted(map(str, seen))}\n")
    apply(device, None)
    assert device.store.version == "1.2.0"
    assert sorted(path.name for path in device.store.path("1.2.0").parent.iterdir()) == ["1.1.0", "1.2.0"]
    apply(device, None)  # it also clears up
    assert list(device.store.incoming.iterdir()) == []


HOOK = """
import os, signal, sys
folder, kill_at = os.environ["WATCHED"], int(os.environ["AT"])
log = os.open(os.environ["LOG"], os.O_WRONLY | os.O_APPEND)
count = 0
def hook(event, arguments):
    global count
    if event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.chmod"):
        return
    if event == "open" and not int(arguments[2]) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return
    paths = [os.fsdecode(path) for path in arguments[:2] if isinstance(path, (str, bytes, os.PathLike))]
    if any(path.startswith(folder) for path in paths):
        count += 1
        os.write(log, (event + " " + paths[-1][len(folder):] + chr(10)).encode())
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
"""


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_a_kill_before_each_file_operation_leaves_a_working_model(site: Site, device: Device, tmp_path: Path) -> None:
    apply(device, None)
    device.store.settle("1.1.0")
    site.publish("1.2.0")
    before = shutil.copytree(device.state_folder, tmp_path / "before", symlinks=True)
    patch, log = tmp_path / "patch", tmp_path / "log"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(HOOK)
    log.touch()
    watched = {"PYTHONPATH": str(patch), "WATCHED": str(device.state_folder), "LOG": str(log), "AT": "0"}
    apply(device, None, watched)
    operations = log.read_text().splitlines()
    switch = operations.index("os.rename /current") + 1
    # The short version: around the switch, and some of the rest.
    chosen = range(1, len(operations) + 1) if LONG else [*range(6, switch, switch // 4), *range(switch - 1, switch + 3)]
    for number in chosen:
        shutil.rmtree(device.state_folder)
        shutil.copytree(before, device.state_folder, symlinks=True)
        assert apply(device, None, {**watched, "AT": str(number)}) is None, operations[number - 1]
        version = device.store.version
        assert version == ("1.2.0" if number > switch else "1.1.0"), operations[number - 1]
        check_model(device.store.path(version))
        assert apply(device, None) is not None
        state = device.store.state()
        assert (device.store.version, state.probation, state.previous) == ("1.2.0", "1.2.0", "1.1.0"), operations[
            number - 1
        ]
        check_model(device.store.path("1.2.0"))
    sys.stdout.write(f"killed before {len(chosen)} of {len(operations)} operations; the switch is number {switch}\n")


def apply(device: Device, kill_after_s: float | None, environment: Mapping[str, str] | None = None) -> float | None:
    """Run the command; return how long it took, or None if it was killed before it ended."""
    began = time.monotonic()
    process = subprocess.Popen(
        command_line("update", "apply", "--settings", device.config),
        env={**clean_environment(), **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, errors = process.communicate(timeout=kill_after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None
    if environment and process.returncode == -signal.SIGKILL:
        return None
    assert process.returncode == 0, errors
    return time.monotonic() - began


def check_model(folder: Path) -> None:
    """Fail unless every file of the bundle is complete, and the model runs."""
    with load_bundle(folder) as bundle:
        for name in bundle.manifest.variants:
            bundle.variant(name)
        EmotionClassifier(bundle, "int8").close()
