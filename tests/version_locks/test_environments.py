"""The packages that `make test-locks` installs, and its search for a Python."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from support.processes.programs import script
from version_locks import __main__ as version_locks
from version_locks.environments import TARGETS, Target, find_python

HERE = ".".join(map(str, sys.version_info[:2]))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_an_environment_is_pinned_and_has_one_interpreter(target: Target) -> None:
    blocks = target.requirements().split("\n")
    pins = [line.split()[0] for line in blocks if "==" in line]
    assert {"numpy", "opencv-python-headless", "pytest", "hypothesis", "jsonschema"} <= {p.split("==")[0] for p in pins}
    assert len([pin for pin in pins if pin.startswith(("ai-edge-litert", "tflite-runtime"))]) == 1
    assert all("--hash=sha256:" in after for line, after in pairwise(blocks) if "==" in line)


def test_a_python_is_found_only_where_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert find_python(HERE) is not None
    assert find_python("3.99") is None
    # Like pyenv's command for a version that is not selected, and like a Python without the venv module.
    script(tmp_path / "python3.99", "echo 'command not found' >&2; exit 127")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_python("3.99") is None
    # One of pyenv's that is not on the PATH, and reports the wanted version.
    (tmp_path / "versions" / "3.99.1" / "bin").mkdir(parents=True)
    chosen = script(tmp_path / "versions" / "3.99.1" / "bin" / "python", f"echo 3.99; echo {sys.executable}")
    assert find_python("3.99") == Path(sys.executable)
    assert chosen.exists()


def test_one_that_is_not_here_is_skipped_and_that_is_said(tmp_path: Path) -> None:
    """Like a process that finds only its own Python."""
    other = next(target for target in TARGETS if target.python != HERE)
    code = (
        "import sys; from pathlib import Path; from version_locks import __main__ as m;"
        f"t = next(t for t in m.TARGETS if t.name == {other.name!r});"
        "print(m.test(t, m.prepare(Path('.'), Path('none.whl'), t), Path('none'), []))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{other.name}: SKIPPED: Python {other.python} is not installed" in done.stdout
    assert done.stdout.endswith("0\n")


@pytest.mark.parametrize(("ending", "code"), [("exit 0", 0), ("exit 5", 1), ("kill -SEGV $$", 1)])
def test_tests_that_die_of_a_signal_have_failed_too(tmp_path: Path, ending: str, code: int) -> None:
    python = script(tmp_path / "python", f'[ "$1" = -c ] && exit 0; {ending}')
    assert version_locks.test(TARGETS[0], python, tmp_path, []) == code
