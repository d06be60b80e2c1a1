"""``fer-edge bench pipeline`` as a process: with the portrait, a miniature data set, Keras, and bad input."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import psutil
import pytest
import write_boards

from fer_edge.model.bundle import DEFAULT_BUNDLE
from support.data.fer2013 import write_mini_fer2013
from support.processes.edge_command import clean_environment, command_line, fer_edge
from support.processes.programs import assert_ends, script
from support.training import mini_run as training
from support.training.mini_run import MiniRun

SHORT = ("bench", "pipeline", "--bundle", DEFAULT_BUNDLE, "--sizes", "320x240", "--frames", 8, "--rounds", 2)
BRIEFEST = (*SHORT[:-3], 5, "--rounds", 1)
SCHEMA = json.loads((files("fer_bench") / "schema" / "report.schema.json").read_text(encoding="utf-8"))


def validated(text: str) -> dict[str, Any]:
    """Check a report with the schema, and return its ``pipeline`` section."""
    table: dict[str, Any] = json.loads(text)
    jsonschema.Draft202012Validator(SCHEMA).validate(table)
    return table["pipeline"]


def refusal(*arguments: object, cwd: Path) -> tuple[int, str]:
    """Run a command that must fail and write nothing; return its exit code and its line on stderr."""
    before = sorted(cwd.rglob("*"))
    done = fer_edge(*arguments, cwd=cwd)
    assert done.stdout == ""
    assert done.stderr.startswith("fer-edge: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert sorted(cwd.rglob("*")) == before
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def without_data(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Return the output of a run with the portrait, and its folder."""
    folder = tmp_path_factory.mktemp("portrait")
    done = fer_edge(
        *SHORT, "--faces", 0, 1, "--json", "out.json", "--markdown", "out.md", "--save-scenes", "scenes", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout, folder


@pytest.mark.slow
def test_without_data_the_portrait_is_shown_and_its_label_is_no_ones_guess(without_data: tuple[str, Path]):
    section = validated((without_data[1] / "out.json").read_text())
    assert section["face_source"] == {"name": "portrait", "images": 1, "rows_sha256": None}
    cells = {(cell["candidate"], cell["faces"]): cell for cell in section["results"]}
    assert set(cells) == {(name, faces) for name in ("fer-edge", "tutorial-tflite") for faces in (0, 1)}
    for (name, faces), cell in cells.items():
        assert (cell["width"], cell["height"], cell["frame"]["count"]) == (320, 240, 16)
        assert 0 < cell["frame"]["p50_ms"] <= cell["frame"]["p95_ms"] <= cell["frame"]["p99_ms"]
        assert cell["fps"] > 0 < cell["cpu_ms"]
        assert cell["rss_steady_mib"] <= cell["rss_peak_mib"] < 300
        answers = cell["answers"]
        assert (answers["shown"], answers["distinct"]) == (16 * faces, faces)
        assert (answers["right"], answers["uncertain"]) == (None, None)
        # The demo's face is easy to detect; the runtime reports it after three detections.
        assert answers["matched"] >= (6 if name == "fer-edge" else 12) * 2 * faces / 2
        assert cell["stages"]["grey"]["count"] == 16
    assert cells["fer-edge", 1]["cpu_over_ours"] == 1.0
    assert cells["tutorial-tflite", 1]["stages"]["detect"]["count"] == 16
    assert {"detect_full", "detect_region", "classify", "track"} <= set(cells["fer-edge", 1]["stages"])
    assert [line.partition(":")[0] for line in section["left_out"]] == ["tutorial", "fer"]


@pytest.mark.slow
def test_text_and_markdown_tell_the_same(without_data: tuple[str, Path]):
    text, folder = without_data
    markdown = (folder / "out.md").read_text(encoding="utf-8")
    for part in ("CPU × ours", "recall %", "detect_region", "portrait", "int8.tflite", "--keras", "--fer"):
        assert part in text
        assert part in markdown
    assert "right %" not in text


def test_scenes_are_drawn_where_they_were_asked_for_and_nothing_else_is_left(without_data: tuple[str, Path]):
    folder = without_data[1]
    names = {f"scenes/320x240-{faces}faces-round{number}.png" for faces in (0, 1) for number in (1, 2)}
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "out.json",
        "out.md",
        *names,
    }
    sheets = {name: cv2.imread(str(folder / name)) for name in names}
    assert all(sheet is not None and sheet.shape[1] > 1900 for sheet in sheets.values())
    # Boxes are drawn in color on gray pictures, and only if there is a face.
    coloured = {name: int((sheet.max(axis=2) - sheet.min(axis=2) > 100).sum()) for name, sheet in sheets.items()}
    assert coloured["scenes/320x240-1faces-round1.png"] > 5000
    assert coloured["scenes/320x240-0faces-round1.png"] < 2000


