"""A model that crashes, hangs or confuses the interpreter is refused with exit 4, at the start and at a reload."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from fer_edge.errors import ModelError
from fer_edge.model import trial
from fer_edge.model.bundle import load_bundle
from fer_edge.model.interpreter import interpreter_version
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.stages.verification import BUNDLE_FOLDER as FACE_CHECK
from fer_edge.stages.verification import FaceCheck
from support.models.hostile_models import (
    SHARED,
    Spoil,
    activation_scale,
    calls_itself,
    filter_index,
    first_input_left_out,
    hostile_bundle,
    name_not_utf8,
    no_operators,
    output_index,
    with_current_hashes,
)
from support.processes.daemon import Daemon, running_daemon
from support.processes.edge_command import assert_one_line, clean_environment, command_line, fer_edge
from support.processes.waiting import wait_for

ENDLESS = "while_true"
SPOILED: dict[str, tuple[Spoil, str]] = {
    **{
        f"scale {value}": (activation_scale(float(value)), "its scale is")
        for value in ("nan", "inf", "0", "-1", "1e-40", "3e38")
    },
    "no filter": (filter_index(-1), "it has no filter"),
    "no input": (first_input_left_out, "it lacks an input"),
    "filter beyond the tensors": (filter_index(10_000), "not one of the"),
    "output -1": (output_index(-1), "has an output that is not one of its"),
    "output beyond the tensors": (output_index(10_000), "has an output that is not one of its"),
    "no operators": (no_operators, "has no operators"),
    "name": (name_not_utf8, "its name is not UTF-8"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SPOILED)
def test_a_graph_that_the_interpreter_cannot_run_is_exit_4(tiny_bundle: Path, tmp_path: Path, kind: str) -> None:
    spoil, said = SPOILED[kind]
    hostile_bundle(tiny_bundle, tmp_path / "b", spoil)
    result = fer_edge("run", "demo", "--max-frames", 2, "--bundle", "b", cwd=tmp_path)
    assert_one_line(result, 4, "int8.tflite", said)
    assert result.stdout == ""


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the crafted bundles in {SHARED}")
def test_the_bundles_of_the_inspection_are_refused(tmp_path: Path) -> None:
    bundles = [bundle for bundle in sorted(SHARED.iterdir()) if bundle.name != ENDLESS]
    assert len(bundles) == 6
    for bundle in bundles:
        result = fer_edge("run", "demo", "--max-frames", 2, "--bundle", bundle, cwd=tmp_path)
        assert_one_line(result, 4, f"{bundle.name}/int8.tflite")


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the crafted bundles in {SHARED}")
def test_the_endless_bundle_of_the_inspection_is_refused(tmp_path: Path) -> None:
    result = fer_edge("run", "demo", "--max-frames", 2, "--bundle", SHARED / ENDLESS, cwd=tmp_path)
    assert_one_line(result, 4, f"{ENDLESS}/int8.tflite", "did not end within 30 s")


@pytest.fixture
def crashing_bundle(endless_bundle: Path, tmp_path: Path) -> Path:
    """A bundle whose variant float32 ends the process with SIGSEGV when it is loaded."""
    return hostile_bundle(endless_bundle, tmp_path / "crashing", calls_itself, "float32")


def test_a_model_that_crashes_the_interpreter_is_exit_4(crashing_bundle: Path, tmp_path: Path) -> None:
    result = fer_edge("run", "demo", "--bundle", crashing_bundle, "--variant", "float32", cwd=tmp_path)
    assert_one_line(result, 4, "float32.tflite", "SIGSEGV", "use another bundle")


def test_a_library_call_raises_instead_of_crashing(crashing_bundle: Path) -> None:
    with load_bundle(crashing_bundle) as bundle, pytest.raises(ModelError, match="SIGSEGV"):
        EmotionClassifier(bundle, "float32")


def test_a_face_check_that_crashes_the_interpreter_is_refused(crashing_bundle: Path) -> None:
    """Its file is the package's, but a new version of the interpreter could crash on it."""
    shutil.copy(crashing_bundle / "float32.tflite", crashing_bundle / "int8.tflite")
    with pytest.raises(ModelError, match="SIGSEGV"):
        FaceCheck(folder=with_current_hashes(crashing_bundle))


def test_a_model_that_never_returns_is_refused_at_the_limit(
    endless_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "MAX_TRIAL_S", 2.0)
    began = time.monotonic()
    with load_bundle(endless_bundle) as bundle, pytest.raises(ModelError, match="did not end within 2 s"):
        EmotionClassifier(bundle, "float32")
    assert time.monotonic() - began >= 2
    assert trials(os.getpid()) == []


@pytest.mark.slow
def test_a_model_that_never_returns_is_exit_4(endless_bundle: Path, tmp_path: Path) -> None:
    options = ("--bundle", endless_bundle, "--variant", "float32")
    result = fer_edge("run", "demo", "--max-frames", 2, *options, cwd=tmp_path)
    assert_one_line(result, 4, "float32.tflite", "did not end within 30 s", "use another bundle")


def test_sigterm_ends_a_start_with_a_model_that_never_returns(endless_bundle: Path, tmp_path: Path) -> None:
    command = command_line("run", "demo", "--bundle", endless_bundle, "--variant", "float32")
    with subprocess.Popen(command, cwd=tmp_path, env=clean_environment(), stderr=subprocess.PIPE) as process:
        wait_for_trial(process.pid)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(60) == 0
        assert time.monotonic() - began < 5
    assert trials(process.pid) == []


