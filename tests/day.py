"""A day of the whole daemon in minutes: ``make day`` (``ARGS='--hours 2'`` for less).

The real process gets a picture for every four seconds of the day, without waiting. Its events go to a rotated file and
a real broker, which is killed and restarted in between, while the status page is read. At the end, nothing may have
grown, and the broker must have delivered the day's events completely and in order.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import cv2

from fer_edge.sources.demo.source import SCENE_S, DemoScene
from support.processes.edge_command import clean_environment, command_line
from support.servers.mosquitto import Broker, Listener, running

MOST_FILES, MOST_MIB = 3, 0.25
GROWTH_MIB = 8.0
OUTAGE_S = 15.0
CONFIG = """
[source]
uris = ["pictures"]
fps = 0.25
[output]
events = "events.jsonl"
events_max_mib = {size}
events_max_rotated = {keep}
[emotion]
heartbeat_s = 60.0
[mqtt]
host = "127.0.0.1"
port = {port}
device = "day"
[web]
enabled = true
port = 0
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """The process after ``frames``: MiB resident, threads, open files."""

    frames: int
    rss_mib: float
    threads: int
    files: int


def sample(pid: int, url: str) -> Sample:
    """Return the resources of the process; the page must answer and report no problem."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    with urllib.request.urlopen(f"{url}api/status", timeout=30) as answer:
        frames = sum(source["frames"] for source in json.load(answer)["sources"])
    with urllib.request.urlopen(f"{url}metrics", timeout=30) as answer:
        assert b"fer_edge_frames_total" in answer.read()
    return Sample(frames, int(status["VmRSS"].split()[0]) / 1024, int(status["Threads"]), files)


def address(errors: Path, process: subprocess.Popen[bytes]) -> str:
    """Return the address of the page once it answers."""
    while True:
        found = [line.split()[-1] for line in errors.read_text().splitlines() if "status page at" in line]
        if found:
            return found[0]
        assert process.poll() is None, errors.read_text()
        time.sleep(0.05)


def pictures(folder: Path, count: int) -> None:
    """Return a folder of ``count`` pictures, four seconds apart: one round of the scene, repeated."""
    (folder / "pictures").mkdir()
    scene = DemoScene()
    for index in range(count):
        path = folder / "pictures" / f"{index:06}.png"
        if index < SCENE_S:
            cv2.imwrite(str(path), scene.render(float(index), index))
        else:
            path.symlink_to(f"{index % round(SCENE_S):06}.png")


def live(folder: Path, hours: float, broker: Broker) -> list[Sample]:
    """Run the day; return about twenty samples."""
    pictures(folder, round(hours * 900))
    (folder / "c.toml").write_text(CONFIG.format(size=MOST_MIB, keep=MOST_FILES, port=broker.port))
    frames = round(hours * 900)
    errors = folder / "errors"
    with errors.open("wb") as stream:
        process = subprocess.Popen(
            command_line("run", "--config", "c.toml"),
            cwd=folder,
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            stderr=stream,
        )
    samples: list[Sample] = []
    try:
        url = address(errors, process)
        killed = False
        while process.poll() is None:
            time.sleep(0.2)
            try:
                now = sample(process.pid, url)
            except (OSError, KeyError):  # it ends
                continue
            if not samples or now.frames - samples[-1].frames >= frames / 20:
                samples.append(now)
                print(f"{now.frames:>7} frames  {now.rss_mib:6.1f} MiB  {now.threads} threads  {now.files} files")
            if not killed and now.frames > frames / 2:
                killed = True
                broker.kill()
                print(f"        the broker is killed, for at most {OUTAGE_S:.0f} s")
                back_at = time.monotonic() + OUTAGE_S
                # A run that ends during the outage loses its queued events, which is not tested here.
                while time.monotonic() < back_at and sample(process.pid, url).frames < 0.8 * frames:
                    time.sleep(0.2)
                broker.start()
    finally:
        process.kill()
    assert process.wait() == 0, errors.read_text()
    return samples


def problems(folder: Path, hours: float, samples: list[Sample], listener: Listener) -> list[str]:
    """Return the problems found after the day."""
    told = [json.loads(payload) for payload in listener.on("fer-edge/day/pictures/events")]
    once = list({json.dumps(event): event for event in told}.values())  # QoS 1 may deliver a message twice
    kinds = [event["kind"] for event in once]
    files = sorted(folder.glob("events.jsonl*"), key=lambda path: path.stat().st_mtime)
    kept = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    tracks = [event["track"] for event in once if event["kind"] == "appeared"]
    first, last = samples[len(samples) // 5], samples[-1]
    checks = {
        "what the broker passed on ends as the files do": once[-len(kept) :] == kept,
        "times never go back": [event["mono"] for event in once] == sorted(event["mono"] for event in once),
        "a heartbeat a minute, for each face in sight or none": kinds.count("heartbeat") >= round(hours * 60) - 1,
        "each face that appeared has left": kinds.count("appeared") == kinds.count("left") > 0,
        "numbers rise": tracks == sorted(set(tracks)),
        f"at most {MOST_FILES + 1} files of {MOST_MIB} MiB": len(files) <= MOST_FILES + 1
        and all(path.stat().st_size <= MOST_MIB * 2**20 for path in files),
        "memory stays": last.rss_mib - first.rss_mib < GROWTH_MIB,
        "threads stay": last.threads <= first.threads + 1,
        "open files stay": last.files <= first.files + 2,
    }
    print(f"{len(once)} events: " + ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds))))
    return [check for check, holds in checks.items() if not holds]


def main() -> int:
    """Run the day, and check its results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0)
    hours = parser.parse_args().hours
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as (broker, listener):
        samples = live(Path(name), hours, broker)
        time.sleep(2)
        wrong = problems(Path(name), hours, samples, listener)
    print("\n".join(f"NOT: {check}" for check in wrong) or f"{hours:g} hours: nothing grew, nothing was lost")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
