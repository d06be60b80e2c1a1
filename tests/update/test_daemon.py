"""The daemon takes a version on its own, compares it, and returns from one that crashes, hangs or is slow."""

from __future__ import annotations

import json
import os
import re
import signal
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.processes.daemon import Daemon, running_daemon
from support.processes.edge_command import fer_edge
from support.servers.update_site import Device, Site, running

SOURCE = """
[source]
uris = ["demo"]
realtime = true
[output]
events = "events.jsonl"
[web]
enabled = true
port = 0
"""
FAULTS = {
    "crash": "os.kill(os.getpid(), signal.SIGSEGV)",
    "hang": "time.sleep(3600)",
    "slow": "time.sleep(0.2)",
}


@contextmanager
def daemon(device: Device, fault: str = "pass", *, crops: int = 5) -> Iterator[Daemon]:
    """Run the daemon of ``device``; ``fault`` happens in each classification of 1.1.0, but not in its checks."""
    folder = device.folder / "patch"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        textwrap.dedent(f"""
            import os, signal, sys, time
            import fer_edge.update.probation as probation
            from fer_edge.stages.classification import EmotionClassifier
            probation.MIN_CROPS, probation.MAX_CLASSIFY_S = {crops}, 3.0
            load, classify = EmotionClassifier.__init__, EmotionClassifier.classify
            def loaded(self, bundle, *arguments, **options):
                self.version = bundle.manifest.version
                load(self, bundle, *arguments, **options)
            def faulty(self, crop):
                if self.version == "1.1.0":
                    {fault}
                return classify(self, crop)
            EmotionClassifier.__init__, EmotionClassifier.classify = loaded, faulty
        """)
    )
    with running_daemon(
        device.folder, SOURCE + device.config.read_text(), environment={"PYTHONPATH": str(folder)}
    ) as started:
        yield started


def update_of(page: str) -> dict[str, Any]:
    """Return what the status page says of updates."""
    with urllib.request.urlopen(f"{page}api/status") as answer:
        found: dict[str, Any] = json.load(answer)["update"]
        return found


def test_it_takes_a_version_on_its_own_which_proves_itself(site: Site, device: Device) -> None:
    device.settings.update(interval_s=60.0, jitter=0.0, shadow_s=5.0, probation_s=1.0, max_cpu_share=0.5)
    with daemon(device) as running_one:
        running_one.wait_for(lambda: device.store.state().stage == "shadow")
        assert device.store.version is None
        (page,) = re.findall(r"status page at (\S+)", running_one.errors())
        running_one.wait_for(lambda: update_of(page)["agreement"])
        assert update_of(page) == {
            "phase": "shadow", "candidate": "1.1.0", "offered": "1.1.0", "agreement": 1.0, "problem": None,
        }  # fmt: skip
        running_one.wait_for(lambda: device.store.version == "1.1.0")
        compared = device.store.state().compared
        assert compared is not None
        assert compared.crops >= 5 and compared.agreed == compared.crops  # the same weights
        assert compared.old_ms > 0 and compared.new_ms > 0
        running_one.wait_for(lambda: device.store.state().running is not None)
        running_one.wait_for(lambda: device.store.state().phase == "settled")
        assert running_one.count("RELOADING=1") == 1
        events = len(running_one.events())
        running_one.wait_for(lambda: len(running_one.events()) > events)
        assert running_one.stop() == 0
        for step in (
            "downloaded and verified",
            "self-check passed",
            "is compared",
            "is used now",
            "passed its probation",
        ):
            assert running_one.errors().count(step) == 1, running_one.errors()
        assert "Traceback" not in running_one.errors()
    assert not running("fer_edge.update.shadow") and not running("fer_edge.update.poller")


def test_a_candidate_that_crashes_while_it_is_compared_is_refused(site: Site, device: Device) -> None:
    device.settings["shadow_s"] = 600.0
    device.run("apply")
    with daemon(device) as running_one:
        running_one.wait_for(lambda: running("fer_edge.update.shadow", running_one.process.pid))
        os.kill(running("fer_edge.update.shadow", running_one.process.pid)[0], signal.SIGSEGV)
        running_one.wait_for(lambda: device.store.state().refused)
        assert f"exit code {-signal.SIGSEGV}" in device.store.state().refused["1.1.0"].reason
        events = len(running_one.events())
        running_one.wait_for(lambda: len(running_one.events()) > events)
        assert running_one.stop() == 0
    assert device.store.version is None