@pytest.mark.slow
def test_a_reload_to_a_hostile_model_changes_nothing(
    tiny_bundle: Path, crashing_bundle: Path, endless_bundle: Path, tmp_path: Path
) -> None:
    with running_daemon(tmp_path, config(tiny_bundle)) as daemon:
        daemon.wait_for(lambda: daemon.count("READY=1"))
        daemon.wait_for_events(1, "appeared")
        refused = reloaded_to(daemon, config(crashing_bundle, "float32"))
        assert "SIGSEGV" in refused and "float32.tflite" in refused
        # The main thread keeps running during the trial: it writes events.
        (tmp_path / "c.toml").write_text(config(endless_bundle, "float32"))
        daemon.process.send_signal(signal.SIGHUP)
        wait_for_trial(daemon.process.pid)
        events = len(daemon.events("heartbeat"))
        daemon.wait_for(lambda: len(daemon.events("heartbeat")) >= events + 10)
        assert trials(daemon.process.pid) != []
        daemon.wait_for(lambda: "did not end within 30 s" in daemon.errors())
        # A good one is accepted afterwards.
        (tmp_path / "c.toml").write_text(config(tiny_bundle, "float32"))
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for(lambda: "fer-edge: reloaded" in daemon.errors())
        # SIGTERM during a trial.
        (tmp_path / "c.toml").write_text(config(endless_bundle, "float32"))
        ready = daemon.count("READY=1")
        daemon.wait_for(lambda: daemon.count("READY=1") >= ready)
        daemon.process.send_signal(signal.SIGHUP)
        wait_for_trial(daemon.process.pid)
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 5
        assert trials(daemon.process.pid) == []


def test_a_model_that_passed_is_not_tried_again_and_a_crash_is_not_silent(
    tiny_bundle: Path, crashing_bundle: Path, tmp_path: Path
) -> None:
    settings = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert (
        fer_edge("run", "demo", "--max-frames", 2, "--bundle", tiny_bundle, cwd=tmp_path, settings=settings).returncode
        == 0
    )
    good = load_bundle(tiny_bundle).variant("int8").sha256
    check = load_bundle(FACE_CHECK).variant("int8").sha256
    files = {path.name[:64]: path for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert files.keys() == {good, check}  # the network that verifies faces is a model too
    remembered = files[good]
    bad = load_bundle(crashing_bundle).variant("float32").sha256
    assert remembered.name.startswith(f"{good}-{'-'.join(interpreter_version())}")
    # As if the crashing one had passed: it is loaded without a trial; its crash is printed although stderr is hidden.
    remembered.with_name(remembered.name.replace(good, bad)).touch()
    crashed = fer_edge(
        "run", "demo", "--bundle", crashing_bundle, "--variant", "float32", cwd=tmp_path, settings=settings
    )
    assert crashed.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in crashed.stderr and "interpreter.py" in crashed.stderr


def test_a_refused_model_is_tried_again(crashing_bundle: Path, tmp_path: Path) -> None:
    settings = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    for _ in range(2):
        assert_one_line(
            fer_edge(
                "run", "demo", "--bundle", crashing_bundle, "--variant", "float32", cwd=tmp_path, settings=settings
            ),
            4,
            "SIGSEGV",
        )
    assert not list((tmp_path / "cache").rglob("*"))


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["/dev/null", "/proc/none", "file"])
def test_a_start_needs_no_cache_folder(tiny_bundle: Path, tmp_path: Path, cache: str) -> None:
    (tmp_path / "file").touch()
    settings = {"XDG_CACHE_HOME": str(tmp_path / cache)}  # an absolute path is unchanged
    for _ in range(2):
        result = fer_edge("run", "demo", "--max-frames", 2, "--bundle", tiny_bundle, cwd=tmp_path, settings=settings)
        assert (result.returncode, result.stderr) == (0, "")


def config(bundle: Path, variant: str = "int8") -> str:
    return f"""
[source]
uris = ["demo"]
realtime = true
[model]
bundle = "{bundle}"
variant = "{variant}"
[emotion]
heartbeat_s = 0.2
[output]
events = "events.jsonl"
"""


def reloaded_to(daemon: Daemon, toml: str) -> str:
    """Let ``daemon`` reload ``toml``; return the reason of its refusal."""
    before = daemon.errors()
    (daemon.folder / "c.toml").write_text(toml)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for(lambda: daemon.errors().count("not reloaded") > before.count("not reloaded"))
    return daemon.errors()[len(before) :]


def trials(parent: int) -> list[int]:
    """Return processes of ``parent``, running or left over, that try a model."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            is_child = f"PPid:\t{parent}\n" in (folder / "status").read_text()
        except OSError:
            continue
        if b"fer_edge.model.trial" in words and is_child:
            found.append(int(folder.name))
    return found


def wait_for_trial(parent: int) -> None:
    wait_for(lambda: trials(parent) != [])


def test_a_trial_that_the_kernel_kills_names_the_memory(tiny_bundle: Path, tmp_path: Path) -> None:
    command = command_line("run", "demo", "--max-frames", 2, "--bundle", tiny_bundle)
    environment = {**clean_environment(), "XDG_CACHE_HOME": str(tmp_path / "empty")}
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as program:
        wait_for(lambda: program.poll() is not None or _trials_of(program.pid))
        for trial in _trials_of(program.pid):
            os.kill(trial, signal.SIGKILL)
        _, printed = program.communicate(timeout=60)
    assert program.returncode == 4, printed
    assert "killed (SIGKILL), perhaps because the memory is used up" in printed
    assert len(printed.splitlines()) == 1


def _trials_of(parent: int) -> list[int]:
    """Return the processes that try a model for the program ``parent``: children of any of its threads."""
    children = [child for file in Path(f"/proc/{parent}/task").glob("*/children") for child in file.read_text().split()]
    return [int(child) for child in children if b"model.trial" in Path(f"/proc/{child}/cmdline").read_bytes()]
