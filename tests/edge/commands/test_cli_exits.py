"""The command line: exit codes, signals, and standard streams that are closed or full."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from support.processes.edge_command import assert_one_line, clean_environment, command_line, face_picture, fer_edge
from support.processes.plugins import run, with_plugins


def test_a_defect_is_one_line_and_exit_5(plugins: Path) -> None:
    assert_one_line(run("defect", plugins=plugins), 5, "internal error", "division by zero", "--debug")
    assert "Traceback" in run("defect", "--debug", plugins=plugins).stderr


def test_a_full_disk_is_exit_6(plugins: Path) -> None:
    assert_one_line(run("full", plugins=plugins), 6, "/some/where", "No space left")


def start(words: list[str], environment: dict[str, str], cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command_line(*words), cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_ctrl_c_is_130_and_one_line(plugins: Path) -> None:
    process = start(["forever"], with_plugins(plugins), plugins)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=120) == ("", "fer-edge: interrupted\n")
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_that_a_loading_module_turns_into_an_import_error(
    plugins: Path, number: int, code: int, word: str
) -> None:
    process = start(["loading"], with_plugins(plugins), plugins)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(number)
    assert process.communicate(timeout=120) == ("", f"fer-edge: {word}\n")
    assert process.returncode == code


SLOW_DISK = """
import sys, time
import fer_edge.settings.toml_files as toml_files
from fer_edge.commands.cli import program

def slow(path, max_bytes):
    print("reading", flush=True)
    time.sleep(120)

toml_files.read_regular = slow
sys.argv[1:] = ["run", "demo", "--config", "c.toml"]
program()
"""
"""``fer-edge run`` on a disk that takes long to return the configuration."""


def test_ctrl_c_before_run_has_started(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_DISK],
        cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "reading\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=120) == ("", "fer-edge: interrupted\n")
    assert process.returncode == 130


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["--help"], ["data", "--help"], ["run", "--print-config"]])
def test_a_closed_pipe_is_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    reader, writer = os.pipe()
    os.close(reader)
    result = fer_edge(*words, cwd=tmp_path, stdout=writer)
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [["--help"], ["run", "--print-config"]])
def test_a_full_standard_output_is_exit_6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    # With PYTHONUNBUFFERED argparse gets the error and ignores it.
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with Path("/dev/full").open("w") as full:
        assert_one_line(fer_edge(*words, cwd=tmp_path, stdout=full.fileno()), 6, "No space left")


@pytest.mark.skipif(os.name != "posix", reason="closes streams through a POSIX shell")
@pytest.mark.parametrize(("closed", "code"), [(">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0)])
def test_closed_standard_streams_are_tolerated(tmp_path: Path, closed: str, code: int) -> None:
    line = f'"$0" -m fer_edge run --print-config {closed}; exit $?'
    shell = ["sh", "-c", line, sys.executable]
    result = subprocess.run(shell, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stderr
    assert result.stderr == ""
    assert ("[emotion]" in result.stdout) == (closed == "2>&-")


def test_an_undecodable_file_name_is_printed(tiny_bundle: Path, tmp_path: Path) -> None:
    name = b"caf\xe9.png".decode(errors="surrogateescape")
    (tmp_path / name).write_bytes(cv2.imencode(".png", face_picture())[1].tobytes())
    table = fer_edge("predict", name, "--bundle", tiny_bundle, cwd=tmp_path)
    assert (table.returncode, table.stderr) == (0, "")
    assert "caf\\udce9.png" in table.stdout
    answer = fer_edge("predict", name, "--json", "--bundle", tiny_bundle, cwd=tmp_path)
    assert json.loads(answer.stdout)["images"][0]["file"] == name
    missing = b"caf\xe8.png".decode(errors="surrogateescape")
    assert_one_line(fer_edge("predict", missing, "--bundle", tiny_bundle, cwd=tmp_path), 2, "caf\\udce8.png")


@pytest.mark.parametrize(
    ("thread", "end"), [("DriverThread(wait, 'read camera')", ""), ("Thread(target=wait, daemon=True)", "finalized\n")]
)
def test_a_process_does_not_wait_for_a_camera_that_hangs(tmp_path: Path, thread: str, end: str) -> None:
    """The interpreter must not end before its thread, which would abort when OpenCV returns."""
    code = (
        "import atexit; from threading import Event, Thread; from fer_edge.commands.cli import program;"
        "from fer_edge.system.driver_threads import DriverThread; wait = Event().wait;"
        f"atexit.register(print, 'finalized'); {thread}.start();"
        "program()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.partition("\n")[2] == end
    assert done.stderr == ""
