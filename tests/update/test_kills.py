"""``fer-edge update apply`` killed at random moments: there is always a complete model, in the end the new one.

``make test-update`` kills it 200 times.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fer_edge.model.bundle import load_bundle
from fer_edge.stages.classification import EmotionClassifier
from support.processes.edge_command import clean_environment, command_line
from support.servers.update_site import Device, Site

KILLS = 200 if os.environ.get("UPDATE_LONG") else 15


@pytest.mark.timeout(6 * 3600)
def test_a_kill_at_any_moment_leaves_a_working_model(site: Site, device: Device, tmp_path: Path) -> None:
    took_s = apply(device, None)
    assert device.store.version == "1.1.0"
    device.store.settle()
    site.publish("1.2.0")
    before = shutil.copytree(device.state_folder, tmp_path / "before", symlinks=True)
    chance = random.Random(25)
    kills, updated, seen = 0, 0, set()
    while kills < KILLS:
        if apply(device, chance.uniform(0, 1.1 * took_s)) is None:
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


def apply(device: Device, kill_after_s: float | None) -> float | None:
    """Run the command; return how long it took, or None if it was killed before it ended."""
    began = time.monotonic()
    process = subprocess.Popen(
        command_line("update", "apply", "--settings", device.config),
        env=clean_environment(),
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
    assert process.returncode == 0, errors
    return time.monotonic() - began


def check_model(folder: Path) -> None:
    """Fail unless every file of the bundle is complete, and the model runs."""
    with load_bundle(folder) as bundle:
        for name in bundle.manifest.variants:
            bundle.variant(name)
        EmotionClassifier(bundle, "int8").close()