def test_a_newer_candidate_is_compared_instead(site: Site, device: Device) -> None:
    device.settings["shadow_s"] = 600.0
    device.run("apply")
    with daemon(device) as running_one:
        running_one.wait_for(lambda: device.store.state().stage == "shadow")
        (first,) = running("fer_edge.update.shadow", running_one.process.pid)
        site.publish("1.2.0")
        assert device.run("apply").returncode == 0
        running_one.wait_for(
            lambda: (device.store.state().candidate, device.store.state().stage) == ("1.2.0", "shadow")
        )
        (second,) = running("fer_edge.update.shadow", running_one.process.pid)
        assert second != first
        assert str(device.store.path("1.2.0")).encode() in Path(f"/proc/{second}/cmdline").read_bytes().split(b"\0")
        assert running_one.stop() == 0


def on_probation(device: Device) -> None:
    assert device.run("apply").returncode == 0
    assert device.store.state().probation == "1.1.0"


def test_a_crash_on_probation_returns_the_previous_version(site: Site, device: Device) -> None:
    on_probation(device)
    with daemon(device, FAULTS["crash"]) as first:
        first.wait_for(lambda: first.process.poll() is not None, running=False)
        assert first.process.returncode == -signal.SIGSEGV
    assert device.store.version == "1.1.0"  # nothing was there to change it
    with daemon(device, FAULTS["crash"]) as second:  # as systemd starts it again
        second.wait_for_events(1)
        assert second.stop() == 0
        assert "the program crashed with 1.1.0" in second.errors()
    assert device.store.version is None
    assert device.run("apply").stdout == "no newer version for this device\n"


def test_a_model_that_hangs_on_probation_returns_the_previous_version(site: Site, device: Device) -> None:
    on_probation(device)
    with daemon(device, FAULTS["hang"]) as first:
        first.wait_for(lambda: first.process.poll() is not None, running=False)
        assert first.process.returncode == 5  # which systemd answers with a start
        assert "does not return from a classification" in first.errors()
    assert device.store.version is None
    assert "did not return" in device.store.state().refused["1.1.0"].reason


@pytest.mark.slow
def test_a_slow_model_on_probation_returns_the_previous_version_while_the_daemon_goes_on(
    site: Site, device: Device
) -> None:
    on_probation(device)
    with daemon(device, FAULTS["slow"]) as running_one:
        running_one.wait_for(lambda: device.store.version is None)
        assert "times as long as with the previous version" in device.store.state().refused["1.1.0"].reason
        running_one.wait_for(lambda: running_one.count("RELOADING=1"))
        running_one.wait_for(lambda: running_one.count("READY=1") == 2)
        events = len(running_one.events())
        running_one.wait_for(lambda: len(running_one.events()) > events)
        assert running_one.stop() == 0


def test_a_second_daemon_with_the_same_settings_is_not_taken_for_a_crash(site: Site, device: Device) -> None:
    on_probation(device)
    with daemon(device, crops=10_000) as first:
        first.wait_for(lambda: device.store.state().running is not None)
        done = fer_edge("run", "--settings", device.config, "--duration", "1", "demo", cwd=device.folder)
        assert (done.returncode, "crashed" in done.stderr) == (0, False), done.stderr
        assert device.store.state().running is not None
        assert first.stop() == 0
    assert device.store.state().probation == "1.1.0"


def test_a_power_failure_and_an_orderly_end_say_nothing_of_the_model(site: Site, device: Device) -> None:
    on_probation(device)
    with daemon(device, crops=10_000) as first:
        first.wait_for(lambda: device.store.state().running is not None)
        first.wait_for_events(1)
        assert first.stop() == 0
    assert device.store.state().running is None
    device.store.update(running="another start of the system")
    with daemon(device, crops=10_000) as second:
        second.wait_for_events(1)
        second.stop()
    assert device.store.state().probation == "1.1.0"


@pytest.mark.parametrize("settled", [True, False])
def test_a_version_that_the_disk_has_damaged_gives_way(site: Site, device: Device, settled: bool) -> None:
    on_probation(device)
    if settled:
        device.store.settle("1.1.0")
    path = Path(device.store.path("1.1.0") / "int8.tflite")
    path.write_bytes(path.read_bytes()[:-1])
    with daemon(device) as running_one:
        running_one.wait_for_events(1)
        assert running_one.stop() == 0
        assert "1.1.0 is not used" in running_one.errors()
    assert ("1.1.0" in device.store.state().refused) is not settled
