"""Resident memory, bytes per frame and imports of a run. Time is measured by benchmarks, not by tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import footprint
from support.environments.fresh_install import CHECKOUT
from support.processes.edge_command import clean_environment

MAX_MIB = 95
"""Resident memory of `fer-edge run` with one film of 640x480: the goal is 90 MiB, and kernels and processors differ.

With OpenCV's decoder, which a Pi's lock files have; PyAV takes 13 MiB more.
"""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return footprint.write_scene(tmp_path_factory.mktemp("media") / "scene.mp4")


def count_allocations(video: Path) -> footprint.Allocations:
    """Run it in a separate process: the count covers all threads, also those that other tests left behind."""
    code = (
        "import dataclasses, json, pathlib, sys, footprint;"
        "counted = footprint.count_allocations(pathlib.Path(sys.argv[1]));"
        "print(json.dumps(dataclasses.asdict(counted)))"
    )
    folders = [str(Path(footprint.__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-c", code, video],
        env={**clean_environment(), "PYTHONPATH": os.pathsep.join(folders)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return footprint.Allocations(**json.loads(done.stdout))


def test_a_run_holds_no_more_memory_than_it_should(video: Path, tmp_path: Path) -> None:
    settings = tmp_path / "opencv.toml"
    settings.write_text('[source]\ndecoder = "opencv"\n')
    run = footprint.start(video, "--max-frames", "60", "--settings", str(settings))
    assert run.stats["frames"] == 60
    assert run.stats["events"] > 0
    assert 30 < run.stats["rss_mb"] <= MAX_MIB


def test_the_page_names_the_limit() -> None:
    page = (CHECKOUT / "docs" / "explanation" / "pipeline.md").read_text()
    assert f"a test limits it to {MAX_MIB} MiB" in " ".join(page.split())


def test_a_frame_allocates_its_own_picture_and_little_else_and_leaves_nothing(video: Path) -> None:
    counted = count_allocations(video)
    assert len(counted.reading) == len(counted.processing) == 300
    picture = 640 * 480
    # Results keep their frames, so each frame allocates its picture; the colour buffer is reused.
    assert picture <= max(counted.reading) < picture + 4096
    # The einsum of numpy 1 copies what overlaps.
    copied = 0 if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else 131_072
    assert np.median(counted.processing) < 32_768 + copied  # a face that is followed
    assert max(counted.processing) < 131_072 + copied  # a face that is classified, or a search of a whole tile
    # Within the growth of counters and times, whose numbers are still small in a new process.
    assert counted.kept < 24_576


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="numpy 1 imports all of itself at once")
def test_a_run_imports_no_part_of_numpy_no_mail_and_no_openssl(video: Path) -> None:
    code = (
        "import sys; from fer_edge.commands.cli import main;"
        "main(['run', sys.argv[1], '--max-frames', '40', '--events', '-']);"
        "sys.exit(' '.join(name for name in"
        " ('numpy.ma', 'numpy.random', 'numpy.fft', 'importlib.metadata', 'email', '_hashlib')"  # _hashlib: OpenSSL
        " if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, video], env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert done.stderr == "\n"
    assert '"appeared"' in done.stdout


@pytest.mark.skipif(sys.platform != "linux" or (os.cpu_count() or 1) < 2, reason="counts threads in /proc, of 2 cores")
def test_a_command_starts_no_thread_for_numpy(tiny_bundle: Path) -> None:
    """NumPy's BLAS would start one for each core, which took a third of the processor time of a start."""
    picture = files("fer_edge") / "assets" / "astronaut.jpg"
    code = (
        "import atexit, os, sys, time; from fer_edge.commands.cli import program\n"
        "def count():\n"
        "    until = time.monotonic() + 5  # the source's own thread may not have ended yet\n"
        "    while (tasks := len(os.listdir('/proc/self/task'))) > 1 and time.monotonic() < until: time.sleep(0.05)\n"
        "    print(tasks, file=sys.stderr)\n"
        "atexit.register(count)\n"
        "program()"
    )
    for words in (["predict", str(picture)], ["run", "demo", "--max-frames", "2"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words, "--bundle", tiny_bundle],
            env=clean_environment(), capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stderr.strip() == "1"