def test_with_data_the_labels_are_known(tmp_path: Path):
    data = write_mini_fer2013(tmp_path / "mini.csv", test_per_class=1)
    done = fer_edge(*BRIEFEST, "--faces", 2, "--data", data, "--json", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    section = validated(done.stdout)
    assert section["face_source"]["name"] == "mini PublicTest"
    for cell in section["results"]:
        assert (cell["answers"]["shown"], cell["answers"]["distinct"]) == (10, 2)
        # Gratings are not faces: any detection here is false, and must be counted.
        assert cell["answers"]["right"] + cell["answers"]["uncertain"] <= cell["answers"]["matched"] <= 10


@pytest.mark.slow
def test_the_tutorial_with_a_keras_model(mini_run: MiniRun, tmp_path: Path):
    words = (*BRIEFEST, "--faces", 1, "--keras", mini_run.run, "--json", "-")
    done = training.fer_edge(*map(str, words), cwd=tmp_path)  # it has the patience that TensorFlow's start may need
    assert done.returncode == 0, done.stderr
    section = validated(done.stdout)
    ours, tutorial = section["results"]
    assert (ours["candidate"], tutorial["candidate"]) == ("fer-edge", "tutorial")
    assert "model.keras" in section["candidates"][1]["how"]
    assert "keras" in section["candidates"][1]["versions"]
    assert tutorial["stages"]["classify"]["count"] >= 3
    # Only the tutorial's process imports TensorFlow.
    assert tutorial["rss_steady_mib"] > 2 * ours["rss_steady_mib"]


def test_the_parent_and_our_own_process_load_nothing_of_the_training_stack(tmp_path: Path):
    script = (
        "import sys; from fer_edge.commands.cli import main; "
        f"code = main({[str(word) for word in BRIEFEST]!r} + ['--faces', '0']); "
        "import fer_bench.pipeline.candidates; "
        "heavy = {'keras', 'tensorflow', 'sklearn', 'statsmodels', 'matplotlib', 'scipy'}; "
        "sys.exit(code or ' '.join(heavy & set(sys.modules)) or None)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FER_EDGE_")}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_broken_data_where_the_project_looks_is_no_reason_to_show_the_portrait(tmp_path: Path):
    data = tmp_path / "data" / "fer2013.csv"
    data.parent.mkdir()
    data.write_text("emotion,pixels,Usage\n0,1 2 3,Train")
    code, line = refusal(*BRIEFEST, "--faces", 1, cwd=tmp_path)
    assert (code, "data/fer2013.csv" in line) == (2, True)


@pytest.mark.slow
def test_missing_and_wrong_inputs(tmp_path: Path):
    assert refusal(*SHORT, "--fer", "no/python", cwd=tmp_path)[0] == 2
    assert refusal(*SHORT, "--keras", "none.keras", cwd=tmp_path)[0] == 2
    assert refusal(*SHORT, "--data", "nowhere.csv", cwd=tmp_path)[0] == 2
    assert refusal("bench", "pipeline", "--bundle", "nowhere", cwd=tmp_path)[0] == 2
    assert refusal(*SHORT, "--json", "no/such/x.json", cwd=tmp_path)[0] == 6
    empty = tmp_path / "empty"
    empty.mkdir()
    code, line = refusal(*SHORT, "--keras", empty, cwd=tmp_path)
    assert (code, "model.keras" in line) == (2, True)
    (tmp_path / "file").touch()
    assert refusal(*SHORT, "--save-scenes", tmp_path / "file", cwd=tmp_path)[0] == 6
    assert refusal(*SHORT, "--keras", tmp_path / "file", cwd=tmp_path)[0] == 4


