"""Latency of real models in real processes, and processes that die, hang or are other programs."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fer_bench.latency.engines import TFLITE_RUNTIME
from fer_bench.latency.machine import ThisMachine
from fer_bench.latency.measure import Plan, choose_configurations, measure_latency
from fer_bench.latency.process import Configuration, EngineMissingError, Loaded, Worker, start_worker
from fer_bench.results import LatencyRow, LatencySettings, MachineChange
from fer_edge.errors import ModelError
from fer_edge.measure.worker import rss_mib
from fer_edge.model.bundle import load_bundle
from fer_edge.model.manifest import read_manifest
from support.devices.machines import write_tree, write_vcgencmd
from support.environments.fresh_install import CHECKOUT
from support.models.bundles import add_onnx_variant, copy_bundle
from support.processes.programs import assert_ends, script

RELEASED = CHECKOUT / "models" / "fer-edge-s"
PYTHON = Path(sys.executable)
INT8 = Configuration("int8", "litert", 1)
LONG_S = 300.0


def worker(
    bundle: Path, engine: str = "litert", variant: str = "int8", python: Path = PYTHON, timeout_s: float = LONG_S
) -> Worker:
    path = bundle / read_manifest(bundle).variants[variant].file
    return start_worker(Configuration(variant, engine, 1), path, python, timeout_s)


def measure(bundle: Path, plan: Plan, root: Path = Path("/")) -> tuple[tuple[LatencyRow, ...], MachineChange]:
    with load_bundle(bundle) as opened:
        return measure_latency(opened, choose_configurations(opened, plan), plan, ThisMachine(root))


def test_a_worker_loads_and_answers_block_after_block(tiny_bundle: Path) -> None:
    with worker(tiny_bundle) as running:
        loaded = running.loaded
        assert loaded.runtime.startswith("ai-edge-litert ")
        assert 3 < loaded.rss_before_mib < loaded.rss_import_mib < loaded.rss_loaded_mib < 200
        # This process has imported TensorFlow. The worker must not inherit that.
        assert loaded.rss_loaded_mib < rss_mib()
        assert loaded.import_ms > 0
        assert loaded.load_ms > 0
        for runs in (7, 1):
            block = running.run(warm_up=2, runs=runs)
            assert block.samples_ns.shape == (runs,)
            assert np.all(block.samples_ns > 0)
            if Path("/proc/self/schedstat").is_file():
                assert block.waiting_ns is not None
                assert block.waiting_ns >= 0
    running.close()


def test_xnnpack_is_counted_by_what_it_took(tiny_bundle: Path) -> None:
    with worker(tiny_bundle, "litert") as on, worker(tiny_bundle, "litert-noxnnpack") as off:
        assert on.loaded.nodes == off.loaded.nodes
        assert (on.loaded.delegated_nodes, off.loaded.delegated_nodes) == (3, 0)


def test_tflite_runtime_runs_in_its_own_environment(legacy_python: Path) -> None:
    for variant in ("float32", "int8"):
        with worker(RELEASED, TFLITE_RUNTIME, variant, legacy_python) as running:
            assert running.loaded.runtime == "tflite-runtime 2.14.0"
            # It logs for both that XNNPACK was created, but uses it only for the float model.
            assert running.loaded.delegated_nodes == (running.loaded.nodes if variant == "float32" else 0)
            assert running.run(0, 3).samples_ns.shape == (3,)


@pytest.mark.slow
def test_a_run_over_all_engines_that_are_here(tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    pytest.importorskip("onnxruntime")
    bundle = add_onnx_variant(copy_bundle(tiny_bundle, tmp_path / "bundle"))
    # In a folder without .venv-legacy, tflite-runtime is missing; everything else is measured.
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        rows, _ = measure(bundle, Plan(LatencySettings(rounds=3, runs=5, warm_up=1), threads=(1,)))
    assert [(row.variant, row.engine) for row in rows] == [
        ("float32", "litert"),
        ("float32", "litert-noxnnpack"),
        ("int8", "litert"),
        ("int8", "litert-noxnnpack"),
        ("onnx_float32", "onnxruntime"),
    ]
    told = capfd.readouterr().err
    assert told.startswith("fer-edge: skipped tflite-runtime: ")
    assert told.count("\n") == 1
    for row in rows:
        assert row.runs == 15
        assert 0 < row.p50_ms <= row.p95_ms <= row.p99_ms <= row.max_ms
        assert row.ratio is not None
        assert row.size_bytes == (bundle / read_manifest(bundle).variants[row.variant].file).stat().st_size
        assert row.mac_per_s is None  # this manifest does not count them
    assert {row.variant: row.ratio for row in rows if row.engine == "litert"}["float32"] == 1.0
    assert rows[-1].nodes is None
    assert rows[-1].runtime.startswith("onnxruntime ")


def test_the_macs_of_the_manifest_give_the_speed(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = copy_bundle(tiny_bundle, tmp_path / "bundle", training={"macs": 1000})
    (row, _), _ = measure(bundle, Plan(LatencySettings(1, 4, 0), ("litert",), (1,)))
    assert row.mac_per_s == pytest.approx(1000 / (row.p50_ms / 1e3))


@pytest.mark.slow
def test_a_machine_that_throttles_is_told_in_the_row(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(LatencySettings(rounds=3, runs=2, warm_up=0), ("litert",), (1,))
    root = write_tree(tmp_path / "root", {"proc/loadavg": "1.5 1 1 1/1 1\n"})
    monkeypatch.setenv("PATH", str(tmp_path))
    rows, change = measure(tiny_bundle, plan, root)
    assert {row.throttled_rounds for row in rows} == {None}  # without vcgencmd
    assert change.before.throttled is None
    assert change.after.load_average == (1.5, 1.0, 1.0)
    # A flag since boot, from before this run, does not count; the current one does.
    answer = write_vcgencmd(tmp_path / "bin", "throttled=0x40000", monkeypatch)
    rows, _ = measure(tiny_bundle, plan, root)
    assert {row.throttled_rounds for row in rows} == {0}
    answer.write_text("throttled=0x40004")
    rows, change = measure(tiny_bundle, plan, root)
    assert {row.throttled_rounds for row in rows} == {3}
    assert change.before.throttled is not None
    assert change.before.throttled.now == ("throttled",)


@pytest.mark.parametrize("when", ["between two blocks", "in a block"])
def test_a_worker_that_is_killed_is_one_line(tiny_bundle: Path, when: str) -> None:
    with worker(tiny_bundle) as running:
        if when == "in a block":
            threading.Timer(0.5, os.kill, (running.channel.pid, signal.SIGKILL)).start()
        else:
            running.run(0, 1)
            os.kill(running.channel.pid, signal.SIGKILL)
        with pytest.raises(ModelError, match=r"^int8 on litert, 1 thread: .*killed by SIGKILL") as caught:
            running.run(warm_up=0, runs=10**9)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_worker_that_hangs_is_given_up_while_it_loads_or_later(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^int8 on litert, 1 thread: its process did not answer within 2 s"):
        worker(tiny_bundle, python=script(tmp_path / "python", "exec sleep 1000"), timeout_s=2)
    ready = json.dumps({"ready": dataclasses.asdict(Loaded("mine 1", 1, 1, 1, 1, 1, None, None))})
    hangs_later = script(tmp_path / "python", f"read job; echo '{ready}'; exec sleep 1000")
    with worker(tiny_bundle, python=hangs_later, timeout_s=5) as running:
        with pytest.raises(ModelError, match="did not answer within 5 s"):
            running.run(0, 1)
        pid = running.channel.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("exec cat", "gives an invalid answer"),
        ("echo hello", "gives an invalid answer"),
        ("echo '[]'", "gives an invalid answer"),
        ("""echo '{"ready": {"runtime": "mine"}}'""", "gives an invalid answer"),
        ("echo first >&2; echo last words >&2; exit 3", "ended with exit code 3: last words"),
        ("exec true", "ended with exit code 0: without a message"),
    ],
)
def test_a_program_that_is_no_python_is_one_line(tiny_bundle: Path, tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        worker(tiny_bundle, python=script(tmp_path / "python", text))
    assert "\n" not in str(caught.value)


def test_what_a_wrapper_started_ends_with_it(tiny_bundle: Path, tmp_path: Path) -> None:
    wrapper = script(tmp_path / "python", f"sleep 1000 & echo $! > {tmp_path}/child; wait")
    with pytest.raises(ModelError, match="did not answer"):
        worker(tiny_bundle, python=wrapper, timeout_s=2)
    assert_ends(int((tmp_path / "child").read_text()))


def test_an_interpreter_that_cannot_start_or_lacks_the_engine(tiny_bundle: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    with pytest.raises(EngineMissingError, match="cannot be started: Permission denied"):
        worker(tiny_bundle, python=plain)
    # Without site-packages, an interpreter has neither NumPy nor the engine.
    bare = script(tmp_path / "bare", f'exec {sys.executable} -S "$@"')
    with pytest.raises(EngineMissingError, match=r"No module named 'numpy'; it needs pip install ai-edge-litert"):
        worker(tiny_bundle, python=bare)
    if int(np.__version__.partition(".")[0]) >= 2:
        with pytest.raises(EngineMissingError, match=r"numpy [\d.]+ is too new; it needs pip install .* 'numpy<2'"):
            worker(tiny_bundle, TFLITE_RUNTIME)


def test_a_file_that_the_engine_refuses_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"broken\.tflite: not a usable") as caught:
        start_worker(INT8, path, PYTHON, LONG_S)
    assert "\n" not in str(caught.value)
