"""``fer-edge run`` with little memory, few file descriptors, no working directory, or an early signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.processes.edge_command import assert_one_line, clean_environment, command_line, fer_edge

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")


def under(limit: str, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run the command after the shell's ``limit``."""
    shell = ["sh", "-c", f'{limit}; exec "$@"', "sh", *command_line(*words)]
    return subprocess.run(
        shell, cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("kib", [60_000, 150_000])
def test_too_little_memory_for_an_import_is_exit_6(tiny_bundle: Path, tmp_path: Path, kib: int) -> None:
    result = under(f"ulimit -v {kib}", tmp_path, "run", "demo", "--bundle", tiny_bundle, "--max-frames", 1)
    assert_one_line(result, 6, "out of memory", "ulimit -v", "MemoryMax")


def test_too_little_memory_for_the_interpreter_is_exit_4_or_6(tiny_bundle: Path, tmp_path: Path) -> None:
    """With limits from enough for NumPy to enough for all: no signal, traceback or exit code 5."""
    for kib in range(200_000, 600_000, 40_000):
        result = under(f"ulimit -v {kib}", tmp_path, "run", "demo", "--bundle", tiny_bundle, "--max-frames", 1)
        if result.returncode == 0:
            return
        assert result.returncode in (4, 6), (kib, result.stderr)
        assert_one_line(result, result.returncode, "out of memory" if result.returncode == 6 else "")


@pytest.mark.parametrize("count", [5, 8, 16])
def test_too_few_file_descriptors(tiny_bundle: Path, tmp_path: Path, count: int) -> None:
    result = under(f"ulimit -n {count}", tmp_path, "run", "demo", "--bundle", tiny_bundle, "--max-frames", 1)
    assert_one_line(result, 2, f"only {count} open files are allowed", "ulimit -n 1024")


def test_the_smallest_number_of_file_descriptors_suffices(tiny_bundle: Path, tmp_path: Path) -> None:
    words = ("--max-frames", 2, "--trace", "t", "--stats", "s", "--events", "e", "--annotate", "a.webm")
    result = under("ulimit -n 32", tmp_path, "run", "demo", "--bundle", tiny_bundle, *words)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("words", [("demo",), ("film.mp4",), ("demo", "--trace", "t.jsonl")])
def test_a_removed_working_directory(tiny_bundle: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "gone").mkdir()
    result = under("rmdir ../gone", tmp_path / "gone", "run", *words, "--bundle", tiny_bundle, "--max-frames", 1)
    if result.returncode == 0:  # nothing needed the folder
        return
    assert_one_line(result, 2, "the working directory was removed", "change to another folder")


@pytest.mark.parametrize("source", ["", "  "])
def test_an_empty_source(tiny_bundle: Path, tmp_path: Path, source: str) -> None:
    assert_one_line(fer_edge("run", source, "--bundle", tiny_bundle, cwd=tmp_path), 2, "the source is empty")


def test_ctrl_c_at_any_time_of_the_start(tmp_path: Path) -> None:
    """Every 10 ms of the first 0.3 s after the interpreter has started the program's own code."""
    (tmp_path / "start.py").write_text(
        "import sys\nfrom fer_edge.__main__ import program\nprint('began', flush=True)\n"
        "sys.argv[:] = ['fer-edge', 'run', '--print-config']\nprogram()\n"
    )
    for number in range(30):
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / "start.py")],
            cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "began\n"
        time.sleep(number / 100)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert "Traceback" not in errors, (number, errors)
        assert (process.returncode, errors) in ((130, "fer-edge: interrupted\n"), (0, ""), (-2, "")), number


def assert_interrupted(tmp_path: Path) -> None:
    """Assert that a start that imports the modules in ``tmp_path`` ends as by Ctrl-C."""
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    result = subprocess.run(
        command_line("run", "demo"),
        cwd=tmp_path, env={**clean_environment(), "PYTHONPATH": path}, capture_output=True, text=True, check=False,
        timeout=25,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (130, "fer-edge: interrupted\n")


def test_ctrl_c_that_a_destructor_swallows_still_ends_the_start(tmp_path: Path) -> None:
    """Python ignores exceptions of destructors and of weak references' callbacks, such as those of imports."""
    (tmp_path / "cv2.py").write_text(
        "import os, signal, time\n"
        "class Swallows:\n"
        "    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        sum(range(10))\n"
        "Swallows()\n"
        "time.sleep(30)\n"
    )
    assert_interrupted(tmp_path)


def test_ctrl_c_cannot_interrupt_msgspec_while_it_loads_datetime(tmp_path: Path) -> None:
    """msgspec's initialization loses the exception, and its first conversion dereferences a null pointer."""
    (tmp_path / "start.py").write_text(
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'msgspec._core':\n"
        "            print('datetime' in sys.modules, file=sys.stderr)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from fer_edge.__main__ import program\n"
        "sys.argv[:] = ['fer-edge', 'run', '--print-config']\n"
        "program()\n"
    )
    result = subprocess.run(
        [sys.executable, str(tmp_path / "start.py")],
        cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False, timeout=25,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "True\n")


def test_ctrl_c_while_an_extension_module_loads_numpy(tmp_path: Path) -> None:
    """NumPy's import_array() prints what interrupts it by sys.excepthook, and raises an ImportError instead."""
    (tmp_path / "cv2.py").write_text(
        "import os, signal, sys\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    sum(range(10))\n"
        "except KeyboardInterrupt:\n"
        "    sys.excepthook(*sys.exc_info())\n"
        "    raise ImportError('numpy.core.multiarray failed to import') from None\n"
    )
    assert_interrupted(tmp_path)