@pytest.mark.slow
def test_a_python_without_the_package_is_told_in_one_line(tmp_path: Path):
    code, line = refusal(*SHORT, "--fer", sys.executable, cwd=tmp_path)
    assert (code, "No module named 'fer'" in line) == (2, True)
    (tmp_path / "text").write_text("no program")
    assert refusal(*SHORT, "--fer", tmp_path / "text", cwd=tmp_path)[0] == 2
    # Found in the current folder, although it is not on the PATH.
    script(tmp_path / "py", f'exec {sys.executable} "$@"')
    assert "No module named 'fer'" in refusal(*SHORT, "--fer", "./py", cwd=tmp_path)[1]
    code, line = refusal(*SHORT, "--fer", script(tmp_path / "other", "echo '{}'"), cwd=tmp_path)
    assert (code, "gives an invalid answer" in line) == (4, True)


@pytest.mark.parametrize(
    "words",
    [
        ("--sizes", "10x10"),
        ("--sizes", "640"),
        ("--faces", "99"),
        ("--faces", "-1"),
        ("--frames", "1"),
        ("--rounds", "0"),
    ],
)
def test_usage_errors(words: tuple[str, ...], tmp_path: Path):
    code, line = refusal("bench", "pipeline", *words, cwd=tmp_path)
    assert (code, words[0] in line) == (2, True)


def test_a_damaged_bundle_is_refused_before_anything_runs(tmp_path: Path):
    damaged = Path(shutil.copytree(DEFAULT_BUNDLE, tmp_path / "damaged"))
    with (damaged / "int8.tflite").open("r+b") as stream:
        stream.truncate(1000)
    assert refusal("bench", "pipeline", "--bundle", damaged, cwd=tmp_path)[0] == 4


def test_terminated_it_ends_at_once_with_its_processes(tmp_path: Path):
    words = ("bench", "pipeline", "--bundle", DEFAULT_BUNDLE, "--sizes", "320x240", "--rounds", 1000)
    with subprocess.Popen(
        command_line(*words, "--save-scenes", "scenes"), cwd=tmp_path, env=clean_environment(), stderr=subprocess.PIPE
    ) as running:
        while not list(tmp_path.glob("scenes/*.png")):  # the first scene was measured
            assert running.poll() is None
            time.sleep(0.1)
        children = psutil.Process(running.pid).children()
        running.terminate()
        _, said = running.communicate(timeout=120)
    assert (running.returncode, said) == (143, b"fer-edge: terminated\n")
    assert len(children) == 2
    for child in children:
        assert_ends(child.pid)


@pytest.mark.slow
def test_a_device_is_measured_into_one_file_that_names_no_one(tmp_path: Path) -> None:
    done = fer_edge("bench", "device", "--bundle", DEFAULT_BUNDLE, "--rounds", 1, "--out", "device.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "device.json").read_text()
    section = validated(text)
    assert section["face_source"]["rows_sha256"] is None
    table = json.loads(text)
    assert {row["engine"] for row in table["latency"]} >= {"litert", "litert-noxnnpack"}
    assert table["machine"]["before"]
    serial = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "Serial" in line]
    for secret in (platform.node(), str(Path.home()), str(tmp_path), *serial):
        # The whole value, or the start of a path: the host may have the name with which a model's begins.
        assert f'"{secret}"' not in text and f'"{secret}/' not in text
    assert "/device.json) |" in write_boards.measured(tmp_path)  # a row of the page of boards
    assert refusal("bench", "device", "--out", "no/such/folder.json", cwd=tmp_path)[0] == 6


def test_a_device_that_cannot_detect_is_refused_before_it_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # As with OpenCV 5, in each process of the command.
    (tmp_path / "sitecustomize.py").write_text("import cv2\ndel cv2.CascadeClassifier\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    # This many rounds take hours: if they start, the time limit ends the test.
    words = ("bench", "device", "--bundle", DEFAULT_BUNDLE, "--rounds", 1_000_000, "--out", "device.json")
    code, line = refusal(*words, cwd=tmp_path)
    assert (code, "no CascadeClassifier" in line) == (4, True), line
